//! Pages of a client's file in this process: mapped, guarded against shrinking, unmapped on drop.

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use super::{PAGE_SIZE, PROT_READ, PROT_WRITE, bus_error, copy};
use crate::error::{Error, Result};

/// Checks a range of a file and how it is to be mapped; gives the file's status.
pub(super) fn check(fd: RawFd, offset: u64, length: u64, prot: u32) -> Result<libc::stat> {
    if length == 0 || !length.is_multiple_of(PAGE_SIZE) || !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Error::new(
            libc::EINVAL,
            format!("mapping of {length:#x} bytes at file offset {offset:#x}: both must be multiples of {PAGE_SIZE}, and not 0"),
        ));
    }
    if prot == 0 || prot & !(PROT_READ | PROT_WRITE) != 0 {
        return Err(Error::new(
            libc::EINVAL,
            format!("protection {prot} is not 1 (read), 2 (write) or 3 (both)"),
        ));
    }
    let end = offset.checked_add(length).filter(|&end| end <= i64::MAX as u64);
    let (Some(end), Ok(_)) = (end, usize::try_from(length)) else {
        return Err(Error::new(
            libc::EOVERFLOW,
            format!("{length:#x} bytes at file offset {offset:#x} exceed a file's largest size"),
        ));
    };
    // SAFETY: a zeroed stat is a valid value, and the call gets a pointer to a live one.
    let status = unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut status) != 0 {
            return Err(Error::last_os(&format!("file descriptor {fd}")));
        }
        status
    };
    if status.st_mode & libc::S_IFMT == libc::S_IFREG && (status.st_size as u64).next_multiple_of(PAGE_SIZE) < end {
        return Err(Error::new(
            libc::EINVAL,
            format!(
                "the file has {:#x} bytes, but the mapping ends at {end:#x}; enlarge the file first",
                status.st_size
            ),
        ));
    }
    Ok(status)
}

/// What a file is known by if it is memory (of tmpfs or hugetlbfs, as memfds are): all its descriptors then show the same pages.
pub(super) fn memory_file(fd: RawFd, status: &libc::stat) -> Option<(libc::dev_t, libc::ino_t)> {
    // SAFETY: a zeroed value is valid and live; a bad descriptor makes the call fail.
    let file_system = unsafe {
        let mut file_system: libc::statfs = std::mem::zeroed();
        (libc::fstatfs(fd, &mut file_system) == 0).then_some(file_system.f_type)
    };
    let memory = matches!(file_system, Some(libc::TMPFS_MAGIC | libc::HUGETLBFS_MAGIC));
    (memory && status.st_mode & libc::S_IFMT == libc::S_IFREG).then_some((status.st_dev, status.st_ino))
}

/// Refuses what mmap would refuse of a descriptor whose file can be mapped otherwise.
pub(super) fn check_access(fd: RawFd, writable: bool) -> Result<()> {
    // SAFETY: both commands take and change nothing.
    let (flags, seals) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GET_SEALS).max(0)) };
    let refused = if flags < 0 || flags & libc::O_PATH != 0 {
        libc::EBADF
    } else if flags & libc::O_ACCMODE == libc::O_WRONLY || (writable && flags & libc::O_ACCMODE != libc::O_RDWR) {
        libc::EACCES
    } else if writable && seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) != 0 {
        libc::EPERM
    } else {
        return Ok(());
    };
    Err(Error::new(
        refused,
        format!("mapping file descriptor {fd}: {}", std::io::Error::from_raw_os_error(refused)),
    ))
}

/// Maps a range that [`check`] let pass, shared.
pub(super) fn map_range(fd: RawFd, offset: u64, length: u64, writable: bool) -> Result<NonNull<u8>> {
    let access = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    // SAFETY: a new shared mapping at an address of the kernel's choice touches no existing memory; the range fits (`check`).
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length as usize,
            access,
            flags,
            fd,
            offset as libc::off_t,
        )
    };
    match NonNull::new(base.cast::<u8>()) {
        Some(pointer) if base != libc::MAP_FAILED => Ok(pointer),
        _ => Err(Error::last_os(&format!(
            "mapping {length:#x} bytes of file descriptor {fd} at offset {offset:#x}"
        ))),
    }
}

/// Whole pages of a file that another process may rewrite or shrink; read and written through atomics and checked copies.
#[derive(Debug)]
pub struct SharedPages {
    base: NonNull<u8>,
    length: usize,
    guard: &'static bus_error::Guard,
}

// SAFETY: the mapping is process-wide memory that is accessed through atomics and `copy` only.
unsafe impl Send for SharedPages {}
// SAFETY: as above; no method hands out a reference other than to an atomic.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps `length` bytes of `fd` at `offset` for reading and writing; both are multiples of 4096.
    pub fn map(fd: RawFd, offset: u64, length: u64) -> Result<Self> {
        check(fd, offset, length, PROT_READ | PROT_WRITE)?;
        let base = map_range(fd, offset, length, true)?;
        // The length fitted in usize when it was mapped.
        let length = length as usize;
        match bus_error::guard(base.as_ptr(), length, false) {
            Ok(guard) => Ok(Self { base, length, guard }),
            Err(error) => {
                // SAFETY: the mapping was made above and nobody else knows it.
                unsafe { libc::munmap(base.as_ptr().cast(), length) };
                Err(error)
            }
        }
    }

    /// Bytes mapped.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether the file shrank under the mapping.
    pub fn poisoned(&self) -> bool {
        self.guard.poisoned()
    }

    /// The aligned 32-bit word at `offset`; panics if it lies outside (an offset is never a client's).
    #[inline]
    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.length, "word at {offset:#x}");
        // SAFETY: the offset is aligned and inside the mapping, whose base is page-aligned and which lives as long as `self`.
        unsafe { copy::word32(self.base.as_ptr().add(offset)) }
    }

    /// The aligned 64-bit word at `offset`, loaded with acquire order; panics if it lies outside.
    #[inline]
    pub fn load64(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8) && offset < self.length, "word at {offset:#x}");
        // SAFETY: the offset is aligned and inside the mapping, whose base is page-aligned and which lives as long as `self`.
        unsafe { copy::load64(self.base.as_ptr().add(offset)) }
    }

    /// Asks for the cache line at `offset`, to write to it.
    #[inline]
    pub fn prefetch_write(&self, offset: usize) {
        copy::prefetch_write(self.base.as_ptr().wrapping_add(offset));
    }

    /// Copies `data` to `offset`; panics if it leaves the mapping.
    #[inline]
    pub fn write(&self, offset: usize, data: &[u8]) {
        assert!(
            offset <= self.length && data.len() <= self.length - offset,
            "{} bytes at {offset:#x}",
            data.len()
        );
        // SAFETY: the destination was just checked to lie inside the mapping; `data` is a live slice of other memory.
        unsafe { copy::copy(self.base.as_ptr().add(offset), data.as_ptr(), data.len()) }
    }

    /// Copies from `offset` to `out`; panics if it leaves the mapping.
    #[inline]
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(
            offset <= self.length && out.len() <= self.length - offset,
            "{} bytes at {offset:#x}",
            out.len()
        );
        // SAFETY: the source was just checked to lie inside the mapping; `out` is a live slice of other memory.
        unsafe { copy::copy(out.as_mut_ptr(), self.base.as_ptr().add(offset), out.len()) }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        bus_error::release(self.guard);
        // SAFETY: the mapping was made by `map`, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
