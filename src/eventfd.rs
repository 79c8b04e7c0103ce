//! An eventfd that wakes one of our threads.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::error::{Error, Result};

/// A counter that wakes whoever sleeps on it.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, at zero.
    pub fn new() -> Result<Self> {
        // SAFETY: eventfd takes plain values; a result of 0 or more is a new descriptor that nobody else owns.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                Err(Error::last_os("creating an eventfd"))
            } else {
                Ok(Self(OwnedFd::from_raw_fd(fd)))
            }
        }
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Wakes the sleeper, now or at its next sleep.
    pub fn signal(&self) {
        Self::signal_fd(self.fd());
    }

    /// Wakes whoever sleeps on someone's eventfd.
    pub fn signal_fd(fd: RawFd) {
        let one = 1u64;
        // SAFETY: 8 bytes of a live integer. The call fails only if the counter is full, which wakes as well.
        unsafe { libc::write(fd, (&raw const one).cast(), 8) };
    }

    /// Takes the signals; does not sleep.
    pub fn take(&self) {
        let mut count = 0u64;
        // SAFETY: 8 bytes into a live integer; the descriptor is non-blocking.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
    }

    /// Sleeps until a signal, or for `limit` (for ever if `None`), and takes the signals.
    pub fn sleep(&self, limit: Option<Duration>) {
        let mut wait = libc::pollfd {
            fd: self.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs().min(1 << 30) as libc::time_t,
            tv_nsec: libc::c_long::from(limit.subsec_nanos()),
        });
        let pointer = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one live pollfd, a live or null timespec, no signal mask.
        if unsafe { libc::ppoll(&mut wait, 1, pointer, std::ptr::null()) } > 0 {
            self.take();
        }
    }
}
