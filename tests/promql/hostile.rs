//! Queries that mean harm, and clients that go away: clear errors, and an end to the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use watershed::model::{Labels, TimestampMs};
use watershed::promql::{Engine, EngineOptions, Outcome, ParserOptions, parse};
use watershed::storage::memory::MemoryStore;
use watershed::storage::{
    Appendable, BoxedLatest, BoxedSeries, FloatSample, LabelRequest, LabelTexts, QueryError, Queryable, Scope,
    SelectRequest, SeriesBatch, SeriesStream, StreamStep,
};

/// So many series with a sample a minute from 0 to 10 minutes.
fn store_of(series: usize) -> MemoryStore {
    let store = MemoryStore::new();
    let mut appender = store.appender();
    for n in 0..series {
        let (name, number) = (format!("metric_{}", n % 100), n.to_string());
        let labels =
            Labels::from_pairs([("__name__", name.as_str()), ("n", number.as_str()), ("long", "aaaaaaaaaaaaaaaa")]);
        let series = appender.series(&labels).expect("the store takes series");
        let samples = (0..=10).map(|m| FloatSample { series, t: TimestampMs(m * 60_000), v: m as f64 });
        assert!(appender.append(&samples.collect::<Vec<_>>()).expect("the store takes samples").0.is_empty());
    }
    appender.commit().expect("the store takes samples");
    store
}

fn wide() -> MemoryStore {
    store_of(20_000)
}

fn run(expr: &str, store: &dyn Queryable, scope: &Scope) -> Outcome {
    let engine = Engine::new(EngineOptions { parser: ParserOptions::ALL, ..EngineOptions::default() });
    let query = engine.range(expr, TimestampMs(0)..TimestampMs(600_000), 15_000, None);
    query.expect("the query can be asked").run(store, scope)
}

#[test]
fn deep_expressions_are_refused_with_a_sentence() {
    let deep = 100_000;
    let nested = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(deep), close.repeat(deep));
    for expr in [
        nested("(", "1", ")"),
        nested("(", "", ""),
        nested("-", "1", ""),
        nested("- -", "x", ""),
        nested("abs(", "x", ")"),
        nested("sum(", "x", ")"),
        nested("", "x", "[5m:1m]"),
        nested("", "x", " offset 5m"),
        nested("", "1", "+1"),
        nested("", "2", "^2"),
        nested("x and on() (", "x", ")"),
        nested("", "x[1", "+1") + "]",
        nested("x[(", "1m", ")") + "]",
        nested("rate(x[-", "1m", "])"),
        nested("label_replace(", "x", ""),
        nested("x @ (", "1", ")"),
    ] {
        let error = parse(&expr, &ParserOptions::ALL).expect_err("nobody can run that").to_string();
        assert!(error.len() < 1000, "an error repeats its input: {}", &error[..1000]);
        assert!(error.contains(':'), "an error without a place: {error}");
    }
}

#[test]
fn an_error_about_a_long_text_is_short() {
    let long = "a".repeat(1 << 20);
    for expr in [
        format!("{long} {long}"),
        format!("\"{long}"),
        format!("x{{{long}}}"),
        format!("foo({long}"),
        format!("1{long}"),
    ] {
        let Err(error) = parse(&expr, &ParserOptions::ALL) else { continue };
        let error = error.to_string();
        assert!(error.len() < 4 << 20, "{} bytes of error", error.len());
    }
}

#[test]
fn a_megabyte_of_regex_is_matched_or_refused() {
    const SERIES: usize = 20;
    let store = store_of(SERIES);
    let alternatives: Vec<String> = (0..100_000).map(|n| format!("value{n}")).collect();
    for (pattern, matches) in [
        (alternatives[..10_000].join("|"), Some(0)),
        (format!("{}|.*", alternatives[..10_000].join("|")), Some(SERIES)),
        (alternatives.join("|"), None),
        (format!("{}|.*", alternatives.join("|")), None),
        ("(a|b)?".repeat(200_000), None),
        ("(a*)*".repeat(1000), None),
        (format!("{}.*", "(".repeat(500_000)), None),
        ("[a-z]".repeat(200_000), Some(0)),
        ("(((a{30}){30}){30}){30}".to_owned(), None),
    ] {
        let expr = format!("count({{n=~\".+\", long=~\"{pattern}\"}})");
        let Err(error) = parse(&expr, &ParserOptions::ALL) else {
            let outcome = run(&expr, &store, &Scope::unbounded());
            let answer = outcome.answer.expect("an accepted pattern is matched");
            let watershed::promql::Answer::Matrix(all) = &answer else { panic!("{answer:?}") };
            let count = all.first().and_then(|series| series.floats().next()).map_or(0.0, |(_, v)| v);
            assert!(matches.is_none_or(|wanted| wanted as f64 == count), "{pattern:.40}: {count}");
            continue;
        };
        assert!(matches.is_none(), "{pattern:.40} is refused: {error:.200}");
        assert!(error.to_string().contains("error parsing regexp"), "{error:.200}");
    }
}

#[test]
fn patterns_that_make_others_backtrack_take_linear_time() {
    let store = store_of(1000);
    for pattern in ["(a+)+b", "(a|a)*b", "(.*)*b", "(a|aa)+$b", "(.*a){12}b"] {
        let outcome = run(&format!("count({{long=~\"{pattern}\"}})"), &store, &Scope::unbounded());
        assert!(matches!(outcome.answer, Ok(watershed::promql::Answer::Matrix(all)) if all.is_empty()), "{pattern}");
    }
}

#[test]
fn a_query_over_its_budget_fails_and_says_which() {
    let store = wide();
    for expr in [
        "{__name__=~\".+\"}",
        "sum by(n) ({__name__=~\".+\"})",
        "rate({__name__=~\".+\"}[5m])",
        "sort({__name__=~\".+\"})",
        "{__name__=~\".+\"} + on(n) {__name__=~\".+\"}",
        "{__name__=~\".+\"} or {__name__=~\".+\"}",
        "max_over_time(sum by(n) ({__name__=~\".+\"})[10m:1m])",
        "label_replace({__name__=~\".+\"}, \"x\", \"$1\", \"n\", \"(.*)\")",
        "histogram_quantile(0.5, {__name__=~\".+\"})",
        "absent({__name__=~\".+\"}) or quantile by(n) (0.5, {__name__=~\".+\"})",
    ] {
        let samples = run(expr, &store, &Scope::new(None, 10_000, u64::MAX)).answer.map(drop);
        let said = samples.expect_err(expr).to_string();
        assert!(said.contains("samples") && said.contains("10000"), "{expr}: {said}");
        let bytes = run(expr, &store, &Scope::new(None, u64::MAX, 100_000)).answer.map(drop);
        let said = bytes.expect_err(expr).to_string();
        assert!(said.contains("bytes") && said.contains("100000"), "{expr}: {said}");
    }
}

/// A store that counts the batches that it gave, and does something at one of them.
struct Watched<'a> {
    store: &'a MemoryStore,
    batches: Arc<AtomicUsize>,
    at: usize,
    then: &'a (dyn Fn() + Sync),
}

struct WatchedStream<'a> {
    inner: Box<dyn SeriesStream + 'a>,
    batches: Arc<AtomicUsize>,
    at: usize,
    then: &'a (dyn Fn() + Sync),
}

impl SeriesStream for WatchedStream<'_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        if self.batches.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.then)();
        }
        self.inner.next(batch)
    }
}

impl Queryable for Watched<'_> {
    /// Not within the query's own scope: whether the engine asks it is what is looked at.
    fn select(&self, _: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        let inner = self.store.select(&Scope::unbounded(), request)?;
        Ok(Box::new(WatchedStream { inner, batches: self.batches.clone(), at: self.at, then: self.then }))
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        self.store.select_latest(scope, request)
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.store.label_names(scope, request)
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.store.label_values(scope, name, request)
    }
}

#[test]
fn a_query_whose_client_goes_away_reads_no_further() {
    let store = wide();
    let expr = "sum(rate({__name__=~\".+\"}[5m])) + sum(max_over_time({__name__=~\".+\"}[5m:1m]))";
    let count_of = |at: usize, then: &(dyn Fn() + Sync), scope: &Scope| {
        let batches = Arc::new(AtomicUsize::new(0));
        let watched = Watched { store: &store, batches: batches.clone(), at, then };
        let outcome = run(expr, &watched, scope);
        (outcome.answer, batches.load(Ordering::SeqCst))
    };
    let (answer, all) = count_of(usize::MAX, &|| {}, &Scope::unbounded());
    assert!(answer.is_ok() && all > 4, "too few batches to tell: {all}");
    for at in [0, 1, all / 2, all - 2] {
        let scope = Scope::unbounded();
        let (answer, batches) = count_of(at, &|| scope.cancel(), &scope);
        assert_eq!(answer.expect_err("the client is gone").to_string(), "the client went away");
        assert!(batches <= at + 2, "cancelled at batch {at} of {all}, but read until {batches}");
    }
}

#[test]
fn a_query_whose_time_is_up_fails_and_says_so() {
    let store = wide();
    let scope = Scope::new(Some(Instant::now()), u64::MAX, u64::MAX);
    let answer = run("sum(rate({__name__=~\".+\"}[5m]))", &store, &scope).answer;
    assert_eq!(answer.map(drop).expect_err("there was no time").to_string(), "the query's time is up");
}

#[test]
fn what_a_query_held_is_given_back() {
    let store = wide();
    for expr in [
        "sum(rate({__name__=~\".+\"}[5m]))",
        "topk(3, {__name__=~\".+\"})",
        "count({__name__=~\".+\"} or vector(1))",
        "max(max_over_time({__name__=~\".+\"}[5m:1m]))",
        "count(sort({__name__=~\"metric_1.\"}) * on(n) {__name__=~\"metric_1.\"})",
    ] {
        let alone = Scope::unbounded();
        drop(run(expr, &store, &alone).answer.expect(expr));
        // Room for one, and for the answers that stay charged; not for two.
        let shared = Scope::new(None, alone.peak_samples() + alone.peak_samples() / 2, u64::MAX);
        for _ in 0..5 {
            drop(run(expr, &store, &shared).answer.expect(expr));
        }
    }
}
