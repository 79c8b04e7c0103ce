//! What a partition has done, in totals.

use crate::abi::timing::PICOJOULE_PER_UC_OPCODE;
use crate::array::Array;
use crate::cert::{Machine, UcStatistics};

/// Energy, bytes and multiply-accumulates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Picojoule.
    pub energy: f64,
    /// Bytes through the DMA channels of all tiles.
    pub bytes: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

impl Totals {
    fn of(array: &Array) -> Self {
        let report = array.report();
        let mut totals = Self {
            energy: report.energy,
            ..Self::default()
        };
        for tile in &report.tiles {
            totals.bytes += tile.channels.iter().map(|channel| channel.bytes).sum::<u64>();
            totals.macs += tile.core.as_ref().map_or(0, |core| core.macs);
        }
        totals
    }

    fn since(self, before: Self) -> Self {
        Self {
            energy: self.energy - before.energy,
            bytes: self.bytes.saturating_sub(before.bytes),
            macs: self.macs.saturating_sub(before.macs),
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            energy: self.energy + other.energy,
            bytes: self.bytes + other.bytes,
            macs: self.macs + other.macs,
        }
    }
}

/// What was counted when the last packet ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    events: u64,
    array: Totals,
    instructions: u64,
    /// What micro-controllers did before the partition was made anew.
    earlier: Vec<UcStatistics>,
}

impl Counted {
    /// What was done since the last call. Gathering the array's counters takes longer than an empty packet, so that is done only if
    /// the array did anything.
    pub fn update(&mut self, machine: &Machine<Array>) -> Totals {
        let mut done = Totals::default();
        let array = machine.fabric();
        if array.events() != self.events {
            let now = Totals::of(array);
            done = now.since(self.array);
            (self.events, self.array) = (array.events(), now);
        }
        let instructions = machine.statistics().map(|uc| uc.instructions).sum::<u64>();
        done.energy += (instructions - self.instructions) as f64 * PICOJOULE_PER_UC_OPCODE;
        self.instructions = instructions;
        done
    }

    /// Before the partition is made anew: keeps what its micro-controllers did.
    pub fn renew(&mut self, machine: &Machine<Array>) {
        *self = Self {
            earlier: self.statistics(machine),
            ..Self::default()
        };
    }

    /// What each micro-controller did.
    pub fn statistics(&self, machine: &Machine<Array>) -> Vec<UcStatistics> {
        let mut all: Vec<UcStatistics> = machine.statistics().collect();
        for (uc, earlier) in all.iter_mut().zip(&self.earlier) {
            uc.instructions += earlier.instructions;
            uc.pages += earlier.pages;
            uc.dma_bytes += earlier.dma_bytes;
            uc.preemptions += earlier.preemptions;
        }
        all
    }
}
