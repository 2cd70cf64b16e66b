use super::promql::unsigned;
use watershed::cluster::{
    CLUSTER, VirtualLabels, parse_build, parse_external, parse_result, parse_series, parse_texts, strip,
};
use watershed::model::Labels;
use watershed::promql::{ParserOptions, parse};

pub fn answer(data: &[u8]) {
    let _ = parse_result(data);
    let _ = parse_texts(data);
    let _ = parse_series(data);
    let _ = (parse_build(data), parse_external(data));
}

/// Every part is an expression that a member understands, whatever it has of the virtual labels.
pub fn split(data: &[u8]) {
    let Ok(expr) = parse(super::text(data), &ParserOptions::ALL) else { return };
    let names = VirtualLabels::new(["region", "a"]).expect("two are not too many");
    let member = Labels::from_pairs([(CLUSTER, "home"), ("region", "eu"), ("a", "b")]);
    for finishes_aggregations in [false, true] {
        for part in watershed::cluster::split(&expr, &names, finishes_aggregations).parts {
            for asked in [Some(part.expr.clone()), strip(&part.expr, &member)].into_iter().flatten() {
                let text = asked.to_string();
                let again = parse(&text, &ParserOptions::ALL).unwrap_or_else(|e| panic!("{expr} as {text:?}: {e}"));
                assert_eq!(unsigned(&again), unsigned(&asked), "{expr}");
            }
        }
    }
}
