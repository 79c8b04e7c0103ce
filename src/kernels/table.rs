//! TABLE: every byte replaced by a table's entry.

use super::Cost;
use super::fields::Fields;
use super::operand::{Rows, disjoint, disjoint_or_same, place, require};
use super::simd::Simd;
use crate::abi::tile_program::{element_type, tile_table as field};
use crate::abi::timing::{ELEMENTS_PER_CYCLE_8BIT, ELEMENTS_PER_CYCLE_F32};

/// Carries out TABLE. An 8-bit output may lie exactly over the input.
pub(super) fn execute(fields: Fields, operands: &[u32], memory: &mut [u8], simd: Simd) -> Result<Cost, u32> {
    let shape = (fields.count(field::ROWS)?, fields.count(field::ROW_ELEMENTS)?);
    let out_type = fields.u32(field::OUT_TYPE);
    let wide = out_type == element_type::F32;
    require(wide || out_type == element_type::U8)?;
    let mut input = Rows::place(memory, operands[0], shape, fields.pitch(field::IN_PITCH), element_type::U8)?;
    let table = place(memory, operands[1], if wide { 1024 } else { 256 }, if wide { 4 } else { 1 })?;
    let mut out = Rows::place_output(memory, operands[2], shape, fields.pitch(field::OUT_PITCH), out_type)?;
    disjoint(&out.range, &[&table])?;
    disjoint_or_same(&out, &input)?;
    let elements = shape.0 * shape.1;
    if input.is_dense() && out.is_dense() {
        for rows in [&mut input, &mut out] {
            (rows.rows, rows.run) = (1, elements);
        }
    }
    let run = input.run as usize;
    if wide {
        let mut entries = [[0; 4]; 256];
        entries.copy_from_slice(memory[table].as_chunks().0);
        for row in 0..input.rows as usize {
            for column in 0..run {
                let (from, to) = (input.at(row, column), out.at(row, column));
                let entry = entries[usize::from(memory[from])];
                memory[to..to + 4].copy_from_slice(&entry);
            }
        }
        return Ok(Cost::of_elements(elements, ELEMENTS_PER_CYCLE_F32, elements));
    }
    let mut entries = [0; 256];
    entries.copy_from_slice(&memory[table]);
    for row in 0..input.rows as usize {
        let (from, to) = (input.at(row, 0), out.at(row, 0));
        memory.copy_within(from..from + run, to);
        look_up(simd, &entries, &mut memory[to..to + run]);
    }
    Ok(Cost::of_elements(elements, ELEMENTS_PER_CYCLE_8BIT, elements))
}

/// Replaces every byte by its entry.
pub(super) fn look_up(simd: Simd, table: &[u8; 256], bytes: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if simd.supported() == Simd::Avx512 {
        // SAFETY: `supported` gives Avx512 only if the processor has the features that the function is compiled for.
        unsafe { super::table_avx512::look_up(table, bytes) };
        return;
    }
    let _ = simd;
    for byte in bytes {
        *byte = table[usize::from(*byte)];
    }
}
