//! Functions of one number.

use crate::model::{angle, hyperbolic, power};

/// The function of a name, if it is one of these.
pub(super) fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => power::exp,
        "sqrt" => f64::sqrt,
        "ln" => power::ln,
        "log2" => power::log2,
        "log10" => power::log10,
        "sin" => angle::sin,
        "cos" => angle::cos,
        "tan" => angle::tan,
        "asin" => angle::asin,
        "acos" => angle::acos,
        "atan" => angle::atan,
        "sinh" => hyperbolic::sinh,
        "cosh" => hyperbolic::cosh,
        "tanh" => hyperbolic::tanh,
        "asinh" => hyperbolic::asinh,
        "acosh" => hyperbolic::acosh,
        "atanh" => hyperbolic::atanh,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "sgn" => sign,
        _ => return None,
    })
}

fn sign(v: f64) -> f64 {
    match v {
        v if v < 0.0 => -1.0,
        v if v > 0.0 => 1.0,
        v => v,
    }
}

/// The lesser; not a number if either is none, -0 less than 0.
pub(super) fn min(a: f64, b: f64) -> f64 {
    match a == b {
        true if a.is_sign_negative() => a,
        true => b,
        false if a.is_nan() || b.is_nan() => {
            // An infinity that nothing can be beyond wins over what is not a number.
            if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY { f64::NEG_INFINITY } else { f64::NAN }
        }
        false => a.min(b),
    }
}

/// The greater; see [`min`].
pub(super) fn max(a: f64, b: f64) -> f64 {
    -min(-a, -b)
}

/// `v` within bounds; [`ABSENT`](crate::promql::exec::ABSENT) if the bounds leave no room.
pub(super) fn clamp(v: f64, low: f64, high: f64) -> f64 {
    if high < low { crate::promql::exec::ABSENT } else { max(low, min(high, v)) }
}

/// To the nearest multiple, ties up.
pub(super) fn round(v: f64, nearest: f64) -> f64 {
    // Dividing by the inverse, as the reference does, loses less.
    let inverse = 1.0 / nearest;
    (v * inverse + 0.5).floor() / inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_and_the_greater_are_those_of_the_reference() {
        assert!(min(f64::NAN, 1.0).is_nan() && max(1.0, f64::NAN).is_nan());
        assert_eq!(min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(max(f64::INFINITY, f64::NAN), f64::INFINITY);
        assert!(min(0.0, -0.0).is_sign_negative() && max(-0.0, 0.0).is_sign_positive());
    }

    #[test]
    fn numbers_are_rounded_to_multiples() {
        assert_eq!([round(2.5, 1.0), round(-2.5, 1.0), round(7.3, 5.0), round(0.24, 0.1)], [3.0, -2.0, 5.0, 0.2]);
    }
}
