//! Threads that call: their descriptors and memory, looked up without a race against thread ids that are used again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, OnceLock};

use super::lock;
use super::status::Status;

/// Threads whose pidfd is kept open. More are looked up again, which takes a few microseconds.
const CACHED: usize = 32;
/// `PIDFD_THREAD` of Linux 6.9, `linux/pidfd.h`: a pidfd for any thread, not for group leaders alone.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL.cast_unsigned();

/// A thread, for as long as it lives.
#[derive(Debug)]
pub struct Caller {
    /// Its thread id as this process sees it.
    pub tid: libc::pid_t,
    pidfd: OwnedFd,
    /// Whether the pidfd is the thread's, not its group leader's: only then does it tell that the thread is gone.
    exact: bool,
    pid: OnceLock<libc::pid_t>,
}

impl Caller {
    fn open(tid: libc::pid_t) -> Result<Self, i32> {
        match pidfd_open(tid, PIDFD_THREAD) {
            Err(libc::EINVAL) => {
                let leader = Status::read(tid).ok_or(libc::ESRCH)?.group;
                Ok(Self {
                    tid,
                    pidfd: pidfd_open(leader, 0)?,
                    exact: false,
                    pid: OnceLock::from(leader),
                })
            }
            pidfd => Ok(Self {
                tid,
                pidfd: pidfd?,
                exact: true,
                pid: OnceLock::new(),
            }),
        }
    }

    /// Its process; 0 if the thread is gone.
    pub fn pid(&self) -> libc::pid_t {
        *self
            .pid
            .get_or_init(|| Status::read(self.tid).map_or(0, |status| status.group))
    }

    /// A duplicate of its descriptor `fd`, or an errno: EBADF, ESRCH (gone), EPERM, EMFILE.
    pub fn file(&self, fd: i32) -> Result<OwnedFd, i32> {
        // SAFETY: plain values; a result of 0 or more is a new descriptor that nobody else owns.
        unsafe {
            let duplicate = libc::syscall(libc::SYS_pidfd_getfd, self.pidfd.as_raw_fd(), fd, 0);
            if duplicate < 0 {
                return Err(errno());
            }
            Ok(OwnedFd::from_raw_fd(duplicate as RawFd))
        }
    }

    /// Reads its memory at `address`; EFAULT, ESRCH or EPERM.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), i32> {
        let local = libc::iovec {
            iov_base: out.as_mut_ptr().cast(),
            iov_len: out.len(),
        };
        transfer(out.len(), address, |remote| {
            // SAFETY: `local` is all of `out`; the other side is another process's memory, and the kernel checks it.
            unsafe { libc::process_vm_readv(self.tid, &local, 1, remote, 1, 0) }
        })
    }

    /// Writes its memory at `address`, where it may write itself; errors as [`Caller::read`].
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), i32> {
        let local = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        transfer(data.len(), address, |remote| {
            // SAFETY: `local` is all of `data`, which is read only; the other side is another process's memory.
            unsafe { libc::process_vm_writev(self.tid, &local, 1, remote, 1, 0) }
        })
    }

    /// Its memory as a file, for reading and writing.
    pub fn memory(&self) -> Result<File, i32> {
        let path = format!("/proc/{}/mem", self.tid);
        let opened = File::options().read(true).write(true).open(path);
        opened.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
    }
}

fn transfer(length: usize, address: u64, call: impl FnOnce(*const libc::iovec) -> isize) -> Result<(), i32> {
    if length == 0 {
        return Ok(());
    }
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: length,
    };
    match call(&raw const remote) {
        moved if moved == length.cast_signed() => Ok(()),
        // Some pages were there: as copy_from_user, all or nothing counts.
        moved if moved >= 0 => Err(libc::EFAULT),
        _ => Err(errno()),
    }
}

fn pidfd_open(pid: libc::pid_t, flags: libc::c_uint) -> Result<OwnedFd, i32> {
    // SAFETY: plain values; a result of 0 or more is a new descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, flags);
        if fd < 0 {
            return Err(errno());
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The threads that called lately.
#[derive(Debug, Default)]
pub struct Callers(Mutex<HashMap<libc::pid_t, Arc<Caller>>>);

impl Callers {
    /// Thread `tid` and a duplicate of its descriptor `fd`, or an errno.
    ///
    /// `waits` says whether the notification is still waited for. If so, the thread lives and the id is its own, so a pidfd opened
    /// before was opened for it; one from an earlier holder of the id finds nobody (ESRCH) and is replaced.
    pub fn find(&self, tid: libc::pid_t, fd: i32, waits: impl Fn() -> bool) -> Result<(Arc<Caller>, OwnedFd), i32> {
        let known = lock(&self.0).get(&tid).cloned();
        if let Some(caller) = known {
            match caller.file(fd) {
                Ok(file) => return Ok((caller, file)),
                Err(libc::EMFILE) => self.forget_all(),
                // Before Linux 6.10 EBADF stands for a thread that is gone as well.
                Err(libc::ESRCH | libc::EBADF) => {}
                Err(error) => return Err(error),
            }
        }
        let caller = match Caller::open(tid) {
            Err(libc::EMFILE) => {
                self.forget_all();
                Caller::open(tid)?
            }
            other => other?,
        };
        if !waits() {
            return Err(libc::ESRCH);
        }
        let caller = Arc::new(caller);
        let file = caller.file(fd)?;
        if !caller.exact {
            return Ok((caller, file));
        }
        let mut threads = lock(&self.0);
        if threads.len() >= CACHED {
            threads.clear();
        }
        threads.insert(tid, caller.clone());
        Ok((caller, file))
    }

    fn forget_all(&self) {
        lock(&self.0).clear();
    }
}
