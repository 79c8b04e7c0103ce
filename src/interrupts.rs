//! MSI-X delivery: one eventfd per vector, with mask and pending bits.

use std::fs;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard};

use crate::descriptor::duplicate;
use crate::error::{Error, Result};
use crate::notify;

#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<OwnedFd>,
    masked: bool,
    pending: bool,
    /// Every so many interrupts one is lost; 0: none.
    lose: u64,
    raised: u64,
}

/// A function's MSI-X vectors. A vector without an eventfd, or a masked one, remembers one interrupt as pending.
#[derive(Debug)]
pub struct Interrupts {
    vectors: Vec<Mutex<Vector>>,
}

/// PCIe's limit for MSI-X.
const VECTORS_MAX: usize = 2048;

impl Interrupts {
    /// `vectors` vectors, unmasked, without eventfds.
    pub fn new(vectors: usize) -> Result<Self> {
        if vectors == 0 || vectors > VECTORS_MAX {
            return Err(Error::new(
                libc::EINVAL,
                format!("{vectors} MSI-X vectors: a function has 1 to {VECTORS_MAX}"),
            ));
        }
        Ok(Self {
            vectors: (0..vectors).map(|_| Mutex::default()).collect(),
        })
    }

    /// Number of vectors.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Delivers `vector` to `fd`, an eventfd that is duplicated, or to nobody. A pending interrupt is delivered at once.
    pub fn set(&self, vector: usize, fd: Option<RawFd>) -> Result<()> {
        let eventfd = fd.map(duplicate_eventfd).transpose()?;
        let mut state = self.vector(vector)?;
        state.eventfd = eventfd;
        deliver(&mut state);
        Ok(())
    }

    /// Masks or unmasks `vector`; a pending interrupt is delivered when it is unmasked.
    pub fn mask(&self, vector: usize, masked: bool) -> Result<()> {
        let mut state = self.vector(vector)?;
        state.masked = masked;
        deliver(&mut state);
        Ok(())
    }

    /// Raises `vector`.
    pub fn trigger(&self, vector: usize) -> Result<()> {
        let mut state = self.vector(vector)?;
        if state.lose != 0 {
            state.raised += 1;
            if state.raised.is_multiple_of(state.lose) {
                return Ok(());
            }
        }
        state.pending = true;
        deliver(&mut state);
        Ok(())
    }

    /// Loses every `every`th interrupt of `vector` from now on, as a fault to be tested; 0 loses none.
    pub fn lose(&self, vector: usize, every: u64) -> Result<()> {
        let mut state = self.vector(vector)?;
        (state.lose, state.raised) = (every, 0);
        Ok(())
    }

    /// Forgets an interrupt of `vector` that was not delivered, as a reset does.
    pub fn clear(&self, vector: usize) -> Result<()> {
        self.vector(vector)?.pending = false;
        Ok(())
    }

    /// Whether `vector` waits for its mask or eventfd.
    pub fn pending(&self, vector: usize) -> Result<bool> {
        Ok(self.vector(vector)?.pending)
    }

    fn vector(&self, vector: usize) -> Result<MutexGuard<'_, Vector>> {
        let state = self.vectors.get(vector).ok_or_else(|| {
            Error::new(
                libc::EINVAL,
                format!(
                    "MSI-X vector {vector} does not exist; the function has {}",
                    self.vectors.len()
                ),
            )
        })?;
        Ok(state.lock().unwrap_or_else(|broken| broken.into_inner()))
    }
}

fn deliver(state: &mut Vector) {
    let Some(eventfd) = state.eventfd.as_ref().filter(|_| state.pending && !state.masked) else {
        return;
    };
    state.pending = false;
    notify::signal(eventfd.as_fd());
}

/// A duplicate of `fd`, which must be an eventfd: anything else could block the engine when an interrupt is written to it.
fn duplicate_eventfd(fd: RawFd) -> Result<OwnedFd> {
    let description = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|_| Error::new(libc::EBADF, format!("file descriptor {fd} is not open")))?;
    if !description.contains("eventfd-count") {
        return Err(Error::new(
            libc::EINVAL,
            format!("file descriptor {fd} is not an eventfd, which MSI-X delivery needs"),
        ));
    }
    duplicate(fd, "an eventfd for MSI-X")
}
