//! Trees to text.
//!
//! Two forms: [`Display`](fmt::Display) writes an expression on one line, [`pretty`] breaks what is longer than
//! [`MAX_LINE`] bytes at its operators, arguments and parentheses. Both write what the reference writes, and both can be
//! read back to the same tree. Where the reference's own text would not be (a label called `without`, U+FFFD in a string,
//! an offset whose sum starts with a bare number, the odd millisecond of a duration), ours is.

use std::fmt::{self, Write};

use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, DurationExpr, Expr, Extension, Extent, Matching,
    NumberLiteral, StringLiteral, Subquery, VectorSelector,
};
use super::error::quote_bytes;
use crate::model::labels::is_legacy_label_name;
use crate::model::number::General;
use crate::model::{DurationMs, GoQuoted, METRIC_NAME, MatchOp, Matcher};

/// Longest expression that [`pretty`] leaves on one line, in bytes and without indentation.
const MAX_LINE: usize = 100;
const INDENT: &str = "  ";

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        expr(f, self)
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        duration(f, self)
    }
}

/// An expression as `/api/v1/format_query` shows it.
pub fn pretty(expr: &Expr) -> String {
    let mut printer = Pretty { out: String::new(), joins: false };
    // Writing to a string cannot fail.
    let _ = printer.expr(expr, 0);
    printer.out
}

type Out<'a> = &'a mut dyn Write;

/// The depth of the recursion is that of the tree, which the parser bounds.
fn expr(out: Out<'_>, e: &Expr) -> fmt::Result {
    match e {
        Expr::Number(number) => literal(out, number),
        Expr::String(string) => text(out, string),
        Expr::Vector(selector) => {
            vector(out, selector)?;
            at(out, selector.at)?;
            extension(out, selector.extension)?;
            offset(out, selector.offset.as_ref())
        }
        Expr::Matrix(matrix) => {
            let selector = &matrix.selector;
            vector(out, selector)?;
            write!(out, "[{}]", Shown(&matrix.range))?;
            extension(out, selector.extension)?;
            at(out, selector.at)?;
            offset(out, selector.offset.as_ref())
        }
        Expr::Subquery(subquery) => {
            expr(out, &subquery.expr)?;
            window(out, subquery)
        }
        Expr::Paren(paren) => {
            out.write_char('(')?;
            expr(out, &paren.expr)?;
            out.write_char(')')
        }
        Expr::Unary(unary) => {
            out.write_char(if unary.is_minus { '-' } else { '+' })?;
            expr(out, &unary.expr)
        }
        Expr::Binary(binary) => {
            expr(out, &binary.left)?;
            out.write_char(' ')?;
            operator(out, binary)?;
            out.write_char(' ')?;
            expr(out, &binary.right)
        }
        Expr::Aggregate(aggregate) => {
            aggregator(out, aggregate)?;
            out.write_char('(')?;
            if let Some(param) = &aggregate.param {
                expr(out, param)?;
                out.write_str(", ")?;
            }
            expr(out, &aggregate.expr)?;
            out.write_char(')')
        }
        Expr::Call(call) => {
            write!(out, "{}(", call.function.name)?;
            separated(out, &call.args, expr)?;
            out.write_char(')')
        }
        // Not of the language, so that nobody takes it for a metric.
        Expr::Delegated(part) => write!(out, "<part {}>", part.id),
    }
}

fn separated<T>(out: Out<'_>, items: &[T], write: impl Fn(Out<'_>, &T) -> fmt::Result) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.write_str(", ")?;
        }
        write(out, item)?;
    }
    Ok(())
}

fn literal(out: Out<'_>, number: &NumberLiteral) -> fmt::Result {
    match number.value {
        value if number.is_duration => write!(out, "{}", DurationMs((value * 1000.0).round() as i64)),
        value if value.is_infinite() => out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
        value => write!(out, "{value}"),
    }
}

fn text(out: Out<'_>, string: &StringLiteral) -> fmt::Result {
    match &string.bytes {
        Some(bytes) => out.write_str(&quote_bytes(bytes)),
        None => out.write_str(&quoted(&string.value)),
    }
}

/// In double quotes. The lexer takes U+FFFD for what could not be decoded, so it must not stand there as itself.
fn quoted(text: &str) -> String {
    GoQuoted(text).to_string().replace('\u{fffd}', "\\ufffd")
}

/// The name and the conditions, sorted, without the one that the name stands for.
fn vector(out: Out<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    let is_name =
        |m: &&Matcher| m.op == MatchOp::Equal && &*m.name == METRIC_NAME && !name.is_empty() && &*m.value == name;
    let mut conditions: Vec<String> = selector.matchers.iter().filter(|m| !is_name(m)).map(condition).collect();
    conditions.sort_unstable();
    out.write_str(name)?;
    match conditions.is_empty() {
        true => Ok(()),
        false => write!(out, "{{{}}}", conditions.join(",")),
    }
}

fn condition(matcher: &Matcher) -> String {
    let value = quoted(&matcher.value);
    match is_legacy_label_name(&matcher.name) {
        true => format!("{}{}{value}", matcher.name, matcher.op.as_str()),
        false => format!("{}{}{value}", quoted(&matcher.name), matcher.op.as_str()),
    }
}

fn at(out: Out<'_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Start) => out.write_str(" @ start()"),
        Some(At::End) => out.write_str(" @ end()"),
        Some(At::Time(instant)) => write!(out, " @ {:.3}", instant.as_seconds()),
    }
}

fn extension(out: Out<'_>, extension: Extension) -> fmt::Result {
    out.write_str(match extension {
        Extension::None => "",
        Extension::Anchored => " anchored",
        Extension::Smoothed => " smoothed",
    })
}

fn offset(out: Out<'_>, offset: Option<&Extent>) -> fmt::Result {
    let Some(extent) = offset else { return Ok(()) };
    let shown = Shown(extent).to_string();
    // Behind `offset` an operator belongs to the duration only if that starts with a parenthesis or with two signs.
    let has_operator = matches!(extent, Extent::Computed(e) if matches!(unsigned(e), DurationExpr::Binary { .. }));
    let signs = match has_operator && !shown.starts_with('(') && !shown.starts_with("--") {
        false => "",
        true if shown.starts_with('-') => "+",
        true => "++",
    };
    write!(out, " offset {signs}{shown}")
}

/// What the signs of a duration stand before.
fn unsigned(mut e: &DurationExpr) -> &DurationExpr {
    while let DurationExpr::Unary { operand, .. } = e {
        e = operand;
    }
    e
}

/// Brackets of a subquery and what follows them.
fn window(out: Out<'_>, subquery: &Subquery) -> fmt::Result {
    write!(out, "[{}:", Shown(&subquery.range))?;
    subquery.step.iter().try_for_each(|step| write!(out, "{}", Shown(step)))?;
    out.write_char(']')?;
    at(out, subquery.at)?;
    offset(out, subquery.offset.as_ref())
}

struct Shown<'a>(&'a Extent);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Extent::Fixed(ms) => DurationMs(*ms).fmt(f),
            Extent::Computed(computed) => duration(f, computed),
        }
    }
}

fn duration(out: Out<'_>, e: &DurationExpr) -> fmt::Result {
    match e {
        DurationExpr::Number(number) => literal(out, number),
        DurationExpr::Step(_) => out.write_str("step()"),
        DurationExpr::Range(_) => out.write_str("range()"),
        DurationExpr::Unary { op, operand, .. } => {
            let is_shown = *op == BinaryOp::Sub || matches!(**operand, DurationExpr::Paren(..));
            out.write_str(if is_shown { op.as_str() } else { "" })?;
            duration(out, operand)
        }
        DurationExpr::Binary { op, left, right, .. } => {
            duration(out, left)?;
            write!(out, " {} ", op.as_str())?;
            duration(out, right)
        }
        DurationExpr::MinOf(left, right, _) => {
            write!(out, "min_of({left}, {right})")
        }
        DurationExpr::MaxOf(left, right, _) => {
            write!(out, "max_of({left}, {right})")
        }
        DurationExpr::Paren(inner, _) => write!(out, "({inner})"),
    }
}

/// An operator and all that stands between it and its right operand.
fn operator(out: Out<'_>, binary: &Binary) -> fmt::Result {
    out.write_str(binary.op.as_str())?;
    out.write_str(if binary.returns_bool { " bool" } else { "" })?;
    binary.matching.iter().try_for_each(|m| matching(out, m))
}

fn matching(out: Out<'_>, matching: &Matching) -> fmt::Result {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.is_on || group.is_some() {
        write!(out, " {} ", if matching.is_on { "on" } else { "ignoring" })?;
        labels(out, &matching.labels)?;
    }
    if let Some(side) = group {
        write!(out, " group_{side} ")?;
        labels(out, &matching.include)?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(out, " fill ({})", General(left)),
        (left, right) => {
            left.iter().try_for_each(|v| write!(out, " fill_left ({})", General(*v)))?;
            right.iter().try_for_each(|v| write!(out, " fill_right ({})", General(*v)))
        }
    }
}

fn aggregator(out: Out<'_>, aggregate: &Aggregate) -> fmt::Result {
    out.write_str(AggregateOp::as_str(aggregate.op))?;
    if !aggregate.is_without && aggregate.grouping.is_empty() {
        return Ok(());
    }
    out.write_str(if aggregate.is_without { " without " } else { " by " })?;
    labels(out, &aggregate.grouping)?;
    out.write_char(' ')
}

fn labels(out: Out<'_>, labels: &[String]) -> fmt::Result {
    out.write_char('(')?;
    separated(out, labels, |out, name| label(out, name))?;
    out.write_char(')')
}

fn label(out: Out<'_>, label: &str) -> fmt::Result {
    let is_reserved = ["without", "inf", "nan"].iter().any(|word| word.eq_ignore_ascii_case(label));
    match is_legacy_label_name(label) && !is_reserved {
        true => out.write_str(label),
        false => out.write_str(&quoted(label)),
    }
}

/// Whether an expression is longer than a line.
fn is_long(e: &Expr) -> bool {
    expr(&mut Room(MAX_LINE), e).is_err()
}

/// Takes so many bytes and then fails.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

struct Pretty {
    out: String,
    /// Whether what comes next stands behind a sign, and so is not indented.
    joins: bool,
}

impl Pretty {
    fn indent(&mut self, level: usize) {
        let level = if std::mem::take(&mut self.joins) { 0 } else { level };
        self.out.extend(std::iter::repeat_n(INDENT, level));
    }

    /// As deep as `level`, unless the text before it stands on the same line.
    fn expr(&mut self, e: &Expr, level: usize) -> fmt::Result {
        match e {
            Expr::Unary(unary) => {
                self.indent(level);
                self.out.push(if unary.is_minus { '-' } else { '+' });
                self.joins = true;
                self.expr(&unary.expr, level)
            }
            // The reference forgets the indentation of a short one.
            Expr::Subquery(_) if !is_long(e) => {
                self.joins = false;
                expr(&mut self.out, e)
            }
            Expr::Subquery(subquery) => {
                self.expr(&subquery.expr, level)?;
                window(&mut self.out, subquery)
            }
            Expr::Binary(binary) if is_long(e) => {
                self.expr(&binary.left, level + 1)?;
                self.out.push('\n');
                self.indent(level);
                operator(&mut self.out, binary)?;
                self.out.push('\n');
                self.expr(&binary.right, level + 1)
            }
            Expr::Paren(_) | Expr::Aggregate(_) | Expr::Call(_) if is_long(e) => self.broken(e, level),
            _ => {
                self.indent(level);
                expr(&mut self.out, e)
            }
        }
    }

    /// What has parentheses, with all that is in them on lines of their own.
    fn broken(&mut self, e: &Expr, level: usize) -> fmt::Result {
        self.indent(level);
        let inner: Vec<&Expr> = match e {
            Expr::Aggregate(aggregate) => {
                aggregator(&mut self.out, aggregate)?;
                aggregate.param.iter().chain([&aggregate.expr]).collect()
            }
            Expr::Call(Call { function, args, .. }) => {
                self.out.push_str(function.name);
                args.iter().collect()
            }
            Expr::Paren(paren) => vec![&paren.expr],
            _ => Vec::new(),
        };
        self.out.push('(');
        for (at, arg) in inner.into_iter().enumerate() {
            self.out.push_str(if at == 0 { "\n" } else { ",\n" });
            self.expr(arg, level + 1)?;
        }
        self.out.push('\n');
        self.indent(level);
        self.out.push(')');
        Ok(())
    }
}
