//! The output stage of AVX-512 blocks: 8-bit SCALE (with its table) in registers, all else through the common stage.

use super::conv2d::Plan;
use super::stage::{FLOAT_BOUND, LANES, Parameters, Stage};
use super::table_avx512::Table;
use crate::abi::tile_program::{element_type, requantise};
use std::arch::x86_64::*;

/// Registers that a block's sums take at most: 14 pixels of one, 12 of two, or 8 of four.
const SLOTS: usize = 32;
const NO_START: [i32; 4 * LANES] = [0; 4 * LANES];

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
    terms: &'a [i32],
}

impl<'a> Output<'a> {
    /// Blocks of channels `first..first + channels`.
    pub(super) fn new(plan: &Plan, parameters: &'a Parameters, first: usize, channels: usize) -> Self {
        let bytes = plan.stage.requantise == requantise::SCALE && plan.stage.out_size() == 1;
        let stride = slots(channels.div_ceil(LANES));
        let mut scale = [0.0; 4 * LANES];
        for (index, scale) in scale.iter_mut().enumerate() {
            *scale = parameters.scale.get(first + index % (stride * LANES)).copied().unwrap_or(0.0);
        }
        let in_registers = bytes && plan.weight_zero == 0;
        Self {
            stage: plan.stage,
            parameters,
            first,
            channels,
            step: plan.out_step.1,
            in_registers,
            stride,
            scale,
            terms: &[],
        }
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
            let mut scaled = [_mm512_setzero_si512(); 4];
            for (slot, scaled) in scaled.iter_mut().enumerate() {
                *scaled = self.scaled(&quad[slot], slot);
            }
            let bytes = self.narrowed(scaled);
            let pixel = index * together;
            for slot in 0..together.min(pixels - pixel) {
                // SAFETY: the caller's promise: this pixel's channels may be written.
                unsafe { self.store(bytes, slot * self.stride, target.add((pixel + slot) * self.step)) };
            }
        }
    }

    /// The float products of a slot's sums, rounded half to even; beyond int32 they become a bound's side, as does a NaN.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scaled(&self, sums: &Slot, slot: usize) -> __m512i {
        let scale = &self.scale[slot * LANES..][..LANES];
        // SAFETY: a slot is 64 aligned bytes; `scale` is 16 float32, whose load needs no alignment.
        let (sums, scale) = unsafe { (_mm512_load_si512(sums.0.as_ptr().cast()), _mm512_loadu_ps(scale.as_ptr())) };
        let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale);
        // The second operand is the result where one is NaN, and a NaN converts to the least int32, as what lies below int32 does.
        let product = _mm512_min_ps(_mm512_set1_ps(FLOAT_BOUND), product);
        _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(product)
    }

    /// Four registers of int32 as 64 bytes in order: zero point, clamp, table.
    ///
    /// Saturation to int16 and in the sum with the zero point only moves values that lie beyond the 8-bit bounds.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    fn narrowed(&self, quad: [__m512i; 4]) -> __m512i {
        let zero = _mm512_set1_epi16(self.stage.zero as i16);
        let low = _mm512_adds_epi16(_mm512_packs_epi32(quad[0], quad[1]), zero);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(quad[2], quad[3]), zero);
        let (least, greatest) = (
            _mm512_set1_epi8(self.stage.low as i8),
            _mm512_set1_epi8(self.stage.high as i8),
        );
        let bytes = if self.stage.out_type == element_type::U8 {
            _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(low, high), least), greatest)
        } else {
            _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), least), greatest)
        };
        // The packs work within 128-bit quarters: quarter q holds 4 bytes of each register in turn.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let bytes = _mm512_permutexvar_epi32(order, bytes);
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
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
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
            self.stage.write(self.parameters, flat, self.first, out);
        }
    }
}
