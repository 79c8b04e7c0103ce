//! CONV2D: convolution and matrix multiply; the checked plan and the scalar form.

use super::Cost;
use super::fields::Fields;
use super::operand::{aligned, apart, disjoint, element_size, extent, place, work};
use super::simd::Simd;
use super::stage::{LANES, Parameters, Stage};
use crate::abi::tile_program::{element_type, fault, tile_conv2d as field};
use crate::abi::timing::{MACS_PER_CYCLE_S8, MACS_PER_CYCLE_S16};
use std::ops::Range;

/// Input channels that 8-bit weights are rounded up to.
pub(super) const DEPTH: usize = 4;

/// A convolution whose operands all lie in memory, the output apart from the inputs.
pub(super) struct Plan {
    pub out_height: usize,
    pub out_width: usize,
    pub out_channels: usize,
    pub in_channels: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    /// Bytes between the inputs of output rows and of output pixels.
    pub in_step: (usize, usize),
    /// Bytes between the inputs of kernel rows and of kernel columns.
    pub tap_step: (usize, usize),
    pub out_step: (usize, usize),
    pub in_type: u32,
    pub in_zero: i32,
    pub weight_zero: i32,
    pub input: Range<usize>,
    pub weights: Range<usize>,
    pub output: Range<usize>,
    pub stage: Stage,
}

impl Plan {
    fn parse(fields: Fields, operands: &[u32], memory: &[u8]) -> Result<(Self, Range<usize>), u32> {
        let stage = Stage::parse(fields, field::OUT_TYPE)?;
        let in_type = fields.u32(field::IN_TYPE);
        let wide = match in_type {
            element_type::U8 | element_type::S8 => false,
            element_type::S16 | element_type::S32 => true,
            _ => return Err(fault::BAD_DESCRIPTOR),
        };
        let in_size = element_size(in_type)?;
        let (out_height, out_width) = (fields.count(field::OUT_HEIGHT)?, fields.count(field::OUT_WIDTH)?);
        let (out_channels, in_channels) = (fields.count(field::OUT_CHANNELS)?, fields.count(field::IN_CHANNELS)?);
        let (kernel_height, kernel_width) = (fields.count(field::KERNEL_HEIGHT)?, fields.count(field::KERNEL_WIDTH)?);
        let stride = (fields.count(field::STRIDE_HEIGHT)?, fields.count(field::STRIDE_WIDTH)?);
        let dilation = (fields.count(field::DILATION_HEIGHT)?, fields.count(field::DILATION_WIDTH)?);
        let in_pitch = (fields.pitch(field::IN_ROW_PITCH), fields.pitch(field::IN_PIXEL_PITCH));
        let out_step = (fields.pitch(field::OUT_ROW_PITCH), fields.pitch(field::OUT_PIXEL_PITCH));
        let in_step = (stride.0.saturating_mul(in_pitch.0), stride.1.saturating_mul(in_pitch.1));
        let tap_step = (dilation.0.saturating_mul(in_pitch.0), dilation.1.saturating_mul(in_pitch.1));
        let depth = if wide {
            in_channels
        } else {
            in_channels.next_multiple_of(DEPTH as u64)
        };
        let lanes = if wide {
            out_channels
        } else {
            out_channels.next_multiple_of(LANES as u64)
        };
        work(&[out_height, out_width, lanes, depth, kernel_height, kernel_width])?;
        let in_alignment = if wide { in_size } else { DEPTH as u64 };
        aligned(&[in_pitch.1], in_alignment)?;
        aligned(&[in_pitch.0], in_size)?;
        aligned(&[out_step.0, out_step.1], stage.out_size())?;
        let taps = [
            (out_height, in_step.0),
            (out_width, in_step.1),
            (kernel_height, tap_step.0),
            (kernel_width, tap_step.1),
        ];
        let input = place(memory, operands[0], extent(&taps, depth * in_size), in_size)?;
        let weights = place(
            memory,
            operands[1],
            work(&[kernel_height, kernel_width, depth, lanes, in_size])?,
            in_size,
        )?;
        let parameters = place(memory, operands[2], stage.parameter_bytes(out_channels), 4)?;
        let out_pixels = [(out_height, out_step.0), (out_width, out_step.1)];
        let out_run = out_channels * stage.out_size();
        apart(&out_pixels, out_run)?;
        let output = place(memory, operands[3], extent(&out_pixels, out_run), stage.out_size())?;
        disjoint(&output, &[&input, &weights, &parameters])?;
        let plan = Self {
            out_height: out_height as usize,
            out_width: out_width as usize,
            out_channels: out_channels as usize,
            in_channels: in_channels as usize,
            kernel_height: kernel_height as usize,
            kernel_width: kernel_width as usize,
            in_step: (in_step.0 as usize, in_step.1 as usize),
            tap_step: (tap_step.0 as usize, tap_step.1 as usize),
            out_step: (out_step.0 as usize, out_step.1 as usize),
            in_type,
            in_zero: fields.i32(field::IN_ZERO),
            weight_zero: fields.i32(field::WEIGHT_ZERO),
            input,
            weights,
            output,
            stage,
        };
        Ok((plan, parameters))
    }

    /// Input channels rounded up as the 8-bit weights are.
    pub(super) fn depth(&self) -> usize {
        self.in_channels.next_multiple_of(DEPTH)
    }

    /// Bytes of the 8-bit weights of 16 output channels.
    pub(super) fn group_bytes(&self) -> usize {
        self.kernel_height * self.kernel_width * self.depth() * LANES
    }

    /// Output rows and columns, as one row if rows follow each other without a gap on both sides.
    pub(super) fn merged(&self) -> (usize, usize) {
        let dense = self.in_step.0 == self.out_width * self.in_step.1 && self.out_step.0 == self.out_width * self.out_step.1;
        if dense {
            (1, self.out_height * self.out_width)
        } else {
            (self.out_height, self.out_width)
        }
    }

    /// Runs of contiguous 8-bit input in a kernel row, and the bytes of each.
    pub(super) fn runs(&self) -> (usize, usize) {
        let contiguous = self.kernel_width == 1 || self.tap_step.1 == self.depth();
        if contiguous {
            (1, self.kernel_width * self.depth())
        } else {
            (self.kernel_width, self.depth())
        }
    }

    fn macs(&self) -> u64 {
        (self.out_elements() * self.kernel_height * self.kernel_width * self.in_channels) as u64
    }

    fn out_elements(&self) -> usize {
        self.out_height * self.out_width * self.out_channels
    }
}

/// Carries out CONV2D.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let (plan, block) = Plan::parse(fields, operands, memory)?;
    let mut parameters = plan.stage.parameters(memory, &block, plan.out_channels);
    let elements = plan.out_elements() as u64;
    if matches!(plan.in_type, element_type::S16 | element_type::S32) {
        super::conv2d_wide::run(&plan, &parameters, memory, simd);
        return Ok(Cost::of_macs(plan.macs(), plan.macs(), MACS_PER_CYCLE_S16, elements));
    }
    // The AVX-512 form flips the top bits of S8 input, which adds 128 to every element.
    let flip = if simd.supported() == Simd::Avx512 && plan.in_type == element_type::S8 {
        128
    } else {
        0
    };
    fold(&plan, plan.in_zero.wrapping_add(flip), &mut parameters, memory, simd);
    match simd.supported() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `supported` gives Avx512 only if the processor has its features.
        Simd::Avx512 => unsafe { super::conv2d_avx512::run(&plan, &parameters, memory) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Simd::Avx2 => unsafe { super::conv2d_avx2::run(&plan, &parameters, memory) },
        _ => run_scalar(&plan, &parameters, memory),
    }
    let padded = plan.macs() / (plan.in_channels * plan.out_channels) as u64
        * (plan.depth() * plan.out_channels.next_multiple_of(LANES)) as u64;
    Ok(Cost::of_macs(plan.macs(), padded, MACS_PER_CYCLE_S8, elements))
}

/// Takes `factor` times each channel's sum of weights off its bias: sum((a - factor) * w) = sum(a * w) - factor * sum(w).
fn fold(plan: &Plan, factor: i32, parameters: &mut Parameters, memory: &[u8], simd: Simd) {
    if factor == 0 {
        return;
    }
    let groups = memory[plan.weights.clone()].chunks_exact(plan.group_bytes());
    for (bias, group) in parameters.bias.chunks_exact_mut(LANES).zip(groups) {
        for (bias, sum) in bias.iter_mut().zip(weight_sums(group, simd)) {
            *bias = bias.wrapping_sub(factor.wrapping_mul(sum));
        }
    }
}

/// The sum of the weights of each of 16 channels.
fn weight_sums(group: &[u8], simd: Simd) -> [i32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if simd.supported() == Simd::Avx512 {
        // SAFETY: `supported` gives Avx512 only if the processor has its features.
        return unsafe { super::conv2d_avx512::weight_sums(group) };
    }
    let _ = simd;
    let mut sums = [0i32; LANES];
    for block in group.as_chunks::<{ LANES * DEPTH }>().0 {
        for (sum, quad) in sums.iter_mut().zip(block.as_chunks::<DEPTH>().0) {
            *sum += quad.iter().map(|&weight| i32::from(weight.cast_signed())).sum::<i32>();
        }
    }
    sums
}

/// `weight_zero` times the sum of a pixel's (input - in_zero), which every channel of the pixel loses.
pub(super) fn weight_zero_term(plan: &Plan, memory: &[u8], pixel: usize) -> i32 {
    let mut sum = 0i32;
    for row in 0..plan.kernel_height {
        for column in 0..plan.kernel_width {
            let start = pixel + row * plan.tap_step.0 + column * plan.tap_step.1;
            for &byte in &memory[start..start + plan.in_channels] {
                sum = sum.wrapping_add(widen(byte, plan.in_type).wrapping_sub(plan.in_zero));
            }
        }
    }
    plan.weight_zero.wrapping_mul(sum)
}

/// An 8-bit input element as an integer. Without a branch, so that loops over elements of either type become vector instructions.
#[inline(always)]
pub(super) fn widen(byte: u8, kind: u32) -> i32 {
    let flip = if kind == element_type::S8 { 0x80 } else { 0 };
    i32::from(byte ^ flip) - i32::from(flip)
}

/// 8-bit convolution, one pixel and 16 channels at a time.
fn run_scalar(plan: &Plan, parameters: &Parameters, memory: &mut [u8]) {
    let size = plan.stage.out_size() as usize;
    for y in 0..plan.out_height {
        for x in 0..plan.out_width {
            let pixel = plan.input.start + y * plan.in_step.0 + x * plan.in_step.1;
            let out = plan.output.start + y * plan.out_step.0 + x * plan.out_step.1;
            let term = if plan.weight_zero == 0 {
                0
            } else {
                weight_zero_term(plan, memory, pixel)
            };
            for first in (0..plan.out_channels).step_by(LANES) {
                let sums = dot_products(plan, memory, pixel, first / LANES).map(|sum| sum.wrapping_sub(term));
                let channels = LANES.min(plan.out_channels - first);
                let start = out + first * size;
                plan.stage.write(
                    Simd::Scalar,
                    parameters,
                    &sums[..channels],
                    first,
                    &mut memory[start..start + channels * size],
                );
            }
        }
    }
}

/// Sums of products of the pixel at byte `pixel` with the weights of 16 channels.
///
/// Two products at a time, which is what every processor's 16-bit multiply-add instruction does.
fn dot_products(plan: &Plan, memory: &[u8], pixel: usize, group: usize) -> [i32; LANES] {
    const PAIRS: usize = LANES * DEPTH / 2;
    let mut pairs = [0i32; PAIRS];
    let start = plan.weights.start + group * plan.group_bytes();
    let mut blocks = memory[start..start + plan.group_bytes()]
        .as_chunks::<{ LANES * DEPTH }>()
        .0
        .iter();
    let (runs, run_bytes) = plan.runs();
    for row in 0..plan.kernel_height {
        for run in 0..runs {
            let start = pixel + row * plan.tap_step.0 + run * plan.tap_step.1;
            for (quad, block) in memory[start..start + run_bytes]
                .as_chunks::<DEPTH>()
                .0
                .iter()
                .zip(&mut blocks)
            {
                let [a, b, c, d] = quad.map(|byte| widen(byte, plan.in_type) as i16);
                let inputs = [a, b, c, d, a, b, c, d];
                for (pairs, weights) in pairs.as_chunks_mut::<4>().0.iter_mut().zip(block.as_chunks::<8>().0) {
                    let weights = weights.map(|weight| i16::from(weight.cast_signed()));
                    for (index, pair) in pairs.iter_mut().enumerate() {
                        let product = |at: usize| i32::from(inputs[at]) * i32::from(weights[at]);
                        *pair = pair.wrapping_add(product(2 * index) + product(2 * index + 1));
                    }
                }
            }
        }
    }
    std::array::from_fn(|lane| pairs[2 * lane].wrapping_add(pairs[2 * lane + 1]))
}
