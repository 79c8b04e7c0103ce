//! Trace events: what, where, when, how long, how much energy.

use crate::cert::fabric::Cycles;

use super::channel::Direction;

/// The part of a tile an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A DMA channel.
    Channel(Direction, u8),
    /// The core.
    Core,
    /// A lock.
    Lock(u8),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Words of a BD were moved: BD and bytes.
    Moved {
        /// Which BD.
        bd: u8,
        /// Bytes moved.
        bytes: u64,
    },
    /// A channel's task ended.
    TaskEnded,
    /// A task-complete token was issued.
    Token,
    /// An instruction was executed: program word and opcode.
    Executed {
        /// Program word of the instruction.
        word: u16,
        /// Its opcode.
        opcode: u8,
    },
    /// The program marked the trace with this id.
    Mark(u32),
    /// A lock has a new value.
    Lock(i8),
}

/// One thing that happened in the array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceEvent {
    /// When it began.
    pub time: Cycles,
    /// `column << 5 | row`.
    pub tile: u16,
    /// Which part of the tile.
    pub part: Part,
    /// What happened.
    pub what: What,
    /// How long it took.
    pub duration: Cycles,
    /// What it took, in picojoule.
    pub energy: f64,
}
