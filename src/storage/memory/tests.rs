use super::*;
use crate::model::{FloatHistogram, Histogram, Labels, Matcher, STALE_NAN, Value};
use crate::storage::chunk::decode_values;
use crate::storage::{
    AppendReport, Appendable, Appender, FloatSample, HistogramRef, HistogramSample, LatestBatch, NewestValue,
    Queryable, Scope, SelectRequest, SeriesBatch, StreamStep, UnknownSeries,
};

fn series(appender: &mut dyn Appender, name: &str) -> SeriesRef {
    appender.series(&Labels::from_pairs([("__name__", name), ("job", "j")])).unwrap()
}

fn append(store: &MemoryStore, samples: &[(&str, i64, f64)]) -> AppendReport {
    let mut appender = store.appender();
    let batch: Vec<_> = samples
        .iter()
        .map(|(name, t, v)| FloatSample { series: series(&mut *appender, name), t: TimestampMs(*t), v: *v })
        .collect();
    assert_eq!(appender.append(&batch).unwrap(), UnknownSeries::default());
    appender.commit().unwrap()
}

fn append_histogram(store: &MemoryStore, name: &str, t: i64, value: HistogramRef<'_>) -> AppendReport {
    let mut appender = store.appender();
    let series = series(&mut *appender, name);
    let sample = HistogramSample { series, t: TimestampMs(t), start: TimestampMs(0), value };
    assert_eq!(appender.append_histograms(&[sample]).unwrap(), UnknownSeries::default());
    appender.commit().unwrap()
}

/// Appended, out of order, duplicate, too old.
fn counts(report: AppendReport) -> [u64; 4] {
    let refused = report.refused;
    assert_eq!((refused.too_far_in_future, refused.malformed), (0, 0));
    [report.appended, refused.out_of_order, refused.duplicate_timestamp, refused.too_old]
}

/// Times and floats of a series; NaN for anything but a float.
fn stored(store: &MemoryStore, name: &str) -> Vec<(i64, f64)> {
    let dump = store.dump();
    let found = dump.into_iter().find(|(labels, _)| labels.metric_name() == Some(name));
    let samples = found.map_or_else(Vec::new, |(_, samples)| samples);
    samples.iter().map(|s| (s.t.0, s.float().unwrap_or(f64::NAN))).collect()
}

fn all() -> [Selector; 1] {
    [vec![Matcher::equal("job", "j")]]
}

#[test]
fn refused_samples_come_back_with_their_reasons() {
    let store = MemoryStore::new();
    let report = append(&store, &[("a", 10, 1.0), ("a", 10, 1.0), ("a", 10, 2.0), ("a", 9, 1.0), ("b", 5, 1.0)]);
    assert_eq!(counts(report), [3, 1, 1, 0]);
    store.refuse_before(TimestampMs(20));
    assert_eq!(counts(append(&store, &[("c", 19, 1.0), ("c", 20, 1.0)])), [1, 0, 0, 1]);
}

#[test]
fn a_dropped_appender_leaves_no_sample() {
    let store = MemoryStore::new();
    let mut appender = store.appender();
    let series = series(&mut *appender, "a");
    let _ = appender.append(&[FloatSample { series, t: TimestampMs(1), v: 1.0 }]).unwrap();
    drop(appender);
    assert!(store.dump().is_empty());
}

#[test]
fn a_window_takes_late_samples_once() {
    let store = MemoryStore::with_window(DurationMs(100));
    append(&store, &[("a", 1000, 1.0), ("b", 500, 1.0)]);
    // The newest time is that before the batch, whatever the batch brings.
    let report =
        append(&store, &[("a", 2000, 2.0), ("a", 899, 3.0), ("a", 900, 3.0), ("a", 1000, 9.0), ("b", 400, 1.0)]);
    assert_eq!(counts(report), [2, 0, 0, 2]);
    assert_eq!(stored(&store, "a"), [(900, 3.0), (1000, 1.0), (2000, 2.0)]);
    assert_eq!(counts(append(&store, &[("a", 2000, 5.0), ("b", 1900, 1.0), ("b", 1900, 1.0)])), [2, 0, 1, 0]);
}

#[test]
fn a_series_without_samples_in_order_begins_in_order_unless_they_are_too_old_for_that() {
    let store = MemoryStore::with_window(DurationMs(100));
    append(&store, &[("a", 1000, 1.0)]);
    store.refuse_before(TimestampMs(950));
    assert_eq!(
        counts(append(&store, &[("b", 940, 1.0), ("b", 930, 2.0), ("b", 950, 3.0), ("b", 949, 4.0)])),
        [4, 0, 0, 0]
    );
    assert_eq!(stored(&store, "b"), [(930, 2.0), (940, 1.0), (949, 4.0), (950, 3.0)]);
}

#[test]
fn markers_take_the_kind_of_their_series_and_never_come_late() {
    let store = MemoryStore::with_window(DurationMs(1000));
    append(&store, &[("a", 900, 1.0)]);
    append_histogram(&store, "h", 1000, HistogramRef::Integer(&Histogram::default()));
    append_histogram(&store, "f", 1000, HistogramRef::Float(&FloatHistogram::default()));
    let mut appender = store.appender();
    let refs = ["a", "h", "f"].map(|name| series(&mut *appender, name));
    assert_eq!(appender.append_stale(&refs, TimestampMs(800)).unwrap(), UnknownSeries::default());
    assert_eq!(appender.refused(), [0, 1, 2]);
    assert_eq!(appender.append_stale(&refs, TimestampMs(1001)).unwrap(), UnknownSeries::default());
    assert!(appender.refused().is_empty());
    assert_eq!(counts(appender.commit().unwrap()), [3, 0, 0, 0]);
    let dump = store.dump();
    let last: Vec<_> = dump.values().map(|samples| samples.last().unwrap().clone()).collect();
    assert!(last.iter().all(|s| s.t == TimestampMs(1001) && s.value.is_stale()));
    assert!(matches!(
        (&last[0].value, &last[1].value, &last[2].value),
        (Value::Float(_), Value::FloatHistogram(_), Value::Histogram(_))
    ));
}

#[test]
fn another_kind_at_the_same_time_is_a_duplicate() {
    let store = MemoryStore::new();
    let histogram = Histogram { count: 1, ..Histogram::default() };
    for expected in [[1, 0, 0, 0], [1, 0, 0, 0]] {
        assert_eq!(counts(append_histogram(&store, "h", 5, HistogramRef::Integer(&histogram))), expected);
    }
    assert_eq!(counts(append(&store, &[("h", 5, 1.0)])), [0, 0, 1, 0]);
    assert_eq!(counts(append_histogram(&store, "h", 5, HistogramRef::Integer(&Histogram::default()))), [0, 0, 1, 0]);
}

#[test]
fn what_is_deleted_is_gone_and_still_judges_what_comes() {
    let store = MemoryStore::with_window(DurationMs(50));
    append(&store, &[("a", 10, 1.0), ("a", 20, 2.0), ("a", 30, 3.0), ("b", 20, 1.0)]);
    let a = [vec![Matcher::equal("__name__", "a")]];
    store.delete(&a, TimeRange { min: TimestampMs(20), max: TimestampMs(30) }).unwrap();
    assert_eq!((stored(&store, "a"), stored(&store, "b")), (vec![(10, 1.0)], vec![(20, 1.0)]));
    assert_eq!(counts(append(&store, &[("a", 30, 4.0), ("a", 20, 5.0)])), [1, 0, 1, 0]);
    assert_eq!(stored(&store, "a"), [(10, 1.0), (20, 5.0)]);
}

#[test]
fn streams_yield_samples_of_every_kind_in_order() {
    let store = MemoryStore::with_window(DurationMs(100_000));
    for t in [1, 3] {
        append_histogram(&store, "h", t, HistogramRef::Integer(&Histogram { count: t as u64, ..Histogram::default() }));
    }
    append(&store, &[("h", 4, 4.0), ("h", 2, 2.0)]);
    let request = SelectRequest { selectors: &all(), range: TimeRange::ALL, sorted: true, limit: None };
    let (mut batch, mut decoded) = (SeriesBatch::default(), Vec::new());
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
    batch.series[0].chunks.iter().for_each(|chunk| decode_values(chunk, &mut decoded).unwrap());
    let expected = store.dump().into_values().next().unwrap();
    assert_eq!(decoded.iter().map(|s| s.t.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(decoded.iter().zip(&expected).all(|(a, b)| a.is_same(b)));
}

#[test]
fn latest_leaves_out_series_that_have_ended() {
    let store = MemoryStore::new();
    append(&store, &[("a", 1000, 1.0), ("a", 299_000, 299.0), ("b", 1000, 1.0), ("b", 2000, STALE_NAN)]);
    append_histogram(&store, "h", 1000, HistogramRef::Integer(&Histogram { count: 7, ..Histogram::default() }));
    let request = SelectRequest { selectors: &all(), range: TimeRange::ALL, sorted: true, limit: None };
    let mut latest = LatestBatch::default();
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    assert!(matches!(stream.next(&mut latest).unwrap(), StreamStep::Batch));
    assert_eq!(latest.rows.len(), 2);
    assert_eq!((latest.rows[0].t, latest.rows[0].v), (TimestampMs(299_000), 299.0));
    let NewestValue::Histogram(HistogramRef::Integer(h)) = latest.value(&latest.rows[1]) else { panic!("a histogram") };
    assert_eq!((latest.rows[1].t, h.count), (TimestampMs(1000), 7));
    assert!(matches!(stream.next(&mut latest).unwrap(), StreamStep::End(end) if end.stats.series == 2));
}
