//! What a micro-controller sees of the array.

use crate::memory::HostMemory;

/// Simulated time in cycles of the array clock.
pub type Cycles = u64;

/// Why a register access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterFault {
    /// Register-space address.
    pub address: u32,
    /// What was wrong with it.
    pub reason: &'static str,
}

/// Why the array stopped: which tile, which of its parts, and what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayFault {
    /// `column << 5 | row`.
    pub tile: u16,
    /// The part, for example `S2MM0 BD 3` or `core pc 0x40`.
    pub part: String,
    /// What was wrong, with the limit it broke.
    pub reason: String,
}

/// The array behind the register map, as an event-driven machine.
///
/// The micro-controllers' interpreter owns the order of things: it always advances whichever comes first, its own earliest
/// runnable job or [`Fabric::step`].
pub trait Fabric {
    /// Reads one register at simulated time `at`.
    fn read(&mut self, at: Cycles, address: u32) -> Result<u32, RegisterFault>;
    /// Writes one register.
    fn write(&mut self, at: Cycles, address: u32, value: u32) -> Result<(), RegisterFault>;
    /// Writes consecutive registers or tile memory from `address` on.
    fn write_block(&mut self, at: Cycles, address: u32, words: &[u32]) -> Result<(), RegisterFault>;
    /// Reads consecutive registers or tile memory.
    fn read_block(&mut self, at: Cycles, address: u32, words: &mut [u32]) -> Result<(), RegisterFault>;
    /// Takes `count` task-complete tokens of `actor` on `tile` (`column << 5 | row`) and tells when the last of them arrived;
    /// takes none and answers `None` while there are fewer.
    fn take_tokens(&mut self, tile: u16, actor: u8, count: u32) -> Option<Cycles>;
    /// Time of the earliest event waiting to be processed.
    fn next_event(&self) -> Option<Cycles>;
    /// Processes the earliest event.
    fn step(&mut self, host: &dyn HostMemory) -> Result<(), ArrayFault>;
    /// Tokens that have arrived so far, taken or not; `None` when the fabric does not count them. Only a change of this count makes
    /// the micro-controllers look for tokens again after a [`Fabric::step`], so counting them saves time.
    fn tokens_arrived(&self) -> Option<u64> {
        None
    }
    /// Another context has had the fabric meanwhile: nothing is as it was.
    fn hand_over(&mut self) {}
    /// What the fabric's stalled parts wait for, one short phrase each; goes into the message of a timeout.
    fn blocked(&self) -> String {
        String::new()
    }
}
