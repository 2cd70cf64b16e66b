//! Comparison with what the reference's engine answered, to the bit.

use std::str::{FromStr, SplitWhitespace};

use super::tests::windows_around;
use super::*;
use crate::model::{AnnotationKind, BucketLayout, CounterResetHint, LabelsBuilder, METRIC_NAME, Span};
use crate::promql::exec::{Cell, Steps};

const ANSWERS: &str = include_str!("golden.txt");
const LOOKBACK: i64 = 40_000;

fn next<T: FromStr>(fields: &mut SplitWhitespace<'_>) -> T {
    let field = fields.next().unwrap();
    field.parse().ok().unwrap_or_else(|| panic!("{field}"))
}

fn list<T>(fields: &mut SplitWhitespace<'_>, read: impl Fn(&mut SplitWhitespace<'_>) -> T) -> Vec<T> {
    (0..next::<usize>(fields)).map(|_| read(fields)).collect()
}

fn histogram(fields: &mut SplitWhitespace<'_>) -> FloatHistogram {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    let span = |fields: &mut SplitWhitespace<'_>| Span { offset: next(fields), length: next(fields) };
    let mut h = FloatHistogram {
        counter_reset_hint: [Unknown, Reset, NotReset, Gauge][next::<usize>(fields)],
        layout: BucketLayout { schema: next(fields), zero_threshold: next(fields), ..BucketLayout::default() },
        zero_count: next(fields),
        count: next(fields),
        sum: next(fields),
        ..FloatHistogram::default()
    };
    (h.layout.positive_spans, h.positive_buckets) = (list(fields, span), list(fields, next));
    (h.layout.negative_spans, h.negative_buckets) = (list(fields, span), list(fields, next));
    h.layout.custom_values = list(fields, next);
    h
}

/// A value as text that tells all but empty buckets, which say nothing, and what kind of NaN it is.
fn text(cell: Cell<'_>) -> String {
    match cell {
        Cell::Absent => String::new(),
        Cell::Float(v) => format!("{v:?}"),
        Cell::Histogram(h) => {
            let mut h = FloatHistogram::clone(h);
            h.compact(0);
            format!("{h:?}")
        }
    }
}

#[derive(Default)]
struct Series {
    labels: Labels,
    samples: Samples,
}

impl Series {
    fn new(mut fields: SplitWhitespace<'_>) -> Series {
        let mut labels = LabelsBuilder::new();
        for name in [METRIC_NAME, "__type__"] {
            fields.next().filter(|value| *value != "-").into_iter().for_each(|value| labels.push_new(name, value));
        }
        Series { labels: labels.labels(), samples: Samples::default() }
    }

    fn push_float(&mut self, mut fields: SplitWhitespace<'_>) {
        self.samples.times.push(next(&mut fields));
        self.samples.starts.push(next(&mut fields));
        self.samples.floats.push(next(&mut fields));
    }

    fn push_histogram(&mut self, mut fields: SplitWhitespace<'_>) {
        self.samples.histogram_times.push(next(&mut fields));
        self.samples.histogram_starts.push(next(&mut fields));
        self.samples.histograms.push(Arc::new(histogram(&mut fields)));
    }

    /// What a query answers, line by line as the file has it.
    fn answer(&self, mut fields: SplitWhitespace<'_>) -> Vec<String> {
        let (name, modifier): (String, String) = (next(&mut fields), next(&mut fields));
        let (range, start, interval) = (next(&mut fields), next(&mut fields), next(&mut fields));
        let (uses_starts, has_type_labels) = (next(&mut fields), next(&mut fields));
        let steps = Steps::between(start, start + 2 * interval, interval);
        let (extension, before, after) = match modifier.as_str() {
            "anchored" => (Extension::Anchored, LOOKBACK, 0),
            "smoothed" => (Extension::Smoothed, LOOKBACK, LOOKBACK),
            _ => (Extension::None, 0, 0),
        };
        // Remarks point to the first argument, which follows the name and a parenthesis.
        let position = Position { start: name.len() as u32 + 1, end: name.len() as u32 + 2 };
        let call = RangeCall {
            labels: &self.labels,
            samples: &self.samples,
            windows: &windows_around(&self.samples, steps, range, before, after),
            range,
            extension,
            args: &fields.map(|v| vec![v.parse().unwrap(); steps.count]).collect::<Vec<_>>(),
            steps,
            uses_starts,
            has_type_labels,
            position,
        };
        let (mut out, mut notes) = (StepSeries::absent(Labels::default(), steps.count), Notes::default());
        range_function(&name).unwrap()(&call, &mut out, &mut notes).unwrap();
        let values = (0..steps.count).map(|step| text(out.cell(step)));
        let annotations = notes.into_annotations(&" ".repeat(80));
        let texts = |kind| annotations.of(kind).map(|a| a.message.clone()).collect::<Vec<_>>();
        let mut notes = [texts(AnnotationKind::Info), texts(AnnotationKind::Warning)].concat();
        notes.sort();
        values.chain(notes).collect()
    }
}

#[test]
fn answers_are_those_of_the_reference() {
    let mut series = Series::default();
    let mut lines = ANSWERS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let mut fields = line.split_whitespace();
        match fields.next().unwrap() {
            "series" => series = Series::new(fields),
            "f" => series.push_float(fields),
            "h" => series.push_histogram(fields),
            "query" => {
                let mut wanted = vec![String::new(); 3];
                while let Some(line) = lines.next_if(|line| line.starts_with("  ")) {
                    if let Some(note) = line.strip_prefix("  note ") {
                        wanted.push(note.to_owned());
                        continue;
                    }
                    let mut fields = line.split_whitespace();
                    let (kind, step) = (next::<String>(&mut fields), next::<usize>(&mut fields));
                    wanted[step] = match kind.as_str() {
                        "f" => text(Cell::Float(next(&mut fields))),
                        _ => text(Cell::Histogram(&Arc::new(histogram(&mut fields)))),
                    };
                }
                assert_eq!(series.answer(fields), wanted, "{line}\n{:#?}", series.samples);
                count += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(count, ANSWERS.matches("\nquery ").count());
}
