//! One thread's way into an address space: lookups that hit a small cache, copies, and the promise that unmap waits for.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::region::Region;
use super::space::{AddressSpace, Pin, Snapshot};
use super::{HostMemory, MemoryFault, MemoryFaultKind, PROT_READ, PROT_WRITE, copy};

/// Regions met lately, by page of the address.
const CACHE: usize = 16;

/// A reader of one [`AddressSpace`]; [`Reader::enter`] gives access.
pub struct Reader {
    space: Arc<AddressSpace>,
    pin: Arc<Pin>,
    snapshot: RefCell<Arc<Snapshot>>,
    generation: Cell<u64>,
    cache: [Cell<Option<Region>>; CACHE],
}

impl Reader {
    pub(super) fn new(space: Arc<AddressSpace>, pin: Arc<Pin>, snapshot: Arc<Snapshot>) -> Self {
        let generation = Cell::new(snapshot.generation);
        Self {
            space,
            pin,
            snapshot: RefCell::new(snapshot),
            generation,
            cache: [const { Cell::new(None) }; CACHE],
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

impl HostMemory for Access<'_> {
    #[inline]
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        if out.is_empty() {
            return Ok(());
        }
        let poisoned = match self.reader.single(address, out.len(), PROT_READ)? {
            Some(region) => {
                // SAFETY: the access lies inside the region, which stays mapped until this reader shows a newer generation.
                unsafe { region.read((address - region.start) as usize, out.as_mut_ptr(), out.len()) }
                    .map_err(|kind| fault(address, out.len(), kind))?;
                region.guard.poisoned()
            }
            None => {
                let (pointer, mut poisoned) = (out.as_mut_ptr(), false);
                self.reader
                    .snapshot
                    .borrow()
                    .walk(address, out.len(), PROT_READ, |region, offset, done, count| {
                        // SAFETY: as above, and `walk` gives ranges inside `out`.
                        unsafe { region.read(offset, pointer.add(done), count) }?;
                        poisoned |= region.guard.poisoned();
                        Ok(())
                    })?;
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
                unsafe { region.write((address - region.start) as usize, data.as_ptr(), data.len()) }
                    .map_err(|kind| fault(address, data.len(), kind))?;
                region.guard.poisoned()
            }
            None => {
                let mut poisoned = false;
                self.reader
                    .snapshot
                    .borrow()
                    .walk(address, data.len(), PROT_WRITE, |region, offset, done, count| {
                        // SAFETY: as above, and `walk` gives ranges inside `data`.
                        unsafe { region.write(offset, data.as_ptr().add(done), count) }?;
                        poisoned |= region.guard.poisoned();
                        Ok(())
                    })?;
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
