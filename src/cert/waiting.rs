//! What wakes a micro-controller's blocked jobs: time, registers, tokens, remote barriers.

use super::ContextFault;
use super::fabric::{Cycles, Fabric};
use super::job::{Gate, Job, JobRef, State, Wait};
use super::page::describe;
use super::processor::{Preempt, Stop, preempt_phase};
use super::uc::Uc;
use crate::abi::control_code::{SIZES, opcode};
use crate::abi::host_queue::context_error;
use crate::abi::timing::POLL_CYCLES;

impl Uc {
    /// Wakes blocked jobs whose time has come at `at`; fails if one has waited too long.
    pub fn look_at_waiting(&mut self, at: Cycles) -> Result<(), ContextFault> {
        let Self { processor, streams, .. } = self;
        processor.timer = Cycles::MAX;
        for (slot, stream) in streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            for (index, job) in stream.jobs.iter_mut().enumerate() {
                let due = job.due();
                if due > at {
                    processor.timer = processor.timer.min(due);
                    continue;
                }
                let reference = JobRef {
                    stream: slot,
                    job: index,
                };
                if job.expired(at) {
                    return Err(self.fault(
                        reference,
                        Stop {
                            error: context_error::TIMEOUT,
                            message: String::new(),
                        },
                    ));
                }
                if matches!(job.state, State::Blocked(Wait::Until(_))) {
                    job.advance(u32::from(SIZES[stream.page.instruction(job.pc)[0] as u8 as usize]));
                }
                processor.wake(job, reference, at);
            }
        }
        Ok(())
    }

    /// Has every job that polls read its register again, at the first of its times from `at` on.
    pub fn repoll(&mut self, at: Cycles) {
        let Self { processor, streams, .. } = self;
        let period = Cycles::from(POLL_CYCLES);
        for reference in processor.polls.drain(..) {
            let Some(stream) = streams[reference.stream].as_mut() else {
                continue;
            };
            let job = &mut stream.jobs[reference.job];
            if let State::Blocked(Wait::Poll { next, .. }) = job.state {
                let late = at.saturating_sub(next).div_ceil(period);
                job.state = State::Blocked(Wait::Poll {
                    next: next + late * period,
                    changed: true,
                });
                processor.timer = processor.timer.min(job.due());
            }
        }
    }

    /// Wakes the jobs whose tokens have arrived by `at`.
    pub fn take_tokens<F: Fabric>(&mut self, fabric: &mut F, at: Cycles) -> bool {
        let Self { processor, streams, .. } = self;
        let mut waiting = std::mem::take(&mut processor.tokens);
        let before = waiting.len();
        waiting.retain(|&reference| {
            let Some(stream) = streams[reference.stream].as_mut() else {
                return false;
            };
            let job = &mut stream.jobs[reference.job];
            let State::Blocked(Wait::Tokens { tile, actor, count }) = job.state else {
                return false;
            };
            let Some(arrival) = fabric.take_tokens(tile, actor, u32::from(count)) else {
                return true;
            };
            job.state = State::Blocked(Wait::Until(arrival.max(at)));
            processor.timer = processor.timer.min(job.due());
            false
        });
        let woken = waiting.len() != before;
        processor.tokens = waiting;
        woken
    }

    /// Jobs at remote barriers, with the barrier's id and mask.
    pub fn at_barriers(&self) -> impl Iterator<Item = (JobRef, u8, u32)> {
        self.processor
            .remote
            .iter()
            .filter_map(|&reference| match self.job(reference) {
                Some(State::Blocked(Wait::RemoteBarrier { id, mask })) => Some((reference, id, mask)),
                _ => None,
            })
    }

    /// Lets the job at a remote barrier go on at `at`.
    pub fn leave_barrier(&mut self, reference: JobRef, at: Cycles) {
        self.processor.remote.retain(|&other| other != reference);
        let Some(stream) = self.streams[reference.stream].as_mut() else {
            return;
        };
        let job = &mut stream.jobs[reference.job];
        let code = stream.page.instruction(job.pc)[0] as u8;
        if self.processor.preempt == Preempt::Barrier && job.gate == Gate::Conditional {
            self.processor.preempt = Preempt::None;
        } else if u32::from(code) == opcode::PREEMPT {
            job.phase += 1;
            job.blocked_at = Job::NEVER;
        } else {
            job.advance(u32::from(SIZES[code as usize]));
        }
        let restored = job.phase == preempt_phase::ALL_RESTORED && self.exclusive == Some(reference);
        // A conditional job runs its END_JOB once more, now for good.
        self.processor.wake(job, reference, at);
        if restored {
            self.exclusive = None;
            self.processor.ready.append(&mut self.held);
        }
    }

    /// What each blocked job waits for.
    pub fn waiting(&self) -> impl Iterator<Item = String> {
        self.streams.iter().flatten().flat_map(move |stream| {
            stream
                .jobs
                .iter()
                .filter(|job| matches!(job.state, State::Blocked(_)))
                .map(move |job| {
                    let text = describe(&stream.page.instruction(job.pc));
                    format!(
                        "uC {} page {} job {} at {:#x}: {text}",
                        self.processor.index, stream.page.number, job.id, job.pc
                    )
                })
        })
    }
}
