//! The threads that an engine has. One of them at a time has the *seat*: it watches doorbells and gives contexts their turns. A context
//! that reaches for memory of a process may have to wait for ever. Before that its thread passes the seat to another one, which goes on
//! with all the other contexts; the slice ends on the thread that it began on, and then that thread is free for a seat again.

use std::cell::Cell as ThreadCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::cell::{Cell, lock};
use super::terms::Served;
use super::worker::{Left, Worker};
use super::{Shared, pin_thread};
use crate::error::{Error, Result};

/// Threads that wait for a seat: passing it on seldom makes a thread.
const IDLE_MOST: usize = 2;

/// Where a thread keeps the seat while a context has its slice, so that it can be passed on from there.
#[derive(Default)]
pub(super) struct Seat {
    worker: ThreadCell<Option<Box<Worker>>>,
    /// The thread is in a slice, or at its end, and another thread has the seat: this one may wait.
    passed: ThreadCell<bool>,
}

thread_local! {
    static SEAT: Rc<Seat> = Rc::default();
}

impl Seat {
    /// Calls `slice` while `worker` can be passed on; gives it back if it was not, with what the slice came to.
    #[inline(always)]
    pub fn lend<T>(&self, worker: Box<Worker>, slice: impl FnOnce() -> T) -> (Option<Box<Worker>>, T) {
        self.worker.set(Some(worker));
        let result = slice();
        (self.worker.take(), result)
    }
}

/// The seat for a thread, and what brings it the next one.
struct Turn {
    worker: Box<Worker>,
    again: Sender<Turn>,
}

/// An engine's threads.
pub(super) struct Crew {
    cpu: Option<usize>,
    idle: Mutex<Vec<Sender<Turn>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Slices that were left to themselves and have not ended; one less for a moment, if one ends before that is written down.
    strays: AtomicIsize,
}

impl Crew {
    /// Nobody yet; threads will be on host CPU `cpu` if given.
    pub fn new(cpu: Option<usize>) -> Self {
        Self {
            cpu,
            idle: Mutex::default(),
            threads: Mutex::default(),
            strays: AtomicIsize::new(0),
        }
    }

    /// A slice was left to itself.
    pub fn stray(&self) {
        self.strays.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns when all threads have ended but those whose slices were left to themselves. The seat is gone, and all contexts are.
    pub fn end(&self) {
        lock(&self.idle).clear();
        let mut threads = std::mem::take(&mut *lock(&self.threads));
        loop {
            let strays = self.strays.load(Ordering::Acquire);
            for thread in threads.extract_if(.., |thread| thread.is_finished()) {
                // A panic of a slice was caught; were there another, all contexts have ended anyway.
                let _ = thread.join();
            }
            if threads.len() as isize <= strays {
                return;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

/// Starts the first thread and gives it the seat.
pub(super) fn start(shared: &Arc<Shared>) -> Result<()> {
    let (report, pinned) = mpsc::channel();
    let first = hire(shared, Some(report))?;
    let ended = || Error::new(libc::EIO, "the engine's thread ended at once");
    pinned.recv().map_err(|_| ended())??;
    let worker = Box::new(Worker::new(shared.clone()));
    give(first, worker).map_err(|_| ended())
}

/// Ends the slice of `cell` on a thread that passed the seat on meanwhile.
fn finish(shared: &Shared, seat: &Seat, cell: &Cell, served: Served) {
    if !cell.waits.abandoned() {
        // It unwinds if the context is left to itself at this moment; were it to panic, the context would rest, which harms nobody else.
        let _ = catch_unwind(AssertUnwindSafe(|| cell.come_back(served)));
    }
    seat.passed.set(false);
    if cell.waits.abandoned() {
        shared.crew.strays.fetch_sub(1, Ordering::AcqRel);
    } else {
        shared.changed();
    }
}

/// Before the calling thread waits: has another one take the seat, if this has it. `false` if it must not wait.
#[cold]
pub(super) fn pass_on(shared: &Arc<Shared>) -> bool {
    SEAT.with(|seat| {
        let Some(mut worker) = seat.worker.take() else {
            return seat.passed.get();
        };
        loop {
            let idle = lock(&shared.crew.idle).pop();
            // Without a thread the access fails, and the context with it: all others go on.
            let Some(next) = idle.or_else(|| hire(shared, None).ok()) else {
                seat.worker.set(Some(worker));
                return false;
            };
            worker.set_aside();
            match give(next, worker) {
                Ok(()) => {
                    seat.passed.set(true);
                    return true;
                }
                Err(refused) => worker = refused,
            }
        }
    })
}

fn give(thread: Sender<Turn>, worker: Box<Worker>) -> std::result::Result<(), Box<Worker>> {
    let again = thread.clone();
    thread.send(Turn { worker, again }).map_err(|refused| refused.0.worker)
}

/// One more thread, which waits for the seat until what the result can send is dropped. It reports whether it is on its CPU, and ends
/// if it is not; without a report it takes what CPU it gets.
fn hire(shared: &Arc<Shared>, report: Option<Sender<Result<()>>>) -> Result<Sender<Turn>> {
    let (sender, turns) = mpsc::channel::<Turn>();
    let theirs = shared.clone();
    let thread = std::thread::Builder::new()
        .name("fauxdna-engine".into())
        .spawn(move || {
            let pinned = theirs.crew.cpu.map_or(Ok(()), pin_thread);
            if let Some(report) = report {
                let go = pinned.is_ok();
                // The receiver waits for this, so it exists.
                let _ = report.send(pinned);
                if !go {
                    return;
                }
            }
            let seat = SEAT.with(Rc::clone);
            while let Ok(Turn { worker, again }) = turns.recv() {
                let Left::Passed(cell, served) = worker.run(&seat) else {
                    return;
                };
                finish(&theirs, &seat, &cell, served);
                drop(cell);
                let mut idle = lock(&theirs.crew.idle);
                if idle.len() < IDLE_MOST && !theirs.closed.load(Ordering::Acquire) {
                    idle.push(again);
                }
            }
        })
        .map_err(|error| {
            Error::new(
                error.raw_os_error().unwrap_or(libc::EAGAIN),
                format!("starting the engine: {error}"),
            )
        })?;
    let mut threads = lock(&shared.crew.threads);
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
    Ok(sender)
}
