//! What the device's DMA reaches: a function's mapped host memory.
//!
//! Host memory belongs to clients that may rewrite, shrink or unmap it at any moment. It is touched through [`copy`] only (no Rust
//! reference ever points into it), a file that shrinks poisons its mapping ([`bus_error`]) instead of ending the process, and
//! [`AddressSpace::unmap`] returns only when no reader touches the range any more.

mod bus_error;
mod copy;
mod pages;
mod reader;
mod region;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod unmappable;
mod waits;
mod windows;

use std::fmt;

pub use pages::SharedPages;
pub use reader::{Access, Hint, Reader};
pub use space::{AddressSpace, Mapping};
#[cfg(test)]
pub(crate) use unmappable::tests::Torn;
pub use waits::{Abandoned, Waits};
pub use windows::Limits;

/// Bytes of a page of host memory.
pub const PAGE_SIZE: u64 = 4096;
/// A mapping that the device may read.
pub const PROT_READ: u32 = 1;
/// A mapping that the device may write.
pub const PROT_WRITE: u32 = 2;

/// Why a host access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// Device address of the access.
    pub address: u64,
    /// Bytes of the access.
    pub length: u64,
    /// What was wrong.
    pub kind: MemoryFaultKind,
}

/// Kinds of [`MemoryFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFaultKind {
    /// No mapping, or the access leaves the mapping.
    Unmapped,
    /// The mapping does not allow this direction.
    Permission,
    /// The memory behind the mapping went away (a shrunk file).
    Poisoned,
    /// The process behind the mapping has no such page (any more).
    Withdrawn,
    /// Memory of a process, which may take for ever, and who asked can't wait.
    Waits,
    /// Too many accesses to the process's memory never ended.
    Withheld,
}

impl fmt::Display for MemoryFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.kind {
            MemoryFaultKind::Unmapped => "not mapped for the device; map the buffer before it is used",
            MemoryFaultKind::Permission => "mapped, but not for this direction; map it with the missing permission",
            MemoryFaultKind::Withdrawn => {
                "the program's own, and it has no such page any more: it unmapped or moved it, or ended"
            }
            MemoryFaultKind::Waits => "a program's own, which contexts reach and firmware does not; use memory of a BO",
            MemoryFaultKind::Withheld => {
                "a program's own, whose pages it has kept from the device too often; let it answer (FUSE), or end it"
            }
            MemoryFaultKind::Poisoned => "gone: the file behind the mapping was shrunk; unmap it and map it again",
        };
        write!(
            out,
            "{} bytes at device address {:#x} are {reason}",
            self.length, self.address
        )
    }
}

/// Host memory as one function's DMA sees it. Implementations copy bytes; nothing outside `memory` holds a pointer into it.
pub trait HostMemory {
    /// Copies `out.len()` bytes at `address` to `out`.
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault>;
    /// Copies `data` to `address`.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault>;

    /// Copies rows of `row` bytes (not zero), the first at `address` and each `stride` bytes above the last, one behind the other
    /// to `out`, which holds whole rows.
    fn read_rows(&self, address: u64, stride: u64, row: usize, out: &mut [u8]) -> Result<(), MemoryFault> {
        let mut address = address;
        for out in out.chunks_exact_mut(row) {
            self.read(address, out)?;
            address = address.wrapping_add(stride);
        }
        Ok(())
    }

    /// Copies `data`, rows of `row` bytes (not zero), to the addresses that [`HostMemory::read_rows`] reads.
    fn write_rows(&self, address: u64, stride: u64, row: usize, data: &[u8]) -> Result<(), MemoryFault> {
        let mut address = address;
        for data in data.chunks_exact(row) {
            self.write(address, data)?;
            address = address.wrapping_add(stride);
        }
        Ok(())
    }
}
