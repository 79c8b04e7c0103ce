//! One micro-controller: its page streams, and which of its jobs runs next.

use std::collections::VecDeque;

use super::fabric::{Cycles, Fabric};
use super::job::{JobRef, State, Stream, Wait};
use super::page::{PageError, describe};
use super::processor::{Preempt, Processor, Step, Stop, Surroundings};
use super::trace::TraceEntry;
use super::{ContextFault, ExecBuf};
use crate::abi::control_code::{NESTING_MAX, PAGE_SIZE, PAGES_MAX, REMOTE_BARRIER_PREEMPT, SIZES};
use crate::abi::host_queue::{context_error, packet_opcode};
use crate::abi::timing::UC_PAGE_CYCLES;
use crate::abi::uc_log::{file, text};

/// Streams a micro-controller can hold: its program and nested ones.
const STREAMS: usize = 8;

/// A micro-controller.
#[derive(Clone)]
pub(crate) struct Uc {
    pub processor: Processor,
    pub pending: VecDeque<ExecBuf>,
    /// A program has begun and not ended.
    pub running: bool,
    pub streams: [Option<Stream>; STREAMS],
    /// Ended streams, kept for their buffers.
    spare: Vec<Stream>,
    /// The job that was interrupted so that something earlier could happen.
    current: Option<JobRef>,
    /// The job whose PREEMPT is saving and restoring.
    exclusive: Option<JobRef>,
    /// Jobs that became runnable meanwhile.
    held: VecDeque<JobRef>,
    /// Bit per stream whose page has ended.
    turning: u8,
    pages_left: u32,
}

impl Uc {
    pub fn new(index: usize) -> Self {
        Self {
            processor: Processor::new(index),
            pending: VecDeque::new(),
            running: false,
            streams: [const { None }; STREAMS],
            spare: Vec::new(),
            current: None,
            exclusive: None,
            held: VecDeque::new(),
            turning: 0,
            pages_left: 0,
        }
    }

    /// Forgets all work.
    pub fn abort(&mut self) {
        let (index, time) = (self.processor.index, self.processor.time);
        let statistics = self.processor.statistics;
        *self = Self::new(index);
        self.processor.time = time;
        self.processor.statistics = statistics;
    }

    /// When this micro-controller next does something by itself; [`Cycles::MAX`] if never.
    #[inline]
    pub fn next(&self) -> Cycles {
        let work = self.current.is_some()
            || !self.processor.ready.is_empty()
            || self.turning != 0
            || (!self.running && !self.pending.is_empty());
        let own = if work { self.processor.time } else { Cycles::MAX };
        own.min(self.processor.dma.done).min(self.processor.timer)
    }

    /// Does what is due at [`Uc::next`]; a job then runs on until it would pass `horizon` or something else comes first.
    pub fn service<F: Fabric>(
        &mut self,
        around: &mut Surroundings<F>,
        horizon: Cycles,
        budget: &mut u64,
    ) -> Result<(), ContextFault> {
        let at = self.next();
        if self.processor.dma.done <= at {
            *budget -= 1;
            return self.complete_transfer(around);
        }
        if self.processor.timer <= at {
            *budget -= 1;
            return self.look_at_waiting(at);
        }
        if self.turning != 0 {
            *budget -= 1;
            return self.turn_page(around);
        }
        if !self.running {
            *budget -= 1;
            return self.begin(around);
        }
        self.run_job(around, horizon, budget)
    }

    fn begin<F: Fabric>(&mut self, around: &mut Surroundings<F>) -> Result<(), ContextFault> {
        let Some(exec) = self.pending.pop_front() else { return Ok(()) };
        self.processor.exec = exec;
        self.processor.registers.fill(0);
        self.running = true;
        self.pages_left = PAGES_MAX;
        let stream = self.spare.pop().unwrap_or_else(Stream::new);
        self.streams[0] = Some(stream.begin(exec.code, None, 0, context_error::INVALID_PAGE));
        let (at, uc) = (self.processor.time, self.processor.index);
        around
            .log
            .note(at, uc, (file::HOST_QUEUE, text::PACKET), &[packet_opcode::EXEC_BUF]);
        around.log.note(at, uc, (file::XRT_HANDLER, text::EXECUTE), &[]);
        self.processor.time += Cycles::from(UC_PAGE_CYCLES);
        self.load(0, 0, around)
    }

    /// Loads page `number` into `slot`.
    fn load<F: Fabric>(&mut self, slot: usize, number: u32, around: &mut Surroundings<F>) -> Result<(), ContextFault> {
        let Some(stream) = self.streams[slot].as_mut() else {
            return Ok(());
        };
        let error = stream.error;
        let uc = self.processor.index;
        let fault = |fault: PageError| ContextFault {
            error: if fault.unknown_opcode {
                context_error::INVALID_OPCODE
            } else {
                error
            },
            uc,
            page: number,
            offset: fault.offset,
            opcode: fault.opcode,
            message: fault.message,
        };
        if self.pages_left == 0 {
            let message = format!("the program runs more than {PAGES_MAX} pages; split it into several packets");
            return Err(fault(PageError {
                offset: 0,
                opcode: 0,
                unknown_opcode: false,
                message,
            }));
        }
        self.pages_left -= 1;
        self.processor.statistics.pages += 1;
        stream.page.load(around.host, stream.base, number).map_err(fault)?;
        let offset = number.wrapping_mul(PAGE_SIZE);
        let page_in = (file::DPU_CONTROL, text::PAGE_IN);
        around.log.note(self.processor.time, uc, page_in, &[slot as u32, offset]);
        stream.parse().map_err(fault)?;
        stream.loaded_at = self.processor.time;
        for (index, job) in stream.jobs.iter().enumerate() {
            if job.state == State::Ready {
                self.processor.ready.push_back(JobRef {
                    stream: slot,
                    job: index,
                });
            }
        }
        self.settle(slot);
        Ok(())
    }

    /// After a job or transfer of `slot` has ended: decides conditional jobs, notes an ended page.
    fn settle(&mut self, slot: usize) {
        let Some(stream) = self.streams[slot].as_mut() else { return };
        while let Some(index) = stream.due_conditional() {
            stream.conditional -= 1;
            let job = &mut stream.jobs[index];
            if self.processor.preempt == Preempt::Restored {
                self.processor.preempt = Preempt::Conditional;
                self.processor.wake(
                    job,
                    JobRef {
                        stream: slot,
                        job: index,
                    },
                    0,
                );
                break;
            }
            job.state = State::Ended;
            stream.alive -= 1;
        }
        if stream.finished() {
            self.turning |= 1 << slot;
        }
    }

    /// Goes on to the next page of a stream whose page has ended, or ends the stream.
    fn turn_page<F: Fabric>(&mut self, around: &mut Surroundings<F>) -> Result<(), ContextFault> {
        let slot = self.turning.trailing_zeros() as usize;
        self.turning &= self.turning - 1;
        let Some(stream) = self.streams[slot].as_mut() else {
            return Ok(());
        };
        if stream.page.more {
            // The next page was fetched while this one ran.
            self.processor.time = self.processor.time.max(stream.loaded_at + Cycles::from(UC_PAGE_CYCLES));
            let next = stream.page.number + 1;
            return self.load(slot, next, around);
        }
        let parent = stream.parent;
        let end = (file::DPU_CONTROL, text::END_OF_CODE);
        around.log.note(self.processor.time, self.processor.index, end, &[0]);
        self.spare.extend(self.streams[slot].take());
        match parent {
            None => {
                self.running = false;
                // Deadlines of jobs that were woken in time: nothing waits any more.
                self.processor.timer = Cycles::MAX;
                if self.processor.preempt != Preempt::Requested {
                    self.processor.preempt = Preempt::None;
                }
            }
            Some(parent) => {
                if let Some(stream) = self.streams[parent.stream].as_mut() {
                    let job = &mut stream.jobs[parent.job];
                    // PREEMPT goes on with its next phase, the others are done.
                    if job.phase == 0 {
                        job.advance(u32::from(SIZES[stream.page.instruction(job.pc)[0] as u8 as usize]));
                    }
                    let restored = job.phase == 2 && self.exclusive == Some(parent);
                    self.processor.wake(job, parent, 0);
                    if restored {
                        self.exclusive = None;
                        self.processor.ready.append(&mut self.held);
                    }
                }
            }
        }
        Ok(())
    }

    fn run_job<F: Fabric>(
        &mut self,
        around: &mut Surroundings<F>,
        horizon: Cycles,
        budget: &mut u64,
    ) -> Result<(), ContextFault> {
        let Some(at) = self.current.take().or_else(|| self.processor.ready.pop_front()) else {
            return Ok(());
        };
        let Some(stream) = self.streams[at.stream].as_mut() else {
            return Ok(());
        };
        if !stream.exclusive && self.exclusive.is_some_and(|preempt| preempt != at) {
            self.held.push_back(at);
            return Ok(());
        }
        let processor = &mut self.processor;
        loop {
            let now = processor.time;
            if *budget == 0
                || now > horizon
                || now >= processor.timer.min(processor.dma.done)
                || around.wrote && around.polled
                || around.fabric.next_event().is_some_and(|event| event <= now)
            {
                self.current = Some(at);
                return Ok(());
            }
            *budget -= 1;
            let job = &stream.jobs[at.job];
            let (pc, left, id) = (job.pc, job.end - job.pc, job.id);
            let words = stream.page.instruction(pc);
            let size = u32::from(SIZES[words[0] as u8 as usize]);
            let result = if size == 0 {
                Err(Stop::illegal(describe(&words)))
            } else if size > left {
                Err(Stop::illegal(format!(
                    "the instruction takes {size} bytes; its job ends after {left}"
                )))
            } else {
                if around.trace.on {
                    let (uc, page) = (processor.index as u16, stream.page.number as u16);
                    around.trace.push(TraceEntry {
                        time: now,
                        uc,
                        page,
                        offset: pc as u16,
                        job: id,
                        words,
                    });
                }
                processor.statistics.instructions += 1;
                processor.step(stream, at, &words, around)
            };
            match result {
                Ok(Step::Next) => {}
                Ok(Step::Yield) => {
                    processor.ready.push_back(at);
                    return Ok(());
                }
                Ok(Step::Block(wait)) => return self.block(at, wait),
                Ok(Step::Nest { base, page, error }) => return self.nest(at, base, page, error, around),
                Ok(Step::End) => {
                    let end = (file::TASK_HANDLER, text::END_JOB);
                    around
                        .log
                        .note(self.processor.time, self.processor.index, end, &[u32::from(id)]);
                    return self.end_job(at);
                }
                Err(stop) => return Err(self.fault(at, stop)),
            }
        }
    }

    fn end_job(&mut self, at: JobRef) -> Result<(), ContextFault> {
        let Some(stream) = self.streams[at.stream].as_mut() else {
            return Ok(());
        };
        let job = &mut stream.jobs[at.job];
        if job.conditional && self.processor.preempt == Preempt::Conditional {
            self.processor.preempt = Preempt::Barrier;
            return self.block(
                at,
                Wait::RemoteBarrier {
                    id: REMOTE_BARRIER_PREEMPT as u8,
                    mask: 0,
                },
            );
        }
        job.state = State::Ended;
        stream.alive -= 1;
        self.settle(at.stream);
        Ok(())
    }

    fn block(&mut self, at: JobRef, wait: Wait) -> Result<(), ContextFault> {
        let taken = match wait {
            Wait::Tokens { tile, actor, .. } => self.processor.tokens.iter().find(|&&other| {
                matches!(self.job(other), Some(State::Blocked(Wait::Tokens { tile: t, actor: a, .. })) if (t, a) == (tile, actor))
            }),
            Wait::RemoteBarrier { id, .. } => self.processor.remote.iter().find(
                |&&other| matches!(self.job(other), Some(State::Blocked(Wait::RemoteBarrier { id: i, .. })) if i == id),
            ),
            _ => None,
        };
        if taken.is_some() {
            return Err(self.fault(
                at,
                Stop::illegal("another job of this uC waits for the same actor or remote barrier; one may"),
            ));
        }
        let processor = &mut self.processor;
        let Some(stream) = self.streams[at.stream].as_mut() else {
            return Ok(());
        };
        let job = &mut stream.jobs[at.job];
        job.block(wait, processor.time);
        match wait {
            Wait::Tokens { .. } => processor.tokens.push(at),
            Wait::Poll { .. } => processor.polls.push(at),
            Wait::RemoteBarrier { .. } => processor.remote.push(at),
            _ => {}
        }
        processor.timer = processor.timer.min(job.due());
        Ok(())
    }

    /// The state of a job.
    pub fn job(&self, at: JobRef) -> Option<State> {
        Some(self.streams[at.stream].as_ref()?.jobs.get(at.job)?.state)
    }

    fn nest<F: Fabric>(
        &mut self,
        at: JobRef,
        base: u64,
        page: u32,
        error: u32,
        around: &mut Surroundings<F>,
    ) -> Result<(), ContextFault> {
        let Some(outer) = self.streams[at.stream].as_ref() else {
            return Ok(());
        };
        // PREEMPT alone counts its phases while it nests; until it has restored, no other job may touch what it saves.
        let preempts = outer.jobs[at.job].phase != 0;
        let (depth, exclusive) = (outer.depth + 1, outer.exclusive || preempts);
        let free = self.streams.iter().position(Option::is_none);
        let (Some(slot), true) = (free, depth <= NESTING_MAX) else {
            let message = format!("nested code may lie {NESTING_MAX} deep and be {} streams wide", STREAMS - 1);
            return Err(self.fault(at, Stop { error, message }));
        };
        self.block(at, Wait::Nested)?;
        if preempts {
            self.exclusive.get_or_insert(at);
        }
        let stream = self.spare.pop().unwrap_or_else(Stream::new);
        let stream = stream.begin(base, Some(at), depth, error);
        self.streams[slot] = Some(Stream { exclusive, ..stream });
        self.processor.time += Cycles::from(UC_PAGE_CYCLES);
        self.load(slot, page, around)
    }

    fn complete_transfer<F: Fabric>(&mut self, around: &mut Surroundings<F>) -> Result<(), ContextFault> {
        let Self { processor, streams, .. } = self;
        let at = processor.dma.done;
        let Some(front) = processor.dma.queue.front().copied() else {
            processor.dma.done = Cycles::MAX;
            return Ok(());
        };
        let Some(stream) = streams[front.stream].as_mut() else {
            return Ok(());
        };
        let (page, code) = (stream.page.number, stream.page.instruction(front.origin)[0] as u8);
        let fault = |page: u32, message: String| ContextFault {
            error: context_error::INVALID_OPCODE,
            uc: processor.index,
            page,
            offset: front.origin,
            opcode: code,
            message,
        };
        if let Some(descriptor) = processor.dma.active() {
            descriptor
                .copy(&stream.page, around.fabric, around.host, at)
                .map_err(|message| fault(page, message))?;
            processor.statistics.dma_bytes += u64::from(4 * descriptor.words);
            around.wrote = true;
        }
        let ended = processor.dma.complete(&stream.page).map_err(|message| fault(page, message))?;
        if ended.is_none() {
            return Ok(());
        }
        stream.transfers -= 1;
        let next = processor
            .dma
            .queue
            .front()
            .and_then(|next| streams[next.stream].as_ref().map(|stream| (next.origin, stream)));
        if let Some((origin, stream)) = next {
            let page = stream.page.number;
            processor.dma.begin(&stream.page, at).map_err(|message| ContextFault {
                offset: origin,
                ..fault(page, message)
            })?;
        }
        let mut room = true;
        for (slot, stream) in streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            for (index, job) in stream.jobs.iter_mut().enumerate() {
                let reference = JobRef {
                    stream: slot,
                    job: index,
                };
                match job.state {
                    State::Blocked(Wait::Dma { handle }) if !processor.dma.outstanding(handle) => {
                        job.advance(u32::from(SIZES[stream.page.instruction(job.pc)[0] as u8 as usize]));
                        processor.wake(job, reference, at);
                    }
                    State::Blocked(Wait::DmaQueue) if room => {
                        room = false;
                        processor.wake(job, reference, at);
                    }
                    _ => {}
                }
            }
        }
        self.settle(front.stream);
        Ok(())
    }

    /// A fault at the present instruction of `at`.
    pub fn fault(&self, at: JobRef, stop: Stop) -> ContextFault {
        let place = self.streams[at.stream].as_ref().and_then(|stream| {
            let job = stream.jobs.get(at.job)?;
            Some((stream.page.number, job.pc, stream.page.instruction(job.pc)[0] as u8))
        });
        let (page, offset, opcode) = place.unwrap_or_default();
        ContextFault {
            error: stop.error,
            uc: self.processor.index,
            page,
            offset,
            opcode,
            message: stop.message,
        }
    }
}
