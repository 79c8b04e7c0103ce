//! A hardware context: a host queue, a partition, and what became of its packets. The whole state is this value.

use std::sync::Arc;

use super::books::Books;
use super::terms::{Clock, Cost, Failure, Placement, Served, State};
use super::trace::{Event, set_machine_trace};
use super::uc_log::UcLog;
use super::work::{Failing, Work};
use crate::abi::firmware_ring::{category, event_id};
use crate::array::Array;
use crate::cert::fabric::RegisterFault;
use crate::cert::{Machine, UcStatistics};
use crate::firmware_ring::EventSink;
use crate::memory::{AddressSpace, Hint, MemoryFaultKind, Reader, Waits};
use crate::queue::{Queue, QueueError};

/// What others ask of a context.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What it is doing.
    pub state: State,
    /// Where it is placed.
    pub placement: Placement,
    /// Sequence number of the next packet.
    pub read_index: u64,
    /// Packets in the queue.
    pub waiting: u64,
    /// Packets that ended well.
    pub completed: u64,
    /// Packets that did not.
    pub errors: u64,
    /// Why the last of those did not.
    pub message: String,
    /// The last packet that failed.
    pub failure: Option<Failure>,
    /// Times that its packets were preempted.
    pub preemptions: u64,
    /// Of all packets.
    pub cost: Cost,
}

/// A context. Its reader is apart, so that the rest can change while the memory is accessed.
pub struct Context {
    reader: Reader,
    work: Work,
}

impl Context {
    /// A context that has not looked at its queue yet, and waits for memory of its program as `waits` says.
    pub fn new(space: &Arc<AddressSpace>, placement: Placement, waits: Arc<Waits>) -> Self {
        Self {
            reader: space.patient_reader(waits),
            work: Work::new(placement),
        }
    }

    /// Whether packets wait in a queue that is in order: a context that is created again after a suspend has not heard its rings.
    /// One whose queue can't be looked at without waiting has to look itself.
    pub fn has_work(&self) -> bool {
        let host = self.reader.enter();
        let queue = Queue::open(&host, self.work.placement.queue_address, self.work.placement.mirror);
        match queue.and_then(|queue| queue.waiting(&host)) {
            Ok(count) => count > 0,
            Err(QueueError::Memory(_, fault)) => fault.kind == MemoryFaultKind::Waits,
            Err(_) => false,
        }
    }

    /// Works on the current packet, or takes the next one, for one slice; the doorbell `rang` since the last one.
    #[inline]
    pub fn serve(&mut self, clock: Clock, rang: bool) -> Served {
        if rang {
            self.work.note(category::DOORBELL, event_id::DOORBELL, []);
        }
        let host = self.reader.enter();
        self.work.serve(&host, clock)
    }

    /// Whether a packet waits, in a queue that is known; and what to ask for while none does.
    pub fn look_ahead(&self) -> (bool, [Hint; 2]) {
        let host = self.reader.enter();
        self.work.queue.as_ref().map_or_else(Default::default, |queue| {
            (queue.waiting(&host).is_ok_and(|count| count > 0), queue.hints(&host))
        })
    }

    /// Stops what runs and says why; the next ring starts over.
    pub fn fail(&mut self, message: String) {
        self.work.running = None;
        self.work.reset();
        self.work.stop(message);
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        if self.work.running.is_some() {
            State::Running
        } else {
            self.work.state
        }
    }

    /// What it is doing, and what has become of its packets.
    pub fn summary(&self) -> Summary {
        let (completed, errors, message) = self.outcome();
        Summary {
            state: self.state(),
            placement: self.placement().clone(),
            read_index: self.read_index(),
            waiting: self.waiting(),
            completed,
            errors,
            message: message.to_owned(),
            failure: self.failure(),
            preemptions: self.statistics().iter().map(|uc| uc.preemptions).max().unwrap_or(0),
            cost: self.cost().0,
        }
    }

    /// Where it is placed.
    pub fn placement(&self) -> &Placement {
        &self.work.placement
    }

    /// Sequence number of the next packet.
    pub fn read_index(&self) -> u64 {
        self.work.queue.as_ref().map_or(0, Queue::read_index)
    }

    /// Packets that ended well, packets that did not, and why the last of those did not.
    pub fn outcome(&self) -> (u64, u64, &str) {
        let Books {
            completed,
            errors,
            message,
            ..
        } = &self.work.books;
        (*completed, *errors, message)
    }

    /// Cost of all packets and of the last one.
    pub fn cost(&self) -> (Cost, Cost) {
        (self.work.books.total, self.work.books.last)
    }

    /// The partition.
    pub fn machine(&self) -> &Machine<Array> {
        &self.work.machine
    }

    /// What each micro-controller did since the context was created.
    pub fn statistics(&self) -> Vec<UcStatistics> {
        self.work.books.statistics(&self.work.machine)
    }

    /// Cost of packet `sequence`, if it ran code and is one of the newest.
    pub fn packet_cost(&self, sequence: u64) -> Option<Cost> {
        self.work.books.packet_cost(sequence)
    }

    /// The last packet that failed.
    pub fn failure(&self) -> Option<Failure> {
        self.work.books.failure
    }

    /// Has micro-controllers log into the buffers at `(address, size)`, by number; none: they stop. Unless they log `always`, what a
    /// packet logged is written when it fails.
    pub fn set_log(&mut self, buffers: &[(u64, u32)], always: bool) {
        self.work.log = (!buffers.is_empty()).then(|| Box::new(UcLog::new(buffers)));
        self.work.log_always = always;
        self.work.machine.set_log(!buffers.is_empty());
    }

    /// Where micro-controllers put the registers that control code saves: `(address, size)`, by number; none: nowhere.
    pub fn set_debug(&mut self, buffers: Vec<(u64, u32)>) {
        self.work.machine.set_debug(&buffers);
        self.work.debug = buffers;
    }

    /// Ends every `every`th packet with an error of this reason instead of running it, as a fault to be tested; 0 ends none.
    pub fn set_failing(&mut self, every: u64, reason: u32) {
        self.work.failing = (every != 0).then_some(Failing { every, reason, seen: 0 });
    }

    /// Whether each packet is preempted at its first PREEMPT.
    pub fn set_force_preempt(&mut self, forced: bool) {
        self.work.force_preempt = forced;
    }

    /// Has rings and packets told to `events` from now on.
    pub fn set_events(&mut self, events: Vec<EventSink>) {
        self.work.events = events;
    }

    /// Reads words of the array at an address of the partition, as a debugger does. After a failure they are as it left them.
    pub fn peek(&mut self, address: u32, words: &mut [u32]) -> Result<(), RegisterFault> {
        self.work.machine.peek(address, words)
    }

    /// Writes words of the array at an address of the partition, as a debugger does.
    pub fn poke(&mut self, address: u32, words: &[u32]) -> Result<(), RegisterFault> {
        self.work.machine.poke(address, words)
    }

    /// Packets in the queue, if it can be read.
    pub fn waiting(&self) -> u64 {
        let host = self.reader.enter();
        self.work
            .queue
            .as_ref()
            .and_then(|queue| queue.waiting(&host).ok())
            .unwrap_or(0)
    }

    /// Starts or stops recording events.
    pub fn set_trace(&mut self, enabled: bool) {
        self.work.books.set_trace(enabled);
        set_machine_trace(&mut self.work.machine, enabled);
    }

    /// Events since the last call.
    pub fn take_trace(&mut self) -> Vec<Event> {
        self.work.books.take_trace()
    }
}
