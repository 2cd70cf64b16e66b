//! Requests against a real store in memory.

use std::path::Path;
use std::sync::Arc;

use super::super::histogram;
use super::cache::SeriesCache;
use super::content::{Content, Message, Packing};
use super::intake::{At, Intake, Names, NamesError};
use super::labels::{LabelFault, RawPair};
use super::outcome::{Failure, Outcome, Written};
use super::receiver::{Config, Deps, Receiver};
use crate::disk::MemDisk;
use crate::model::{DurationMs, Labels, Metadata, MetricType, STALE_NAN, TimestampMs, Value};
use crate::net::protobuf::{Fields, Writer};
use crate::remote::snappy;
use crate::runtime::Clock;
use crate::storage::memory::MemoryStore;
use crate::storage::{
    AppendError, AppendReport, Appendable, Appender, ExemplarQueryable as _, FloatSample, Queryable as _, Scope,
    SelectRequest, SeriesBatch, SeriesRef, StreamStep, TimeRange, UnknownSeries, decode_values,
};
use crate::telemetry::Registry;
use crate::tsdb::{self, Settings, Starts, Tsdb};

const NOW: i64 = 1_700_000_000_000;

/// A receiver in front of a store.
struct Bench<S = Tsdb> {
    receiver: Receiver,
    store: Arc<S>,
    registry: Registry,
}

/// Time, value, start.
type Stored = (i64, f64, i64);

impl Bench {
    fn new() -> Bench {
        Bench::with(Settings::default(), Config::default())
    }

    fn with(settings: Settings, config: Config) -> Bench {
        let registry = Registry::new();
        let (disk, clock) = (Arc::new(MemDisk::new()), Clock::manual(TimestampMs(NOW)));
        let deps = tsdb::Deps { disk, clock, registry: registry.clone() };
        let options = tsdb::Options { settings, ..tsdb::Options::default() };
        let store = Arc::new(Tsdb::open(Path::new("/data"), options, deps).unwrap().0);
        Bench { receiver: receiver(store.clone(), config, &registry), store, registry }
    }

    /// Every series with its samples: time, value, start.
    fn all(&self) -> Vec<(String, Vec<Stored>)> {
        let selectors = [Vec::new()];
        let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
        let mut stream = self.store.select(&Scope::unbounded(), &request).unwrap();
        let (mut all, mut batch) = (Vec::new(), SeriesBatch::default());
        while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
            for series in &batch.series {
                let mut samples = Vec::new();
                series.chunks.iter().for_each(|chunk| decode_values(chunk, &mut samples).unwrap());
                let number = |value: &Value| match value {
                    Value::Float(v) => *v,
                    Value::Histogram(h) => h.count as f64,
                    Value::FloatHistogram(h) => h.count,
                };
                let samples = samples.iter().map(|s| (s.t.0 - NOW, number(&s.value), s.start.0)).collect();
                all.push((series.labels.to_string(), samples));
            }
        }
        all
    }

    fn metric(&self, start: &str) -> f64 {
        let mut text = String::new();
        self.registry.write_text(&mut text);
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or("absent 0");
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

impl<S> Bench<S> {
    fn send(&self, message: Message, bytes: &[u8]) -> Outcome {
        let mut body = Vec::new();
        snappy::encode(bytes, &mut body).unwrap();
        self.receiver.receive(Content { message, packing: Packing::Snappy }, &body)
    }
}

fn receiver(store: Arc<dyn Appendable>, config: Config, registry: &Registry) -> Receiver {
    Receiver::new(config, Deps { store, clock: Clock::manual(TimestampMs(NOW)), registry: registry.clone() })
}

fn written(samples: u64, histograms: u64, exemplars: u64) -> Written {
    Written { samples, histograms, exemplars }
}

fn why(outcome: &Outcome) -> String {
    match &outcome.failure {
        Some(Failure::Invalid(why)) => why.clone(),
        other => panic!("not invalid: {other:?}"),
    }
}

/// Times are relative to [`NOW`].
fn sample1(w: &mut Writer<'_>, t: i64, v: f64) {
    w.message(2, |w| {
        w.double(1, v);
        w.int(2, NOW + t);
    });
}

fn label1(w: &mut Writer<'_>, name: &str, value: &str) {
    w.message(1, |w| {
        w.bytes(1, name.as_bytes());
        w.bytes(2, value.as_bytes());
    });
}

/// A series of 1.0.
fn series1(w: &mut Writer<'_>, labels: &[(&str, &str)], samples: &[(i64, f64)]) {
    w.message(1, |w| {
        labels.iter().for_each(|(name, value)| label1(w, name, value));
        samples.iter().for_each(|(t, v)| sample1(w, *t, *v));
    });
}

fn message(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Writer::new(&mut bytes));
    bytes
}

/// A series of 2.0: references, and what else it has.
fn series2(w: &mut Writer<'_>, refs: &[u64], rest: impl FnOnce(&mut Writer<'_>)) {
    w.message(5, |w| {
        w.packed(1, refs.iter().copied());
        rest(w);
    });
}

fn sample2(w: &mut Writer<'_>, t: i64, v: f64, start: i64) {
    w.message(2, |w| {
        w.double(1, v);
        w.int(2, NOW + t);
        w.int(3, start);
    });
}

/// A histogram of 2.0 without buckets, but for the zero bucket.
fn histogram2(w: &mut Writer<'_>, field: u32, t: i64, count: u64, start: i64) {
    w.message(field, |w| {
        w.varint(1, count);
        w.varint(6, count);
        w.int(15, NOW + t);
        w.int(17, start);
    });
}

fn symbols(w: &mut Writer<'_>, symbols: &[&str]) {
    symbols.iter().for_each(|symbol| w.bytes(4, symbol.as_bytes()));
}

const SYMBOLS: &[&str] = &["", "__name__", "up", "job", "a", "b", "what it is", "seconds", "trace_id", "x1"];

#[test]
fn both_messages_name_the_same_series() {
    let bench = Bench::new();
    let first = bench.send(Message::V1, &message(|w| series1(w, &[("__name__", "up"), ("job", "a")], &[(0, 1.0)])));
    assert!(first.failure.is_none());
    // Another order, an empty value, labels behind the sample, a label that no short length holds.
    let long = "v".repeat(20_000);
    let second = bench.send(
        Message::V1,
        &message(|w| {
            series1(w, &[("job", "a"), ("none", ""), ("__name__", "up")], &[(1, 2.0)]);
            w.message(1, |w| {
                label1(w, "__name__", "up");
                sample1(w, 2, 3.0);
                label1(w, "job", "a");
            });
            series1(w, &[("__name__", "up"), ("long", &long)], &[(0, 9.0)]);
        }),
    );
    assert_eq!((second.failure.is_none(), second.written), (true, written(3, 0, 0)));
    let third = bench.send(
        Message::V2,
        &message(|w| {
            symbols(w, SYMBOLS);
            series2(w, &[3, 4, 1, 2], |w| sample2(w, 3, 4.0, 0));
            // References one by one.
            w.message(5, |w| {
                [1, 2, 3, 4].into_iter().for_each(|symbol| w.varint(1, symbol));
                sample2(w, 4, 5.0, 0);
            });
        }),
    );
    assert_eq!((third.failure.is_none(), third.written), (true, written(2, 0, 0)));
    let all = bench.all();
    assert_eq!(all.len(), 2);
    let expected: Vec<(i64, f64, i64)> = (0..5).map(|t| (t, t as f64 + 1.0, 0)).collect();
    assert_eq!(all[0], (r#"up{job="a"}"#.to_owned(), expected));
    assert_eq!(bench.metric("watershed_remote_write_receiver_written_total{kind=\"samples\"}"), 6.0);
    assert_eq!(bench.metric("watershed_remote_write_receiver_cached_series"), 4.0, "one way cannot be cached");
}

#[test]
fn what_can_be_written_is_and_the_rest_is_told_by_reason() {
    let bench = Bench::new();
    let up = [("__name__", "up"), ("job", "a")];
    assert!(bench.send(Message::V1, &message(|w| series1(w, &up, &[(0, 1.0)]))).failure.is_none());
    let outcome = bench.send(
        Message::V1,
        &message(|w| {
            series1(w, &[("job", "a")], &[(5, 1.0), (6, 1.0)]);
            series1(w, &up, &[(-1, 1.0)]);
            series1(w, &up, &[(0, 2.0)]);
            series1(w, &up, &[(5, 2.0)]);
            series1(w, &[("__name__", "far")], &[(0, 1.0), (10 * 60_000 + 1, 2.0)]);
            series1(w, &[("__name__", "up"), ("job", "a"), ("job", "a")], &[(7, 1.0)]);
            w.message(1, |w| {
                label1(w, "__name__", "h");
                // Three observations and no bucket.
                w.message(4, |w| w.varint(1, 3));
            });
        }),
    );
    assert_eq!(outcome.written, written(2, 0, 0));
    let text = why(&outcome);
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "not written: 2 x no metric name, 1 x out of bounds: timestamp is too far in the future, \
         1 x repeated label name, 1 x malformed histogram, 1 x out of order sample, 1 x duplicate sample for timestamp"
    );
    assert!(text.contains("out of order sample for series {__name__=\"up\", job=\"a\"} at 1699999999999"), "{text}");
    assert!(text.contains("the buckets hold 0 observations, the count is 3"), "{text}");
    assert_eq!(bench.metric("watershed_api_remote_write_invalid_labels_samples_total"), 3.0);
    let refused = "watershed_remote_write_receiver_refused_total{reason=";
    assert_eq!(bench.metric(&format!("{refused}\"out_of_order\"}}")), 1.0);
    assert_eq!(bench.metric(&format!("{refused}\"malformed_histogram\"}}")), 1.0);
    assert_eq!(bench.all()[1], (r#"up{job="a"}"#.to_owned(), vec![(0, 1.0, 0), (5, 2.0, 0)]));
}

#[test]
fn samples_that_contradict_others_of_their_request_are_counted_too() {
    let bench = Bench::new();
    let outcome = bench.send(
        Message::V2,
        &message(|w| {
            symbols(w, SYMBOLS);
            series2(w, &[1, 2], |w| {
                sample2(w, 5, 1.0, 0);
                sample2(w, 4, 1.0, 0);
                sample2(w, 5, 2.0, 0);
            });
            series2(w, &[1, 4], |w| {
                histogram2(w, 3, 2, 1, 0);
                histogram2(w, 3, 1, 1, 0);
            });
        }),
    );
    assert_eq!(outcome.written, written(1, 1, 0));
    assert!(why(&outcome).starts_with("not written: 2 x out of order sample, 1 x duplicate sample"), "{outcome:?}");
}

#[test]
fn samples_out_of_order_are_taken_within_the_window() {
    let settings = Settings { out_of_order_window: DurationMs(60_000), ..Settings::default() };
    let bench = Bench::with(settings, Config::default());
    let send = |t| bench.send(Message::V1, &message(|w| series1(w, &[("__name__", "up")], &[(t, t as f64)])));
    assert!(send(0).failure.is_none());
    let late = send(-60_000);
    assert_eq!((late.failure.is_none(), late.written), (true, written(1, 0, 0)));
    assert!(why(&send(-60_001)).contains("too old sample"));
    let again = send(-60_000);
    assert_eq!((again.failure.is_none(), again.written), (true, written(1, 0, 0)), "it is there");
}

#[test]
fn a_request_that_comes_again_changes_nothing() {
    let settings = Settings { max_exemplars: 10, ..Settings::default() };
    let bench = Bench::with(settings, Config::default());
    let request = message(|w| {
        symbols(w, SYMBOLS);
        series2(w, &[1, 2], |w| {
            sample2(w, 0, 1.0, 0);
            w.message(4, |w| {
                w.packed(1, [8, 9].into_iter());
                w.double(2, 0.5);
                w.int(3, NOW);
            });
        });
        series2(w, &[1, 4], |w| histogram2(w, 3, 0, 2, 0));
    });
    for _ in 0..3 {
        let outcome = bench.send(Message::V2, &request);
        assert_eq!((outcome.failure.is_none(), outcome.written), (true, written(1, 1, 1)));
    }
    assert_eq!(bench.all().iter().map(|(_, samples)| samples.len()).sum::<usize>(), 2);
    let exemplars = bench.store.select_exemplars(&[Vec::new()], TimeRange::ALL).unwrap();
    assert_eq!((exemplars.len(), exemplars[0].1.len()), (1, 1));
    assert_eq!(exemplars[0].1[0].labels, Labels::from_pairs([("trace_id", "x1")]));
}

#[test]
fn exemplars_that_are_not_kept_are_told_in_2_0_and_not_in_1_0() {
    let settings = Settings { max_exemplars: 10, ..Settings::default() };
    let bench = Bench::with(settings, Config::default());
    let long = "x".repeat(200);
    let request = message(|w| {
        symbols(w, &["", "__name__", "up", "trace_id", "x", "", &long]);
        series2(w, &[1, 2], |w| {
            sample2(w, 0, 1.0, 0);
            for (t, refs) in
                [(5, [3, 4]), (4, [3, 4]), (6, [3, 6]), (7, [5, 4]), (8, [3, 99]), (700_000, [3, 4]), (-NOW, [3, 4])]
            {
                w.message(4, |w| {
                    w.packed(1, refs.into_iter());
                    w.int(3, NOW + t);
                });
            }
        });
    });
    assert_eq!(bench.send(Message::V2, &request).written, written(1, 0, 2), "the late one is not late yet");
    let outcome = bench.send(Message::V2, &request);
    assert_eq!(outcome.written, written(1, 0, 1));
    let text = why(&outcome);
    let expected = "not written: 1 x out of order exemplar, 1 x exemplar with too long labels, 1 x exemplar with empty \
                    label name, 1 x exemplar with label reference outside of the symbols, 1 x exemplar too far in the future, 1 x exemplar without a timestamp";
    assert_eq!(text.lines().next().unwrap(), expected);
    let late = message(|w| {
        w.message(1, |w| {
            label1(w, "__name__", "up");
            w.message(3, |w| w.int(3, NOW + 1));
        });
    });
    let outcome = bench.send(Message::V1, &late);
    assert_eq!((outcome.failure.is_none(), outcome.written), (true, written(0, 0, 0)));
}

#[test]
fn start_timestamps_and_metadata_are_stored() {
    let settings = Settings { starts: Starts::Keep, ..Settings::default() };
    let bench = Bench::with(settings, Config::default());
    let request = |t, help| {
        message(|w| {
            symbols(w, SYMBOLS);
            series2(w, &[1, 2], |w| {
                sample2(w, t, 1.0, NOW - 7);
                w.message(5, |w| {
                    w.varint(1, 1);
                    w.varint(3, help);
                    w.varint(4, 7);
                });
            });
            series2(w, &[1, 4], |w| histogram2(w, 3, t, 2, NOW - 9));
        })
    };
    let metadata = || {
        let series = bench.store.appender().series(&Labels::from_pairs([("__name__", "up")])).unwrap();
        bench.store.metadata_of(series).map(|found| (*found).clone())
    };
    assert!(bench.send(Message::V2, &request(0, 6)).failure.is_none());
    let told = |help: &str| Metadata { metric_type: MetricType::Counter, help: help.into(), unit: "seconds".into() };
    assert_eq!(metadata(), Some(told("what it is")));
    assert!(bench.send(Message::V2, &request(1, 4)).failure.is_none());
    assert_eq!(metadata(), Some(told("a")), "the newest counts");
    assert_eq!(bench.all()[0].1, [(0, 2.0, NOW - 9), (1, 2.0, NOW - 9)]);
    assert_eq!(bench.all()[1].1, [(0, 1.0, NOW - 7), (1, 1.0, NOW - 7)]);
}

#[test]
fn type_and_unit_become_labels_if_asked_for() {
    let config = Config { has_type_labels: true, ..Config::default() };
    let bench = Bench::with(Settings::default(), config);
    let request = message(|w| {
        symbols(w, &["", "__name__", "up", "__type__", "gauge", "seconds"]);
        for metric_type in [1, 2, 0] {
            series2(w, &[1, 2, 3, 4], |w| {
                sample2(w, 0, f64::from(metric_type as u8), 0);
                w.message(5, |w| {
                    w.varint(1, metric_type);
                    w.varint(4, if metric_type == 2 { 5 } else { 0 });
                });
            });
        }
    });
    assert_eq!(bench.send(Message::V2, &request).written, written(3, 0, 0));
    let names: Vec<String> = bench.all().into_iter().map(|(labels, _)| labels).collect();
    let expected =
        [r#"up{__type__="counter"}"#, r#"up{__type__="gauge"}"#, r#"up{__type__="gauge", __unit__="seconds"}"#];
    assert_eq!(names, expected);
}

#[test]
fn symbols_that_do_not_exist_refuse_their_series_only() {
    let bench = Bench::new();
    let outcome = bench.send(
        Message::V2,
        &message(|w| {
            symbols(w, SYMBOLS);
            series2(w, &[1, 2, 3], |w| sample2(w, 0, 1.0, 0));
            series2(w, &[1, 99], |w| sample2(w, 0, 1.0, 0));
            series2(w, &[1, u64::MAX], |w| histogram2(w, 3, 0, 1, 0));
            series2(w, &[1, 2], |w| {
                sample2(w, 0, 1.0, 0);
                w.message(5, |w| w.varint(3, 99));
            });
            series2(w, &[1, 2], |_| {});
            series2(w, &[1, 5], |w| sample2(w, 0, 1.0, 0));
        }),
    );
    assert_eq!(outcome.written, written(1, 0, 0));
    let text = why(&outcome);
    let expected = "not written: 1 x odd number of label references, 2 x label reference outside of the symbols, \
                    1 x metadata reference outside of the symbols, 1 x no sample and no histogram";
    assert_eq!(text.lines().next().unwrap(), expected);
    let too_many = message(|w| (0..=1 << 20).for_each(|_| w.bytes(4, b"")));
    assert_eq!(why(&bench.send(Message::V2, &too_many)), "there are too many symbols");
}

#[test]
fn a_message_that_cannot_be_read_leaves_nothing_behind() {
    let bench = Bench::new();
    let whole = message(|w| {
        (0..50).for_each(|i| series1(w, &[("__name__", "up"), ("i", &i.to_string())], &[(0, 1.0)]));
    });
    for cut in 1..whole.len() {
        let outcome = bench.send(Message::V1, &whole[..cut]);
        if outcome.failure.is_some() {
            assert_eq!(outcome.written, written(0, 0, 0), "{cut}");
            assert!(why(&outcome).starts_with("not a message of remote write"), "{cut}");
        }
    }
    assert!(bench.metric("watershed_remote_write_receiver_rejected_requests_total{reason=\"malformed\"}") > 50.0);
    for message in [Message::V1, Message::V2] {
        assert!(bench.send(message, &[]).failure.is_none(), "an empty request is none to refuse");
    }
}

#[test]
fn series_that_the_store_has_forgotten_are_named_again() {
    let (store, registry) = (Arc::new(MemoryStore::new()), Registry::new());
    let bench = Bench { receiver: receiver(store.clone(), Config::default(), &registry), store, registry };
    let request = |t| {
        message(|w| {
            symbols(w, SYMBOLS);
            series2(w, &[1, 2], |w| {
                sample2(w, t, 1.0, 0);
                w.message(5, |w| w.varint(1, 1));
            });
            series2(w, &[1, 4], |w| histogram2(w, 3, t, 2, 0));
            series2(w, &[1, 5], |w| {
                w.message(4, |w| w.int(3, NOW + t));
            });
        })
    };
    assert_eq!(bench.send(Message::V2, &request(0)).written, written(1, 1, 1));
    bench.store.drop_before(TimestampMs(NOW + 5));
    assert!(bench.store.dump().is_empty());
    let outcome = bench.send(Message::V2, &request(10));
    assert_eq!((outcome.failure.is_none(), outcome.written), (true, written(1, 1, 1)));
    assert_eq!(bench.store.dump().len(), 2);
}

#[test]
fn a_message_larger_than_a_slice_is_committed_in_several() {
    let bench = Bench::new();
    // Samples of one millisecond each, more than one slice holds; the last field is cut off.
    let samples = 300_000;
    let mut request = message(|w| {
        w.message(1, |w| {
            label1(w, "__name__", "long");
            (0..samples).for_each(|t| sample1(w, t - samples, t as f64));
        });
    });
    request.extend_from_slice(&[0x0a, 5, 1]);
    let outcome = bench.send(Message::V1, &request);
    assert!(why(&outcome).contains("cut off"), "{outcome:?}");
    assert!(outcome.written.samples > 100_000 && outcome.written.samples < samples as u64, "{outcome:?}");
    assert_eq!(bench.all()[0].1.len() as u64, outcome.written.samples);
    request.truncate(request.len() - 3);
    // What is there already is out of order now, but for the newest; nothing is lost and nothing is doubled.
    let again = bench.send(Message::V1, &request);
    assert_eq!(again.written, written(samples as u64 - outcome.written.samples + 1, 0, 0));
    assert_eq!(bench.all()[0].1.len() as i64, samples);
}

#[test]
fn new_series_with_long_labels_do_not_wait_for_the_end_of_the_request() {
    let bench = Bench::new();
    let long = "v".repeat(512 << 10);
    let names: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    let mut request = message(|w| {
        symbols(w, &["", "__name__", "long", &long]);
        names.iter().for_each(|name| w.bytes(4, name.as_bytes()));
        (4..44).for_each(|name| series2(w, &[1, name, 2, 3], |w| sample2(w, 0, 1.0, 0)));
    });
    // A series whose sample is cut off.
    request.extend_from_slice(&[0x2a, 2, 0x12, 5]);
    let outcome = bench.send(Message::V2, &request);
    assert!(why(&outcome).contains("cut off"), "{outcome:?}");
    assert_eq!(outcome.written.samples, bench.all().len() as u64);
    assert!((16..40).contains(&outcome.written.samples), "{}", outcome.written.samples);
}

#[test]
fn known_series_with_exemplars_and_long_labels_do_not_either() {
    let settings = Settings { max_exemplars: 100, ..Settings::default() };
    let bench = Bench::with(settings, Config::default());
    let long = "v".repeat(512 << 10);
    let names: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    let request = |rest: &dyn Fn(&mut Writer<'_>)| {
        message(|w| {
            symbols(w, &["", "__name__", "long", &long]);
            names.iter().for_each(|name| w.bytes(4, name.as_bytes()));
            (4..44).for_each(|name| series2(w, &[1, name, 2, 3], rest));
        })
    };
    assert!(bench.send(Message::V2, &request(&|w| sample2(w, 0, 1.0, 0))).failure.is_none());
    let mut request = request(&|w| w.message(4, |w| w.int(3, NOW)));
    // A series whose exemplar is cut off.
    request.extend_from_slice(&[0x2a, 2, 0x22, 5]);
    let outcome = bench.send(Message::V2, &request);
    assert!(why(&outcome).contains("cut off"), "{outcome:?}");
    assert!((16..40).contains(&outcome.written.exemplars), "{outcome:?}");
}

#[test]
fn metadata_that_is_too_long_is_cut_between_two_characters() {
    let bench = Bench::new();
    let help = "é".repeat(40_000);
    let request = message(|w| {
        symbols(w, &["", "__name__", "up", &format!("x{help}"), "seconds"]);
        series2(w, &[1, 2], |w| {
            sample2(w, 0, 1.0, 0);
            w.message(5, |w| {
                w.varint(3, 3);
                w.varint(4, 4);
            });
        });
    });
    let outcome = bench.send(Message::V2, &request);
    assert_eq!((outcome.failure.is_none(), outcome.written), (true, written(1, 0, 0)));
    let series = bench.store.appender().series(&Labels::from_pairs([("__name__", "up")])).unwrap();
    let stored = bench.store.metadata_of(series).map(|found| (*found).clone()).unwrap();
    assert_eq!(stored.help.len(), (64 << 10) - 1);
    assert!(format!("x{help}").starts_with(&stored.help));
    assert_eq!(stored.unit, "seconds");
}

#[test]
fn late_markers_are_told_and_markers_keep_their_bits() {
    let bench = Bench::new();
    let send = |t, v| bench.send(Message::V1, &message(|w| series1(w, &[("__name__", "up")], &[(t, v)])));
    assert!(send(0, 1.0).failure.is_none());
    assert!(send(5, STALE_NAN).failure.is_none());
    assert_eq!(bench.all()[0].1[1].1.to_bits(), STALE_NAN.to_bits());
    let late = send(3, STALE_NAN);
    assert_eq!(late.written, written(0, 0, 0));
    assert!(why(&late).contains("out of order sample"));
}

/// A store that keeps nothing.
struct Nowhere;

impl Appendable for Nowhere {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Nowhere)
    }
}

impl Appender for Nowhere {
    fn series(&mut self, _: &Labels) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(1))
    }

    fn append(&mut self, _: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        Ok(UnknownSeries::default())
    }

    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError> {
        Ok(AppendReport::default())
    }
}

#[test]
fn a_request_does_not_spell_out_gigabytes_of_labels() {
    let registry = Registry::new();
    let receiver = receiver(Arc::new(Nowhere), Config::default(), &registry);
    let bench = Bench { receiver, store: Arc::new(Nowhere), registry };
    let long = "v".repeat(1_000_000);
    let names: Vec<String> = (0..1000).map(|n| format!("m{n}")).collect();
    let request = message(|w| {
        symbols(w, &["", "__name__", "long", &long]);
        names.iter().for_each(|name| w.bytes(4, name.as_bytes()));
        (4..1004).for_each(|name| series2(w, &[1, name, 2, 3], |w| sample2(w, 0, 1.0, 0)));
    });
    let outcome = bench.send(Message::V2, &request);
    assert!(matches!(outcome.failure, Some(Failure::TooLarge(_))), "{outcome:?}");
    assert!((400..540).contains(&outcome.written.samples), "{outcome:?}");
    let same = |rest: &dyn Fn(&mut Writer<'_>, u64)| {
        message(|w| {
            symbols(w, &["", "__name__", "m0", "long", &long[..400_000], &long[..64_000], &long[..63_000]]);
            (0..20_000).for_each(|n| series2(w, &[1, 2, 3, 4], |w| rest(w, n)));
        })
    };
    let exemplars = same(&|w, _| w.message(4, |w| w.int(3, NOW)));
    let metadata = same(&|w, n| {
        sample2(w, 0, 1.0, 0);
        w.message(5, |w| w.varint(3, 5 + n % 2));
    });
    let repeated = message(|w| {
        symbols(w, &["", "__name__", "m0", "long", &long[..400_000]]);
        (0..2000).for_each(|_| series2(w, &[1, 2, 3, 4, 3, 4], |w| sample2(w, 0, 1.0, 0)));
    });
    let of_one = message(|w| {
        symbols(w, &["", "__name__", "m0", "long", &long[..400_000]]);
        series2(w, &[1, 2, 3, 4], |w| (0..2000).for_each(|_| w.message(4, |w| w.int(3, NOW))));
    });
    for request in [exemplars, metadata, repeated, of_one] {
        let outcome = bench.send(Message::V2, &request);
        assert!(matches!(outcome.failure, Some(Failure::TooLarge(_))), "{outcome:?}");
    }
}

/// Names that can no longer be read.
struct Lost;

impl<'m> Names<'m> for Lost {
    fn pairs(&self, _: &'m [u8], _: &mut Vec<RawPair<'m>>) -> Result<(), NamesError> {
        Err(LabelFault::NoMetricName.into())
    }
}

#[test]
fn a_histogram_whose_series_has_gone_and_has_no_name_is_told() {
    let (store, cache, now) = (MemoryStore::new(), SeriesCache::new(), TimestampMs(NOW));
    let mut intake = Intake::new(&store, &cache, &Lost, now, now);
    let bytes = message(|w| histogram2(w, 1, 0, 2, 0));
    let field = Fields::new(&bytes).next().unwrap().unwrap();
    let sample = histogram::decode(field.message().unwrap()).unwrap();
    intake.histogram(At { text: &[], key: None }, SeriesRef(99), sample).unwrap();
    let (taken, _, failure) = intake.finish(Ok(()));
    assert_eq!(taken, written(0, 0, 0));
    assert!(matches!(&failure, Some(Failure::Invalid(why)) if why.contains("1 x no metric name")), "{failure:?}");
}

/// A store whose disk is full.
struct Latched;

impl Appendable for Latched {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Latched)
    }
}

impl Appender for Latched {
    fn series(&mut self, _: &Labels) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(1))
    }

    fn append(&mut self, _: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        Ok(UnknownSeries::default())
    }

    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError> {
        Err(AppendError::Latched("no space left".to_owned()))
    }
}

#[test]
fn a_store_that_takes_nothing_is_no_fault_of_the_request() {
    let registry = Registry::new();
    let (receiver, store) = (receiver(Arc::new(Latched), Config::default(), &registry), Arc::new(Latched));
    let bench = Bench { receiver, store, registry };
    let outcome = bench.send(Message::V1, &message(|w| series1(w, &[("__name__", "up")], &[(0, 1.0)])));
    assert_eq!(outcome.written, written(0, 0, 0));
    assert!(matches!(outcome.failure, Some(Failure::Store(AppendError::Latched(_)))), "{outcome:?}");
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_make_the_receiver_panic(bytes: Vec<u8>, v2: bool) {
            let (store, registry) = (Arc::new(MemoryStore::new()), Registry::new());
            let bench = Bench { receiver: receiver(store.clone(), Config::default(), &registry), store, registry };
            bench.send(if v2 { Message::V2 } else { Message::V1 }, &bytes);
        }

        /// Whole messages with a few bytes changed come further than noise.
        #[test]
        fn of_nearly_whole_messages_never_do(changes in prop::collection::vec((0usize..400, any::<u8>()), 1..6)) {
            let (store, registry) = (Arc::new(MemoryStore::new()), Registry::new());
            let bench = Bench { receiver: receiver(store.clone(), Config::default(), &registry), store, registry };
            let mut request = message(|w| {
                symbols(w, SYMBOLS);
                series2(w, &[1, 2, 3, 4], |w| {
                    sample2(w, 0, 1.0, NOW);
                    w.message(5, |w| w.varint(3, 6));
                    w.message(4, |w| w.packed(1, [8, 9].into_iter()));
                });
                series2(w, &[1, 2, 3, 5], |w| histogram2(w, 3, 1, 2, 0));
            });
            for (at, byte) in changes {
                let len = request.len();
                request[at % len] = byte;
            }
            let outcome = bench.send(Message::V2, &request);
            prop_assert!(outcome.written.samples <= 2);
        }
    }
}
