//! A die's engine: hardware contexts and the thread that serves them.
//!
//! A context is a queue, a partition of columns and its whole state as one value. Contexts take turns of one slice each, in bands of
//! priority; every context has its own tiles, so contexts that share columns never see each other's memory.

mod books;
mod context;
mod partition;
mod terms;
#[cfg(test)]
mod tests;
mod trace;
mod uc_log;
mod work;
mod worker;

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

pub use context::Context;
pub use partition::Totals;
pub use terms::{Clock, Cost, Failure, Pace, Placement, State};
pub use trace::Event;

use crate::abi::{array, host_queue as abi, timing};
use crate::error::{Error, Result};
use crate::eventfd::EventFd;
use crate::memory::{AddressSpace, SharedPages};

/// A context and what the thread looks at without taking it. On cache lines of its own: clients' threads write theirs all the time.
#[repr(align(128))]
struct Cell {
    id: u64,
    priority: i32,
    doorbell: SharedPages,
    context: Mutex<Option<Context>>,
    /// Callers that wait for the context; the thread lets them go first.
    wanted: AtomicUsize,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Option<Context>> {
        self.context.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// The thread's turn with the context, if it still exists.
    #[inline]
    fn turn<T>(&self, work: impl FnOnce(&mut Context) -> T) -> Option<T> {
        while self.wanted.load(Ordering::Relaxed) != 0 {
            std::thread::yield_now();
        }
        self.lock().as_mut().map(work)
    }

    /// A caller's turn with the context.
    fn visit<T>(&self, work: impl FnOnce(&mut Option<Context>) -> T) -> T {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        let mut context = self.lock();
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        work(&mut context)
    }
}

struct Shared {
    contexts: Mutex<Vec<Arc<Cell>>>,
    /// Counts changes of `contexts` and `closed`.
    version: AtomicU64,
    /// The version that the thread works with; it touches no context, nor doorbell, that this version has not.
    seen: AtomicU64,
    closed: AtomicBool,
    kick: EventFd,
    hclk_mhz: AtomicU32,
    pace: Pace,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Cell>>> {
        self.contexts.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    fn contexts(&self) -> Vec<Arc<Cell>> {
        self.lock().clone()
    }

    /// Tells the thread that the list changed; gives the list's version.
    fn changed(&self) -> u64 {
        let version = self.version.fetch_add(1, Ordering::AcqRel) + 1;
        self.kick.signal();
        version
    }
}

/// One die's engine.
pub struct Engine {
    columns: u32,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    next_id: AtomicU64,
    /// The process that has the thread; a fork of it has not.
    process: u32,
}

impl Engine {
    /// A die of `columns` columns, with its thread on host CPU `cpu` if given.
    pub fn new(columns: u32, pace: Pace, cpu: Option<usize>) -> Result<Self> {
        if !(1..=array::COLUMNS).contains(&columns) {
            return Err(Error::new(
                libc::EINVAL,
                format!("a die of {columns} columns: it has 1 to {}", array::COLUMNS),
            ));
        }
        let shared = Arc::new(Shared {
            contexts: Mutex::default(),
            version: AtomicU64::new(1),
            seen: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            kick: EventFd::new()?,
            hclk_mhz: AtomicU32::new(timing::HCLK_MHZ),
            pace,
        });
        let (report, pinned) = mpsc::channel();
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("fauxdna-engine".into())
            .spawn(move || {
                let result = cpu.map_or(Ok(()), pin_thread);
                let go = result.is_ok();
                // The receiver waits for this, so it exists.
                let _ = report.send(result);
                if go {
                    worker::Worker::new(theirs).run();
                }
            })
            .map_err(|error| {
                Error::new(
                    error.raw_os_error().unwrap_or(libc::EAGAIN),
                    format!("starting the engine: {error}"),
                )
            })?;
        pinned
            .recv()
            .map_err(|_| Error::new(libc::EIO, "the engine's thread ended at once"))??;
        Ok(Self {
            columns,
            shared,
            thread: Mutex::new(Some(thread)),
            next_id: AtomicU64::new(1),
            process: std::process::id(),
        })
    }

    /// The eventfd that wakes the thread.
    pub fn kick_fd(&self) -> RawFd {
        self.shared.kick.fd()
    }

    /// Makes a sleeping thread look at the doorbells.
    pub fn kick(&self) {
        self.shared.kick.signal();
    }

    /// Sets the array clock.
    pub fn set_clock(&self, hclk_mhz: u32) -> Result<()> {
        if hclk_mhz == 0 {
            return Err(Error::new(libc::EINVAL, "an array clock of 0 MHz: time would stand still"));
        }
        self.shared.hclk_mhz.store(hclk_mhz, Ordering::Relaxed);
        Ok(())
    }

    /// Creates a context, arms its doorbell and gives its id.
    pub fn create_context(&self, space: &Arc<AddressSpace>, placement: Placement, doorbell: (RawFd, u64)) -> Result<u64> {
        let refuse = |message: String| Err(Error::new(libc::EINVAL, message));
        let Placement {
            column,
            columns,
            vector,
            queue_address,
            ..
        } = placement;
        if columns == 0 || column.checked_add(columns).is_none_or(|end| end > self.columns) {
            return refuse(format!(
                "{columns} columns from column {column} on: the die has {}",
                self.columns
            ));
        }
        if vector >= placement.interrupts.count() {
            return refuse(format!(
                "MSI-X vector {vector}: the function has {}",
                placement.interrupts.count()
            ));
        }
        if !queue_address.is_multiple_of(8) || queue_address.checked_add(u64::from(abi::DOORBELL_PAGE_SIZE)).is_none() {
            return refuse(format!(
                "queue address {queue_address:#x} is not a multiple of 8, or too high"
            ));
        }
        let doorbell = armed_page(doorbell)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let priority = placement.priority;
        let context = Mutex::new(Some(Context::new(space, placement)));
        let cell = Arc::new(Cell {
            id,
            priority,
            doorbell,
            context,
            wanted: AtomicUsize::new(0),
        });
        let mut contexts = self.shared.lock();
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Error::new(libc::ENODEV, "the engine is closed"));
        }
        contexts.push(cell);
        drop(contexts);
        self.shared.changed();
        Ok(id)
    }

    /// Watches another page in place of a context's doorbell page, which is not touched any more when this returns.
    pub fn move_doorbell(&self, id: u64, doorbell: (RawFd, u64)) -> Result<()> {
        let doorbell = armed_page(doorbell)?;
        let mut contexts = self.shared.lock();
        let place = contexts.iter().position(|cell| cell.id == id).ok_or_else(|| no_context(id))?;
        let old = contexts[place].clone();
        contexts[place] = Arc::new(Cell {
            id,
            priority: old.priority,
            doorbell,
            context: Mutex::new(old.visit(|context| context.take())),
            wanted: AtomicUsize::new(0),
        });
        drop(contexts);
        self.settle(self.shared.changed());
        Ok(())
    }

    /// Ends a context; when it returns the context touches no memory any more, and its tiles' contents are gone.
    pub fn destroy_context(&self, id: u64) -> Result<()> {
        let cell = self.cell(id)?;
        self.shared.lock().retain(|other| other.id != id);
        let version = self.shared.changed();
        cell.visit(|context| drop(context.take()));
        self.settle(version);
        Ok(())
    }

    /// Waits until the thread works with `version` of the list.
    fn settle(&self, version: u64) {
        while self.shared.seen.load(Ordering::Acquire) < version {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Calls `work` with a context, between two of its slices.
    pub fn with<T>(&self, id: u64, work: impl FnOnce(&mut Context) -> T) -> Result<T> {
        let cell = self.cell(id)?;
        cell.visit(|context| context.as_mut().map(work)).ok_or_else(|| no_context(id))
    }

    fn cell(&self, id: u64) -> Result<Arc<Cell>> {
        self.shared
            .lock()
            .iter()
            .find(|cell| cell.id == id)
            .cloned()
            .ok_or_else(|| no_context(id))
    }

    /// Ends all contexts and the thread. In a fork of the process it does nothing: thread and contexts are the parent's.
    pub fn close(&self) {
        if std::process::id() != self.process {
            return;
        }
        let contexts = {
            let mut contexts = self.shared.lock();
            self.shared.closed.store(true, Ordering::Release);
            std::mem::take(&mut *contexts)
        };
        self.shared.changed();
        let thread = self.thread.lock().unwrap_or_else(|broken| broken.into_inner()).take();
        if let Some(thread) = thread {
            // A panic of the thread was caught per context; were there another, all contexts end here anyway.
            let _ = thread.join();
        }
        for cell in contexts {
            cell.visit(|context| drop(context.take()));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// A doorbell page that waits for its first ring.
fn armed_page(page: (RawFd, u64)) -> Result<SharedPages> {
    let page = SharedPages::map(page.0, page.1, u64::from(abi::DOORBELL_PAGE_SIZE))?;
    // What an earlier context's client left in it does not hold for this one's.
    for offset in [abi::DOORBELL_SLEEPING, abi::DOORBELL_KICKS] {
        page.word32(offset as usize).store(0, Ordering::Relaxed);
    }
    page.word32(0).store(abi::DOORBELL_ARMED, Ordering::SeqCst);
    Ok(page)
}

fn no_context(id: u64) -> Error {
    Error::new(libc::ENOENT, format!("context {id} does not exist, or was destroyed"))
}

/// Keeps the calling thread on host CPU `cpu`.
pub fn pin_thread(cpu: usize) -> Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(Error::new(
            libc::EINVAL,
            format!("CPU {cpu}: this host's limit is {}", libc::CPU_SETSIZE),
        ));
    }
    // SAFETY: a zeroed set is valid and empty; `cpu` is inside it; the call reads the live set.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os(&format!("pinning a thread to CPU {cpu}")))
    }
}
