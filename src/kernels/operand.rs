//! Extents of operands: where they lie in data memory, and that they may lie there.

use super::element::Place;
use crate::abi::tile_program::{element_type, fault};
use std::ops::Range;

/// The most multiply-accumulates or element visits of one instruction. Operands that do not repeat bytes stay far below it (a
/// matrix product that fills 128 KiB has 2**24); it bounds descriptors that name the same bytes again and again.
pub(super) const MAX_WORK: u64 = 1 << 28;

/// Bytes of an element; `BAD_DESCRIPTOR` if there is no such type.
pub(super) fn element_size(kind: u32) -> Result<u64, u32> {
    match kind {
        element_type::U8 | element_type::S8 => Ok(1),
        element_type::S16 | element_type::BF16 => Ok(2),
        element_type::S32 | element_type::F32 => Ok(4),
        _ => Err(fault::BAD_DESCRIPTOR),
    }
}

/// `BAD_DESCRIPTOR` unless `condition`.
pub(super) fn require(condition: bool) -> Result<(), u32> {
    if condition { Ok(()) } else { Err(fault::BAD_DESCRIPTOR) }
}

/// `BAD_DESCRIPTOR` if the product of `counts` is more than [`MAX_WORK`]; else the product.
pub(super) fn work(counts: &[u64]) -> Result<u64, u32> {
    let product = counts.iter().fold(1u64, |product, &count| product.saturating_mul(count));
    if product > MAX_WORK {
        Err(fault::BAD_DESCRIPTOR)
    } else {
        Ok(product)
    }
}

/// Bytes from the first to past the last of runs of `run` bytes, repeated `count` times at each `(count, pitch)`.
pub(super) fn extent(dimensions: &[(u64, u64)], run: u64) -> u64 {
    dimensions.iter().fold(run, |sum, &(count, pitch)| {
        sum.saturating_add((count - 1).saturating_mul(pitch))
    })
}

/// The bytes of an operand of `bytes` bytes at `address`, whose elements are `alignment` bytes.
pub(super) fn place(memory: &[u8], address: u32, bytes: u64, alignment: u64) -> Result<Range<usize>, u32> {
    let start = u64::from(address);
    if start % alignment != 0 {
        return Err(fault::MISALIGNED);
    }
    match start.checked_add(bytes) {
        Some(end) if end <= memory.len() as u64 => Ok(start as usize..end as usize),
        _ => Err(fault::DATA_BOUNDS),
    }
}

/// `MISALIGNED` unless every pitch is a multiple of `alignment`.
pub(super) fn aligned(pitches: &[u64], alignment: u64) -> Result<(), u32> {
    if pitches.iter().all(|pitch| pitch % alignment == 0) {
        Ok(())
    } else {
        Err(fault::MISALIGNED)
    }
}

/// `OVERLAP` if `output` meets one of `inputs`.
pub(super) fn disjoint(output: &Range<usize>, inputs: &[&Range<usize>]) -> Result<(), u32> {
    let meets = |input: &&Range<usize>| output.start < input.end && input.start < output.end;
    if inputs.iter().any(meets) {
        Err(fault::OVERLAP)
    } else {
        Ok(())
    }
}

/// `OVERLAP` unless runs of `run` bytes at `(count, pitch)` dimensions, outermost first, all lie apart.
///
/// Each pitch has to step over everything inside it, from the innermost dimension outwards.
pub(super) fn apart(dimensions: &[(u64, u64)], run: u64) -> Result<(), u32> {
    let mut inside = run;
    for &(count, pitch) in dimensions.iter().rev() {
        if count > 1 && pitch < inside {
            return Err(fault::OVERLAP);
        }
        inside = inside.saturating_add((count - 1).saturating_mul(pitch));
    }
    Ok(())
}

/// [`disjoint`], but an element-wise operation may write `output` exactly over `input`: same address, element size and, if there is
/// more than one row, same pitch. Such operations read a row's elements before they write them.
pub(super) fn disjoint_or_same(output: &Rows, input: &Rows) -> Result<(), u32> {
    let same = output.range.start == input.range.start
        && output.element == input.element
        && output.run == input.run
        && (output.rows == 1 || output.pitch == input.pitch);
    if same {
        Ok(())
    } else {
        disjoint(&output.range, &[&input.range])
    }
}

/// An operand of `rows` rows, `pitch` bytes apart, of `run` elements of `element` bytes.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub range: Range<usize>,
    pub rows: u64,
    pub pitch: u64,
    pub run: u64,
    pub element: u64,
}

impl Rows {
    /// Places rows of elements of type `kind` at `address`.
    pub(super) fn place(memory: &[u8], address: u32, shape: (u64, u64), pitch: u64, kind: u32) -> Result<Self, u32> {
        let (rows, run) = shape;
        let element = element_size(kind)?;
        work(&[rows, run])?;
        aligned(&[pitch], element)?;
        let range = place(memory, address, extent(&[(rows, pitch)], run * element), element)?;
        Ok(Self {
            range,
            rows,
            pitch,
            run,
            element,
        })
    }

    /// Places an output: its rows must lie apart.
    pub(super) fn place_output(memory: &[u8], address: u32, shape: (u64, u64), pitch: u64, kind: u32) -> Result<Self, u32> {
        let rows = Self::place(memory, address, shape, pitch, kind)?;
        apart(&[(shape.0, pitch)], shape.1 * rows.element)?;
        Ok(rows)
    }

    /// First byte of element `column` of row `row`.
    #[inline(always)]
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        self.range.start + row * self.pitch as usize + column * self.element as usize
    }

    /// Where the elements from (`row`, `column`) on lie, in lines of `run`; dense rows are one line.
    pub(super) fn lines(&self, row: usize, column: usize, run: usize) -> Place {
        let start = self.at(row, column);
        if self.is_dense() {
            return Place::line(start, self.element as usize);
        }
        Place {
            start,
            step: self.element as usize,
            run,
            pitch: self.pitch as usize,
        }
    }

    /// Whether no byte lies between rows, so that they may be taken as one.
    pub(super) fn is_dense(&self) -> bool {
        self.rows == 1 || self.pitch == self.run * self.element
    }
}
