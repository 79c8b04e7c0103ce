//! One intercepted ioctl: its arguments, its caller's memory and descriptors, its answer.

use std::fmt;
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::caller::Caller;
use super::client::Client;
use super::{Shared, lock};
use crate::error::{Error, Result};

const OPEN: u8 = 0;
const ANSWERED: u8 = 1;
const ENDED: u8 = 2;

type Ended = Box<dyn FnOnce() + Send>;

/// A caller waits until this is answered. Dropped unanswered, it is answered with EIO.
pub struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) caller: Arc<Caller>,
    pub(super) client: Arc<Client>,
    /// The ioctl number.
    pub request: u32,
    /// The user pointer.
    pub argument: u64,
    pub(super) state: AtomicU8,
    /// Whether it is in the door's list of calls that wait.
    pub(super) listed: AtomicBool,
    interruptible: AtomicBool,
    ended: Mutex<Option<Ended>>,
    /// Of the wait in `Completions`.
    pub(super) ticket: AtomicU64,
}

impl fmt::Debug for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Call {{ request: {:#x}, client: {} }}", self.request, self.client.id)
    }
}

impl Call {
    pub(super) fn new(shared: Arc<Shared>, call: &libc::seccomp_notif, caller: Arc<Caller>, client: Arc<Client>) -> Self {
        Self {
            shared,
            id: call.id,
            caller,
            client,
            // The kernel takes the low 32 bits, as `unsigned int cmd`.
            request: call.data.args[1] as u32,
            argument: call.data.args[2],
            state: AtomicU8::new(OPEN),
            listed: AtomicBool::new(false),
            interruptible: AtomicBool::new(false),
            ended: Mutex::new(None),
            ticket: AtomicU64::new(0),
        }
    }

    /// Index of the node in the door's files.
    pub fn node(&self) -> usize {
        self.client.node
    }

    /// The open file description.
    pub fn client(&self) -> u64 {
        self.client.id
    }

    /// The caller's process.
    pub fn pid(&self) -> libc::pid_t {
        self.caller.pid()
    }

    /// The caller's thread.
    pub fn tid(&self) -> libc::pid_t {
        self.caller.tid
    }

    /// Bytes that the request says its argument has.
    pub fn size(&self) -> usize {
        (self.request >> 16 & 0x3FFF) as usize
    }

    /// Fills `out` from the caller's memory; EFAULT, or ESRCH if the caller waits no more.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<()> {
        let read = self.caller.read(address, out);
        // Only now is it known that the thread id meant the caller all the time.
        self.check()?;
        read.map_err(|errno| self.error(errno, || format!("{} bytes at {address:#x}", out.len())))
    }

    /// Writes the caller's memory, where it may write itself; errors as [`Call::read`].
    pub fn write(&self, address: u64, data: &[u8]) -> Result<()> {
        self.check()?;
        let written = self.caller.write(address, data);
        written.map_err(|errno| self.error(errno, || format!("{} bytes at {address:#x}", data.len())))
    }

    /// A duplicate of the caller's descriptor; EBADF, or ESRCH.
    pub fn get_fd(&self, fd: i32) -> Result<OwnedFd> {
        let file = self.caller.file(fd);
        self.check()?;
        file.map_err(|errno| self.error(errno, || format!("descriptor {fd}")))
    }

    /// Gives the caller a duplicate of `fd`, and its number there; EMFILE is the caller's limit.
    pub fn add_fd(&self, fd: RawFd, cloexec: bool) -> Result<i32> {
        let added = match self.shared.listener() {
            Some(listener) if self.is_open() => listener.add_fd(self.id, fd, cloexec),
            _ => Err(libc::ESRCH),
        };
        added.map_err(|errno| match errno {
            libc::ENOENT | libc::EINPROGRESS => self.error(libc::ESRCH, || format!("descriptor {fd}")),
            errno => self.error(errno, || format!("descriptor {fd}")),
        })
    }

    /// The caller's memory as a file.
    pub fn memory(&self) -> Result<File> {
        let file = self.caller.memory();
        self.check()?;
        file.map_err(|errno| self.error(errno, || "memory".into()))
    }

    /// Ends the call with `errno`, or 0; `false` if the caller waits no more. A second answer is refused with EALREADY.
    pub fn answer(&self, errno: i32) -> Result<bool> {
        match self.claim(ANSWERED) {
            Ok(()) => {
                // What it holds may hold this call.
                drop(lock(&self.ended).take());
                Ok(self.send(errno))
            }
            Err(ENDED) => Ok(false),
            Err(_) => Err(Error::new(
                libc::EALREADY,
                format!("ioctl {:#x} was answered before: answer each call once", self.request),
            )),
        }
    }

    /// Whether the caller still waits.
    pub fn alive(&self) -> bool {
        self.is_open() && self.shared.listener().is_some_and(|listener| listener.valid(self.id))
    }

    /// From now on a signal to the caller ends the call with ERESTARTSYS. `ended` is called once when that happens, when the caller
    /// dies, or when the door closes: on a thread of the door, before the caller goes on; or at once if it has happened.
    pub fn set_interruptible(&self, ended: Option<Ended>) {
        let mut place = lock(&self.ended);
        let state = self.state.load(Ordering::SeqCst);
        if state == OPEN {
            *place = ended;
            drop(place);
        } else {
            drop(place);
            if let (ENDED, Some(ended)) = (state, ended) {
                ended();
            }
            return;
        }
        self.interruptible.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.load(Ordering::SeqCst) == OPEN
    }

    pub(super) fn is_interruptible(&self) -> bool {
        self.interruptible.load(Ordering::SeqCst)
    }

    /// Ends a call that nobody answers any more: with `errno`, or without an answer if the caller is gone.
    pub(super) fn end(&self, errno: Option<i32>) {
        if self.claim(ENDED).is_err() {
            return;
        }
        // Before the caller goes on: what it does next must not meet a wait that is over.
        let ticket = self.ticket.load(Ordering::SeqCst);
        if let (Some(completions), true) = (&self.shared.completions, ticket != 0) {
            completions.cancel(ticket);
        }
        let ended = lock(&self.ended).take();
        if let Some(ended) = ended {
            ended();
        }
        match errno {
            Some(errno) => {
                self.send(errno);
            }
            None => self.shared.finished(self),
        }
    }

    fn claim(&self, state: u8) -> std::result::Result<(), u8> {
        let claimed = self.state.compare_exchange(OPEN, state, Ordering::SeqCst, Ordering::SeqCst);
        claimed.map(|_| ())
    }

    fn send(&self, errno: i32) -> bool {
        // First: the answered program may close the file and make its next call before this thread runs again, and that call comes
        // after the close.
        self.shared.finished(self);
        self.shared
            .listener()
            .is_some_and(|listener| listener.answer(self.id, -errno))
    }

    fn check(&self) -> Result<()> {
        if self.alive() {
            Ok(())
        } else {
            Err(self.error(libc::ESRCH, || "memory and descriptors".into()))
        }
    }

    fn error(&self, errno: i32, what: impl FnOnce() -> String) -> Error {
        let problem = match errno {
            libc::EFAULT => "not all of it is the caller's memory",
            libc::EBADF => "the caller has no such descriptor",
            libc::ESRCH => "the caller waits no more",
            libc::EPERM | libc::EACCES => "the kernel does not let us look into the caller",
            _ => "the kernel refused",
        };
        let what = what();
        Error::new(errno, format!("{what} of thread {}: {problem}", self.tid()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.claim(ANSWERED).is_ok() {
            self.send(libc::EIO);
        }
    }
}
