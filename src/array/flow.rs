//! Instructions of tile programs that compute nothing: registers and loops.

use super::core::{CONTROL_CYCLES, Core, Next, PROGRAM_WORDS, program_word};
use super::tile::TileMemory;
use crate::abi::tile_program::{fault, opcode as op, tile_instruction};

impl Core {
    pub fn set(&mut self, register: u32, value: u32) -> Result<(), u32> {
        let slot = self.registers.get_mut(register as usize).ok_or(fault::BAD_DESCRIPTOR)?;
        *slot = value;
        self.registers[0] = 0;
        Ok(())
    }

    pub fn get(&self, register: u32) -> Result<u32, u32> {
        self.registers.get(register as usize).copied().ok_or(fault::BAD_DESCRIPTOR)
    }
}

/// Words of an instruction that is not arithmetic.
pub(super) fn control_length(code: u32) -> Option<u32> {
    Some(match code {
        op::HALT | op::END_LOOP => 1,
        op::LOOP | op::EVENT => 2,
        op::MOVE | op::SWAP | op::ACQUIRE | op::RELEASE => 3,
        op::ADD => 4,
        _ => return None,
    })
}

/// Registers and loops.
pub(super) fn flow(core: &mut Core, program: &TileMemory, code: u32, length: u32) -> Result<Next, u32> {
    let pc = core.pc;
    let word = |operand: u32| program_word(program, pc + operand);
    match code {
        op::MOVE => core.set(word(1), word(2))?,
        op::ADD => {
            let sum = core.get(word(2))?.wrapping_add(word(3));
            core.set(word(1), sum)?;
        }
        op::SWAP => {
            let (first, second) = (core.get(word(1))?, core.get(word(2))?);
            core.set(word(1), second)?;
            core.set(word(2), first)?;
        }
        op::LOOP => {
            let count = word(1);
            if count == 0 {
                let end = loop_end(program, pc + length)?;
                core.retire(end - pc, CONTROL_CYCLES);
                return Ok(Next::Go);
            }
            let slot = core.loops.get_mut(core.depth).ok_or(fault::LOOP_NESTING)?;
            *slot = (pc + length, count - 1);
            core.depth += 1;
        }
        op::END_LOOP => {
            let inner = core.depth.checked_sub(1).ok_or(fault::LOOP_NESTING)?;
            let (body, left) = &mut core.loops[inner];
            if *left > 0 {
                *left -= 1;
                let body = *body;
                core.retire(0, CONTROL_CYCLES);
                core.pc = body;
                return Ok(Next::Go);
            }
            core.depth = inner;
        }
        _ => return Err(fault::UNKNOWN_OPCODE),
    }
    core.retire(length, CONTROL_CYCLES);
    Ok(Next::Go)
}

/// The word after the END_LOOP that closes a loop whose body starts at `body`.
fn loop_end(program: &TileMemory, body: u32) -> Result<u32, u32> {
    let (mut at, mut depth) = (body, 0);
    while at < PROGRAM_WORDS {
        let first = [program_word(program, at)];
        let length = tile_instruction::LENGTH.get(&first);
        if length == 0 {
            return Err(fault::BAD_LENGTH);
        }
        at += length;
        match tile_instruction::OPCODE.get(&first) {
            op::LOOP => depth += 1,
            op::END_LOOP if depth == 0 => return Ok(at),
            op::END_LOOP => depth -= 1,
            _ => {}
        }
    }
    Err(fault::PROGRAM_BOUNDS)
}
