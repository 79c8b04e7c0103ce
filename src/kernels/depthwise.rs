//! DEPTHWISE: one small filter per channel.

use super::Cost;
use super::conv2d::widen;
use super::element::{CHUNK, is_byte};
use super::fields::Fields;
use super::operand::{disjoint, place, require, work};
use super::simd::{Simd, Work, vectorise};
use super::stage::{LANES, Parameters, Stage};
use super::window::{Window, lanes, widened};
use crate::abi::tile_program::{element_type, tile_depthwise as field};
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
    let zero = fields.i32(field::IN_ZERO);
    let (macs, elements) = (plan.window.elements() * plan.window.taps() as u64, plan.window.elements());
    let padded = macs / plan.window.channels as u64 * lanes;
    let cost = Cost::of_macs(macs, padded, MACS_PER_CYCLE_DEPTHWISE, elements);
    #[cfg(target_arch = "x86_64")]
    if simd.supported() == Simd::Avx512 && super::depthwise_avx512::takes(&plan.window, memory.len()) {
        // S8 input has its top bits flipped by the kernel, which adds 128 to every element.
        let flip = if in_type == element_type::S8 { 128 } else { 0 };
        fold_zero_point(&plan, zero.wrapping_add(flip), &mut parameters, memory);
        // SAFETY: `supported` gives Avx512 only if the processor has its features.
        unsafe { super::depthwise_avx512::run(&plan, &parameters, memory) };
        return Ok(cost);
    }
    fold_zero_point(&plan, zero, &mut parameters, memory);
    run(&plan, &parameters, memory, simd);
    Ok(cost)
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
fn run(plan: &Plan, parameters: &Parameters, memory: &mut [u8], simd: Simd) {
    let size = plan.stage.out_size() as usize;
    let reading = widened(memory, plan.window.input.end);
    let mut sums = [0i32; CHUNK];
    for y in 0..plan.window.out_height {
        for x in 0..plan.window.out_width {
            for first in (0..plan.window.channels).step_by(CHUNK) {
                let sums = &mut sums[..CHUNK.min(plan.window.channels - first)];
                let source = plan.window.source(y, x) + first;
                vectorise(
                    simd,
                    Products {
                        plan,
                        source,
                        first,
                        sums: &mut *sums,
                        memory: reading.as_deref().unwrap_or(memory),
                    },
                );
                let out = plan.window.target(y, x) + first * size;
                plan.stage
                    .write(simd, parameters, sums, first, &mut memory[out..out + sums.len() * size]);
            }
        }
    }
}

/// The sums of products of channels `first..` of the window that starts at byte `source`.
struct Products<'a> {
    plan: &'a Plan,
    source: usize,
    first: usize,
    sums: &'a mut [i32],
    memory: &'a [u8],
}

impl Work for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            plan,
            source,
            first,
            sums,
            memory,
        } = self;
        let window = &plan.window;
        for (index, sums) in sums.chunks_mut(LANES).enumerate() {
            let mut total = [0i32; LANES];
            let first = first + index * LANES;
            for row in 0..window.kernel_height {
                for column in 0..window.kernel_width {
                    let at = source + row * window.tap_step.0 + column * window.tap_step.1 + index * LANES;
                    let tap = plan.weights.start + (row * window.kernel_width + column) * plan.lanes() + first;
                    let (inputs, weights) = (lanes(memory, at), lanes(memory, tap));
                    for ((total, input), weight) in total.iter_mut().zip(inputs).zip(weights) {
                        *total = total.wrapping_add(widen(input, plan.in_type) * i32::from(weight.cast_signed()));
                    }
                }
            }
            sums.copy_from_slice(&total[..sums.len()]);
        }
    }
}
