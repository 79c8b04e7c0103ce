//! A function's DMA address space: which device addresses reach which pages of which file.

use std::fmt;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use super::reader::Reader;
use super::region::Region;
use super::table::Table;
use super::unmappable::{Handle, Process, Strays};
use super::waits::Waits;
use super::windows::{Limits, Windows};
use super::{HostMemory, MemoryFault, MemoryFaultKind, PAGE_SIZE, PROT_READ, PROT_WRITE, unmappable};
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

/// The regions at one time.
pub(super) struct Snapshot {
    pub generation: u64,
    pub regions: Table,
}

impl Snapshot {
    /// The region that holds `address`, if there is something behind it.
    #[inline]
    pub fn find(&self, address: u64) -> Option<&Region> {
        self.regions.find(address).filter(|region| region.reachable())
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
}

/// What a reader shows to those who unmap: the generation it works with, or 0. Written for each packet, so on lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Pin(pub AtomicU64);

/// What only who changes the space sees.
struct Backing {
    windows: Windows,
    limits: Limits,
    /// Regions.
    count: usize,
    /// Of them, those with something behind them.
    reachable: usize,
    strays: Strays,
}

/// A function's DMA address space. All methods may be called from any thread.
///
/// Readers work on an immutable snapshot of the regions. A change publishes a new one, which shares nearly all of the old one's
/// nodes; a change that takes memory away then waits until no reader works with an older one, which is at most one access, or one
/// pause between two accesses, away.
pub struct AddressSpace {
    /// Locked for as long as a pointer takes to copy.
    snapshot: RwLock<Arc<Snapshot>>,
    /// The published snapshot's generation, for readers to compare with theirs.
    pub(super) generation: AtomicU64,
    pins: Mutex<Vec<Arc<Pin>>>,
    backing: Mutex<Backing>,
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self::new(Limits::OWN)
    }
}

/// A lock whose data stays valid when a thread panicked with it: nothing here is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|broken| broken.into_inner())
}

impl AddressSpace {
    /// An empty space.
    pub fn new(limits: Limits) -> Self {
        Self {
            snapshot: RwLock::new(Arc::new(Snapshot {
                generation: 1,
                regions: Table::default(),
            })),
            generation: AtomicU64::new(1),
            pins: Mutex::default(),
            backing: Mutex::new(Backing {
                windows: Windows::new(limits),
                limits,
                count: 0,
                reachable: 0,
                strays: Strays::default(),
            }),
        }
    }

    /// Maps `length` bytes of `fd` at file offset `offset` to device addresses from `address` on.
    ///
    /// # Errors
    /// EINVAL: address, offset or length not a multiple of 4096, length 0, a bad `prot`, or a range past the end of the file;
    /// EOVERFLOW: the range wraps; EEXIST: it overlaps a mapping; ENOSPC: a limit; EBADF, EACCES, ENOMEM: from mmap.
    pub fn map(&self, address: u64, fd: RawFd, offset: u64, length: u64, prot: u32) -> Result<()> {
        let end = checked_range(address, length)?;
        let mut backing = lock(&self.backing);
        let current = self.current();
        backing.check_free(&current.regions, address, end)?;
        let nothing = Region::reserved(address, length);
        let region = match unmappable::open(fd, offset, length, prot, &backing.strays)? {
            Some(process) => Region {
                process: (Handle::new(process), offset),
                prot,
                ..nothing
            },
            None => {
                let place = backing.windows.take(fd, offset, length, prot)?;
                Region {
                    pointer: place.pointer,
                    guard: place.guard,
                    window: place.window,
                    prot,
                    ..nothing
                }
            }
        };
        backing.count += 1;
        backing.reachable += 1;
        self.publish(current.regions.replace(address, end, &[region]));
        Ok(())
    }

    /// Takes note of device addresses that are in use, with nothing behind them that could be reached.
    ///
    /// # Errors
    /// EINVAL, EOVERFLOW, EEXIST, ENOSPC: as [`AddressSpace::map`].
    pub fn reserve(&self, address: u64, length: u64) -> Result<()> {
        let end = checked_range(address, length)?;
        let mut backing = lock(&self.backing);
        let current = self.current();
        backing.check_free(&current.regions, address, end)?;
        backing.count += 1;
        self.publish(current.regions.replace(address, end, &[Region::reserved(address, length)]));
        Ok(())
    }

    /// Takes `[address, address + length)` away; ranges that were never mapped are passed over. When it returns nobody touches the
    /// range any more, but for an access of a process's memory that has taken longer than [`GRACE`]. Gives the number of bytes that
    /// could be reached.
    ///
    /// # Errors
    /// EINVAL: not multiples of 4096, or length 0; EOVERFLOW: the range wraps; ENOSPC: a split makes more mappings than may be.
    pub fn unmap(&self, address: u64, length: u64) -> Result<u64> {
        let end = checked_range(address, length)?;
        let mut backing = lock(&self.backing);
        let current = self.current();
        let removed = current.regions.overlapping(address, end);
        let (Some(first), Some(last)) = (removed.first(), removed.last()) else {
            return Ok(0);
        };
        let mut kept = Vec::new();
        if first.start < address {
            kept.push(first.part(first.start, address));
        }
        if end < last.end() {
            kept.push(last.part(end, last.end()));
        }
        let count = backing.count - removed.len() + kept.len();
        if count > backing.limits.maps {
            return Err(too_many(backing.limits.maps));
        }
        backing.keep(&mut kept);
        backing.count = count;
        backing.reachable -= removed.iter().filter(|region| region.reachable()).count();
        let generation = self.publish(current.regions.replace(address, end, &kept));
        self.wait_for_readers(generation);
        // No snapshot in use holds these regions: readers left the older ones, and the newest was made without them.
        let mut bytes = 0;
        let mut processes = Vec::new();
        for region in removed.iter().filter(|region| region.reachable()) {
            bytes += region.part(address, end).length;
            processes.extend(backing.let_go(region));
        }
        drop(backing);
        wait_for_accesses(&processes);
        Ok(bytes)
    }

    /// The mappings that can be reached, in order of address.
    pub fn mappings(&self) -> Vec<Mapping> {
        let list = |region: &Region| Mapping {
            address: region.start,
            length: region.length,
            prot: region.prot,
        };
        let regions = self.current().regions.all();
        regions.iter().filter(|region| region.reachable()).map(list).collect()
    }

    /// How many ranges are in use, and how many of them can be reached.
    pub fn counts(&self) -> (usize, usize) {
        let backing = lock(&self.backing);
        (backing.count, backing.reachable)
    }

    /// Says whether all of a range can be accessed, without touching it.
    pub fn check(&self, address: u64, length: usize, prot: u32) -> std::result::Result<(), MemoryFault> {
        self.current().walk(address, length, prot, |_, _, _, _| Ok(()))
    }

    /// A reader for one thread at a time. Memory of processes is a fault to it.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader::new(self.clone(), self.pin(), self.current(), None)
    }

    /// A reader for one thread at a time that reaches memory of processes too, and waits for it as `waits` says.
    pub fn patient_reader(self: &Arc<Self>, waits: Arc<Waits>) -> Reader {
        Reader::new(self.clone(), self.pin(), self.current(), Some(waits))
    }

    fn pin(&self) -> Arc<Pin> {
        let pin = Arc::new(Pin::default());
        lock(&self.pins).push(pin.clone());
        pin
    }

    pub(super) fn forget(&self, pin: &Arc<Pin>) {
        lock(&self.pins).retain(|other| !Arc::ptr_eq(other, pin));
    }

    pub(super) fn current(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(|broken| broken.into_inner()).clone()
    }

    fn publish(&self, regions: Table) -> u64 {
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let mut newest = Arc::new(Snapshot { generation, regions });
        {
            let mut snapshot = self.snapshot.write().unwrap_or_else(|broken| broken.into_inner());
            std::mem::swap(&mut *snapshot, &mut newest);
        }
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

    /// Calls `access` with the newest snapshot, for which an unmap waits.
    fn with_snapshot<T>(&self, access: impl FnOnce(&Snapshot) -> T) -> T {
        let entered = Entered {
            space: self,
            pin: self.pin(),
        };
        loop {
            let snapshot = self.current();
            // As in `Reader::refresh`: either this sees a change, or whoever makes the change sees the pin.
            entered.pin.0.store(snapshot.generation, Ordering::SeqCst);
            if self.generation.load(Ordering::SeqCst) == snapshot.generation {
                return access(&snapshot);
            }
        }
    }
}

impl Backing {
    /// Refuses a range that is in use, and one more than may be.
    fn check_free(&self, regions: &Table, address: u64, end: u64) -> Result<()> {
        if let Some(other) = regions.first(address, end) {
            return Err(Error::new(
                libc::EEXIST,
                format!(
                    "device addresses {address:#x}..{end:#x} overlap the mapping {:#x}..{:#x}; unmap that first",
                    other.start,
                    other.end()
                ),
            ));
        }
        if self.count >= self.limits.maps {
            return Err(too_many(self.limits.maps));
        }
        Ok(())
    }

    /// Takes for parts that stay of regions what they need of their own.
    fn keep(&mut self, kept: &mut [Region]) {
        for part in kept.iter_mut().filter(|part| part.reachable()) {
            self.reachable += 1;
            if part.mapped() {
                self.windows.share(part.window);
            } else {
                // SAFETY: the region that this is a part of is in the newest snapshot, so its share was not given back.
                part.process.0 = unsafe { part.process.0.share() };
            }
        }
    }

    /// Gives back what a reachable region has, which nobody finds any more: the process, if that is what was behind it.
    fn let_go(&mut self, region: &Region) -> Option<Arc<Process>> {
        if region.mapped() {
            self.windows.release(region.window);
            return None;
        }
        // SAFETY: the region was in the snapshots and had its share; no reader works with one of those any more.
        Some(unsafe { region.process.0.release() })
    }
}

/// How long a change that takes a process's memory away waits for accesses under way: they have left the lock-free readers'
/// protocol, since the process may make them last for ever.
const GRACE: Duration = Duration::from_millis(100);

fn wait_for_accesses(processes: &[Arc<Process>]) {
    if processes.is_empty() {
        return;
    }
    let began = Instant::now();
    while processes.iter().any(|process| process.busy()) && began.elapsed() < GRACE {
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn too_many(limit: usize) -> Error {
    Error::new(
        libc::ENOSPC,
        format!("{limit} DMA maps exist, which is the limit; unmap some"),
    )
}

/// A pin for the time of one access.
struct Entered<'a> {
    space: &'a AddressSpace,
    pin: Arc<Pin>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.pin.0.store(0, Ordering::Release);
        self.space.forget(&self.pin);
    }
}

/// The control plane's accesses (firmware in Python, tests). Memory of processes is a fault to them: they are made with locks held.
impl HostMemory for AddressSpace {
    fn read(&self, address: u64, out: &mut [u8]) -> std::result::Result<(), MemoryFault> {
        let out_pointer = out.as_mut_ptr();
        self.with_snapshot(|snapshot| {
            snapshot.walk(address, out.len(), PROT_READ, |region, offset, done, count| {
                // SAFETY: `walk` gives ranges inside the region, which stays while the pin shows this snapshot, and inside `out`.
                unsafe { region.read(offset, out_pointer.add(done), count) }
            })
        })
    }

    fn write(&self, address: u64, data: &[u8]) -> std::result::Result<(), MemoryFault> {
        self.with_snapshot(|snapshot| {
            snapshot.walk(address, data.len(), PROT_WRITE, |region, offset, done, count| {
                // SAFETY: as in `read`; the region is mapped for writing, or `walk` had refused.
                unsafe { region.write(offset, data.as_ptr().add(done), count) }
            })
        })
    }
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.mappings()).finish()
    }
}

impl Drop for AddressSpace {
    /// Windows go by themselves. Readers hold an `Arc` of the space, so there are none any more.
    fn drop(&mut self) {
        for region in self.current().regions.all() {
            if region.reachable() && !region.mapped() {
                // SAFETY: the region is in the last snapshot, so it has its share, and nobody finds it any more.
                drop(unsafe { region.process.0.release() });
            }
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
