//! What scripts do with histograms: adding them up, telling whether two are the same, and making them of classic ones.
//! All of it is slow, and independent of the engine's own arithmetic.

use std::collections::BTreeMap;

use watershed::model::{BucketLayout, CounterResetHint, FloatHistogram, Labels, METRIC_NAME, Span};

use super::closeness::Closeness;
use super::text::number;

/// The schema with bounds of its own.
const CUSTOM_SCHEMA: i32 = -53;

/// `a + factor * b`.
pub fn plus(a: &FloatHistogram, b: &FloatHistogram, factor: f64) -> Result<FloatHistogram, String> {
    let (coarse, fine) = (a.layout.schema, b.layout.schema);
    if coarse > fine || (coarse == CUSTOM_SCHEMA) != (fine == CUSTOM_SCHEMA) {
        return Err(format!("a histogram of schema {fine} cannot be added to one of schema {coarse}"));
    }
    if a.layout.custom_values != b.layout.custom_values || a.layout.zero_threshold != b.layout.zero_threshold {
        return Err("histograms that are added up must have the same bounds".to_owned());
    }
    let sum = |into: (&[Span], &[f64]), add: (&[Span], &[f64])| {
        let mut all: BTreeMap<i32, f64> = indexed(into.0, into.1).collect();
        for (index, count) in indexed(add.0, add.1) {
            let index = if coarse == fine { index } else { ((index - 1) >> (fine - coarse)) + 1 };
            *all.entry(index).or_default() += factor * count;
        }
        all
    };
    let positive =
        sum((&a.layout.positive_spans, &a.positive_buckets), (&b.layout.positive_spans, &b.positive_buckets));
    let negative =
        sum((&a.layout.negative_spans, &a.negative_buckets), (&b.layout.negative_spans, &b.negative_buckets));
    Ok(FloatHistogram {
        counter_reset_hint: if factor < 0.0 { CounterResetHint::Gauge } else { hint_of_sum(a, b) },
        count: a.count + factor * b.count,
        sum: a.sum + factor * b.sum,
        zero_count: a.zero_count + factor * b.zero_count,
        layout: BucketLayout {
            positive_spans: positive.keys().copied().collect::<Indexes>().spans(),
            negative_spans: negative.keys().copied().collect::<Indexes>().spans(),
            ..a.layout.clone()
        },
        positive_buckets: positive.into_values().collect(),
        negative_buckets: negative.into_values().collect(),
    })
}

fn hint_of_sum(a: &FloatHistogram, b: &FloatHistogram) -> CounterResetHint {
    match (a.counter_reset_hint, b.counter_reset_hint) {
        (a, b) if a == b => a,
        (CounterResetHint::Gauge, _) | (_, CounterResetHint::Gauge) => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

/// Ascending indexes of buckets.
struct Indexes(Vec<i32>);

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Indexes {
        Indexes(indexes.into_iter().collect())
    }
}

impl Indexes {
    fn spans(self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut next = 0;
        for index in self.0 {
            match spans.last_mut() {
                Some(last) if index == next => last.length += 1,
                _ => spans.push(Span { offset: index - next, length: 1 }),
            }
            next = index + 1;
        }
        spans
    }
}

/// Counts with the indexes of their buckets.
fn indexed(spans: &[Span], counts: &[f64]) -> impl Iterator<Item = (i32, f64)> {
    let mut next = 0;
    let indexes: Vec<i32> = spans
        .iter()
        .flat_map(|span| {
            let start = next + span.offset;
            next = start + span.length.cast_signed();
            start..next
        })
        .collect();
    indexes.into_iter().zip(counts.to_vec())
}

/// Whether two histograms say the same; empty buckets say nothing. Hints are compared if `with_hint`.
pub fn is_same(expected: &FloatHistogram, found: &FloatHistogram, with_hint: bool, closeness: &mut Closeness) -> bool {
    let (a, b) = (&expected.layout, &found.layout);
    let mut filled = |a: (&[Span], &[f64]), b: (&[Span], &[f64])| {
        let filled = |(spans, counts)| indexed(spans, counts).filter(|(_, count)| *count != 0.0).collect::<Vec<_>>();
        let (a, b) = (filled(a), filled(b));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && closeness.is_same(a.1, b.1))
    };
    let buckets = filled((&a.positive_spans, &expected.positive_buckets), (&b.positive_spans, &found.positive_buckets))
        && filled((&a.negative_spans, &expected.negative_buckets), (&b.negative_spans, &found.negative_buckets));
    buckets
        && a.schema == b.schema
        && (a.schema != CUSTOM_SCHEMA || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && closeness.is_same(expected.count, found.count)
        && closeness.is_same(expected.sum, found.sum)
        && closeness.is_same(expected.zero_count, found.zero_count)
        && (!with_hint || expected.counter_reset_hint == found.counter_reset_hint)
}

/// A histogram with everything that [`is_same`] looks at.
pub fn shown(h: &FloatHistogram) -> String {
    format!(
        "{h} (schema {}, {:?}, zero threshold {:?})",
        h.layout.schema, h.counter_reset_hint, h.layout.zero_threshold
    )
}

/// Classic histograms by the labels and times of the native ones that are made of them.
#[derive(Default)]
pub struct Classic(BTreeMap<Labels, BTreeMap<i64, Parts>>);

#[derive(Default)]
struct Parts {
    /// Upper bounds and cumulative counts, ascending.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Which part of a classic histogram a series is.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl Classic {
    /// Adds samples of a series if it is a part of a classic histogram.
    pub fn add(&mut self, labels: &Labels, samples: impl Iterator<Item = (i64, f64)>) {
        let Some((base, part)) = part_of(labels) else { return };
        let all = self.0.entry(base).or_default();
        for (t, v) in samples {
            let parts = all.entry(t).or_default();
            match part {
                Part::Bucket(bound) => parts.buckets.push((bound, v)),
                Part::Count => parts.count = Some(v),
                Part::Sum => parts.sum = v,
            }
        }
    }

    /// The native histograms with custom bounds.
    pub fn native(self) -> impl Iterator<Item = (Labels, Vec<(i64, FloatHistogram)>)> {
        let native = |all: BTreeMap<i64, Parts>| all.into_iter().map(|(t, parts)| (t, parts.native())).collect();
        self.0.into_iter().map(move |(labels, all)| (labels, native(all)))
    }
}

fn part_of(labels: &Labels) -> Option<(Labels, Part)> {
    let name = labels.metric_name()?;
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let bound = number(labels.get("le")?).ok().filter(|bound| !bound.is_nan())?;
        (base, Part::Bucket(bound))
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else {
        (name.strip_suffix("_sum")?, Part::Sum)
    };
    let others = labels.iter().filter(|(name, _)| !matches!(*name, METRIC_NAME | "le"));
    let pairs: Vec<(&str, &str)> = others.chain([(METRIC_NAME, base)]).collect();
    Some((Labels::from_pairs(pairs), part))
}

impl Parts {
    fn native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Of series whose bounds are written differently only, the first counts.
        self.buckets.dedup_by_key(|(bound, _)| *bound);
        let count = self.count.or(self.buckets.last().map(|last| last.1)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let counts = self.buckets.iter().map(|(_, cumulative)| {
            let count = cumulative - before;
            before = *cumulative;
            count
        });
        let positive_buckets: Vec<f64> = counts.collect();
        assert!(
            positive_buckets.iter().all(|count| *count >= 0.0),
            "a classic histogram of a script is not cumulative"
        );
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| *bound != f64::INFINITY);
        let length = u32::try_from(positive_buckets.len()).expect("a script has few buckets");
        FloatHistogram {
            layout: BucketLayout {
                schema: CUSTOM_SCHEMA,
                positive_spans: vec![Span { offset: 0, length }],
                custom_values: bounds.collect(),
                ..BucketLayout::default()
            },
            count,
            sum: self.sum,
            positive_buckets,
            ..FloatHistogram::default()
        }
    }
}
