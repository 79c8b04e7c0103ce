//! Elements of every type to and from float32, a few hundred at a time, so that each family is written once for all types.

use super::simd::{Simd, Work, vectorise};
use super::stage::bounds;
use crate::abi::tile_program::element_type;

/// Elements that a family works on at a time.
pub(super) const CHUNK: usize = 256;

/// How integers stand for real numbers: (integer - zero) * scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantisation {
    pub scale: f32,
    pub zero: i32,
    pub low: i32,
    pub high: i32,
}

/// Whether `kind` is F32 or BF16.
pub(super) fn is_float(kind: u32) -> bool {
    matches!(kind, element_type::F32 | element_type::BF16)
}

/// Whether `kind` is U8 or S8.
pub(super) fn is_byte(kind: u32) -> bool {
    matches!(kind, element_type::U8 | element_type::S8)
}

/// The bfloat16 `bits` as float32; denormals become zero of their sign.
#[inline(always)]
pub(super) fn from_bfloat16(bits: u16) -> f32 {
    let kept = if bits & 0x7f80 == 0 { bits & 0x8000 } else { bits };
    f32::from_bits(u32::from(kept) << 16)
}

/// `value` as bfloat16, rounded half to even; results that would be denormal become zero of their sign, NaN the one canonical NaN.
#[inline(always)]
pub(super) fn to_bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    let flushed = if rounded & 0x7f80 == 0 { rounded & 0x8000 } else { rounded };
    if value.is_nan() { 0x7fc0 } else { flushed }
}

/// Where elements lie: lines of `run` elements, `pitch` bytes apart, the elements `step` bytes apart, from byte `start` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub start: usize,
    pub step: usize,
    pub run: usize,
    pub pitch: usize,
}

impl Place {
    /// One line, however long.
    pub(super) fn line(start: usize, step: usize) -> Self {
        Self {
            start,
            step,
            run: usize::MAX,
            pitch: 0,
        }
    }
}

/// Reads `out.len()` elements of `kind`; integers are dequantised, floats are not.
pub(super) fn load(simd: Simd, kind: u32, memory: &[u8], place: Place, quantisation: Quantisation, out: &mut [f32]) {
    vectorise(
        simd,
        Load {
            kind,
            memory,
            place,
            quantisation,
            out,
        },
    );
}

struct Load<'a> {
    kind: u32,
    memory: &'a [u8],
    place: Place,
    quantisation: Quantisation,
    out: &'a mut [f32],
}

impl Work for Load<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            kind,
            memory,
            place,
            quantisation,
            out,
        } = self;
        let Quantisation { scale, zero, .. } = quantisation;
        let real = |integer: i32| integer.wrapping_sub(zero) as f32 * scale;
        match kind {
            element_type::U8 => gather::<1>(memory, place, out, |[byte]| real(i32::from(byte))),
            element_type::S8 => gather::<1>(memory, place, out, |[byte]| real(i32::from(byte.cast_signed()))),
            element_type::S16 => gather::<2>(memory, place, out, |bytes| real(i32::from(i16::from_le_bytes(bytes)))),
            element_type::S32 => gather::<4>(memory, place, out, |bytes| real(i32::from_le_bytes(bytes))),
            element_type::F32 => gather::<4>(memory, place, out, f32::from_le_bytes),
            _ => gather::<2>(memory, place, out, |bytes| from_bfloat16(u16::from_le_bytes(bytes))),
        }
    }
}

/// Writes `values` as elements of `kind`.
///
/// Integers are clamp(round_half_even(value) + zero): whoever divides by a scale has done it. A NaN becomes the lower bound of an
/// integer, or the canonical NaN of a float.
pub(super) fn store(simd: Simd, kind: u32, values: &[f32], quantisation: Quantisation, memory: &mut [u8], place: Place) {
    vectorise(
        simd,
        Store {
            kind,
            values,
            quantisation,
            memory,
            place,
        },
    );
}

struct Store<'a> {
    kind: u32,
    values: &'a [f32],
    quantisation: Quantisation,
    memory: &'a mut [u8],
    place: Place,
}

impl Work for Store<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            kind,
            values,
            quantisation,
            memory,
            place,
        } = self;
        match kind {
            element_type::U8 | element_type::S8 => scatter::<1>(values, memory, place, |value| [quantisation.round(value) as u8]),
            element_type::S16 => scatter::<2>(values, memory, place, |value| {
                (quantisation.round(value) as i16).to_le_bytes()
            }),
            element_type::F32 => {
                scatter::<4>(values, memory, place, |value| {
                    if value.is_nan() { f32::NAN } else { value }.to_le_bytes()
                });
            }
            _ => scatter::<2>(values, memory, place, |value| to_bfloat16(value).to_le_bytes()),
        }
    }
}

impl Quantisation {
    /// Scale 1, zero 0 and no bounds: floats, and integers read as they are.
    pub(super) const PLAIN: Self = Self {
        scale: 1.0,
        zero: 0,
        low: i32::MIN,
        high: i32::MAX,
    };

    /// The same with its bounds narrowed to integer type `kind`; `None` if no value is left or `zero` lies outside the type.
    pub(super) fn narrowed(self, kind: u32) -> Option<Self> {
        let (least, greatest) = bounds(kind)?;
        let (low, high) = (self.low.max(least), self.high.min(greatest));
        (low <= high && self.zero >= least && self.zero <= greatest).then_some(Self { low, high, ..self })
    }

    /// clamp(round_half_even(value) + zero).
    #[inline(always)]
    pub(super) fn round(self, value: f32) -> i32 {
        (super::stage::round_bounded(value) + self.zero).max(self.low).min(self.high)
    }
}

#[inline(always)]
fn gather<const SIZE: usize>(memory: &[u8], place: Place, out: &mut [f32], convert: impl Fn([u8; SIZE]) -> f32) {
    for (line, out) in out.chunks_mut(place.run).enumerate() {
        let start = place.start + line * place.pitch;
        if place.step == SIZE {
            let elements = memory[start..start + out.len() * SIZE].as_chunks::<SIZE>().0;
            for (value, &element) in out.iter_mut().zip(elements) {
                *value = convert(element);
            }
            continue;
        }
        for (index, value) in out.iter_mut().enumerate() {
            let at = start + index * place.step;
            let mut element = [0; SIZE];
            element.copy_from_slice(&memory[at..at + SIZE]);
            *value = convert(element);
        }
    }
}

#[inline(always)]
fn scatter<const SIZE: usize>(values: &[f32], memory: &mut [u8], place: Place, convert: impl Fn(f32) -> [u8; SIZE]) {
    for (line, values) in values.chunks(place.run).enumerate() {
        let start = place.start + line * place.pitch;
        if place.step == SIZE {
            let elements = memory[start..start + values.len() * SIZE].as_chunks_mut::<SIZE>().0;
            for (element, &value) in elements.iter_mut().zip(values) {
                *element = convert(value);
            }
            continue;
        }
        for (index, &value) in values.iter().enumerate() {
            let at = start + index * place.step;
            memory[at..at + SIZE].copy_from_slice(&convert(value));
        }
    }
}
