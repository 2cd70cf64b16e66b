//! Whether two trees say the same.

use super::ast::{DurationExpr, Expr, Extent, Matching, NumberLiteral, VectorSelector};

/// Whether two expressions are the same but for where they stand in their texts, for the order of conditions in a
/// selector, and for pluses in durations, which are not printed.
pub(crate) fn same_tree(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Number(a), Expr::Number(b)) => same_number(a, b),
        (Expr::String(a), Expr::String(b)) => (&a.value, &a.bytes) == (&b.value, &b.bytes),
        (Expr::Vector(a), Expr::Vector(b)) => same_selector(a, b),
        (Expr::Matrix(a), Expr::Matrix(b)) => {
            same_selector(&a.selector, &b.selector) && same_extent(Some(&a.range), Some(&b.range))
        }
        (Expr::Subquery(a), Expr::Subquery(b)) => {
            let extents = [
                (Some(&a.range), Some(&b.range)),
                (a.step.as_ref(), b.step.as_ref()),
                (a.offset.as_ref(), b.offset.as_ref()),
            ];
            extents.into_iter().all(|(a, b)| same_extent(a, b)) && a.at == b.at && same_tree(&a.expr, &b.expr)
        }
        (Expr::Paren(a), Expr::Paren(b)) => same_tree(&a.expr, &b.expr),
        (Expr::Unary(a), Expr::Unary(b)) => a.is_minus == b.is_minus && same_tree(&a.expr, &b.expr),
        (Expr::Binary(a), Expr::Binary(b)) => {
            (a.op, a.returns_bool) == (b.op, b.returns_bool)
                && same_matching(a.matching.as_ref(), b.matching.as_ref())
                && same_tree(&a.left, &b.left)
                && same_tree(&a.right, &b.right)
        }
        (Expr::Aggregate(a), Expr::Aggregate(b)) => {
            (a.op, a.is_without, &a.grouping) == (b.op, b.is_without, &b.grouping)
                && same_tree(&a.expr, &b.expr)
                && same_trees(a.param.as_slice(), b.param.as_slice())
        }
        (Expr::Call(a), Expr::Call(b)) => a.function.name == b.function.name && same_trees(&a.args, &b.args),
        (Expr::Delegated(a), Expr::Delegated(b)) => a.id == b.id,
        _ => false,
    }
}

fn same_matching(a: Option<&Matching>, b: Option<&Matching>) -> bool {
    // NaN fills like any other value.
    let fills = |m: &Matching| (m.fill_left.map(f64::to_bits), m.fill_right.map(f64::to_bits));
    let rest = |m: &Matching| Matching { fill_left: None, fill_right: None, ..m.clone() };
    a.map(fills) == b.map(fills) && a.map(rest) == b.map(rest)
}

fn same_trees(a: &[Expr], b: &[Expr]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_tree(a, b))
}

fn same_number(a: &NumberLiteral, b: &NumberLiteral) -> bool {
    let same_value = a.value.to_bits() == b.value.to_bits() || (a.value.is_nan() && b.value.is_nan());
    same_value && a.is_duration == b.is_duration
}

fn same_selector(a: &VectorSelector, b: &VectorSelector) -> bool {
    let conditions = |s: &VectorSelector| {
        let mut all: Vec<_> = s.matchers.iter().map(|m| (m.name.clone(), m.op.as_str(), m.value.clone())).collect();
        all.sort_unstable();
        all
    };
    (&a.name, a.at, a.extension) == (&b.name, b.at, b.extension)
        && conditions(a) == conditions(b)
        && same_extent(a.offset.as_ref(), b.offset.as_ref())
}

fn same_extent(a: Option<&Extent>, b: Option<&Extent>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(Extent::Fixed(a)), Some(Extent::Fixed(b))) => a == b,
        (Some(Extent::Computed(a)), Some(Extent::Computed(b))) => same_duration(a, b),
        _ => false,
    }
}

fn same_duration(a: &DurationExpr, b: &DurationExpr) -> bool {
    use DurationExpr::*;
    match (a, b) {
        (Unary { op: super::ast::BinaryOp::Add, operand, .. }, other) => same_duration(operand, other),
        (other, Unary { op: super::ast::BinaryOp::Add, operand, .. }) => same_duration(other, operand),
        (Number(a), Number(b)) => same_number(a, b),
        (Step(_), Step(_)) | (Range(_), Range(_)) => true,
        (Unary { operand: a, .. }, Unary { operand: b, .. }) | (Paren(a, _), Paren(b, _)) => same_duration(a, b),
        (Binary { op: x, left: a, right: b, .. }, Binary { op: y, left: c, right: d, .. }) => {
            x == y && same_duration(a, c) && same_duration(b, d)
        }
        (MinOf(a, b, _), MinOf(c, d, _)) | (MaxOf(a, b, _), MaxOf(c, d, _)) => {
            same_duration(a, c) && same_duration(b, d)
        }
        _ => false,
    }
}
