use watershed::model::TimestampMs;
use watershed::promql::ast::Expr;
use watershed::promql::{
    Engine, EngineOptions, ParserOptions, has_non_empty_matcher, parse, parse_match, parse_selector, pretty, tree_json,
};

/// What was read is printed as something that is read as the same, and can be planned without harm.
pub fn expression(data: &[u8]) {
    let text = super::text(data);
    let Ok(expr) = parse(text, &ParserOptions::ALL) else { return };
    for shown in [expr.to_string(), pretty(&expr)] {
        let again = parse(&shown, &ParserOptions::ALL).unwrap_or_else(|e| panic!("{text:?} as {shown:?}: {e}"));
        assert_eq!(unsigned(&again), unsigned(&expr), "{text:?} as {shown:?}");
    }
    drop(tree_json(&expr));
    let engine = Engine::new(EngineOptions { parser: ParserOptions::ALL, ..EngineOptions::default() });
    let _ = engine.instant(text, TimestampMs(1_700_000_000_000), None);
    let _ = engine.range(text, TimestampMs(0)..TimestampMs(60_000), 15_000, None);
}

/// An expression's text without the signs of infinity: it is printed as in the reference, as `+Inf`, whose sign is read as an
/// operator before `^`, so that `inf ^ x` gets one more each time it is printed and read.
pub fn unsigned(expr: &Expr) -> String {
    let mut text = expr.to_string();
    while text.contains("+Inf") {
        text = text.replace("+Inf", "Inf");
    }
    text
}

/// Selectors of `match[]` are selectors of the language, and matching does no harm.
pub fn selector(data: &[u8]) {
    let text = super::text(data);
    if let Ok(matchers) = parse_match(text) {
        has_non_empty_matcher(&matchers);
        for matcher in &matchers {
            matcher.matches("");
            matcher.matches("a value");
        }
    }
    let _ = parse_selector(text);
}
