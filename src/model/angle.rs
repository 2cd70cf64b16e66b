//! Trigonometric functions and their inverses.
//!
//! They take the same steps as the reference's runtime (those of the Cephes library); see [`super::power`] for why.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// The sine.
pub fn sin(v: f64) -> f64 {
    let Some(Reduced { octant, rest }) = Reduced::of(v) else { return v * 0.0 };
    let sine = match octant & 3 {
        1 | 2 => cos_of(rest),
        _ => sin_of(rest),
    };
    if (octant > 3) != (v < 0.0) { -sine } else { sine }
}

/// The cosine.
pub fn cos(v: f64) -> f64 {
    let Some(Reduced { octant, rest }) = Reduced::of(v) else { return v * 0.0 + 1.0 };
    let cosine = match octant & 3 {
        1 | 2 => sin_of(rest),
        _ => cos_of(rest),
    };
    if (octant > 3) != (octant & 3 > 1) { -cosine } else { cosine }
}

/// The tangent.
pub fn tan(v: f64) -> f64 {
    const P: [f64; 3] = [-1.309_369_391_813_837_9e4, 1.153_516_648_385_874_2e6, -1.795_652_519_764_848_8e7];
    const Q: [f64; 4] =
        [1.368_129_634_706_929_5e4, -1.320_892_344_402_109_7e6, 2.500_838_018_233_579e7, -5.386_957_559_294_546_4e7];
    /// From here on the square counts.
    const SQUARE_MIN: f64 = 1e-14;
    let Some(Reduced { octant, rest }) = Reduced::of(v) else { return v * 0.0 };
    let square = rest * rest;
    let tangent = match square > SQUARE_MIN {
        true => {
            let above = (P[0] * square + P[1]) * square + P[2];
            let below = (((square + Q[0]) * square + Q[1]) * square + Q[2]) * square + Q[3];
            rest + rest * (square * above / below)
        }
        false => rest,
    };
    let tangent = if octant & 2 == 2 { -1.0 / tangent } else { tangent };
    if v < 0.0 { -tangent } else { tangent }
}

/// An angle without its sign: so many eighths of a turn, always even ones, and what is left.
struct Reduced {
    octant: u64,
    rest: f64,
}

impl Reduced {
    /// `None` for 0, and for what has no sine: infinities and what is no number.
    fn of(v: f64) -> Option<Reduced> {
        match v.abs() {
            0.0 => None,
            v if v < LARGE => Some(Reduced::by_parts(v)),
            v if v.is_finite() => Some(Reduced::by_digits(v)),
            _ => None,
        }
    }

    fn by_parts(v: f64) -> Reduced {
        /// A quarter of pi in three parts, so that whole multiples of the first two are exact.
        const PARTS: [f64; 3] = [7.853_981_256_484_985e-1, 3.774_894_707_930_798e-8, 2.695_151_429_079_059_5e-15];
        let octant = (v * (4.0 / PI)) as u64;
        let octant = octant + (octant & 1);
        let times = octant as f64;
        let rest = ((v - times * PARTS[0]) - times * PARTS[1]) - times * PARTS[2];
        Reduced { octant: octant & 7, rest }
    }

    /// Multiplies with those digits of 4 / pi that still count (the method of Payne and Hanek).
    fn by_digits(v: f64) -> Reduced {
        let bits = v.to_bits();
        let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
        // `v` is the mantissa times a power of 2; it is at least LARGE, so that this is above 0.
        let first = ((bits >> 52) + 61) as usize - 1075;
        let (digit, shift) = (first / 64, first % 64);
        let digits = |place: usize| {
            let two = u128::from(FOUR_BY_PI[place]) << 64 | u128::from(FOUR_BY_PI[place + 1]);
            (two << shift >> 64) as u64
        };
        let times = |digits: u64| u128::from(digits) * u128::from(mantissa);
        let low = times(digits(digit + 2)) >> 64;
        // Whole turns overflow.
        let product = (times(digits(digit)) << 64).wrapping_add(times(digits(digit + 1))).wrapping_add(low);
        let octant = (product >> 125) as u64;
        let fraction = product << 3;
        let zeros = fraction.leading_zeros();
        // The leading bit is implied. What is 0 in all these digits does not exist.
        let significant = (fraction.unbounded_shl(zeros + 1) >> 76) as u64;
        let rest = f64::from_bits(u64::from(1022 - zeros) << 52 | significant);
        let is_odd = octant & 1 == 1;
        Reduced { octant: (octant + u64::from(is_odd)) & 7, rest: (rest - if is_odd { 1.0 } else { 0.0 }) * FRAC_PI_4 }
    }
}

/// From here on multiples of a quarter of pi cannot be taken off by parts.
const LARGE: f64 = (1u64 << 29) as f64;

/// The binary digits of 4 / pi: its whole part, and as much as the largest float asks for.
const FOUR_BY_PI: [u64; 20] = [
    0x0000_0000_0000_0001,
    0x45f3_06dc_9c88_2a53,
    0xf84e_afa3_ea69_bb81,
    0xb6c5_2b32_7887_2083,
    0xfca2_c757_bd77_8ac3,
    0x6e48_dc74_849b_a5c0,
    0x0c92_5dd4_13a3_2439,
    0xfc3b_d639_6253_4e7d,
    0xd104_6bea_5d76_8909,
    0xd338_e04d_68be_fc82,
    0x7323_ac73_06a6_73e9,
    0x3908_bf17_7bf2_5076,
    0x3ff1_2fff_bc0b_301f,
    0xde5e_2316_b414_da3e,
    0xda6c_fd9e_4f96_136e,
    0x9e8c_7ecd_3cbf_d45a,
    0xea4f_758f_d7cb_e2f6,
    0x7a0e_73ef_14a5_25d4,
    0xd7f6_bf62_3f1a_ba10,
    0xac06_608d_f8f6_d757,
];

fn sin_of(rest: f64) -> f64 {
    const TERMS: [f64; 6] = [
        1.589_623_015_765_465_6e-10,
        -2.505_074_776_285_780_7e-8,
        2.755_731_362_138_572_2e-6,
        -1.984_126_982_958_954e-4,
        8.333_333_333_322_118e-3,
        -1.666_666_666_666_663e-1,
    ];
    let square = rest * rest;
    rest + rest * square * polynomial(&TERMS, square)
}

fn cos_of(rest: f64) -> f64 {
    const TERMS: [f64; 6] = [
        -1.135_853_652_138_768_2e-11,
        2.087_570_084_197_473e-9,
        -2.755_731_417_929_674e-7,
        2.480_158_728_885_170_4e-5,
        -1.388_888_888_887_305_6e-3,
        4.166_666_666_666_659_5e-2,
    ];
    let square = rest * rest;
    1.0 - 0.5 * square + square * square * polynomial(&TERMS, square)
}

/// `x * (.. x * (x * terms[0] + terms[1]) ..) + terms[last]`.
fn polynomial(terms: &[f64], x: f64) -> f64 {
    terms[1..].iter().fold(terms[0], |sum, term| sum * x + term)
}

/// The inverse of the tangent.
pub fn atan(v: f64) -> f64 {
    match v {
        _ if v == 0.0 || v.is_nan() => v,
        _ if v > 0.0 => atan_of_positive(v),
        _ => -atan_of_positive(-v),
    }
}

fn atan_of_positive(v: f64) -> f64 {
    /// What half of pi has beyond its float.
    const MORE: f64 = 6.123_233_995_736_766e-17;
    const TAN_OF_THREE_EIGHTHS: f64 = 2.414_213_562_373_095;
    const SMALL: f64 = 0.66;
    match v {
        _ if v <= SMALL => atan_of_small(v),
        _ if v > TAN_OF_THREE_EIGHTHS => FRAC_PI_2 - atan_of_small(1.0 / v) + MORE,
        _ => FRAC_PI_4 + atan_of_small((v - 1.0) / (v + 1.0)) + 0.5 * MORE,
    }
}

fn atan_of_small(v: f64) -> f64 {
    const P: [f64; 5] = [
        -8.750_608_600_031_904e-1,
        -1.615_753_718_733_365_2e1,
        -7.500_855_792_314_705e1,
        -1.228_866_684_490_136_1e2,
        -6.485_021_904_942_025e1,
    ];
    const Q: [f64; 6] = [
        1.0,
        2.485_846_490_142_306_3e1,
        1.650_270_098_316_988_5e2,
        4.328_810_604_912_902_7e2,
        4.853_903_996_359_137e2,
        1.945_506_571_482_614e2,
    ];
    let square = v * v;
    let quotient = square * polynomial(&P, square) / polynomial(&Q, square);
    v * quotient + v
}

/// The inverse of the sine.
pub fn asin(v: f64) -> f64 {
    const LARGE: f64 = 0.7;
    if v == 0.0 {
        return v;
    }
    let size = v.abs();
    if size > 1.0 || v.is_nan() {
        return f64::NAN;
    }
    let other = (1.0 - size * size).sqrt();
    let angle = if size > LARGE { FRAC_PI_2 - atan_of_positive(other / size) } else { atan_of_positive(size / other) };
    angle.copysign(v)
}

/// The inverse of the cosine.
pub fn acos(v: f64) -> f64 {
    FRAC_PI_2 - asin(v)
}

/// The angle of the point `(x, y)`.
pub fn atan2(y: f64, x: f64) -> f64 {
    if y == 0.0 || x == 0.0 || !y.is_finite() || !x.is_finite() {
        // Special cases are the same everywhere.
        return y.atan2(x);
    }
    let angle = atan(y / x);
    match x < 0.0 {
        true if angle <= 0.0 => angle + PI,
        true => angle - PI,
        false => angle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::approx_constant, reason = "the values are the reference's, rounded as it rounds them")]
    fn values_are_those_of_the_reference() {
        type Function = fn(f64) -> f64;
        let all: &[(Function, &[(f64, f64)])] = &[
            (sin, &[(1.0, 0.8414709848078965), (-2.5, -0.5984721441039564), (4e8, 0.9965407850188008), (-0.0, -0.0)]),
            (cos, &[(1.0, 0.5403023058681398), (-2.5, -0.8011436155469337), (3.0, -0.9899924966004454), (0.0, 1.0)]),
            (cos, &[(4e8, 0.08310513698991287)]),
            (tan, &[(1.0, 1.557407724654902), (-2.5, 0.7470222972386603), (1548.486318986827, -0.3301238382221187)]),
            (tan, &[(0.8539024703496805, 1.1473320334395742), (1e-9, 1e-9), (-0.0, -0.0)]),
            (
                atan,
                &[(1e16, 1.5707963267948966), (0.1, 0.09966865249116204), (-2.5, -1.1902899496825317), (-0.0, -0.0)],
            ),
            (atan, &[(0.6065902161411747, 0.5452511619188051), (f64::NEG_INFINITY, -1.5707963267948966)]),
            (
                asin,
                &[(0.4760074114760977, 0.49610919014588506), (-0.9, -1.1197695149986342), (1.0, 1.5707963267948966)],
            ),
            (acos, &[(0.8791375994096868, 0.49674676439467436), (-0.44236763182379946, 2.0290332760895824)]),
        ];
        for (function, values) in all {
            for (v, expected) in *values {
                assert_eq!(function(*v).to_bits(), expected.to_bits(), "{v}: {} instead of {expected}", function(*v));
            }
        }
        for function in [sin, cos, tan] {
            assert!(function(f64::INFINITY).is_nan() && function(f64::NAN).is_nan());
        }
        assert!(asin(1.5).is_nan() && acos(-1.5).is_nan() && asin(f64::NAN).is_nan() && atan(f64::NAN).is_nan());
    }

    #[test]
    fn an_angle_knows_its_quadrant() {
        let angles = [atan2(2.0, -3.0), atan2(-2.0, -3.0), atan2(0.0, -1.0), atan2(-1.0, 0.0), atan2(2.0, 2.0)];
        assert_eq!(angles, [2.5535900500422257, -2.5535900500422257, PI, -FRAC_PI_2, FRAC_PI_4]);
        assert_eq!(atan2(f64::INFINITY, f64::NEG_INFINITY), 3.0 * PI / 4.0);
    }

    #[test]
    fn whole_turns_are_taken_off_of_angles_of_any_size() {
        for (v, sine, cosine) in [
            (6e8, -0.7896263548320929, 0.6135879886003162),
            (1e15, 0.8582727931702359, -0.5131937377869702),
            (2.4920612502237675e268, 0.9985793398341388, 0.05328510163653094),
            (f64::MAX, 0.004961954789184084, -0.9999876894265599),
        ] {
            assert_eq!([sin(v), cos(v), sin(-v)], [sine, cosine, -sine], "{v}");
        }
    }
}
