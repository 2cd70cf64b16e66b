//! The cluster frontend through its public face.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

#[path = "../promql/closeness.rs"]
mod closeness;
mod credentials;
mod example;
mod explained;
mod fleet;
mod frontend;
mod gather;
mod hostile;
mod kept;
mod pairs;
mod parts;
#[path = "../promql/fuzz/peer.rs"]
mod peer;
mod read;
mod shown;
mod split;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fuzz::data;
use fuzz::expressions::Maker;
use fuzz::random::Random;
use shown::{Shown, difference};
use watershed::cluster::{Frontend, Sender};
use watershed::model::TimestampMs;
use watershed::promql::{Answer, Engine, EngineOptions, ParserOptions, Span};
use watershed::storage::Scope;
use watershed::storage::memory::MemoryStore;

/// The same data and expressions as in the tests of the language.
#[path = "../promql/fuzz"]
mod fuzz {
    pub mod data;
    pub mod expressions;
    pub mod random;
    mod recent;
}

/// The members and their virtual labels.
const MEMBERS: [(&str, Option<&str>); 3] = [("home", Some("eu")), ("cabin", Some("eu")), ("boat", None)];

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Brings virtual labels into an expression, here and there.
fn with_virtual_labels(text: &str, random: &mut Random) -> String {
    let mut out = text.to_owned();
    for head in ["by(", "without(", "on(", "ignoring(", "group_left("] {
        let mut done = String::new();
        while let Some(at) = out.find(head) {
            let rest = out.split_off(at + head.len());
            done.push_str(&out);
            let label = random.of(&["", "", "__cluster__", "region", "__cluster__, region"]);
            let comma = if label.is_empty() || rest.starts_with(')') { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(done, "{label}{comma}");
            out = rest;
        }
        out = done + &out;
    }
    if random.one_in(3) {
        let condition = random.of(&[
            "__cluster__=\"home\"",
            "__cluster__!=\"home\"",
            "region=\"eu\"",
            "__cluster__=~\"cabin|boat\"",
        ]);
        out = out.replacen('{', &format!("{{{condition},"), 1).replacen(",}", "}", 1);
    }
    out
}

/// Of equals `topk` and `bottomk` choose any, and `limitk` those that come first.
fn chooses(text: &str) -> bool {
    ["topk", "bottomk", "limitk"].iter().any(|op| text.contains(op))
}

/// An engine that knows all of the language.
fn engine() -> Engine {
    Engine::new(EngineOptions { parser: ParserOptions::ALL, ..EngineOptions::default() })
}

/// What an engine says over one store.
fn over(store: &MemoryStore, engine: &Engine, text: &str, span: Span) -> Result<Answer, String> {
    let expr = engine.parse(text).map_err(|e| e.to_string())?;
    let query = engine.query(text, &expr, span, None).map_err(|e| e.to_string())?;
    query.run(store, &Scope::unbounded()).answer.map_err(|e| e.to_string())
}

/// What a frontend says over its members.
fn ask(frontend: &Frontend, engine: &Engine, text: &str, span: Span) -> Result<Answer, String> {
    let scope = Scope::new(Some(Instant::now() + Duration::from_secs(60)), u64::MAX, 1 << 30);
    let outcome = frontend.run(engine, text, span, &Sender::default(), &scope).map_err(|e| e.to_string())?;
    outcome.answer.map_err(|e| e.to_string())
}

/// Two ways to evaluate an expression.
trait Ways {
    /// Over everything at once.
    fn whole(&self, text: &str, span: Span) -> Shown;

    /// By parts that are put together.
    fn by_parts(&self, text: &str, span: Span) -> Shown;

    /// Whether a difference from the whole is one that the order of adding makes.
    fn depends_on_order(&self, text: &str, span: Span, whole: &Shown) -> bool;

    /// Whether the whole means something else to the reference than to the engine, whoever evaluates it.
    fn is_of_language(&self, _text: &str, _span: Span, _whole: &Shown) -> bool {
        false
    }
}

/// Compares both ways for expressions at random, `count` if the environment does not say otherwise.
fn compare(seed: u64, count: u64, ways: &impl Ways) {
    let count = variable("WATERSHED_FUZZ_COUNT", count);
    let (mut answered, mut failed, mut empty, mut unclear, mut of_language) = (0, 0, 0, 0, 0);
    let mut differences = Vec::new();
    for number in 0..count {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let mut maker = Maker { random: Random(random.next()), is_recent: false };
        let text = with_virtual_labels(&maker.expression(), &mut random);
        let at = random.between(data::START - 60_000, data::END + 400_000);
        let start = TimestampMs(random.between(data::START - 300_000, data::END));
        let step = random.of(&[15_000, 37_000, 60_000, 300_000]);
        let end = TimestampMs(start.0 + step * random.between(0, 20) + random.between(0, 1000));
        for span in [Span::Instant(TimestampMs(at)), Span::Range { start, end, step }] {
            let (whole, parts) = (ways.whole(&text, span), ways.by_parts(&text, span));
            match (&whole, difference(&whole, &parts)) {
                (_, Some(_)) if chooses(&text) || ways.depends_on_order(&text, span, &whole) => unclear += 1,
                (_, Some(_)) if ways.is_of_language(&text, span, &whole) => of_language += 1,
                (_, Some(difference)) => differences.push(format!("{text}\n  {span:?}\n  {difference}")),
                (Err(_), None) => failed += 1,
                (Ok(all), None) if all.is_empty() => empty += 1,
                (Ok(_), None) => answered += 1,
            }
        }
    }
    println!(
        "seed {seed}, {count} expressions: {answered} answers agree, {empty} are empty, {failed} fail both ways, {unclear} \
         have several answers, {of_language} mean something else to the reference, {} differ",
        differences.len()
    );
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(40)].join("\n"));
    assert!(answered > count / 2, "too few expressions have an answer");
    assert!(unclear <= count / 20, "too many expressions have several answers");
    assert!(of_language <= count / 5, "too many expressions mean something else to the reference");
}
