//! A micro-controller's registers, clock and waiting lists, and the effect of each instruction on them.

use std::collections::VecDeque;

use super::debug::DebugBuffers;
use super::dma::UcDma;
use super::dtrace;
use super::fabric::{Cycles, Fabric, RegisterFault};
use super::job::{Job, JobRef, State, Stream, Wait};
use super::log::Log;
use super::page::INSTRUCTION_WORDS;
use super::patch;
use super::trace::Trace;
use super::{ExecBuf, UcStatistics};
use crate::abi::control_code::{self as form, SHARED_REGISTERS, SIZES, opcode};
use crate::abi::host_queue::context_error;
use crate::abi::timing::{HCLK_MHZ, POLL_CYCLES, UC_OPCODE_CYCLES, UC_REGISTER_CYCLES};
use crate::abi::uc_log::{file, text};
use crate::memory::HostMemory;

/// Why an instruction could not be carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// One of `context_error`.
    pub error: u32,
    pub message: String,
}

impl Stop {
    /// An instruction whose operands are not allowed.
    pub fn illegal(message: impl Into<String>) -> Self {
        Self {
            error: context_error::INVALID_OPCODE,
            message: message.into(),
        }
    }
}

impl From<RegisterFault> for Stop {
    fn from(fault: RegisterFault) -> Self {
        Self::illegal(format!("register {:#010x}: {}", fault.address, fault.reason))
    }
}

/// What an instruction does to its job, besides its own effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The job goes on.
    Next,
    /// The job goes on after the other runnable ones.
    Yield,
    /// The job waits.
    Block(Wait),
    /// The job waits for the pages from `page` of the program at `base`; `error` is the fault if they can't be had.
    Nest {
        base: u64,
        page: u32,
        error: u32,
    },
    End,
}

impl Step {
    /// LOAD_PDI and its kin: nested code that sets up the array.
    fn load(base: u64, page: u32) -> Self {
        Self::Nest {
            base,
            page,
            error: context_error::PDI_LOAD,
        }
    }
}

/// The PDI that was loaded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pdi {
    pub id: u32,
    pub base: u64,
    pub page: u32,
}

/// The programs that the cores hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub id: u32,
    pub base: u64,
    /// None if they came by control packets, which only the program itself could send again.
    pub page: Option<u32>,
}

/// How far a request to preempt has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preempt {
    #[default]
    None,
    /// The host asks; the next PREEMPT saves and restores.
    Requested,
    /// Saved and restored; the next conditional job runs.
    Restored,
    /// A conditional job runs.
    Conditional,
    /// It has ended and waits for those of the other micro-controllers.
    Barrier,
}

/// How far a PREEMPT is ([`Job::phase`]): at three points it waits until all micro-controllers have come there.
pub(crate) mod preempt_phase {
    pub const BEGUN: u8 = 0;
    pub const ALL_BEGUN: u8 = 1;
    /// While the save pages run, and then.
    pub const SAVED: u8 = 2;
    pub const ALL_SAVED: u8 = 3;
    /// While the restore pages run, and then.
    pub const RESTORED: u8 = 4;
    pub const ALL_RESTORED: u8 = 5;
}

/// What lies around a micro-controller while it works.
pub(crate) struct Surroundings<'a, F: Fabric> {
    pub fabric: &'a mut F,
    pub host: &'a dyn HostMemory,
    /// A register or lock was written: polls may come true.
    pub wrote: bool,
    /// Some job polls a register.
    pub polled: bool,
    pub trace: &'a mut Trace,
    pub log: &'a mut Log,
    pub debug: &'a mut DebugBuffers,
}

/// The state that instructions work on.
#[derive(Clone)]
pub(crate) struct Processor {
    pub index: usize,
    /// When the processor is free for its next instruction.
    pub time: Cycles,
    pub exec: ExecBuf,
    pub registers: [u32; SHARED_REGISTERS as usize],
    pub ready: VecDeque<JobRef>,
    pub dma: UcDma,
    /// No blocked job has to be looked at before this.
    pub timer: Cycles,
    /// Jobs that wait for tokens.
    pub tokens: Vec<JobRef>,
    /// Jobs whose register has not changed since they read it.
    pub polls: Vec<JobRef>,
    /// Jobs at remote barriers.
    pub remote: Vec<JobRef>,
    pub preempt: Preempt,
    pub pdi: Option<Pdi>,
    pub cores: Option<Cores>,
    /// What the cores held before LOAD_LAST_PDI.
    pub recovering: Option<Cores>,
    pub statistics: UcStatistics,
}

impl Processor {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            time: 0,
            exec: ExecBuf::default(),
            registers: [0; SHARED_REGISTERS as usize],
            ready: VecDeque::new(),
            dma: UcDma::new(),
            timer: Cycles::MAX,
            tokens: Vec::new(),
            polls: Vec::new(),
            remote: Vec::new(),
            preempt: Preempt::None,
            pdi: None,
            cores: None,
            recovering: None,
            statistics: UcStatistics::default(),
        }
    }

    fn register<'a>(&'a mut self, job: &'a mut Job, number: u32) -> Result<&'a mut u32, Stop> {
        let private = job.registers.len();
        let all = private + self.registers.len();
        let number = number as usize;
        if number < private {
            job.registers.get_mut(number)
        } else {
            self.registers.get_mut(number - private)
        }
        .ok_or_else(|| Stop::illegal(format!("register {number} does not exist; there are r0 to r{}", all - 1)))
    }

    /// Makes a job that does not run runnable at `at`.
    pub fn wake(&mut self, job: &mut Job, reference: JobRef, at: Cycles) {
        if self.ready.is_empty() {
            self.time = self.time.max(at);
        }
        job.state = State::Ready;
        self.ready.push_back(reference);
    }

    /// Carries out the instruction `words` of job `at.job`.
    pub fn step<F: Fabric>(
        &mut self,
        stream: &mut Stream,
        at: JobRef,
        words: &[u32; INSTRUCTION_WORDS],
        around: &mut Surroundings<F>,
    ) -> Result<Step, Stop> {
        let code = words[0] as u8;
        let size = u32::from(SIZES[code as usize]);
        let started = self.time;
        self.time += Cycles::from(UC_OPCODE_CYCLES);
        let job = &mut stream.jobs[at.job];
        match u32::from(code) {
            opcode::NOP => {}
            opcode::MOV => *self.register(job, form::mov::REGISTER.get(words))? = form::mov::VALUE.get(words),
            opcode::ADD => {
                let register = self.register(job, form::add::REGISTER.get(words))?;
                *register = register.wrapping_add(form::add::VALUE.get(words));
            }
            opcode::WRITE_32 => {
                self.write(
                    around,
                    started,
                    form::write_32::ADDRESS.get(words),
                    form::write_32::VALUE.get(words),
                )?;
            }
            opcode::MASK_WRITE_32 => {
                let (address, mask) = (form::mask_write_32::ADDRESS.get(words), form::mask_write_32::MASK.get(words));
                let old = self.read(around, started, address)?;
                self.write(
                    around,
                    started,
                    address,
                    old & !mask | form::mask_write_32::VALUE.get(words) & mask,
                )?;
            }
            opcode::WRITE_32_D => {
                let flags = form::write_32_d::FLAGS.get(words);
                let (mut address, mut value) = (form::write_32_d::ADDRESS.get(words), form::write_32_d::VALUE.get(words));
                if flags & form::WRITE_ADDRESS_IMMEDIATE == 0 {
                    address = *self.register(job, address)?;
                }
                if flags & form::WRITE_VALUE_IMMEDIATE == 0 {
                    value = *self.register(job, value)?;
                }
                self.write(around, started, address, value)?;
            }
            opcode::READ_32 => {
                let value = self.read(around, started, form::read_32::ADDRESS.get(words))?;
                *self.register(job, form::read_32::REGISTER.get(words))? = value;
            }
            opcode::READ_32_D => {
                let address = *self.register(job, form::read_32_d::ADDRESS_REGISTER.get(words))?;
                let value = self.read(around, started, address)?;
                *self.register(job, form::read_32_d::REGISTER.get(words))? = value;
            }
            opcode::POLL_32 | opcode::MASK_POLL_32 => {
                let masked = u32::from(code) == opcode::MASK_POLL_32;
                let address = form::poll_32::ADDRESS.get(words);
                let (mask, value) = if masked {
                    (form::mask_poll_32::MASK.get(words), form::mask_poll_32::VALUE.get(words))
                } else {
                    (u32::MAX, form::poll_32::VALUE.get(words))
                };
                if self.read(around, started, address)? & mask != value {
                    return Ok(Step::Block(Wait::Poll {
                        next: started + Cycles::from(POLL_CYCLES),
                        changed: false,
                    }));
                }
            }
            opcode::UC_DMA_MASK_POLL_EXT => {
                let address = u64::from(form::uc_dma_mask_poll_ext::ADDRESS_HIGH.get(words)) << 32
                    | u64::from(form::uc_dma_mask_poll_ext::ADDRESS_LOW.get(words));
                let mut word = [0; 4];
                around
                    .host
                    .read(address, &mut word)
                    .map_err(|fault| Stop::illegal(fault.to_string()))?;
                let masked = u32::from_le_bytes(word) & form::uc_dma_mask_poll_ext::MASK.get(words);
                if masked != form::uc_dma_mask_poll_ext::VALUE.get(words) {
                    return Ok(Step::Block(Wait::Retry(started + Cycles::from(POLL_CYCLES))));
                }
            }
            opcode::REL_ACQ_SYNC => {
                let operands = [form::rel_acq_sync::RELEASE.get(words), form::rel_acq_sync::ACQUIRE.get(words)];
                while let Some(&address) = operands.get(usize::from(job.phase)) {
                    // A lock request is a read: address bit 0x200 tells the tile acquire from release, bit 0 of what it
                    // answers says whether it was granted. An operand of 0 asks for nothing.
                    if address != 0 && self.read(around, started, address)? & 1 == 0 {
                        let next = started + Cycles::from(POLL_CYCLES);
                        return Ok(Step::Block(Wait::Poll { next, changed: false }));
                    }
                    around.wrote = true;
                    job.phase += 1;
                }
            }
            opcode::WAIT_TCTS => return self.wait_tokens(stream, at, words, around, size),
            opcode::UC_DMA_WRITE_DES => {
                if self.dma.full() {
                    return Ok(Step::Block(Wait::DmaQueue));
                }
                let (bd, origin) = (form::uc_dma_write_des::BD.get(words), job.pc);
                let handle = self
                    .dma
                    .enqueue(&stream.page, at.stream, bd, origin, self.time)
                    .map_err(Stop::illegal)?;
                stream.transfers += 1;
                *self.register(job, form::uc_dma_write_des::REGISTER.get(words))? = handle;
            }
            opcode::UC_DMA_WRITE_DES_SYNC => {
                if self.dma.full() {
                    return Ok(Step::Block(Wait::DmaQueue));
                }
                let (bd, origin) = (form::uc_dma_write_des_sync::BD.get(words), job.pc);
                let handle = self
                    .dma
                    .enqueue(&stream.page, at.stream, bd, origin, self.time)
                    .map_err(Stop::illegal)?;
                stream.transfers += 1;
                return Ok(Step::Block(Wait::Dma { handle }));
            }
            opcode::WAIT_UC_DMA => {
                let handle = *self.register(job, form::wait_uc_dma::REGISTER.get(words))?;
                if self.dma.outstanding(handle) {
                    return Ok(Step::Block(Wait::Dma { handle }));
                }
            }
            opcode::APPLY_OFFSET_57 => {
                patch::shim_bds(&mut stream.page, &self.exec, words, around.host).map_err(Stop::illegal)?
            }
            opcode::APPLY_OFFSET_PL => patch::uc_bds(&mut stream.page, &self.exec, words, around.host).map_err(Stop::illegal)?,
            opcode::LOCAL_BARRIER => return self.local_barrier(stream, at, words, size),
            opcode::REMOTE_BARRIER => {
                let (id, mask) = (form::remote_barrier::ID.get(words), form::remote_barrier::MASK.get(words));
                let last = form::REMOTE_BARRIER_BASE + form::REMOTE_BARRIERS - 1;
                if !(form::REMOTE_BARRIER_BASE..=last).contains(&id) {
                    return Err(Stop::illegal(format!(
                        "remote barrier {id} does not exist; ids go from 1 (rb0) to {last}"
                    )));
                }
                return Ok(Step::Block(Wait::RemoteBarrier {
                    id: id as u8,
                    mask: mask | 1 << self.index,
                }));
            }
            opcode::LAUNCH_JOB => self.launch(stream, at.stream, form::launch_job::JOB.get(words) as u16)?,
            opcode::SLEEP => {
                let until = started + Cycles::from(form::sleep::MICROSECONDS.get(words)) * Cycles::from(HCLK_MHZ);
                return Ok(Step::Block(Wait::Until(until)));
            }
            opcode::SAVE_TIMESTAMPS => {
                let id = form::save_timestamps::ID.get(words);
                dtrace::record(around.host, &self.exec, dtrace::Record::timestamp(self.index, id, started));
            }
            opcode::SAVE_REGISTER => {
                let value = self.read(around, started, form::save_register::ADDRESS.get(words))?;
                let id = form::save_register::ID.get(words);
                dtrace::record(around.host, &self.exec, dtrace::Record::register(self.index, id, value));
                around.debug.save(around.host, self.index, id, value);
            }
            opcode::TRACE => {
                let info = form::trace::INFO.get(words);
                dtrace::record(around.host, &self.exec, dtrace::Record::trace(self.index, info, started));
                around.log.note(started, self.index, (file::TRACE, text::TRACE), &[info]);
            }
            opcode::LOAD_PDI => {
                let code = Pdi {
                    id: form::load_pdi::PDI.get(words),
                    base: self.exec.code,
                    page: form::load_pdi::PAGE.get(words),
                };
                if self.pdi != Some(code) {
                    self.pdi = Some(code);
                    // A PDI sets up the whole partition, cores included.
                    self.cores = None;
                    return Ok(Step::load(code.base, code.page));
                }
            }
            opcode::LOAD_LAST_PDI => {
                let Some(code) = self.pdi else {
                    return Err(Stop {
                        error: context_error::NO_PDI,
                        message: String::from("no PDI was loaded before LOAD_LAST_PDI"),
                    });
                };
                if job.phase == 0 {
                    job.phase = 1;
                    self.recovering = self.cores.take();
                    return Ok(Step::load(code.base, code.page));
                }
                // The PDI is there; now what the cores held besides.
                let cores = self.recovering.take().filter(|&cores| self.cores != Some(cores));
                if let Some(cores) = cores {
                    self.cores = Some(cores);
                    if let Some(page) = cores.page {
                        job.phase = 0;
                        return Ok(Step::load(cores.base, page));
                    }
                }
            }
            opcode::LOAD_CORES => {
                let (id, page) = (form::load_cores::ID.get(words), form::load_cores::PAGE.get(words));
                let base = self.exec.code;
                if self.cores.is_none_or(|last| (last.id, last.base) != (id, base)) {
                    self.cores = Some(Cores {
                        id,
                        base,
                        page: Some(page),
                    });
                    return Ok(Step::load(base, page));
                }
            }
            opcode::LOAD_CORES_CP => {
                // The programs came by control packets; the uC only notes what the cores now hold (chosen).
                if self.pdi.is_none() {
                    let message = String::from("LOAD_CORES_CP needs a PDI that was loaded before it (LOAD_PDI)");
                    return Err(Stop {
                        error: context_error::NO_PDI,
                        message,
                    });
                }
                self.cores = Some(Cores {
                    id: form::load_cores_cp::ID.get(words),
                    base: self.exec.code,
                    page: None,
                });
            }
            opcode::PREEMPT => {
                let base = self.exec.code;
                let nest = |page| {
                    Ok(Step::Nest {
                        base,
                        page,
                        error: context_error::INVALID_PAGE,
                    })
                };
                match job.phase {
                    preempt_phase::BEGUN | preempt_phase::SAVED | preempt_phase::RESTORED => {
                        return Ok(Step::Block(Wait::RemoteBarrier {
                            id: form::REMOTE_BARRIER_POINT as u8,
                            mask: u32::from(job.phase),
                        }));
                    }
                    preempt_phase::ALL_BEGUN if self.preempt == Preempt::Requested => {
                        job.phase = preempt_phase::SAVED;
                        around.log.note(started, self.index, (file::DPU_CONTROL, text::SAVE), &[]);
                        return nest(form::preempt::SAVE_PAGE.get(words));
                    }
                    preempt_phase::ALL_SAVED => {
                        job.phase = preempt_phase::RESTORED;
                        around.log.note(started, self.index, (file::DPU_CONTROL, text::RESTORE), &[]);
                        return nest(form::preempt::RESTORE_PAGE.get(words));
                    }
                    preempt_phase::ALL_RESTORED => {
                        self.preempt = Preempt::Restored;
                        self.statistics.preemptions += 1;
                    }
                    _ => {}
                }
            }
            opcode::YIELD => {
                job.advance(size);
                return Ok(Step::Yield);
            }
            opcode::END_JOB => return Ok(Step::End),
            _ => return Err(Stop::illegal("the instruction may not stand inside a job")),
        }
        stream.jobs[at.job].advance(size);
        Ok(Step::Next)
    }

    fn read<F: Fabric>(&mut self, around: &mut Surroundings<F>, at: Cycles, address: u32) -> Result<u32, Stop> {
        self.time += Cycles::from(UC_REGISTER_CYCLES);
        Ok(around.fabric.read(at, address)?)
    }

    fn write<F: Fabric>(&mut self, around: &mut Surroundings<F>, at: Cycles, address: u32, value: u32) -> Result<(), Stop> {
        self.time += Cycles::from(UC_REGISTER_CYCLES);
        around.wrote = true;
        Ok(around.fabric.write(at, address, value)?)
    }
}
