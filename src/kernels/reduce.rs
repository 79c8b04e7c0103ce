//! REDUCE and REQUANTISE: the output stage over sums of rows, and over int32 as it lies.

use super::Cost;
use super::conv2d::widen;
use super::element::is_byte;
use super::fields::Fields;
use super::operand::{Rows, disjoint, disjoint_or_same, place, require};
use super::simd::{Simd, Work, vectorise};
use super::stage::{LANES, Stage};
use super::window::{lanes, widened};
use crate::abi::tile_program::{element_type, output_flags, tile_reduce, tile_requantise};
use crate::abi::timing::{ELEMENTS_PER_CYCLE_8BIT, ELEMENTS_PER_CYCLE_F32};

/// Carries out REDUCE. Sums wrap at 32 bits.
pub(super) fn reduce(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let (rows, channels) = (fields.count(tile_reduce::ROWS)?, fields.count(tile_reduce::CHANNELS)?);
    let kind = fields.u32(tile_reduce::IN_TYPE);
    require(is_byte(kind) || kind == element_type::S32)?;
    let stage = Stage::parse(fields, tile_reduce::OUT_TYPE)?;
    let input = Rows::place(
        memory,
        operands[0],
        (rows, channels),
        fields.pitch(tile_reduce::IN_PITCH),
        kind,
    )?;
    let block = place(memory, operands[1], stage.parameter_bytes(channels), 4)?;
    let out = Rows::place_output(memory, operands[2], (1, channels), 0, stage.out_type)?;
    disjoint(&out.range, &[&input.range, &block])?;
    let parameters = stage.parameters(memory, &block, channels as usize);
    let rate = if is_byte(kind) {
        ELEMENTS_PER_CYCLE_8BIT
    } else {
        ELEMENTS_PER_CYCLE_F32
    };
    let zeros = fields.i32(tile_reduce::IN_ZERO).wrapping_mul(rows as i32);
    let reading = widened(memory, input.range.end);
    let mut sums = vec![zeros.wrapping_neg(); channels as usize];
    vectorise(
        simd,
        Reduce {
            input: &input,
            kind,
            sums: &mut sums,
            memory: reading.as_deref().unwrap_or(memory),
        },
    );
    stage.write(simd, &parameters, &sums, 0, &mut memory[out.range]);
    Ok(Cost::of_elements(rows * channels, rate, channels))
}

struct Reduce<'a> {
    input: &'a Rows,
    kind: u32,
    sums: &'a mut [i32],
    memory: &'a [u8],
}

impl Work for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            input,
            kind,
            sums,
            memory,
        } = self;
        if kind == element_type::S32 {
            for row in 0..input.rows as usize {
                let start = input.at(row, 0);
                let words = memory[start..start + sums.len() * 4].as_chunks::<4>().0;
                for (sum, &word) in sums.iter_mut().zip(words) {
                    *sum = sum.wrapping_add(i32::from_le_bytes(word));
                }
            }
            return;
        }
        for (index, sums) in sums.chunks_mut(LANES).enumerate() {
            let mut total = [0i32; LANES];
            for row in 0..input.rows as usize {
                for (total, byte) in total.iter_mut().zip(lanes(memory, input.at(row, index * LANES))) {
                    *total = total.wrapping_add(widen(byte, kind));
                }
            }
            for (sum, total) in sums.iter_mut().zip(total) {
                *sum = sum.wrapping_add(total);
            }
        }
    }
}

/// Carries out REQUANTISE. A 32-bit output may lie exactly over the input, unless it is added to.
pub(super) fn requantise(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let shape = (fields.count(tile_requantise::ROWS)?, fields.count(tile_requantise::CHANNELS)?);
    let kind = fields.u32(tile_requantise::IN_TYPE);
    require(kind == element_type::S32)?;
    let stage = Stage::parse(fields, tile_requantise::OUT_TYPE)?;
    let input = Rows::place(memory, operands[0], shape, fields.pitch(tile_requantise::IN_PITCH), kind)?;
    let block = place(memory, operands[1], stage.parameter_bytes(shape.1), 4)?;
    let out = Rows::place_output(
        memory,
        operands[2],
        shape,
        fields.pitch(tile_requantise::OUT_PITCH),
        stage.out_type,
    )?;
    disjoint(&out.range, &[&block])?;
    let accumulates = stage.has(output_flags::ACCUMULATE);
    if accumulates {
        disjoint(&out.range, &[&input.range])
    } else {
        disjoint_or_same(&out, &input)
    }?;
    let parameters = stage.parameters(memory, &block, shape.1 as usize);
    let channels = shape.1 as usize;
    let mut values = vec![0i32; channels];
    for row in 0..shape.0 as usize {
        let (from, to) = (input.at(row, 0), out.at(row, 0));
        for (value, &word) in values.iter_mut().zip(memory[from..from + channels * 4].as_chunks::<4>().0) {
            *value = i32::from_le_bytes(word);
        }
        stage.write(
            simd,
            &parameters,
            &values,
            0,
            &mut memory[to..to + channels * out.element as usize],
        );
    }
    Ok(Cost::of_elements(
        shape.0 * shape.1,
        ELEMENTS_PER_CYCLE_F32,
        shape.0 * shape.1,
    ))
}
