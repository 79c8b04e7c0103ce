//! A partition: its fabric, its micro-controllers and the clock they share.

use super::fabric::{Cycles, Fabric};
use super::{ContextFault, ExecBuf};
use crate::abi::{control_code, host_queue::context_error};
use crate::memory::HostMemory;

/// What [`Machine::run`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All work that was started has ended and the fabric is quiet.
    Done,
    /// The budget is spent; call again.
    More,
    /// The context failed; its micro-controllers have stopped.
    Fault(ContextFault),
}

/// A partition's whole state.
#[derive(Clone)]
pub struct Machine<F: Fabric> {
    fabric: F,
    pending: Vec<Option<ExecBuf>>,
    preempt: Vec<bool>,
    now: Cycles,
}

impl<F: Fabric> Machine<F> {
    /// A partition of `columns` columns over `fabric`, with two micro-controllers a column (index `2 * column + half`).
    pub fn new(fabric: F, columns: u32) -> Self {
        let count = (columns * control_code::UC_PER_COLUMN) as usize;
        Self {
            fabric,
            pending: vec![None; count],
            preempt: vec![false; count],
            now: 0,
        }
    }

    /// Queues `exec` on micro-controller `uc`.
    pub fn start(&mut self, uc: usize, exec: ExecBuf) -> Result<(), ContextFault> {
        let count = self.pending.len();
        match self.pending.get_mut(uc) {
            Some(slot) => {
                *slot = Some(exec);
                Ok(())
            }
            None => Err(ContextFault {
                error: context_error::INVALID_PACKET,
                uc,
                page: 0,
                offset: 0,
                opcode: 0,
                message: format!(
                    "uC {uc} does not exist; this partition has uCs 0 to {}",
                    count.saturating_sub(1)
                ),
            }),
        }
    }

    /// Works for at most `budget` steps (an instruction, a DMA or a fabric event each).
    pub fn run(&mut self, host: &dyn HostMemory, budget: u64) -> Progress {
        for _ in 0..budget {
            match self.fabric.next_event() {
                Some(at) => {
                    self.now = self.now.max(at);
                    if let Err(fault) = self.fabric.step(host) {
                        return Progress::Fault(ContextFault {
                            error: context_error::INVALID_OPCODE,
                            uc: 0,
                            page: 0,
                            offset: 0,
                            opcode: 0,
                            message: format!("{}: {}", fault.part, fault.reason),
                        });
                    }
                }
                None => {
                    self.pending.fill(None);
                    return Progress::Done;
                }
            }
        }
        Progress::More
    }

    /// The simulated clock.
    pub fn now(&self) -> Cycles {
        self.now
    }

    /// Stops all micro-controllers where they are and forgets their work; the fabric stays as it is.
    pub fn abort(&mut self) {
        self.pending.fill(None);
        self.preempt.fill(false);
    }

    /// The fabric.
    pub fn fabric(&self) -> &F {
        &self.fabric
    }

    /// The fabric, to set up or to scrub.
    pub fn fabric_mut(&mut self) -> &mut F {
        &mut self.fabric
    }

    /// Asks `uc` to save and restore at its next PREEMPT.
    pub fn set_preempt(&mut self, uc: usize) {
        if let Some(flag) = self.preempt.get_mut(uc) {
            *flag = true;
        }
    }
}
