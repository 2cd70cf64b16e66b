//! What the language can do here, under the names by which the reference tells it.

use super::engine::EngineOptions;
use super::functions::signatures::FUNCTIONS;

/// Keywords and abilities that are always there.
const ALWAYS: [&str; 12] = [
    "at_modifier",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "negative_offset",
    "offset",
    "on",
    "per_query_lookback_delta",
    "subqueries",
    "without",
];

const OPERATORS: [&str; 21] = [
    "!=", "!~", "%", "*", "+", "-", "/", "<", "</", "<=", "==", "=~", ">", ">/", ">=", "@", "^", "and", "atan2", "or",
    "unless",
];

const AGGREGATIONS: [&str; 12] =
    ["avg", "bottomk", "count", "count_values", "group", "max", "min", "quantile", "stddev", "stdvar", "sum", "topk"];

/// Aggregations that may still change.
const EXPERIMENTAL_AGGREGATIONS: [&str; 2] = ["limit_ratio", "limitk"];

/// One ability: its category, its name and whether it is on.
pub type Feature = (&'static str, &'static str, bool);

/// Keywords (`promql`), functions (`promql_functions`), operators and aggregations (`promql_operators`).
pub fn features(options: &EngineOptions) -> Vec<Feature> {
    let parser = &options.parser;
    let mut all: Vec<Feature> = ALWAYS.iter().map(|name| ("promql", *name, true)).collect();
    all.extend(["anchored", "smoothed"].map(|name| ("promql", name, parser.extended_range_selectors)));
    all.extend(["fill", "fill_left", "fill_right"].map(|name| ("promql", name, parser.binop_fill_modifiers)));
    all.extend([
        ("promql", "delayed_name_removal", options.delays_name_removal),
        ("promql", "duration_expr", parser.duration_expr),
        ("promql", "type_and_unit_labels", options.has_type_labels),
    ]);
    all.extend(OPERATORS.map(|name| ("promql_operators", name, true)));
    all.extend(AGGREGATIONS.map(|name| ("promql_operators", name, true)));
    all.extend(EXPERIMENTAL_AGGREGATIONS.map(|name| ("promql_operators", name, parser.experimental_functions)));
    all.extend(FUNCTIONS.iter().map(|function| {
        ("promql_functions", function.name, !function.is_experimental || parser.experimental_functions)
    }));
    all
}
