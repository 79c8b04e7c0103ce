//! The core of a core tile: interprets a tile program up to the next instruction that others can see.
//!
//! Arithmetic goes on ahead of simulated time, since only this core uses the data it has locked. What others see (taking and
//! giving locks, the program's end) waits for its own time, so that it happens in order with everything else.

use crate::abi::array::{self as abi, CORE_CONTROL_ENABLE, CORE_CONTROL_RESET, core_event};
use crate::abi::tile_program::{self, element_type, fault, opcode as op, tile_conv2d, tile_instruction, tile_operand};
use crate::abi::timing;
use crate::cert::fabric::{ArrayFault, Cycles};
use crate::kernels;

use super::Array;
use super::flow::{control_length, flow};
use super::lock::Overflow;
use super::performance::Counters;
use super::tile::TileMemory;
use super::trace::{Part, What};

const REGISTERS: usize = tile_program::REGISTERS as usize;
const LOOPS: usize = tile_program::LOOP_DEPTH as usize;
/// Instructions of one event; the next go on in an event of their own.
const INSTRUCTIONS_PER_EVENT: u32 = 64;
pub(super) const PROGRAM_WORDS: u32 = abi::CORE_PROGRAM_SIZE / 4;
const OPERANDS_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoreState {
    Stopped,
    Running,
    AcquiresLock,
    Halted,
    Faulted,
}

/// One core.
#[derive(Clone, Debug)]
pub(super) struct Core {
    pub tile: u16,
    pub state: CoreState,
    pub control: u32,
    /// Program word of the next instruction.
    pub pc: u32,
    pub fault: u32,
    pub pending: u64,
    pub registers: [u32; REGISTERS],
    /// First word of the body and runs still to come, outermost first.
    pub loops: [(u32, u32); LOOPS],
    pub depth: usize,
    time: Cycles,
    /// When it last got a lock or was started.
    progress: Cycles,
    pub lock: (u16, i8),
    pub busy: Cycles,
    pub macs: u64,
    /// Multiply-accumulates of 16-bit operands and wider.
    pub wide_macs: u64,
    pub elements: u64,
    pub instructions: u64,
    pub counters: Counters,
}

/// What an instruction leads to.
pub(super) enum Next {
    Go,
    /// It must wait for its own time.
    Later,
    Stop,
}

impl Core {
    pub fn new(tile: u16) -> Self {
        Self {
            tile,
            state: CoreState::Stopped,
            control: 0,
            pc: 0,
            fault: 0,
            pending: 0,
            registers: [0; REGISTERS],
            loops: [(0, 0); LOOPS],
            depth: 0,
            time: 0,
            progress: 0,
            lock: (0, 0),
            busy: 0,
            macs: 0,
            wide_macs: 0,
            elements: 0,
            instructions: 0,
            counters: Counters::default(),
        }
    }

    /// Takes over what `old` has counted.
    pub fn keep_counts(&mut self, old: &Self) {
        (self.busy, self.macs, self.wide_macs) = (old.busy, old.macs, old.wide_macs);
        (self.elements, self.instructions) = (old.elements, old.instructions);
    }

    /// Picojoule spent so far.
    pub fn energy(&self) -> f64 {
        energy(self.macs, self.wide_macs, self.elements)
    }

    /// The status register.
    pub fn status(&self) -> u32 {
        let mut status = 0;
        if self.control & CORE_CONTROL_ENABLE != 0 {
            status |= abi::CORE_STATUS_ENABLED;
        }
        if self.control & CORE_CONTROL_RESET != 0 {
            status |= abi::CORE_STATUS_RESET;
        }
        match self.state {
            CoreState::Halted => status | abi::CORE_STATUS_HALTED,
            CoreState::Faulted => status | abi::CORE_STATUS_FAULT,
            _ => status,
        }
    }

    /// An instruction is done.
    pub fn retire(&mut self, length: u32, cycles: Cycles) {
        self.pc += length;
        self.time += cycles;
        self.busy += cycles;
        self.instructions += 1;
    }
}

fn energy(macs: u64, wide_macs: u64, elements: u64) -> f64 {
    macs as f64 * timing::PICOJOULE_PER_MAC_S8
        + wide_macs as f64 * timing::PICOJOULE_PER_MAC_S16
        + elements as f64 * timing::PICOJOULE_PER_ELEMENT
}

pub(super) const CONTROL_CYCLES: Cycles = timing::INSTRUCTION_CYCLES as Cycles;
const LOCK_INSTRUCTION_CYCLES: Cycles = (timing::INSTRUCTION_CYCLES + timing::LOCK_CYCLES) as Cycles;

pub(super) fn program_word(program: &TileMemory, word: u32) -> u32 {
    program.word(word as usize * 4)
}

impl Array {
    /// Writes a core's control register: enabling a core that is not running starts it at word 0; reset stops and rewinds it.
    pub(super) fn control_core(&mut self, at: Cycles, index: usize, value: u32) {
        let entity = (self.channels.len() + index) as u16;
        let core = &mut self.cores[index];
        core.control = value;
        let running = matches!(core.state, CoreState::Running | CoreState::AcquiresLock);
        let enabled = value & CORE_CONTROL_ENABLE != 0 && value & CORE_CONTROL_RESET == 0;
        if running && enabled {
            return;
        }
        if core.state == CoreState::AcquiresLock {
            self.tiles[usize::from(core.tile)].locks[usize::from(core.lock.0)].forget(entity);
        }
        core.pending = 0;
        if running {
            core.counters.event(core_event::DISABLED, at);
        }
        if !enabled && value & CORE_CONTROL_RESET == 0 {
            // Disabled: it stays as it was left, for whoever reads its registers.
            if running {
                core.state = CoreState::Stopped;
            }
            return;
        }
        core.state = CoreState::Stopped;
        core.pc = 0;
        core.fault = 0;
        core.depth = 0;
        core.registers = [0; REGISTERS];
        if enabled {
            core.state = CoreState::Running;
            core.time = at;
            core.progress = at;
            core.counters.event(core_event::ACTIVE, at);
            core.pending = self.events.push(at, entity);
        }
    }

    /// A core that waited for a lock has it from `ready` on.
    pub(super) fn resume_core(&mut self, index: usize, ready: Cycles) {
        let entity = (self.channels.len() + index) as u16;
        let core = &mut self.cores[index];
        core.state = CoreState::Running;
        core.progress = ready;
        // The wait itself is not busy time.
        core.time = ready;
        core.retire(3, CONTROL_CYCLES);
        core.pending = self.events.push(core.time, entity);
    }

    /// Runs a core from `at` on.
    pub(super) fn run_core(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        self.cores[index].time = at;
        for _ in 0..INSTRUCTIONS_PER_EVENT {
            match self.instruction(at, index) {
                Ok(Ok(Next::Go)) => {}
                Ok(Ok(Next::Later)) => break,
                Ok(Ok(Next::Stop)) => return Ok(()),
                Ok(Err(code)) => return Err(self.core_fault(index, code)),
                Err(fault) => return Err(fault),
            }
        }
        let entity = (self.channels.len() + index) as u16;
        let core = &mut self.cores[index];
        if core.time.saturating_sub(core.progress) > Cycles::from(timing::CORE_BUDGET_CYCLES) {
            return Err(self.core_fault(index, fault::BUDGET));
        }
        core.pending = self.events.push(core.time, entity);
        Ok(())
    }

    /// Executes one instruction. The outer error is another part's fault, the inner one a code of `fault`.
    fn instruction(&mut self, at: Cycles, index: usize) -> Result<Result<Next, u32>, ArrayFault> {
        let core = &mut self.cores[index];
        let tile = usize::from(core.tile);
        let program = &self.tiles[tile].program;
        let pc = core.pc;
        if pc >= PROGRAM_WORDS {
            return Ok(Err(fault::PROGRAM_BOUNDS));
        }
        let first = [program_word(program, pc)];
        let code = tile_instruction::OPCODE.get(&first);
        let length = tile_instruction::LENGTH.get(&first);
        let operands = kernels::operand_count(code);
        let Some(expected) = operands.map(|count| 1 + count as u32).or_else(|| control_length(code)) else {
            return Ok(Err(fault::UNKNOWN_OPCODE));
        };
        if length != expected {
            return Ok(Err(fault::BAD_LENGTH));
        }
        if pc + length > PROGRAM_WORDS {
            return Ok(Err(fault::PROGRAM_BOUNDS));
        }
        let visible = matches!(code, op::HALT | op::ACQUIRE | op::RELEASE);
        if visible && core.time > at {
            return Ok(Ok(Next::Later));
        }
        let word = |operand: u32| program_word(program, pc + operand);
        match code {
            op::ACQUIRE | op::RELEASE => {
                let (lock, value) = (word(1), word(2) as i32);
                let in_range = (abi::LOCK_MIN..=abi::LOCK_MAX as i32).contains(&value);
                if lock >= abi::CORE_LOCKS || !in_range {
                    return Ok(Err(fault::BAD_LOCK));
                }
                self.lock_instruction(at, index, code, lock as u16, value as i8)
            }
            op::HALT => {
                core.state = CoreState::Halted;
                core.retire(0, 0);
                core.counters.event(core_event::DISABLED, core.time);
                Ok(Ok(Next::Stop))
            }
            _ if operands.is_some() => Ok(self.arithmetic(index, code, length, tile_instruction::ARGUMENT.get(&first))),
            op::EVENT => {
                let (mark, time) = (word(1), core.time);
                if mark <= core_event::INSTRUCTION_5 - core_event::INSTRUCTION_0 {
                    core.counters.event(core_event::INSTRUCTION_0 + mark, time);
                }
                core.retire(length, CONTROL_CYCLES);
                self.record(time, tile, Part::Core, What::Mark(mark), 0, 0.0);
                Ok(Ok(Next::Go))
            }
            _ => Ok(flow(core, program, code, length)),
        }
    }

    fn lock_instruction(
        &mut self,
        at: Cycles,
        index: usize,
        code: u32,
        lock: u16,
        value: i8,
    ) -> Result<Result<Next, u32>, ArrayFault> {
        let core = &mut self.cores[index];
        let tile = usize::from(core.tile);
        let counter = &mut self.tiles[tile].locks[usize::from(lock)];
        if code == op::RELEASE {
            if counter.release(value) == Err(Overflow) {
                return Ok(Err(fault::LOCK_OVERFLOW));
            }
            core.retire(3, LOCK_INSTRUCTION_CYCLES);
            self.admit(at, tile, lock)?;
        } else if counter.acquire(value) {
            core.retire(3, LOCK_INSTRUCTION_CYCLES);
            core.progress = core.time;
            self.trace_lock(at, tile, lock);
        } else {
            counter.wait((self.channels.len() + index) as u16, value);
            core.lock = (lock, value);
            core.state = CoreState::AcquiresLock;
            return Ok(Ok(Next::Stop));
        }
        Ok(Ok(Next::Go))
    }

    fn arithmetic(&mut self, index: usize, code: u32, length: u32, argument: u32) -> Result<Next, u32> {
        let core = &mut self.cores[index];
        let tile_index = usize::from(core.tile);
        let tile = &mut self.tiles[tile_index];
        let pc = core.pc;
        let size = kernels::descriptor_size(code).ok_or(fault::UNKNOWN_OPCODE)?;
        let start = argument as usize * 4;
        let descriptor = tile.program.bytes().get(start..start + size).ok_or(fault::PROGRAM_BOUNDS)?;
        let mut operands = [0; OPERANDS_MAX];
        let count = (length - 1) as usize;
        for (operand, slot) in operands[..count].iter_mut().enumerate() {
            let word = [program_word(&tile.program, pc + 1 + operand as u32)];
            let base = core.registers[tile_operand::BASE.get(&word) as usize % REGISTERS];
            *slot = base.wrapping_add(tile_operand::OFFSET.get(&word));
        }
        let cost = kernels::execute(code, descriptor, &operands[..count], tile.memory.bytes_mut(), self.simd)?;
        let wide = code == op::CONV2D && wide_input(descriptor);
        let (narrow, wide) = if wide { (0, cost.macs) } else { (cost.macs, 0) };
        let time = core.time;
        core.retire(length, cost.cycles);
        core.macs += narrow;
        core.wide_macs += wide;
        core.elements += cost.elements;
        if self.trace.is_some() {
            let what = What::Executed {
                word: pc as u16,
                opcode: code as u8,
            };
            let energy = energy(narrow, wide, cost.elements);
            self.record(time, tile_index, Part::Core, what, cost.cycles, energy);
        }
        Ok(Next::Go)
    }

    fn core_fault(&mut self, index: usize, code: u32) -> ArrayFault {
        let core = &mut self.cores[index];
        core.state = CoreState::Faulted;
        core.pending = 0;
        core.fault = code | core.pc << 16;
        let first = [program_word(&self.tiles[usize::from(core.tile)].program, core.pc)];
        let name = tile_instruction::OPCODE.get(&first);
        ArrayFault {
            tile: self.tiles[usize::from(core.tile)].id(),
            part: format!("core pc {:#x}", core.pc),
            reason: format!("instruction {:#04x}: {}", name, explain(code)),
        }
    }
}

/// Whether a convolution's operands are wider than 8 bits.
fn wide_input(descriptor: &[u8]) -> bool {
    let field = descriptor.get(tile_conv2d::IN_TYPE..tile_conv2d::IN_TYPE + 4);
    let element = field.map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    matches!(element, element_type::S16 | element_type::S32)
}

/// What a fault code means, and what to do about it.
fn explain(code: u32) -> String {
    match code {
        fault::UNKNOWN_OPCODE => "no such opcode; is the program loaded at word 0?".to_owned(),
        fault::BAD_LENGTH => "its length field does not fit its opcode".to_owned(),
        fault::PROGRAM_BOUNDS => {
            format!("the program, a loop or the descriptor leaves program memory, which has {PROGRAM_WORDS} words")
        }
        fault::DATA_BOUNDS => {
            format!(
                "an operand's extent leaves data memory, which has {:#x} bytes",
                abi::CORE_DATA_SIZE
            )
        }
        fault::MISALIGNED => "an operand's address is not aligned to its elements".to_owned(),
        fault::BAD_DESCRIPTOR => "a descriptor field or register number is out of range".to_owned(),
        fault::LOOP_NESTING => format!("loops nest more than {LOOPS} deep, or one ends that did not begin"),
        fault::BAD_LOCK => {
            format!(
                "the lock or value is out of range; locks are 0..{}, values -64..63",
                abi::CORE_LOCKS - 1
            )
        }
        fault::OVERLAP => "its output overlaps an input".to_owned(),
        fault::LOCK_OVERFLOW => "the release takes the lock outside -64..63".to_owned(),
        fault::BUDGET => format!(
            "no lock was acquired for {} cycles: a program that takes this long waits for nothing; split its work",
            timing::CORE_BUDGET_CYCLES
        ),
        other => format!("fault {other}"),
    }
}
