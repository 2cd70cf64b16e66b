//! What holds for every expression: for those of the reference's scripts, and for expressions at random over the data that
//! the differential test uses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use watershed::promql::ast::{Expr, VectorSelector};
use watershed::promql::{EngineOptions, ParserOptions, parse, pretty};
use watershed::storage::memory::MemoryStore;

use super::answer::{Sample, Value};
use super::engine::Engine;
use super::fuzz::{Maker, Random, data};
use super::golden::{own, reference};
use super::run::scripts;
use super::script::{Command, parse as parse_script};

/// All expressions of scripts.
fn expressions() -> Vec<String> {
    let folders = [Some(own()), reference()];
    let mut all = Vec::new();
    for script in folders.iter().flatten().flat_map(|dir| scripts(dir)) {
        let text = std::fs::read_to_string(&script).expect("a script can be read");
        for command in parse_script(&text).expect("a good script") {
            if let Command::Eval(eval) = command {
                all.push(eval.expr);
            }
        }
    }
    all
}

#[test]
fn what_is_printed_is_read_as_what_was_printed() {
    for text in expressions() {
        let read = |text: &str| parse(text, &ParserOptions::ALL).unwrap_or_else(|e| panic!("{text}: {e}"));
        let expr = read(&text);
        for printed in [expr.to_string(), pretty(&expr)] {
            let again = read(&printed);
            assert_eq!(again.to_string(), expr.to_string(), "{text}\n{printed}");
            // A plus before a duration is not printed.
            if !text.contains('+') {
                assert_eq!(tree(again), tree(expr.clone()), "{text}\n{printed}");
            }
        }
    }
}

/// A tree without the places of its nodes and the order of its conditions, which are printed sorted. Sets in compiled
/// patterns have no order, either.
fn tree(mut expr: Expr) -> String {
    sort_matchers(&mut expr);
    let place = regex::Regex::new(r"Position \{ start: \d+, end: \d+ \}|set: \{.*?\}, list: ").expect("a good pattern");
    place.replace_all(&format!("{expr:?}"), "_").into_owned()
}

fn sort_matchers(expr: &mut Expr) {
    let sort = |selector: &mut VectorSelector| selector.matchers.sort_by_key(|m| format!("{m:?}"));
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Delegated(_) => {}
        Expr::Vector(selector) => sort(selector),
        Expr::Matrix(matrix) => sort(&mut matrix.selector),
        Expr::Subquery(subquery) => sort_matchers(&mut subquery.expr),
        Expr::Paren(paren) => sort_matchers(&mut paren.expr),
        Expr::Unary(unary) => sort_matchers(&mut unary.expr),
        Expr::Binary(binary) => {
            sort_matchers(&mut binary.left);
            sort_matchers(&mut binary.right);
        }
        Expr::Aggregate(aggregate) => {
            sort_matchers(&mut aggregate.expr);
            aggregate.param.iter_mut().for_each(sort_matchers);
        }
        Expr::Call(call) => call.args.iter_mut().for_each(sort_matchers),
    }
}

fn store(seed: u64) -> MemoryStore {
    let store = MemoryStore::new();
    data::write(&data::series(&mut Random(seed), false), &store);
    store
}

/// Values by time, then by labels, to the bit.
type ByTime = BTreeMap<i64, BTreeMap<String, String>>;

fn by_time(value: &Value, at: i64) -> ByTime {
    let mut all = ByTime::new();
    let mut add = |t, labels: String, sample: String| {
        assert!(all.entry(t).or_default().insert(labels, sample).is_none(), "a series comes twice");
    };
    match value {
        Value::Scalar(v) => add(at, "{}".to_owned(), bits(&Sample::Float(*v))),
        Value::Text(text) => add(at, "{}".to_owned(), text.clone()),
        Value::Vector(series) => series.iter().for_each(|(labels, s)| add(at, format!("{labels}"), bits(s))),
        Value::Matrix(series) => {
            for (labels, samples) in series {
                samples.iter().for_each(|(t, s)| add(*t, format!("{labels}"), bits(s)));
            }
        }
    }
    all
}

/// Every NaN is one, and 0 is not -0.
fn bits(sample: &Sample) -> String {
    let mut out = String::new();
    let written = match sample {
        Sample::Float(v) => write!(out, "{v:?}"),
        Sample::Histogram(h) => write!(out, "{h:?}"),
    };
    written.expect("a text takes everything");
    out
}

#[test]
fn an_instant_query_is_a_step_of_a_range_query() {
    const STEPS: i64 = 12;
    let store = store(7);
    let engine = Engine::of_scripts();
    let mut maker = Maker { random: Random(7), is_recent: true };
    let mut compared = 0;
    for _ in 0..400 {
        let expr = maker.expression();
        let start = maker.random.between(data::START - 100_000, data::END);
        let step = maker.random.of(&[15_000, 31_000, 60_000]);
        if ["start()", "end()", "step()", "range()"].iter().any(|of_the_query| expr.contains(of_the_query)) {
            continue;
        }
        let end = start + (STEPS - 1) * step;
        let Ok(range) = engine.range(&store, &expr, start, end, step) else { continue };
        let mut range = by_time(&range.value, start);
        for t in (0..STEPS).map(|n| start + n * step) {
            let instant = engine.instant(&store, &expr, t).unwrap_or_else(|e| panic!("{expr} at {t}: {e}"));
            let instant = by_time(&instant.value, t).remove(&t).unwrap_or_default();
            compared += instant.len();
            assert_eq!(instant, range.remove(&t).unwrap_or_default(), "{expr} at {t}, step {step} from {start}");
        }
        assert!(range.is_empty(), "{expr}: values between the steps: {range:?}");
    }
    assert!(compared > 1000, "hardly anything was compared: {compared}");
}

#[test]
fn many_threads_say_what_one_says() {
    let store = store(8);
    let engine =
        |threads| Engine::with(EngineOptions { threads, parser: ParserOptions::ALL, ..EngineOptions::default() });
    let (one, many) = (engine(1), engine(4));
    let mut maker = Maker { random: Random(8), is_recent: true };
    for _ in 0..400 {
        let expr = maker.expression();
        let start = maker.random.between(data::START - 100_000, data::END);
        let ask = |engine: &Engine| {
            let answer = engine.range(&store, &expr, start, start + 900_000, 30_000);
            answer.map(|answer| (by_time(&answer.value, start), answer.warnings, answer.infos))
        };
        assert_eq!(ask(&many), ask(&one), "{expr} from {start}");
    }
}
