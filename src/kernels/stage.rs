//! The output stage: from int32 accumulators to output elements, for convolution, pooling, reduction and requantisation.

use super::fields::Fields;
use super::operand::{element_size, require};
use super::rounding::shift_round;
use super::simd::{Simd, Work, vectorise};
use super::table::look_up;
use crate::abi::tile_program::{element_type, fault, output_flags, requantise, srs_rounding, srs_saturation, tile_requantise};
use std::ops::Range;

/// Channels that a parameter block and 8-bit weights are rounded up to.
pub(super) const LANES: usize = 16;
/// Bytes of the lone scale and its padding.
const LONE_SCALE_BYTES: u64 = 16;
const TABLE_BYTES: u64 = 256;
/// 1.5 * 2**23: added to a float of magnitude below 2**22, it leaves the float rounded half to even in the low mantissa bits.
const ROUNDER: f32 = 12_582_912.0;
/// Beyond this every 8 and 16-bit result is at a bound, and within it [`ROUNDER`] is exact.
pub(super) const FLOAT_BOUND: f32 = 131_072.0;

/// The stage's fields, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    pub out_type: u32,
    pub requantise: u32,
    pub flags: u32,
    pub zero: i32,
    pub low: i32,
    pub high: i32,
    pub shift: u32,
    pub rounding: u32,
    pub saturation: u32,
}

/// The stage's parameter block, read once; vectors hold the channels rounded up to 16.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    /// Added to accumulators; families fold their own corrections into it.
    pub bias: Vec<i32>,
    pub scale: Vec<f32>,
    pub table: Option<[u8; 256]>,
}

/// The least and greatest value of an integer element type.
pub(super) fn bounds(kind: u32) -> Option<(i32, i32)> {
    match kind {
        element_type::U8 => Some((0, 255)),
        element_type::S8 => Some((-128, 127)),
        element_type::S16 => Some((-32_768, 32_767)),
        element_type::S32 => Some((i32::MIN, i32::MAX)),
        _ => None,
    }
}

impl Stage {
    /// Reads the stage's fields, which start at byte `at` of a descriptor.
    ///
    /// Clamp bounds are narrowed to the output type. `BAD_DESCRIPTOR`: an unknown value; a pairing that means nothing (NONE without
    /// S32, SCALE to BF16, SRS to a float, a table without 8-bit output, a flag without its mode); bounds that leave no value; a
    /// zero point outside an 8 or 16-bit type; a shift over 62.
    pub(super) fn parse(fields: Fields, at: usize) -> Result<Self, u32> {
        let offset = |field: usize| at + field - tile_requantise::OUT_TYPE;
        let out_type = fields.u32(at);
        let mode = fields.u32(offset(tile_requantise::SRS_MODE));
        let mut stage = Self {
            out_type,
            requantise: fields.u32(offset(tile_requantise::REQUANTISE)),
            flags: fields.u32(offset(tile_requantise::OUT_FLAGS)),
            zero: fields.i32(offset(tile_requantise::OUT_ZERO)),
            low: fields.i32(offset(tile_requantise::CLAMP_LOW)),
            high: fields.i32(offset(tile_requantise::CLAMP_HIGH)),
            shift: fields.u32(offset(tile_requantise::SRS_SHIFT)),
            rounding: mode & 0xff,
            saturation: mode >> 8,
        };
        let all = output_flags::BIAS | output_flags::PER_CHANNEL | output_flags::TABLE | output_flags::ACCUMULATE;
        require(stage.flags & !all == 0)?;
        require(!stage.has(output_flags::PER_CHANNEL) || stage.requantise == requantise::SCALE)?;
        require(!stage.has(output_flags::ACCUMULATE) || stage.requantise == requantise::NONE)?;
        require(!stage.has(output_flags::TABLE) || out_type == element_type::U8 || out_type == element_type::S8)?;
        match stage.requantise {
            requantise::NONE => return require(out_type == element_type::S32).map(|()| stage),
            requantise::SCALE if out_type == element_type::F32 => return Ok(stage),
            requantise::SCALE => {}
            requantise::SRS => {
                let known = matches!(stage.rounding, srs_rounding::FLOOR..=srs_rounding::SYM_CEIL)
                    || matches!(stage.rounding, srs_rounding::NEG_INF..=srs_rounding::CONV_ODD);
                require(known && stage.shift <= 62)?;
                require(matches!(
                    stage.saturation,
                    srs_saturation::NONE | srs_saturation::SATURATE | srs_saturation::SYMMETRIC
                ))?;
            }
            _ => require(false)?,
        }
        let (least, greatest) = bounds(out_type).ok_or(fault::BAD_DESCRIPTOR)?;
        stage.low = stage.low.max(least);
        stage.high = stage.high.min(greatest);
        require(stage.low <= stage.high)?;
        require(stage.zero >= least && stage.zero <= greatest)?;
        Ok(stage)
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of an output element.
    pub(super) fn out_size(&self) -> u64 {
        element_size(self.out_type).unwrap_or(1)
    }

    /// Bytes of the parameter block for `channels`.
    pub(super) fn parameter_bytes(&self, channels: u64) -> u64 {
        let vector = channels.next_multiple_of(LANES as u64) * 4;
        let bias = if self.has(output_flags::BIAS) { vector } else { 0 };
        let scale = match self.requantise {
            requantise::SCALE if self.has(output_flags::PER_CHANNEL) => vector,
            requantise::SCALE => LONE_SCALE_BYTES,
            _ => 0,
        };
        bias + scale + if self.has(output_flags::TABLE) { TABLE_BYTES } else { 0 }
    }

    /// Reads the parameter block at `block`, which holds [`Self::parameter_bytes`].
    pub(super) fn parameters(&self, memory: &[u8], block: &Range<usize>, channels: usize) -> Parameters {
        let lanes = channels.next_multiple_of(LANES);
        let (bias_bytes, rest) = memory[block.clone()].split_at(if self.has(output_flags::BIAS) { lanes * 4 } else { 0 });
        let bias = match bias_bytes {
            [] => vec![0; lanes],
            bytes => bytes.as_chunks().0.iter().map(|&word| i32::from_le_bytes(word)).collect(),
        };
        let mut scale = Vec::new();
        if self.requantise == requantise::SCALE {
            scale = rest
                .as_chunks()
                .0
                .iter()
                .take(lanes)
                .map(|&word| f32::from_le_bytes(word))
                .collect();
            if !self.has(output_flags::PER_CHANNEL) {
                scale = vec![scale[0]; lanes];
            }
        }
        let table = if self.has(output_flags::TABLE) {
            rest.last_chunk::<256>().copied()
        } else {
            None
        };
        Parameters { bias, scale, table }
    }

    /// Turns the accumulators of channels `first..` of one pixel into output elements, `out`.
    pub(super) fn write(&self, simd: Simd, parameters: &Parameters, accumulators: &[i32], first: usize, out: &mut [u8]) {
        vectorise(
            simd,
            Write {
                stage: self,
                parameters,
                accumulators,
                first,
                out: &mut *out,
            },
        );
        if let Some(table) = &parameters.table {
            look_up(simd, table, out);
        }
    }

    #[inline(always)]
    fn convert(&self, parameters: &Parameters, accumulators: &[i32], first: usize, out: &mut [u8]) {
        let bias = &parameters.bias[first..first + accumulators.len()];
        match (self.requantise, self.out_type) {
            (requantise::NONE, _) => self.write_accumulators(bias, accumulators, out),
            (requantise::SRS, _) => self.write_srs(bias, accumulators, out),
            (_, element_type::F32) => write_products(bias, &parameters.scale[first..], accumulators, out),
            (_, element_type::S32) => self.write_wide(bias, &parameters.scale[first..], accumulators, out),
            (_, element_type::S16) => {
                let (words, _) = out.as_chunks_mut::<2>();
                for (((word, &value), &bias), &scale) in
                    words.iter_mut().zip(accumulators).zip(bias).zip(&parameters.scale[first..])
                {
                    *word = (self.quantise(value, bias, scale) as i16).to_le_bytes();
                }
            }
            _ => {
                for (((byte, &value), &bias), &scale) in
                    out.iter_mut().zip(accumulators).zip(bias).zip(&parameters.scale[first..])
                {
                    *byte = self.quantise(value, bias, scale) as u8;
                }
            }
        }
    }

    /// SCALE to 8 or 16 bits: one float product, rounded half to even; a NaN becomes the lower bound.
    #[inline(always)]
    fn quantise(&self, value: i32, bias: i32, scale: f32) -> i32 {
        (round_bounded(value.wrapping_add(bias) as f32 * scale) + self.zero)
            .max(self.low)
            .min(self.high)
    }

    #[inline(always)]
    fn write_accumulators(&self, bias: &[i32], accumulators: &[i32], out: &mut [u8]) {
        let accumulate = self.has(output_flags::ACCUMULATE);
        for ((word, &value), &bias) in out.as_chunks_mut::<4>().0.iter_mut().zip(accumulators).zip(bias) {
            let before = if accumulate { i32::from_le_bytes(*word) } else { 0 };
            *word = before.wrapping_add(value).wrapping_add(bias).to_le_bytes();
        }
    }

    /// SCALE to S32: a NaN becomes the lower bound, and the sum with the zero point is exact before it is clamped.
    #[inline(always)]
    fn write_wide(&self, bias: &[i32], scale: &[f32], accumulators: &[i32], out: &mut [u8]) {
        for (((word, &value), &bias), &scale) in out.as_chunks_mut::<4>().0.iter_mut().zip(accumulators).zip(bias).zip(scale) {
            let product = value.wrapping_add(bias) as f32 * scale;
            let rounded = if product.is_nan() {
                i64::MIN / 2
            } else {
                (product.round_ties_even() as i64).clamp(i64::MIN / 2, i64::MAX / 2)
            };
            let result = (rounded + i64::from(self.zero)).clamp(i64::from(self.low), i64::from(self.high));
            *word = (result as i32).to_le_bytes();
        }
    }

    #[inline(always)]
    fn write_srs(&self, bias: &[i32], accumulators: &[i32], out: &mut [u8]) {
        let size = self.out_size() as usize;
        for ((element, &value), &bias) in out.chunks_exact_mut(size).zip(accumulators).zip(bias) {
            let bytes = self.shift_round_saturate(value.wrapping_add(bias)).to_le_bytes();
            element.copy_from_slice(&bytes[..size]);
        }
    }

    /// Shift and round, add the zero point, saturate (or drop the high bits), clamp.
    #[inline(always)]
    fn shift_round_saturate(&self, value: i32) -> i32 {
        let (least, greatest) = bounds(self.out_type).unwrap_or((i32::MIN, i32::MAX));
        let sum = shift_round(i64::from(value), self.shift, self.rounding) + i64::from(self.zero);
        let least = if self.saturation == srs_saturation::SYMMETRIC && least < 0 {
            -greatest
        } else {
            least
        };
        let result = match (self.saturation, self.out_type) {
            (srs_saturation::NONE, element_type::U8) => i32::from(sum as u8),
            (srs_saturation::NONE, element_type::S8) => i32::from(sum as i8),
            (srs_saturation::NONE, element_type::S16) => i32::from(sum as i16),
            (srs_saturation::NONE, _) => sum as i32,
            _ => sum.clamp(i64::from(least), i64::from(greatest)) as i32,
        };
        result.max(self.low).min(self.high)
    }
}

struct Write<'a> {
    stage: &'a Stage,
    parameters: &'a Parameters,
    accumulators: &'a [i32],
    first: usize,
    out: &'a mut [u8],
}

impl Work for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.stage.convert(self.parameters, self.accumulators, self.first, self.out);
    }
}

/// `value`, held within ±[`FLOAT_BOUND`], rounded half to even; a NaN becomes the lower bound.
#[inline(always)]
pub(super) fn round_bounded(value: f32) -> i32 {
    let value = if value > -FLOAT_BOUND { value } else { -FLOAT_BOUND };
    let value = if value < FLOAT_BOUND { value } else { FLOAT_BOUND };
    (value + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed()
}

/// SCALE to F32: the products themselves; any NaN is the one canonical NaN, so that all levels give the same bytes.
#[inline(always)]
fn write_products(bias: &[i32], scale: &[f32], accumulators: &[i32], out: &mut [u8]) {
    for (((word, &value), &bias), &scale) in out.as_chunks_mut::<4>().0.iter_mut().zip(accumulators).zip(bias).zip(scale) {
        let product = value.wrapping_add(bias) as f32 * scale;
        *word = if product.is_nan() { f32::NAN } else { product }.to_le_bytes();
    }
}
