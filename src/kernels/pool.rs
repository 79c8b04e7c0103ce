//! POOL: the largest element, or the sum, of every window.

use super::Cost;
use super::conv2d::widen;
use super::element::{CHUNK, is_byte};
use super::fields::Fields;
use super::operand::{disjoint, place, require};
use super::simd::{Simd, Work, vectorise};
use super::stage::{LANES, Stage};
use super::table::look_up;
use super::window::{Window, lanes, widened};
use crate::abi::tile_program::{element_type, output_flags, pool_kind, tile_pool as field};
use crate::abi::timing::ELEMENTS_PER_CYCLE_8BIT;

/// Carries out POOL.
///
/// MAX writes elements of the input's type; of its output stage only the TABLE flag may be set, and the parameter block is the
/// table alone. The other stage fields are not looked at.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let kind = fields.u32(field::IN_TYPE);
    require(is_byte(kind))?;
    match fields.u32(field::KIND) {
        pool_kind::MAX => largest(fields, operands, memory, simd, kind),
        pool_kind::SUM => sum(fields, operands, memory, simd, kind),
        _ => Err(crate::abi::tile_program::fault::BAD_DESCRIPTOR),
    }
}

fn cost(window: &Window) -> Cost {
    Cost::of_elements(
        window.elements() * window.taps() as u64,
        ELEMENTS_PER_CYCLE_8BIT,
        window.elements(),
    )
}

fn largest(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd, kind: u32) -> Result<Cost, u32> {
    let flags = fields.u32(field::OUT_FLAGS);
    require(flags & !output_flags::TABLE == 0)?;
    let window = Window::parse(fields, memory, operands[0], operands[2], 1)?;
    let block = place(memory, operands[1], if flags == 0 { 0 } else { 256 }, 4)?;
    disjoint(&window.output, &[&window.input, &block])?;
    let table = memory[block].first_chunk::<256>().copied();
    // Offset by half the range, S8 orders as U8 does.
    let flip = if kind == element_type::S8 { 0x80 } else { 0 };
    let source = widened(memory, window.input.end);
    vectorise(
        simd,
        Largest {
            window: &window,
            flip,
            source: source.as_deref(),
            memory,
        },
    );
    if let Some(table) = table {
        for y in 0..window.out_height {
            for x in 0..window.out_width {
                let start = window.target(y, x);
                look_up(simd, &table, &mut memory[start..start + window.channels]);
            }
        }
    }
    Ok(cost(&window))
}

struct Largest<'a> {
    window: &'a Window,
    flip: u8,
    /// Where to read, if not from `memory`.
    source: Option<&'a [u8]>,
    memory: &'a mut [u8],
}

impl Work for Largest<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            window,
            flip,
            source: reading,
            memory,
        } = self;
        for y in 0..window.out_height {
            for x in 0..window.out_width {
                let (source, target) = (window.source(y, x), window.target(y, x));
                for first in (0..window.channels).step_by(LANES) {
                    let count = LANES.min(window.channels - first);
                    let mut best = [0u8; LANES];
                    for row in 0..window.kernel_height {
                        for column in 0..window.kernel_width {
                            let at = source + row * window.tap_step.0 + column * window.tap_step.1 + first;
                            for (best, byte) in best.iter_mut().zip(lanes(reading.unwrap_or(memory), at)) {
                                *best = (*best).max(byte ^ flip);
                            }
                        }
                    }
                    let best = best.map(|byte| byte ^ flip);
                    memory[target + first..target + first + count].copy_from_slice(&best[..count]);
                }
            }
        }
    }
}

fn sum(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd, kind: u32) -> Result<Cost, u32> {
    let stage = Stage::parse(fields, field::OUT_TYPE)?;
    let window = Window::parse(fields, memory, operands[0], operands[2], stage.out_size())?;
    let block = place(memory, operands[1], stage.parameter_bytes(window.channels as u64), 4)?;
    disjoint(&window.output, &[&window.input, &block])?;
    let mut parameters = stage.parameters(memory, &block, window.channels);
    let zeros = fields.i32(field::IN_ZERO).wrapping_mul(window.taps() as i32);
    for bias in &mut parameters.bias {
        *bias = bias.wrapping_sub(zeros);
    }
    let size = stage.out_size() as usize;
    let reading = widened(memory, window.input.end);
    let mut sums = [0i32; CHUNK];
    for y in 0..window.out_height {
        for x in 0..window.out_width {
            for first in (0..window.channels).step_by(CHUNK) {
                let sums = &mut sums[..CHUNK.min(window.channels - first)];
                let source = window.source(y, x) + first;
                vectorise(
                    simd,
                    Sum {
                        window: &window,
                        source,
                        kind,
                        sums: &mut *sums,
                        memory: reading.as_deref().unwrap_or(memory),
                    },
                );
                let out = window.target(y, x) + first * size;
                stage.write(simd, &parameters, sums, first, &mut memory[out..out + sums.len() * size]);
            }
        }
    }
    Ok(cost(&window))
}

/// The sums of the window that starts at byte `source`.
struct Sum<'a> {
    window: &'a Window,
    source: usize,
    kind: u32,
    sums: &'a mut [i32],
    memory: &'a [u8],
}

impl Work for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            window,
            source,
            kind,
            sums,
            memory,
        } = self;
        for (index, sums) in sums.chunks_mut(LANES).enumerate() {
            let mut total = [0i32; LANES];
            for row in 0..window.kernel_height {
                for column in 0..window.kernel_width {
                    let at = source + row * window.tap_step.0 + column * window.tap_step.1 + index * LANES;
                    for (total, byte) in total.iter_mut().zip(lanes(memory, at)) {
                        *total = total.wrapping_add(widen(byte, kind));
                    }
                }
            }
            sums.copy_from_slice(&total[..sums.len()]);
        }
    }
}
