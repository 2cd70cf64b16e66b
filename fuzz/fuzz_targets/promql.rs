use watershed::model::TimestampMs;
use watershed::promql::{
    Engine, EngineOptions, ParserOptions, has_non_empty_matcher, parse, parse_match, parse_selector, pretty, tree_json,
};

/// What was read is printed as something that is read as the same, and can be planned without harm.
pub fn expression(data: &[u8]) {
    let text = super::text(data);
    let Ok(expr) = parse(text, &ParserOptions::ALL) else { return };
    let printed = expr.to_string();
    for shown in [printed.clone(), pretty(&expr)] {
        let again = parse(&shown, &ParserOptions::ALL).unwrap_or_else(|e| panic!("{text:?} as {shown:?}: {e}"));
        assert_eq!(again.to_string(), printed, "{text:?} as {shown:?}");
    }
    drop(tree_json(&expr));
    let engine = Engine::new(EngineOptions { parser: ParserOptions::ALL, ..EngineOptions::default() });
    let _ = engine.instant(text, TimestampMs(1_700_000_000_000), None);
    let _ = engine.range(text, TimestampMs(0)..TimestampMs(60_000), 15_000, None);
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
