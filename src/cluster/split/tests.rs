use super::*;
use crate::promql::{ParserOptions, parse};

/// What is evaluated here, and then the parts.
fn shown(text: &str, finishes_aggregations: bool) -> Vec<String> {
    let names = VirtualLabels::new(["region"]).unwrap();
    let split = split(&parse(text, &ParserOptions::ALL).unwrap(), &names, finishes_aggregations);
    let parts = split.parts.iter().map(|part| part.expr.to_string());
    std::iter::once(split.here.to_string()).chain(parts).collect()
}

fn check(text: &str, wanted: &[&str]) {
    assert_eq!(shown(text, true), wanted, "{text}");
}

#[test]
fn what_looks_at_one_series_or_keeps_the_cluster_is_the_members_business() {
    for local in [
        "up",
        "rate(a[5m]) * 2",
        "-abs(a) > 1",
        "a / b",
        "a / on (__cluster__, job) group_left (version) b",
        "a / ignoring (region, code) b",
        "a and on (__cluster__) b",
        "a or b",
        "sum by (__cluster__, job) (rate(a[5m]))",
        "sum without (region) (a)",
        "quantile by (__cluster__) (0.9, a)",
        "max_over_time(rate(a[5m])[1h:1m])",
        "histogram_quantile(0.9, sum by (__cluster__, le) (rate(a_bucket[5m])))",
        "label_replace(up, \"a\", \"$1\", \"b\", \"(.*)\")",
        "hour(timestamp(up))",
    ] {
        check(local, &["<part 0>", local]);
    }
}

#[test]
fn aggregations_across_members_are_finished_here() {
    check("sum by (job) (a)", &["sum by (job) (<part 0>)", "sum by (job) (a)"]);
    check("count(a)", &["sum(<part 0>)", "count(a)"]);
    check("topk(3, rate(a[5m]))", &["topk(3, <part 0>)", "topk(3, rate(a[5m]))"]);
    check("max without (__cluster__) (a)", &["max without (__cluster__) (<part 0>)", "max without (__cluster__) (a)"]);
    check("avg(a)", &["(sum(<part 0>) / sum(<part 1>))", "sum(a)", "count(a)"]);
    check("count_values by (job) (\"v\", a)", &["sum by (job, v) (<part 0>)", "count_values by (job) (\"v\", a)"]);
    check("quantile(0.5, a)", &["quantile(0.5, <part 0>)", "a"]);
    check("avg by (__name__) (a)", &["avg by (__name__) (<part 0>)", "a"]);
    let counted = "sum by (v) (<part 0>)";
    check("count_values(\"v\", sum by (__cluster__) (a))", &[counted, "count_values(\"v\", sum by (__cluster__) (a))"]);
    check("count_values(\"v\", sum(a))", &["count_values(\"v\", sum(<part 0>))", "a"]);
    check("limitk(1, a)", &["limitk(1, <part 0>)", "a"]);
    let nested = "sum(max by (__cluster__) (a)) / count(b)";
    check(nested, &["sum(<part 0>) / sum(<part 1>)", "sum(max by (__cluster__) (a))", "count(b)"]);
    assert_eq!(shown("sum by (job) (a)", false), ["sum by (job) (<part 0>)", "a"]);
}

#[test]
fn what_crosses_members_is_evaluated_here() {
    check("a / on (job) b", &["<part 0> / on (job) <part 1>", "a", "b"]);
    check("a / on (job) a", &["<part 0> / on (job) <part 0>", "a"]);
    check("a + ignoring (__cluster__) b", &["<part 0> + ignoring (__cluster__) <part 1>", "a", "b"]);
    check("sum(a) or vector(0)", &["sum(<part 0>) or vector(0)", "sum(a)"]);
    check("a or vector(0)", &["<part 0> or vector(0)", "a"]);
    check("absent(up{job=\"x\"})", &["absent(up{job=\"x\"})"]);
    check("absent(rate(a[5m]))", &["absent(<part 0>)", "rate(a[5m])"]);
    check("scalar(a)", &["scalar(<part 0>)", "a"]);
    check("sort_desc(a)", &["sort_desc(<part 0>)", "a"]);
    check("info(a)", &["info(a)"]);
    check("a * scalar(b)", &["<part 1> * scalar(<part 0>)", "b", "a"]);
    check("quantile_over_time(scalar(b), a[5m])", &["quantile_over_time(scalar(<part 0>), a[5m])", "b"]);
    check("rate(sum(a)[5m:1m])", &["rate(sum(<part 0>)[5m:1m])", "sum(a)"]);
    let replaced = "label_replace(<part 0>, \"region\", \"$1\", \"a\", \"(.*)\")";
    check("label_replace(up, \"region\", \"$1\", \"a\", \"(.*)\")", &[replaced, "up"]);
    check("absent_over_time((a > 1)[5m:1m])", &["absent_over_time(<part 0>[5m:1m])", "(a > 1)"]);
}

#[test]
fn a_label_that_only_one_side_has_keeps_a_join_here() {
    let one_side = "sum by (__cluster__) (a) / b";
    check(one_side, &["<part 0> / <part 1>", "sum by (__cluster__) (a)", "b"]);
    let named = "sum by (__cluster__) (a) / on (__cluster__) b";
    check(named, &["<part 0>", named]);
}

#[test]
fn parts_tell_which_virtual_labels_their_series_have() {
    let names = VirtualLabels::new(["region"]).unwrap();
    let visible = |text: &str| {
        let split = split(&parse(text, &ParserOptions::ALL).unwrap(), &names, true);
        assert_eq!(split.parts.len(), 1, "{text}");
        split.parts[0].visible
    };
    assert_eq!(visible("a"), names.all());
    assert_eq!(visible("sum(a)"), names.cluster());
    assert_eq!(visible("sum by (region) (a)"), names.all());
    assert_eq!(visible("sum by (__cluster__) (a)"), names.cluster());
    assert_eq!(visible("a / on (__cluster__) b"), names.cluster());
    assert_eq!(visible("a * on (__cluster__) group_left (region) b"), names.all());
    assert_eq!(visible("topk(1, a)"), names.all());
}

#[test]
fn the_sum_of_a_mean_is_known_as_such_wherever_else_it_is_used() {
    let names = VirtualLabels::new([]).unwrap();
    let text = "sum(a) + avg(a) + max(a)";
    let split = split(&parse(text, &ParserOptions::ALL).unwrap(), &names, true);
    let means: Vec<_> = split.parts.iter().filter(|part| part.is_of_mean).map(|part| part.expr.to_string()).collect();
    assert_eq!(means, ["sum(a)"]);
}

#[test]
fn what_puts_everything_together_has_one_series() {
    let is_one = |text: &str| is_one_series(&parse(text, &ParserOptions::ALL).unwrap());
    assert!(["count(up)", "(sum(rate(a[5m])))", "quantile(0.5, a)"].into_iter().all(is_one));
    assert!(!["up", "sum by (job) (a)", "sum without (job) (a)", "topk(1, a)", "sum(a) + b"].into_iter().any(is_one));
}

#[test]
fn what_older_servers_do_not_know_is_told() {
    let needs = |text: &str| {
        let names = VirtualLabels::new([]).unwrap();
        split(&parse(text, &ParserOptions::ALL).unwrap(), &names, true).parts[0].needs_new_server
    };
    for new in ["mad_over_time(a[5m])", "rate(a[5m] smoothed)", "a + fill(0) b", "first_over_time(a[5m])"] {
        assert!(needs(new), "{new}");
    }
    assert!(!needs("histogram_quantile(0.9, rate(a[5m] offset 1m))"));
}
