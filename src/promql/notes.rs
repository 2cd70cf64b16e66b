//! What an evaluation remarks about its answer.
//!
//! The wording is the reference's, because people search for it and tests compare it: a note is rendered as
//! `PromQL warning: <text> (line:column)`. Notes of the same text are kept once, with the place of the latest, as the
//! reference does; two kinds count how often they came.

use hashbrown::HashMap;

use super::ast::{BinaryOp, Position};
use super::error::place_of;
use crate::model::number::General;
use crate::model::{Annotation, AnnotationKind, Annotations, GoQuoted, TimestampMs};

/// What histograms were doing when something about them was noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HistogramOperation {
    /// `+`
    Addition,
    /// `-`
    Subtraction,
    /// `sum`, `avg` and their `_over_time` forms.
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            HistogramOperation::Addition => "addition",
            HistogramOperation::Subtraction => "subtraction",
            HistogramOperation::Aggregation => "aggregation",
        }
    }
}

/// One remark. Metric names may be empty; then nothing is said of them.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Note<'a> {
    InvalidRatio { value: f64, capped_to: f64 },
    InvalidQuantile(f64),
    BadBucketLabel { metric: &'a str, label: &'a str },
    MixedFloatsHistograms { metric: &'a str },
    MixedFloatsHistogramsInAggregation,
    MixedClassicNativeHistograms { metric: &'a str },
    HistogramNotCounter { metric: &'a str },
    HistogramNotGauge { metric: &'a str },
    MixedExponentialCustomHistograms { metric: &'a str },
    PossibleNonCounter { metric: &'a str },
    PossibleNonCounterLabel { metric: &'a str, type_label: &'a str },
    ForcedMonotonicity { metric: &'a str, t: TimestampMs, min_bucket: f64, max_bucket: f64, max_diff: f64 },
    IncompatibleTypes { left: &'static str, op: BinaryOp, right: &'static str },
    HistogramIgnoredInAggregation { aggregation: &'static str },
    HistogramIgnoredInMixedRange { metric: &'a str },
    IncompatibleBucketLayout { op: BinaryOp },
    SortInRangeQuery,
    QuantileIsNan { metric: &'a str },
    QuantileIsSkewed { metric: &'a str },
    FractionWithoutNan { metric: &'a str },
    CounterResetCollision(HistogramOperation),
    MismatchedCustomBuckets(HistogramOperation),
    StartTimeOverlap { metric: &'a str },
}

impl Note<'_> {
    fn kind(&self) -> AnnotationKind {
        match self {
            Note::PossibleNonCounter { .. }
            | Note::PossibleNonCounterLabel { .. }
            | Note::ForcedMonotonicity { .. }
            | Note::IncompatibleTypes { .. }
            | Note::HistogramIgnoredInAggregation { .. }
            | Note::HistogramIgnoredInMixedRange { .. }
            | Note::QuantileIsNan { .. }
            | Note::QuantileIsSkewed { .. }
            | Note::FractionWithoutNan { .. }
            | Note::MismatchedCustomBuckets(_) => AnnotationKind::Info,
            _ => AnnotationKind::Warning,
        }
    }

    /// The text by which notes are told apart.
    fn text(&self) -> String {
        let of = |metric: &str| match metric {
            "" => String::new(),
            metric => format!(" for metric name {}", GoQuoted(metric)),
        };
        match self {
            Note::InvalidRatio { value, capped_to } => format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                General(*value),
                General(*capped_to)
            ),
            Note::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", General(*q)),
            Note::BadBucketLabel { metric, label } => {
                format!("bucket label \"le\" is missing or has a malformed value of {}{}", GoQuoted(label), of(metric))
            }
            Note::MixedFloatsHistograms { metric } => {
                format!("encountered a mix of histograms and floats for metric name {}", GoQuoted(metric))
            }
            Note::MixedFloatsHistogramsInAggregation => {
                "encountered a mix of histograms and floats for aggregation".to_owned()
            }
            Note::MixedClassicNativeHistograms { metric } => {
                format!("vector contains a mix of classic and native histograms{}", of(metric))
            }
            Note::HistogramNotCounter { metric } => {
                format!("this native histogram metric is not a counter: {}", GoQuoted(metric))
            }
            Note::HistogramNotGauge { metric } => {
                format!("this native histogram metric is not a gauge: {}", GoQuoted(metric))
            }
            Note::MixedExponentialCustomHistograms { metric } => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                GoQuoted(metric)
            ),
            Note::PossibleNonCounter { metric } => format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                GoQuoted(metric)
            ),
            Note::PossibleNonCounterLabel { metric, type_label } => format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                GoQuoted(type_label),
                GoQuoted(metric)
            ),
            Note::ForcedMonotonicity { metric, .. } => format!(
                "input to histogram_quantile needed to be fixed for monotonicity \
                 (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                of(metric)
            ),
            Note::IncompatibleTypes { left, op, right } => {
                let op = op.as_str();
                format!("incompatible sample types encountered for binary operator \"{op}\": {left} {op} {right}")
            }
            Note::HistogramIgnoredInAggregation { aggregation } => {
                format!("ignored histogram in {aggregation} aggregation")
            }
            Note::HistogramIgnoredInMixedRange { metric } => format!(
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                GoQuoted(metric)
            ),
            Note::IncompatibleBucketLayout { op } => {
                format!("incompatible bucket layout encountered for binary operator {}", op.as_str())
            }
            Note::SortInRangeQuery => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            Note::QuantileIsNan { metric } => {
                format!("input to histogram_quantile has NaN observations, result is NaN{}", of(metric))
            }
            Note::QuantileIsSkewed { metric } => {
                format!("input to histogram_quantile has NaN observations, result is skewed higher{}", of(metric))
            }
            Note::FractionWithoutNan { metric } => format!(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                of(metric)
            ),
            Note::CounterResetCollision(operation) => {
                format!("conflicting counter resets during histogram {}", operation.as_str())
            }
            Note::MismatchedCustomBuckets(operation) => {
                format!("mismatched custom buckets were reconciled during {}", operation.as_str())
            }
            Note::StartTimeOverlap { metric } => format!(
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                GoQuoted(metric)
            ),
        }
    }
}

/// What is added up over notes of one text.
#[derive(Clone, Debug)]
enum Tally {
    None,
    Occurrences(u64),
    Monotonicity { first: i64, last: i64, min_bucket: f64, max_bucket: f64, max_diff: f64, count: u64 },
}

impl Tally {
    fn of(note: &Note<'_>) -> Tally {
        match *note {
            Note::StartTimeOverlap { .. } => Tally::Occurrences(1),
            Note::ForcedMonotonicity { t, min_bucket, max_bucket, max_diff, .. } => {
                Tally::Monotonicity { first: t.0, last: t.0, min_bucket, max_bucket, max_diff, count: 1 }
            }
            _ => Tally::None,
        }
    }

    fn add(&mut self, other: Tally) {
        match (self, other) {
            (Tally::Occurrences(n), Tally::Occurrences(more)) => *n += more,
            (
                Tally::Monotonicity { first, last, min_bucket, max_bucket, max_diff, count },
                Tally::Monotonicity { first: f, last: l, min_bucket: low, max_bucket: high, max_diff: diff, count: n },
            ) => {
                *first = (*first).min(f);
                *last = (*last).max(l);
                *min_bucket = min_bucket.min(low);
                *max_bucket = max_bucket.max(high);
                *max_diff = max_diff.max(diff);
                *count += n;
            }
            _ => {}
        }
    }

    /// What the rendered note says of it.
    fn text(&self) -> String {
        let time = |t: i64| TimestampMs(t).to_rfc3339();
        match self {
            Tally::None | Tally::Occurrences(0 | 1) => String::new(),
            Tally::Occurrences(n) => format!(" ({n} occurrences)"),
            Tally::Monotonicity { first, last, min_bucket, max_bucket, max_diff, count } => format!(
                ", from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {}",
                General(*min_bucket),
                General(*max_bucket),
                two_digits(*max_diff),
                time(*first),
                time(*last),
            ),
        }
    }
}

/// A number with two significant digits, as `%.2g` writes it.
fn two_digits(v: f64) -> String {
    let rounded: f64 = format!("{v:.1e}").parse().unwrap_or(v);
    if rounded.is_finite() && rounded != 0.0 && (rounded.abs() >= 100.0 || rounded.abs() < 1e-4) {
        let text = format!("{rounded:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    General(rounded).to_string()
}

#[derive(Clone, Debug)]
struct Kept {
    kind: AnnotationKind,
    text: String,
    position: Position,
    tally: Tally,
}

/// The notes of an evaluation, or of a part of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    kept: Vec<Kept>,
    by_text: HashMap<String, usize>,
}

impl Notes {
    /// Keeps a note about the expression at `position`.
    pub fn add(&mut self, note: Note<'_>, position: Position) {
        let tally = Tally::of(&note);
        self.keep(Kept { kind: note.kind(), text: note.text(), position, tally });
    }

    /// Takes over the notes of a later part.
    pub fn merge(&mut self, other: Notes) {
        other.kept.into_iter().for_each(|kept| self.keep(kept));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn keep(&mut self, new: Kept) {
        match self.by_text.get(&new.text) {
            Some(&at) => {
                let old = &mut self.kept[at];
                old.position = new.position;
                old.tally.add(new.tally);
            }
            None => {
                self.by_text.insert(new.text.clone(), self.kept.len());
                self.kept.push(new);
            }
        }
    }

    /// The notes as the answer to `query` carries them.
    pub fn into_annotations(self, query: &str) -> Annotations {
        let mut annotations = Annotations::none();
        for Kept { kind, text, position, tally } in self.kept {
            let word = match kind {
                AnnotationKind::Warning => "warning",
                AnnotationKind::Info => "info",
            };
            let place = place_of(query, position.start as usize);
            annotations.add(Annotation {
                kind,
                message: format!("PromQL {word}: {text}{} ({place})", tally.text()),
                position: Some((position.start, position.end)),
                member: None,
            });
        }
        annotations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_one_text_are_kept_once_and_counted() {
        let mut notes = Notes::default();
        let at = |start| Position { start, end: start + 1 };
        notes.add(Note::InvalidQuantile(1.5), at(0));
        notes.add(Note::InvalidQuantile(1.5), at(4));
        notes.add(Note::StartTimeOverlap { metric: "m" }, at(1));
        let mut later = Notes::default();
        later.add(Note::StartTimeOverlap { metric: "m" }, at(2));
        let monotone = |t, min, diff| Note::ForcedMonotonicity {
            metric: "",
            t: TimestampMs(t),
            min_bucket: min,
            max_bucket: 5.0,
            max_diff: diff,
        };
        later.add(monotone(61_500, 1.0, 1.23), at(0));
        later.add(monotone(1_000, 0.5, 250.0), at(0));
        notes.merge(later);
        let texts: Vec<_> = notes.into_annotations("a\nbcd e").of(AnnotationKind::Warning).cloned().collect();
        assert_eq!(texts[0].message, "PromQL warning: quantile value should be between 0 and 1, got 1.5 (2:3)");
        assert_eq!(
            texts[1].message,
            "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric \"m\" \
             (2 occurrences) (2:1)"
        );
    }

    #[test]
    fn a_fixed_histogram_tells_its_span() {
        let mut notes = Notes::default();
        let at = Position::default();
        for (t, min_bucket, max_diff) in [(61_500, 1.0, 1.23), (1_000, 0.5, 250.0)] {
            let (t, max_bucket) = (TimestampMs(t), 5.0);
            notes.add(Note::ForcedMonotonicity { metric: "", t, min_bucket, max_bucket, max_diff }, at);
        }
        let annotations = notes.into_annotations("x");
        let text = &annotations.of(AnnotationKind::Info).next().map(|a| a.message.clone()).unwrap_or_default();
        assert!(text.ends_with(
            ", from buckets 0.5 to 5, with a max diff of 2.5e+02, over 2 samples from 1970-01-01T00:00:01Z to \
             1970-01-01T00:01:01Z (1:1)"
        ));
    }
}
