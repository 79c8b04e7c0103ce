//! What became of a context's packets: counts, costs, the last failure, and events while somebody wants them.

use super::partition::Counted;
use super::terms::{Clock, Cost, Failure};
use super::trace::{Event, Trace};
use crate::abi::host_queue::CAPACITY_MAX;
use crate::array::Array;
use crate::cert::{Cycles, Machine, UcStatistics};

/// Packets whose cost is kept: twice what a queue holds, so that who waits for all of them can still ask.
const RECENT: usize = 2 * CAPACITY_MAX as usize;

/// A context's books.
pub(super) struct Books {
    pub completed: u64,
    pub errors: u64,
    /// Why the last of those did not end well.
    pub message: String,
    /// The last packet that failed.
    pub failure: Option<Failure>,
    pub total: Cost,
    pub last: Cost,
    /// Costs of the newest packets that ran code, by sequence number, at `sequence % RECENT`.
    recent: [(u64, Cost); RECENT],
    counted: Counted,
    trace: Option<Trace>,
}

impl Books {
    pub fn new() -> Self {
        Self {
            completed: 0,
            errors: 0,
            message: String::new(),
            failure: None,
            total: Cost::default(),
            last: Cost::default(),
            recent: [(u64::MAX, Cost::default()); RECENT],
            counted: Counted::default(),
            trace: None,
        }
    }

    /// Cost of packet `sequence`, if it ran code and is one of the newest.
    pub fn packet_cost(&self, sequence: u64) -> Option<Cost> {
        let (known, cost) = self.recent[(sequence % RECENT as u64) as usize];
        (known == sequence).then_some(cost)
    }

    /// What each micro-controller did since the context was created.
    pub fn statistics(&self, machine: &Machine<Array>) -> Vec<UcStatistics> {
        self.counted.statistics(machine)
    }

    /// Turns the partition's clock, in a packet that began at `since`, into simulated nanoseconds of the context.
    pub fn nanoseconds(&self, since: Cycles, clock: Clock) -> impl Fn(Cycles) -> u64 + use<> {
        let start = self.total.picoseconds;
        move |at| (start + clock.picoseconds(at.saturating_sub(since))) / 1000
    }

    /// Adds up what packet `sequence`, which began at `since`, has cost.
    pub fn charge(&mut self, machine: &mut Machine<Array>, sequence: Option<u64>, since: Cycles, clock: Clock) {
        let cycles = machine.now().saturating_sub(since);
        let time = self.nanoseconds(since, clock);
        if let Some(trace) = &mut self.trace {
            trace.collect(machine, time);
        }
        self.last = Cost {
            cycles,
            picoseconds: clock.picoseconds(cycles),
            totals: self.counted.update(machine),
        };
        self.total.add(&self.last);
        if let Some(sequence) = sequence {
            self.recent[(sequence % RECENT as u64) as usize] = (sequence, self.last);
        }
    }

    /// Before the partition is made anew.
    pub fn renew(&mut self, machine: &Machine<Array>) {
        self.counted.renew(machine);
    }

    /// A packet, or the whole queue, failed.
    pub fn failed(&mut self, failure: Failure, message: String) {
        self.errors += 1;
        self.fails(failure, message);
    }

    /// A packet fails, and is counted when it ends.
    pub fn fails(&mut self, failure: Failure, message: String) {
        self.failure = Some(failure);
        self.explain(message);
    }

    /// Something went wrong.
    pub fn error(&mut self, message: String) {
        self.errors += 1;
        self.explain(message);
    }

    pub fn explain(&mut self, message: String) {
        self.record("error", message.clone());
        self.message = message;
    }

    /// Whether events are recorded.
    pub fn records(&self) -> bool {
        self.trace.is_some()
    }

    pub fn set_trace(&mut self, enabled: bool) {
        self.trace = enabled.then(Trace::default);
    }

    /// Events since the last call.
    pub fn take_trace(&mut self) -> Vec<Event> {
        self.trace.as_mut().map(Trace::take).unwrap_or_default()
    }

    pub fn record(&mut self, kind: &'static str, text: String) {
        let time = self.total.picoseconds / 1000;
        if let Some(trace) = &mut self.trace {
            trace.push(Event { time, kind, text });
        }
    }
}
