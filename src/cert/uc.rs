//! One micro-controller: what it does next, and its jobs. Its pages are in `streams`, who waits in `waiting`.

use std::collections::VecDeque;

use super::fabric::{Cycles, Fabric};
use super::job::{Gate, JobRef, State, Stream, Wait};
use super::page::describe;
use super::processor::{Preempt, Processor, Step, Stop, Surroundings};
use super::trace::TraceEntry;
use super::{ContextFault, ExecBuf};
use crate::abi::control_code::{REMOTE_BARRIER_PREEMPT, SIZES};
use crate::abi::host_queue::context_error;
use crate::abi::uc_log::{file, text};

/// Streams a micro-controller can hold: its program and nested ones.
pub(super) const STREAMS: usize = 8;

/// A micro-controller.
#[derive(Clone)]
pub(crate) struct Uc {
    pub processor: Processor,
    pub pending: VecDeque<ExecBuf>,
    /// A program has begun and not ended.
    pub running: bool,
    pub streams: [Option<Stream>; STREAMS],
    /// Ended streams, kept for their buffers.
    pub spare: Vec<Stream>,
    /// The job that was interrupted so that something earlier could happen.
    current: Option<JobRef>,
    /// The job whose PREEMPT is saving and restoring.
    pub exclusive: Option<JobRef>,
    /// Jobs that became runnable meanwhile.
    pub held: VecDeque<JobRef>,
    /// Bit per stream whose page has ended.
    pub turning: u8,
    pub pages_left: u32,
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

    /// Whether it has nothing to do, now or when its present work has ended.
    pub fn idle(&self) -> bool {
        !self.running && self.pending.is_empty()
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
        if job.gate == Gate::Conditional && self.processor.preempt == Preempt::Conditional {
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

    pub fn block(&mut self, at: JobRef, wait: Wait) -> Result<(), ContextFault> {
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
