//! The output stage of AVX-512 blocks, for convolution and depthwise convolution: 8-bit SCALE (with its table) in registers, all
//! else through the common stage.

use super::simd::Simd;
use super::stage::{FLOAT_BOUND, LANES, Parameters, Stage};
use super::table_avx512::Table;
use crate::abi::tile_program::requantise;
use std::arch::x86_64::*;

/// Registers that a block's sums take at most: 14 pixels of one, 12 of two, or 8 of four.
const SLOTS: usize = 32;
const NO_START: [i32; 4 * LANES] = [0; 4 * LANES];

/// Where byte c of the 64 lies in the two registers of int16 that packing four slots gives: the packs work within 128-bit quarters,
/// so quarter q of a register holds 4 channels of its first slot, then 4 of its second.
const ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut channel = 0;
    while channel < 64 {
        let (slot, lane) = (channel / LANES, channel % LANES);
        let word = lane / 4 * 8 + slot % 2 * 4 + lane % 4;
        order[channel] = (slot / 2 * 64 + word * 2) as u8;
        channel += 1;
    }
    order
};

/// Writes a block that lies in registers: `$full[pixel][register]` and, with `$with_half`, `$half[pixel]`, arrays of 16 pixels.
///
/// A macro, because arrays that are handed to a function would lie in memory. Unsafe: from `$target` on, `$output`'s channels of
/// `$pixels` pixels may be written.
macro_rules! finish {
    ($registers:expr, $with_half:expr, $pixels:expr, $full:ident, $half:ident, $output:ident, $sums:ident, $target:ident) => {{
        let stride = ($registers + $with_half as usize).next_power_of_two();
        if $output.is_direct($registers, $with_half) {
            let together = 4 / stride;
            super::unrolled!($pixels, pixel, if pixel % together == 0 {
                let slot = |slot: usize| {
                    let (of, register) = (pixel + slot / stride, slot % stride);
                    if register < $registers {
                        $full[of][register]
                    } else if $with_half && register == $registers {
                        _mm512_zextsi256_si512($half[of])
                    } else {
                        _mm512_setzero_si512()
                    }
                };
                let bytes = $output.quad([slot(0), slot(1), slot(2), slot(3)]);
                let here = $target.add(pixel * $output.step());
                if $registers == 4 {
                    _mm512_storeu_si512(here.cast(), bytes);
                } else {
                    let count = if pixel + together > $pixels { $pixels - pixel } else { together };
                    super::avx512_output::put::<$registers, $with_half>(bytes, count, here, $output.step());
                }
            }, 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        } else {
            super::unrolled!($pixels, pixel, {
                super::unrolled!($registers, register,
                    $sums.store(pixel * stride + register, $full[pixel][register]), 0 1 2 3);
                if $with_half {
                    $sums.store(pixel * stride + $registers, _mm512_zextsi256_si512($half[pixel]));
                }
            }, 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
            $output.write($sums, $pixels, $target);
        }
    }};
}
pub(super) use finish;

/// Stores the whole registers' and the half register's channels of up to four pixels that lie in `bytes`, fewer than 64 bytes each.
///
/// # Safety
/// `16 * FULL` bytes, and 8 more with `HALF`, of `pixels` pixels `step` bytes apart may be written from `target` on.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
#[inline]
pub(super) unsafe fn put<const FULL: usize, const HALF: bool>(bytes: __m512i, pixels: usize, target: *mut u8, step: usize) {
    let quarters = [
        _mm512_castsi512_si128(bytes),
        _mm512_extracti32x4_epi32::<1>(bytes),
        _mm512_extracti32x4_epi32::<2>(bytes),
        _mm512_extracti32x4_epi32::<3>(bytes),
    ];
    let stride = (FULL + HALF as usize).next_power_of_two();
    // SAFETY: each store writes 16 or 8 bytes of a pixel below `pixels`, within what the caller vouches for; none needs alignment.
    unsafe {
        super::unrolled!(
            4,
            slot,
            {
                let (pixel, register) = (slot / stride, slot % stride);
                let here = target.add(pixel * step + register * LANES);
                if pixel < pixels && register < FULL {
                    _mm_storeu_si128(here.cast(), quarters[slot]);
                } else if HALF && pixel < pixels && register == FULL {
                    _mm_storel_epi64(here.cast(), quarters[slot]);
                }
            },
            0 1 2 3
        );
    }
}

/// One register's worth of sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Slot(pub [i32; LANES]);

/// The sums of one block, pixel by pixel.
pub(super) struct Sums(pub [Slot; SLOTS]);

impl Sums {
    pub(super) fn new() -> Self {
        Self([Slot([0; LANES]); SLOTS])
    }

    /// Sets a slot.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn store(&mut self, slot: usize, sums: __m512i) {
        // SAFETY: a slot is 64 bytes, aligned as its type says.
        unsafe { _mm512_store_si512(self.0[slot].0.as_mut_ptr().cast(), sums) };
    }
}

/// Slots of a pixel that has so many registers: a power of two, so that four slots are whole pixels.
pub(super) const fn slots(registers: usize) -> usize {
    registers.next_power_of_two()
}

/// Where and how the blocks of some output channels are written.
pub(super) struct Output<'a> {
    stage: Stage,
    parameters: &'a Parameters,
    first: usize,
    channels: usize,
    /// Bytes between output pixels.
    step: usize,
    in_registers: bool,
    /// Slots of a pixel.
    stride: usize,
    /// The scales of four slots.
    scale: [f32; 4 * LANES],
    /// Whether no product can leave int32.
    bounded: bool,
    terms: &'a [i32],
}

impl<'a> Output<'a> {
    /// Blocks of channels `first..first + channels`, whose pixels lie `step` bytes apart; `exact` if the sums need no terms.
    pub(super) fn new(stage: Stage, parameters: &'a Parameters, first: usize, channels: usize, step: usize, exact: bool) -> Self {
        let stride = slots(channels.div_ceil(LANES));
        let mut scale = [0.0; 4 * LANES];
        let own = parameters.scale.get(first..).unwrap_or(&[]);
        for scale in scale.chunks_exact_mut(stride * LANES) {
            let count = own.len().min(scale.len());
            scale[..count].copy_from_slice(&own[..count]);
        }
        let in_registers = exact && stage.requantise == requantise::SCALE && stage.out_size() == 1;
        let bounded = scale.iter().all(|scale| scale.abs() < 1.0);
        Self {
            stage,
            parameters,
            first,
            channels,
            step,
            in_registers,
            stride,
            scale,
            bounded,
            terms: &[],
        }
    }

    /// Whether `finish` writes blocks of so many whole registers and perhaps a half straight from registers.
    #[inline]
    pub(super) fn is_direct(&self, full: usize, half: bool) -> bool {
        self.in_registers && self.channels == full * LANES + usize::from(half) * LANES / 2
    }

    /// Bytes between output pixels.
    #[inline]
    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// What accumulators start from: the bias if the stage is done in registers, else zero. Readable for the channels rounded up
    /// to 16.
    pub(super) fn start(&self) -> *const i32 {
        if self.in_registers {
            self.parameters.bias[self.first..].as_ptr()
        } else {
            NO_START.as_ptr()
        }
    }

    /// Bytes from a pixel's first output channel to the block's.
    pub(super) fn channel_offset(&self) -> usize {
        self.first * self.stage.out_size() as usize
    }

    /// Sets what each pixel of the next block loses for the weights' zero point; empty for nothing.
    pub(super) fn set_terms(&mut self, terms: &'a [i32]) {
        self.terms = terms;
    }

    /// Writes the first `pixels` pixels of `sums`.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, DQ, VL and VBMI; from `target` on, the block's channels of the pixels may be written.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) unsafe fn write(&self, sums: &Sums, pixels: usize, target: *mut u8) {
        if !self.in_registers {
            // SAFETY: the caller's promise.
            unsafe { self.write_through_stage(sums, pixels, target) };
            return;
        }
        let together = 4 / self.stride;
        for (index, quad) in sums.0.chunks_exact(4).enumerate().take(pixels.div_ceil(together)) {
            // SAFETY: a slot is 64 aligned bytes.
            let load = |slot: usize| unsafe { _mm512_load_si512(quad[slot].0.as_ptr().cast()) };
            let bytes = self.quad([load(0), load(1), load(2), load(3)]);
            let pixel = index * together;
            for slot in 0..together.min(pixels - pixel) {
                // SAFETY: the caller's promise: this pixel's channels may be written.
                unsafe { self.store(bytes, slot * self.stride, target.add((pixel + slot) * self.step)) };
            }
        }
    }

    /// Four slots of sums, bias included, as 64 bytes of output.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    pub(super) fn quad(&self, sums: [__m512i; 4]) -> __m512i {
        let scale = self.scale.as_ptr();
        // SAFETY: the scales of slots 0..4 are 64 float32; the loads need no alignment.
        let load = |slot: usize| unsafe { _mm512_loadu_ps(scale.add(slot * LANES)) };
        let bound = _mm512_set1_ps(FLOAT_BOUND);
        let mut rounded = [_mm512_setzero_si512(); 4];
        super::unrolled!(4, slot, {
            let mut product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[slot]), load(slot));
            if !self.bounded {
                // The second operand is the result where one is NaN, and a NaN converts to the least int32, as what lies below
                // int32 does: both become the lower bound.
                product = _mm512_min_ps(bound, product);
            }
            rounded[slot] = _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(product);
        }, 0 1 2 3);
        // Saturation to int16, and in the sum with the zero point, only moves values that lie beyond the 8-bit bounds.
        let zero = _mm512_set1_epi16(self.stage.zero as i16);
        let (least, greatest) = (
            _mm512_set1_epi16(self.stage.low as i16),
            _mm512_set1_epi16(self.stage.high as i16),
        );
        let clamp = |words: __m512i| _mm512_min_epi16(_mm512_max_epi16(_mm512_adds_epi16(words, zero), least), greatest);
        let low = clamp(_mm512_packs_epi32(rounded[0], rounded[1]));
        let high = clamp(_mm512_packs_epi32(rounded[2], rounded[3]));
        // SAFETY: ORDER is 64 bytes; the load needs no alignment.
        let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
        let bytes = _mm512_permutex2var_epi8(low, order, high);
        match &self.parameters.table {
            Some(table) => Table::new(table).select(bytes),
            None => bytes,
        }
    }

    /// Stores the block's channels of the pixel whose bytes start at 16-byte quarter `quarter`.
    ///
    /// # Safety
    /// `self.channels` bytes from `target` may be written; the processor has the features.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    unsafe fn store(&self, bytes: __m512i, quarter: usize, target: *mut u8) {
        let bytes = match quarter {
            0 => bytes,
            1 => _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<1>(bytes)),
            2 => _mm512_castsi256_si512(_mm512_extracti64x4_epi64::<1>(bytes)),
            _ => _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<3>(bytes)),
        };
        // Plain stores for the usual widths: a masked one costs many times as much on some processors.
        // SAFETY: each store writes at most `self.channels` bytes; none needs alignment.
        unsafe {
            match self.channels {
                64 => _mm512_storeu_si512(target.cast(), bytes),
                48 => {
                    _mm256_storeu_si256(target.cast(), _mm512_castsi512_si256(bytes));
                    _mm_storeu_si128(target.add(32).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
                }
                32 => _mm256_storeu_si256(target.cast(), _mm512_castsi512_si256(bytes)),
                24 => {
                    _mm_storeu_si128(target.cast(), _mm512_castsi512_si128(bytes));
                    _mm_storel_epi64(target.add(16).cast(), _mm512_extracti32x4_epi32::<1>(bytes));
                }
                16 => _mm_storeu_si128(target.cast(), _mm512_castsi512_si128(bytes)),
                8 => _mm_storel_epi64(target.cast(), _mm512_castsi512_si128(bytes)),
                channels => _mm512_mask_storeu_epi8(target.cast(), u64::MAX >> (64 - channels), bytes),
            }
        }
    }

    /// [`Self::write`] through the common stage.
    ///
    /// # Safety
    /// As [`Self::write`].
    #[inline(never)]
    unsafe fn write_through_stage(&self, sums: &Sums, pixels: usize, target: *mut u8) {
        let bytes = self.channels * self.stage.out_size() as usize;
        for (pixel, slots) in sums.0.chunks_exact(self.stride).enumerate().take(pixels) {
            let mut flat = [0; 4 * LANES];
            for (flat, slot) in flat.chunks_exact_mut(LANES).zip(slots) {
                flat.copy_from_slice(&slot.0);
            }
            let flat = &mut flat[..self.channels];
            if let Some(&term) = self.terms.get(pixel) {
                for sum in &mut *flat {
                    *sum = sum.wrapping_sub(term);
                }
            }
            // SAFETY: these bytes may be written, and nothing else refers to them while `out` lives.
            let out = unsafe { std::slice::from_raw_parts_mut(target.add(pixel * self.step), bytes) };
            self.stage.write(Simd::Avx512, self.parameters, flat, self.first, out);
        }
    }
}
