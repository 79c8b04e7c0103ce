//! The log buffers of a context's micro-controllers, in host memory.

use crate::abi::uc_log::{HEADER_SIZE, WORDS_BEFORE_ARGUMENTS, log_entry};
use crate::cert::{Cycles, LogEntry};
use crate::memory::HostMemory;

/// One micro-controller's ring.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    address: u64,
    /// Bytes of entries; 0: it has no buffer.
    room: u64,
    /// Bytes ever logged.
    count: u64,
}

/// The rings, by micro-controller. What the host may have written into them is never read.
#[derive(Clone, Debug)]
pub(super) struct UcLog(Vec<Ring>);

impl UcLog {
    /// Rings at `(address, size)`, by micro-controller; size 0 for one without. Sizes hold the header and at least one entry.
    pub fn new(buffers: &[(u64, u32)]) -> Self {
        let ring = |&(address, size): &(u64, u32)| Ring {
            address,
            room: u64::from(size.saturating_sub(HEADER_SIZE)) / log_entry::SIZE as u64 * log_entry::SIZE as u64,
            count: 0,
        };
        Self(buffers.iter().map(ring).collect())
    }

    /// Appends `entries`, whose times `time` turns into nanoseconds. What can't be written is lost: logging fails no context.
    pub fn write(&mut self, host: &dyn HostMemory, entries: &[LogEntry], time: impl Fn(Cycles) -> u64) {
        let mut touched = 0u64;
        for entry in entries {
            let Some(ring) = self.0.get_mut(usize::from(entry.uc)).filter(|ring| ring.room > 0) else {
                continue;
            };
            let offset = u64::from(HEADER_SIZE) + ring.count % ring.room;
            if host
                .write(ring.address.wrapping_add(offset), &bytes(entry, time(entry.time)))
                .is_ok()
            {
                ring.count += log_entry::SIZE as u64;
                touched |= 1 << entry.uc;
            }
        }
        for (uc, ring) in self.0.iter().enumerate() {
            if touched >> uc & 1 != 0 {
                // The buffer was there a moment ago; a reader that finds no new count finds no new entries.
                let _lost = host.write(ring.address, &ring.count.to_le_bytes());
            }
        }
    }
}

fn bytes(entry: &LogEntry, nanoseconds: u64) -> [u8; log_entry::SIZE] {
    let mut bytes = [0; log_entry::SIZE];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(log_entry::LENGTH, WORDS_BEFORE_ARGUMENTS + u32::from(entry.count));
    put(log_entry::TS_HIGH, (nanoseconds >> 32) as u32);
    put(log_entry::TS_LOW, nanoseconds as u32);
    put(log_entry::FILE_ID, u32::from(entry.file));
    put(log_entry::LOG_ID, u32::from(entry.id));
    put(log_entry::ARGUMENT1, entry.arguments[0]);
    put(log_entry::ARGUMENT2, entry.arguments[1]);
    bytes
}
