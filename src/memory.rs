//! What the device's DMA reaches: a function's mapped host memory.

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
}

/// Host memory as one function's DMA sees it. Implementations copy bytes; nothing outside `memory` holds a pointer into it.
pub trait HostMemory {
    /// Copies `out.len()` bytes at `address` to `out`.
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault>;
    /// Copies `data` to `address`.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault>;
}
