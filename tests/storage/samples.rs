//! What is written, and how to see what is there.

use std::collections::BTreeMap;

use watershed::model::{
    BucketLayout, CounterResetHint, FloatHistogram, Histogram, Labels, STALE_NAN, Span, TimestampMs, Value,
};
use watershed::storage::chunk::{TimedValue, decode_values};
use watershed::storage::{
    AppendError, AppendReport, Appendable, FloatSample, HistogramRef, HistogramSample, LatestBatch, LatestRow,
    NewestValue, Queryable, Scope, SelectRequest, Selector, SeriesBatch, SeriesRef, StreamStep, TimeRange,
    UnknownSeries,
};

pub const MINUTE: i64 = 60_000;
pub const START: i64 = 1_700_000_000_000;

/// Xorshift: enough for choosing steps, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    pub fn signed(&mut self, n: i64) -> i64 {
        self.below(n.unsigned_abs()).cast_signed()
    }
}

pub fn series(i: u64) -> Labels {
    let name = ["up", "load", "latency", "requests_total"][(i % 4) as usize];
    let (job, path) = (format!("job{}", i % 3), format!("/p/{i}"));
    Labels::from_pairs([("__name__", name), ("job", &job), ("path", &path)])
}

fn mix(i: u64, t: i64) -> u64 {
    let mut random = Random((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ t.cast_unsigned().rotate_left(17) | 1);
    random.below(1);
    random.below(1 << 40)
}

fn layout(kind: u64) -> BucketLayout {
    let spans = |pairs: &[(i32, u32)]| pairs.iter().map(|&(offset, length)| Span { offset, length }).collect();
    match kind % 4 {
        0 => BucketLayout {
            schema: 3,
            zero_threshold: 0.001,
            positive_spans: spans(&[(-2, 2), (1, 1)]),
            negative_spans: spans(&[(0, 1)]),
            custom_values: vec![],
        },
        1 => BucketLayout { schema: 3, zero_threshold: 0.001, positive_spans: spans(&[(0, 3)]), ..Default::default() },
        2 => BucketLayout {
            schema: -53,
            positive_spans: spans(&[(0, 3)]),
            custom_values: vec![0.1, 1.0, 10.0],
            ..Default::default()
        },
        _ => BucketLayout { schema: 0, zero_threshold: 1e-9, positive_spans: spans(&[(4, 3)]), ..Default::default() },
    }
}

/// The one value that a series has at an instant, so that a sample that comes twice says the same twice. Series hold one
/// kind each, except that some go over from floats to histograms.
pub fn value(i: u64, t: i64) -> Value {
    let seed = mix(i, t);
    let kind = match i % 8 {
        0..=4 => 0,
        5 => 1,
        6 => 2,
        _ => 1 + u64::from(t / (90 * MINUTE) % 2 == 0) * 2,
    };
    let layout = layout(i / 8 + u64::from(seed.is_multiple_of(5)));
    let positive: u64 = layout.positive_spans.iter().map(|s| u64::from(s.length)).sum();
    let negative: u64 = layout.negative_spans.iter().map(|s| u64::from(s.length)).sum();
    let hint = if seed.is_multiple_of(7) { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
    let counts: Vec<u64> = (0..positive + negative).map(|b| seed >> b & 0xff).collect();
    let zero_count = if layout.schema == -53 { 0 } else { seed & 3 };
    let sum = (seed % 1000) as f64 / 8.0;
    match kind {
        0 if seed.is_multiple_of(12) => Value::Float(STALE_NAN),
        0 if seed % 12 == 1 => Value::Float(f64::NAN),
        0 => Value::Float((seed % 6) as f64),
        1 => {
            let deltas = |counts: &[u64]| {
                let signed: Vec<i64> = counts.iter().map(|c| c.cast_signed()).collect();
                (0..signed.len()).map(|b| signed[b] - if b == 0 { 0 } else { signed[b - 1] }).collect()
            };
            Value::Histogram(Box::new(Histogram {
                counter_reset_hint: hint,
                layout,
                zero_count,
                count: zero_count + counts.iter().sum::<u64>(),
                sum,
                positive_buckets: deltas(&counts[..positive as usize]),
                negative_buckets: deltas(&counts[positive as usize..]),
            }))
        }
        _ => {
            let floats: Vec<f64> = counts.iter().map(|c| *c as f64 / 2.0).collect();
            Value::FloatHistogram(Box::new(FloatHistogram {
                counter_reset_hint: hint,
                layout,
                zero_count: zero_count as f64,
                count: zero_count as f64 + floats.iter().sum::<f64>(),
                sum,
                positive_buckets: floats[..positive as usize].to_vec(),
                negative_buckets: floats[positive as usize..].to_vec(),
            }))
        }
    }
}

/// The one start timestamp of a sample, 0 for none: some series never have one, some always, some now and then.
pub fn start(i: u64, t: i64) -> i64 {
    let seed = mix(i, !t);
    match i % 5 {
        0 | 1 => 0,
        // A counter that restarts every half hour.
        2 => t - t % (30 * MINUTE),
        3 if seed.is_multiple_of(3) => 0,
        3 => t - (seed % 90_000).cast_signed(),
        // From the age without starts to that with them and back.
        _ if t / (70 * MINUTE) % 2 == 0 => 0,
        _ => t - 15_000,
    }
}

/// What a store must answer for the sample of a series at an instant.
pub fn expected(i: u64, t: i64) -> Plain {
    Plain { start: start(i, t), value: plain(&value(i, t)) }
}

/// What of a sample must survive.
#[derive(Clone, PartialEq, Debug)]
pub struct Plain {
    start: i64,
    value: PlainValue,
}

impl Plain {
    pub fn of(sample: &TimedValue) -> Plain {
        Plain { start: sample.start.0, value: plain(&sample.value) }
    }

    /// That of a float without a start.
    pub fn float(v: f64) -> Plain {
        Plain { start: 0, value: plain(&Value::Float(v)) }
    }
}

/// A value, but not the way its buckets are laid out, and not hints, which encoders set.
#[derive(Clone, PartialEq, Debug)]
enum PlainValue {
    Float(u64),
    Stale,
    Histogram {
        is_float: bool,
        schema: i32,
        zero: (u64, u64),
        count: u64,
        sum: u64,
        buckets: BTreeMap<(bool, i32), u64>,
    },
}

fn plain(value: &Value) -> PlainValue {
    fn add(buckets: &mut BTreeMap<(bool, i32), u64>, sign: bool, spans: &[Span], counts: impl Iterator<Item = f64>) {
        let (mut index, mut left, mut spans) = (0, 0, spans.iter());
        for count in counts {
            while left == 0 {
                let span = spans.next().expect("as many buckets as spans promise");
                index += span.offset;
                left = span.length;
            }
            if count != 0.0 {
                buckets.insert((sign, index), count.to_bits());
            }
            (index, left) = (index + 1, left - 1);
        }
    }
    fn absolute(deltas: &[i64]) -> impl Iterator<Item = f64> {
        deltas.iter().scan(0, |count, delta| {
            *count += delta;
            Some(*count as f64)
        })
    }
    let mut buckets = BTreeMap::new();
    let bits = f64::to_bits;
    match value {
        value if value.is_stale() => PlainValue::Stale,
        Value::Float(v) => PlainValue::Float(bits(*v)),
        Value::Histogram(h) => {
            add(&mut buckets, true, &h.layout.positive_spans, absolute(&h.positive_buckets));
            add(&mut buckets, false, &h.layout.negative_spans, absolute(&h.negative_buckets));
            let zero = (bits(h.layout.zero_threshold), h.zero_count);
            let (schema, sum) = (h.layout.schema, bits(h.sum));
            PlainValue::Histogram { is_float: false, schema, zero, count: h.count, sum, buckets }
        }
        Value::FloatHistogram(h) => {
            add(&mut buckets, true, &h.layout.positive_spans, h.positive_buckets.iter().copied());
            add(&mut buckets, false, &h.layout.negative_spans, h.negative_buckets.iter().copied());
            let zero = (bits(h.layout.zero_threshold), bits(h.zero_count));
            let (schema, sum) = (h.layout.schema, bits(h.sum));
            PlainValue::Histogram { is_float: true, schema, zero, count: bits(h.count), sum, buckets }
        }
    }
}

pub type Dump = BTreeMap<Labels, Vec<(i64, Plain)>>;

pub fn select(store: &dyn Queryable, selectors: &[Selector], range: TimeRange) -> Dump {
    let request = SelectRequest { selectors, range, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).expect("a stream");
    let (mut batch, mut samples, mut found) = (SeriesBatch::default(), Vec::new(), Dump::new());
    let mut previous: Option<Labels> = None;
    while let StreamStep::Batch = stream.next(&mut batch).expect("a batch") {
        for series in &batch.series {
            assert!(previous.as_ref().is_none_or(|p| *p < series.labels), "{} is out of order", series.labels);
            previous = Some(series.labels.clone());
            assert!(series.chunks.windows(2).all(|w| w[0].max < w[1].min), "{}: chunks overlap", series.labels);
            samples.clear();
            for chunk in &series.chunks {
                let before = samples.len();
                decode_values(chunk, &mut samples).expect("a sound chunk");
                let ends = (samples.get(before).map(|s| s.t), samples.last().map(|s| s.t));
                assert_eq!(ends, (Some(chunk.min), Some(chunk.max)), "{}: a chunk's times", series.labels);
            }
            assert!(samples.windows(2).all(|w| w[0].t < w[1].t), "{}: a time twice", series.labels);
            let within = samples.iter().filter(|s| range.contains(s.t));
            let plain: Vec<_> = within.map(|sample| (sample.t.0, Plain::of(sample))).collect();
            if !plain.is_empty() {
                found.insert(series.labels.clone(), plain);
            }
        }
    }
    found
}

/// What a row says, as a number that is the same for the same.
fn said(batch: &LatestBatch, row: &LatestRow) -> u64 {
    match batch.value(row) {
        NewestValue::Float(v) => v.to_bits(),
        NewestValue::Histogram(HistogramRef::Integer(h)) => h.sum.to_bits().wrapping_add(h.count),
        NewestValue::Histogram(HistogramRef::Float(h)) => h.sum.to_bits().wrapping_add(h.count.to_bits()),
    }
}

pub fn latest(store: &dyn Queryable, selectors: &[Selector], range: TimeRange) -> Vec<(Vec<u8>, i64, u64)> {
    let request = SelectRequest { selectors, range, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).expect("a stream");
    let (mut batch, mut rows) = (LatestBatch::default(), Vec::new());
    while let StreamStep::Batch = stream.next(&mut batch).expect("a batch") {
        rows.extend(batch.rows.iter().map(|row| (batch.labels(row).to_vec(), row.t.0, said(&batch, row))));
    }
    rows
}

/// Appends the samples of series at instants, in one commit.
pub fn append(store: &dyn Appendable, batch: &[(u64, i64)]) -> Result<AppendReport, AppendError> {
    let mut appender = store.appender();
    for &(i, t) in batch {
        let labels = series(i);
        let reference: SeriesRef = appender.series(&labels)?;
        let (start, t) = (TimestampMs(start(i, t)), TimestampMs(t));
        let histogram = |value| HistogramSample { series: reference, t, start, value };
        let unknown = match &value(i, t.0) {
            Value::Float(v) => {
                let sample = FloatSample { series: reference, t, v: *v };
                // Both calls mean the same where there is no start.
                match (start.0, i % 2) {
                    (0, 0) => appender.append(&[sample]),
                    _ => appender.append_with_starts(&[sample], &[start]),
                }
            }
            Value::Histogram(h) => appender.append_histograms(&[histogram(HistogramRef::Integer(h))]),
            Value::FloatHistogram(h) => appender.append_histograms(&[histogram(HistogramRef::Float(h))]),
        };
        assert_eq!(unknown?, UnknownSeries::default());
    }
    appender.commit()
}
