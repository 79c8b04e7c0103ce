//! Instructions that wait for other jobs, or set them off: tokens, local barriers, LAUNCH_JOB.

use super::fabric::Fabric;
use super::job::{JobRef, State, Stream, Wait};
use super::page::INSTRUCTION_WORDS;
use super::processor::{Processor, Step, Stop, Surroundings};
use crate::abi::control_code as form;

impl Processor {
    /// WAIT_TCTS, an instruction of `size` bytes.
    pub(crate) fn wait_tokens<F: Fabric>(
        &mut self,
        stream: &mut Stream,
        at: JobRef,
        words: &[u32; INSTRUCTION_WORDS],
        around: &mut Surroundings<F>,
        size: u32,
    ) -> Result<Step, Stop> {
        let tile = form::wait_tcts::TILE.get(words) as u16;
        let actor = form::wait_tcts::ACTOR.get(words) as u8;
        let count = form::wait_tcts::COUNT.get(words) as u8;
        if count != 0 {
            match around.fabric.take_tokens(tile, actor, u32::from(count)) {
                Some(arrival) if arrival > self.time => return Ok(Step::Block(Wait::Until(arrival))),
                Some(_) => {}
                None => return Ok(Step::Block(Wait::Tokens { tile, actor, count })),
            }
        }
        stream.jobs[at.job].advance(size);
        Ok(Step::Next)
    }

    /// LOCAL_BARRIER, an instruction of `size` bytes.
    pub(crate) fn local_barrier(
        &mut self,
        stream: &mut Stream,
        at: JobRef,
        words: &[u32; INSTRUCTION_WORDS],
        size: u32,
    ) -> Result<Step, Stop> {
        let (id, count) = (
            form::local_barrier::ID.get(words) as u8,
            form::local_barrier::COUNT.get(words) as u8,
        );
        let barriers = stream.barriers.len();
        let waiting = stream.barriers.get_mut(usize::from(id)).ok_or_else(|| {
            Stop::illegal(format!(
                "local barrier {id} does not exist; there are lb0 to lb{}",
                barriers - 1
            ))
        })?;
        let wait = Wait::LocalBarrier { id, count };
        if *waiting + 1 < count {
            *waiting += 1;
            return Ok(Step::Block(wait));
        }
        if *waiting > 0 {
            *waiting = 0;
            for (index, job) in stream.jobs.iter_mut().enumerate() {
                match job.state {
                    State::Blocked(other) if other == wait => {
                        job.advance(size);
                        self.wake(
                            job,
                            JobRef {
                                stream: at.stream,
                                job: index,
                            },
                            self.time,
                        );
                    }
                    State::Blocked(Wait::LocalBarrier {
                        id: other,
                        count: expected,
                    }) if other == id => {
                        let message = format!(
                            "local barrier {id} is for {count} jobs here and for {expected} in job {}",
                            job.id
                        );
                        return Err(Stop::illegal(message));
                    }
                    _ => {}
                }
            }
        }
        stream.jobs[at.job].advance(size);
        Ok(Step::Next)
    }

    /// LAUNCH_JOB `id` on the page of `stream`, which is in `slot`.
    pub(crate) fn launch(&mut self, stream: &mut Stream, slot: usize, id: u16) -> Result<(), Stop> {
        let found = stream
            .jobs
            .iter_mut()
            .enumerate()
            .find(|(_, job)| job.id == id && job.state == State::Deferred);
        let Some((index, job)) = found else {
            return Err(Stop::illegal(format!(
                "LAUNCH_JOB {id}: this page has no deferred job {id} that is still to be launched"
            )));
        };
        job.state = State::Held;
        stream.alive += 1;
        if stream.gated(index) {
            stream.held += 1;
        } else {
            stream.jobs[index].state = State::Ready;
            self.ready.push_back(JobRef {
                stream: slot,
                job: index,
            });
        }
        Ok(())
    }
}
