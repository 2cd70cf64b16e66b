//! Names of metrics, labels and units.
//!
//! The rules are those of OpenTelemetry's "Prometheus and OpenMetrics Compatibility" with the reference's own choices.

use super::Config;
use crate::model::{GoQuoted, Shortened};

/// A main unit, and what it is called in a metric's name.
const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];
/// A unit below the fraction bar.
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// What a metric is, as far as its name tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Gauge,
    /// A sum that only grows.
    Counter,
    Other,
}

/// The series' metric name. The error is the reference's sentence.
pub(super) fn metric_name(config: &Config, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
    let strategy = config.translation_strategy;
    if !strategy.escapes() {
        return Ok(if strategy.adds_suffixes() { with_suffixes(name, unit, kind) } else { name.to_owned() });
    }
    let built = match strategy.adds_suffixes() {
        true => from_tokens(name, unit, kind),
        false => name.split(|c| !is_metric_char(c) && c != '_').filter(|t| !t.is_empty()).collect::<Vec<_>>().join("_"),
    };
    let built = match built.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{built}"),
        false => built,
    };
    let quoted = |text: &str| GoQuoted(&Shortened(text).to_string()).to_string();
    if built.is_empty() {
        return Err(format!("normalization for metric {} resulted in empty name", quoted(name)));
    }
    if built != name && built.bytes().all(|b| b == b'_') {
        return Err(format!("normalization for metric {} resulted in invalid name {}", quoted(name), quoted(&built)));
    }
    Ok(built)
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// The words of a name, its unit and its type, joined by underscores.
fn from_tokens(name: &str, unit: &str, kind: Kind) -> String {
    let mut tokens: Vec<&str> = name.split(|c| !is_metric_char(c)).filter(|t| !t.is_empty()).collect();
    let (main, per) = units_of(unit);
    let (main, per) = (cleaned(&main), cleaned(&per));
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if tokens.contains(&per) { "" } else { per };
    let main = if tokens.contains(&main.as_str()) { "" } else { main.as_str() };
    let main = if per.is_empty() { main } else { main.strip_suffix('_').unwrap_or(main) };
    tokens.extend([main, per].into_iter().filter(|t| !t.is_empty()));
    let mut end_with = |word| {
        tokens.retain(|t| *t != word);
        tokens.push(word);
    };
    if kind == Kind::Counter {
        end_with("total");
    }
    // A count of things often has the unit 1 and is no ratio; a gauge is.
    if unit == "1" && kind == Kind::Gauge {
        end_with("ratio");
    }
    tokens.join("_")
}

/// A name that keeps its characters and gets suffixes.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let is_ratio = unit == "1" && kind == Kind::Gauge;
    let (main, per) = units_of(unit);
    let mut name = name.to_owned();
    let ends: Vec<&str> = [
        is_ratio.then_some("ratio"),
        (kind == Kind::Counter).then_some("total"),
        Some(per.as_str()).filter(|per| !per.is_empty()),
    ]
    .into_iter()
    .flatten()
    .collect();
    for end in &ends {
        if name.ends_with(end) && name.len() > end.len() + 1 {
            let kept = name.floor_char_boundary(name.len() - end.len() - 1);
            name.truncate(kept);
        }
    }
    if !main.is_empty() && !name.ends_with(&main) {
        name = format!("{name}_{main}");
    }
    ends.iter().rev().for_each(|end| name = format!("{name}_{end}"));
    name
}

/// What stands above and below the fraction bar, in full words; what is in braces is a remark and no unit.
fn units_of(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |unit: &str, words: &[(&str, &str)]| {
        let unit = unit.trim();
        if unit.contains(['{', '}']) {
            return String::new();
        }
        words.iter().find(|(short, _)| *short == unit).map_or(unit, |(_, word)| word).to_owned()
    };
    let per = word(per, &PER_UNITS);
    (word(main, &UNITS), if per.is_empty() { per } else { format!("per_{per}") })
}

/// Letters, digits and single underscores between them.
fn cleaned(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        match is_metric_char(c) {
            true => out.push(c),
            false if out.ends_with('_') => {}
            false => out.push('_'),
        }
    }
    out.strip_prefix('_').map_or(out.clone(), str::to_owned)
}

/// The unit as metadata and `__unit__` tell it.
pub(super) fn unit_name(unit: &str, escapes: bool) -> String {
    let (main, per) = units_of(unit);
    let (main, per) = if escapes { (cleaned(&main), cleaned(&per)) } else { (main, per) };
    let whole = match (main.as_str(), per.as_str()) {
        ("", per) => per.to_owned(),
        (main, "") => main.to_owned(),
        (main, per) => format!("{main}_{per}"),
    };
    let whole = whole.strip_prefix('_').unwrap_or(&whole);
    whole.strip_suffix('_').unwrap_or(whole).to_owned()
}

/// The label name for an attribute's key. The error is the reference's sentence.
pub(super) fn label_name(config: &Config, key: &str) -> Result<String, String> {
    let quoted = |text: &str| GoQuoted(&Shortened(text).to_string()).to_string();
    let only_underscores = |name: &str| name.bytes().all(|b| b == b'_');
    if key.is_empty() {
        return Err("label name is empty".to_owned());
    }
    if !config.translation_strategy.escapes() {
        return match only_underscores(key) {
            true => Err(format!("label name {} contains only underscores", quoted(key))),
            false => Ok(key.to_owned()),
        };
    }
    let mut name = escaped(key, config.label_name_preserve_multiple_underscores);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if config.label_name_underscore_sanitization && name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    match only_underscores(&name) {
        true => Err(format!("normalization for label name {} resulted in invalid name {}", quoted(key), quoted(&name))),
        false => Ok(name),
    }
}

fn escaped(key: &str, keeps_runs: bool) -> String {
    let reserved = key.strip_prefix("__").and_then(|k| k.strip_suffix("__")).filter(|_| !keeps_runs);
    let mut out = String::with_capacity(key.len());
    let mut after_underscore = false;
    for c in reserved.unwrap_or(key).chars() {
        let is_kept = c.is_ascii_alphanumeric();
        if is_kept {
            out.push(c);
        } else if keeps_runs || !after_underscore {
            out.push('_');
        }
        after_underscore = !is_kept;
    }
    if reserved.is_some() { format!("__{out}__") } else { out }
}
