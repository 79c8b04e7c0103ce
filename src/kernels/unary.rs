//! UNARY: float32 functions of one operand.

use super::Cost;
use super::element::{CHUNK, Quantisation, is_float, load, store};
use super::fields::Fields;
use super::functions;
use super::operand::{Rows, disjoint_or_same, require};
use super::simd::{Simd, Work, vectorise};
use crate::abi::tile_program::{tile_unary as field, unary_operation};
use crate::abi::timing::ELEMENTS_PER_CYCLE_F32;

/// Powers beyond this are not "small": float32 has left its range for any base but those nearest 1.
const MAX_POWER: f32 = 128.0;

/// Carries out UNARY. The output may lie exactly over the input.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let shape = (fields.count(field::ROWS)?, fields.count(field::CHANNELS)?);
    let operation = fields.u32(field::OPERATION);
    require(operation <= unary_operation::POWER)?;
    let (alpha, beta) = (fields.f32(field::ALPHA), fields.f32(field::BETA));
    if operation == unary_operation::POWER {
        require(alpha.abs() <= MAX_POWER && alpha.fract() == 0.0)?;
    }
    let kinds = (fields.u32(field::IN_TYPE), fields.u32(field::OUT_TYPE));
    require(is_float(kinds.0) && is_float(kinds.1))?;
    let mut input = Rows::place(memory, operands[0], shape, fields.pitch(field::IN_PITCH), kinds.0)?;
    let mut out = Rows::place_output(memory, operands[1], shape, fields.pitch(field::OUT_PITCH), kinds.1)?;
    disjoint_or_same(&out, &input)?;
    let elements = shape.0 * shape.1;
    if input.is_dense() && out.is_dense() {
        for rows in [&mut input, &mut out] {
            (rows.rows, rows.run) = (1, elements);
        }
    }
    let mut values = [0f32; CHUNK];
    for row in 0..input.rows as usize {
        for first in (0..input.run as usize).step_by(CHUNK) {
            let values = &mut values[..CHUNK.min(input.run as usize - first)];
            load(
                simd,
                kinds.0,
                memory,
                input.lines(row, first, CHUNK),
                Quantisation::PLAIN,
                values,
            );
            vectorise(
                simd,
                Unary {
                    operation,
                    alpha,
                    beta,
                    values: &mut *values,
                },
            );
            store(
                simd,
                kinds.1,
                values,
                Quantisation::PLAIN,
                memory,
                out.lines(row, first, CHUNK),
            );
        }
    }
    Ok(Cost::of_elements(elements, ELEMENTS_PER_CYCLE_F32, elements))
}

struct Unary<'a> {
    operation: u32,
    alpha: f32,
    beta: f32,
    values: &'a mut [f32],
}

impl Work for Unary<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (alpha, beta) = (self.alpha, self.beta);
        match self.operation {
            unary_operation::RELU => self.apply(|x| if x < 0.0 { 0.0 } else { x }),
            unary_operation::EXP => self.apply(functions::exp),
            unary_operation::LOG => self.apply(functions::log),
            unary_operation::TANH => self.apply(functions::tanh),
            unary_operation::SIGMOID => self.apply(functions::sigmoid),
            unary_operation::ERF => self.apply(functions::erf),
            unary_operation::SQRT => self.apply(f32::sqrt),
            unary_operation::RECIPROCAL => self.apply(|x| 1.0 / x),
            unary_operation::NEGATE => self.apply(|x| -x),
            unary_operation::ABS => self.apply(f32::abs),
            unary_operation::HARD_SIGMOID => self.apply(|x| clip(alpha * x + beta, 0.0, 1.0)),
            unary_operation::CLIP => self.apply(|x| clip(x, alpha, beta)),
            _ => self.apply(|x| functions::power(x, alpha as i32)),
        }
    }
}

impl Unary<'_> {
    #[inline(always)]
    fn apply(self, function: impl Fn(f32) -> f32) {
        for value in self.values {
            *value = function(*value);
        }
    }
}

/// max(low, min(high, x)); a NaN stays one.
#[inline(always)]
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}
