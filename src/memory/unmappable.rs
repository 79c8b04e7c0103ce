//! Memory of another process, `/proc/PID/mem`: it can't be mapped, so it is read and written.
//!
//! A page that the process has not, or a process that is gone, is a fault.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::{MemoryFaultKind, PAGE_SIZE, PROT_READ, PROT_WRITE};
use crate::error::{Error, Result};

/// A descriptor of ours for `fd` if that is a process's memory; `None` if it is anything else, which can be mapped or not at all.
///
/// # Errors
/// As mmap of a file: EINVAL, EOVERFLOW: the range; EACCES: `fd` is not open for this direction.
pub(super) fn open(fd: RawFd, offset: u64, length: u64, prot: u32) -> Result<Option<RawFd>> {
    if !is_process_memory(fd) {
        return Ok(None);
    }
    if !length.is_multiple_of(PAGE_SIZE) || !offset.is_multiple_of(PAGE_SIZE) || !(1..=3).contains(&prot) {
        return Err(Error::new(
            libc::EINVAL,
            format!("{length:#x} bytes at address {offset:#x} of a process, protection {prot}: whole pages, and 1, 2 or 3"),
        ));
    }
    if offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Error::new(
            libc::EOVERFLOW,
            format!("{length:#x} bytes at address {offset:#x} of a process pass the end of its addresses"),
        ));
    }
    // SAFETY: F_GETFL takes and changes nothing.
    let mode = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_ACCMODE;
    let refused = if mode == libc::O_RDONLY {
        PROT_WRITE
    } else if mode == libc::O_WRONLY {
        PROT_READ
    } else {
        0
    };
    if prot & refused != 0 {
        return Err(Error::new(
            libc::EACCES,
            "a process's memory is not open for this direction; open it for reading and writing",
        ));
    }
    duplicate(fd).map(Some)
}

/// Whether `fd` is `/proc/PID/mem`: on procfs, and so named.
fn is_process_memory(fd: RawFd) -> bool {
    // SAFETY: zeroed values are valid and live; a bad descriptor makes the calls fail.
    let on_procfs = unsafe {
        let mut file_system: libc::statfs = std::mem::zeroed();
        libc::fstatfs(fd, &mut file_system) == 0 && file_system.f_type == libc::PROC_SUPER_MAGIC
    };
    on_procfs
        && std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .is_ok_and(|target| target.file_name().is_some_and(|name| name == "mem"))
}

/// One more descriptor of ours.
pub(super) fn duplicate(fd: RawFd) -> Result<RawFd> {
    // SAFETY: the descriptor is only duplicated; a closed one gives EBADF.
    let duplicated = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    duplicated.map(IntoRawFd::into_raw_fd).map_err(|error| {
        Error::new(
            error.raw_os_error().unwrap_or(libc::EMFILE),
            format!("duplicating a process's memory: {error}"),
        )
    })
}

/// Closes a descriptor that [`open`] or [`duplicate`] gave.
pub(super) fn close(fd: RawFd) {
    // SAFETY: the descriptor is ours, and the caller forgets it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Reads all of `length` bytes at `offset`.
///
/// # Safety
/// `out` is writable for `length` bytes.
#[cold]
pub(super) unsafe fn read(fd: RawFd, offset: u64, out: *mut u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
    all(length, |done| {
        // SAFETY: `done` is below `length`, and the offset was checked when the region was made.
        unsafe { libc::pread(fd, out.add(done).cast(), length - done, (offset + done as u64) as libc::off_t) }
    })
}

/// Writes all of `length` bytes at `offset`.
///
/// # Safety
/// `data` is readable for `length` bytes.
#[cold]
pub(super) unsafe fn write(fd: RawFd, offset: u64, data: *const u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
    all(length, |done| {
        // SAFETY: as above.
        unsafe {
            libc::pwrite(
                fd,
                data.add(done).cast(),
                length - done,
                (offset + done as u64) as libc::off_t,
            )
        }
    })
}

fn all(length: usize, mut step: impl FnMut(usize) -> isize) -> std::result::Result<(), MemoryFaultKind> {
    let mut done = 0;
    while done < length {
        match step(done) {
            count @ 1.. => done += count as usize,
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            _ => return Err(MemoryFaultKind::Withdrawn),
        }
    }
    Ok(())
}
