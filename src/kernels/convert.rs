//! CONVERT: quantise, dequantise and cast, with any strides: also planes into pixels and back.

use super::Cost;
use super::element::{CHUNK, Place, Quantisation, is_byte, is_float, load, store};
use super::fields::Fields;
use super::operand::{aligned, disjoint, element_size, extent, place, require, work};
use super::simd::{Simd, Work, vectorise};
use crate::abi::tile_program::{element_type, fault, tile_convert as field};
use crate::abi::timing::ELEMENTS_PER_CYCLE_F32;
use std::ops::Range;

/// One side of the conversion.
struct Side {
    kind: u32,
    element: u64,
    pixel_pitch: u64,
    channel_pitch: u64,
    range: Range<usize>,
}

impl Side {
    fn place(memory: &[u8], address: u32, shape: (u64, u64), kind: u32, pitches: (u64, u64)) -> Result<Self, u32> {
        let element = element_size(kind)?;
        aligned(&[pitches.0, pitches.1], element)?;
        let range = place(
            memory,
            address,
            extent(&[(shape.0, pitches.0), (shape.1, pitches.1)], element),
            element,
        )?;
        Ok(Self {
            kind,
            element,
            pixel_pitch: pitches.0,
            channel_pitch: pitches.1,
            range,
        })
    }

    fn at(&self, pixel: usize, channel: usize) -> usize {
        self.range.start + pixel * self.pixel_pitch as usize + channel * self.channel_pitch as usize
    }

    /// Whether elements of different pixels and channels lie apart, whichever dimension is the inner one.
    fn is_apart(&self, (pixels, channels): (u64, u64)) -> bool {
        let nests = |outer: (u64, u64), inner: (u64, u64)| {
            (inner.0 == 1 || inner.1 >= self.element) && (outer.0 == 1 || outer.1 >= (inner.0 - 1) * inner.1 + self.element)
        };
        let (by_pixel, by_channel) = ((pixels, self.pixel_pitch), (channels, self.channel_pitch));
        nests(by_pixel, by_channel) || nests(by_channel, by_pixel)
    }
}

/// Carries out CONVERT: integer to float, float to 8 or 16-bit integer, float to float.
///
/// The output may lie exactly over the input if elements and pitches are equal and nothing is filled.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let (pixels, channels) = (fields.count(field::PIXELS)?, fields.count(field::CHANNELS)?);
    let filled = fields.pitch(field::FILL_CHANNELS).max(channels);
    let (from, to) = (fields.u32(field::IN_TYPE), fields.u32(field::OUT_TYPE));
    require(if is_float(from) {
        is_float(to) || is_byte(to) || to == element_type::S16
    } else {
        is_float(to)
    })?;
    let elements = work(&[pixels, filled])?;
    let mut quantisation = Quantisation {
        scale: fields.f32(field::SCALE),
        zero: fields.i32(field::ZERO),
        low: fields.i32(field::CLAMP_LOW),
        high: fields.i32(field::CLAMP_HIGH),
    };
    if !is_float(to) {
        quantisation = quantisation.narrowed(to).ok_or(fault::BAD_DESCRIPTOR)?;
    }
    let in_pitches = (fields.pitch(field::IN_PIXEL_PITCH), fields.pitch(field::IN_CHANNEL_PITCH));
    let out_pitches = (fields.pitch(field::OUT_PIXEL_PITCH), fields.pitch(field::OUT_CHANNEL_PITCH));
    let input = Side::place(memory, operands[0], (pixels, channels), from, in_pitches)?;
    let output = Side::place(memory, operands[1], (pixels, filled), to, out_pitches)?;
    if !output.is_apart((pixels, filled)) {
        return Err(fault::OVERLAP);
    }
    let in_place = input.range == output.range && input.element == output.element && in_pitches == out_pitches;
    if !in_place || filled != channels {
        disjoint(&output.range, &[&input.range])?;
    }
    let shape = [pixels as usize, channels as usize, filled as usize];
    Convert {
        input,
        output,
        shape,
        quantisation,
        simd,
        memory,
    }
    .run();
    Ok(Cost::of_elements(elements, ELEMENTS_PER_CYCLE_F32, elements))
}

struct Convert<'a> {
    input: Side,
    output: Side,
    /// Pixels, channels, channels with filling.
    shape: [usize; 3],
    quantisation: Quantisation,
    simd: Simd,
    memory: &'a mut [u8],
}

impl Convert<'_> {
    fn run(mut self) {
        let [pixels, channels, filled] = self.shape;
        if is_byte(self.output.kind) && self.output.channel_pitch == 1 && self.output.pixel_pitch == 4 && filled == 4 {
            self.interleave_four();
            return;
        }
        let mut values = [0f32; CHUNK];
        let fill = self.quantisation.zero as f32;
        // The longer dimension is the inner loop.
        let by_pixel = pixels >= channels;
        let (outer, inner) = if by_pixel { (channels, pixels) } else { (pixels, channels) };
        let steps = |side: &Side| {
            if by_pixel {
                side.pixel_pitch as usize
            } else {
                side.channel_pitch as usize
            }
        };
        let (in_step, out_step) = (steps(&self.input), steps(&self.output));
        for line in 0..outer {
            for first in (0..inner).step_by(CHUNK) {
                let values = &mut values[..CHUNK.min(inner - first)];
                let (pixel, channel) = if by_pixel { (first, line) } else { (line, first) };
                self.convert(pixel, channel, in_step, values);
                let kind = self.output.kind;
                let place = Place::line(self.output.at(pixel, channel), out_step);
                store(self.simd, kind, values, self.quantisation, self.memory, place);
            }
        }
        for channel in channels..filled {
            for pixel in 0..pixels {
                let place = Place::line(self.output.at(pixel, channel), 1);
                store(self.simd, self.output.kind, &[fill], Quantisation::PLAIN, self.memory, place);
            }
        }
    }

    /// Reads elements and, if the output is quantised, divides them by the scale.
    fn convert(&self, pixel: usize, channel: usize, step: usize, values: &mut [f32]) {
        let place = Place::line(self.input.at(pixel, channel), step);
        load(self.simd, self.input.kind, self.memory, place, self.quantisation, values);
        if !is_float(self.output.kind) {
            vectorise(
                self.simd,
                Divide {
                    values,
                    scale: self.quantisation.scale,
                },
            );
        }
    }

    /// Up to four channels into 4-byte pixels, the usual form of an image: whole pixels are written at once.
    fn interleave_four(&mut self) {
        let [pixels, channels, _] = self.shape;
        let mut values = [0f32; CHUNK];
        let mut words = [0u32; CHUNK];
        for first in (0..pixels).step_by(CHUNK) {
            let length = CHUNK.min(pixels - first);
            let (values, words) = (&mut values[..length], &mut words[..length]);
            let fill = u32::from(self.quantisation.zero as u8);
            words.fill((channels..4).fold(0, |word, channel| word | fill << (8 * channel)));
            for channel in 0..channels {
                self.convert(first, channel, self.input.pixel_pitch as usize, values);
                vectorise(
                    self.simd,
                    Merge {
                        words: &mut *words,
                        values,
                        quantisation: self.quantisation,
                        shift: 8 * channel,
                    },
                );
            }
            let start = self.output.at(first, 0);
            for (bytes, word) in self.memory[start..start + 4 * length]
                .as_chunks_mut::<4>()
                .0
                .iter_mut()
                .zip(words)
            {
                *bytes = word.to_le_bytes();
            }
        }
    }
}

struct Divide<'a> {
    values: &'a mut [f32],
    scale: f32,
}

impl Work for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for value in self.values {
            *value /= self.scale;
        }
    }
}

/// Rounds values and puts them into one byte of the words, which is zero.
struct Merge<'a> {
    words: &'a mut [u32],
    values: &'a [f32],
    quantisation: Quantisation,
    shift: usize,
}

impl Work for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (word, &value) in self.words.iter_mut().zip(self.values) {
            *word |= u32::from(self.quantisation.round(value) as u8) << self.shift;
        }
    }
}
