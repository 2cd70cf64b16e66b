//! Trees as `/api/v1/parse_query` shows them: an object for each node, in the reference's words.

use serde_json::{Number, Value, json};

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Call, DurationExpr, Expr, Extension, Extent, Matching, Subquery, VectorSelector,
};
use crate::model::Matcher;

/// An expression and everything below it. The depth of the recursion is that of the tree, which the parser bounds.
pub fn tree_json(expr: &Expr) -> Value {
    match expr {
        Expr::Number(number) => json!({"type": "numberLiteral", "val": decimal(number.value)}),
        Expr::String(string) => json!({"type": "stringLiteral", "val": string.value}),
        Expr::Vector(vector) => selector("vectorSelector", vector),
        Expr::Matrix(matrix) => {
            let mut node = selector("matrixSelector", &matrix.selector);
            add_extent(&mut node, "range", Some(&matrix.range));
            node
        }
        Expr::Subquery(query) => subquery(query),
        Expr::Paren(paren) => json!({"type": "parenExpr", "expr": tree_json(&paren.expr)}),
        Expr::Unary(unary) => {
            let op = if unary.is_minus { "-" } else { "+" };
            json!({"type": "unaryExpr", "op": op, "expr": tree_json(&unary.expr)})
        }
        Expr::Binary(operation) => binary(operation),
        Expr::Aggregate(aggregation) => aggregate(aggregation),
        Expr::Call(function) => call(function),
        Expr::Delegated(part) => json!({"type": "delegated", "part": part.id}),
    }
}

fn selector(kind: &str, selector: &VectorSelector) -> Value {
    let mut node = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "matchers": selector.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "anchored": selector.extension == Extension::Anchored,
        "smoothed": selector.extension == Extension::Smoothed,
    });
    add_extent(&mut node, "offset", selector.offset.as_ref());
    add_instant(&mut node, selector.at);
    node
}

fn matcher(matcher: &Matcher) -> Value {
    json!({"name": matcher.name, "value": matcher.value, "type": matcher.op.as_str()})
}

fn subquery(subquery: &Subquery) -> Value {
    let mut node = json!({"type": "subquery", "expr": tree_json(&subquery.expr)});
    add_extent(&mut node, "range", Some(&subquery.range));
    add_extent(&mut node, "step", subquery.step.as_ref());
    add_extent(&mut node, "offset", subquery.offset.as_ref());
    add_instant(&mut node, subquery.at);
    node
}

fn binary(binary: &Binary) -> Value {
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": tree_json(&binary.left),
        "rhs": tree_json(&binary.right),
        "matching": binary.matching.as_ref().map(matching),
        "bool": binary.returns_bool,
    })
}

fn matching(matching: &Matching) -> Value {
    json!({
        "card": matching.cardinality.as_str(),
        "labels": matching.labels,
        "on": matching.is_on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left.map(number), "rhs": matching.fill_right.map(number)},
    })
}

fn aggregate(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.as_str(),
        "expr": tree_json(&aggregate.expr),
        "param": aggregate.param.as_ref().map(tree_json),
        "grouping": aggregate.grouping,
        "without": aggregate.is_without,
    })
}

fn call(call: &Call) -> Value {
    let function = call.function;
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": function.args.iter().map(|t| t.as_str()).collect::<Vec<_>>(),
            "variadic": function.variadic,
            "returnType": function.returns.as_str(),
        },
        "args": call.args.iter().map(tree_json).collect::<Vec<_>>(),
    })
}

/// A duration has two members: milliseconds, 0 if it is computed or missing, and what it is computed from.
fn add_extent(node: &mut Value, name: &str, extent: Option<&Extent>) {
    let (fixed, computed) = match extent {
        Some(Extent::Fixed(ms)) => (*ms, Value::Null),
        Some(Extent::Computed(computed)) => (0, duration(computed)),
        None => (0, Value::Null),
    };
    node[name] = fixed.into();
    node[format!("{name}Expr")] = computed;
}

fn add_instant(node: &mut Value, at: Option<At>) {
    let (instant, named) = match at {
        Some(At::Time(instant)) => (Some(instant.0), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
        None => (None, None),
    };
    node["timestamp"] = instant.into();
    node["startOrEnd"] = named.into();
}

fn duration(expr: &DurationExpr) -> Value {
    let (op, left, right) = match expr {
        DurationExpr::Number(number) => {
            return json!({"type": "numberLiteral", "val": decimal(number.value), "duration": number.is_duration});
        }
        DurationExpr::Paren(inner, _) => return wrapped(inner),
        DurationExpr::Unary { op: BinaryOp::Add, operand, .. } if matches!(**operand, DurationExpr::Paren(..)) => {
            return duration(operand);
        }
        DurationExpr::Step(_) => ("step", None, None),
        DurationExpr::Range(_) => ("range", None, None),
        DurationExpr::Unary { op, operand, .. } => (op.as_str(), None, Some(operand)),
        DurationExpr::Binary { op, left, right, .. } => (op.as_str(), Some(left), Some(right)),
        DurationExpr::MinOf(left, right, _) => ("min_of", Some(left), Some(right)),
        DurationExpr::MaxOf(left, right, _) => ("max_of", Some(left), Some(right)),
    };
    let side = |side: Option<&Box<DurationExpr>>| side.map(|e| duration(e));
    json!({"type": "durationExpr", "op": op, "lhs": side(left), "rhs": side(right), "wrapped": false})
}

/// Parentheses are no node but a mark on one; a number, which cannot be marked, gets a plus for it.
fn wrapped(inner: &DurationExpr) -> Value {
    let mut node = duration(inner);
    if let DurationExpr::Number(_) = inner {
        let op = BinaryOp::Add.as_str();
        node = json!({"type": "durationExpr", "op": op, "lhs": null, "rhs": node});
    }
    node["wrapped"] = true.into();
    node
}

/// Without exponent, however long that gets.
fn decimal(value: f64) -> String {
    match value {
        value if value.is_infinite() => if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        value => value.to_string(),
    }
}

/// A whole number is written without a point. JSON knows no others than finite ones.
fn number(value: f64) -> Value {
    match value as i64 {
        whole if whole as f64 == value && whole.unsigned_abs() < 1 << 53 => whole.into(),
        _ => Number::from_f64(value).map_or(Value::Null, Value::Number),
    }
}
