//! Cycle and energy report: what each channel and core did.

use crate::abi::timing;
use crate::cert::fabric::Cycles;

use super::Array;
use super::channel::Direction;
use super::tile::Kind;

/// What one DMA channel did.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelReport {
    /// Which way it moves data.
    pub direction: Direction,
    /// Its number among those.
    pub number: u8,
    /// Cycles in which words were on their way.
    pub busy: Cycles,
    /// Bytes moved.
    pub bytes: u64,
    /// Tasks finished.
    pub tasks: u64,
    /// Buffer descriptors started.
    pub bds: u64,
    /// Picojoule.
    pub energy: f64,
}

/// What one core did.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreReport {
    /// Cycles spent in instructions.
    pub busy: Cycles,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Elements of the other instructions.
    pub elements: u64,
    /// Instructions executed.
    pub instructions: u64,
    /// Picojoule.
    pub energy: f64,
}

/// What one tile did; channels that did nothing are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct TileReport {
    /// `column << 5 | row`.
    pub tile: u16,
    /// What stands there.
    pub kind: Kind,
    /// Its channels.
    pub channels: Vec<ChannelReport>,
    /// Its core.
    pub core: Option<CoreReport>,
}

/// What the array did since it was made or scrubbed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Tiles that did anything.
    pub tiles: Vec<TileReport>,
    /// Events processed.
    pub events: u64,
    /// Picojoule, all tiles together.
    pub energy: f64,
}

/// Picojoule for bytes through one channel: each end of a stream pays half.
pub(super) fn channel_energy(host_side: bool, bytes: u64) -> f64 {
    let stream = timing::PICOJOULE_PER_STREAM_BYTE / 2.0;
    bytes as f64
        * if host_side {
            stream + timing::PICOJOULE_PER_HOST_BYTE
        } else {
            stream
        }
}

impl Array {
    /// What every tile did so far.
    pub fn report(&self) -> Report {
        let mut report = Report {
            events: self.processed,
            ..Report::default()
        };
        for tile in &self.tiles {
            let first = usize::from(tile.first_channel);
            let count = usize::from(tile.kind.s2mm() + tile.kind.mm2s());
            let channels: Vec<ChannelReport> = self.channels[first..first + count]
                .iter()
                .filter(|channel| channel.bds > 0)
                .map(|channel| ChannelReport {
                    direction: channel.direction,
                    number: channel.number,
                    busy: channel.busy,
                    bytes: channel.words * 4,
                    tasks: channel.tasks,
                    bds: channel.bds,
                    energy: channel_energy(channel.host_side, channel.words * 4),
                })
                .collect();
            let core = tile
                .core
                .map(|core| &self.cores[usize::from(core)])
                .filter(|core| core.instructions > 0);
            let core = core.map(|core| CoreReport {
                busy: core.busy,
                macs: core.macs + core.wide_macs,
                elements: core.elements,
                instructions: core.instructions,
                energy: core.energy(),
            });
            if !channels.is_empty() || core.is_some() {
                report.energy += channels.iter().map(|channel| channel.energy).sum::<f64>();
                report.energy += core.as_ref().map_or(0.0, |core| core.energy);
                report.tiles.push(TileReport {
                    tile: tile.id(),
                    kind: tile.kind,
                    channels,
                    core,
                });
            }
        }
        report
    }

    /// Events processed, as in [`Array::report`].
    pub fn events(&self) -> u64 {
        self.processed
    }
}
