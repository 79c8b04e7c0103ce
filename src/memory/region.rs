//! A run of device addresses and what is behind it.

use super::unmappable::Handle;
use super::{MemoryFaultKind, bus_error, copy};

/// A run of device addresses and the memory behind it, if there is any. It owns nothing: what it names is the space's.
#[derive(Clone, Copy)]
pub(super) struct Region {
    pub start: u64,
    pub length: u64,
    /// Null where nothing is mapped: then `process` is read and written instead, or there is nothing.
    pub pointer: *mut u8,
    /// A share of the space's, and where in the process's memory the region begins.
    pub process: (Handle, u64),
    pub guard: &'static bus_error::Guard,
    /// Bit 0: the device may read; bit 1: it may write; 0: there is nothing.
    pub prot: u32,
    /// Which of the space's windows `pointer` is in.
    pub window: u32,
}

// SAFETY: the pointer is to process-wide shared memory that is accessed through `copy` only, by readers that unmap waits for; a
// `Process`, whose share this may be, is used by any thread.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Addresses that are taken, with nothing behind them.
    pub fn reserved(start: u64, length: u64) -> Self {
        Self {
            start,
            length,
            pointer: std::ptr::null_mut(),
            process: (Handle::NONE, 0),
            guard: &bus_error::UNMAPPED,
            prot: 0,
            window: 0,
        }
    }

    pub fn end(&self) -> u64 {
        self.start + self.length
    }

    /// The part of this region in `[start, end)`, which must overlap it.
    pub fn part(&self, start: u64, end: u64) -> Self {
        let (start, end) = (start.max(self.start), end.min(self.end()));
        // The offset is below the mapping's length, which is a usize.
        let pointer = if self.mapped() {
            self.pointer.wrapping_add((start - self.start) as usize)
        } else {
            self.pointer
        };
        Self {
            start,
            length: end - start,
            pointer,
            process: (self.process.0, self.process.1 + (start - self.start)),
            ..*self
        }
    }

    #[inline(always)]
    pub fn mapped(&self) -> bool {
        !self.pointer.is_null()
    }

    /// Whether there is something behind it.
    #[inline(always)]
    pub fn reachable(&self) -> bool {
        self.prot != 0
    }

    /// Copies `length` bytes from `offset` on to `out`. What is not mapped is left to [`super::Access`], which may wait.
    ///
    /// # Safety
    /// The range lies inside the region, which is reachable and stays as it is until this returns, and `out` is writable for
    /// `length` bytes.
    #[inline(always)]
    pub unsafe fn read(&self, offset: usize, out: *mut u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
        if !self.mapped() {
            return Err(MemoryFaultKind::Waits);
        }
        // SAFETY: the caller's promise: mapped memory on one side, its own on the other.
        unsafe { copy::copy(out, self.pointer.add(offset), length) };
        Ok(())
    }

    /// Copies `length` bytes of `data` to `offset`.
    ///
    /// # Safety
    /// As [`Region::read`], with `data` readable; the region allows writing.
    #[inline(always)]
    pub unsafe fn write(&self, offset: usize, data: *const u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
        if !self.mapped() {
            return Err(MemoryFaultKind::Waits);
        }
        // SAFETY: as above.
        unsafe { copy::copy(self.pointer.add(offset), data, length) };
        Ok(())
    }

    /// Why `[address, address + length)`, which lies inside, can't be accessed in direction `prot`.
    #[inline]
    pub fn refuses(&self, prot: u32) -> Option<MemoryFaultKind> {
        if self.prot & prot == 0 {
            Some(MemoryFaultKind::Permission)
        } else if self.guard.poisoned() {
            Some(MemoryFaultKind::Poisoned)
        } else {
            None
        }
    }
}
