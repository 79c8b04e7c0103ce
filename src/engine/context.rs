//! A hardware context: a host queue, a partition, and what became of its packets. The whole state is this value.
//!
//! What firmware does in these cases is not public; our choices: a packet that fails ends with its error, and later ones are served,
//! on tiles and micro-controllers made anew, except that the rest of its chain is aborted. A queue that can't be served (header or
//! index out of range, memory gone) raises the interrupt once, and each ring tries again. EXIT ends the context: it completes with
//! error 0, and whatever comes after it is aborted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::partition::Counted;
use super::terms::{Clock, Cost, Failure, Pace, Placement, Served, State};
use super::trace::{Event, Trace, set_machine_trace};
use super::uc_log::UcLog;
use crate::abi::control_code::UC_PER_COLUMN;
use crate::abi::host_queue::{CAPACITY_MAX, completion_state, context_error};
use crate::array::Array;
use crate::cert::fabric::RegisterFault;
use crate::cert::{ContextFault, Cycles, Machine, Progress, UcStatistics};
use crate::memory::{Access, AddressSpace, Hint, HostMemory, Reader};
use crate::queue::{Packet, Queue, QueueError, Request, error_word};

/// A packet works this long between two looks at other contexts.
const SLICE: Duration = Duration::from_micros(250);
/// Instructions, DMAs or fabric events between two looks at the clock.
const STEPS: u64 = 256;

/// Packets whose cost is kept: twice what a queue holds, so that who waits for all of them can still ask.
const RECENT: usize = 2 * CAPACITY_MAX as usize;

struct Running {
    completion: u64,
    chain: bool,
    /// When the packet was taken, if simulated time matters.
    began: Option<Instant>,
    /// Simulated time then.
    since: u64,
    /// The completion word of a packet that waits for its simulated time.
    ended: Option<(u32, Instant)>,
}

/// A context. Its reader is apart, so that the rest can change while the memory is accessed.
pub struct Context {
    reader: Reader,
    work: Work,
}

/// Packets that end with an error without having run.
struct Failing {
    every: u64,
    reason: u32,
    seen: u64,
}

struct Work {
    placement: Placement,
    queue: Option<Queue>,
    machine: Machine<Array>,
    running: Option<Running>,
    /// A packet of the current chain failed.
    aborting: bool,
    state: State,
    completed: u64,
    errors: u64,
    message: String,
    total: Cost,
    last: Cost,
    /// Costs of the newest packets that ran code, by sequence number, at `sequence % RECENT`.
    recent: [(u64, Cost); RECENT],
    counted: Counted,
    trace: Option<Trace>,
    /// The last packet that failed.
    failure: Option<Failure>,
    log: Option<Box<UcLog>>,
    /// Packets that end well are logged, too.
    log_always: bool,
    /// Each packet is preempted at its first PREEMPT.
    force_preempt: bool,
    failing: Option<Failing>,
}

impl Context {
    /// A context that has not looked at its queue yet.
    pub fn new(space: &Arc<AddressSpace>, placement: Placement) -> Self {
        let machine = new_machine(&placement);
        let work = Work {
            placement,
            queue: None,
            machine,
            running: None,
            aborting: false,
            state: State::Idle,
            completed: 0,
            errors: 0,
            message: String::new(),
            total: Cost::default(),
            last: Cost::default(),
            recent: [(u64::MAX, Cost::default()); RECENT],
            counted: Counted::default(),
            trace: None,
            failure: None,
            log: None,
            log_always: false,
            force_preempt: false,
            failing: None,
        };
        Self {
            reader: space.reader(),
            work,
        }
    }

    /// Whether packets wait in a queue that is in order: a context that is created again after a suspend has not heard its rings.
    pub fn has_work(&self) -> bool {
        let host = self.reader.enter();
        let queue = Queue::open(&host, self.work.placement.queue_address, self.work.placement.mirror);
        queue.is_ok_and(|queue| queue.waiting(&host).is_ok_and(|count| count > 0))
    }

    /// Works on the current packet, or takes the next one, for one slice.
    #[inline]
    pub fn serve(&mut self, clock: Clock) -> Served {
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
        (self.work.completed, self.work.errors, &self.work.message)
    }

    /// Cost of all packets and of the last one.
    pub fn cost(&self) -> (Cost, Cost) {
        (self.work.total, self.work.last)
    }

    /// The partition.
    pub fn machine(&self) -> &Machine<Array> {
        &self.work.machine
    }

    /// What each micro-controller did since the context was created.
    pub fn statistics(&self) -> Vec<UcStatistics> {
        self.work.counted.statistics(&self.work.machine)
    }

    /// Cost of packet `sequence`, if it ran code and is one of the newest.
    pub fn packet_cost(&self, sequence: u64) -> Option<Cost> {
        let (known, cost) = self.work.recent[(sequence % RECENT as u64) as usize];
        (known == sequence).then_some(cost)
    }

    /// The last packet that failed.
    pub fn failure(&self) -> Option<Failure> {
        self.work.failure
    }

    /// Has micro-controllers log into the buffers at `(address, size)`, by number; none: they stop. Unless they log `always`, what a
    /// packet logged is written when it fails.
    pub fn set_log(&mut self, buffers: &[(u64, u32)], always: bool) {
        self.work.log = (!buffers.is_empty()).then(|| Box::new(UcLog::new(buffers)));
        self.work.log_always = always;
        self.work.machine.set_log(!buffers.is_empty());
    }

    /// Ends every `every`th packet with an error of this reason instead of running it, as a fault to be tested; 0 ends none.
    pub fn set_failing(&mut self, every: u64, reason: u32) {
        self.work.failing = (every != 0).then_some(Failing { every, reason, seen: 0 });
    }

    /// Whether each packet is preempted at its first PREEMPT.
    pub fn set_force_preempt(&mut self, forced: bool) {
        self.work.force_preempt = forced;
    }

    /// Reads words of the array at an address of the partition, as a debugger does.
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
        self.work.trace = enabled.then(Trace::default);
        set_machine_trace(&mut self.work.machine, enabled);
    }

    /// Events since the last call.
    pub fn take_trace(&mut self) -> Vec<Event> {
        self.work.trace.as_mut().map(Trace::take).unwrap_or_default()
    }
}

fn new_machine(placement: &Placement) -> Machine<Array> {
    Machine::new(Array::new(placement.columns), placement.columns)
}

impl Work {
    fn serve(&mut self, host: &Access<'_>, clock: Clock) -> Served {
        if self.running.is_none() {
            match self.next_packet(host, clock) {
                Ok(true) => {}
                Ok(false) => return Served::Idle,
                Err(error) => return self.give_up(&error),
            }
        }
        let Some(running) = &self.running else { return Served::More };
        let word = match running.ended {
            Some((word, _)) => word,
            None => match self.run_slice(host, clock) {
                Progress::More => return Served::More,
                Progress::Done => completion_state::COMPLETED,
                Progress::Fault(fault) => self.fault(&fault),
            },
        };
        self.end(host, word, clock)
    }

    fn run_slice(&mut self, host: &Access<'_>, clock: Clock) -> Progress {
        let mut progress = self.machine.run(host, STEPS);
        // Most packets of tests end here; only longer ones pay for the clock.
        if progress == Progress::More {
            let began = Instant::now();
            while progress == Progress::More && began.elapsed() < SLICE {
                progress = self.machine.run(host, STEPS);
            }
        }
        if self.log.is_some() {
            self.write_log(host, clock, &progress);
        }
        progress
    }

    /// Writes what the micro-controllers logged, before anybody is told that the packet is done.
    fn write_log(&mut self, host: &Access<'_>, clock: Clock, progress: &Progress) {
        let Some(log) = &mut self.log else { return };
        if !self.log_always {
            match progress {
                Progress::More => return self.machine.trim_log(),
                Progress::Done => return drop(self.machine.take_log()),
                Progress::Fault(_) => {}
            }
        }
        let since = self.running.as_ref().map_or(0, |running| running.since);
        let start = self.total.picoseconds;
        log.write(host, &self.machine.take_log(), |at| {
            (start + clock.picoseconds(at.saturating_sub(since))) / 1000
        });
    }

    /// Takes a packet if one waits. A packet that runs no code is ended here; then nothing is running afterwards.
    fn next_packet(&mut self, host: &Access<'_>, clock: Clock) -> Result<bool, QueueError> {
        if self.queue.is_none() {
            self.queue = Some(Queue::open(host, self.placement.queue_address, self.placement.mirror)?);
        }
        let Some(queue) = &self.queue else { return Ok(false) };
        if queue.waiting(host)? == 0 {
            return Ok(false);
        }
        let sequence = queue.read_index();
        let bytes = queue.copy_packet(host)?;
        let packet = Packet::decode(host, &bytes, self.ucs());
        host.prefetch_write(packet.completion);
        if self.state == State::Error {
            self.state = State::Idle;
        }
        if self.trace.is_some() {
            self.record("packet", format!("{sequence} {packet:?}"));
        }
        if self.aborting || self.state == State::Exited {
            self.aborting &= packet.chain;
            self.errors += 1;
            return self.finish(host, packet.completion, completion_state::ABORT).map(|()| true);
        }
        let word = match &packet.request {
            _ if self.fails() => self.fail(sequence),
            Ok(Request::Exec(starts)) => {
                let since = self.machine.now();
                match starts
                    .as_slice()
                    .iter()
                    .try_for_each(|&(uc, exec)| self.machine.start(uc, exec))
                {
                    Ok(()) => {
                        if self.force_preempt {
                            (0..self.ucs()).for_each(|uc| self.machine.set_preempt(uc));
                        }
                        let began = (clock.pace == Pace::Real).then(Instant::now);
                        let Packet { completion, chain, .. } = packet;
                        self.running = Some(Running {
                            completion,
                            chain,
                            began,
                            since,
                            ended: None,
                        });
                        return Ok(true);
                    }
                    Err(fault) => {
                        self.reset();
                        self.fault(&fault)
                    }
                }
            }
            Ok(Request::Test) => {
                self.completed += 1;
                completion_state::COMPLETED
            }
            Ok(Request::Exit) => {
                self.state = State::Exited;
                error_word(context_error::EXIT, 0)
            }
            Err(message) => {
                self.errors += 1;
                self.explain(format!("packet {sequence}: {message}"));
                let word = error_word(context_error::INVALID_PACKET, 0);
                self.failure = Some(Failure::now(word));
                word
            }
        };
        self.aborting = packet.chain && word != completion_state::COMPLETED;
        self.finish(host, packet.completion, word).map(|()| true)
    }

    /// Ends the running packet with `word`, unless simulated time says that it is too early.
    fn end(&mut self, host: &Access<'_>, word: u32, clock: Clock) -> Served {
        let Some(mut running) = self.running.take() else {
            return Served::More;
        };
        if running.ended.is_none() {
            if clock.pace == Pace::Fast {
                // The host waits for this; the books can follow. Who asks for them waits until this slice is over.
                self.write_completion(host, running.completion, word);
            }
            self.charge(running.since, clock);
            if word == completion_state::COMPLETED {
                self.completed += 1;
            } else {
                self.aborting = running.chain;
                self.reset();
            }
            if clock.pace == Pace::Fast {
                return self
                    .pass(host, word)
                    .map_or_else(|error| self.give_up(&error), |()| Served::More);
            }
            let began = running.began.unwrap_or_else(Instant::now);
            running.ended = Some((word, began + Duration::from_nanos(self.last.picoseconds / 1000)));
        }
        if let Some((_, due)) = running.ended
            && due > Instant::now()
        {
            self.running = Some(running);
            return Served::Until(due);
        }
        self.finish(host, running.completion, word)
            .map_or_else(|error| self.give_up(&error), |()| Served::More)
    }

    fn give_up(&mut self, error: &QueueError) -> Served {
        self.stop(error.to_string());
        Served::Idle
    }

    /// Adds up what the packet that began at simulated time `since` has cost.
    fn charge(&mut self, since: Cycles, clock: Clock) {
        let cycles = self.machine.now().saturating_sub(since);
        if let Some(trace) = &mut self.trace {
            let start = self.total.picoseconds;
            trace.collect(&mut self.machine, |at| {
                (start + clock.picoseconds(at.saturating_sub(since))) / 1000
            });
        }
        self.last = Cost {
            cycles,
            picoseconds: clock.picoseconds(cycles),
            totals: self.counted.update(&self.machine),
        };
        self.total.add(&self.last);
        if let Some(queue) = &self.queue {
            let sequence = queue.read_index();
            self.recent[(sequence % RECENT as u64) as usize] = (sequence, self.last);
        }
    }

    /// Tells the host: completion word, then read_index, then the interrupt.
    fn finish(&mut self, host: &Access<'_>, completion: u64, word: u32) -> Result<(), QueueError> {
        self.write_completion(host, completion, word);
        self.pass(host, word)
    }

    fn write_completion(&mut self, host: &Access<'_>, completion: u64, word: u32) {
        if completion != 0
            && completion.is_multiple_of(4)
            && let Err(fault) = host.write(completion, &word.to_le_bytes())
        {
            self.errors += 1;
            self.explain(format!("completion word: {fault}"));
        }
    }

    /// Passes the packet that completed with `word`. The interrupt comes last: a waiter that it wakes looks at read_index.
    fn pass(&mut self, host: &Access<'_>, word: u32) -> Result<(), QueueError> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        queue.advance(host)?;
        if self.trace.is_some() {
            let text = format!("{} {word:#x}", queue.read_index().wrapping_sub(1));
            self.record("completion", text);
        }
        self.interrupt();
        Ok(())
    }

    /// Whether a fault was asked for that hits this packet.
    fn fails(&mut self) -> bool {
        self.failing.as_mut().is_some_and(|failing| {
            failing.seen += 1;
            failing.seen.is_multiple_of(failing.every)
        })
    }

    fn fail(&mut self, sequence: u64) -> u32 {
        self.errors += 1;
        self.explain(format!("packet {sequence}: an error was injected"));
        let word = error_word(self.failing.as_ref().map_or(0, |failing| failing.reason), 0);
        self.failure = Some(Failure::now(word));
        word
    }

    fn ucs(&self) -> usize {
        self.placement.columns as usize * UC_PER_COLUMN as usize
    }

    fn interrupt(&mut self) {
        if let Err(error) = self.placement.interrupts.trigger(self.placement.vector) {
            self.explain(error.message);
        }
    }

    fn fault(&mut self, fault: &ContextFault) -> u32 {
        self.errors += 1;
        let ContextFault {
            uc,
            page,
            offset,
            opcode,
            message,
            ..
        } = fault;
        self.explain(format!(
            "uC {uc}, page {page}, offset {offset:#x}, opcode {opcode:#04x}: {message}"
        ));
        let word = error_word(fault.error, *uc);
        self.failure = Some(Failure {
            uc: *uc,
            page: *page,
            offset: *offset,
            opcode: *opcode,
            ..Failure::now(word)
        });
        word
    }

    fn explain(&mut self, message: String) {
        self.record("error", message.clone());
        self.message = message;
    }

    /// The queue can't be served. Whoever waits is woken, to find that out.
    fn stop(&mut self, message: String) {
        self.errors += 1;
        self.state = State::Error;
        self.failure = Some(Failure::now(0));
        self.explain(message);
        self.interrupt();
    }

    /// Fresh tiles and micro-controllers: what a failed packet left in them must not reach the next one.
    fn reset(&mut self) {
        self.counted.renew(&self.machine);
        self.machine = new_machine(&self.placement);
        set_machine_trace(&mut self.machine, self.trace.is_some());
        self.machine.set_log(self.log.is_some());
    }

    fn record(&mut self, kind: &'static str, text: String) {
        let time = self.total.picoseconds / 1000;
        if let Some(trace) = &mut self.trace {
            trace.push(Event { time, kind, text });
        }
    }
}
