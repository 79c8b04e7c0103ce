//! A context's work: packets out of the queue, onto the micro-controllers, and back to the host as completion words.
//!
//! What firmware does in these cases is not public; our choices: a packet that fails ends with its error, and later ones are served,
//! on tiles and micro-controllers made anew, except that the rest of its chain is aborted. A queue that can't be served (header or
//! index out of range, memory gone) raises the interrupt once, and each ring tries again. EXIT ends the context: it completes with
//! error 0, and whatever comes after it is aborted.

use std::time::{Duration, Instant};

use super::books::Books;
use super::terms::{Clock, Failure, Pace, Placement, Served, State};
use super::trace::set_machine_trace;
use super::uc_log::UcLog;
use crate::abi::control_code::UC_PER_COLUMN;
use crate::abi::firmware_ring::{category, event_id};
use crate::abi::host_queue::{completion_state, context_error};
use crate::array::Array;
use crate::cert::{ContextFault, Machine, Progress};
use crate::firmware_ring::EventSink;
use crate::memory::{Access, HostMemory};
use crate::queue::{Packet, Queue, QueueError, Request, error_word};

/// A packet works this long between two looks at other contexts.
const SLICE: Duration = Duration::from_micros(250);
/// Instructions, DMAs or fabric events between two looks at the clock.
const STEPS: u64 = 256;

pub(super) struct Running {
    completion: u64,
    chain: bool,
    /// When the packet was taken, if simulated time matters.
    began: Option<Instant>,
    /// Simulated time then.
    since: u64,
    /// The completion word of a packet that waits for its simulated time.
    ended: Option<(u32, Instant)>,
}

/// Packets that end with an error without having run.
pub(super) struct Failing {
    pub every: u64,
    pub reason: u32,
    pub seen: u64,
}

/// Everything of a context but its way to host memory.
pub(super) struct Work {
    pub placement: Placement,
    pub queue: Option<Queue>,
    pub machine: Machine<Array>,
    pub running: Option<Running>,
    /// A packet of the current chain failed.
    pub aborting: bool,
    pub state: State,
    pub books: Books,
    pub log: Option<Box<UcLog>>,
    /// Debug buffers of the micro-controllers.
    pub debug: Vec<(u64, u32)>,
    /// Packets that end well are logged, too.
    pub log_always: bool,
    /// Each packet is preempted at its first PREEMPT.
    pub force_preempt: bool,
    pub failing: Option<Failing>,
    /// Tiles and micro-controllers are those of a packet that failed, for whoever wants to see them; the next packet gets new ones.
    spent: bool,
    /// Who is told of rings and packets.
    pub events: Vec<EventSink>,
}

impl Work {
    /// Nothing yet.
    pub fn new(placement: Placement) -> Self {
        Self {
            machine: new_machine(&placement),
            placement,
            queue: None,
            running: None,
            aborting: false,
            state: State::Idle,
            books: Books::new(),
            log: None,
            log_always: false,
            debug: Vec::new(),
            force_preempt: false,
            failing: None,
            spent: false,
            events: Vec::new(),
        }
    }

    pub fn serve(&mut self, host: &Access<'_>, clock: Clock) -> Served {
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
        log.write(host, &self.machine.take_log(), self.books.nanoseconds(since, clock));
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
        self.note(category::COMMAND, event_id::COMMAND_STARTED, halves(sequence));
        if self.books.records() {
            self.books.record("packet", format!("{sequence} {packet:?}"));
        }
        if self.aborting || self.state == State::Exited {
            self.aborting &= packet.chain;
            self.books.errors += 1;
            return self.finish(host, packet.completion, completion_state::ABORT).map(|()| true);
        }
        let word = match &packet.request {
            _ if self.fails() => self.fail(sequence),
            Ok(Request::Exec(starts)) => {
                if self.spent {
                    self.reset();
                }
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
                        self.spent = true;
                        self.books.errors += 1;
                        self.fault(&fault)
                    }
                }
            }
            Ok(Request::Test) => {
                self.books.completed += 1;
                completion_state::COMPLETED
            }
            Ok(Request::Exit) => {
                self.state = State::Exited;
                error_word(context_error::EXIT, 0)
            }
            Err(message) => {
                let word = error_word(context_error::INVALID_PACKET, 0);
                self.books.failed(Failure::now(word), format!("packet {sequence}: {message}"));
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
                self.note_end(word, self.books.nanoseconds(running.since, clock)(self.machine.now()));
                // The host waits for this; the books can follow. Who asks for them waits until this slice is over.
                self.write_completion(host, running.completion, word);
            }
            let sequence = self.queue.as_ref().map(Queue::read_index);
            self.books.charge(&mut self.machine, sequence, running.since, clock);
            if word != completion_state::COMPLETED {
                self.aborting = running.chain;
                self.spent = true;
            }
            if clock.pace == Pace::Fast {
                self.count(word);
                return self
                    .pass(host, word)
                    .map_or_else(|error| self.give_up(&error), |()| Served::More);
            }
            let began = running.began.unwrap_or_else(Instant::now);
            running.ended = Some((word, began + Duration::from_nanos(self.books.last.picoseconds / 1000)));
        }
        if let Some((_, due)) = running.ended
            && due > Instant::now()
        {
            self.running = Some(running);
            return Served::Until(due);
        }
        self.count(word);
        self.finish(host, running.completion, word)
            .map_or_else(|error| self.give_up(&error), |()| Served::More)
    }

    /// A packet that ran ends with `word`.
    fn count(&mut self, word: u32) {
        if word == completion_state::COMPLETED {
            self.books.completed += 1;
        } else {
            self.books.errors += 1;
        }
    }

    fn give_up(&mut self, error: &QueueError) -> Served {
        self.stop(error.to_string());
        Served::Idle
    }

    /// Tells the host: completion word, then read_index, then the interrupt.
    fn finish(&mut self, host: &Access<'_>, completion: u64, word: u32) -> Result<(), QueueError> {
        self.note_end(word, self.books.total.picoseconds / 1000);
        self.write_completion(host, completion, word);
        self.pass(host, word)
    }

    /// Tells whoever traces.
    #[inline]
    pub fn note<const N: usize>(&self, category: u32, id: u32, arguments: [u32; N]) {
        for events in &self.events {
            events.note(category, id, arguments);
        }
    }

    /// Before the host may see that the packet has ended, after so many simulated nanoseconds of the context.
    fn note_end(&self, word: u32, nanoseconds: u64) {
        if let Some(queue) = &self.queue {
            let ([low, high], [time_low, time_high]) = (halves(queue.read_index()), halves(nanoseconds));
            let arguments = [low, high, word, time_low, time_high];
            self.note(category::COMMAND, event_id::COMMAND_ENDED, arguments);
        }
    }

    fn write_completion(&mut self, host: &Access<'_>, completion: u64, word: u32) {
        if completion != 0
            && completion.is_multiple_of(4)
            && let Err(fault) = host.write(completion, &word.to_le_bytes())
        {
            self.books.error(format!("completion word: {fault}"));
        }
    }

    /// Passes the packet that completed with `word`. The interrupt comes last: a waiter that it wakes looks at read_index.
    fn pass(&mut self, host: &Access<'_>, word: u32) -> Result<(), QueueError> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        queue.advance(host)?;
        if self.books.records() {
            let text = format!("{} {word:#x}", queue.read_index().wrapping_sub(1));
            self.books.record("completion", text);
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
        let word = error_word(self.failing.as_ref().map_or(0, |failing| failing.reason), 0);
        self.books
            .failed(Failure::now(word), format!("packet {sequence}: an error was injected"));
        word
    }

    fn ucs(&self) -> usize {
        self.placement.columns as usize * UC_PER_COLUMN as usize
    }

    fn interrupt(&mut self) {
        if let Err(error) = self.placement.interrupts.trigger(self.placement.vector) {
            self.books.explain(error.message);
        }
    }

    /// Completion word of a packet that failed, which is counted when it ends.
    fn fault(&mut self, fault: &ContextFault) -> u32 {
        let ContextFault {
            uc,
            page,
            offset,
            opcode,
            message,
            ..
        } = fault;
        let word = error_word(fault.error, *uc);
        let failure = Failure {
            uc: *uc,
            page: *page,
            offset: *offset,
            opcode: *opcode,
            ..Failure::now(word)
        };
        let text = format!("uC {uc}, page {page}, offset {offset:#x}, opcode {opcode:#04x}: {message}");
        self.books.fails(failure, text);
        word
    }

    /// The queue can't be served. Whoever waits is woken, to find that out.
    pub fn stop(&mut self, message: String) {
        self.state = State::Error;
        self.books.failed(Failure::now(0), message);
        self.interrupt();
    }

    /// Fresh tiles and micro-controllers: what a failed packet left in them must not reach the next one.
    pub fn reset(&mut self) {
        self.spent = false;
        self.books.renew(&self.machine);
        self.machine = new_machine(&self.placement);
        set_machine_trace(&mut self.machine, self.books.records());
        self.machine.set_log(self.log.is_some());
        self.machine.set_debug(&self.debug);
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn new_machine(placement: &Placement) -> Machine<Array> {
    Machine::new(Array::new(placement.columns), placement.columns)
}
