//! What micro-controllers say of their work, for the log buffers that a context may have.

use super::fabric::Cycles;

/// One entry: `id` is a text of `abi::uc_log::text`, with up to two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Simulated time.
    pub time: Cycles,
    /// The micro-controller.
    pub uc: u8,
    /// What its text says comes from which part of the firmware (`abi::uc_log::file`).
    pub file: u8,
    /// The text.
    pub id: u8,
    /// How many of the arguments count.
    pub count: u8,
    /// Arguments.
    pub arguments: [u32; 2],
}

/// Where entries go until they are written to the buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub on: bool,
    pub entries: Vec<LogEntry>,
}

impl Log {
    /// Notes an entry; its arguments are those of `text`.
    #[inline]
    pub fn note(&mut self, time: Cycles, uc: usize, (file, id): (u32, u32), arguments: &[u32]) {
        if self.on {
            let mut all = [0; 2];
            all[..arguments.len()].copy_from_slice(arguments);
            self.entries.push(LogEntry {
                time,
                uc: uc as u8,
                file: file as u8,
                id: id as u8,
                count: arguments.len() as u8,
                arguments: all,
            });
        }
    }
}
