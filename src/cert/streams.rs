//! A micro-controller's page streams: its program, page by page, and nested code.

use super::ContextFault;
use super::fabric::{Cycles, Fabric};
use super::job::{Gate, JobRef, State, Stream, Wait};
use super::page::PageError;
use super::processor::{Preempt, Stop, Surroundings};
use super::uc::{STREAMS, Uc};
use crate::abi::control_code::{NESTING_MAX, PAGE_SIZE, PAGES_MAX, SIZES, opcode};
use crate::abi::host_queue::{context_error, packet_opcode};
use crate::abi::timing::UC_PAGE_CYCLES;
use crate::abi::uc_log::{file, text};

impl Uc {
    /// Begins the next packet's program.
    pub fn begin<F: Fabric>(&mut self, around: &mut Surroundings<F>) -> Result<(), ContextFault> {
        let Some(exec) = self.pending.pop_front() else { return Ok(()) };
        self.processor.exec = exec;
        self.processor.registers.fill(0);
        self.running = true;
        self.pages_left = PAGES_MAX;
        let stream = self.spare.pop().unwrap_or_else(Stream::new);
        self.streams[0] = Some(stream.begin(exec.code, None, 0, context_error::INVALID_PAGE));
        let (at, uc) = (self.processor.time, self.processor.index);
        around.debug.begin(uc);
        around
            .log
            .note(at, uc, (file::HOST_QUEUE, text::PACKET), &[packet_opcode::EXEC_BUF]);
        around.log.note(at, uc, (file::XRT_HANDLER, text::EXECUTE), &[]);
        self.processor.time += Cycles::from(UC_PAGE_CYCLES);
        self.load(0, 0, around)
    }

    /// After a job or transfer of `slot` has ended: starts held jobs, decides conditional ones, notes an ended page.
    pub fn settle(&mut self, slot: usize) {
        let Some(stream) = self.streams[slot].as_mut() else { return };
        // Whether all jobs so far have ended.
        let mut quiet = true;
        for index in 0..stream.jobs.len() {
            if stream.held == 0 {
                break;
            }
            let job = &mut stream.jobs[index];
            let preempt = self.processor.preempt;
            match job.state {
                State::Ended | State::Deferred => continue,
                State::Held if quiet || !job.gate.waits(preempt == Preempt::Requested) => {
                    stream.held -= 1;
                    if job.gate == Gate::Conditional {
                        if preempt != Preempt::Restored {
                            job.state = State::Ended;
                            stream.alive -= 1;
                            continue;
                        }
                        self.processor.preempt = Preempt::Conditional;
                    }
                    let reference = JobRef {
                        stream: slot,
                        job: index,
                    };
                    self.processor.wake(job, reference, 0);
                }
                _ => {}
            }
            if job.gate != Gate::None {
                break;
            }
            quiet = false;
        }
        if stream.finished() {
            self.turning |= 1 << slot;
        }
    }

    /// Goes on to the next page of a stream whose page has ended, or ends the stream.
    pub fn turn_page<F: Fabric>(&mut self, around: &mut Surroundings<F>) -> Result<(), ContextFault> {
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
                    // PREEMPT and LOAD_LAST_PDI go on with their next phase, the others are done.
                    if job.phase == 0 {
                        job.advance(u32::from(SIZES[stream.page.instruction(job.pc)[0] as u8 as usize]));
                    }
                    self.processor.wake(job, parent, 0);
                }
            }
        }
        Ok(())
    }

    /// Begins code from `page` of the program at `base`, for which job `at` waits.
    pub fn nest<F: Fabric>(
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
        // Until PREEMPT has restored, no other job may touch what it saves.
        let instruction = outer.page.instruction(outer.jobs[at.job].pc)[0];
        let preempts = instruction & 0xff == opcode::PREEMPT;
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
}
