//! A die's engine: hardware contexts and the thread that serves them.
//!
//! A context is a queue, a partition of columns and its whole state as one value. Contexts take turns of one slice each, in bands of
//! priority; every context has its own tiles, so contexts that share columns never see each other's memory.

mod books;
mod cell;
mod context;
mod crew;
mod partition;
mod terms;
#[cfg(test)]
mod tests;
mod trace;
mod uc_log;
mod work;
mod worker;

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use context::{Context, Summary};
pub use partition::Totals;
pub use terms::{Clock, Cost, Failure, Pace, Placement, State};
pub use trace::Event;

use cell::{Cell, lock};
use crew::Crew;

use crate::abi::{array, host_queue as abi, timing};
use crate::error::{Error, Result};
use crate::eventfd::EventFd;
use crate::memory::{AddressSpace, SharedPages, Waits};

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
    crew: Crew,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Cell>>> {
        lock(&self.contexts)
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
    next_id: AtomicU64,
    /// The process that has the threads; a fork of it has not.
    process: u32,
}

impl Engine {
    /// A die of `columns` columns, with its threads on host CPU `cpu` if given.
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
            crew: Crew::new(cpu),
        });
        crew::start(&shared)?;
        Ok(Self {
            columns,
            shared,
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
        let shared = self.shared.clone();
        let waits = Waits::new(move || crew::pass_on(&shared));
        let context = Context::new(space, placement, waits.clone());
        let cell = Arc::new(Cell::new(id, priority, doorbell, context, waits));
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
    ///
    /// # Errors
    /// ENOENT: no such context; EBUSY: it waits for memory of its program; as [`SharedPages::map`].
    pub fn move_doorbell(&self, id: u64, doorbell: (RawFd, u64)) -> Result<()> {
        let doorbell = armed_page(doorbell)?;
        let mut contexts = self.shared.lock();
        let place = contexts.iter().position(|cell| cell.id == id).ok_or_else(|| no_context(id))?;
        let old = contexts[place].clone();
        let context = old
            .visit(Option::take)
            .ok_or_else(|| busy(id))?
            .ok_or_else(|| no_context(id))?;
        contexts[place] = Arc::new(Cell::new(id, old.priority, doorbell, context, old.waits.clone()));
        drop(contexts);
        self.settle(self.shared.changed());
        Ok(())
    }

    /// Ends a context; when it returns the context touches no memory any more, and its tiles' contents are gone. But an access of its
    /// program's memory that takes long is left to itself: with it the context's thread ends, and touches nothing else.
    pub fn destroy_context(&self, id: u64) -> Result<()> {
        let cell = self.cell(id)?;
        self.shared.lock().retain(|other| other.id != id);
        let version = self.shared.changed();
        self.end(&cell);
        self.settle(version);
        Ok(())
    }

    fn end(&self, cell: &Cell) {
        if cell.end() {
            self.shared.crew.stray();
        }
    }

    /// Waits until the thread works with `version` of the list.
    fn settle(&self, version: u64) {
        while self.shared.seen.load(Ordering::Acquire) < version {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Calls `work` with a context, between two of its slices.
    ///
    /// # Errors
    /// ENOENT: no such context; EBUSY: it waits for memory of its program.
    pub fn with<T>(&self, id: u64, work: impl FnOnce(&mut Context) -> T) -> Result<T> {
        let visited = self.cell(id)?.visit(|context| context.as_mut().map(work));
        visited.ok_or_else(|| busy(id))?.ok_or_else(|| no_context(id))
    }

    /// Has `work` done to a context, now or, if that waits for memory of its program, when it no longer does.
    ///
    /// # Errors
    /// ENOENT: no such context; EBUSY: too much is to be done to it already.
    pub fn order(&self, id: u64, work: impl FnOnce(&mut Context) + Send + 'static) -> Result<()> {
        match self.cell(id)?.order(work) {
            Some(true) => Ok(()),
            Some(false) => Err(busy(id)),
            None => Err(no_context(id)),
        }
    }

    /// What a context is doing, and what became of its packets; of one that waits for memory of its program, what was known before.
    pub fn summary(&self, id: u64) -> Result<Summary> {
        self.cell(id)?.summary().ok_or_else(|| no_context(id))
    }

    fn cell(&self, id: u64) -> Result<Arc<Cell>> {
        self.shared
            .lock()
            .iter()
            .find(|cell| cell.id == id)
            .cloned()
            .ok_or_else(|| no_context(id))
    }

    /// Ends all contexts and the threads, but for those that wait for memory of programs: they end when that comes, and touch nothing
    /// more. In a fork of the process it does nothing: threads and contexts are the parent's.
    pub fn close(&self) {
        if std::process::id() != self.process {
            return;
        }
        let contexts = {
            let mut contexts = self.shared.lock();
            if self.shared.closed.swap(true, Ordering::AcqRel) {
                return;
            }
            std::mem::take(&mut *contexts)
        };
        self.shared.changed();
        // Who has the seat never waits, and leaves it for good.
        self.settle(u64::MAX);
        contexts.iter().for_each(|cell| self.end(cell));
        self.shared.crew.end();
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

fn busy(id: u64) -> Error {
    Error::new(
        libc::EBUSY,
        format!("context {id} waits for memory of its program; ask again, or destroy it"),
    )
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
