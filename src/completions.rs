//! Waits for commands and interrupts: WAIT_CMD without Python.
//!
//! A thread serves the waits of any number of queues and MSI-X vectors. A command that is done already costs its caller a look at
//! the queue's indices. Otherwise the thread polls for a while, then has the vector *armed* (unmasked) and sleeps on its eventfd; a vector
//! that nobody has waited for lately is disarmed, so that completions make no system call. An interrupt that comes while its vector
//! is masked stays pending and is delivered when it is armed, so none is lost.

mod indices;
#[cfg(test)]
mod tests;
mod waiting;
mod worker;

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::descriptor::duplicate;
use crate::error::{Error, Result};
use crate::eventfd::EventFd;
use indices::Indices;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command is done, or the interrupt came.
    Done,
    /// Its deadline passed.
    TimedOut,
    /// The queue was removed, or its memory went away.
    Gone,
    /// The vector was removed with its function, or the whole was closed.
    Off,
}

/// What is called when a wait ends: on the thread, or on whoever removes the queue. It must not block, nor remove or close anything.
pub type Finish = Box<dyn FnOnce(Outcome) + Send>;
/// Unmasks (`true`) or masks a vector. Called on a thread for that alone, one call at a time.
pub type Arm = Box<dyn Fn(bool) + Send + Sync>;

struct Vector {
    id: u64,
    eventfd: OwnedFd,
    arm: Arm,
    /// Counts interrupts.
    generation: AtomicU64,
    gone: AtomicBool,
}

struct Queue {
    indices: Indices,
    vector: Arc<Vector>,
}

enum Condition {
    Command(Arc<Queue>, u64),
    /// An interrupt after this one.
    Interrupt(u64),
}

struct Wait {
    ticket: u64,
    /// Of a command.
    queue: u64,
    vector: Arc<Vector>,
    condition: Condition,
    deadline: Option<Instant>,
    /// Until when it is polled for.
    hot: Option<Instant>,
    finish: Finish,
}

impl Wait {
    /// How it ends, if it does now.
    #[inline]
    fn outcome(&self) -> Option<Outcome> {
        let done = match &self.condition {
            Condition::Command(queue, sequence) => queue.indices.done(*sequence),
            Condition::Interrupt(seen) => self.vector.generation.load(Ordering::Acquire) != *seen,
        };
        if done {
            return Some(Outcome::Done);
        }
        match &self.condition {
            Condition::Command(queue, _) if queue.indices.gone() => Some(Outcome::Gone),
            _ => None,
        }
    }
}

struct Shared {
    queues: RwLock<HashMap<u64, Arc<Queue>>>,
    vectors: Mutex<HashMap<u64, Arc<Vector>>>,
    waits: Mutex<Vec<Wait>>,
    /// Some waits have ended; with [`Shared::waits`].
    ended: Condvar,
    /// Counts what the thread has to look at again: new waits, removals, closing.
    posted: AtomicU64,
    asleep: AtomicBool,
    closed: AtomicBool,
    wake: EventFd,
    epoll: OwnedFd,
    /// Held while a vector is armed or disarmed.
    arming: Mutex<()>,
    /// Vectors that have just been armed.
    armed: Mutex<Vec<u64>>,
}

/// A lock whose data stays valid when a thread panicked with it: nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl Shared {
    /// Makes the thread look again.
    fn post(&self) {
        self.posted.fetch_add(1, Ordering::SeqCst);
        // The thread says "asleep", fences and looks at `posted` again.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake.signal();
        }
    }

    fn queue(&self, id: u64) -> Option<Arc<Queue>> {
        let queues = self.queues.read().unwrap_or_else(|broken| broken.into_inner());
        queues.get(&id).cloned()
    }

    /// Takes the waits that `chosen` picks and ends them.
    fn end(&self, outcome: Outcome, chosen: impl Fn(&Wait) -> bool) {
        let ended: Vec<Wait> = lock(&self.waits).extract_if(.., |wait| chosen(wait)).collect();
        if ended.is_empty() {
            return;
        }
        self.ended.notify_all();
        for wait in ended {
            (wait.finish)(outcome);
        }
        self.post();
    }
}

/// The waits of one die, or of several.
pub struct Completions {
    shared: Arc<Shared>,
    kick: Option<OwnedFd>,
    next_id: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that has the thread; a fork of it has not.
    process: u32,
}

impl Completions {
    /// Starts the thread. `kick` is the eventfd that wakes the engine, if there is one: a wait makes a sleeping engine look.
    pub fn new(kick: Option<RawFd>) -> Result<Arc<Self>> {
        let kick = kick.map(|fd| duplicate(fd, "the kick eventfd")).transpose()?;
        let wake = EventFd::new()?;
        let shared = Arc::new(Shared {
            queues: RwLock::default(),
            vectors: Mutex::default(),
            waits: Mutex::default(),
            ended: Condvar::new(),
            posted: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            epoll: worker::epoll(wake.fd())?,
            wake,
            arming: Mutex::default(),
            armed: Mutex::default(),
        });
        let refused = |error: std::io::Error| {
            let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
            Error::new(errno, format!("starting the threads for waits: {error}"))
        };
        let arming = worker::Arming::start(shared.clone()).map_err(refused)?;
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("fauxdna-waits".into())
            .spawn(move || worker::Worker::new(theirs, arming).run())
            .map_err(refused)?;
        Ok(Arc::new(Self {
            shared,
            kick,
            next_id: AtomicU64::new(1),
            thread: Mutex::new(Some(thread)),
            process: std::process::id(),
        }))
    }

    /// Takes on an MSI-X vector that is delivered to `eventfd` (non-blocking, read by nobody else) and is disarmed now.
    pub fn add_vector(&self, eventfd: RawFd, arm: Arm) -> Result<u64> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let vector = Arc::new(Vector {
            id,
            eventfd: duplicate(eventfd, "a vector's eventfd")?,
            arm,
            generation: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        });
        worker::watch(&self.shared.epoll, vector.eventfd.as_raw_fd(), id)?;
        lock(&self.shared.vectors).insert(id, vector);
        Ok(id)
    }

    /// Lets go of a vector; waits for it, and for queues on it, end. When this returns it is armed or disarmed no more.
    pub fn remove_vector(&self, id: u64) {
        let Some(vector) = lock(&self.shared.vectors).remove(&id) else {
            return;
        };
        vector.gone.store(true, Ordering::SeqCst);
        worker::unwatch(&self.shared.epoll, vector.eventfd.as_raw_fd());
        self.shared
            .queues
            .write()
            .unwrap_or_else(|broken| broken.into_inner())
            .retain(|_, queue| queue.vector.id != id);
        self.shared.end(Outcome::Off, |wait| wait.vector.id == id);
        drop(lock(&self.shared.arming));
        self.shared.post();
    }

    /// Interrupts of a vector that were noticed; to be read before the look at whatever the interrupt announces.
    pub fn generation(&self, vector: u64) -> Result<u64> {
        self.vector(vector).map(|vector| vector.generation.load(Ordering::Acquire))
    }

    /// Takes on the host queue in `length` bytes of the file `queue.0` at `queue.1`, whose completions raise `vector`.
    ///
    /// # Errors
    /// EINVAL: too short, or not a multiple of 4096; ENOENT: no such vector; others from mapping the file.
    pub fn add(&self, queue: (RawFd, u64), length: u64, vector: u64) -> Result<u64> {
        let vector = self.vector(vector)?;
        let indices = Indices::map(queue.0, queue.1, length)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.shared
            .queues
            .write()
            .unwrap_or_else(|broken| broken.into_inner())
            .insert(id, Arc::new(Queue { indices, vector }));
        Ok(id)
    }

    /// Lets go of a queue; waits for its commands end with [`Outcome::Gone`].
    pub fn remove(&self, id: u64) {
        let removed = self
            .shared
            .queues
            .write()
            .unwrap_or_else(|broken| broken.into_inner())
            .remove(&id);
        if removed.is_some() {
            self.shared.end(Outcome::Gone, |wait| wait.queue == id);
        }
    }

    /// Whether command `sequence` of a queue is done. A look at shared memory.
    #[inline]
    pub fn done(&self, id: u64, sequence: u64) -> Result<bool> {
        let queues = self.shared.queues.read().unwrap_or_else(|broken| broken.into_inner());
        let queue = queues.get(&id).ok_or_else(|| no_queue(id))?;
        Ok(queue.indices.done(sequence))
    }

    /// A queue's (read_index, write_index).
    pub fn indices(&self, id: u64) -> Result<(u64, u64)> {
        self.shared
            .queue(id)
            .map(|queue| queue.indices.read())
            .ok_or_else(|| no_queue(id))
    }

    /// Ends all waits and the thread; may be called twice. In a fork of the process it does nothing: the thread is the parent's.
    pub fn close(&self) {
        if std::process::id() != self.process {
            return;
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.post();
        if let Some(thread) = lock(&self.thread).take() {
            // Panics of callbacks are caught on the thread; were there another, its waits end here anyway.
            let _ = thread.join();
        }
        self.shared.end(Outcome::Off, |_| true);
    }

    fn vector(&self, id: u64) -> Result<Arc<Vector>> {
        let vectors = lock(&self.shared.vectors);
        let found = vectors.get(&id).cloned();
        found.ok_or_else(|| Error::new(libc::ENOENT, format!("vector {id} does not exist, or was removed")))
    }
}

impl Drop for Completions {
    /// The thread ends by itself: it may be waiting for a lock that the dropping thread holds, such as Python's.
    fn drop(&mut self) {
        if std::process::id() == self.process {
            self.shared.closed.store(true, Ordering::SeqCst);
            self.shared.post();
        }
    }
}

/// When a wait of `timeout_ms` ends: 0 is never, and so is what Linux's msecs_to_jiffies takes for negative.
pub fn deadline(timeout_ms: u32) -> Option<Instant> {
    (1..=i32::MAX as u32)
        .contains(&timeout_ms)
        .then(|| Instant::now() + Duration::from_millis(timeout_ms.into()))
}

fn no_queue(id: u64) -> Error {
    Error::new(libc::EINVAL, format!("queue {id} does not exist, or was removed"))
}
