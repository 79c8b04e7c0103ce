//! DEPTHWISE: one small filter per channel.

use super::Cost;
use super::conv2d::widen;
use super::element::{CHUNK, is_byte};
use super::fields::Fields;
use super::operand::{disjoint, place, require, work};
use super::simd::{Simd, Work, vectorise};
use super::stage::{LANES, Parameters, Stage};
use super::window::Window;
use crate::abi::tile_program::tile_depthwise as field;
use crate::abi::timing::MACS_PER_CYCLE_DEPTHWISE;
use std::ops::Range;

/// A depthwise convolution whose operands all lie in memory.
pub(super) struct Plan {
    pub window: Window,
    pub weights: Range<usize>,
    pub in_type: u32,
    pub stage: Stage,
}

impl Plan {
    /// Channels rounded up as the weights are.
    pub(super) fn lanes(&self) -> usize {
        self.window.channels.next_multiple_of(LANES)
    }
}

/// Carries out DEPTHWISE.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let in_type = fields.u32(field::IN_TYPE);
    require(is_byte(in_type))?;
    let stage = Stage::parse(fields, field::OUT_TYPE)?;
    let window = Window::parse(fields, memory, operands[0], operands[3], stage.out_size())?;
    let lanes = window.channels.next_multiple_of(LANES) as u64;
    let weights = place(memory, operands[1], work(&[window.taps() as u64, lanes])?, 1)?;
    let block = place(memory, operands[2], stage.parameter_bytes(window.channels as u64), 4)?;
    disjoint(&window.output, &[&window.input, &weights, &block])?;
    let mut parameters = stage.parameters(memory, &block, window.channels);
    let plan = Plan {
        window,
        weights,
        in_type,
        stage,
    };
    fold_zero_point(&plan, fields.i32(field::IN_ZERO), &mut parameters, memory);
    let (macs, elements) = (plan.window.elements() * plan.window.taps() as u64, plan.window.elements());
    let padded = macs / plan.window.channels as u64 * lanes;
    vectorise(
        simd,
        Depthwise {
            plan: &plan,
            parameters: &parameters,
            memory,
        },
    );
    Ok(Cost::of_macs(macs, padded, MACS_PER_CYCLE_DEPTHWISE, elements))
}

/// Takes `zero` times each channel's sum of weights off its bias.
fn fold_zero_point(plan: &Plan, zero: i32, parameters: &mut Parameters, memory: &[u8]) {
    for row in memory[plan.weights.clone()].chunks_exact(plan.lanes()) {
        for (bias, &weight) in parameters.bias.iter_mut().zip(row) {
            *bias = bias.wrapping_sub(zero.wrapping_mul(i32::from(weight.cast_signed())));
        }
    }
}

/// Any shape, a pixel at a time, vectorised over channels.
struct Depthwise<'a> {
    plan: &'a Plan,
    parameters: &'a Parameters,
    memory: &'a mut [u8],
}

impl Work for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            parameters,
            memory,
        } = self;
        let (window, lanes) = (&plan.window, plan.lanes());
        let size = plan.stage.out_size() as usize;
        let mut sums = [0i32; CHUNK];
        for y in 0..window.out_height {
            for x in 0..window.out_width {
                let (source, target) = (window.source(y, x), window.target(y, x));
                for first in (0..window.channels).step_by(CHUNK) {
                    let sums = &mut sums[..CHUNK.min(window.channels - first)];
                    sums.fill(0);
                    for row in 0..window.kernel_height {
                        for column in 0..window.kernel_width {
                            let start = source + row * window.tap_step.0 + column * window.tap_step.1 + first;
                            let tap = plan.weights.start + (row * window.kernel_width + column) * lanes + first;
                            let inputs = &memory[start..start + sums.len()];
                            let weights = &memory[tap..tap + sums.len()];
                            for ((sum, &input), &weight) in sums.iter_mut().zip(inputs).zip(weights) {
                                *sum = sum.wrapping_add(widen(input, plan.in_type) * i32::from(weight.cast_signed()));
                            }
                        }
                    }
                    let out = target + first * size;
                    plan.stage
                        .write(parameters, sums, first, &mut memory[out..out + sums.len() * size]);
                }
            }
        }
    }
}
