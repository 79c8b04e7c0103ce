//! The listener of a seccomp filter: notifications in, answers out.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::descriptor::duplicate;
use crate::error::{Error, Result};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): caller and answerer take turns on one CPU.
const SYNC_WAKE_UP: libc::c_ulong = 1;
/// Room for fields that a later kernel may add to `struct seccomp_notif`.
const SLACK: usize = 16;

#[repr(C)]
struct Buffer {
    notification: libc::seccomp_notif,
    slack: [u64; SLACK],
}

/// What a wait for a notification gave.
pub enum Received {
    /// A system call; its thread waits until it is answered, dies, or (before this moment) is interrupted.
    Call(libc::seccomp_notif),
    /// A notification that was taken back, or no process has the filter any more.
    Nothing,
    /// A signal to this thread.
    Interrupted,
}

/// A duplicate of the descriptor that `seccomp(2)` gave with `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Duplicates `fd`; EBADF or EINVAL if it is no listener.
    pub fn new(fd: RawFd) -> Result<Self> {
        let listener = Self(duplicate(fd, "the listener")?);
        // SAFETY: SET_FLAGS takes a plain value. On a descriptor that is no listener it is an unknown request.
        let set = unsafe { libc::ioctl(listener.fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        // Before Linux 6.6 the request is unknown (EINVAL), but every listener knows ID_VALID.
        if set < 0 && listener.checked(u64::MAX).is_err_and(|error| error != libc::ENOENT) {
            let problem = format!("descriptor {fd} is no seccomp listener: take what seccomp(2) gave with NEW_LISTENER");
            return Err(Error::new(libc::EINVAL, problem));
        }
        Ok(listener)
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits for a notification.
    pub fn receive(&self) -> Received {
        // SAFETY: all-zero bytes are a valid Buffer, and what the kernel asks for.
        let mut buffer: Buffer = unsafe { zeroed() };
        let pointer = &raw mut buffer;
        // SAFETY: the kernel writes one struct seccomp_notif, for which the buffer has more than room.
        let status = unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, pointer) };
        if status == 0 {
            return Received::Call(buffer.notification);
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => Received::Interrupted,
            _ => Received::Nothing,
        }
    }

    /// Whether no process has the filter any more.
    pub fn hung_up(&self) -> bool {
        let mut state = libc::pollfd {
            fd: self.fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: one live pollfd, no waiting.
        unsafe { libc::poll(&mut state, 1, 0) > 0 && state.revents & (libc::POLLHUP | libc::POLLERR) != 0 }
    }

    /// Ends call `id` with `error` (a negative errno, or 0); `false` if nobody waits for it any more.
    pub fn answer(&self, id: u64, error: i32) -> bool {
        self.send(id, error, 0)
    }

    /// Lets the kernel run call `id` as if there were no filter.
    pub fn proceed(&self, id: u64) -> bool {
        self.send(id, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    fn send(&self, id: u64, error: i32, flags: u32) -> bool {
        let mut answer = libc::seccomp_notif_resp {
            id,
            val: 0,
            error,
            flags,
        };
        // SAFETY: a live struct seccomp_notif_resp, which the kernel reads.
        retry(|| unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) }).is_ok()
    }

    /// Whether the thread that made call `id` waits for its answer: while it does, its thread id is its own.
    pub fn valid(&self, id: u64) -> bool {
        self.checked(id).is_ok()
    }

    fn checked(&self, id: u64) -> std::result::Result<(), i32> {
        // SAFETY: a live integer, which the kernel reads.
        retry(|| unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) }).map(|_| ())
    }

    /// Installs a duplicate of `fd` in the caller of `id` and gives its number there, or an errno.
    pub fn add_fd(&self, id: u64, fd: RawFd, cloexec: bool) -> std::result::Result<i32, i32> {
        let request = libc::seccomp_notif_addfd {
            id,
            flags: 0,
            srcfd: fd.cast_unsigned(),
            newfd: 0,
            newfd_flags: if cloexec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        const _: () = assert!(size_of::<libc::seccomp_notif_addfd>() == 24);
        // SAFETY: a live struct seccomp_notif_addfd, which the kernel reads. EINTR means that nothing was installed.
        retry(|| unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) })
    }
}

/// Repeats an interrupted call; its result, or its errno.
fn retry(mut call: impl FnMut() -> i32) -> std::result::Result<i32, i32> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result);
        }
        match io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
            libc::EINTR => {}
            errno => return Err(errno),
        }
    }
}
