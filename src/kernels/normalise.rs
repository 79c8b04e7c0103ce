//! NORMALISE: row-wise softmax, layer normalisation, sum, mean and maximum in float32.

use super::Cost;
use super::element::{Place, Quantisation, is_float, load, store};
use super::fields::Fields;
use super::functions::exp;
use super::operand::{Rows, disjoint, disjoint_or_same, place, require};
use super::simd::{Simd, Work, vectorise};
use super::stage::LANES;
use crate::abi::tile_program::{element_type, normalise_kind, tile_normalise as field};
use crate::abi::timing::ELEMENTS_PER_CYCLE_F32;

/// Carries out NORMALISE. SOFTMAX and LAYER may write exactly over their input.
///
/// LAYER's parameters are float32 gamma[channels], then beta[channels], each rounded up to 16; the other kinds have none.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let shape = (fields.count(field::ROWS)?, fields.count(field::CHANNELS)?);
    let kind = fields.u32(field::KIND);
    require(kind <= normalise_kind::MAX)?;
    let kinds = (fields.u32(field::IN_TYPE), fields.u32(field::OUT_TYPE));
    require(is_float(kinds.0) && is_float(kinds.1))?;
    let keeps_shape = matches!(kind, normalise_kind::SOFTMAX | normalise_kind::LAYER);
    let out_shape = if keeps_shape { shape } else { (shape.0, 1) };
    let input = Rows::place(memory, operands[0], shape, fields.pitch(field::IN_PITCH), kinds.0)?;
    let vector = shape.1.next_multiple_of(LANES as u64) * 4;
    let parameters = place(
        memory,
        operands[1],
        if kind == normalise_kind::LAYER { 2 * vector } else { 0 },
        4,
    )?;
    let out = Rows::place_output(memory, operands[2], out_shape, fields.pitch(field::OUT_PITCH), kinds.1)?;
    if keeps_shape {
        disjoint_or_same(&out, &input)
    } else {
        disjoint(&out.range, &[&input.range])
    }?;
    disjoint(&out.range, &[&parameters])?;
    // SOFTMAX and LAYER go over a row three times.
    let visits = shape.0 * shape.1 * if keeps_shape { 3 } else { 1 };
    let mut vectors = vec![0f32; parameters.len() / 4];
    load(
        simd,
        element_type::F32,
        memory,
        Place::line(parameters.start, 4),
        Quantisation::PLAIN,
        &mut vectors,
    );
    let (gamma, beta) = vectors.split_at(vectors.len() / 2);
    let (epsilon, mut values) = (fields.f32(field::EPSILON), vec![0f32; shape.1 as usize]);
    for row in 0..shape.0 as usize {
        load(
            simd,
            kinds.0,
            memory,
            input.lines(row, 0, values.len()),
            Quantisation::PLAIN,
            &mut values,
        );
        vectorise(
            simd,
            Normalise {
                kind,
                values: &mut values,
                gamma,
                beta,
                epsilon,
            },
        );
        let written = &values[..out_shape.1 as usize];
        store(
            simd,
            kinds.1,
            written,
            Quantisation::PLAIN,
            memory,
            out.lines(row, 0, written.len()),
        );
    }
    Ok(Cost::of_elements(visits, ELEMENTS_PER_CYCLE_F32, out_shape.0 * out_shape.1))
}

/// One row, in place; a lone result becomes the first value.
struct Normalise<'a> {
    kind: u32,
    values: &'a mut [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl Work for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            kind,
            values,
            gamma,
            beta,
            epsilon,
        } = self;
        match kind {
            normalise_kind::SOFTMAX => softmax(values),
            normalise_kind::LAYER => layer(values, gamma, beta, epsilon),
            normalise_kind::SUM => values[0] = fold(values, 0.0, |a, b| a + b),
            normalise_kind::MEAN => values[0] = fold(values, 0.0, |a, b| a + b) / values.len() as f32,
            _ => values[0] = fold(values, f32::NEG_INFINITY, larger),
        }
    }
}

/// The larger of two; NaN if one is.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// `values` combined in 16 interleaved lanes, then lane i with i + 8, 4, 2, 1: the order that the instruction promises.
#[inline(always)]
fn fold(values: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (blocks, tail) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = combine(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(tail) {
        *lane = combine(*lane, value);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

#[inline(always)]
fn softmax(values: &mut [f32]) {
    let largest = fold(values, f32::NEG_INFINITY, larger);
    for value in &mut *values {
        *value = exp(*value - largest);
    }
    let sum = fold(values, 0.0, |a, b| a + b);
    for value in values {
        *value /= sum;
    }
}

#[inline(always)]
fn layer(values: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
    let count = values.len() as f32;
    let mean = fold(values, 0.0, |a, b| a + b) / count;
    for value in &mut *values {
        *value -= mean;
    }
    let mut squares = values.to_vec();
    for square in &mut squares {
        *square *= *square;
    }
    let deviation = (fold(&squares, 0.0, |a, b| a + b) / count + epsilon).sqrt();
    for ((value, &gamma), &beta) in values.iter_mut().zip(gamma).zip(beta) {
        *value = *value / deviation * gamma + beta;
    }
}
