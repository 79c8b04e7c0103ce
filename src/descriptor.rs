//! Descriptors that somebody else opened.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::error::{Error, Result};

/// A descriptor of ours for what `fd` is open for; `what` names it if it is open for nothing (EBADF), or if we may have no more (EMFILE).
pub fn duplicate(fd: RawFd, what: &str) -> Result<OwnedFd> {
    // SAFETY: fcntl takes plain values, whatever they are; a result of 0 or more is a new descriptor that nobody else owns.
    unsafe {
        let duplicate = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3);
        if duplicate < 0 {
            return Err(Error::last_os(&format!("{what}, descriptor {fd}")));
        }
        Ok(OwnedFd::from_raw_fd(duplicate))
    }
}
