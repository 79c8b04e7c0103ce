//! exp, log, tanh, sigmoid and erf of float32, worked out in float64 by fixed formulas and rounded once.
//!
//! No library call and no fused multiply-add, so every processor gives the same bits; the float64 error (below 1e-11 relative) leaves
//! the rounded result within one unit in the last place of the exact one. Branch-free, so that loops over them vectorise.

/// 1.5 * 2**52: added to a float64 of magnitude below 2**51, it leaves the nearest integer in the low mantissa bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// ln(2) in two parts; the first has 32 trailing zero bits, so that its product with a small integer is exact.
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1/n! for n = 2..=12.
const EXPONENTIAL: [f64; 11] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
];
/// 1/(2n + 1) for n = 0..=10: the series of artanh.
const LOGARITHM: [f64; 11] = [
    1.0,
    1.0 / 3.0,
    1.0 / 5.0,
    1.0 / 7.0,
    1.0 / 9.0,
    1.0 / 11.0,
    1.0 / 13.0,
    1.0 / 15.0,
    1.0 / 17.0,
    1.0 / 19.0,
    1.0 / 21.0,
];
/// (-1)**n / (n! (2n + 1)) for n = 0..=9: the series of erf about 0, without 2/sqrt(pi).
const ERROR_NEAR: [f64; 10] = [
    1.0,
    -1.0 / 3.0,
    1.0 / 10.0,
    -1.0 / 42.0,
    1.0 / 216.0,
    -1.0 / 1320.0,
    1.0 / 9360.0,
    -1.0 / 75_600.0,
    1.0 / 685_440.0,
    -1.0 / 6_894_720.0,
];
/// erfc(x) exp(x*x) / t with t = 1 / (1 + x/2) over t in 1/3..0.8, in powers of u = t mapped to -1..1: a Chebyshev fit of degree 10
/// to Python's math.erfc, off by at most 5e-12.
const ERROR_FAR: [f64; 11] = [
    5.591_259_253_175_56e-1,
    1.781_305_819_855_338e-1,
    3.175_376_639_318_42e-2,
    1.218_145_713_273_141e-3,
    -5.916_818_255_669_391e-4,
    -4.185_943_697_397_392e-5,
    1.830_222_437_428_169e-5,
    3.631_482_694_032_787e-7,
    -6.799_121_826_993_781e-7,
    4.727_750_500_628_125e-8,
    1.936_084_918_332_957e-8,
];
const TWO_OVER_ROOT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

#[inline(always)]
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, &coefficient| sum * x + coefficient)
}

/// exp(x) - 1 as (exp(r) - 1, 2**k) with x = k ln 2 + r; x is held within ±800.
#[inline(always)]
fn exponential_parts(x: f64) -> (f64, f64) {
    let x = if x > -800.0 { x } else { -800.0 };
    let x = if x < 800.0 { x } else { 800.0 };
    let shifted = x * std::f64::consts::LOG2_E + ROUNDER;
    let k = shifted - ROUNDER;
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let fraction = r + r * r * polynomial(&EXPONENTIAL, r);
    // |k| is at most 1155, outside the exponent range; the callers' results have long left float32's range at 1000.
    let exponent = (shifted.to_bits().wrapping_sub(ROUNDER.to_bits()) as i64).clamp(-1000, 1000);
    (fraction, f64::from_bits(((exponent + 1023) as u64) << 52))
}

#[inline(always)]
fn exp64(x: f64) -> f64 {
    let (fraction, power) = exponential_parts(x);
    power + power * fraction
}

/// e**x.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    if x.is_nan() { x } else { exp64(f64::from(x)) as f32 }
}

/// Natural logarithm; -inf at 0, NaN below.
#[inline(always)]
pub(super) fn log(x: f32) -> f32 {
    let bits = f64::from(x).to_bits();
    // Above sqrt(2) the mantissa is halved, so that it lies in sqrt(1/2)..sqrt(2).
    let mantissa_bits = bits & 0x000f_ffff_ffff_ffff;
    let above = u64::from(mantissa_bits > 0x6_a09e_667f_3bcd);
    let exponent = (bits >> 52 & 0x7ff).wrapping_add(above) as i64 - 1023;
    let mantissa = f64::from_bits(mantissa_bits | (1023 - above) << 52);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let k = exponent as i32 as f64;
    let result = k * LN2_HIGH + (2.0 * s * polynomial(&LOGARITHM, s * s) + k * LN2_LOW);
    let result = if x == 0.0 { f64::NEG_INFINITY } else { result };
    let result = if x == f32::INFINITY { f64::INFINITY } else { result };
    if x < 0.0 || x.is_nan() { f32::NAN } else { result as f32 }
}

/// Hyperbolic tangent.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let clamped = x.clamp(-20.0, 20.0);
    let (fraction, power) = exponential_parts(2.0 * f64::from(clamped));
    let minus_one = power * fraction + (power - 1.0);
    let result = (minus_one / (minus_one + 2.0)) as f32;
    if x.is_nan() || x == 0.0 { x } else { result }
}

/// 1 / (1 + e**-x).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    if x.is_nan() {
        x
    } else {
        (1.0 / (1.0 + exp64(-f64::from(x)))) as f32
    }
}

/// Error function.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let magnitude = f64::from(x.abs());
    let magnitude = if magnitude < 4.0 { magnitude } else { 4.0 };
    let square = magnitude * magnitude;
    let near = TWO_OVER_ROOT_PI * magnitude * polynomial(&ERROR_NEAR, square);
    let t = 1.0 / (1.0 + 0.5 * magnitude);
    let u = (t - 17.0 / 30.0) * (30.0 / 7.0);
    let far = 1.0 - t * exp64(-square) * polynomial(&ERROR_FAR, u);
    // Chosen by mask: a branch would keep the loop from being vectorised.
    let mask = u64::from(magnitude < 0.5).wrapping_neg();
    let result = (f64::from_bits(near.to_bits() & mask | far.to_bits() & !mask) as f32).copysign(x);
    if x.is_nan() { x } else { result }
}

/// `x` to the integer power `exponent`, by squaring in float64.
#[inline(always)]
pub(super) fn power(x: f32, exponent: i32) -> f32 {
    let mut result = 1.0;
    let mut square = f64::from(x);
    let mut rest = exponent.unsigned_abs();
    while rest != 0 {
        if rest & 1 == 1 {
            result *= square;
        }
        square *= square;
        rest >>= 1;
    }
    (if exponent < 0 { 1.0 / result } else { result }) as f32
}
