//! DEPTHWISE with AVX-512 VNNI: 16 channels at a time, four neighbouring pixels of a row to a dot product.
//!
//! Input rows are first woven into blocks of [16 channels][4 pixels]. A pixel's kernel row then is one dot product for every block it
//! touches; kernels that start within a block take weights shifted by as many pixels, zeros before and behind. Pixels of one shift lie
//! a fixed number of blocks apart, so a register block of them shares its weights.

use super::avx512_output::{Output, Sums, finish};
use super::conv2d_avx512::part;
use super::depthwise::Plan;
use super::interleave_avx512::interleave;
use super::stage::{LANES, Parameters};
use super::window::Window;
use crate::abi::tile_program::element_type;
use std::arch::x86_64::*;

/// Pixels of a woven block.
const QUAD: usize = 4;
/// Bytes of a woven block.
const BLOCK: usize = QUAD * LANES;
/// Output pixels of a register block.
const MAX_PIXELS: usize = 12;

/// Input rows and columns that the outputs touch.
fn in_size(window: &Window) -> (usize, usize) {
    let reach = |out: usize, stride: usize, kernel: usize, dilation: usize| {
        (out - 1)
            .saturating_mul(stride)
            .saturating_add((kernel - 1).saturating_mul(dilation))
            .saturating_add(1)
    };
    let rows = reach(window.out_height, window.stride.0, window.kernel_height, window.dilation.0);
    (rows, reach(window.out_width, window.stride.1, window.kernel_width, 1))
}

/// Whether this form takes the window: no gaps between a kernel row's pixels, and no more input pixels than memory has bytes.
pub(super) fn takes(window: &Window, memory: usize) -> bool {
    let (rows, columns) = in_size(window);
    (window.kernel_width == 1 || window.dilation.1 == 1) && rows.saturating_mul(columns) <= memory
}

/// What a register block reads.
struct Job {
    /// Bytes between woven blocks that neighbouring outputs start from.
    pixel_step: usize,
    /// Kernel rows, and bytes between the woven rows of neighbouring ones.
    rows: (usize, usize),
    /// Woven blocks that a kernel row touches.
    blocks: usize,
    start: *const i32,
}

/// Adds up `PIXELS` outputs and writes them.
///
/// # Safety
/// The processor has what `Simd::Avx512` asks for; the woven blocks that `job` describes from `input` on, `weights` for each kernel row
/// and block, and 16 starts can be read; `output` may write the pixels from `target` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn block<const PIXELS: usize>(
    job: &Job,
    output: &Output,
    input: *const u8,
    weights: *const u8,
    sums: &mut Sums,
    target: *mut u8,
) {
    macro_rules! by_pixel {
        (|$index:ident| $body:expr) => {
            super::unrolled!(PIXELS, $index, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
        };
    }
    let mut full = [[_mm512_setzero_si512(); 4]; 16];
    let half = [_mm256_setzero_si256(); 16];
    // SAFETY: reads and writes are those that the caller vouches for.
    unsafe {
        let start = _mm512_loadu_si512(job.start.cast());
        by_pixel!(|pixel| full[pixel][0] = start);
        let mut weights = weights;
        for row in 0..job.rows.0 {
            let mut at = input.add(row * job.rows.1);
            for _ in 0..job.blocks {
                let taps = _mm512_loadu_si512(weights.cast());
                by_pixel!(|pixel| full[pixel][0] = _mm512_dpbusd_epi32(
                    full[pixel][0],
                    _mm512_loadu_si512(at.add(pixel * job.pixel_step).cast()),
                    taps
                ));
                weights = weights.add(BLOCK);
                at = at.add(BLOCK);
            }
        }
        finish!(1, false, PIXELS, full, half, output, sums, target);
    }
}

type Block = unsafe fn(&Job, &Output, *const u8, *const u8, &mut Sums, *mut u8);

const BLOCKS: [Block; MAX_PIXELS] = [
    block::<1>,
    block::<2>,
    block::<3>,
    block::<4>,
    block::<5>,
    block::<6>,
    block::<7>,
    block::<8>,
    block::<9>,
    block::<10>,
    block::<11>,
    block::<12>,
];

/// Carries out a checked plan that [`takes`] accepts. `parameters.bias` has `in_zero`, and 128 for S8, folded in.
///
/// # Safety
/// The processor has what `Simd::Avx512` asks for.
pub(super) unsafe fn run(plan: &Plan, parameters: &Parameters, memory: &mut [u8]) {
    let window = &plan.window;
    let (rows, columns) = in_size(window);
    let mut woven = vec![0u8; rows * columns.div_ceil(QUAD) * BLOCK];
    let mut sums = Sums::new();
    for first in (0..window.channels).step_by(LANES) {
        let channels = LANES.min(window.channels - first);
        // SAFETY: the features are the caller's promise.
        let unshifted = unsafe {
            weave(plan, memory, first, channels, (rows, columns), &mut woven);
            weave_taps(plan, memory, first)
        };
        // The shifts repeat every `period` outputs, which is `advance` blocks.
        let period = [1, 4, 2, 4][window.stride.1 % QUAD];
        let advance = window.stride.1 * period / QUAD;
        for class in 0..period.min(window.out_width) {
            let position = class * window.stride.1;
            let (taps, blocks) = shifted(window, &unshifted, position % QUAD);
            let grid = Grid {
                x: class,
                period,
                columns: (window.out_width - class).div_ceil(period),
                start: position / QUAD * BLOCK,
                steps: (window.stride.0 * columns.div_ceil(QUAD) * BLOCK, advance * BLOCK),
                row_bytes: columns.div_ceil(QUAD) * BLOCK,
                blocks,
            };
            // SAFETY: the features are the caller's promise; `woven` holds all rows and columns that the outputs touch.
            unsafe { grid.run(plan, parameters, (first, channels), &woven, &taps, &mut sums, memory) };
        }
    }
}

/// Weaves `channels` channels from `first` on of all input rows.
///
/// # Safety
/// The processor has what `Simd::Avx512` asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn weave(plan: &Plan, memory: &[u8], first: usize, channels: usize, (rows, columns): (usize, usize), woven: &mut [u8]) {
    let flip = _mm512_set1_epi8(if plan.in_type == element_type::S8 { i8::MIN } else { 0 });
    let per_row = columns.div_ceil(QUAD);
    for (index, out) in woven.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate().take(rows * per_row) {
        let (row, column) = (index / per_row, index % per_row * QUAD);
        let at = plan.window.input.start + row * plan.window.pitch.0 + column * plan.window.pitch.1 + first;
        // SAFETY: `at` is a pixel of the input, which lies in memory with all that follow it in the row; columns beyond the last are
        // not read. `out` is 64 bytes.
        unsafe {
            let block = interleave(
                memory.as_ptr().add(at),
                plan.window.pitch.1,
                (columns - column).min(QUAD),
                channels,
            );
            _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_xor_si512(block, flip));
        }
    }
}

/// Four taps each of 16 channels.
type Taps = [u32; LANES];

/// The taps of 16 channels from `first` on: [kernel row][block], zeros behind the last of a row.
///
/// # Safety
/// The processor has what `Simd::Avx512` asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
unsafe fn weave_taps(plan: &Plan, memory: &[u8], first: usize) -> Vec<Taps> {
    let (window, lanes) = (&plan.window, plan.lanes());
    let mut taps = Vec::with_capacity(window.kernel_height * window.kernel_width.div_ceil(QUAD));
    for row in 0..window.kernel_height {
        for column in (0..window.kernel_width).step_by(QUAD) {
            let at = plan.weights.start + (row * window.kernel_width + column) * lanes + first;
            let mut block = [0; LANES];
            // SAFETY: 16 weights of each of the row's taps lie in memory from `at` on; `block` is 64 bytes.
            unsafe {
                let count = (window.kernel_width - column).min(QUAD);
                let woven = interleave(memory.as_ptr().add(at), lanes, count, LANES);
                _mm512_storeu_si512(block.as_mut_ptr().cast(), woven);
            }
            taps.push(block);
        }
    }
    taps
}

/// The taps for kernels that start `shift` (under 4) pixels into a block, and the blocks of a kernel row.
fn shifted(window: &Window, taps: &[Taps], shift: usize) -> (Vec<Taps>, usize) {
    let blocks = (shift + window.kernel_width).div_ceil(QUAD);
    let mut result = Vec::with_capacity(window.kernel_height * blocks);
    for row in taps.chunks_exact(window.kernel_width.div_ceil(QUAD)) {
        let mut before = [0; LANES];
        for block in 0..blocks {
            let own = row.get(block).copied().unwrap_or([0; LANES]);
            let mut moved = own;
            for (moved, before) in moved.iter_mut().zip(before) {
                let both = u64::from(*moved) << 32 | u64::from(before);
                *moved = (both >> (32 - 8 * shift)) as u32;
            }
            result.push(moved);
            before = own;
        }
    }
    (result, blocks)
}

/// The outputs of one shift: columns `x`, `x + period`, ... of every row.
struct Grid {
    x: usize,
    period: usize,
    columns: usize,
    /// First woven byte of the first output.
    start: usize,
    /// Woven bytes between outputs of neighbouring rows, and of neighbouring columns of this shift.
    steps: (usize, usize),
    /// Bytes of a woven row.
    row_bytes: usize,
    /// Blocks that a kernel row touches.
    blocks: usize,
}

impl Grid {
    /// Works on register blocks along the longer dimension.
    ///
    /// # Safety
    /// The processor has what `Simd::Avx512` asks for; `woven` and `taps` hold what the outputs need.
    #[allow(clippy::too_many_arguments, reason = "the parts of one computation, each used once")]
    unsafe fn run(
        &self,
        plan: &Plan,
        parameters: &Parameters,
        (first, channels): (usize, usize),
        woven: &[u8],
        taps: &[Taps],
        sums: &mut Sums,
        memory: &mut [u8],
    ) {
        let window = &plan.window;
        let out_step = (window.out_step.0, self.period * window.out_step.1);
        let by_row = window.out_height > self.columns;
        let (along, across) = if by_row {
            (window.out_height, self.columns)
        } else {
            (self.columns, window.out_height)
        };
        let order = |pair: (usize, usize)| if by_row { pair } else { (pair.1, pair.0) };
        let ((in_along, in_across), (out_along, out_across)) = (order(self.steps), order(out_step));
        let output = Output::new(plan.stage, parameters, first, channels, out_along, true);
        let job = Job {
            pixel_step: in_along,
            rows: (window.kernel_height, window.dilation.0 * self.row_bytes),
            blocks: self.blocks,
            start: output.start(),
        };
        let base = window.target(0, self.x) + output.channel_offset();
        for line in 0..across {
            let mut done = 0;
            for index in 0..along.div_ceil(MAX_PIXELS) {
                let pixels = part(along, MAX_PIXELS, index);
                let input = self.start + line * in_across + done * in_along;
                let target = base + line * out_across + done * out_along;
                // SAFETY: the woven rows reach as far as the last output's kernel; the outputs lie in memory, as the plan checked.
                unsafe {
                    let (input, target) = (woven.as_ptr().add(input), memory.as_mut_ptr().add(target));
                    BLOCKS[pixels - 1](&job, &output, input, taps.as_ptr().cast(), sums, target);
                }
                done += pixels;
            }
        }
    }
}
