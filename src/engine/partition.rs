//! What a partition's array has done, in totals.

use crate::array::Array;

/// Energy, bytes and multiply-accumulates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Picojoule.
    pub energy: f64,
    /// Bytes through all DMA channels.
    pub bytes: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

impl Totals {
    /// What `array` did since it was made.
    pub fn of(array: &Array) -> Self {
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

    /// What came on top of `before`.
    pub fn since(self, before: Self) -> Self {
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
