//! A tile: its memory, buffer descriptors, locks and stream switch.

use crate::abi::array as abi;

use super::lock::Lock;
use super::stream::Switch;

/// What stands at a tile address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Row 0: the way to host memory.
    Shim,
    /// Row 1: 3 MB of memory.
    Mem,
    /// Rows 6 to 9: data memory, program memory and a core.
    Core,
}

impl Kind {
    pub(super) const fn s2mm(self) -> u8 {
        match self {
            Self::Shim => abi::SHIM_S2MM as u8,
            Self::Mem => abi::MEM_S2MM as u8,
            Self::Core => abi::CORE_S2MM as u8,
        }
    }

    pub(super) const fn mm2s(self) -> u8 {
        match self {
            Self::Shim => abi::SHIM_MM2S as u8,
            Self::Mem => abi::MEM_MM2S as u8,
            Self::Core => abi::CORE_MM2S as u8,
        }
    }

    const fn bds(self) -> usize {
        match self {
            Self::Shim => 2 * abi::SHIM_BDS as usize,
            Self::Mem => (abi::MEM_S2MM + abi::MEM_MM2S) as usize * abi::MEM_BDS_PER_CHANNEL as usize,
            Self::Core => abi::CORE_BDS as usize,
        }
    }

    const fn locks(self) -> usize {
        match self {
            Self::Shim => 2 * abi::SHIM_LOCKS as usize,
            Self::Mem => abi::MEM_LOCKS as usize,
            Self::Core => abi::CORE_LOCKS as usize,
        }
    }

    const fn data_size(self) -> usize {
        match self {
            Self::Shim => 0,
            Self::Mem => abi::MEM_TILE_SIZE as usize,
            Self::Core => abi::CORE_DATA_SIZE as usize,
        }
    }

    const fn program_size(self) -> usize {
        match self {
            Self::Core => abi::CORE_PROGRAM_SIZE as usize,
            _ => 0,
        }
    }
}

/// Words kept per buffer descriptor: the widest stride, 0x30 bytes.
pub(super) const BD_WORDS: usize = 12;

/// Zeroed bytes that start on a cache line, so that wide loads of tile arithmetic do not straddle two.
#[derive(Debug)]
pub(super) struct TileMemory {
    raw: Vec<u8>,
    start: usize,
    size: usize,
}

const CACHE_LINE: usize = 64;

impl TileMemory {
    fn new(size: usize) -> Self {
        let raw = vec![0; if size == 0 { 0 } else { size + CACHE_LINE }];
        let start = raw.as_ptr().align_offset(CACHE_LINE).min(raw.len() - size);
        Self { raw, start, size }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.size]
    }

    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.size]
    }

    /// The word at byte offset `at`, or zero past the end.
    #[inline]
    pub fn word(&self, at: usize) -> u32 {
        self.bytes()
            .get(at..at + 4)
            .map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

impl Clone for TileMemory {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.size);
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

/// One tile.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub kind: Kind,
    pub column: u8,
    /// Row of the address, not of the grid: 0, 1, 6 to 9.
    pub row: u8,
    pub memory: TileMemory,
    pub program: TileMemory,
    pub bds: Vec<[u32; BD_WORDS]>,
    pub locks: Vec<Lock>,
    pub switch: Switch,
    /// Index of S2MM0 in the array's channels; S2MM come first, MM2S after them.
    pub first_channel: u16,
    /// Index in the array's cores.
    pub core: Option<u16>,
}

impl Tile {
    pub fn new(kind: Kind, column: u8, row: u8, first_channel: u16, core: Option<u16>) -> Self {
        Self {
            kind,
            column,
            row,
            memory: TileMemory::new(kind.data_size()),
            program: TileMemory::new(kind.program_size()),
            bds: vec![[0; BD_WORDS]; kind.bds()],
            locks: vec![Lock::default(); kind.locks()],
            switch: Switch::default(),
            first_channel,
            core,
        }
    }

    /// `column << 5 | row`, as WAIT_TCTS and faults name a tile.
    pub fn id(&self) -> u16 {
        u16::from(self.column) << (abi::COLUMN_SHIFT - abi::ROW_SHIFT) | u16::from(self.row)
    }
}

/// Rows of the grid: shim, mem, cores.
pub(super) const GRID_ROWS: usize = 2 + abi::CORE_ROWS as usize;

/// The kind and address row of grid row `grid`.
pub(super) fn grid_row(grid: usize) -> (Kind, u8) {
    match grid {
        0 => (Kind::Shim, abi::SHIM_ROW as u8),
        1 => (Kind::Mem, abi::MEM_ROW as u8),
        core => (Kind::Core, abi::FIRST_CORE_ROW as u8 + (core - 2) as u8),
    }
}

/// The grid row of address row `row`.
pub(super) fn row_to_grid(row: u32) -> Option<usize> {
    match row {
        abi::SHIM_ROW => Some(0),
        abi::MEM_ROW => Some(1),
        abi::FIRST_CORE_ROW.. if row < abi::FIRST_CORE_ROW + abi::CORE_ROWS => Some((row - abi::FIRST_CORE_ROW) as usize + 2),
        _ => None,
    }
}
