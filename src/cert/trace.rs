//! A record of the instructions carried out, for `--trace`.

use super::fabric::Cycles;
use super::page::{INSTRUCTION_WORDS, describe};

/// One instruction as it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Simulated time at which it began.
    pub time: Cycles,
    /// The micro-controller.
    pub uc: u16,
    /// The page it stood on.
    pub page: u16,
    /// Byte offset from the page's start, header excluded.
    pub offset: u16,
    /// The job's id.
    pub job: u16,
    /// Its words; those past its size mean nothing.
    pub words: [u32; INSTRUCTION_WORDS],
}

impl TraceEntry {
    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.words[0] as u8
    }

    /// Mnemonic and operand words.
    pub fn text(&self) -> String {
        describe(&self.words)
    }
}

/// Entries kept until they are taken; later ones are counted but lost.
pub(crate) const TRACE_MAX: usize = 1 << 20;

/// Where entries go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub on: bool,
    pub entries: Vec<TraceEntry>,
    pub lost: u64,
}

impl Trace {
    pub fn push(&mut self, entry: TraceEntry) {
        if self.entries.len() < TRACE_MAX {
            self.entries.push(entry);
        } else {
            self.lost += 1;
        }
    }
}
