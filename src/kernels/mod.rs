//! The arithmetic of tile programs: one instruction at a time, on one tile's data memory.
//!
//! The contract (descriptors, operands, meaning) is `fauxdna.abi.tile_program`; docs/tile-programs.md is its prose. Every family
//! has a scalar, an AVX2 and an AVX-512 form that give identical bytes. Descriptors and addresses are untrusted: each family first
//! turns them into a checked plan (`operand`), and only a plan that lies wholly in memory is carried out.

/// The statement once for every number below the count, unrolled in the source.
#[cfg(target_arch = "x86_64")]
macro_rules! unrolled {
    ($count:expr, $index:ident, $body:expr, $($number:literal)*) => {
        $(if $number < $count {
            let $index = $number;
            $body;
        })*
    };
}
#[cfg(target_arch = "x86_64")]
use unrolled;

#[cfg(target_arch = "x86_64")]
mod avx512_output;
pub mod bench;
mod binary;
mod conv2d;
#[cfg(target_arch = "x86_64")]
mod conv2d_avx2;
#[cfg(target_arch = "x86_64")]
mod conv2d_avx512;
mod conv2d_wide;
mod convert;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod depthwise_avx512;
mod element;
mod fields;
mod functions;
#[cfg(target_arch = "x86_64")]
mod interleave_avx512;
mod movement;
mod normalise;
mod operand;
mod pool;
mod reduce;
mod rounding;
mod simd;
mod stage;
mod table;
#[cfg(target_arch = "x86_64")]
mod table_avx512;
#[cfg(test)]
mod tests;
mod unary;
mod window;

pub use simd::Simd;

use crate::abi::tile_program::{
    fault, opcode, tile_binary, tile_conv2d, tile_convert, tile_copy, tile_depthwise, tile_fill, tile_normalise, tile_pack,
    tile_pool, tile_reduce, tile_requantise, tile_table, tile_unary,
};
use crate::abi::timing::INSTRUCTION_CYCLES;
use fields::Fields;

/// What one instruction cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Simulated core clock cycles, issue included (`abi::timing`).
    pub cycles: u64,
    /// Multiply-accumulates that the operation calls for, padding left out.
    pub macs: u64,
    /// Elements written.
    pub elements: u64,
}

impl Cost {
    /// `macs` useful multiply-accumulates, of which the array works on `padded` at `rate` a cycle.
    fn of_macs(macs: u64, padded: u64, rate: u32, elements: u64) -> Self {
        Self {
            cycles: u64::from(INSTRUCTION_CYCLES) + padded.div_ceil(u64::from(rate)),
            macs,
            elements,
        }
    }

    /// `visits` element (or byte) steps at `rate` a cycle.
    fn of_elements(visits: u64, rate: u32, elements: u64) -> Self {
        Self {
            cycles: u64::from(INSTRUCTION_CYCLES) + visits.div_ceil(u64::from(rate)),
            macs: 0,
            elements,
        }
    }
}

/// Bytes of the descriptor of arithmetic instruction `code`; `None` if it is not one.
pub fn descriptor_size(code: u32) -> Option<usize> {
    Some(form(code)?.0)
}

/// Data-memory operands of arithmetic instruction `code`; `None` if it is not one.
pub fn operand_count(code: u32) -> Option<usize> {
    Some(form(code)?.1)
}

/// Descriptor bytes and operand count, as `OPERATIONS` in `abi/tile_program.py`.
fn form(code: u32) -> Option<(usize, usize)> {
    Some(match code {
        opcode::CONV2D => (tile_conv2d::SIZE, 4),
        opcode::DEPTHWISE => (tile_depthwise::SIZE, 4),
        opcode::POOL => (tile_pool::SIZE, 3),
        opcode::REDUCE => (tile_reduce::SIZE, 3),
        opcode::REQUANTISE => (tile_requantise::SIZE, 3),
        opcode::BINARY => (tile_binary::SIZE, 3),
        opcode::TABLE => (tile_table::SIZE, 3),
        opcode::CONVERT => (tile_convert::SIZE, 2),
        opcode::COPY => (tile_copy::SIZE, 2),
        opcode::FILL => (tile_fill::SIZE, 1),
        opcode::PACK => (tile_pack::SIZE, 2),
        opcode::UNARY => (tile_unary::SIZE, 2),
        opcode::NORMALISE => (tile_normalise::SIZE, 3),
        _ => return None,
    })
}

/// Runs one arithmetic instruction on `memory`, a tile's whole data memory.
///
/// `descriptor` is a copy of the descriptor's bytes and `operands` the effective byte addresses, in the order of
/// `OPERATIONS[..].addresses`. Any alignment of `memory` is correct; 64 bytes is fastest.
///
/// # Errors
/// A code of `abi::tile_program::fault`, and memory is as it was: `UNKNOWN_OPCODE`; `BAD_LENGTH` (a descriptor or operand list of
/// the wrong length); `BAD_DESCRIPTOR` (a field out of range, or more work than one instruction may name); `MISALIGNED`;
/// `DATA_BOUNDS` (an operand leaves memory); `OVERLAP` (the output meets an input, or itself).
pub fn execute(code: u32, descriptor: &[u8], operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let (size, count) = form(code).ok_or(fault::UNKNOWN_OPCODE)?;
    if descriptor.len() != size || operands.len() != count {
        return Err(fault::BAD_LENGTH);
    }
    let fields = Fields::new(descriptor);
    let simd = simd.supported();
    match code {
        opcode::CONV2D => conv2d::execute(fields, operands, memory, simd),
        opcode::DEPTHWISE => depthwise::execute(fields, operands, memory, simd),
        opcode::POOL => pool::execute(fields, operands, memory, simd),
        opcode::REDUCE => reduce::reduce(fields, operands, memory, simd),
        opcode::REQUANTISE => reduce::requantise(fields, operands, memory, simd),
        opcode::BINARY => binary::execute(fields, operands, memory, simd),
        opcode::TABLE => table::execute(fields, operands, memory, simd),
        opcode::CONVERT => convert::execute(fields, operands, memory, simd),
        opcode::UNARY => unary::execute(fields, operands, memory, simd),
        opcode::NORMALISE => normalise::execute(fields, operands, memory, simd),
        opcode::COPY => movement::copy(fields, operands, memory),
        opcode::FILL => movement::fill(fields, operands, memory),
        opcode::PACK => movement::pack(fields, operands, memory, simd),
        _ => Err(fault::UNKNOWN_OPCODE),
    }
}
