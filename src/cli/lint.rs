//! What is unusual about metrics: the conventions that promtool knows, in its words.

use super::families::{Family, Metric};
use crate::model::MetricType;

/// Units that names may have, with the base unit that they should have.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bits", "bytes"),
    ("bytes", "bytes"),
    ("calories", "joules"),
    ("celsius", "celsius"),
    ("days", "seconds"),
    ("fahrenheit", "celsius"),
    ("grams", "grams"),
    ("hours", "seconds"),
    ("inches", "meters"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("kelvins", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("miles", "meters"),
    ("minutes", "seconds"),
    ("ounces", "grams"),
    ("pounds", "grams"),
    ("rankine", "celsius"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("weeks", "seconds"),
    ("yards", "meters"),
];

const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mibi", "giga", "gibi",
    "tera", "tebi", "peta", "pebi",
];

const ABBREVIATIONS: [&str; 14] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

/// One remark about one family.
pub(super) type Problem = (String, String);

/// All remarks, by family and then by text.
pub(super) fn lint(families: &[Family]) -> Vec<Problem> {
    let of = |family: &Family| -> Vec<Problem> {
        remarks(family).into_iter().map(|text| (family.name.clone(), text)).collect()
    };
    let mut problems: Vec<Problem> = families.iter().flat_map(of).collect();
    problems.sort();
    problems
}

fn remarks(family: &Family) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |text: &str| found.push(text.to_owned());
    if family.help.is_none() {
        say("no help text");
    }
    let name = family.name.as_str();
    if let Some((unit, base)) = unit(name).filter(|(unit, base)| unit != base) {
        say(&format!("use base unit {base:?} instead of {unit:?}"));
    }
    counters(family, &mut say);
    reserved(family, &mut say);
    type_in_name(family, &mut say);
    if name.contains(':') {
        say("metric names should not contain ':'");
    }
    if is_camel_case(name) {
        say("metric names should be written in 'snake_case' not 'camelCase'");
    }
    for (label, _) in family.metrics.iter().flat_map(|metric| &metric.labels) {
        if is_camel_case(label) {
            say("label names should be written in 'snake_case' not 'camelCase'");
        }
    }
    let lower = name.to_lowercase();
    let has_word = |word: &str| lower.contains(&format!("_{word}_")) || lower.ends_with(&format!("_{word}"));
    ABBREVIATIONS
        .iter()
        .filter(|short| has_word(short))
        .for_each(|_| say("metric names should not contain abbreviated units"));
    repeated(&family.metrics).for_each(|()| say("metric not unique"));
    found
}

fn counters(family: &Family, say: &mut impl FnMut(&str)) {
    let is_total = family.name.ends_with("_total");
    match family.kind {
        MetricType::Counter if !is_total => say("counter metrics should have \"_total\" suffix"),
        MetricType::Counter | MetricType::Unknown => {}
        _ if is_total => say("non-counter metrics should not have \"_total\" suffix"),
        _ => {}
    }
}

/// Suffixes and labels that belong to histograms and summaries.
fn reserved(family: &Family, say: &mut impl FnMut(&str)) {
    if family.kind == MetricType::Unknown {
        return;
    }
    let is_histogram = family.kind == MetricType::Histogram;
    let is_summary = family.kind == MetricType::Summary;
    if !is_histogram && family.name.ends_with("_bucket") {
        say("non-histogram metrics should not have \"_bucket\" suffix");
    }
    for suffix in ["_count", "_sum"] {
        if !is_histogram && !is_summary && family.name.ends_with(suffix) {
            say(&format!("non-histogram and non-summary metrics should not have \"{suffix}\" suffix"));
        }
    }
    for (label, _) in family.metrics.iter().flat_map(|metric| &metric.labels) {
        match label.as_str() {
            "le" if !is_histogram => say("non-histogram metrics should not have \"le\" label"),
            "quantile" if !is_summary => say("non-summary metrics should not have \"quantile\" label"),
            _ => {}
        }
    }
}

fn type_in_name(family: &Family, say: &mut impl FnMut(&str)) {
    let kind = family.kind.as_str();
    let name = family.name.to_lowercase();
    if family.kind != MetricType::Unknown
        && (name.contains(&format!("_{kind}_")) || name.ends_with(&format!("_{kind}")))
    {
        say(&format!("metric name should not include type '{kind}'"));
    }
}

/// One for each metric whose labels another one behind it has, too.
fn repeated(metrics: &[Metric]) -> impl Iterator<Item = ()> {
    let mut last: std::collections::HashMap<&[(String, String)], usize> = std::collections::HashMap::new();
    for metric in metrics {
        *last.entry(&metric.labels).or_default() += 1;
    }
    let count: usize = last.into_values().map(|times| times - 1).sum();
    std::iter::repeat_n((), count)
}

fn is_camel_case(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

/// The first part of a name that is a unit, perhaps with a prefix, and its base unit.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    let base = |word: &str| UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, base)| *base);
    name.split('_').find_map(|part| {
        let prefixed = || PREFIXES.iter().find_map(|prefix| part.strip_prefix(prefix).and_then(base));
        base(part).or_else(prefixed).map(|base| (part, base))
    })
}
