//! What is queried: an hour of everything that may come.

use std::collections::{BTreeMap, BTreeSet};

use watershed::model::{
    BucketLayout, CounterResetHint, FloatHistogram, Histogram, Labels, STALE_NAN, Span, TimestampMs, Value,
};
use watershed::storage::{Appendable, FloatSample, HistogramRef, HistogramSample};

use super::random::Random;

/// The first sample's time, milliseconds.
pub const START: i64 = 1_700_000_400_000;
/// Between samples.
pub const STEP: i64 = 15_000;
/// Samples of a series without gaps.
pub const COUNT: i64 = 240;
/// Behind the last sample.
pub const END: i64 = START + STEP * COUNT;

/// A series.
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Its samples, ascending by time.
    pub samples: Vec<(i64, Value)>,
}

/// Everything. With `same_bounds` all histograms with custom bounds have the same: others cannot be added by peers before
/// 3.14.
pub fn series(random: &mut Random, same_bounds: bool) -> Vec<Series> {
    let mut all = Vec::new();
    floats(random, &mut all);
    classic_histograms(random, &mut all);
    native_histograms(random, same_bounds, &mut all);
    all
}

/// Writes everything, sample by sample of all series, as scrapes would. Series are created in the order of their labels,
/// because the order in which a store gives them decides what `limitk` and, of equals, `topk` choose.
pub fn write(all: &[Series], store: &dyn Appendable) {
    let sorted: BTreeSet<&Labels> = all.iter().map(|series| &series.labels).collect();
    let mut appender = store.appender();
    for labels in sorted {
        appender.series(labels).expect("the store takes series");
    }
    appender.commit().expect("the store takes series");
    let mut by_time: BTreeMap<i64, Vec<(&Labels, &Value)>> = BTreeMap::new();
    for series in all {
        for (t, value) in &series.samples {
            by_time.entry(*t).or_default().push((&series.labels, value));
        }
    }
    for (t, values) in by_time {
        let t = TimestampMs(t);
        let mut appender = store.appender();
        for (labels, value) in values {
            let series = appender.series(labels).expect("the store takes series");
            let histogram = |value| [HistogramSample { series, t, start: TimestampMs(0), value }];
            let unknown = match value {
                Value::Float(v) => appender.append(&[FloatSample { series, t, v: *v }]),
                Value::Histogram(h) => appender.append_histograms(&histogram(HistogramRef::Integer(h))),
                Value::FloatHistogram(h) => appender.append_histograms(&histogram(HistogramRef::Float(h))),
            };
            assert!(unknown.expect("the store takes samples").0.is_empty());
        }
        assert_eq!(appender.commit().expect("the store takes samples").refused.total(), 0);
    }
}

/// Times of samples: exact or a bit late; some are missing, sometimes many in a row, sometimes behind a staleness marker.
fn times(random: &mut Random) -> Vec<(i64, bool)> {
    let (is_late, gaps) = (random.one_in(2), random.of(&[0, 0, 40, 15]));
    let mut times = Vec::new();
    let mut missing = 0;
    for n in 0..COUNT {
        if missing > 0 {
            missing -= 1;
            continue;
        }
        let t = START + n * STEP + if is_late { random.between(0, 200) } else { 0 };
        let is_last = gaps > 0 && random.one_in(gaps);
        if is_last {
            missing = random.of(&[1, 2, 5, 12, 40]);
        }
        times.push((t, is_last && random.one_in(2)));
    }
    times
}

fn add(
    all: &mut Vec<Series>,
    random: &mut Random,
    labels: &[(&str, &str)],
    mut value: impl FnMut(&mut Random) -> Value,
) {
    let mut samples = Vec::new();
    for (t, is_end) in times(random) {
        let value = match is_end {
            true => Value::Float(STALE_NAN),
            false => value(random),
        };
        samples.push((t, value));
    }
    all.push(Series { labels: Labels::from_pairs(labels.iter().copied()), samples });
}

fn floats(random: &mut Random, all: &mut Vec<Series>) {
    for (job, instance) in pairs(&["api", "web"], &["0", "1", "2", "3"]) {
        for code in ["200", "500"] {
            let (mut v, lifetime) = (0.0, random.of(&[1000, 50, 20]));
            let labels = [("__name__", "requests_total"), ("job", job), ("instance", instance), ("code", code)];
            add(all, random, &labels, |random| {
                v = if random.one_in(lifetime) { 0.0 } else { v + random.below(50) as f64 };
                Value::Float(v)
            });
        }
        add(all, random, &[("__name__", "up"), ("job", job), ("instance", instance)], |random| {
            Value::Float(if random.one_in(10) { 0.0 } else { 1.0 })
        });
        let version = random.of(&["1.0", "1.1"]);
        let labels = [("__name__", "target_info"), ("job", job), ("instance", instance), ("version", version)];
        add(all, random, &labels, |_| Value::Float(1.0));
        let mut v = random.fraction();
        let labels = [("__name__", "seconds_total"), ("job", job), ("instance", instance)];
        add(all, random, &labels, |random| {
            v += random.fraction();
            Value::Float(v)
        });
    }
    for (room, floor) in pairs(&["bath", "kitchen", "cellar"], &["-1", "0"]) {
        let mut v = 20.0;
        add(all, random, &[("__name__", "temperature"), ("room", room), ("floor", floor)], |random| {
            v += random.fraction() * 4.0 - 2.0;
            Value::Float(v)
        });
        let labels = [("__name__", "humidity"), ("room", room), ("floor", floor)];
        add(all, random, &labels, |random| Value::Float(random.below(100) as f64));
    }
    const AWKWARD: [f64; 12] =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300, -1e300, 1e-300, 1e16, 0.1, -2.5, 1e15];
    for kind in ["a", "b", "c"] {
        let few = (0..3).map(|_| random.of(&AWKWARD)).collect::<Vec<_>>();
        add(all, random, &[("__name__", "awkward"), ("kind", kind)], |random| Value::Float(random.of(&few)));
    }
    // A name that other series have without it, so that both meet when names are dropped.
    for name in ["left", "right"] {
        for l in ["x", "y", "z"] {
            add(all, random, &[("__name__", name), ("l", l)], |random| Value::Float(random.between(-3, 4) as f64));
        }
    }
}

fn pairs<'a>(a: &'a [&'a str], b: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    a.iter().flat_map(|a| b.iter().map(|b| (*a, *b)))
}

fn classic_histograms(random: &mut Random, all: &mut Vec<Series>) {
    const BOUNDS: [&str; 6] = ["0.1", "0.5", "1", "2.5", "10", "+Inf"];
    for (job, instance) in pairs(&["api", "web"], &["0", "1"]) {
        let times = times(random);
        let mut counts = [0u64; BOUNDS.len()];
        let mut sum = 0.0;
        let of = |suffix: &str, le: Option<&str>| {
            let name = format!("latency_seconds_{suffix}");
            let pairs = [("__name__", name.as_str()), ("job", job), ("instance", instance)];
            Labels::from_pairs(pairs.into_iter().chain(le.map(|le| ("le", le))))
        };
        let mut series: Vec<Series> =
            BOUNDS.iter().map(|le| Series { labels: of("bucket", Some(le)), samples: Vec::new() }).collect();
        series.push(Series { labels: of("sum", None), samples: Vec::new() });
        series.push(Series { labels: of("count", None), samples: Vec::new() });
        for (t, is_end) in times {
            if random.one_in(80) {
                (counts, sum) = ([0; BOUNDS.len()], 0.0);
            }
            for (n, count) in counts.iter_mut().enumerate() {
                let more = random.below(5 - n.min(3) as u64);
                *count += more;
                sum += more as f64 * 0.7;
            }
            let mut cumulative = 0;
            let mut values: Vec<f64> = Vec::new();
            for count in counts {
                cumulative += count;
                values.push(cumulative as f64);
            }
            values.extend([sum, cumulative as f64]);
            for (series, v) in series.iter_mut().zip(values) {
                series.samples.push((t, Value::Float(if is_end { STALE_NAN } else { v })));
            }
        }
        all.extend(series);
    }
}

/// What a series of native histograms is like.
struct Kind {
    layout: BucketLayout,
    /// Indexes of its positive buckets, the end excluded.
    positive: (i32, i32),
    has_negative: bool,
    is_gauge: bool,
    is_float: bool,
}

fn exponential(schema: i32, positive: (i32, i32)) -> Kind {
    let layout = BucketLayout { schema, zero_threshold: 0.001, ..BucketLayout::default() };
    Kind { layout, positive, has_negative: false, is_gauge: false, is_float: false }
}

fn custom(bounds: &[f64]) -> Kind {
    let layout = BucketLayout { schema: -53, custom_values: bounds.to_vec(), ..BucketLayout::default() };
    let end = i32::try_from(bounds.len()).expect("few bounds") + 1;
    Kind { layout, positive: (0, end), has_negative: false, is_gauge: false, is_float: false }
}

fn native_histograms(random: &mut Random, same_bounds: bool, all: &mut Vec<Series>) {
    for (job, instance) in pairs(&["api", "web"], &["0", "1", "2"]) {
        let kind = Kind { is_float: random.one_in(3), ..exponential(random.of(&[0, 1, 2, 3]), (-4, 4)) };
        native(random, all, &[("__name__", "latency"), ("job", job), ("instance", instance)], kind);
    }
    for (room, floor) in pairs(&["bath", "kitchen"], &["-1", "0"]) {
        let kind =
            Kind { has_negative: true, is_gauge: true, is_float: true, ..exponential(random.of(&[0, 1]), (-2, 3)) };
        native(random, all, &[("__name__", "balance"), ("room", room), ("floor", floor)], kind);
    }
    for (job, instance) in pairs(&["api", "web"], &["0", "1"]) {
        let bounds: &[f64] = if random.one_in(3) && !same_bounds { &[0.5, 1.0, 5.0] } else { &[0.1, 0.5, 1.0, 5.0] };
        native(random, all, &[("__name__", "size"), ("job", job), ("instance", instance)], custom(bounds));
    }
    for l in ["x", "y"] {
        let before = all.len();
        native(random, all, &[("__name__", "mixed"), ("l", l)], exponential(0, (-1, 3)));
        for (_, value) in &mut all[before].samples {
            if random.one_in(3) && !value.is_stale() {
                *value = Value::Float(random.below(100) as f64);
            }
        }
    }
}

fn native(random: &mut Random, all: &mut Vec<Series>, labels: &[(&str, &str)], kind: Kind) {
    let mut positive: BTreeMap<i32, u64> = BTreeMap::new();
    let mut negative: BTreeMap<i32, u64> = BTreeMap::new();
    let (mut zero_count, mut sum) = (0, 0.0);
    let lifetime = random.of(&[1000, 60, 25]);
    add(all, random, labels, |random| {
        if kind.is_gauge || random.one_in(lifetime) {
            positive.clear();
            negative.clear();
            (zero_count, sum) = (0, 0.0);
        }
        for _ in 0..random.below(6) {
            let index = random.between(kind.positive.0.into(), kind.positive.1.into()) as i32;
            *positive.entry(index).or_default() += random.below(9);
            sum += random.fraction() * 3.0;
            if kind.has_negative {
                *negative.entry(random.between(-2, 3) as i32).or_default() += random.below(5);
                sum -= random.fraction();
            }
            if kind.layout.schema != -53 {
                zero_count += random.below(2);
            }
        }
        value(&kind, &positive, &negative, zero_count, sum)
    });
}

fn value(
    kind: &Kind,
    positive: &BTreeMap<i32, u64>,
    negative: &BTreeMap<i32, u64>,
    zero_count: u64,
    sum: f64,
) -> Value {
    let layout =
        BucketLayout { positive_spans: spans(positive), negative_spans: spans(negative), ..kind.layout.clone() };
    let counter_reset_hint = if kind.is_gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
    let count = zero_count + positive.values().sum::<u64>() + negative.values().sum::<u64>();
    if !kind.is_float {
        return Value::Histogram(Box::new(Histogram {
            counter_reset_hint,
            layout,
            zero_count,
            count,
            sum,
            positive_buckets: deltas(positive),
            negative_buckets: deltas(negative),
        }));
    }
    let floats = |counts: &BTreeMap<i32, u64>| counts.values().map(|count| *count as f64 * 0.5).collect();
    Value::FloatHistogram(Box::new(FloatHistogram {
        counter_reset_hint,
        layout,
        zero_count: zero_count as f64 * 0.5,
        count: count as f64 * 0.5,
        sum,
        positive_buckets: floats(positive),
        negative_buckets: floats(negative),
    }))
}

fn deltas(counts: &BTreeMap<i32, u64>) -> Vec<i64> {
    let mut before = 0;
    let delta = |count: &u64| {
        let count = count.cast_signed();
        count - std::mem::replace(&mut before, count)
    };
    counts.values().map(delta).collect()
}

fn spans(counts: &BTreeMap<i32, u64>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for index in counts.keys() {
        match spans.last_mut() {
            Some(last) if *index == next => last.length += 1,
            _ => spans.push(Span { offset: index - next, length: 1 }),
        }
        next = index + 1;
    }
    spans
}
