//! A part of an expression as one member is asked for it.
//!
//! The member does not know its virtual labels. Conditions on them are decided here, once; in groupings and matchings they
//! can be left out, since within one member they are the same everywhere.

use crate::model::{Labels, METRIC_NAME, Matcher};
use crate::promql::ast::{
    Aggregate, Binary, BinaryOp, Call, Expr, Extension, Matching, MatrixSelector, Paren, Subquery, Unary,
    VectorSelector,
};

/// The expression without the virtual labels of a member. `None` if it can have no series there. The expression is
/// member-local (see [`split`](super::split())).
pub fn strip(expr: &Expr, member: &Labels) -> Option<Expr> {
    Stripper { member }.expr(expr)
}

/// A selector without the conditions that every series of a member meets. `None` if there is one that none meets.
pub(super) fn strip_selector(matchers: &[Matcher], member: &Labels) -> Option<Vec<Matcher>> {
    let mut left = Vec::with_capacity(matchers.len());
    for matcher in matchers {
        match member.get(&matcher.name) {
            None => left.push(matcher.clone()),
            Some(value) if matcher.matches(value) => {}
            Some(_) => return None,
        }
    }
    if left.iter().all(Matcher::matches_empty) {
        left.push(any_name());
    }
    Some(left)
}

struct Stripper<'m> {
    member: &'m Labels,
}

impl Stripper<'_> {
    fn expr(&self, expr: &Expr) -> Option<Expr> {
        Some(match expr {
            Expr::Number(_) | Expr::String(_) | Expr::Delegated(_) => expr.clone(),
            Expr::Vector(selector) => Expr::Vector(self.selector(selector)?),
            Expr::Matrix(matrix) => {
                Expr::Matrix(MatrixSelector { selector: self.selector(&matrix.selector)?, ..matrix.clone() })
            }
            Expr::Subquery(subquery) => {
                Expr::Subquery(Box::new(Subquery { expr: self.expr(&subquery.expr)?, ..(**subquery).clone() }))
            }
            Expr::Paren(paren) => Expr::Paren(Box::new(Paren { expr: self.expr(&paren.expr)?, ..(**paren).clone() })),
            Expr::Unary(unary) => Expr::Unary(Box::new(Unary { expr: self.expr(&unary.expr)?, ..(**unary).clone() })),
            Expr::Binary(binary) => self.binary(binary)?,
            Expr::Aggregate(aggregate) => {
                let mut stripped: Aggregate = (**aggregate).clone();
                stripped.expr = self.expr(&aggregate.expr)?;
                self.strip_names(&mut stripped.grouping);
                Expr::Aggregate(Box::new(stripped))
            }
            Expr::Call(call) => {
                let args = call.args.iter().map(|arg| self.expr(arg)).collect::<Option<_>>()?;
                Expr::Call(Call { args, ..call.clone() })
            }
        })
    }

    fn selector(&self, selector: &VectorSelector) -> Option<VectorSelector> {
        let matchers = strip_selector(&selector.matchers, self.member)?;
        Some(VectorSelector { matchers, ..selector.clone() })
    }

    fn binary(&self, binary: &Binary) -> Option<Expr> {
        let (left, right) = (self.expr(&binary.left), self.expr(&binary.right));
        let fills = binary.matching.as_ref().is_some_and(Matching::fills);
        let (left, right) = match (left, right, binary.op) {
            (Some(left), Some(right), _) => (left, right),
            (None, None, _) => return None,
            (Some(left), None, BinaryOp::Or | BinaryOp::Unless) => return Some(left),
            (None, Some(right), BinaryOp::Or) => return Some(right),
            (Some(left), None, _) if fills => (left, nothing(&binary.right)),
            (None, Some(right), _) if fills => (nothing(&binary.left), right),
            _ => return None,
        };
        let mut matching = binary.matching.clone();
        if let Some(matching) = &mut matching {
            self.strip_names(&mut matching.labels);
            self.strip_names(&mut matching.include);
        }
        Some(Expr::Binary(Box::new(Binary { left, right, matching, ..binary.clone() })))
    }

    fn strip_names(&self, names: &mut Vec<String>) {
        names.retain(|name| self.member.get(name).is_none());
    }
}

/// What every stored series meets: servers refuse selectors that a series without labels would meet.
pub(super) fn any_name() -> Matcher {
    Matcher::not_equal(METRIC_NAME, "")
}

/// A selector of no series.
fn nothing(instead_of: &Expr) -> Expr {
    Expr::Vector(VectorSelector {
        name: None,
        matchers: vec![any_name(), Matcher::equal(METRIC_NAME, "")],
        offset: None,
        at: None,
        extension: Extension::None,
        position: instead_of.position(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParserOptions, parse};

    fn stripped(text: &str) -> Option<String> {
        let member = Labels::from_pairs([("__cluster__", "home"), ("region", "eu")]);
        strip(&parse(text, &ParserOptions::ALL).unwrap(), &member).map(|expr| expr.to_string())
    }

    #[test]
    fn conditions_on_virtual_labels_are_decided() {
        let cases = [
            ("up{__cluster__=\"home\",job=\"a\"}", Some("up{job=\"a\"}")),
            ("rate(up{region=~\"e.\",__cluster__!=\"x\"}[5m])", Some("rate(up[5m])")),
            ("up{__cluster__=\"cabin\"}", None),
            ("up{region!~\"eu|us\"}", None),
            ("up{zone=\"a\"}", Some("up{zone=\"a\"}")),
            ("{__cluster__=~\".+\"}", Some("{__name__!=\"\"}")),
            ("{region=\"eu\",job=~\".*\"}", Some("{__name__!=\"\",job=~\".*\"}")),
        ];
        for (text, wanted) in cases {
            assert_eq!(stripped(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn what_cannot_have_series_goes() {
        let cases = [
            ("a or b{region=\"us\"}", Some("a")),
            ("a{region=\"us\"} or b", Some("b")),
            ("a unless b{region=\"us\"}", Some("a")),
            ("a{region=\"us\"} unless b", None),
            ("a and b{region=\"us\"}", None),
            ("a + b{region=\"us\"}", None),
            ("sum(abs(-a{region=\"us\"}))", None),
            ("a + fill (0) b{region=\"us\"}", Some("a + fill (0) {__name__!=\"\",__name__=\"\"}")),
        ];
        for (text, wanted) in cases {
            assert_eq!(stripped(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn groupings_and_matchings_lose_virtual_labels() {
        let cases = [
            ("sum by (__cluster__, job) (a)", "sum by (job) (a)"),
            ("sum by (__cluster__) (a)", "sum(a)"),
            ("sum without (region) (a)", "sum without () (a)"),
            ("a / on (__cluster__, region) b", "a / on () b"),
            ("a / ignoring (region, code) b", "a / ignoring (code) b"),
            ("a * on (__cluster__) group_left (region, version) b", "a * on () group_left (version) b"),
        ];
        for (text, wanted) in cases {
            assert_eq!(stripped(text).as_deref(), Some(wanted), "{text}");
        }
    }
}
