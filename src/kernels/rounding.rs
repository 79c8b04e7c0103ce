//! AIE-ML's shift-round modes on 64-bit integers.

use crate::abi::tile_program::srs_rounding;

/// `value / 2**shift`, rounded as `mode` (`abi::tile_program::srs_rounding`) says; `shift` is at most 62.
///
/// The plain modes round every fraction, the others only to the nearest integer and differ in where a half goes.
#[inline(always)]
pub(super) fn shift_round(value: i64, shift: u32, mode: u32) -> i64 {
    if shift == 0 {
        return value;
    }
    let floor = value >> shift;
    let fraction = value - (floor << shift);
    let half = 1i64 << (shift - 1);
    let half_up = match mode {
        srs_rounding::FLOOR => return floor,
        srs_rounding::CEIL => return floor + i64::from(fraction != 0),
        srs_rounding::SYM_FLOOR => return floor + i64::from(fraction != 0 && value < 0),
        srs_rounding::SYM_CEIL => return floor + i64::from(fraction != 0 && value > 0),
        srs_rounding::NEG_INF => false,
        srs_rounding::POS_INF => true,
        srs_rounding::SYM_ZERO => value < 0,
        srs_rounding::SYM_INF => value >= 0,
        srs_rounding::CONV_EVEN => floor & 1 == 1,
        _ => floor & 1 == 0,
    };
    floor + i64::from(fraction > half || (fraction == half && half_up))
}
