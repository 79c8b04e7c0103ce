//! One thread's way into an address space: lookups that hit a small cache, copies, and the promise that unmap waits for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::region::Region;
use super::space::{AddressSpace, Pin, Snapshot};
use super::waits::Waits;
use super::{HostMemory, MemoryFault, MemoryFaultKind, PROT_READ, PROT_WRITE, copy, unmappable};

/// Regions met lately, by page of the address.
const CACHE: usize = 16;

/// A reader of one [`AddressSpace`]; [`Reader::enter`] gives access.
pub struct Reader {
    space: Arc<AddressSpace>,
    pin: Arc<Pin>,
    snapshot: RefCell<Arc<Snapshot>>,
    generation: Cell<u64>,
    cache: [Cell<Option<Region>>; CACHE],
    waits: Option<Arc<Waits>>,
}

impl Reader {
    pub(super) fn new(space: Arc<AddressSpace>, pin: Arc<Pin>, snapshot: Arc<Snapshot>, waits: Option<Arc<Waits>>) -> Self {
        let generation = Cell::new(snapshot.generation);
        Self {
            space,
            pin,
            snapshot: RefCell::new(snapshot),
            generation,
            cache: [const { Cell::new(None) }; CACHE],
            waits,
        }
    }

    /// Access until the guard is dropped. Unmapping waits for the guard's next access, or for its end.
    #[inline]
    pub fn enter(&self) -> Access<'_> {
        self.refresh();
        Access { reader: self }
    }

    /// Shows the newest generation as ours, and works with its snapshot.
    #[inline]
    fn refresh(&self) {
        loop {
            let generation = self.generation.get();
            // Either this sees a change, or whoever makes the change sees the pin: both store, then load, all sequentially consistent.
            self.pin.0.store(generation, Ordering::SeqCst);
            if self.space.generation.load(Ordering::SeqCst) == generation {
                return;
            }
            self.reload();
        }
    }

    #[cold]
    fn reload(&self) {
        let newest = self.space.current();
        self.cache.iter().for_each(|cached| cached.set(None));
        self.generation.set(newest.generation);
        *self.snapshot.borrow_mut() = newest;
    }

    /// The region that holds `address`, by cache.
    #[inline(always)]
    fn find(&self, address: u64) -> Option<Region> {
        if self.space.generation.load(Ordering::Relaxed) != self.generation.get() {
            self.refresh();
        }
        let cached = &self.cache[((address >> 12) ^ (address >> 20)) as usize % CACHE];
        if let Some(region) = cached.get()
            && address.wrapping_sub(region.start) < region.length
        {
            return Some(region);
        }
        let region = *self.snapshot.borrow().find(address)?;
        cached.set(Some(region));
        Some(region)
    }

    /// The pointer to an access that lies in one region, or `None` for one that needs [`Snapshot::walk`].
    #[inline(always)]
    fn single(&self, address: u64, length: usize, prot: u32) -> Result<Option<Region>, MemoryFault> {
        let fault = |kind| MemoryFault {
            address,
            length: length as u64,
            kind,
        };
        let region = self.find(address).ok_or(fault(MemoryFaultKind::Unmapped))?;
        if region.length - (address - region.start) < length as u64 {
            return Ok(None);
        }
        region.refuses(prot).map_or(Ok(Some(region)), |kind| Err(fault(kind)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.space.forget(&self.pin);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Reader of {:?}", self.space)
    }
}

/// Access to an address space, for as long as one slice of work takes.
pub struct Access<'a> {
    reader: &'a Reader,
}

/// A cache line that will be read soon. It may be asked for at any time, also when its memory is mapped no more: asking is no access.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint(usize);

impl Hint {
    /// Asks for the line.
    #[inline]
    pub fn prefetch(self) {
        copy::prefetch(std::ptr::without_provenance(self.0));
    }
}

impl Access<'_> {
    /// The cache line behind `address`; an empty hint if that is not mapped.
    pub fn hint(&self, address: u64) -> Hint {
        let pointer = |region: Region| region.pointer.addr() + (address - region.start) as usize;
        Hint(self.reader.find(address).filter(Region::mapped).map_or(0, pointer))
    }

    /// Tells the processor that `address` will be written soon. It may be anything; what is not mapped is left alone.
    #[inline]
    pub fn prefetch_write(&self, address: u64) {
        if let Some(region) = self.reader.find(address) {
            let pointer = region.pointer.wrapping_add((address - region.start) as usize);
            copy::prefetch_write(pointer);
        }
    }
}

impl Access<'_> {
    /// The mapped region that holds all rows of an access and allows it.
    fn rows_region(&self, address: u64, stride: u64, row: usize, length: usize, prot: u32) -> Option<Region> {
        let steps = (length / row).checked_sub(1)? as u64;
        let span = stride.checked_mul(steps)?.checked_add(row as u64)?;
        self.reader
            .single(address, usize::try_from(span).ok()?, prot)
            .ok()?
            .filter(Region::mapped)
    }
}

/// Accesses of which a part is a process's memory.
impl Access<'_> {
    #[cold]
    fn read_patiently(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        let pointer = out.as_mut_ptr();
        self.by_region(address, out.len(), PROT_READ, |region, offset, done, count| {
            if region.mapped() {
                // SAFETY: `by_region` gives ranges inside `out` and inside the region, which stays mapped until this reader shows a
                // newer generation.
                unsafe { region.read(offset, pointer.add(done), count) }
            } else {
                // SAFETY: as above, about `out`.
                self.wait(region, |file, start| unsafe {
                    unmappable::read(file, start + offset as u64, pointer.add(done), count)
                })
            }
        })
    }

    #[cold]
    fn write_patiently(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        self.by_region(address, data.len(), PROT_WRITE, |region, offset, done, count| {
            if region.mapped() {
                // SAFETY: as above; `by_region` found the region writable.
                unsafe { region.write(offset, data.as_ptr().add(done), count) }
            } else {
                // SAFETY: as above, about `data`.
                self.wait(region, |file, start| unsafe {
                    unmappable::write(file, start + offset as u64, data.as_ptr().add(done), count)
                })
            }
        })
    }

    /// Calls `access(region, offset in region, bytes done, bytes here)` over an access, once all of it is known to be mapped and
    /// allowed. Each region is looked up when its turn comes: a wait for one lets others go.
    fn by_region(
        &self,
        address: u64,
        length: usize,
        prot: u32,
        mut access: impl FnMut(&Region, usize, usize, usize) -> Result<(), MemoryFaultKind>,
    ) -> Result<(), MemoryFault> {
        let fault = |kind| fault(address, length, kind);
        self.reader
            .snapshot
            .borrow()
            .walk(address, length, prot, |_, _, _, _| Ok(()))?;
        let mut done = 0;
        while done < length {
            let here = address + done as u64;
            let region = self.reader.find(here).ok_or(fault(MemoryFaultKind::Unmapped))?;
            let offset = here - region.start;
            let count = (region.length - offset).min((length - done) as u64) as usize;
            if let Some(kind) = region.refuses(prot) {
                return Err(fault(kind));
            }
            access(&region, offset as usize, done, count).map_err(fault)?;
            if region.guard.poisoned() {
                return Err(fault(MemoryFaultKind::Poisoned));
            }
            done += count;
        }
        Ok(())
    }

    /// Calls `access` with a process's memory, and where `region` begins in it. Meanwhile no unmap waits for this reader.
    fn wait(
        &self,
        region: &Region,
        access: impl FnOnce(RawFd, u64) -> Result<(), MemoryFaultKind>,
    ) -> Result<(), MemoryFaultKind> {
        let reader = self.reader;
        let waits = reader.waits.as_deref().ok_or(MemoryFaultKind::Waits)?;
        // SAFETY: the region is of the snapshot that this reader shows, so the space has not given its share back.
        let process = unsafe { region.process.0.process() };
        let wait = waits.begin(process.clone())?;
        let result = process.access(|file| {
            reader.pin.0.store(0, Ordering::Release);
            access(file, region.process.1)
        });
        drop(process);
        wait.end();
        reader.refresh();
        result
    }
}

impl HostMemory for Access<'_> {
    #[inline]
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        if out.is_empty() {
            return Ok(());
        }
        let poisoned = match self.reader.single(address, out.len(), PROT_READ)? {
            Some(region) => {
                // SAFETY: the access lies inside the region, which stays mapped until this reader shows a newer generation.
                if unsafe { region.read((address - region.start) as usize, out.as_mut_ptr(), out.len()) }.is_err() {
                    return self.read_patiently(address, out);
                }
                region.guard.poisoned()
            }
            None => {
                let (pointer, mut poisoned) = (out.as_mut_ptr(), false);
                let walked = self
                    .reader
                    .snapshot
                    .borrow()
                    .walk(address, out.len(), PROT_READ, |region, offset, done, count| {
                        // SAFETY: as above, and `walk` gives ranges inside `out`.
                        unsafe { region.read(offset, pointer.add(done), count) }?;
                        poisoned |= region.guard.poisoned();
                        Ok(())
                    });
                match walked {
                    Err(fault) if fault.kind == MemoryFaultKind::Waits => return self.read_patiently(address, out),
                    walked => walked?,
                }
                poisoned
            }
        };
        if poisoned { Err(poison(address, out.len())) } else { Ok(()) }
    }

    #[inline]
    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        if data.is_empty() {
            return Ok(());
        }
        let poisoned = match self.reader.single(address, data.len(), PROT_WRITE)? {
            Some(region) => {
                // SAFETY: the access lies inside the region, which is writable and stays mapped until this reader shows a newer
                // generation.
                if unsafe { region.write((address - region.start) as usize, data.as_ptr(), data.len()) }.is_err() {
                    return self.write_patiently(address, data);
                }
                region.guard.poisoned()
            }
            None => {
                let mut poisoned = false;
                let walked =
                    self.reader
                        .snapshot
                        .borrow()
                        .walk(address, data.len(), PROT_WRITE, |region, offset, done, count| {
                            // SAFETY: as above, and `walk` gives ranges inside `data`.
                            unsafe { region.write(offset, data.as_ptr().add(done), count) }?;
                            poisoned |= region.guard.poisoned();
                            Ok(())
                        });
                match walked {
                    Err(fault) if fault.kind == MemoryFaultKind::Waits => return self.write_patiently(address, data),
                    walked => walked?,
                }
                poisoned
            }
        };
        if poisoned { Err(poison(address, data.len())) } else { Ok(()) }
    }

    fn read_rows(&self, address: u64, stride: u64, row: usize, out: &mut [u8]) -> Result<(), MemoryFault> {
        let Some(region) = self.rows_region(address, stride, row, out.len(), PROT_READ) else {
            return by_row(address, stride, out.chunks_exact_mut(row), |address, out| {
                self.read(address, out)
            });
        };
        // SAFETY: `rows_region` found all rows inside the region, which stays mapped until this reader shows a newer generation, and
        // `out` holds them.
        unsafe {
            let source = region.pointer.add((address - region.start) as usize);
            copy::copy_rows(out.as_mut_ptr(), row, source, stride as usize, row, out.len() / row);
        }
        if region.guard.poisoned() {
            Err(poison(address, out.len()))
        } else {
            Ok(())
        }
    }

    fn write_rows(&self, address: u64, stride: u64, row: usize, data: &[u8]) -> Result<(), MemoryFault> {
        let Some(region) = self.rows_region(address, stride, row, data.len(), PROT_WRITE) else {
            return by_row(address, stride, data.chunks_exact(row), |address, data| {
                self.write(address, data)
            });
        };
        // SAFETY: as above, and the region is writable.
        unsafe {
            let destination = region.pointer.add((address - region.start) as usize);
            copy::copy_rows(destination, stride as usize, data.as_ptr(), row, row, data.len() / row);
        }
        if region.guard.poisoned() {
            Err(poison(address, data.len()))
        } else {
            Ok(())
        }
    }
}

/// Accesses rows one by one, for those that do not lie in one region: the fault names the row.
fn by_row<T>(
    address: u64,
    stride: u64,
    rows: impl Iterator<Item = T>,
    access: impl Fn(u64, T) -> Result<(), MemoryFault>,
) -> Result<(), MemoryFault> {
    rows.enumerate()
        .try_for_each(|(row, bytes)| access(address.wrapping_add(stride.wrapping_mul(row as u64)), bytes))
}

fn fault(address: u64, length: usize, kind: MemoryFaultKind) -> MemoryFault {
    MemoryFault {
        address,
        length: length as u64,
        kind,
    }
}

fn poison(address: u64, length: usize) -> MemoryFault {
    fault(address, length, MemoryFaultKind::Poisoned)
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        self.reader.pin.0.store(0, Ordering::Release);
    }
}
