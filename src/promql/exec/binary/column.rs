//! One operator between two columns of floats.
//!
//! The operator is looked at once per column; the loops have no branches, so they run on several floats at a time.

use crate::model::angle::atan2;
use crate::model::power::pow;
use crate::promql::ast::BinaryOp;
use crate::promql::exec::{ABSENT, is_absent};

/// What becomes of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compared {
    /// The value of the column that is changed, where it holds.
    Own,
    /// The value of the other column, where it holds.
    Other,
    /// 1 where it holds, 0 where it does not.
    Bool,
}

/// Replaces `own` by `own op other`, or by `other op own` if `is_swapped`. Steps at which either is absent become absent.
/// Operators without meaning between floats leave nothing.
pub(super) fn apply(op: BinaryOp, own: &mut [f64], other: &[f64], is_swapped: bool, compared: Compared) {
    use BinaryOp::*;
    match (op, is_swapped) {
        (Add, _) => zip(own, other, |a, b| a + b),
        (Mul, _) => zip(own, other, |a, b| a * b),
        (Sub, false) => zip(own, other, |a, b| a - b),
        (Sub, true) => zip(own, other, |a, b| b - a),
        (Div, false) => zip(own, other, |a, b| a / b),
        (Div, true) => zip(own, other, |a, b| b / a),
        (Mod, false) => zip(own, other, |a, b| a % b),
        (Mod, true) => zip(own, other, |a, b| b % a),
        (Pow, false) => zip(own, other, pow),
        (Pow, true) => zip(own, other, |a, b| pow(b, a)),
        (Atan2, false) => zip(own, other, atan2),
        (Atan2, true) => zip(own, other, |a, b| atan2(b, a)),
        (Equal, _) => compare(own, other, compared, |a, b| a == b),
        (NotEqual, _) => compare(own, other, compared, |a, b| a != b),
        (Greater, false) | (Less, true) => compare(own, other, compared, |a, b| a > b),
        (Less, false) | (Greater, true) => compare(own, other, compared, |a, b| a < b),
        (GreaterEqual, false) | (LessEqual, true) => compare(own, other, compared, |a, b| a >= b),
        (LessEqual, false) | (GreaterEqual, true) => compare(own, other, compared, |a, b| a <= b),
        (TrimUpper | TrimLower | And | Or | Unless, _) => own.fill(ABSENT),
    }
}

#[inline]
fn zip(own: &mut [f64], other: &[f64], f: impl Fn(f64, f64) -> f64) {
    for (own, other) in own.iter_mut().zip(other) {
        let v = f(*own, *other);
        *own = if is_absent(*own) | is_absent(*other) { ABSENT } else { v };
    }
}

#[inline]
fn compare(own: &mut [f64], other: &[f64], compared: Compared, holds: impl Fn(f64, f64) -> bool) {
    match compared {
        Compared::Own => zip(own, other, |a, b| if holds(a, b) { a } else { ABSENT }),
        Compared::Other => zip(own, other, |a, b| if holds(a, b) { b } else { ABSENT }),
        Compared::Bool => zip(own, other, |a, b| if holds(a, b) { 1.0 } else { 0.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::element;
    use super::*;

    const OPS: [BinaryOp; 13] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Atan2,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Greater,
        BinaryOp::Less,
        BinaryOp::GreaterEqual,
        BinaryOp::LessEqual,
    ];
    const VALUES: [f64; 10] = [0.0, -0.0, 1.5, -2.0, 7.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-310, 1e300];

    /// All pairs of values, and both sides absent once.
    fn columns() -> (Vec<f64>, Vec<f64>) {
        let mut pairs: Vec<(f64, f64)> = VALUES.iter().flat_map(|a| VALUES.map(|b| (*a, b))).collect();
        pairs.extend([(ABSENT, 1.0), (1.0, ABSENT), (ABSENT, f64::NAN), (ABSENT, ABSENT)]);
        pairs.into_iter().unzip()
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        // Which NaN an operator makes depends on the order of its operands and means nothing.
        values.iter().map(|v| if v.is_nan() && !is_absent(*v) { f64::NAN.to_bits() } else { v.to_bits() }).collect()
    }

    #[test]
    fn a_column_is_computed_as_value_by_value() {
        let (left, right) = columns();
        for op in OPS {
            let want: Vec<f64> = left
                .iter()
                .zip(&right)
                .map(|(l, r)| {
                    let absent = is_absent(*l) || is_absent(*r);
                    if absent { ABSENT } else { element::float(op, *l, *r).unwrap() }
                })
                .collect();
            let mut own = left.clone();
            apply(op, &mut own, &right, false, Compared::Bool);
            assert_eq!(bits(&own), bits(&want), "{op:?}");
            let mut own = right.clone();
            apply(op, &mut own, &left, true, Compared::Bool);
            assert_eq!(bits(&own), bits(&want), "{op:?} swapped");
        }
    }

    #[test]
    fn a_filter_keeps_the_value_of_the_side_that_is_asked_for() {
        let (left, right) = ([3.0, 1.0, f64::NAN, ABSENT], [2.0, 2.0, 2.0, 2.0]);
        let filtered = |is_swapped, compared| {
            let (mut own, other) = if is_swapped { (right, left) } else { (left, right) };
            apply(BinaryOp::Greater, &mut own, &other, is_swapped, compared);
            bits(&own)
        };
        let kept = |v| bits(&[v, ABSENT, ABSENT, ABSENT]);
        assert_eq!(filtered(false, Compared::Own), kept(3.0));
        assert_eq!(filtered(false, Compared::Other), kept(2.0));
        assert_eq!(filtered(true, Compared::Own), kept(2.0));
        assert_eq!(filtered(true, Compared::Other), kept(3.0));
    }

    #[test]
    fn a_comparison_never_holds_where_a_side_is_absent() {
        let mut own = [ABSENT, 1.0];
        apply(BinaryOp::NotEqual, &mut own, &[1.0, ABSENT], false, Compared::Own);
        assert!(own.iter().all(|v| is_absent(*v)));
    }
}
