//! Jobs, what they wait for, and the page streams they come from.

use super::fabric::Cycles;
use super::page::{Page, PageError};
use crate::abi::control_code::{JOB_REGISTERS, LOCAL_BARRIERS, opcode};
use crate::abi::timing::POLL_TIMEOUT_CYCLES;

/// What a blocked job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A register to change; it is read again at `next` once `changed` says that anything could have.
    Poll { next: Cycles, changed: bool },
    /// A time; then the instruction runs again.
    Retry(Cycles),
    /// A time; then the job goes on.
    Until(Cycles),
    /// Task-complete tokens.
    Tokens { tile: u16, actor: u8, count: u8 },
    /// A uC-DMA transfer.
    Dma { handle: u32 },
    /// Room in the uC-DMA queue.
    DmaQueue,
    /// Other jobs of this stream.
    LocalBarrier { id: u8, count: u8 },
    /// Jobs of other micro-controllers.
    RemoteBarrier { id: u8, mask: u32 },
    /// A nested stream.
    Nested,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for LAUNCH_JOB.
    Deferred,
    /// Waits for earlier jobs of its page, as [`Gate`] says.
    Held,
    Ready,
    Blocked(Wait),
    Ended,
}

/// Which jobs others of their page wait for: those after a gate start when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    None,
    /// Loads code: starts when all before it have ended.
    Load,
    /// PREEMPT: starts at once unless it has to save; then as [`Gate::Load`].
    Preempt,
    /// Runs after a preemption only, which is decided when all before it have ended.
    Conditional,
}

impl Gate {
    /// Of the job that `kind` starts and whose first instruction is `first`.
    fn of(kind: u32, first: u32) -> Self {
        match (kind, first) {
            (opcode::START_COND_JOB_PREEMPT, _) => Self::Conditional,
            (opcode::START_JOB, opcode::LOAD_PDI | opcode::LOAD_LAST_PDI | opcode::LOAD_CORES) => Self::Load,
            (opcode::START_JOB, opcode::PREEMPT) => Self::Preempt,
            _ => Self::None,
        }
    }

    /// Whether it waits for the jobs before it; `preempting` says that the next PREEMPT saves.
    pub fn waits(self, preempting: bool) -> bool {
        match self {
            Self::None => false,
            Self::Preempt => preempting,
            Self::Load | Self::Conditional => true,
        }
    }
}

/// One job.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: u16,
    pub state: State,
    pub gate: Gate,
    /// How much of an instruction that blocks half-way is done.
    pub phase: u8,
    /// Offset of the next instruction.
    pub pc: u32,
    /// Offset after END_JOB.
    pub end: u32,
    /// When the present instruction first blocked, or [`Job::NEVER`].
    pub blocked_at: Cycles,
    pub registers: [u32; JOB_REGISTERS as usize],
}

impl Job {
    pub const NEVER: Cycles = Cycles::MAX;

    /// Goes past an instruction of `size` bytes.
    #[inline]
    pub fn advance(&mut self, size: u32) {
        self.pc += size;
        self.phase = 0;
        self.blocked_at = Self::NEVER;
    }

    /// When a blocked job has to be looked at if nothing wakes it before: its time has come, or its patience ends.
    pub fn due(&self) -> Cycles {
        let deadline = self.blocked_at.saturating_add(Cycles::from(POLL_TIMEOUT_CYCLES));
        match self.state {
            State::Blocked(Wait::Poll { next, changed: true }) | State::Blocked(Wait::Retry(next)) => next.min(deadline),
            State::Blocked(Wait::Until(time)) => time,
            State::Blocked(
                Wait::Poll { changed: false, .. } | Wait::Tokens { .. } | Wait::LocalBarrier { .. } | Wait::RemoteBarrier { .. },
            ) => deadline,
            _ => Cycles::MAX,
        }
    }

    /// Whether it has waited too long by `at`.
    pub fn expired(&self, at: Cycles) -> bool {
        !matches!(self.state, State::Blocked(Wait::Until(_)))
            && self.blocked_at.saturating_add(Cycles::from(POLL_TIMEOUT_CYCLES)) <= at
    }

    /// Blocks at simulated time `at`.
    pub fn block(&mut self, wait: Wait, at: Cycles) {
        if self.blocked_at == Self::NEVER {
            self.blocked_at = at;
        }
        self.state = State::Blocked(wait);
    }
}

/// Names a job: its stream's slot and its index on the stream's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobRef {
    pub stream: usize,
    pub job: usize,
}

/// Pages that run one after another: a program, or nested code reached by page number.
#[derive(Clone)]
pub(crate) struct Stream {
    pub page: Page,
    pub jobs: Vec<Job>,
    /// Jobs that are neither ended nor still deferred.
    pub alive: usize,
    /// Jobs that are held.
    pub held: usize,
    /// uC-DMA transfers from this page that have not ended.
    pub transfers: usize,
    /// Jobs waiting at each local barrier.
    pub barriers: [u8; LOCAL_BARRIERS as usize],
    /// Address of page 0 of the program it belongs to.
    pub base: u64,
    /// The job that waits for this stream; none for a program itself.
    pub parent: Option<JobRef>,
    pub depth: u32,
    /// Part of a PREEMPT, during which only such streams run.
    pub exclusive: bool,
    /// The context error when a page of it can't be had.
    pub error: u32,
    /// When the present page was loaded.
    pub loaded_at: Cycles,
}

impl Stream {
    pub fn new() -> Self {
        Self {
            page: Page::empty(),
            jobs: Vec::new(),
            alive: 0,
            held: 0,
            transfers: 0,
            barriers: [0; LOCAL_BARRIERS as usize],
            base: 0,
            parent: None,
            depth: 0,
            exclusive: false,
            error: 0,
            loaded_at: 0,
        }
    }

    /// Makes this a stream of the program at `base`; what it was before is over.
    pub fn begin(mut self, base: u64, parent: Option<JobRef>, depth: u32, error: u32) -> Self {
        (self.base, self.parent, self.depth, self.error) = (base, parent, depth, error);
        (self.alive, self.held, self.transfers, self.exclusive) = (0, 0, 0, false);
        self.jobs.clear();
        self
    }

    /// Builds the job table from the page just loaded.
    pub fn parse(&mut self) -> Result<(), PageError> {
        self.jobs.clear();
        self.alive = 0;
        self.held = 0;
        self.barriers.fill(0);
        let mut offset = 0;
        let mut gated = false;
        while let Some(span) = self.page.job(offset)? {
            let kind = u32::from(span.kind);
            let gate = Gate::of(kind, self.page.instruction(span.first)[0] & 0xff);
            gated |= gate != Gate::None;
            let state = match kind {
                opcode::START_JOB_DEFERRED => State::Deferred,
                _ if gated => State::Held,
                _ => State::Ready,
            };
            self.alive += usize::from(state != State::Deferred);
            self.held += usize::from(state == State::Held);
            self.jobs.push(Job {
                id: span.id,
                state,
                gate,
                phase: 0,
                pc: span.first,
                end: span.end,
                blocked_at: Job::NEVER,
                registers: [0; JOB_REGISTERS as usize],
            });
            offset = span.end;
        }
        Ok(())
    }

    /// Whether the page is done with: no job left to run, no transfer reading it.
    pub fn finished(&self) -> bool {
        self.alive == 0 && self.transfers == 0
    }

    /// Whether a gate before job `index` has not ended.
    pub fn gated(&self, index: usize) -> bool {
        let before = &self.jobs[..index];
        before.iter().any(|job| job.gate != Gate::None && job.state != State::Ended)
    }
}
