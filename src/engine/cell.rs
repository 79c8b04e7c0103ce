//! A context's place in the engine: what the thread with the seat looks at without taking the context, and how others get at it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use super::context::{Context, Summary};
use super::terms::State;
use super::worker::Back;
use crate::memory::{SharedPages, Waits};

/// How long a caller waits for a context that itself waits for memory of its program. Then it goes on with what it knows.
const PATIENCE: Duration = Duration::from_millis(1);
/// Between two looks at a context whose slice is long.
const PAUSE: Duration = Duration::from_micros(20);
/// Orders that a waiting context keeps.
const ORDERS_MOST: usize = 64;

type Order = Box<dyn FnOnce(&mut Context) + Send>;

/// A context and what is known of it from outside. On cache lines of its own: clients' threads write theirs all the time.
#[repr(align(128))]
pub(super) struct Cell {
    pub id: u64,
    pub priority: i32,
    pub doorbell: SharedPages,
    context: Mutex<Option<Context>>,
    /// Callers that wait for the context; the thread lets them go first.
    wanted: AtomicUsize,
    /// For memory of its program.
    pub waits: Arc<Waits>,
    /// What a slice without the seat came to, until who has the seat takes it.
    pub back: Mutex<Option<Back>>,
    /// What is to be done to the context when it no longer waits.
    orders: Mutex<Vec<Order>>,
    /// What was last known of it.
    known: Mutex<Option<Summary>>,
}

/// A lock whose data stays valid when a thread panicked with it: nothing here is left half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl Cell {
    pub fn new(id: u64, priority: i32, doorbell: SharedPages, context: Context, waits: Arc<Waits>) -> Self {
        let known = Mutex::new(Some(context.summary()));
        Self {
            id,
            priority,
            doorbell,
            context: Mutex::new(Some(context)),
            wanted: AtomicUsize::new(0),
            waits,
            back: Mutex::default(),
            orders: Mutex::default(),
            known,
        }
    }

    /// The thread's turn with the context, if it still exists.
    #[inline]
    pub fn turn<T>(&self, work: impl FnOnce(&mut Context) -> T) -> Option<T> {
        while self.wanted.load(Ordering::Relaxed) != 0 {
            std::thread::yield_now();
        }
        lock(&self.context).as_mut().map(work)
    }

    /// A caller's turn with the context; nothing if that waits for memory of its program.
    pub fn visit<T>(&self, work: impl FnOnce(&mut Option<Context>) -> T) -> Option<T> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        let context = self.wait();
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        context.map(|mut context| work(&mut context))
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Context>>> {
        match self.context.try_lock() {
            Ok(context) => Some(context),
            Err(TryLockError::Poisoned(broken)) => Some(broken.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn wait(&self) -> Option<MutexGuard<'_, Option<Context>>> {
        let mut began = None;
        loop {
            if let Some(context) = self.try_lock() {
                return Some(context);
            }
            let waited = began.get_or_insert_with(Instant::now).elapsed();
            if waited < PATIENCE {
                std::thread::yield_now();
            } else if self.waits.waiting() {
                return None;
            } else {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Takes the context out of the cell for good: it touches no memory any more, but for one access of its program's memory that it
    /// may be waiting in. That is left to itself, and the context ends with it; `true` then.
    pub fn end(&self) -> bool {
        loop {
            if let Some(context) = self.visit(Option::take) {
                drop(context);
                return false;
            }
            if self.waits.abandon() {
                return true;
            }
        }
    }

    /// Does `order` to the context, now or when it no longer waits; `false` if it is gone, or too many wait.
    pub fn order(&self, order: impl FnOnce(&mut Context) + Send + 'static) -> Option<bool> {
        loop {
            let mut orders = lock(&self.orders);
            if orders.is_empty()
                && let Some(mut context) = self.try_lock()
            {
                return context.as_mut().map(order).map(|()| true);
            }
            if self.waits.waiting() || !orders.is_empty() {
                if orders.len() >= ORDERS_MOST {
                    return Some(false);
                }
                orders.push(Box::new(order));
                return Some(true);
            }
            drop(orders);
            std::thread::sleep(PAUSE);
        }
    }

    /// After a slice in which the context may have waited.
    pub fn carry_out_orders(&self) {
        let mut orders = lock(&self.orders);
        let mut context = lock(&self.context);
        for order in orders.drain(..) {
            if let Some(context) = context.as_mut() {
                order(context);
            }
        }
    }

    /// What is known of the context: of one that waits, what was known before. Nothing if it is gone.
    pub fn summary(&self) -> Option<Summary> {
        match self.visit(|context| context.as_ref().map(Context::summary)) {
            Some(summary) => {
                *lock(&self.known) = summary.clone();
                summary
            }
            None => Some(Summary {
                state: State::Running,
                ..lock(&self.known).clone()?
            }),
        }
    }
}
