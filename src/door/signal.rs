//! The signal that ends a receiver's wait in the kernel, and which threads are the door's.

use std::cell::Cell;
use std::mem::zeroed;
use std::sync::OnceLock;

use crate::error::{Error, Result};

static WAKE: OnceLock<i32> = OnceLock::new();

thread_local! {
    static DOOR: Cell<bool> = const { Cell::new(false) };
}

extern "C" fn nothing(_signal: i32) {}

/// Takes a real-time signal that nobody uses, once per process: the wait for a notification ends for nothing else.
pub fn prepare() -> Result<()> {
    if WAKE.get().is_some() {
        return Ok(());
    }
    for signal in (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev() {
        // SAFETY: all-zero bytes are a valid sigaction; the handler does nothing, and touches nothing.
        unsafe {
            let mut action: libc::sigaction = zeroed();
            if libc::sigaction(signal, std::ptr::null(), &mut action) != 0 || action.sa_sigaction != libc::SIG_DFL {
                continue;
            }
            // No SA_RESTART: the interrupted wait has to return.
            action = zeroed();
            action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            if libc::sigaction(signal, &action, std::ptr::null_mut()) == 0 {
                // Another thread may have been first; its signal does as well.
                let _ = WAKE.set(signal);
                return Ok(());
            }
        }
    }
    Err(Error::new(
        libc::EAGAIN,
        "the ioctl door needs a real-time signal, and all are taken",
    ))
}

/// Marks this thread as the door's and leaves process-wide signals to others.
pub fn enter_door_thread() {
    DOOR.set(true);
    // SAFETY: all-zero bytes are a valid sigset, filled before use; the mask is this thread's own.
    unsafe {
        let mut mask = zeroed();
        libc::sigfillset(&mut mask);
        let own = WAKE.get().copied();
        // Memory faults are signals to the thread itself; blocked, they would kill the process.
        for signal in [libc::SIGBUS, libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP]
            .into_iter()
            .chain(own)
        {
            libc::sigdelset(&mut mask, signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
    }
}

/// Whether this thread is the door's.
pub fn is_door_thread() -> bool {
    DOOR.get()
}

/// This thread's id.
pub fn own_id() -> libc::pid_t {
    // SAFETY: takes nothing and can't fail.
    unsafe { libc::gettid() }
}

/// Ends the wait of thread `tid` of this process, if it waits.
pub fn interrupt(tid: libc::pid_t) {
    if let Some(&signal) = WAKE.get() {
        // SAFETY: plain values; a thread that is gone is not found.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
    }
}
