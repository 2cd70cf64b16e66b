//! Answers, whoever gave them, and whether they are what a script expects.

use std::fmt;

use watershed::model::{FloatHistogram, Labels};

use super::closeness::Closeness;
use super::histograms::{is_same, shown};
use super::notation::Item;
use super::script::{Eval, Pattern, When};

/// An answer with what was remarked about it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// Warnings as the API shows them.
    pub warnings: Vec<String>,
    /// Infos as the API shows them.
    pub infos: Vec<String>,
}

/// What a query evaluates to.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// One value per series, in the answer's order.
    Vector(Vec<(Labels, Sample)>),
    /// Values of several times per series, in the answer's order.
    Matrix(Vec<(Labels, Vec<(i64, Sample)>)>),
}

/// A value.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Box<FloatHistogram>),
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sample::Float(v) => write!(f, "{v:?}"),
            Sample::Histogram(h) => f.write_str(&shown(h)),
        }
    }
}

/// Whether the remarks are those that are expected.
pub fn check_remarks(eval: &Eval, answer: &Answer) -> Result<(), String> {
    let expected = &eval.expected;
    check_messages("warning", &expected.warnings, &answer.warnings)?;
    check_messages("info", &expected.infos, &answer.infos)?;
    if expected.no_warnings && !answer.warnings.is_empty() {
        return Err(format!("no warning is expected, but {:?} came", answer.warnings));
    }
    if expected.no_infos && !answer.infos.is_empty() {
        return Err(format!("no info is expected, but {:?} came", answer.infos));
    }
    Ok(())
}

fn check_messages(kind: &str, expected: &[Pattern], found: &[String]) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    if let Some(missing) = expected.iter().find(|pattern| !found.iter().any(|text| pattern.matches(text))) {
        return Err(format!("{kind} {missing:?} is missing in {found:?}"));
    }
    match found.iter().find(|text| !expected.iter().any(|pattern| pattern.matches(text))) {
        Some(more) => Err(format!("nobody expects the {kind} {more:?}")),
        None => Ok(()),
    }
}

/// Whether the value is the one that is expected.
pub fn check_value(eval: &Eval, value: &Value, closeness: &mut Closeness) -> Result<(), String> {
    let expected = &eval.expected;
    match (value, expected.scalar) {
        (Value::Scalar(found), Some(v)) if closeness.is_same(v, *found) => Ok(()),
        (Value::Scalar(found), Some(v)) => Err(format!("{v:?} is expected, not {found:?}")),
        (Value::Text(found), None) if *found == *expected.text.as_deref().unwrap_or_default() => Ok(()),
        (Value::Text(found), _) => Err(format!("{:?} is expected, not {found:?}", expected.text)),
        (Value::Vector(found), None) => check_vector(eval, found, closeness),
        (Value::Matrix(found), None) => check_matrix(eval, found, closeness),
        _ => Err(format!("another type is expected, not {value:?}")),
    }
}

fn check_vector(eval: &Eval, found: &[(Labels, Sample)], closeness: &mut Closeness) -> Result<(), String> {
    for (place, (labels, sample)) in (1..).zip(found) {
        let Some((expected_place, items)) = eval.expected.series.get(labels) else {
            return Err(format!("nobody expects {labels:?} {sample}"));
        };
        if eval.expected.is_ordered && *expected_place != place {
            return Err(format!("{labels:?} is expected at place {expected_place}, not {place}"));
        }
        check_item(labels, &items[0], Some(sample), closeness)?;
    }
    check_completeness(eval, found.iter().map(|(labels, _)| labels))
}

fn check_matrix(eval: &Eval, found: &[(Labels, Vec<(i64, Sample)>)], closeness: &mut Closeness) -> Result<(), String> {
    if eval.expected.is_ordered {
        return Err("an order is expected of a matrix".to_owned());
    }
    check_sorted(found)?;
    let (start, end, step) = match (eval.when, eval.expected.window) {
        (_, Some(window)) => window,
        (When::Range { start, end, step }, None) => (start, end, step),
        (When::Instant(_), None) => return Err("a matrix came where no window is expected".to_owned()),
    };
    for (labels, samples) in found {
        let Some((_, items)) = eval.expected.series.get(labels) else {
            return Err(format!("nobody expects {labels:?} {}", listed(samples)));
        };
        let times: Vec<i64> = (0..).map(|n| start + n * step).take(items.len()).collect();
        if times.last().is_some_and(|last| *last > end) {
            return Err(format!("more values of {labels:?} are expected than there are steps"));
        }
        for (t, item) in times.iter().zip(items) {
            let sample = samples.iter().find(|(found, _)| found == t).map(|(_, sample)| sample);
            check_item(labels, item, sample, closeness).map_err(|e| format!("{e} at {t}, in {}", listed(samples)))?;
        }
        if let Some((t, _)) = samples.iter().find(|(t, _)| !times.contains(t)) {
            return Err(format!("nobody expects a value of {labels:?} at {t}, in {}", listed(samples)));
        }
    }
    check_completeness(eval, found.iter().map(|(labels, _)| labels))
}

fn check_sorted(found: &[(Labels, Vec<(i64, Sample)>)]) -> Result<(), String> {
    if found.is_sorted_by_key(|(labels, _)| labels) { Ok(()) } else { Err("a matrix is not sorted".to_owned()) }
}

fn listed(samples: &[(i64, Sample)]) -> String {
    let each = samples.iter().map(|(t, sample)| format!("{sample} @{t}"));
    each.collect::<Vec<_>>().join(", ")
}

fn check_completeness<'a>(eval: &Eval, found: impl Iterator<Item = &'a Labels>) -> Result<(), String> {
    let found: Vec<&Labels> = found.collect();
    let mut expected = eval.expected.series.iter();
    match expected.find(|(labels, _)| !found.contains(labels)) {
        Some((labels, (_, items))) => Err(format!("{labels:?} {items:?} is missing")),
        None => Ok(()),
    }
}

fn check_item(labels: &Labels, item: &Item, found: Option<&Sample>, closeness: &mut Closeness) -> Result<(), String> {
    let is_same = match (item, found) {
        (Item::Gap, None) => true,
        (Item::Float(v), Some(Sample::Float(found))) => closeness.is_same(*v, *found),
        (Item::Histogram { value, has_hint }, Some(Sample::Histogram(found))) => {
            is_same(value, found, *has_hint, closeness)
        }
        _ => false,
    };
    if is_same {
        return Ok(());
    }
    let expected = match item {
        Item::Gap => "nothing".to_owned(),
        Item::Float(v) => format!("{v:?}"),
        Item::Histogram { value, .. } => shown(value),
    };
    let found = found.map_or("nothing".to_owned(), Sample::to_string);
    Err(format!("{expected} is expected of {labels:?}, not {found}"))
}
