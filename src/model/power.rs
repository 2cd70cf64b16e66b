//! Logarithms, exponentials and powers.
//!
//! They take the same steps as the reference's runtime (mostly those of FreeBSD's library), because the results of other
//! libraries differ in the last bit now and then, which a subtraction or `count_values` makes visible. As the platform's
//! own library has no part in them, all platforms answer the same.

const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// The logarithm to base 2; exact for powers of 2.
pub fn log2(v: f64) -> f64 {
    special_logarithm(v).unwrap_or_else(|| match split(v) {
        (0.5, exponent) => f64::from(exponent - 1),
        (fraction, exponent) => ln_of(fraction, 0) * std::f64::consts::LOG2_E + f64::from(exponent),
    })
}

/// The natural logarithm.
pub fn ln(v: f64) -> f64 {
    special_logarithm(v).unwrap_or_else(|| {
        let (fraction, exponent) = split(v);
        ln_of(fraction, exponent)
    })
}

/// The logarithm to base 10.
pub fn log10(v: f64) -> f64 {
    ln(v) * std::f64::consts::LOG10_E
}

/// Logarithms that are the same to every base.
fn special_logarithm(v: f64) -> Option<f64> {
    match v {
        0.0 => Some(f64::NEG_INFINITY),
        _ if v < 0.0 || v.is_nan() => Some(f64::NAN),
        f64::INFINITY => Some(v),
        _ => None,
    }
}

/// `v` as a fraction of at least a half and less than 1, and a power of 2. `v` is finite and above 0.
fn split(v: f64) -> (f64, i32) {
    const SUBNORMAL_SHIFT: i32 = 52;
    let (v, shift) =
        if v < f64::MIN_POSITIVE { (v * (1u64 << SUBNORMAL_SHIFT) as f64, SUBNORMAL_SHIFT) } else { (v, 0) };
    let exponent = (v.to_bits() >> 52) as i32 - 1022;
    (f64::from_bits(v.to_bits() & !(0x7ff << 52) | 1022 << 52), exponent - shift)
}

/// The natural logarithm of `fraction * 2^exponent`; the fraction is at least a half and less than 1.
fn ln_of(fraction: f64, exponent: i32) -> f64 {
    const L: [f64; 7] = [
        6.666_666_666_666_735e-1,
        3.999_999_999_940_942e-1,
        2.857_142_874_366_239e-1,
        2.222_219_843_214_978_4e-1,
        1.818_357_216_161_805e-1,
        1.531_383_769_920_937_3e-1,
        1.479_819_860_511_658_6e-1,
    ];
    let k = f64::from(exponent);
    let (k, f) =
        if fraction <= std::f64::consts::FRAC_1_SQRT_2 { (k - 1.0, fraction * 2.0 - 1.0) } else { (k, fraction - 1.0) };
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (L[0] + s4 * (L[2] + s4 * (L[4] + s4 * L[6])));
    let even = s4 * (L[1] + s4 * (L[3] + s4 * L[5]));
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + (odd + even)) + k * LN2_LOW)) - f)
}

/// 2 to the power of `v`.
pub fn exp2(v: f64) -> f64 {
    const OVERFLOW: f64 = 1_023.999_999_999_999_9;
    const UNDERFLOW: f64 = -1074.0;
    const P: [f64; 5] = [
        1.666_666_666_666_666_6e-1,
        -2.777_777_777_701_559_3e-3,
        6.613_756_321_437_934e-5,
        -1.653_390_220_546_525_2e-6,
        4.138_136_797_057_238_5e-8,
    ];
    if v.is_nan() {
        return v;
    }
    if v > OVERFLOW {
        return f64::INFINITY;
    }
    if v < UNDERFLOW {
        return 0.0;
    }
    let whole = if v > 0.0 { (v + 0.5).trunc() } else { (v - 0.5).trunc() };
    let rest = v - whole;
    let (high, low) = (rest * LN2_HIGH, -rest * LN2_LOW);
    let r = high - low;
    let t = r * r;
    let c = r - t * (P[0] + t * (P[1] + t * (P[2] + t * (P[3] + t * P[4]))));
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    scale(y, whole as i64)
}

/// The exponential function, by a series for a 16th of what is left of `v` and four squarings.
pub fn exp(v: f64) -> f64 {
    const OVERFLOW: f64 = 709.782_712_893_384;
    const UNDERFLOW: f64 = -746.0;
    const LN2_UPPER: f64 = 6.931_471_805_596_63e-1;
    const LN2_LOWER: f64 = 2.823_529_056_303_157_7e-13;
    /// From the eighth derivative's inverse factorial to the first's.
    const SERIES: [f64; 8] = [
        2.480_158_730_158_73e-5,
        1.984_126_984_126_984e-4,
        1.388_888_888_888_889e-3,
        8.333_333_333_333_333e-3,
        4.166_666_666_666_666_4e-2,
        1.666_666_666_666_666_6e-1,
        0.5,
        1.0,
    ];
    match v {
        _ if v.is_nan() => return v,
        _ if v > OVERFLOW => return f64::INFINITY,
        _ if v < UNDERFLOW => return 0.0,
        _ => {}
    }
    let exponent = (v * std::f64::consts::LOG2_E).round_ties_even();
    let rest = (-exponent).mul_add(LN2_LOWER, (-exponent).mul_add(LN2_UPPER, v)) * 0.0625;
    let series = SERIES[1..].iter().fold(SERIES[0], |sum, term| sum.mul_add(rest, *term));
    // `less` is the result less 1: (1 + less)^2 - 1 = (less + 2) * less.
    let mut less = rest * series;
    for _ in 0..3 {
        less *= less + 2.0;
    }
    let result = less.mul_add(less + 2.0, 1.0);
    // The reference's runtime gives up where the power of 2 is 1024, though the product may still be a float.
    scale(result, exponent as i64)
}

/// `base` to the power of `exponent`: a whole part of it by squaring, the rest by logarithm.
pub fn pow(base: f64, exponent: f64) -> f64 {
    if let Some(special) = special_power(base, exponent) {
        return special;
    }
    let (mut whole, mut rest) = (exponent.abs().trunc(), exponent.abs().fract());
    if rest != 0.0 && base < 0.0 {
        return f64::NAN;
    }
    if whole >= 9_223_372_036_854_775_808.0 {
        return power_beyond(base, exponent > 0.0);
    }
    let mut product = 1.0;
    if rest != 0.0 {
        if rest > 0.5 {
            (whole, rest) = (whole + 1.0, rest - 1.0);
        }
        product = exp(rest * ln(base));
    }
    let (product, power) = times_whole_power(product, base, whole as u64);
    let (product, power) = if exponent < 0.0 { (1.0 / product, -power) } else { (product, power) };
    // What the logarithm gave may be far from 1.
    let (fraction, shift) = split(product.abs());
    scale(fraction.copysign(product), power + i64::from(shift))
}

/// Powers that are known without computing.
fn special_power(base: f64, exponent: f64) -> Option<f64> {
    let is_odd = exponent.abs() < 9_007_199_254_740_992.0 && exponent % 2.0 != 0.0 && exponent.fract() == 0.0;
    Some(match (base, exponent) {
        (_, 0.0) | (1.0, _) => 1.0,
        (_, 1.0) => base,
        _ if base.is_nan() || exponent.is_nan() => f64::NAN,
        (0.0, _) if exponent < 0.0 => {
            if is_odd {
                f64::INFINITY.copysign(base)
            } else {
                f64::INFINITY
            }
        }
        (0.0, _) => {
            if is_odd {
                base
            } else {
                0.0
            }
        }
        _ if exponent.is_infinite() => power_beyond(base, exponent > 0.0),
        (f64::NEG_INFINITY, _) => return special_power(-0.0, -exponent),
        (f64::INFINITY, _) => {
            if exponent < 0.0 {
                0.0
            } else {
                f64::INFINITY
            }
        }
        (_, 0.5) => base.sqrt(),
        (_, -0.5) => 1.0 / base.sqrt(),
        _ => return None,
    })
}

/// To a power that is so far away that only its sign counts.
fn power_beyond(base: f64, is_positive: bool) -> f64 {
    match base {
        -1.0 => 1.0,
        _ if (base.abs() < 1.0) == is_positive => 0.0,
        _ => f64::INFINITY,
    }
}

/// `product * base^whole` as a number and a power of 2.
fn times_whole_power(mut product: f64, base: f64, mut whole: u64) -> (f64, i64) {
    const ENOUGH: i64 = 1 << 12;
    let (fraction, exponent) = split(base.abs());
    let (mut square, mut exponent) = (fraction.copysign(base), i64::from(exponent));
    let mut power = 0;
    while whole != 0 {
        if exponent.abs() > ENOUGH {
            // Beyond all floats.
            power += exponent;
            break;
        }
        if whole & 1 == 1 {
            product *= square;
            power += exponent;
        }
        square *= square;
        exponent <<= 1;
        if square < 0.5 {
            square += square;
            exponent -= 1;
        }
        whole >>= 1;
    }
    (product, power)
}

/// `fraction * 2^exponent` with a single rounding; `fraction` is about 1.
pub(super) fn scale(fraction: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-1200, 1200);
    let half = exponent / 2;
    // Both are within the exponents of normal floats, and the first product is normal.
    let power = |n: i64| f64::from_bits(((n + 1023) as u64) << 52);
    fraction * power(half) * power(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in -1074..1024 {
            let power = scale(1.0, exponent);
            assert_eq!(log2(power), exponent as f64);
            assert_eq!(exp2(exponent as f64), power, "{exponent}");
        }
    }

    #[test]
    fn whole_powers_are_those_of_the_reference() {
        for (base, exponent, expected) in [
            (45.7143823539916, -19.0, 2.877370113529783e-32),
            (-9.156189846531005, -75.0, -7.436881059692649e-73),
            (-14.625660323549582, 62.0, 1.7264735796513512e+72),
            (31.70807924561246, 28.0, 1.078346114505593e+42),
            (8.630614373921064, -34.0, 1.4947955058341695e-32),
            (22.014583875000415, -13.0, 3.5056112220099435e-18),
            (5e-324, -1.0, f64::INFINITY),
            (2.0, -1074.0, 5e-324),
            (2.0, 1024.0, f64::INFINITY),
            (-1.0, 1e19, 1.0),
            (-0.0, -3.0, f64::NEG_INFINITY),
            (f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY),
            (f64::NEG_INFINITY, -3.0, -0.0),
            (f64::NAN, 0.0, 1.0),
            (0.5, f64::NEG_INFINITY, f64::INFINITY),
        ] {
            assert_eq!(pow(base, exponent).to_bits(), f64::to_bits(expected), "{base} to the power of {exponent}");
        }
        assert!(pow(-8.0, 1.0 / 3.0).is_nan() && pow(f64::NAN, 2.0).is_nan());
        assert!((pow(7.3, 2.5) / 143.981_651_365_720_9 - 1.0).abs() < 1e-9);
    }

    #[test]
    #[expect(clippy::approx_constant, reason = "the values are the reference's, rounded as it rounds them")]
    fn other_values_are_those_of_the_reference() {
        for (v, expected) in [
            (3e+00, 1.5849625007211563e+00),
            (1e-01, -3.321928094887362e+00),
            (7.071067811865476e-01, -4.999999999999999e-01),
            (7.071067811865475e-01, -5.000000000000001e-01),
            (1e-310, -1.0297977094150824e+03),
            (1e+300, 9.965784284662087e+02),
            (9.999999999999999e-01, -1.6017132519074588e-16),
            (5.5e+00, 2.4594316186372973e+00),
        ] {
            assert_eq!(log2(v).to_bits(), f64::to_bits(expected), "log2 of {v}");
        }
        for (v, expected) in [
            (5e-01, 1.414213562373095e+00),
            (1e-01, 1.0717734625362931e+00),
            (-3e-01, 8.122523963562356e-01),
            (1.07e+01, 1.6634929077375696e+03),
            (-1.0736e+03, 5e-324),
            (1.0239e+03, 1.6773070034857416e+308),
            (1e-20, 1e+00),
            (3.3333e+00, 1.0079135518989743e+01),
        ] {
            assert_eq!(exp2(v).to_bits(), f64::to_bits(expected), "2 to the power of {v}");
        }
        for (v, expected) in [
            (26.0, 1.9572960942883875e+11),
            (-36.0, 2.319522830243569e-16),
            (0.1, 1.1051709180756477),
            (709.4, 1.2260423226426727e+308),
            (-745.1, 5e-324),
            (-1e300, 0.0),
            (f64::INFINITY, f64::INFINITY),
        ] {
            assert_eq!(exp(v).to_bits(), f64::to_bits(expected), "exp of {v}");
        }
        assert!(exp(709.75).is_finite() && exp(709.79).is_infinite() && exp(f64::NAN).is_nan());
        for (v, natural) in [(180.0, 5.19295685089021), (0.3, -1.2039728043259361), (1e-300, -690.7755278982137)] {
            assert_eq!(ln(v).to_bits(), f64::to_bits(natural), "ln of {v}");
        }
        assert_eq!([log10(1000.0), log10(0.3), log10(0.0)], [3.0, -0.5228787452803376, f64::NEG_INFINITY]);
        assert!(ln(-1.0).is_nan() && log10(f64::NAN).is_nan());
        assert_eq!(pow(0.25, 0.9), 0.2871745887492588);
        assert_eq!([pow(1e300, 3.7), pow(1e300, -3.7), pow(1e-300, -1.3)], [f64::INFINITY, 0.0, f64::INFINITY]);
    }

    #[test]
    fn there_are_answers_for_what_has_none() {
        assert_eq!((log2(0.0), log2(-0.0), log2(f64::INFINITY)), (f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY));
        assert!(log2(-1.0).is_nan() && log2(f64::NAN).is_nan() && exp2(f64::NAN).is_nan());
        assert_eq!((exp2(f64::INFINITY), exp2(1024.0), exp2(-1075.0)), (f64::INFINITY, f64::INFINITY, 0.0));
    }
}
