//! An error that a caller sees: the errno that Linux would return, and a sentence.

use std::fmt;

/// What went wrong, in the form that becomes an `OSError`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// A Linux errno.
    pub errno: i32,
    /// The object, the limit and the remedy.
    pub message: String,
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with `errno` and a sentence.
    pub fn new(errno: i32, message: impl Into<String>) -> Self {
        Self {
            errno,
            message: message.into(),
        }
    }

    /// The error of the last system call, with what was being done.
    pub fn last_os(action: &str) -> Self {
        let error = std::io::Error::last_os_error();
        Self {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            message: format!("{action}: {error}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
