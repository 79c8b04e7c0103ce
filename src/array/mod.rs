//! The AIE array behind the register map: an event-driven, transaction-level machine.
//!
//! Everything that takes time is an event of a DMA channel or a core, processed in order of simulated time and, within one time,
//! of scheduling. One context's array is one [`Array`]: it can be cloned (a snapshot), scrubbed and dropped.

mod address;
mod bd;
mod blocked;
mod channel;
mod copy;
mod core;
mod dma;
mod event;
mod flow;
mod lock;
mod performance;
mod registers;
mod report;
mod stream;
mod switch;
mod tile;
mod trace;
mod transfer;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::cert::fabric::{ArrayFault, Cycles};
use crate::kernels::Simd;
use crate::memory::HostMemory;

pub use channel::Direction;
pub use report::{ChannelReport, CoreReport, Report, TileReport};
pub use tile::Kind;
pub use trace::{Part, TraceEvent, What};

use channel::{Channel, State};
use core::{Core, CoreState};
use event::Queue;
use stream::Routes;
use tile::{GRID_ROWS, Tile};

/// Columns an address can name.
const COLUMNS_MAX: u32 = 128;

// Events of the array itself; channels come first, then cores.
const REROUTE: u16 = u16::MAX - 1;
const FAULT: u16 = u16::MAX - 2;

/// One context's array.
#[derive(Clone, Debug)]
pub struct Array {
    columns: u32,
    /// Column by column, each from the shim tile upwards.
    tiles: Vec<Tile>,
    channels: Vec<Channel>,
    cores: Vec<Core>,
    events: Queue,
    routes: Routes,
    staging: Vec<u8>,
    simd: Simd,
    now: Cycles,
    /// Faults found while a register was written; each has an event.
    faults: VecDeque<ArrayFault>,
    reroute_pending: bool,
    processed: u64,
    /// Task-complete tokens that have ever arrived.
    tokens: u64,
    trace: Option<Vec<TraceEvent>>,
}

impl Array {
    /// An array of `columns` columns (1 to 128), all zero.
    pub fn new(columns: u32) -> Self {
        let columns = columns.clamp(1, COLUMNS_MAX);
        let mut tiles = Vec::new();
        let mut channels = Vec::new();
        let mut cores = Vec::new();
        for column in 0..columns {
            for grid in 0..GRID_ROWS {
                let (kind, row) = tile::grid_row(grid);
                let index = tiles.len() as u16;
                let core = (kind == Kind::Core).then_some(cores.len() as u16);
                if core.is_some() {
                    cores.push(Core::new(index));
                }
                tiles.push(Tile::new(kind, column as u8, row, channels.len() as u16, core));
                registers::add_channels(&mut channels, kind, index);
            }
        }
        Self {
            columns,
            routes: Routes::new(channels.len()),
            tiles,
            channels,
            cores,
            events: Queue::default(),
            staging: vec![0; copy::STAGING_WORDS as usize * 4],
            simd: Simd::detect(),
            now: 0,
            faults: VecDeque::new(),
            reroute_pending: false,
            processed: 0,
            tokens: 0,
            trace: None,
        }
    }

    /// Makes everything as new: memory, locks, BDs, switches, tasks, cores, time and counters.
    pub fn scrub(&mut self) {
        let tracing = self.trace.is_some();
        *self = Self::new(self.columns);
        self.trace = tracing.then(Vec::new);
    }

    /// Makes everything as new but the time, the counters and the trace.
    pub fn renew(&mut self) {
        let mut new = Self::new(self.columns);
        (new.now, new.processed, new.tokens) = (self.now, self.processed, self.tokens);
        new.trace = self.trace.take();
        for (new, old) in new.channels.iter_mut().zip(&self.channels) {
            (new.busy, new.words, new.tasks, new.bds) = (old.busy, old.words, old.tasks, old.bds);
        }
        for (new, old) in new.cores.iter_mut().zip(&self.cores) {
            new.keep_counts(old);
        }
        *self = new;
    }

    /// Starts recording trace events, or stops and forgets them.
    pub fn set_trace(&mut self, on: bool) {
        self.trace = on.then(Vec::new);
    }

    /// Takes the trace events recorded since the last call; empty when tracing is off.
    pub fn take_trace(&mut self) -> Vec<TraceEvent> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Time of the event processed last.
    pub fn now(&self) -> Cycles {
        self.now
    }

    /// Whether nothing is going to happen without a register access. Channels may still wait for locks or streams.
    pub fn idle(&self) -> bool {
        self.events.next().is_none()
    }

    /// Processes all events up to simulated time `until`; tells whether the array is idle then.
    ///
    /// # Errors
    /// The first fault.
    pub fn drain(&mut self, host: &dyn HostMemory, until: Cycles) -> Result<bool, ArrayFault> {
        while self.events.next().is_some_and(|time| time <= until) {
            self.process(host)?;
        }
        Ok(self.idle())
    }

    /// Processes the earliest event.
    fn process(&mut self, host: &dyn HostMemory) -> Result<(), ArrayFault> {
        let Some(event) = self.events.pop() else {
            return Ok(());
        };
        self.now = event.time;
        let index = usize::from(event.entity);
        if let Some(channel) = self.channels.get_mut(index) {
            if channel.pending != event.sequence {
                return Ok(());
            }
            channel.pending = 0;
            self.processed += 1;
            return match channel.state {
                State::Starting => self.begin_task(event.time, index),
                State::Moving => self.end_chunk(event.time, index, host),
                _ => Ok(()),
            };
        }
        match event.entity {
            REROUTE => return self.reroute(event.time),
            FAULT => return self.faults.pop_front().map_or(Ok(()), Err),
            _ => {}
        }
        let index = index - self.channels.len();
        match self.cores.get_mut(index) {
            Some(core) if core.pending == event.sequence && core.state == CoreState::Running => {
                core.pending = 0;
                self.processed += 1;
                self.run_core(event.time, index)
            }
            _ => Ok(()),
        }
    }

    /// Keeps a fault that a register write led to, for the next step.
    fn fail_later(&mut self, at: Cycles, fault: ArrayFault) {
        self.faults.push_back(fault);
        self.events.push(at, FAULT);
    }

    #[inline]
    fn record(&mut self, time: Cycles, tile: usize, part: Part, what: What, duration: Cycles, energy: f64) {
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEvent {
                time,
                tile: self.tiles[tile].id(),
                part,
                what,
                duration,
                energy,
            });
        }
    }

    #[inline]
    fn trace_lock(&mut self, at: Cycles, tile: usize, lock: u16) {
        if self.trace.is_some() {
            let value = self.tiles[tile].locks[usize::from(lock)].value();
            self.record(at, tile, Part::Lock(lock as u8), What::Lock(value), 0, 0.0);
        }
    }
}
