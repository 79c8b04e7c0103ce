//! COPY, FILL and PACK: bytes moved, not computed.

use super::Cost;
use super::conv2d::DEPTH;
use super::fields::Fields;
use super::operand::{aligned, apart, disjoint, extent, place, require, work};
use super::simd::Simd;
use super::stage::LANES;
use crate::abi::tile_program::{fault, tile_copy, tile_fill, tile_pack};
use crate::abi::timing::BYTES_PER_CYCLE_COPY;

/// Carries out COPY. At most one element per byte of memory may be written.
pub(super) fn copy(fields: Fields, operands: &[u32], memory: &mut [u8]) -> Result<Cost, u32> {
    let element = u64::from(fields.u32(tile_copy::ELEMENT_SIZE));
    require(matches!(element, 1 | 2 | 4))?;
    let mut sizes = [0; 4];
    let (mut from, mut to) = ([(0, 0); 4], [(0, 0); 4]);
    for axis in 0..4 {
        sizes[axis] = fields.count(tile_copy::SIZES + 4 * axis)?;
        from[axis] = (sizes[axis], fields.pitch(tile_copy::IN_STRIDES + 4 * axis));
        to[axis] = (sizes[axis], fields.pitch(tile_copy::OUT_STRIDES + 4 * axis));
    }
    let elements = work(&sizes)?;
    require(elements <= memory.len() as u64)?;
    aligned(&from.map(|axis| axis.1), element)?;
    aligned(&to.map(|axis| axis.1), element)?;
    let input = place(memory, operands[0], extent(&from, element), element)?;
    let output = place(memory, operands[1], extent(&to, element), element)?;
    disjoint(&output, &[&input])?;
    let (element, sizes) = (element as usize, sizes.map(|size| size as usize));
    let (from, to) = (from.map(|axis| axis.1 as usize), to.map(|axis| axis.1 as usize));
    let contiguous = from[3] == element && to[3] == element;
    for a in 0..sizes[0] {
        for b in 0..sizes[1] {
            for c in 0..sizes[2] {
                let source = input.start + a * from[0] + b * from[1] + c * from[2];
                let target = output.start + a * to[0] + b * to[1] + c * to[2];
                if contiguous {
                    memory.copy_within(source..source + sizes[3] * element, target);
                    continue;
                }
                match element {
                    1 => copy_strided::<1>(memory, (source, from[3]), (target, to[3]), sizes[3]),
                    2 => copy_strided::<2>(memory, (source, from[3]), (target, to[3]), sizes[3]),
                    _ => copy_strided::<4>(memory, (source, from[3]), (target, to[3]), sizes[3]),
                }
            }
        }
    }
    Ok(Cost::of_elements(elements * element as u64, BYTES_PER_CYCLE_COPY, elements))
}

/// Copies `count` elements between (start, stride) places.
fn copy_strided<const SIZE: usize>(memory: &mut [u8], from: (usize, usize), to: (usize, usize), count: usize) {
    for index in 0..count {
        let (source, target) = (from.0 + index * from.1, to.0 + index * to.1);
        let mut element = [0; SIZE];
        element.copy_from_slice(&memory[source..source + SIZE]);
        memory[target..target + SIZE].copy_from_slice(&element);
    }
}

/// Carries out FILL.
pub(super) fn fill(fields: Fields, operands: &[u32], memory: &mut [u8]) -> Result<Cost, u32> {
    let (rows, bytes) = (fields.count(tile_fill::ROWS)?, fields.count(tile_fill::ROW_BYTES)?);
    let pitch = fields.pitch(tile_fill::PITCH);
    let value = u8::try_from(fields.u32(tile_fill::VALUE)).map_err(|_| fault::BAD_DESCRIPTOR)?;
    let total = work(&[rows, bytes])?;
    apart(&[(rows, pitch)], bytes)?;
    let output = place(memory, operands[0], extent(&[(rows, pitch)], bytes), 1)?;
    for row in 0..rows as usize {
        let start = output.start + row * pitch as usize;
        memory[start..start + bytes as usize].fill(value);
    }
    Ok(Cost::of_elements(total, BYTES_PER_CYCLE_COPY, total))
}

/// Carries out PACK: `out[n / 16][k / 4][n % 16][k % 4] = B[k][n]`, zero where B ends.
pub(super) fn pack(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let (inner, outer) = (fields.count(tile_pack::INNER)?, fields.count(tile_pack::OUTER)?);
    let pitch = fields.pitch(tile_pack::IN_PITCH);
    let transposed = fields.u32(tile_pack::TRANSPOSED);
    require(transposed <= 1)?;
    let (rows, run) = if transposed == 1 { (outer, inner) } else { (inner, outer) };
    let packed = work(&[inner.next_multiple_of(DEPTH as u64), outer.next_multiple_of(LANES as u64)])?;
    let input = place(memory, operands[0], extent(&[(rows, pitch)], run), 1)?;
    let output = place(memory, operands[1], packed, 1)?;
    disjoint(&output, &[&input])?;
    let (inner, outer, pitch) = (inner as usize, outer as usize, pitch as usize);
    let cost = Cost::of_elements(packed, BYTES_PER_CYCLE_COPY, packed);
    #[cfg(target_arch = "x86_64")]
    if simd.supported() == Simd::Avx512 && transposed == 0 {
        let base = memory.as_mut_ptr();
        // SAFETY: `supported` gives Avx512 only if the processor has its features; the matrix and its packed form lie in memory.
        unsafe { super::interleave_avx512::pack(base.add(input.start), pitch, inner, outer, base.add(output.start)) };
        return Ok(cost);
    }
    let _ = simd;
    let (k_step, n_step) = if transposed == 1 { (1, pitch) } else { (pitch, 1) };
    let mut target = output.start;
    for group in (0..outer).step_by(LANES) {
        for quad in (0..inner).step_by(DEPTH) {
            for n in group..group + LANES {
                for k in quad..quad + DEPTH {
                    memory[target] = if k < inner && n < outer {
                        memory[input.start + k * k_step + n * n_step]
                    } else {
                        0
                    };
                    target += 1;
                }
            }
        }
    }
    Ok(cost)
}
