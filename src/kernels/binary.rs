//! BINARY: element-wise operations of two operands, in float32.

use super::Cost;
use super::conv2d::widen;
use super::element::{CHUNK, Place, Quantisation, is_byte, is_float, load, store};
use super::fields::Fields;
use super::operand::{Rows, disjoint, disjoint_or_same, require};
use super::simd::{Simd, Work, vectorise};
use crate::abi::tile_program::{binary_operation, broadcast, fault, tile_binary as field};
use crate::abi::timing::{ELEMENTS_PER_CYCLE_8BIT, ELEMENTS_PER_CYCLE_F32};

/// Carries out BINARY. The output may lie exactly over `a`, or over `b` if it is not broadcast.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let shape = (fields.count(field::ROWS)?, fields.count(field::CHANNELS)?);
    let kinds = [
        fields.u32(field::A_TYPE),
        fields.u32(field::B_TYPE),
        fields.u32(field::OUT_TYPE),
    ];
    require(kinds.iter().all(|&kind| is_byte(kind) || is_float(kind)))?;
    let operation = fields.u32(field::OPERATION);
    require(operation <= binary_operation::MINIMUM)?;
    let spread = fields.u32(field::BROADCAST);
    let b_shape = match spread {
        broadcast::NONE => shape,
        broadcast::ROW => (1, shape.1),
        broadcast::SCALAR => (1, 1),
        broadcast::COLUMN => (shape.0, 1),
        _ => return Err(fault::BAD_DESCRIPTOR),
    };
    let of = |scale, zero| Quantisation {
        scale: fields.f32(scale),
        zero: fields.i32(zero),
        ..Quantisation::PLAIN
    };
    let mut out_quantisation = of(field::OUT_SCALE, field::OUT_ZERO);
    if is_byte(kinds[2]) {
        let clamped = Quantisation {
            low: fields.i32(field::CLAMP_LOW),
            high: fields.i32(field::CLAMP_HIGH),
            ..out_quantisation
        };
        out_quantisation = clamped.narrowed(kinds[2]).ok_or(fault::BAD_DESCRIPTOR)?;
    }
    let mut a = Rows::place(memory, operands[0], shape, fields.pitch(field::A_PITCH), kinds[0])?;
    let mut b = Rows::place(memory, operands[1], b_shape, fields.pitch(field::B_PITCH), kinds[1])?;
    let mut out = Rows::place_output(memory, operands[2], shape, fields.pitch(field::OUT_PITCH), kinds[2])?;
    disjoint_or_same(&out, &a)?;
    if spread == broadcast::NONE {
        disjoint_or_same(&out, &b)
    } else {
        disjoint(&out.range, &[&b.range])
    }?;
    let elements = shape.0 * shape.1;
    let flat = a.is_dense() && out.is_dense() && (spread == broadcast::SCALAR || (spread == broadcast::NONE && b.is_dense()));
    if flat {
        for rows in [&mut a, &mut out, &mut b] {
            (rows.run, rows.rows) = (rows.run * rows.rows, 1);
        }
    }
    let quantisation = [
        of(field::A_SCALE, field::A_ZERO),
        of(field::B_SCALE, field::B_ZERO),
        out_quantisation,
    ];
    let binary = Binary {
        a,
        b,
        out,
        spread,
        operation,
        kinds,
        quantisation,
    };
    binary.run(memory, simd);
    let rate = if kinds.iter().all(|&kind| is_byte(kind)) {
        ELEMENTS_PER_CYCLE_8BIT
    } else {
        ELEMENTS_PER_CYCLE_F32
    };
    Ok(Cost::of_elements(elements, rate, elements))
}

struct Binary {
    a: Rows,
    b: Rows,
    out: Rows,
    spread: u32,
    operation: u32,
    kinds: [u32; 3],
    quantisation: [Quantisation; 3],
}

impl Binary {
    /// Goes over the elements a chunk at a time: several short rows, or part of a long one.
    fn run(&self, memory: &mut [u8], simd: Simd) {
        let (rows, channels) = (self.a.rows as usize, self.a.run as usize);
        let mut right = [0f32; CHUNK];
        let together = (CHUNK / channels).max(1);
        if self.spread == broadcast::ROW && channels <= CHUNK {
            self.load_right(memory, simd, self.b.lines(0, 0, channels), &mut right[..channels]);
            for index in channels..together * channels {
                right[index] = right[index - channels];
            }
        }
        for row in (0..rows).step_by(together) {
            let count = together.min(rows - row);
            for first in (0..channels).step_by(CHUNK) {
                let run = CHUNK.min(channels - first);
                let right = &mut right[..count * run];
                match self.spread {
                    broadcast::NONE => self.load_right(memory, simd, self.b.lines(row, first, run), right),
                    broadcast::ROW if channels <= CHUNK => {}
                    broadcast::ROW => self.load_right(memory, simd, self.b.lines(0, first, run), right),
                    spread => {
                        let mut values = [0f32; CHUNK];
                        let (source, values) = match spread {
                            broadcast::COLUMN => (row, &mut values[..count]),
                            _ => (0, &mut values[..1]),
                        };
                        self.load_right(memory, simd, self.b.lines(source, 0, 1), values);
                        for (line, right) in right.chunks_exact_mut(run).enumerate() {
                            right.fill(values[line % values.len()]);
                        }
                    }
                }
                self.step(memory, simd, (row, first), run, right);
            }
        }
    }

    fn load_right(&self, memory: &[u8], simd: Simd, place: Place, right: &mut [f32]) {
        load(simd, self.kinds[1], memory, place, self.quantisation[1], right);
    }

    /// Works on as many elements as `right` has, from (row, column) `at` on, in lines of `run`.
    fn step(&self, memory: &mut [u8], simd: Simd, at: (usize, usize), run: usize, right: &[f32]) {
        let [kind, _, out_kind] = self.kinds;
        if is_byte(kind) && is_byte(out_kind) {
            self.step_bytes(memory, simd, at, run, right);
            return;
        }
        let mut left = [0f32; CHUNK];
        let left = &mut left[..right.len()];
        load(simd, kind, memory, self.a.lines(at.0, at.1, run), self.quantisation[0], left);
        let scale = is_byte(out_kind).then_some(self.quantisation[2].scale);
        vectorise(
            simd,
            Combine {
                operation: self.operation,
                left: &mut *left,
                right,
                scale,
            },
        );
        store(
            simd,
            out_kind,
            left,
            self.quantisation[2],
            memory,
            self.out.lines(at.0, at.1, run),
        );
    }

    /// [`Self::step`] from bytes to bytes, in one pass.
    fn step_bytes(&self, memory: &mut [u8], simd: Simd, at: (usize, usize), run: usize, right: &[f32]) {
        let mut bytes = [0u8; CHUNK];
        let bytes = &mut bytes[..right.len()];
        for (line, bytes) in bytes.chunks_mut(run).enumerate() {
            let start = self.a.at(at.0 + line, at.1);
            bytes.copy_from_slice(&memory[start..start + bytes.len()]);
        }
        let [from, _, to] = self.quantisation;
        vectorise(
            simd,
            CombineBytes {
                operation: self.operation,
                kind: self.kinds[0],
                bytes: &mut *bytes,
                right,
                from,
                to,
            },
        );
        for (line, bytes) in bytes.chunks(run).enumerate() {
            let start = self.out.at(at.0 + line, at.1);
            memory[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// `left op right` in `left`, divided by the scale if there is one.
struct Combine<'a> {
    operation: u32,
    left: &'a mut [f32],
    right: &'a [f32],
    scale: Option<f32>,
}

/// Calls `$self.apply` with the operation as a function, so that its loop holds no choice.
macro_rules! apply {
    ($self:ident) => {
        match $self.operation {
            binary_operation::ADD => $self.apply(|a, b| a + b),
            binary_operation::SUBTRACT => $self.apply(|a, b| a - b),
            binary_operation::MULTIPLY => $self.apply(|a, b| a * b),
            binary_operation::DIVIDE => $self.apply(|a, b| a / b),
            // Both keep a NaN of either operand, as ONNX does.
            binary_operation::MAXIMUM => $self.apply(|a, b| if a > b || a.is_nan() { a } else { b }),
            _ => $self.apply(|a, b| if a < b || a.is_nan() { a } else { b }),
        }
    };
}

impl Work for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        apply!(self);
    }
}

impl Combine<'_> {
    #[inline(always)]
    fn apply(self, operation: impl Fn(f32, f32) -> f32) {
        for (a, &b) in self.left.iter_mut().zip(self.right) {
            *a = operation(*a, b);
        }
        if let Some(scale) = self.scale {
            for value in self.left {
                *value /= scale;
            }
        }
    }
}

/// `bytes op right` in `bytes`: dequantised, combined and quantised again, as load, [`Combine`] and store do it.
struct CombineBytes<'a> {
    operation: u32,
    kind: u32,
    bytes: &'a mut [u8],
    right: &'a [f32],
    from: Quantisation,
    to: Quantisation,
}

impl Work for CombineBytes<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        apply!(self);
    }
}

impl CombineBytes<'_> {
    #[inline(always)]
    fn apply(self, operation: impl Fn(f32, f32) -> f32) {
        for (byte, &b) in self.bytes.iter_mut().zip(self.right) {
            let a = widen(*byte, self.kind).wrapping_sub(self.from.zero) as f32 * self.from.scale;
            *byte = self.to.round(operation(a, b) / self.to.scale) as u8;
        }
    }
}
