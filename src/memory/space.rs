//! A function's DMA address space: which device addresses reach which pages of which file.

use std::fmt;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use super::reader::Reader;
use super::{HostMemory, MemoryFault, MemoryFaultKind, PAGE_SIZE, PROT_READ, PROT_WRITE, bus_error, copy, pages, unmappable};
use crate::error::{Error, Result};

/// Device addresses that are mapped, for callers that list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First device address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Bit 0: the device may read; bit 1: it may write.
    pub prot: u32,
}

/// A run of device addresses and the process memory behind it.
#[derive(Clone, Copy)]
pub(super) struct Region {
    pub start: u64,
    pub length: u64,
    /// Null where the file can't be mapped: then `file` is read and written instead.
    pub pointer: *mut u8,
    /// A descriptor of ours and an offset in it, or -1.
    pub file: (RawFd, u64),
    pub guard: &'static bus_error::Guard,
    pub prot: u32,
}

// SAFETY: the pointer is to process-wide shared memory that is accessed through `copy` only, by readers that unmap waits for.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn end(&self) -> u64 {
        self.start + self.length
    }

    /// The part of this region in `[start, end)`, which must overlap it; the guard is still the whole region's.
    fn part(&self, start: u64, end: u64) -> Self {
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
            file: (self.file.0, self.file.1 + (start - self.start)),
            ..*self
        }
    }

    #[inline(always)]
    pub fn mapped(&self) -> bool {
        !self.pointer.is_null()
    }

    /// A second value for a part of this region, with a guard or a descriptor of its own.
    fn share(&self, part: Self) -> Result<Self> {
        if self.mapped() {
            let guard = bus_error::guard(part.pointer, part.length as usize, self.guard.poisoned())?;
            Ok(Self { guard, ..part })
        } else {
            let file = (unmappable::duplicate(self.file.0)?, part.file.1);
            Ok(Self { file, ..part })
        }
    }

    /// Copies `length` bytes from `offset` on to `out`.
    ///
    /// # Safety
    /// The range lies inside the region, which stays as it is until this returns, and `out` is writable for `length` bytes.
    #[inline(always)]
    pub unsafe fn read(&self, offset: usize, out: *mut u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
        if self.mapped() {
            // SAFETY: the caller's promise: mapped memory on one side, its own on the other.
            unsafe { copy::copy(out, self.pointer.add(offset), length) };
            Ok(())
        } else {
            // SAFETY: the caller's promise about `out`.
            unsafe { unmappable::read(self.file.0, self.file.1 + offset as u64, out, length) }
        }
    }

    /// Copies `length` bytes of `data` to `offset`.
    ///
    /// # Safety
    /// As [`Region::read`], with `data` readable; the region allows writing.
    #[inline(always)]
    pub unsafe fn write(&self, offset: usize, data: *const u8, length: usize) -> std::result::Result<(), MemoryFaultKind> {
        if self.mapped() {
            // SAFETY: as above.
            unsafe { copy::copy(self.pointer.add(offset), data, length) };
            Ok(())
        } else {
            // SAFETY: as above.
            unsafe { unmappable::write(self.file.0, self.file.1 + offset as u64, data, length) }
        }
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

/// The regions at one time, in order of address.
pub(super) struct Snapshot {
    pub generation: u64,
    pub regions: Vec<Region>,
}

impl Snapshot {
    /// The region that holds `address`.
    pub fn find(&self, address: u64) -> Option<&Region> {
        let index = self.regions.partition_point(|region| region.start <= address);
        let region = self.regions.get(index.checked_sub(1)?)?;
        (address - region.start < region.length).then_some(region)
    }

    /// Calls `visit(region, offset in region, bytes done, bytes here)` over the regions of an access, once all of it is known to be
    /// mapped and allowed.
    pub fn walk(
        &self,
        address: u64,
        length: usize,
        prot: u32,
        mut visit: impl FnMut(&Region, usize, usize, usize) -> std::result::Result<(), MemoryFaultKind>,
    ) -> std::result::Result<(), MemoryFault> {
        let fault = |kind| MemoryFault {
            address,
            length: length as u64,
            kind,
        };
        if address.checked_add(length as u64).is_none() {
            return Err(fault(MemoryFaultKind::Unmapped));
        }
        for pass in 0..2 {
            let mut done = 0;
            while done < length {
                let here = address + done as u64;
                let region = self.find(here).ok_or(fault(MemoryFaultKind::Unmapped))?;
                let offset = here - region.start;
                let count = (region.length - offset).min((length - done) as u64) as usize;
                if pass == 1 {
                    visit(region, offset as usize, done, count).map_err(fault)?;
                }
                if let Some(kind) = region.refuses(prot) {
                    return Err(fault(kind));
                }
                done += count;
            }
        }
        Ok(())
    }

    fn overlapping(&self, start: u64, end: u64) -> std::ops::Range<usize> {
        let first = self.regions.partition_point(|region| region.end() <= start);
        let last = self.regions.partition_point(|region| region.start < end);
        first..last.max(first)
    }
}

/// What a reader shows to those who unmap: the generation it works with, or 0. Written for each packet, so on lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Pin(pub AtomicU64);

/// A function's DMA address space. All methods may be called from any thread.
///
/// Readers work on an immutable snapshot of the regions. A change publishes a new one; a change that takes memory away then waits
/// until no reader works with an older one, which is at most one access, or one pause between two accesses, away.
pub struct AddressSpace {
    snapshot: RwLock<Arc<Snapshot>>,
    /// The published snapshot's generation, for readers to compare with theirs.
    pub(super) generation: AtomicU64,
    pins: Mutex<Vec<Arc<Pin>>>,
    changes: Mutex<()>,
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self {
            snapshot: RwLock::new(Arc::new(Snapshot {
                generation: 1,
                regions: Vec::new(),
            })),
            generation: AtomicU64::new(1),
            pins: Mutex::default(),
            changes: Mutex::default(),
        }
    }
}

/// A lock whose data stays valid when a thread panicked with it: nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl AddressSpace {
    /// Maps `length` bytes of `fd` at file offset `offset` to device addresses from `address` on.
    ///
    /// # Errors
    /// EINVAL: address, offset or length not a multiple of 4096, length 0, a bad `prot`, or a range past the end of the file;
    /// EOVERFLOW: the range wraps; EEXIST: it overlaps a mapping; EBADF, EACCES, ENOMEM: from mmap.
    pub fn map(&self, address: u64, fd: RawFd, offset: u64, length: u64, prot: u32) -> Result<()> {
        let end = checked_range(address, length)?;
        let _changes = lock(&self.changes);
        let current = self.current();
        let overlapping = current.overlapping(address, end);
        if let Some(other) = current.regions[overlapping.clone()].first() {
            return Err(Error::new(
                libc::EEXIST,
                format!(
                    "device addresses {address:#x}..{end:#x} overlap the mapping {:#x}..{:#x}; unmap that first",
                    other.start,
                    other.end()
                ),
            ));
        }
        let (pointer, file, guard) = match unmappable::open(fd, offset, length, prot)? {
            Some(file) => (std::ptr::null_mut(), (file, offset), &bus_error::UNMAPPED),
            None => {
                let pointer = pages::map_file(fd, offset, length, prot)?.as_ptr();
                // The length fitted in usize when it was mapped.
                let guard = bus_error::guard(pointer, length as usize, false).inspect_err(|_| {
                    // SAFETY: the mapping was made above and nobody else knows it.
                    unsafe { libc::munmap(pointer.cast(), length as usize) };
                })?;
                (pointer, (-1, 0), guard)
            }
        };
        let (before, after) = current.regions.split_at(overlapping.start);
        let mut regions = Vec::with_capacity(current.regions.len() + 1);
        regions.extend_from_slice(before);
        regions.push(Region {
            start: address,
            length,
            pointer,
            file,
            guard,
            prot,
        });
        regions.extend_from_slice(after);
        self.publish(regions);
        Ok(())
    }

    /// Takes `[address, address + length)` away; ranges that were never mapped are passed over. When it returns nobody touches the
    /// range any more. Gives the number of bytes that were mapped.
    ///
    /// # Errors
    /// EINVAL: not multiples of 4096, or length 0; EOVERFLOW: the range wraps; ENOMEM: a split needs memory.
    pub fn unmap(&self, address: u64, length: u64) -> Result<u64> {
        let end = checked_range(address, length)?;
        let _changes = lock(&self.changes);
        let current = self.current();
        let overlapping = current.overlapping(address, end);
        let removed = &current.regions[overlapping.clone()];
        if removed.is_empty() {
            return Ok(0);
        }
        let mut kept = Vec::new();
        for region in removed {
            for (start, end) in [
                (region.start, address.min(region.end())),
                (end.max(region.start), region.end()),
            ] {
                if start < end {
                    kept.push(region.share(region.part(start, end))?);
                }
            }
        }
        let mut regions = current.regions.clone();
        regions.splice(overlapping.clone(), kept.iter().copied());
        let generation = self.publish(regions);
        self.wait_for_readers(generation);
        let mut bytes = 0;
        for region in removed {
            let gone = region.part(address, end);
            bytes += gone.length;
            if !region.mapped() {
                unmappable::close(region.file.0);
                continue;
            }
            // The whole region's guard goes before any of its memory does: it must not replace what others map there next.
            if bus_error::release(region.guard) {
                let inside = |part: &&Region| part.pointer.addr().wrapping_sub(region.pointer.addr()) < region.length as usize;
                kept.iter().filter(inside).for_each(|part| part.guard.poison());
            }
            // SAFETY: no snapshot in use holds these pages: readers left the older ones, and the newest was made without them.
            unsafe { libc::munmap(gone.pointer.cast(), gone.length as usize) };
        }
        Ok(bytes)
    }

    /// The mappings, in order of address.
    pub fn mappings(&self) -> Vec<Mapping> {
        let list = |region: &Region| Mapping {
            address: region.start,
            length: region.length,
            prot: region.prot,
        };
        self.current().regions.iter().map(list).collect()
    }

    /// Says whether all of a range can be accessed, without touching it.
    pub fn check(&self, address: u64, length: usize, prot: u32) -> std::result::Result<(), MemoryFault> {
        self.current().walk(address, length, prot, |_, _, _, _| Ok(()))
    }

    /// A reader for one thread at a time.
    pub fn reader(self: &Arc<Self>) -> Reader {
        let pin = Arc::new(Pin::default());
        lock(&self.pins).push(pin.clone());
        Reader::new(self.clone(), pin, self.current())
    }

    pub(super) fn forget(&self, pin: &Arc<Pin>) {
        lock(&self.pins).retain(|other| !Arc::ptr_eq(other, pin));
    }

    pub(super) fn current(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(|broken| broken.into_inner()).clone()
    }

    fn publish(&self, regions: Vec<Region>) -> u64 {
        let mut snapshot = self.snapshot.write().unwrap_or_else(|broken| broken.into_inner());
        let generation = snapshot.generation + 1;
        *snapshot = Arc::new(Snapshot { generation, regions });
        self.generation.store(generation, Ordering::SeqCst);
        generation
    }

    /// Returns when no reader works with a snapshot older than `generation`.
    fn wait_for_readers(&self, generation: u64) {
        let pins = lock(&self.pins).clone();
        for pin in pins {
            let mut waited = 0u32;
            while (1..generation).contains(&pin.0.load(Ordering::SeqCst)) {
                waited += 1;
                if waited < 200 {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        }
    }
}

/// The control plane's accesses (firmware in Python, tests). They hold the snapshot's lock, so an unmap waits for them.
impl HostMemory for AddressSpace {
    fn read(&self, address: u64, out: &mut [u8]) -> std::result::Result<(), MemoryFault> {
        let snapshot = self.snapshot.read().unwrap_or_else(|broken| broken.into_inner());
        let out_pointer = out.as_mut_ptr();
        snapshot.walk(address, out.len(), PROT_READ, |region, offset, done, count| {
            // SAFETY: `walk` gives ranges inside the region, whose pages stay mapped while the lock is held, and inside `out`.
            unsafe { region.read(offset, out_pointer.add(done), count) }
        })
    }

    fn write(&self, address: u64, data: &[u8]) -> std::result::Result<(), MemoryFault> {
        let snapshot = self.snapshot.read().unwrap_or_else(|broken| broken.into_inner());
        snapshot.walk(address, data.len(), PROT_WRITE, |region, offset, done, count| {
            // SAFETY: as in `read`; the region is mapped for writing, or `walk` had refused.
            unsafe { region.write(offset, data.as_ptr().add(done), count) }
        })
    }
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.mappings()).finish()
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        for region in &self.current().regions {
            if !region.mapped() {
                unmappable::close(region.file.0);
                continue;
            }
            bus_error::release(region.guard);
            // SAFETY: readers hold an `Arc` of the space, so there are none any more.
            unsafe { libc::munmap(region.pointer.cast(), region.length as usize) };
        }
    }
}

fn checked_range(address: u64, length: u64) -> Result<u64> {
    if length == 0 || !length.is_multiple_of(PAGE_SIZE) || !address.is_multiple_of(PAGE_SIZE) {
        return Err(Error::new(
            libc::EINVAL,
            format!("{length:#x} bytes at device address {address:#x}: both must be multiples of {PAGE_SIZE}, and not 0"),
        ));
    }
    address.checked_add(length).ok_or_else(|| {
        Error::new(
            libc::EOVERFLOW,
            format!("{length:#x} bytes at device address {address:#x} pass the end of 64-bit addresses"),
        )
    })
}
