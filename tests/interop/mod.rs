//! What the tests of the store beside real servers share: the plain values of `support` as the crate's own.

#![allow(dead_code, reason = "every test file compiles its own copy and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::path::Path;

use watershed::model::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, Value};

use super::support::remote_write;

/// A native histogram as the crate has it.
pub fn value(h: &remote_write::Histogram) -> Value {
    let span = |&(offset, length): &(i32, u32)| Span { offset, length };
    let layout = BucketLayout {
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        positive_spans: h.positive_spans.iter().map(span).collect(),
        negative_spans: h.negative_spans.iter().map(span).collect(),
        custom_values: h.custom_values.clone(),
    };
    let counter_reset_hint = if h.gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
    if h.float {
        return Value::FloatHistogram(Box::new(FloatHistogram {
            counter_reset_hint,
            layout,
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive_buckets: h.positive.clone(),
            negative_buckets: h.negative.clone(),
        }));
    }
    let deltas = |counts: &[f64]| {
        let before = std::iter::once(&0.0).chain(counts);
        counts.iter().zip(before).map(|(now, before)| *now as i64 - *before as i64).collect()
    };
    Value::Histogram(Box::new(Histogram {
        counter_reset_hint,
        layout,
        zero_count: h.zero_count as u64,
        count: h.count as u64,
        sum: h.sum,
        positive_buckets: deltas(&h.positive),
        negative_buckets: deltas(&h.negative),
    }))
}

/// What a kind of value is printed as; for [`promtool_3_5`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// First, as its loops come.
    Float,
    /// Second.
    FloatHistogram,
    /// Third.
    Histogram,
}

/// What releases up to 3.5 print of the lines of a dump: for each series they go through the floats, then through the
/// float histograms, then through the integer ones, each time losing the sample that is of another kind, and stop there.
pub fn promtool_3_5<'a>(lines: impl IntoIterator<Item = &'a str>, kind: impl Fn(&str) -> Kind) -> Vec<&'a str> {
    let (mut printed, mut series, mut stage) = (Vec::new(), "", Some(Kind::Float));
    for line in lines {
        let labels = &line[..line.find("} ").expect("labels") + 1];
        if labels != series {
            (series, stage) = (labels, Some(Kind::Float));
        }
        let Some(wanted) = stage else { continue };
        if kind(line) == wanted {
            printed.push(line);
            continue;
        }
        stage = match wanted {
            Kind::Float => Some(Kind::FloatHistogram),
            Kind::FloatHistogram => Some(Kind::Histogram),
            Kind::Histogram => None,
        };
    }
    printed
}

/// The kind of a line's value, where the series `h_0`, `h_2` and so on hold integer histograms, `h_1` and so on those of
/// floats, and all others floats.
pub fn kind_by_name(line: &str) -> Kind {
    let Some(at) = line.find("__name__=\"h_").filter(|_| line.contains("} {count:")) else { return Kind::Float };
    let digits = line[at + "__name__=\"h_".len()..].split('"').next().expect("a number");
    if digits.parse::<usize>().expect("a number") % 2 == 1 { Kind::FloatHistogram } else { Kind::Histogram }
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}
