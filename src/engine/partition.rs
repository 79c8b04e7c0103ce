//! The array behind a context.

use crate::cert::fabric::{ArrayFault, Cycles, Fabric, RegisterFault};
use crate::memory::HostMemory;

/// What a partition has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Picojoule.
    pub energy: f64,
    /// Bytes through all DMA channels.
    pub bytes: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// Columns without tiles.
#[derive(Clone, Debug, Default)]
pub struct Array;

impl Array {
    /// `columns` columns.
    pub fn new(_columns: u32) -> Self {
        Self
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}

impl Fabric for Array {
    fn read(&mut self, _at: Cycles, address: u32) -> Result<u32, RegisterFault> {
        Err(RegisterFault {
            address,
            reason: "no tile here",
        })
    }

    fn write(&mut self, _at: Cycles, address: u32, _value: u32) -> Result<(), RegisterFault> {
        Err(RegisterFault {
            address,
            reason: "no tile here",
        })
    }

    fn write_block(&mut self, _at: Cycles, address: u32, _words: &[u32]) -> Result<(), RegisterFault> {
        Err(RegisterFault {
            address,
            reason: "no tile here",
        })
    }

    fn read_block(&mut self, _at: Cycles, address: u32, _words: &mut [u32]) -> Result<(), RegisterFault> {
        Err(RegisterFault {
            address,
            reason: "no tile here",
        })
    }

    fn take_tokens(&mut self, _tile: u16, _actor: u8, _count: u32) -> Option<Cycles> {
        None
    }

    fn next_event(&self) -> Option<Cycles> {
        None
    }

    fn step(&mut self, _host: &dyn HostMemory) -> Result<(), ArrayFault> {
        Ok(())
    }
}
