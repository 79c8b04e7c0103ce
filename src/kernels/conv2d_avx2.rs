//! CONV2D on bytes with AVX2: blocks of four pixels by eight channels.
//!
//! Bytes are widened to int16 and multiplied with `vpmaddwd`, whose pair sums are exact; `vpmaddubsw` would saturate.

use super::conv2d::{Plan, weight_zero_term};
use super::simd::Simd;
use super::stage::{LANES, Parameters};
use crate::abi::tile_program::element_type;
use std::arch::x86_64::*;

const PIXELS: usize = 4;
const CHANNELS: usize = 8;

/// Adds up `COUNT` pixels by eight channels.
///
/// # Safety
/// The processor has AVX2; `input` is the first byte of the first pixel's window in memory that holds the windows of `COUNT` pixels of
/// `plan`, and `weights` the first byte of eight channels in packed weights that hold them all.
#[target_feature(enable = "avx2")]
unsafe fn block<const COUNT: usize, const SIGNED: bool>(
    plan: &Plan,
    input: *const u8,
    weights: *const u8,
) -> [[i32; CHANNELS]; PIXELS] {
    let mut low = [_mm256_setzero_si256(); PIXELS];
    let mut high = [_mm256_setzero_si256(); PIXELS];
    let (runs, run_bytes) = plan.runs();
    let mut result = [[0; CHANNELS]; PIXELS];
    // SAFETY: reads stay within what the caller vouches for: run_bytes (a multiple of 4) of every run of every kernel row, and 32 bytes
    // of weights for every 4 input bytes, 64 bytes apart. `result` holds eight int32 a pixel.
    unsafe {
        let mut weights = weights;
        for row in 0..plan.kernel_height {
            for run in 0..runs {
                let start = input.add(row * plan.tap_step.0 + run * plan.tap_step.1);
                for quad in (0..run_bytes).step_by(4) {
                    // Channels 0..4 and 4..8, four int16 each.
                    let first = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.cast()));
                    let second = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(16).cast()));
                    super::unrolled!(COUNT, pixel, {
                        let bytes = start.add(quad + pixel * plan.in_step.1).cast::<i32>().read_unaligned();
                        let bytes = _mm_set1_epi32(bytes);
                        let inputs = if SIGNED { _mm256_cvtepi8_epi16(bytes) } else { _mm256_cvtepu8_epi16(bytes) };
                        low[pixel] = _mm256_add_epi32(low[pixel], _mm256_madd_epi16(inputs, first));
                        high[pixel] = _mm256_add_epi32(high[pixel], _mm256_madd_epi16(inputs, second));
                    }, 0 1 2 3);
                    weights = weights.add(LANES * 4);
                }
            }
        }
        super::unrolled!(COUNT, pixel, {
            // The pairs' sums come as channels 0 1 4 5 2 3 6 7.
            let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low[pixel], high[pixel]));
            _mm256_storeu_si256(result[pixel].as_mut_ptr().cast(), sums);
        }, 0 1 2 3);
    }
    result
}

/// Carries out a checked plan of 8-bit input. `parameters.bias` has `in_zero` folded in.
///
/// # Safety
/// The processor has AVX2.
pub(super) unsafe fn run(plan: &Plan, parameters: &Parameters, memory: &mut [u8]) {
    let signed = plan.in_type == element_type::S8;
    let size = plan.stage.out_size() as usize;
    let lanes = plan.out_channels.next_multiple_of(LANES);
    let mut sums = vec![0; PIXELS * lanes];
    let (height, width) = plan.merged();
    for y in 0..height {
        for x in (0..width).step_by(PIXELS) {
            let input = plan.input.start + y * plan.in_step.0 + x * plan.in_step.1;
            let pixels = PIXELS.min(width - x);
            let block = match (pixels, signed) {
                (1, false) => block::<1, false>,
                (2, false) => block::<2, false>,
                (3, false) => block::<3, false>,
                (_, false) => block::<4, false>,
                (1, true) => block::<1, true>,
                (2, true) => block::<2, true>,
                (3, true) => block::<3, true>,
                (_, true) => block::<4, true>,
            };
            for first in (0..lanes).step_by(CHANNELS) {
                let weights = plan.weights.start + first / LANES * plan.group_bytes() + first % LANES * 4;
                // SAFETY: the plan checked that all windows and weights lie in memory; AVX2 is the caller's promise.
                let result = unsafe { block(plan, memory.as_ptr().add(input), memory.as_ptr().add(weights)) };
                for (pixel, result) in result.iter().enumerate().take(pixels) {
                    sums[pixel * lanes + first..][..CHANNELS].copy_from_slice(result);
                }
            }
            for pixel in 0..pixels {
                let sums = &mut sums[pixel * lanes..][..plan.out_channels];
                if plan.weight_zero != 0 {
                    let term = weight_zero_term(plan, memory, input + pixel * plan.in_step.1);
                    sums.iter_mut().for_each(|sum| *sum = sum.wrapping_sub(term));
                }
                let out = plan.output.start + y * plan.out_step.0 + (x + pixel) * plan.out_step.1;
                plan.stage.write(
                    Simd::Avx2,
                    parameters,
                    sums,
                    0,
                    &mut memory[out..out + plan.out_channels * size],
                );
            }
        }
    }
}
