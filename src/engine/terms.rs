//! What a context is placed on, what it is doing, and what its packets cost.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::partition::Totals;
use crate::cert::Cycles;
use crate::interrupts::Interrupts;

/// Where a context is placed and whom it tells.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Device address of the queue header.
    pub queue_address: u64,
    /// First column of the die.
    pub column: u32,
    /// Columns.
    pub columns: u32,
    /// Its function's vectors.
    pub interrupts: Arc<Interrupts>,
    /// Raised when a packet ends.
    pub vector: usize,
    /// Higher runs first.
    pub priority: i32,
    /// Who it belongs to.
    pub owner: u64,
    /// Whether write_index of a padded queue is mirrored for Linux 7.2.
    pub mirror: bool,
}

/// What a context is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its doorbell.
    Idle,
    /// A packet is being worked on.
    Running,
    /// The queue can't be served, or this code panicked; the next ring tries again.
    Error,
    /// An EXIT packet ended it; further packets are aborted.
    Exited,
}

/// Why a packet failed, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its completion word; 0 if the queue could not be served.
    pub word: u32,
    /// The micro-controller, and the page, offset and opcode where it stood.
    pub uc: usize,
    /// The page.
    pub page: u32,
    /// Byte offset from the page's start, header excluded.
    pub offset: u32,
    /// The opcode there.
    pub opcode: u8,
    /// Microseconds since 1970.
    pub time: u64,
}

impl Failure {
    /// One that no control code is to blame for.
    pub(super) fn now(word: u32) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            word,
            uc: 0,
            page: 0,
            offset: 0,
            opcode: 0,
            time: since.as_micros() as u64,
        }
    }
}

/// What [`Context::serve`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// No packet waits.
    Idle,
    /// There is more to do.
    More,
    /// The packet is done but may not complete before then.
    Until(Instant),
}

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the host can.
    Fast,
    /// No packet completes earlier than simulated time says.
    Real,
}

/// How simulated time passes: the array clock, and its pace.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Array clock in MHz.
    pub hclk_mhz: u32,
    /// Whether it is kept to.
    pub pace: Pace,
}

impl Clock {
    pub(super) fn picoseconds(self, cycles: Cycles) -> u64 {
        cycles.saturating_mul(1_000_000) / u64::from(self.hclk_mhz.max(1))
    }
}

/// What packets cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Array clock cycles.
    pub cycles: u64,
    /// The same in picoseconds, at the clock of the time.
    pub picoseconds: u64,
    /// Energy, bytes, multiply-accumulates.
    pub totals: Totals,
}

impl Cost {
    pub(super) fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.picoseconds += other.picoseconds;
        self.totals = self.totals.plus(other.totals);
    }
}
