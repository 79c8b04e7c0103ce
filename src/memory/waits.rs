//! Waiting for memory of processes: on whose time, and until when.
//!
//! The kernel can't be told to give such an access up: while the page's owner keeps it (a FUSE file system that does not answer), the
//! thread sleeps. So before an access the thread lets go of what others need, and whoever ends the work that it does need not wait:
//! they leave it to itself. When the access then ends, the thread unwinds to where the work began, and touches nothing more.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};

use super::MemoryFaultKind;
use super::unmappable::Process;

/// What the stack of work that was left to itself unwinds with.
#[derive(Debug)]
pub struct Abandoned;

/// The waits of one reader.
pub struct Waits {
    /// Lets go of what others need; `false` if this thread can't.
    let_go: Box<dyn Fn() -> bool + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    access: Option<Arc<Process>>,
    abandoned: bool,
}

impl Waits {
    /// Waits before which `let_go` is called, on the thread that is about to wait; if that says `false` the access is a fault.
    pub fn new(let_go: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            let_go: Box::new(let_go),
            state: Mutex::default(),
        })
    }

    /// For threads that nobody waits for.
    #[cfg(test)]
    pub(crate) fn alone() -> Arc<Self> {
        Self::new(|| true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Whether an access is under way.
    pub fn waiting(&self) -> bool {
        self.lock().access.is_some()
    }

    /// Leaves the access under way to itself; `false` if there is none.
    pub fn abandon(&self) -> bool {
        let mut state = self.lock();
        let Some(process) = &state.access else { return false };
        if !state.abandoned {
            process.stray();
            state.abandoned = true;
        }
        true
    }

    /// Whether [`Waits::abandon`] took effect: the work is over.
    pub fn abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Begins an access of `process`, which lasts until the result is dropped.
    pub(super) fn begin(&self, process: Arc<Process>) -> Result<Wait<'_>, MemoryFaultKind> {
        if process.exhausted() {
            return Err(MemoryFaultKind::Withheld);
        }
        if !(self.let_go)() {
            return Err(MemoryFaultKind::Waits);
        }
        self.lock().access = Some(process);
        Ok(Wait(self))
    }
}

/// An access that is under way.
pub(super) struct Wait<'a>(&'a Waits);

impl Wait<'_> {
    /// The access is over. Does not return if it was left to itself meanwhile.
    pub fn end(self) {
        let mut state = self.0.lock();
        let access = state.access.take();
        if state.abandoned {
            drop(state);
            if let Some(process) = access {
                process.stray_ended();
            }
            resume_unwind(Box::new(Abandoned));
        }
    }
}
