//! A partition: its fabric, its micro-controllers and the clock they share.

use super::debug::DebugBuffers;
use super::fabric::{ArrayFault, Cycles, Fabric, RegisterFault};
use super::job::JobRef;
use super::log::{Log, LogEntry};
use super::processor::{Preempt, Stop, Surroundings, preempt_phase};
use super::trace::{Trace, TraceEntry};
use super::uc::Uc;
use super::{ContextFault, ExecBuf, UcStatistics};
use crate::abi::control_code::{REMOTE_BARRIER_POINT, REMOTE_BARRIER_PREEMPT, START_QUEUE_MAX, UC_PER_COLUMN};
use crate::abi::host_queue::context_error;
use crate::abi::timing::{HCLK_MHZ, POLL_TIMEOUT_CYCLES};
use crate::abi::uc_log::{file, text};
use crate::memory::HostMemory;

/// What [`Machine::run`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All work that was started has ended and the fabric is quiet.
    Done,
    /// The budget is spent; call again.
    More,
    /// The context failed; its micro-controllers have stopped and forgotten their work.
    Fault(ContextFault),
}

/// Log entries of a packet that are kept until it fails.
const LOG_KEPT: usize = 4096;
/// Waits named in the message of a timeout.
const WAITS_NAMED: usize = 6;

/// What the clock has to know of each micro-controller, close together.
#[derive(Clone, Copy)]
struct Glance {
    /// [`Uc::next`].
    next: Cycles,
    /// Some job polls, waits for tokens.
    polls: bool,
    tokens: bool,
}

/// A partition's whole state.
#[derive(Clone)]
pub struct Machine<F: Fabric> {
    fabric: F,
    ucs: Vec<Uc>,
    glances: Vec<Glance>,
    /// How many micro-controllers have polls, and how many wait for tokens.
    polls: usize,
    tokens: usize,
    now: Cycles,
    /// When the last micro-controller ended its work; the fabric has a timeout's time from then on to come to rest.
    idle_since: Option<Cycles>,
    tokens_seen: Option<u64>,
    trace: Trace,
    log: Log,
    debug: DebugBuffers,
}

impl<F: Fabric> Machine<F> {
    /// A partition of `columns` columns (at most 16) over `fabric`, with two micro-controllers a column (index `2 * column + half`).
    pub fn new(fabric: F, columns: u32) -> Self {
        // A remote barrier's mask has a bit per micro-controller.
        let count = (columns.min(u32::BITS / UC_PER_COLUMN) * UC_PER_COLUMN) as usize;
        let glance = Glance {
            next: Cycles::MAX,
            polls: false,
            tokens: false,
        };
        Self {
            fabric,
            ucs: (0..count).map(Uc::new).collect(),
            glances: vec![glance; count],
            polls: 0,
            tokens: 0,
            now: 0,
            idle_since: None,
            tokens_seen: None,
            trace: Trace::default(),
            log: Log::default(),
            debug: DebugBuffers::default(),
        }
    }

    /// Queues `exec` on micro-controller `uc`, to begin when what it does now has ended.
    pub fn start(&mut self, uc: usize, exec: ExecBuf) -> Result<(), ContextFault> {
        let count = self.ucs.len();
        let refuse = |message| {
            Err(ContextFault {
                error: context_error::INVALID_PACKET,
                uc,
                page: 0,
                offset: 0,
                opcode: 0,
                message,
            })
        };
        let Some(target) = self.ucs.get_mut(uc) else {
            return refuse(format!(
                "uC {uc} does not exist; this partition has {count} uCs, counted from 0"
            ));
        };
        if target.pending.len() >= START_QUEUE_MAX as usize {
            return refuse(format!(
                "uC {uc} has {START_QUEUE_MAX} EXEC_BUFs waiting; wait for one to end"
            ));
        }
        if target.next() == Cycles::MAX && !target.running {
            target.processor.time = target.processor.time.max(self.now);
        }
        target.pending.push_back(exec);
        self.idle_since = None;
        self.glance(uc);
        Ok(())
    }

    /// Works for at most `budget` steps (an instruction, a page, a uC-DMA descriptor or a fabric event each).
    pub fn run(&mut self, host: &dyn HostMemory, budget: u64) -> Progress {
        let mut left = budget;
        while left > 0 {
            match self.advance(host, &mut left) {
                Ok(true) => return Progress::Done,
                Ok(false) => {}
                Err(fault) => {
                    let fault = self.explain(fault);
                    self.log_fault(&fault);
                    self.abort();
                    return Progress::Fault(fault);
                }
            }
        }
        Progress::More
    }

    /// Does what comes first: the earliest micro-controller's next, or fabric events until then. Tells whether all is done.
    fn advance(&mut self, host: &dyn HostMemory, left: &mut u64) -> Result<bool, ContextFault> {
        // The earliest micro-controller (the first of equals), and the time of the next one.
        let (mut index, mut at, mut horizon) = (0, Cycles::MAX, Cycles::MAX);
        for (candidate, glance) in self.glances.iter().enumerate() {
            let time = glance.next;
            if time < at {
                (index, at, horizon) = (candidate, time, at);
            } else {
                horizon = horizon.min(time);
            }
        }
        match self.fabric.next_event() {
            Some(event) if event <= at => self.step_fabric(host, event, at, left)?,
            None if at == Cycles::MAX => return Ok(true),
            _ => {
                self.now = self.now.max(at);
                self.serve(host, index, horizon, left)?;
            }
        }
        Ok(false)
    }

    /// Processes fabric events up to and including time `until`, as long as they wake no job.
    fn step_fabric(&mut self, host: &dyn HostMemory, first: Cycles, until: Cycles, left: &mut u64) -> Result<(), ContextFault> {
        let mut event = first;
        loop {
            if until == Cycles::MAX {
                self.check_rest(event)?;
            }
            *left -= 1;
            self.now = self.now.max(event);
            self.fabric.step(host).map_err(|fault| self.array_fault(fault))?;
            if self.notice() || *left == 0 {
                return Ok(());
            }
            match self.fabric.next_event() {
                Some(next) if next <= until => event = next,
                _ => return Ok(()),
            }
        }
    }

    /// Fails when the fabric does not come to rest after all control code has ended.
    fn check_rest(&mut self, event: Cycles) -> Result<(), ContextFault> {
        let since = *self.idle_since.get_or_insert(self.now);
        if event <= since.saturating_add(Cycles::from(POLL_TIMEOUT_CYCLES)) {
            return Ok(());
        }
        let message = format!(
            "the array is still busy {} us after its control code ended",
            POLL_TIMEOUT_CYCLES / HCLK_MHZ
        );
        Err(ContextFault {
            error: context_error::TIMEOUT,
            uc: 0,
            page: 0,
            offset: 0,
            opcode: 0,
            message,
        })
    }

    /// After a fabric event: wakes the jobs for which something may have changed. Tells whether any was.
    fn notice(&mut self) -> bool {
        let arrived = self.fabric.tokens_arrived();
        let look = arrived.is_none() || arrived != self.tokens_seen;
        self.tokens_seen = arrived;
        let mut woken = false;
        if look && self.tokens > 0 {
            for index in 0..self.ucs.len() {
                if self.glances[index].tokens && self.ucs[index].take_tokens(&mut self.fabric, self.now) {
                    self.glance(index);
                    woken = true;
                }
            }
        }
        woken | self.repoll(self.now)
    }

    /// Has all polls read again from `at` on; tells whether there are any.
    fn repoll(&mut self, at: Cycles) -> bool {
        if self.polls == 0 {
            return false;
        }
        for index in 0..self.ucs.len() {
            if self.glances[index].polls {
                self.ucs[index].repoll(at);
                self.glance(index);
            }
        }
        true
    }

    /// Notes what has become of micro-controller `index`.
    fn glance(&mut self, index: usize) {
        let processor = &self.ucs[index].processor;
        let new = Glance {
            next: self.ucs[index].next(),
            polls: !processor.polls.is_empty(),
            tokens: !processor.tokens.is_empty(),
        };
        let old = std::mem::replace(&mut self.glances[index], new);
        self.polls = self.polls + usize::from(new.polls) - usize::from(old.polls);
        self.tokens = self.tokens + usize::from(new.tokens) - usize::from(old.tokens);
    }

    fn serve(&mut self, host: &dyn HostMemory, index: usize, horizon: Cycles, left: &mut u64) -> Result<(), ContextFault> {
        let polled = self.polls > 0;
        let mut around = Surroundings {
            fabric: &mut self.fabric,
            host,
            wrote: false,
            polled,
            trace: &mut self.trace,
            log: &mut self.log,
            debug: &mut self.debug,
        };
        let uc = &mut self.ucs[index];
        let (barriers, running) = (uc.processor.remote.len(), uc.running);
        let result = uc.service(&mut around, horizon, left);
        let changed = uc.processor.remote.len() != barriers || uc.running != running;
        let (wrote, time) = (around.wrote, uc.processor.time);
        self.glance(index);
        result?;
        if wrote && polled {
            self.repoll(self.now.max(time));
        }
        if changed && self.ucs.iter().any(|uc| !uc.processor.remote.is_empty()) {
            self.match_barriers(time)?;
        }
        Ok(())
    }

    /// Opens every remote barrier at which all participants have arrived.
    fn match_barriers(&mut self, at: Cycles) -> Result<(), ContextFault> {
        let waiting: Vec<(usize, JobRef, u8, u32)> = self
            .ucs
            .iter()
            .enumerate()
            .flat_map(|(index, uc)| uc.at_barriers().map(move |(job, id, mask)| (index, job, id, mask)))
            .collect();
        for &(index, job, id, mask) in &waiting {
            let open = if u32::from(id) == REMOTE_BARRIER_PREEMPT {
                self.ucs
                    .iter()
                    .all(|uc| !uc.running || matches!(uc.processor.preempt, Preempt::None | Preempt::Barrier))
            } else if u32::from(id) == REMOTE_BARRIER_POINT {
                let here = |index| {
                    let mut there = waiting.iter();
                    there.any(|&(uc, _, other, phase)| (uc, other, phase) == (index, id, mask))
                };
                (0..self.ucs.len()).all(|index| self.ucs[index].idle() || here(index))
            } else {
                let count = self.ucs.len();
                if mask.checked_shr(count as u32).unwrap_or(0) != 0 {
                    let message = format!("mask {mask:#x} names uCs that this partition of {count} uCs does not have");
                    return Err(self.ucs[index].fault(job, Stop::illegal(message)));
                }
                let there = waiting.iter().filter(|&&(_, _, other, _)| other == id);
                if let Some(&(other, _, _, differs)) = there.clone().find(|&&(_, _, _, other)| other != mask) {
                    let message = format!("mask {mask:#x} here, {differs:#x} on uC {other}: participants must agree");
                    return Err(self.ucs[index].fault(job, Stop::illegal(message)));
                }
                there.fold(0, |present, &(uc, _, _, _)| present | 1 << uc) == mask
            };
            if open {
                if u32::from(id) == REMOTE_BARRIER_POINT {
                    self.pass_point(mask as u8, waiting.iter().map(|&(uc, ..)| uc));
                }
                for &(uc, job, other, _) in &waiting {
                    if other == id {
                        self.ucs[uc].leave_barrier(job, at);
                        self.glance(uc);
                    }
                }
                return self.match_barriers(at);
            }
        }
        Ok(())
    }

    /// All micro-controllers are at one point of a PREEMPT: one that has to save has all of them save; when they have, the array is
    /// as another context leaves it.
    fn pass_point(&mut self, phase: u8, ucs: impl Iterator<Item = usize> + Clone) {
        match phase {
            preempt_phase::BEGUN if ucs.clone().any(|uc| self.ucs[uc].processor.preempt == Preempt::Requested) => {
                ucs.for_each(|uc| self.ucs[uc].processor.preempt = Preempt::Requested);
            }
            preempt_phase::SAVED => self.fabric.hand_over(),
            _ => {}
        }
    }

    fn array_fault(&self, fault: ArrayFault) -> ContextFault {
        let (column, row) = (fault.tile >> 5, fault.tile & 31);
        let message = format!("tile column {column} row {row}, {}: {}", fault.part, fault.reason);
        let uc = usize::from(column) * UC_PER_COLUMN as usize;
        ContextFault {
            error: context_error::INVALID_OPCODE,
            uc,
            page: 0,
            offset: 0,
            opcode: 0,
            message,
        }
    }

    fn log_fault(&mut self, fault: &ContextFault) {
        let (text, arguments) = match fault.error {
            context_error::INVALID_OPCODE => (text::INVALID_OPCODE, [u32::from(fault.opcode), fault.offset]),
            context_error::TIMEOUT => (text::DEADLOCK, [fault.offset, fault.page]),
            context_error::INVALID_PAGE => {
                let file = (file::DPU_CONTROL, text::INVALID_PAGE);
                return self.log.note(self.now(), fault.uc, file, &[fault.page]);
            }
            error => (text::EXCEPTION, [error, 0]),
        };
        self.log.note(self.now(), fault.uc, (file::DPU_CONTROL, text), &arguments);
    }

    /// Completes the message of a timeout: what all the jobs and the fabric wait for.
    fn explain(&self, mut fault: ContextFault) -> ContextFault {
        if fault.error == context_error::TIMEOUT && fault.message.is_empty() {
            let waits: Vec<String> = self.ucs.iter().flat_map(Uc::waiting).collect();
            let rest = waits.len().saturating_sub(WAITS_NAMED);
            let mut named = waits[..waits.len() - rest].join("; ");
            if rest > 0 {
                named.push_str(&format!("; and {rest} more jobs"));
            }
            let blocked = self.fabric.blocked();
            let array = if blocked.is_empty() {
                String::new()
            } else {
                format!("; array: {blocked}")
            };
            fault.message = format!(
                "nothing came for {} us; waiting: {named}{array}",
                POLL_TIMEOUT_CYCLES / HCLK_MHZ
            );
        }
        fault
    }

    /// The simulated clock: the latest thing that has happened.
    pub fn now(&self) -> Cycles {
        self.ucs.iter().fold(self.now, |latest, uc| latest.max(uc.processor.time))
    }

    /// Stops all micro-controllers where they are and forgets their work; the fabric stays as it is.
    pub fn abort(&mut self) {
        self.now = self.now();
        for index in 0..self.ucs.len() {
            self.ucs[index].abort();
            self.glance(index);
        }
        self.idle_since = None;
    }

    /// The fabric.
    pub fn fabric(&self) -> &F {
        &self.fabric
    }

    /// The fabric, to set up or to scrub.
    pub fn fabric_mut(&mut self) -> &mut F {
        &mut self.fabric
    }

    /// Asks `uc` to run the save and restore pages of its next PREEMPT.
    pub fn set_preempt(&mut self, uc: usize) {
        if let Some(uc) = self.ucs.get_mut(uc)
            && uc.processor.preempt == Preempt::None
        {
            uc.processor.preempt = Preempt::Requested;
        }
    }

    /// What each micro-controller has done.
    pub fn statistics(&self) -> impl Iterator<Item = UcStatistics> {
        self.ucs.iter().map(|uc| uc.processor.statistics)
    }

    /// Begins or ends the keeping of a log.
    pub fn set_log(&mut self, on: bool) {
        self.log.on = on;
        self.log.entries.clear();
    }

    /// Where micro-controllers put the registers that control code saves: `(address, size)`, by number; size 0 for one without.
    pub fn set_debug(&mut self, buffers: &[(u64, u32)]) {
        self.debug = DebugBuffers::new(buffers);
    }

    /// Forgets all but the newest entries.
    pub fn trim_log(&mut self) {
        let excess = self.log.entries.len().saturating_sub(LOG_KEPT);
        self.log.entries.drain(..excess);
    }

    /// The log since the last call.
    pub fn take_log(&mut self) -> Vec<LogEntry> {
        std::mem::take(&mut self.log.entries)
    }

    /// Reads words of the fabric, as a debugger does.
    pub fn peek(&mut self, address: u32, words: &mut [u32]) -> Result<(), RegisterFault> {
        self.fabric.read_block(self.now(), address, words)
    }

    /// Writes words of the fabric, as a debugger does; polls look again.
    pub fn poke(&mut self, address: u32, words: &[u32]) -> Result<(), RegisterFault> {
        let now = self.now();
        self.fabric.write_block(now, address, words)?;
        self.repoll(now);
        Ok(())
    }

    /// Begins or ends the recording of instructions.
    pub fn set_trace(&mut self, on: bool) {
        self.trace.on = on;
    }

    /// The instructions recorded since the last call, in the order of simulated time, and how many were lost because nobody took them.
    pub fn take_trace(&mut self) -> (Vec<TraceEntry>, u64) {
        (std::mem::take(&mut self.trace.entries), std::mem::take(&mut self.trace.lost))
    }
}
