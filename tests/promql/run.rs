//! Running scripts.

use std::path::{Path, PathBuf};

use super::answer::{Answer, Value, check_remarks, check_value};
use super::at::at_variants;
use super::closeness::Closeness;
use super::engine::Engine;
use super::script::{Command, Eval, When, parse};
use super::stores::{Open, Store, fill};

/// Relative difference that the reference's runner allows.
const TOLERANCE: f64 = 1e-6;
/// Distance of the two steps around the time of an instant query that is run as a range query.
const MINUTE: i64 = 60_000;

/// How an evaluation ended.
#[derive(Debug)]
pub struct Outcome {
    /// Script and line.
    pub place: String,
    /// The expression.
    pub expr: String,
    /// Whether all floats were those of the script to the bit, or what is wrong.
    pub result: Result<bool, String>,
}

/// The scripts of a folder, sorted.
pub fn scripts(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    let mut all: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "test")).collect();
    all.sort();
    all
}

/// Runs all evaluations of a script.
pub fn run(path: &Path, engine: &Engine, open: &Open) -> Vec<Outcome> {
    let name = path.file_name().expect("a script has a name").to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let commands = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut store = open();
    let mut outcomes = Vec::new();
    for command in commands {
        match command {
            Command::Clear => store = open(),
            Command::Load(load) => fill(&*store, &load),
            Command::Eval(eval) => {
                let result = evaluate(&eval, engine, &*store);
                outcomes.push(Outcome { place: format!("{name}:{}", eval.line), expr: eval.expr, result });
            }
        }
    }
    outcomes
}

/// Runs an evaluation in all the ways that must give the same, and says whether every float agreed to the bit.
fn evaluate(eval: &Eval, engine: &Engine, store: &dyn Store) -> Result<bool, String> {
    let mut closeness = Closeness::within(TOLERANCE);
    match eval.when {
        When::Range { start, end, step } => {
            let answer = engine.range(store, &eval.expr, start, end, step);
            check(eval, answer, &mut closeness)?;
        }
        When::Instant(at) => {
            let at = eval.expected.window.map_or(at, |(_, end, _)| end);
            instant(eval, engine, store, &eval.expr, at, &mut closeness)?;
            for (expr, at) in at_variants(&eval.expr, at)? {
                instant(eval, engine, store, &expr, at, &mut closeness)
                    .map_err(|e| format!("as {expr} at {at}: {e}"))?;
            }
        }
    }
    Ok(closeness.is_exact)
}

fn check(eval: &Eval, answer: Result<Answer, String>, closeness: &mut Closeness) -> Result<Option<Answer>, String> {
    match (answer, &eval.expected.failure) {
        (Err(found), Some(expected)) if expected.matches(&found) => Ok(None),
        (Err(found), Some(expected)) => Err(format!("it is expected to fail with {expected:?}, not {found:?}")),
        (Err(found), None) => Err(format!("it fails: {found}")),
        (Ok(_), Some(expected)) => Err(format!("it is expected to fail with {expected:?}")),
        (Ok(answer), None) => {
            check_remarks(eval, &answer)?;
            check_value(eval, &answer.value, closeness)?;
            Ok(Some(answer))
        }
    }
}

fn instant(
    eval: &Eval,
    engine: &Engine,
    store: &dyn Store,
    expr: &str,
    at: i64,
    closeness: &mut Closeness,
) -> Result<(), String> {
    let Some(answer) = check(eval, engine.instant(store, expr, at), closeness)? else { return Ok(()) };
    let expected = &eval.expected;
    let knows_query_times = ["start()", "end()", "range()", "step()"].iter().any(|call| expr.contains(call));
    if expected.window.is_some() || expected.text.is_some() || expected.is_ordered || knows_query_times {
        return Ok(());
    }
    let range = engine.range(store, expr, at - MINUTE, at + MINUTE, MINUTE);
    let range = range.map_err(|e| format!("as a range query it fails: {e}"))?;
    let Value::Matrix(matrix) = range.value else { return Err(format!("{:?} is no matrix", range.value)) };
    if !matrix.is_sorted_by_key(|(labels, _)| labels) {
        return Err("the matrix of a range query is not sorted".to_owned());
    }
    let at_middle = matrix.into_iter().filter_map(|(labels, samples)| {
        let (_, sample) = samples.into_iter().find(|(t, _)| *t == at)?;
        Some((labels, sample))
    });
    let middle = match (at_middle.collect::<Vec<_>>(), &answer.value) {
        (middle, Value::Scalar(_)) => match &middle[..] {
            [(_, super::answer::Sample::Float(v))] => Value::Scalar(*v),
            other => return Err(format!("a scalar became {other:?}")),
        },
        (middle, _) => Value::Vector(middle),
    };
    check_value(eval, &middle, closeness).map_err(|e| format!("as a range query: {e}"))
}
