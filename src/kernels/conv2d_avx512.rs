//! CONV2D on bytes with AVX-512 VNNI: register blocks of a few pixels by up to 64 output channels, read straight from the tile.
//!
//! A block holds one accumulator register per pixel and 16 channels (the last 8 may be half a register, which costs half on
//! processors with 256-bit units). Each step broadcasts 4 input bytes of every pixel against 64 weight bytes of every register.

use super::avx512_output::{Output, Sums, finish};
use super::conv2d::{Plan, weight_zero_term};
use super::stage::{LANES, Parameters};
use crate::abi::tile_program::element_type;
use std::arch::x86_64::*;

/// Channels of a half register.
const HALF_LANES: usize = 8;
/// Registers of a block that hold output channels.
const MAX_VECTORS: usize = 4;
/// Pixels of a block, by its registers per pixel: what leaves room in 32 registers for weights and a broadcast.
const MAX_PIXELS: [usize; MAX_VECTORS + 1] = [0, 14, 12, 8, 6];

/// What a block kernel reads, the same for all blocks of some output channels.
struct Job {
    /// Weights of the block's first 16 channels.
    weights: *const u8,
    /// Bytes between the weights of one 16 channels and the next.
    group_bytes: usize,
    /// What accumulators start from, 16 a register.
    start: *const i32,
    /// Bytes between pixels of the input.
    pixel_step: usize,
    /// Kernel rows and the bytes between them.
    rows: (usize, usize),
    /// Runs of contiguous input in a kernel row, and the bytes between them.
    runs: (usize, usize),
    /// Bytes of a run.
    run_bytes: usize,
}

/// The statement once for every register below the count, unrolled in the source.
macro_rules! by_register {
    ($count:expr, |$index:ident| $body:expr) => {
        super::unrolled!($count, $index, $body, 0 1 2 3)
    };
}

/// The statement once for every pixel below the count, unrolled in the source.
macro_rules! by_pixel {
    ($count:expr, |$index:ident| $body:expr) => {
        super::unrolled!($count, $index, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
}

/// Adds up one block, of `FULL` registers and, with `HALF`, half a register of channels, and writes it.
///
/// # Safety
/// The processor has what `Simd::Avx512` asks for; `input` is the first byte of the first pixel's window, and all that `job`
/// describes from there for `PIXELS` pixels can be read, as can `FULL` and `HALF` registers of weights and starts; `output` may
/// write `PIXELS` pixels from `target` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn block<const FULL: usize, const HALF: bool, const PIXELS: usize>(
    job: &Job,
    output: &Output,
    input: *const u8,
    sums: &mut Sums,
    target: *mut u8,
) {
    // Indices are literals throughout, so that the compiler keeps every element in a register.
    let mut full = [[_mm512_setzero_si512(); MAX_VECTORS]; 16];
    let mut half = [_mm256_setzero_si256(); 16];
    // SAFETY: reads stay within what the caller vouches for: pixel p's run r of row y starts at
    // input + p * pixel_step + y * rows.1 + r * runs.1 and is read for run_bytes, 4 at a time (they are a multiple of 4);
    // the weights of a register are read 64 bytes for every 4 input bytes. The writes are `output`'s, as the caller vouches.
    unsafe {
        let mut starts = [_mm512_setzero_si512(); MAX_VECTORS];
        by_register!(FULL, |register| starts[register] =
            _mm512_loadu_si512(job.start.add(register * LANES).cast()));
        by_pixel!(PIXELS, |pixel| full[pixel] = starts);
        if HALF {
            let start = _mm256_loadu_si256(job.start.add(FULL * LANES).cast());
            by_pixel!(PIXELS, |pixel| half[pixel] = start);
        }
        let mut weights = job.weights;
        for row in 0..job.rows.0 {
            for run in 0..job.runs.0 {
                let mut at = input.add(row * job.rows.1 + run * job.runs.1);
                let end = at.add(job.run_bytes);
                while at != end {
                    let mut columns = [_mm512_setzero_si512(); MAX_VECTORS];
                    by_register!(FULL, |register| columns[register] =
                        _mm512_loadu_si512(weights.add(register * job.group_bytes).cast()));
                    let mut half_column = _mm256_setzero_si256();
                    if HALF {
                        half_column = _mm256_loadu_si256(weights.add(FULL * job.group_bytes).cast());
                    }
                    by_pixel!(PIXELS, |pixel| {
                        let inputs = _mm512_set1_epi32(at.add(pixel * job.pixel_step).cast::<i32>().read_unaligned());
                        by_register!(FULL, |register| full[pixel][register] =
                            _mm512_dpbusd_epi32(full[pixel][register], inputs, columns[register]));
                        if HALF {
                            half[pixel] = _mm256_dpbusd_epi32(half[pixel], _mm512_castsi512_si256(inputs), half_column);
                        }
                    });
                    weights = weights.add(64);
                    at = at.add(4);
                }
            }
        }
        finish!(FULL, HALF, PIXELS, full, half, output, sums, target);
    }
}

type Block = unsafe fn(&Job, &Output, *const u8, &mut Sums, *mut u8);

/// The block kernel for so many registers and pixels.
fn select(full: usize, half: bool, pixels: usize) -> Block {
    macro_rules! of {
        ($full:literal, $half:literal, $($pixels:literal)*) => {
            match pixels {
                $($pixels => block::<$full, $half, $pixels>,)*
                _ => block::<$full, $half, 1>,
            }
        };
    }
    match (full, half) {
        (0, _) => of!(0, true, 2 3 4 5 6 7 8 9 10 11 12 13 14),
        (1, false) => of!(1, false, 2 3 4 5 6 7 8 9 10 11 12 13 14),
        (1, true) => of!(1, true, 2 3 4 5 6 7 8 9 10 11 12),
        (2, false) => of!(2, false, 2 3 4 5 6 7 8 9 10 11 12),
        (2, true) => of!(2, true, 2 3 4 5 6 7 8),
        (3, false) => of!(3, false, 2 3 4 5 6 7 8),
        (3, true) => of!(3, true, 2 3 4 5 6),
        _ => of!(4, false, 2 3 4 5 6),
    }
}

/// `total` in the fewest parts of at most `most`, as even as can be: part `index` of them.
pub(super) fn part(total: usize, most: usize, index: usize) -> usize {
    let parts = total.div_ceil(most);
    (total + parts - 1 - index) / parts
}

/// Carries out a checked plan of 8-bit input. `parameters.bias` has `in_zero`, and 128 for S8, folded in.
///
/// # Safety
/// The processor has what `Simd::Avx512` asks for.
pub(super) unsafe fn run(plan: &Plan, parameters: &Parameters, memory: &mut [u8]) {
    let terms = weight_zero_terms(plan, memory);
    // The dot product takes unsigned input: S8 is read from a copy with its top bits flipped, which adds 128.
    let flipped: Vec<u8> = match plan.in_type {
        element_type::S8 => memory[plan.input.clone()].iter().map(|byte| byte ^ 0x80).collect(),
        _ => Vec::new(),
    };
    let (height, width) = plan.merged();
    let (runs, run_bytes) = plan.runs();
    let vectors = plan.out_channels.div_ceil(LANES);
    let base = memory.as_mut_ptr();
    let input = if flipped.is_empty() {
        // SAFETY: the plan checked that the input lies in memory.
        unsafe { base.add(plan.input.start).cast_const() }
    } else {
        flipped.as_ptr()
    };
    let mut sums = Sums::new();
    let mut first = 0;
    for index in 0..vectors.div_ceil(MAX_VECTORS) {
        let count = part(vectors, MAX_VECTORS, index);
        let channels = (plan.out_channels - first * LANES).min(count * LANES);
        let half = channels + HALF_LANES <= count * LANES;
        let mut output = Output::new(
            plan.stage,
            parameters,
            first * LANES,
            channels,
            plan.out_step.1,
            plan.weight_zero == 0,
        );
        let job = Job {
            // SAFETY: the weights of these 16-channel groups lie in memory, as the plan checked.
            weights: unsafe { base.add(plan.weights.start + first * plan.group_bytes()) },
            group_bytes: plan.group_bytes(),
            start: output.start(),
            pixel_step: plan.in_step.1,
            rows: (plan.kernel_height, plan.tap_step.0),
            runs: (runs, plan.tap_step.1),
            run_bytes,
        };
        let mut x = 0;
        for index in 0..width.div_ceil(MAX_PIXELS[count]) {
            let pixels = part(width, MAX_PIXELS[count], index);
            let block = select(count - usize::from(half), half, pixels);
            for y in 0..height {
                let window = y * plan.in_step.0 + x * plan.in_step.1;
                let target = plan.output.start + y * plan.out_step.0 + x * plan.out_step.1 + output.channel_offset();
                output.set_terms(terms.get(y * width + x..).unwrap_or(&[]));
                // SAFETY: the plan checked that all windows, weights and outputs lie in memory (and the copy holds all of the
                // input), and the parameter vectors have the channels rounded up to 16; the features are the caller's promise.
                unsafe { block(&job, &output, input.add(window), &mut sums, base.add(target)) };
            }
            x += pixels;
        }
        first += count;
    }
}

/// The sum of the weights of each of 16 channels: their dot products with ones.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn weight_sums(group: &[u8]) -> [i32; LANES] {
    let ones = _mm512_set1_epi8(1);
    let mut sums = [_mm512_setzero_si512(); 4];
    let (blocks, rest) = group.as_chunks::<64>().0.as_chunks::<4>();
    for block in blocks {
        for (sum, weights) in sums.iter_mut().zip(block) {
            // SAFETY: the load reads the 64 bytes of `weights` and needs no alignment.
            *sum = _mm512_dpbusd_epi32(*sum, ones, unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) });
        }
    }
    for weights in rest {
        // SAFETY: as above.
        sums[0] = _mm512_dpbusd_epi32(sums[0], ones, unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) });
    }
    let sum = _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
    let mut result = [0; LANES];
    // SAFETY: the store fills the 64 bytes of `result` and needs no alignment.
    unsafe { _mm512_storeu_si512(result.as_mut_ptr().cast(), sum) };
    result
}

/// The weight-zero term of every pixel in reading order; empty if there is none.
fn weight_zero_terms(plan: &Plan, memory: &[u8]) -> Vec<i32> {
    if plan.weight_zero == 0 {
        return Vec::new();
    }
    let pixel = |y: usize, x: usize| plan.input.start + y * plan.in_step.0 + x * plan.in_step.1;
    let pixels = (0..plan.out_height).flat_map(|y| (0..plan.out_width).map(move |x| (y, x)));
    pixels.map(|(y, x)| weight_zero_term(plan, memory, pixel(y, x))).collect()
}
