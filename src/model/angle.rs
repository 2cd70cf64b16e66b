//! Trigonometric functions and their inverses.
//!
//! They take the same steps as the reference's runtime (those of the Cephes library); see [`super::power`] for why.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// The sine.
pub fn sin(v: f64) -> f64 {
    let Some(Reduced { octant, rest }) = Reduced::of(v) else { return v.sin() };
    if v == 0.0 {
        return v;
    }
    let sine = match octant & 3 {
        1 | 2 => cos_of(rest),
        _ => sin_of(rest),
    };
    if (octant > 3) != (v < 0.0) { -sine } else { sine }
}

/// The cosine.
pub fn cos(v: f64) -> f64 {
    let Some(Reduced { octant, rest }) = Reduced::of(v) else { return v.cos() };
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
    let Some(Reduced { octant, rest }) = Reduced::of(v) else { return v.tan() };
    if v == 0.0 {
        return v;
    }
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
    /// `None` for what is too large, or no number: others know better.
    fn of(v: f64) -> Option<Reduced> {
        const LIMIT: f64 = (1u64 << 29) as f64;
        /// A quarter of pi in three parts, so that whole multiples of the first two are exact.
        const PARTS: [f64; 3] = [7.853_981_256_484_985e-1, 3.774_894_707_930_798e-8, 2.695_151_429_079_059_5e-15];
        let v = v.abs();
        if !(v < LIMIT) {
            return None;
        }
        let octant = (v * (4.0 / PI)) as u64;
        let octant = octant + (octant & 1);
        let times = octant as f64;
        let rest = ((v - times * PARTS[0]) - times * PARTS[1]) - times * PARTS[2];
        Some(Reduced { octant: octant & 7, rest })
    }
}

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
    if !(size <= 1.0) {
        return f64::NAN;
    }
    let other = (1.0 - size * size).sqrt();
    let angle = if size > LARGE {
        FRAC_PI_2 - atan_of_positive(other / size)
    } else {
        atan_of_positive(size / other)
    };
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
            (atan, &[(1e16, 1.5707963267948966), (0.1, 0.09966865249116204), (-2.5, -1.1902899496825317), (-0.0, -0.0)]),
            (atan, &[(0.6065902161411747, 0.5452511619188051), (f64::NEG_INFINITY, -1.5707963267948966)]),
            (asin, &[(0.4760074114760977, 0.49610919014588506), (-0.9, -1.1197695149986342), (1.0, 1.5707963267948966)]),
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
    fn angles_of_any_size_have_a_sine() {
        // What is beyond whole turns that can be taken off exactly comes from the platform.
        for v in [6e8, 1e22, -1e300, f64::MAX] {
            assert!((sin(v).powi(2) + cos(v).powi(2) - 1.0).abs() < 1e-12, "{v}");
            assert!((tan(v) - sin(v) / cos(v)).abs() < 1e-9 * tan(v).abs().max(1.0), "{v}");
        }
    }
}
