//! What of an expression the members can evaluate, each over its own series.
//!
//! A part is member-local if evaluating it by every member, and giving each series its member's virtual labels, yields what
//! evaluating it over all series of all members would. A selector is; a function of one series' samples is; a join is if
//! [`CLUSTER`](super::CLUSTER) is among the labels that it matches; an aggregation is if it keeps that. Of other aggregations the
//! members can still do most: the sum of sums is the sum.
//!
//! With each part goes which virtual labels its series have, since `by` and `on` drop those that they do not name.

use super::virtual_labels::{VirtualLabels, Visible};
use crate::model::METRIC_NAME;
use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Delegated, Expr, Extension, Matching, Paren, Position,
    Subquery, Unary, ValueType, VectorSelector,
};

/// A part of an expression that members evaluate.
#[derive(Clone, Debug)]
pub struct Part {
    /// What they evaluate; virtual labels still stand in it.
    pub expr: Expr,
    /// Which virtual labels its series have.
    pub visible: Visible,
    /// Whether it is an aggregation that is finished here. Groups in which a member finds floats beside histograms are
    /// lost on the way, so that whoever is told of such a group has to evaluate the expression without such parts.
    pub is_partial: bool,
    /// Whether it is the sum that a mean is finished from. A sum can become too large for a number where the mean does not.
    pub is_of_mean: bool,
    /// Whether it uses more of the language than stable Prometheus servers of the last years know.
    pub needs_new_server: bool,
}

/// An expression in parts.
#[derive(Clone, Debug)]
pub struct Split {
    /// What is evaluated here. [`Delegated`] parts stand in it by their place in `parts`.
    pub here: Expr,
    /// What members evaluate.
    pub parts: Vec<Part>,
}

/// Finds the parts of an expression in which no time depends on the whole (see
/// [`Engine::resolve`](crate::promql::Engine::resolve)). Without `finishes_aggregations` no part is partial.
pub fn split(expr: &Expr, names: &VirtualLabels, finishes_aggregations: bool) -> Split {
    let mut splitter = Splitter { names, finishes_aggregations, parts: Vec::new() };
    let piece = splitter.piece(expr);
    let here = splitter.here(piece);
    Split { here, parts: splitter.parts }
}

/// Where an expression can be evaluated.
enum Piece {
    /// Anywhere; it selects no series.
    Constant(Expr),
    /// By every member for itself; its series have these virtual labels, that of the cluster always among them.
    Local(Expr, Visible),
    /// Here only.
    Here(Expr),
}

struct Splitter<'n> {
    names: &'n VirtualLabels,
    finishes_aggregations: bool,
    parts: Vec<Part>,
}

impl Splitter<'_> {
    fn piece(&mut self, expr: &Expr) -> Piece {
        match expr {
            Expr::Number(_) | Expr::String(_) => Piece::Constant(expr.clone()),
            Expr::Vector(_) | Expr::Matrix(_) => Piece::Local(expr.clone(), self.names.all()),
            Expr::Subquery(subquery) => {
                let wrap = |expr| Expr::Subquery(Box::new(Subquery { expr, ..(**subquery).clone() }));
                self.wrapped(&subquery.expr, wrap)
            }
            Expr::Paren(paren) => {
                self.wrapped(&paren.expr, |expr| Expr::Paren(Box::new(Paren { expr, ..(**paren).clone() })))
            }
            Expr::Unary(unary) => {
                self.wrapped(&unary.expr, |expr| Expr::Unary(Box::new(Unary { expr, ..(**unary).clone() })))
            }
            Expr::Binary(binary) => self.binary(binary),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
            Expr::Delegated(_) => Piece::Here(expr.clone()),
        }
    }

    /// What can be evaluated where its only operand can.
    fn wrapped(&mut self, inner: &Expr, wrap: impl FnOnce(Expr) -> Expr) -> Piece {
        match self.piece(inner) {
            Piece::Constant(expr) => Piece::Constant(wrap(expr)),
            Piece::Local(expr, visible) => Piece::Local(wrap(expr), visible),
            Piece::Here(expr) => Piece::Here(wrap(expr)),
        }
    }

    /// A piece for an expression that is evaluated here.
    fn here(&mut self, piece: Piece) -> Expr {
        match piece {
            Piece::Constant(expr) | Piece::Here(expr) => expr,
            Piece::Local(expr, visible) => self.delegate(expr, visible, false),
        }
    }

    /// A part in the members' hands. Windows are evaluated where their function is, over series from everywhere.
    fn delegate(&mut self, expr: Expr, visible: Visible, is_partial: bool) -> Expr {
        match expr {
            Expr::Matrix(_) => expr,
            Expr::Subquery(subquery) => {
                let inner = self.delegate(subquery.expr.clone(), visible, is_partial);
                Expr::Subquery(Box::new(Subquery { expr: inner, ..*subquery }))
            }
            Expr::Paren(paren) if paren.expr.value_type() == ValueType::Matrix => {
                self.delegate(paren.expr, visible, is_partial)
            }
            expr => {
                let position = expr.position();
                Expr::Delegated(Delegated { id: self.part(expr, visible, is_partial), position })
            }
        }
    }

    /// The number of a part; equal ones have the same.
    fn part(&mut self, expr: Expr, visible: Visible, is_partial: bool) -> usize {
        let text = expr.to_string();
        let is_same = |part: &Part| part.visible == visible && part.expr.to_string() == text;
        if let Some(known) = self.parts.iter().position(is_same) {
            self.parts[known].is_partial |= is_partial;
            return known;
        }
        let needs_new_server = needs_new_server(&expr);
        self.parts.push(Part { expr, visible, is_partial, is_of_mean: false, needs_new_server });
        self.parts.len() - 1
    }

    fn binary(&mut self, binary: &Binary) -> Piece {
        let is_scalar = [&binary.left, &binary.right].map(|operand| operand.value_type() == ValueType::Scalar);
        let (left, right) = (self.piece(&binary.left), self.piece(&binary.right));
        let with = |left, right| Expr::Binary(Box::new(Binary { left, right, ..binary.clone() }));
        match (left, right) {
            (Piece::Constant(left), Piece::Constant(right)) => Piece::Constant(with(left, right)),
            (Piece::Local(left, visible), Piece::Constant(right)) if is_scalar[1] => {
                Piece::Local(with(left, right), visible)
            }
            (Piece::Constant(left), Piece::Local(right, visible)) if is_scalar[0] => {
                Piece::Local(with(left, right), visible)
            }
            (Piece::Local(left, of_left), Piece::Local(right, of_right)) => {
                match binary.matching.as_ref().and_then(|m| self.joined(binary.op, m, of_left, of_right)) {
                    Some(visible) => Piece::Local(with(left, right), visible),
                    None => {
                        let left = self.delegate(left, of_left, false);
                        Piece::Here(with(left, self.delegate(right, of_right, false)))
                    }
                }
            }
            (left, right) => {
                let left = self.here(left);
                Piece::Here(with(left, self.here(right)))
            }
        }
    }

    /// Which virtual labels the series of a join have, if it is member-local.
    fn joined(&self, op: BinaryOp, matching: &Matching, left: Visible, right: Visible) -> Option<Visible> {
        let named = self.names.of(matching.labels.iter().map(String::as_str));
        // What takes part in the matching must be there on both sides or on none.
        let matched = |side: Visible| if matching.is_on { side.both(named) } else { side.without(named) };
        if matched(left) != matched(right) || !matched(left).tells_members_apart() {
            return None;
        }
        let included = self.names.of(matching.include.iter().map(String::as_str));
        let of_many = |many: Visible, one: Visible| many.without(included).either(included.both(one));
        let visible = match (op, matching.cardinality) {
            (BinaryOp::Or, _) => (left == right).then_some(left)?,
            (BinaryOp::And | BinaryOp::Unless, _) => left,
            (_, Cardinality::ManyToOne) => of_many(left, right),
            (_, Cardinality::OneToMany) => of_many(right, left),
            (_, Cardinality::OneToOne | Cardinality::ManyToMany) => matched(left),
        };
        visible.tells_members_apart().then_some(visible)
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Piece {
        let param = aggregate.param.as_ref().map(|param| self.piece(param));
        // The last bits of a sum depend on its order; here they would become labels.
        let finishes = self.finishes_aggregations;
        self.finishes_aggregations &= aggregate.op != AggregateOp::CountValues;
        let inner = self.piece(&aggregate.expr);
        self.finishes_aggregations = finishes;
        let with = |expr, param| Expr::Aggregate(Box::new(Aggregate { expr, param, ..aggregate.clone() }));
        let (expr, visible, param) = match (inner, param) {
            (Piece::Local(expr, visible), None) => (expr, visible, None),
            (Piece::Local(expr, visible), Some(Piece::Constant(param))) => (expr, visible, Some(param)),
            (inner, param) => {
                let param = param.map(|param| self.here(param));
                return Piece::Here(with(self.here(inner), param));
            }
        };
        let grouping = self.names.of(aggregate.grouping.iter().map(String::as_str));
        let kept = if aggregate.is_without { visible.without(grouping) } else { visible.both(grouping) };
        let is_choice = matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk);
        match aggregate.op {
            // They choose by a hash of all labels.
            AggregateOp::Limitk | AggregateOp::LimitRatio => {}
            AggregateOp::CountValues if param.as_ref().is_none_or(|label| self.names_virtual(label)) => {}
            _ if kept.tells_members_apart() => {
                return Piece::Local(with(expr, param), if is_choice { visible } else { kept });
            }
            _ if self.finishes_aggregations => return self.finished(aggregate, expr, visible, kept, param),
            _ => {}
        }
        Piece::Here(with(self.delegate(expr, visible, false), param))
    }

    /// An aggregation across members over what they have aggregated for themselves.
    fn finished(
        &mut self,
        aggregate: &Aggregate,
        expr: Expr,
        visible: Visible,
        kept: Visible,
        param: Option<Expr>,
    ) -> Piece {
        use AggregateOp::{Avg, Bottomk, Count, CountValues, Group, Max, Min, Sum, Topk};
        let with = |op, expr, param| Aggregate { op, expr, param, ..aggregate.clone() };
        // The shares of members must not fall together before they are finished.
        let shared = kept.either(self.names.cluster());
        let mut shares = |op, param: Option<Expr>, visible| {
            self.delegate(Expr::Aggregate(Box::new(with(op, expr.clone(), param))), visible, true)
        };
        let finished = |aggregate| Piece::Here(Expr::Aggregate(Box::new(aggregate)));
        match aggregate.op {
            Sum | Min | Max | Group => finished(with(aggregate.op, shares(aggregate.op, None, shared), None)),
            Count => finished(with(Sum, shares(Count, None, shared), None)),
            Topk | Bottomk => {
                let chosen = shares(aggregate.op, param.clone(), visible);
                finished(with(aggregate.op, chosen, param))
            }
            CountValues => {
                let counts = shares(CountValues, param.clone(), shared);
                let mut sum = with(Sum, counts, None);
                let label = param.as_ref().and_then(text).unwrap_or_default();
                match sum.is_without {
                    true => sum.grouping.retain(|name| name != label),
                    false => sum.grouping.push(label.to_owned()),
                }
                finished(sum)
            }
            // A quotient has no name.
            Avg if aggregate.is_without || aggregate.grouping.iter().all(|name| name != METRIC_NAME) => {
                let [sum, count] = [Sum, Count].map(|op| shares(op, None, shared));
                if let Expr::Delegated(Delegated { id, .. }) = sum {
                    self.parts[id].is_of_mean = true;
                }
                let [sum, count] = [sum, count].map(|share| with(Sum, share, None));
                let [left, right] = [sum, count].map(|sum| Expr::Aggregate(Box::new(sum)));
                Piece::Here(quotient(left, right, aggregate.position))
            }
            _ => Piece::Here(Expr::Aggregate(Box::new(with(aggregate.op, self.delegate(expr, visible, false), param)))),
        }
    }

    fn call(&mut self, call: &Call) -> Piece {
        let with = |args| Expr::Call(Call { args, ..call.clone() });
        match call.function.name {
            // It looks for series of the same instance elsewhere, and when its argument looks.
            "info" => return Piece::Here(Expr::Call(call.clone())),
            // Its labels are those that the selector asks for.
            "absent" | "absent_over_time" if selects(&call.args[0]) => return Piece::Here(Expr::Call(call.clone())),
            _ => {}
        }
        let pieces: Vec<Piece> = call.args.iter().map(|arg| self.piece(arg)).collect();
        let is_here = pieces.iter().any(|piece| matches!(piece, Piece::Here(_)));
        let visible = pieces.iter().find_map(|piece| match piece {
            Piece::Local(_, visible) => Some(*visible),
            _ => None,
        });
        match visible {
            _ if is_here => {}
            Some(visible) if self.is_of_one_series(call) => {
                return Piece::Local(with(pieces.into_iter().map(inner).collect()), visible);
            }
            None => return Piece::Constant(with(pieces.into_iter().map(inner).collect())),
            Some(_) => {}
        }
        Piece::Here(with(pieces.into_iter().map(|piece| self.here(piece)).collect()))
    }

    /// Whether a function looks at each series, or at the buckets of each histogram, without regard to others.
    fn is_of_one_series(&self, call: &Call) -> bool {
        let virtual_label = |at: usize| call.args.get(at).is_some_and(|arg| self.names_virtual(arg));
        match call.function.name {
            "absent" | "absent_over_time" | "scalar" => false,
            // Order is of the whole.
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => false,
            "label_replace" => !virtual_label(1) && !virtual_label(3),
            "label_join" => !(1..call.args.len()).any(|at| at != 2 && virtual_label(at)),
            "histogram_quantiles" => !virtual_label(1),
            _ => true,
        }
    }

    /// Whether an argument is, or may be, the name of a virtual label.
    fn names_virtual(&self, arg: &Expr) -> bool {
        text(arg).is_none_or(|name| self.names.contains(name))
    }
}

fn inner(piece: Piece) -> Expr {
    match piece {
        Piece::Constant(expr) | Piece::Local(expr, _) | Piece::Here(expr) => expr,
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::String(string) => Some(&string.value),
        Expr::Paren(paren) => text(&paren.expr),
        _ => None,
    }
}

/// Whether an expression is a selector.
fn selects(expr: &Expr) -> bool {
    match expr {
        Expr::Vector(_) | Expr::Matrix(_) => true,
        Expr::Paren(paren) => selects(&paren.expr),
        _ => false,
    }
}

fn quotient(left: Expr, right: Expr, position: Position) -> Expr {
    let matching = Matching {
        cardinality: Cardinality::OneToOne,
        is_on: false,
        labels: Vec::new(),
        include: Vec::new(),
        fill_left: None,
        fill_right: None,
    };
    let binary = Binary { op: BinaryOp::Div, left, right, returns_bool: false, matching: Some(matching), position };
    Expr::Paren(Box::new(Paren { expr: Expr::Binary(Box::new(binary)), position }))
}

/// Whether an expression has one series at the most: whether it puts all that it looks at together.
pub(super) fn is_one_series(expr: &Expr) -> bool {
    use AggregateOp::{Avg, Count, Group, Max, Min, Quantile, Stddev, Stdvar, Sum};
    match expr {
        Expr::Paren(paren) => is_one_series(&paren.expr),
        Expr::Aggregate(aggregate) => {
            let is_one = matches!(aggregate.op, Avg | Count | Group | Max | Min | Quantile | Stddev | Stdvar | Sum);
            is_one && !aggregate.is_without && aggregate.grouping.is_empty()
        }
        _ => false,
    }
}

/// Whether an expression uses anything that is experimental, or that was added to the language lately.
fn needs_new_server(expr: &Expr) -> bool {
    let is_extended = |selector: &VectorSelector| selector.extension != Extension::None;
    let mut is_new = false;
    expr.walk(&mut |expr| {
        is_new |= match expr {
            Expr::Vector(selector) => is_extended(selector),
            Expr::Matrix(matrix) => is_extended(&matrix.selector),
            Expr::Binary(binary) => {
                let is_trim = matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
                is_trim || binary.matching.as_ref().is_some_and(Matching::fills)
            }
            Expr::Aggregate(aggregate) => aggregate.op.is_experimental(),
            Expr::Call(call) => call.function.is_experimental || call.function.name == "first_over_time",
            _ => false,
        };
    });
    is_new
}

#[cfg(test)]
mod tests;
