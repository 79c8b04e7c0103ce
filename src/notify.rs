//! Signals eventfds of others without ever waiting for them.
//!
//! A write to a *blocking* eventfd waits while its counter is full, and whoever shares it can fill it between a look and the write.
//! The kernel itself never waits: it adds to a counter, or leaves it at its end. So the signal is a completion of kernel AIO
//! (`IOCB_FLAG_RESFD` of io_submit(2)): of a poll on a descriptor of our own that is always ready, which completes at once.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// Completions that may lie uncollected; they are taken away when there is room for no other.
const EVENTS: libc::c_long = 64;
/// `enum { IOCB_CMD_POLL = 5 }` of Linux's `aio_abi.h`.
const IOCB_CMD_POLL: u16 = 5;
/// `IOCB_FLAG_RESFD` of Linux's `aio_abi.h`: signal `aio_resfd`.
const IOCB_FLAG_RESFD: u32 = 1;

/// The process's AIO context. It belongs to an address space, so a forked child can't use it.
struct Context {
    process: u32,
    id: libc::c_ulong,
    ready: OwnedFd,
}

static CONTEXT: OnceLock<Option<Context>> = OnceLock::new();

impl Context {
    /// None where the kernel, or a sandbox, has no AIO.
    fn new() -> Option<Self> {
        let mut id: libc::c_ulong = 0;
        // SAFETY: eventfd takes plain values, and a result of 0 or more is a descriptor that nobody else owns; io_setup gets a live
        // integer that is 0, as it asks for.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            let ready = (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?;
            (libc::syscall(libc::SYS_io_setup, EVENTS, &raw mut id) == 0).then(|| Self {
                process: std::process::id(),
                id,
                ready,
            })
        }
    }

    fn submit(&self, eventfd: RawFd) -> bool {
        // SAFETY: all-zero bytes are a valid iocb.
        let mut request: libc::iocb = unsafe { mem::zeroed() };
        request.aio_lio_opcode = IOCB_CMD_POLL;
        request.aio_fildes = self.ready.as_raw_fd() as u32;
        request.aio_buf = libc::POLLOUT as u64;
        request.aio_flags = IOCB_FLAG_RESFD;
        request.aio_resfd = eventfd as u32;
        let mut list = [&raw mut request];
        // SAFETY: one pointer to a live request, which the kernel copies before it returns.
        unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1 as libc::c_long, list.as_mut_ptr()) == 1 }
    }

    fn collect(&self) {
        // `struct io_event`: four 64-bit words.
        let mut events = [[0u64; 4]; EVENTS as usize];
        let none = std::ptr::null_mut::<libc::timespec>();
        // SAFETY: room for as many events as the call may write; with a minimum of 0 it does not wait.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                0 as libc::c_long,
                EVENTS,
                events.as_mut_ptr(),
                none,
            )
        };
    }
}

/// Adds one to an eventfd's counter; a full one is left as it is.
pub fn signal(eventfd: BorrowedFd<'_>) {
    let fd = eventfd.as_raw_fd();
    let context = CONTEXT.get_or_init(Context::new).as_ref();
    if let Some(context) = context.filter(|context| context.process == std::process::id()) {
        for _ in 0..4 {
            if context.submit(fd) {
                return;
            }
            context.collect();
        }
    }
    write_if_ready(fd);
}

/// What is left without AIO: a blocking eventfd that is filled between the look and the write holds us up.
fn write_if_ready(fd: RawFd) {
    let mut ready = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: `poll` gets one live pollfd, `write` 8 bytes of a live integer.
    unsafe {
        if libc::poll(&mut ready, 1, 0) == 1 && ready.revents & libc::POLLOUT != 0 {
            libc::write(fd, (&raw const ONE).cast(), 8);
        }
    }
}

static ONE: u64 = 1;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    fn eventfd(flags: libc::c_int) -> OwnedFd {
        // SAFETY: a new descriptor that nobody else owns.
        unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, flags)) }
    }

    fn read(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        let copy = fd.try_clone().expect("a descriptor");
        File::from(copy).read_exact(&mut bytes).expect("a count");
        u64::from_ne_bytes(bytes)
    }

    fn fill(fd: &OwnedFd) {
        let full = u64::MAX - 1;
        // SAFETY: 8 bytes of a live integer.
        unsafe { libc::write(fd.as_raw_fd(), (&raw const full).cast(), 8) };
    }

    #[test]
    fn signals_are_counted() {
        let fd = eventfd(0);
        for _ in 0..1000 {
            signal(fd.as_fd());
        }
        assert_eq!(read(&fd), 1000);
    }

    /// Without the kernel's help the second call would never return.
    #[test]
    fn full_counters_hold_nobody_up() {
        let fd = eventfd(0);
        fill(&fd);
        for _ in 0..1000 {
            signal(fd.as_fd());
        }
        assert!(read(&fd) >= u64::MAX - 1);
    }

    #[test]
    fn without_aio_a_ready_counter_is_written() {
        let fd = eventfd(0);
        write_if_ready(fd.as_raw_fd());
        assert_eq!(read(&fd), 1);
        fill(&fd);
        write_if_ready(fd.as_raw_fd());
        assert_eq!(read(&fd), u64::MAX - 1);
    }

    #[test]
    fn threads_share_it() {
        let fd = eventfd(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| signal(fd.as_fd())));
            }
        });
        assert_eq!(read(&fd), 2000);
    }
}
