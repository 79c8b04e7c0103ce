//! The files behind an address space, each in this process once: a map takes its part of a window on its file.
//!
//! A guest with an IOMMU makes a map for each run of pages, thousands of them in one file. Each as a mapping of its own would cost
//! system calls, page faults and one of the 65,530 mappings that Linux allows a process (`vm.max_map_count`); of one client's maps
//! all others would suffer. A window goes with the last map in it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;

use super::{PROT_WRITE, bus_error, pages};
use crate::error::{Error, Result};

/// A window ends at multiples of this offset in its file: little of a large sparse file is in the process that nobody asked for,
/// and a guest of 512 GiB takes 32.
const SPAN: u64 = 16 << 30;

/// What a space may take of the process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Ranges of device addresses.
    pub maps: usize,
    /// Mappings of files.
    pub windows: usize,
    /// Bytes of the process's addresses.
    pub bytes: u64,
}

impl Limits {
    /// VFIO's own limit of maps (`dma_entry_limit` of vfio_iommu_type1.c), and no others.
    pub const OWN: Self = Self {
        maps: 65_535,
        windows: usize::MAX,
        bytes: u64::MAX,
    };

    /// For clients that others must not suffer from: a PF and 64 VFs at these limits leave half of `vm.max_map_count` and of a
    /// process's 128 TiB of addresses.
    pub const SHARED: Self = Self {
        windows: 512,
        bytes: 1 << 40,
        ..Self::OWN
    };
}

/// A file, and whether it is mapped for writing.
type Key = ((libc::dev_t, libc::ino_t), bool);

struct Window {
    base: *mut u8,
    length: u64,
    /// Where in its file it starts.
    offset: u64,
    guard: &'static bus_error::Guard,
    /// Regions in it.
    parts: usize,
    /// By what `shared` finds it.
    key: Option<Key>,
}

// SAFETY: the pointer is to process-wide memory that only munmap is called with here.
unsafe impl Send for Window {}

/// Where a map's memory is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub window: u32,
    pub pointer: *mut u8,
    pub guard: &'static bus_error::Guard,
}

/// The windows of one address space.
pub(super) struct Windows {
    slots: Vec<Option<Window>>,
    free: Vec<u32>,
    /// Windows that maps to come may use, by offset; they don't overlap.
    shared: HashMap<Key, BTreeMap<u64, u32>>,
    bytes: u64,
    limits: Limits,
}

impl Windows {
    pub fn new(limits: Limits) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            shared: HashMap::new(),
            bytes: 0,
            limits,
        }
    }

    /// Finds or makes the place of `length` bytes of `fd` at `offset`; it is the caller's until it is released.
    ///
    /// # Errors
    /// As [`pages::check`] and mmap; ENOSPC: a limit.
    pub fn take(&mut self, fd: RawFd, offset: u64, length: u64, prot: u32) -> Result<Place> {
        let status = pages::check(fd, offset, length, prot)?;
        let writable = prot & PROT_WRITE != 0;
        let Some(file) = pages::memory_file(fd, &status) else {
            return self.open(fd, offset, length, writable, None);
        };
        let key = (file, writable);
        let end = offset + length;
        let shared = self.shared.get(&key);
        let before = shared
            .and_then(|windows| windows.range(..=offset).next_back())
            .map(|(_, &index)| index);
        let (mut low, mut high) = (offset - offset % SPAN, (offset - offset % SPAN).saturating_add(SPAN));
        if let Some((index, window)) = before.and_then(|index| Some((index, self.slots[index as usize].as_ref()?))) {
            let theirs = window.offset + window.length;
            if theirs >= end && !window.guard.poisoned() {
                pages::check_access(fd, writable)?;
                return Ok(self.part(index, offset));
            }
            if theirs > offset {
                return self.open(fd, offset, length, writable, None);
            }
            low = low.max(theirs);
        }
        if let Some((&next, _)) = shared.and_then(|windows| windows.range(offset..).next()) {
            high = high.min(next);
        }
        // A file system's huge pages are whole in a file's size.
        high = high.min((status.st_size as u64).next_multiple_of(super::PAGE_SIZE));
        if high < end {
            return self.open(fd, offset, length, writable, None);
        }
        let whole = self.open(fd, low, high - low, writable, Some(key));
        match whole {
            Ok(place) => Ok(Place {
                pointer: place.pointer.wrapping_add((offset - low) as usize),
                ..place
            }),
            Err(error) if matches!(error.errno, libc::ENOMEM | libc::ENOSPC) => self.open(fd, offset, length, writable, None),
            Err(error) => Err(error),
        }
    }

    /// One more region in a window.
    pub fn share(&mut self, index: u32) {
        if let Some(window) = &mut self.slots[index as usize] {
            window.parts += 1;
        }
    }

    /// One region less; nobody touches what it had. The last one takes the window along.
    pub fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if let Some(window) = slot
            && window.parts > 1
        {
            window.parts -= 1;
        } else if let Some(window) = slot.take() {
            self.free.push(index);
            self.close(&window);
        }
    }

    fn part(&mut self, index: u32, offset: u64) -> Place {
        self.share(index);
        let window = self.slots[index as usize].as_ref().expect("it was just found");
        Place {
            window: index,
            pointer: window.base.wrapping_add((offset - window.offset) as usize),
            guard: window.guard,
        }
    }

    fn open(&mut self, fd: RawFd, offset: u64, length: u64, writable: bool, key: Option<Key>) -> Result<Place> {
        if self.slots.len() - self.free.len() >= self.limits.windows {
            return Err(Error::new(
                libc::ENOSPC,
                format!(
                    "memory in {} files or parts of files is mapped, which is the limit; use fewer",
                    self.limits.windows
                ),
            ));
        }
        if length > self.limits.bytes - self.bytes {
            return Err(Error::new(
                libc::ENOSPC,
                format!(
                    "{length:#x} bytes more than {:#x} pass the limit of {:#x}; unmap some",
                    self.bytes, self.limits.bytes
                ),
            ));
        }
        let base = pages::map_range(fd, offset, length, writable)?.as_ptr();
        // The length fitted in usize when it was mapped.
        let guard = bus_error::guard(base, length as usize, false).inspect_err(|_| {
            // SAFETY: the mapping was made above and nobody else knows it.
            unsafe { libc::munmap(base.cast(), length as usize) };
        })?;
        self.bytes += length;
        let window = Window {
            base,
            length,
            offset,
            guard,
            parts: 1,
            key,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize] = Some(window);
        if let Some(key) = key {
            self.shared.entry(key).or_default().insert(offset, index);
        }
        Ok(Place {
            window: index,
            pointer: base,
            guard,
        })
    }

    fn close(&mut self, window: &Window) {
        if let Some(key) = window.key
            && let Some(windows) = self.shared.get_mut(&key)
        {
            windows.remove(&window.offset);
            if windows.is_empty() {
                self.shared.remove(&key);
            }
        }
        self.bytes -= window.length;
        // The guard goes before the memory does: it must not replace what others map there next.
        bus_error::release(window.guard);
        // SAFETY: the window is mapped memory of ours, and nobody uses any part of it.
        unsafe { libc::munmap(window.base.cast(), window.length as usize) };
    }
}

impl Drop for Windows {
    /// The space has no readers any more.
    fn drop(&mut self) {
        for window in std::mem::take(&mut self.slots).into_iter().flatten() {
            self.close(&window);
        }
    }
}
