//! Hyperbolic functions and their inverses.
//!
//! They take the same steps as the reference's runtime; see [`super::power`] for why.

use std::f64::consts::LN_2;

use super::power::{exp, ln};

/// From here on the smaller exponential does not count.
const FAR: f64 = 21.0;
/// 2^28: beyond it and below its inverse the inverse functions are as good as a logarithm and as their argument.
const LARGE: f64 = (1u64 << 28) as f64;

/// The hyperbolic sine.
pub fn sinh(v: f64) -> f64 {
    const P: [f64; 4] =
        [-2.630_563_213_397_497e1, -2.894_211_355_989_564e3, -8.991_272_022_039_509e4, -6.307_673_640_497_717e5];
    const Q: [f64; 4] = [1.0, -1.736_789_535_582_337e2, 1.521_517_378_790_019e4, -6.307_673_640_497_717e5];
    const NEAR: f64 = 0.5;
    let size = v.abs();
    let sine = match size {
        _ if size > FAR => exp(size) * 0.5,
        _ if size > NEAR => {
            let exponential = exp(size);
            (exponential - 1.0 / exponential) * 0.5
        }
        _ => {
            let square = size * size;
            let above = P[1..].iter().fold(P[0], |sum, term| sum * square + term) * size;
            above / Q[1..].iter().fold(Q[0], |sum, term| sum * square + term)
        }
    };
    sine.copysign(v)
}

/// The hyperbolic cosine.
pub fn cosh(v: f64) -> f64 {
    let exponential = exp(v.abs());
    if v.abs() > FAR { exponential * 0.5 } else { (exponential + 1.0 / exponential) * 0.5 }
}

/// The hyperbolic tangent.
pub fn tanh(v: f64) -> f64 {
    const P: [f64; 3] = [-9.643_991_794_250_523e-1, -9.928_772_310_019_185e1, -1.614_687_684_417_084_5e3];
    const Q: [f64; 3] = [1.128_116_784_916_329_3e2, 2.235_488_390_601_004_5e3, 4.844_063_053_251_255e3];
    const NEAR: f64 = 0.625;
    /// Half of the logarithm of 2^127.
    const ONE: f64 = 0.5 * 8.802_969_193_111_305e1;
    let size = v.abs();
    match size {
        _ if v.is_nan() || v == 0.0 => v,
        _ if size > ONE => 1f64.copysign(v),
        _ if size >= NEAR => (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(v),
        _ => {
            let square = v * v;
            let above = (P[0] * square + P[1]) * square + P[2];
            v + v * square * above / (((square + Q[0]) * square + Q[1]) * square + Q[2])
        }
    }
}

/// The inverse of the hyperbolic sine.
pub fn asinh(v: f64) -> f64 {
    let size = v.abs();
    let inverse = match size {
        _ if !v.is_finite() => return v,
        _ if size > LARGE => ln(size) + LN_2,
        _ if size > 2.0 => ln(2.0 * size + 1.0 / ((size * size + 1.0).sqrt() + size)),
        _ if size < 1.0 / LARGE => size,
        _ => ln_1p(size + size * size / (1.0 + (1.0 + size * size).sqrt())),
    };
    inverse.copysign(v)
}

/// The inverse of the hyperbolic cosine.
pub fn acosh(v: f64) -> f64 {
    match v {
        _ if v < 1.0 || v.is_nan() => f64::NAN,
        1.0 => 0.0,
        _ if v >= LARGE => ln(v) + LN_2,
        _ if v > 2.0 => ln(2.0 * v - 1.0 / (v + (v * v - 1.0).sqrt())),
        _ => {
            let beyond = v - 1.0;
            ln_1p(beyond + (2.0 * beyond + beyond * beyond).sqrt())
        }
    }
}

/// The inverse of the hyperbolic tangent.
pub fn atanh(v: f64) -> f64 {
    let size = v.abs();
    let inverse = match size {
        _ if size > 1.0 || v.is_nan() => return f64::NAN,
        1.0 => f64::INFINITY,
        _ if size < 1.0 / LARGE => size,
        _ if size < 0.5 => {
            let double = size + size;
            0.5 * ln_1p(double + double * size / (1.0 - size))
        }
        _ => 0.5 * ln_1p((size + size) / (1.0 - size)),
    };
    inverse.copysign(v)
}

/// The natural logarithm of `1 + v`, for `v` of more than 0.
fn ln_1p(v: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const P: [f64; 7] = [
        1.479_819_860_511_658_6e-1,
        1.531_383_769_920_937_3e-1,
        1.818_357_216_161_805e-1,
        2.222_219_843_214_978_4e-1,
        2.857_142_874_366_239e-1,
        3.999_999_999_940_942e-1,
        6.666_666_666_666_735e-1,
    ];
    const SQRT_2_LESS_1: f64 = 4.142_135_623_730_950_5e-1;
    /// 2^-29 and 2^-54: below them a square, and even that, does not count.
    const SMALL: f64 = 1.0 / (1u64 << 29) as f64;
    const TINY: f64 = 1.0 / (1u64 << 54) as f64;
    if v < TINY {
        return v;
    }
    if v < SMALL {
        return v - v * v * 0.5;
    }
    let (exponent, fraction, lost) = if v < SQRT_2_LESS_1 { (0, v, 0.0) } else { above_1(v) };
    let k = f64::from(exponent);
    let half_square = 0.5 * fraction * fraction;
    if exponent != 0 && fraction == 0.0 {
        return k * LN2_HIGH + (lost + k * LN2_LOW);
    }
    let s = fraction / (2.0 + fraction);
    let square = s * s;
    let rest = square * P[1..].iter().fold(P[0], |sum, term| sum * square + term);
    match exponent {
        0 => fraction - (half_square - s * (half_square + rest)),
        _ => k * LN2_HIGH - ((half_square - (s * (half_square + rest) + (k * LN2_LOW + lost))) - fraction),
    }
}

/// `1 + v` as `(1 + fraction) * 2^exponent`, and what the addition lost.
fn above_1(v: f64) -> (i32, f64, f64) {
    /// The mantissa of the square root of 2.
    const SQRT_2: u64 = 0x0006_a09e_667f_3bcd;
    let whole = 1.0 + v;
    let exponent = (whole.to_bits() >> 52) as i32 - 1023;
    let lost = if exponent > 0 { 1.0 - (whole - v) } else { v - (whole - 1.0) } / whole;
    let mantissa = whole.to_bits() & ((1 << 52) - 1);
    let (exponent, bias) = if mantissa < SQRT_2 { (exponent, 1023) } else { (exponent + 1, 1022) };
    (exponent, f64::from_bits(mantissa | bias << 52) - 1.0, lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_reference() {
        type Function = fn(f64) -> f64;
        let all: &[(Function, &[(f64, f64)])] = &[
            (sinh, &[(0.3, 0.3045202934471426), (-2.5, -6.0502044810397875), (30.0, 5.34323729076223e+12)]),
            (cosh, &[(0.3, 1.0453385141288605), (-2.5, 6.132289479663686), (30.0, 5.34323729076223e+12)]),
            (tanh, &[(-0.13570315367849062, -0.13487623748481575), (2.5, 0.9866142981514303), (-50.0, -1.0)]),
            (
                asinh,
                &[(0.3, 0.29567304756342244), (-2.5, -1.6472311463710958), (1e+20, 46.74484904044086), (1e-10, 1e-10)],
            ),
            (acosh, &[(1.0, 0.0), (1.5, 0.9624236501192069), (2.5, 1.566799236972411), (1e+20, 46.74484904044086)]),
            (atanh, &[(0.3, 0.30951960420311175), (-0.9, -1.4722194895832204), (1e-10, 1e-10), (1.0, f64::INFINITY)]),
        ];
        for (function, values) in all {
            for (v, expected) in *values {
                assert_eq!(function(*v).to_bits(), expected.to_bits(), "{v}: {} instead of {expected}", function(*v));
            }
        }
        assert!([sinh, cosh, tanh, asinh, acosh, atanh].iter().all(|function| function(f64::NAN).is_nan()));
        assert!(acosh(0.5).is_nan() && atanh(1.5).is_nan() && atanh(-1.0) == f64::NEG_INFINITY);
    }
}
