//! Bodies that are read back, refused with a place, and never make the parser panic.

use proptest::prelude::*;

use super::*;
use crate::model::{Exemplar, Labels, TimestampMs, Value};
use crate::net::protobuf::Writer;

/// A body of one family; `metrics` writes its metrics.
fn family(name: &[u8], kind: u64, metrics: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut body = Vec::new();
    push_family(&mut body, |w| {
        w.bytes(1, name);
        w.bytes(2, b"some help");
        w.varint(3, kind);
        metrics(w);
        w.bytes(5, b"seconds");
    });
    body
}

fn push_family(body: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
    // A message field is a key of one byte, the length, and the message.
    let mut delimited = Vec::new();
    Writer::new(&mut delimited).message(1, write);
    body.extend_from_slice(&delimited[1..]);
}

fn label(w: &mut Writer<'_>, name: &[u8], value: &[u8]) {
    w.message(1, |w| {
        w.bytes(1, name);
        w.bytes(2, value);
    });
}

fn timestamp(w: &mut Writer<'_>, field: u32, seconds: i64, nanos: i64) {
    w.message(field, |w| {
        w.int(1, seconds);
        w.int(2, nanos);
    });
}

fn exemplar(w: &mut Writer<'_>, field: u32, id: &[u8], value: f64, seconds: Option<i64>) {
    w.message(field, |w| {
        label(w, b"trace_id", id);
        w.double(2, value);
        seconds.into_iter().for_each(|seconds| timestamp(w, 3, seconds, 250_000_000));
    });
}

fn span(w: &mut Writer<'_>, field: u32, offset: i64, length: u64) {
    w.message(field, |w| {
        w.zigzag(1, offset);
        w.varint(2, length);
    });
}

fn read(body: &[u8]) -> Result<Vec<String>, MessageError> {
    let (mut parser, mut out) = (MessageParser::new(body), Vec::new());
    while let Some(mut family) = parser.next()? {
        out.push(format!("{} {:?} {:?} {:?}", family.name, family.kind, family.help, family.unit));
        while let Some(metric) = family.next_metric()? {
            let mut pairs = Vec::new();
            for message in metric.label_messages() {
                let pair = LabelPair::read(message).map_err(|problem| family.error(&metric, problem))?;
                pairs.push(format!("{}={:?}", pair.name, pair.value));
            }
            let t = metric.timestamp.map(|t| t.0);
            let value = show(&metric.value).map_err(|problem| family.error(&metric, problem))?;
            out.push(format!("  {{{}}} {value} {t:?}", pairs.join(",")));
        }
    }
    Ok(out)
}

fn show(value: &MetricValue<'_>) -> Result<String, String> {
    Ok(match value {
        MetricValue::Number(n) => {
            let exemplar = n.exemplar.map(|e| e.decode()).transpose()?;
            format!("{} since {} {:?}", n.value, n.start.0, exemplar.map(|e| show_exemplar(&e)))
        }
        MetricValue::Summary(s) => {
            format!("{}/{} since {} {:?}", s.sum, s.count, s.start.0, s.quantiles().collect::<Vec<_>>())
        }
        MetricValue::Histogram(h) => {
            let buckets: Vec<(f64, f64)> = h.buckets().map(|b| (b.upper_bound, b.cumulative_count)).collect();
            let exemplars: Result<Vec<Exemplar>, String> = h.exemplars().map(|e| e.decode()).collect();
            let exemplars: Vec<String> = exemplars?.iter().map(show_exemplar).collect();
            let native = h.is_native().then(|| h.native()).transpose()?;
            let native = native.map(|native| match native {
                Value::Histogram(h) => h.to_float().to_string(),
                Value::FloatHistogram(h) => format!("float {h}"),
                Value::Float(v) => v.to_string(),
            });
            format!("{}/{} since {} {buckets:?} {native:?} {exemplars:?}", h.sum, h.count(), h.start.0)
        }
    })
}

fn show_exemplar(e: &Exemplar) -> String {
    format!("{} {} {:?}", e.labels, e.value, e.t.map(|t| t.0))
}

#[test]
fn numbers_come_with_labels_timestamps_exemplars_and_starts() {
    let mut body = family("zähler".as_bytes(), 0, |w| {
        w.message(4, |w| {
            label(w, b"a", b"1");
            label(w, "ö.x".as_bytes(), b"");
            w.message(3, |w| {
                w.double(1, 2.5);
                exemplar(w, 2, b"abc", 1.5, Some(7));
                timestamp(w, 3, 3, 999_999_999);
            });
            w.int(6, 1234);
            w.bytes(99, b"unknown");
        });
        w.message(4, |_| {});
    });
    body.extend(family(b"nothing", 1, |_| {}));
    body.extend(family(b"g", 1, |w| w.message(4, |w| w.message(2, |w| w.double(1, -0.0)))));
    body.extend(family(b"u", 3, |w| w.message(4, |w| w.message(5, |w| w.double(1, f64::INFINITY)))));
    let expected = [
        "zähler Counter \"some help\" \"seconds\"",
        "  {a=\"1\",ö.x=\"\"} 2.5 since 3999 Some(\"{trace_id=\\\"abc\\\"} 1.5 Some(7250)\") Some(1234)",
        "  {} 0 since 0 None None",
        "g Gauge \"some help\" \"seconds\"",
        "  {} -0 since 0 None None",
        "u Untyped \"some help\" \"seconds\"",
        "  {} inf since 0 None None",
    ];
    assert_eq!(read(&body), Ok(expected.map(str::to_owned).to_vec()));
}

#[test]
fn summaries_come_with_quantiles() {
    let body = family(b"s", 2, |w| {
        w.message(4, |w| {
            w.message(4, |w| {
                w.varint(1, 9);
                w.double(2, 4.5);
                for (quantile, value) in [(0.5, 1.0), (0.99, f64::NAN)] {
                    w.message(3, |w| {
                        w.double(1, quantile);
                        w.double(2, value);
                    });
                }
                timestamp(w, 4, 1, 0);
            });
        });
    });
    let expected = ["s Summary \"some help\" \"seconds\"", "  {} 4.5/9 since 1000 [(0.5, 1.0), (0.99, NaN)] None"];
    assert_eq!(read(&body), Ok(expected.map(str::to_owned).to_vec()));
}

fn histogram(kind: u64, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    family(b"h", kind, |w| w.message(4, |w| w.message(7, write)))
}

#[test]
fn a_message_holds_a_classic_and_a_native_histogram_side_by_side() {
    let body = histogram(4, |w| {
        w.varint(1, 15);
        w.double(2, 18.5);
        w.message(3, |w| {
            w.varint(1, 4);
            w.double(2, 0.5);
            exemplar(w, 3, b"x", 0.25, None);
        });
        w.message(3, |w| {
            w.double(4, 9.5);
            w.double(2, 1.0);
        });
        w.zigzag(5, 1);
        w.double(6, 0.001);
        w.varint(7, 2);
        span(w, 9, 0, 1);
        w.packed(10, [crate::net::protobuf::zigzag(3)].into_iter());
        span(w, 12, -1, 2);
        span(w, 12, 1, 2);
        // One by one, as old writers do.
        [3, -3, 4, -1].into_iter().for_each(|delta| w.zigzag(13, delta));
        timestamp(w, 15, 2, 0);
        exemplar(w, 16, b"y", 0.75, Some(1));
        exemplar(w, 16, b"z", 0.5, None);
    });
    let lines = read(&body).expect("a good body");
    assert_eq!(
        lines[1],
        "  {} 18.5/15 since 2000 [(0.5, 4.0), (1.0, 9.5)] Some(\"{count:15, sum:18.5, [-1,-0.7071067811865475):3, \
         [-0.001,0.001]:2, (0.5,0.7071067811865475]:3, (1.414213562373095,2]:4, (2,2.82842712474619]:3}\") \
         [\"{trace_id=\\\"y\\\"} 0.75 Some(1250)\", \"{trace_id=\\\"z\\\"} 0.5 None\"] None"
    );
    let mut parser = MessageParser::new(&body);
    let mut family = parser.next().expect("good").expect("a family");
    let metric = family.next_metric().expect("good").expect("a metric");
    let MetricValue::Histogram(h) = metric.value else { panic!("a histogram") };
    let Ok(Value::Histogram(native)) = h.native() else { panic!("an integer histogram") };
    assert_eq!(native.positive_buckets, [3, 1, -1], "empty buckets are left out");
    assert_eq!(native.validate(), Ok(()));
}

#[test]
fn float_counts_make_float_histograms_and_gauges_say_so() {
    let body = histogram(5, |w| {
        w.double(4, 1.5);
        w.double(8, 0.5);
        span(w, 12, 0, 1);
        w.packed_doubles(14, [1.0].into_iter());
    });
    let mut parser = MessageParser::new(&body);
    let mut family = parser.next().expect("good").expect("a family");
    let metric = family.next_metric().expect("good").expect("a metric");
    let MetricValue::Histogram(h) = metric.value else { panic!("a histogram") };
    let Ok(Value::FloatHistogram(native)) = h.native() else { panic!("a float histogram") };
    assert!(native.counter_reset_hint.is_gauge() && h.is_gauge());
    assert_eq!((native.count, native.zero_count, native.positive_buckets.as_slice()), (1.5, 0.5, &[1.0][..]));
}

#[test]
fn an_empty_span_makes_a_histogram_without_observations_native() {
    let is_native = |write: fn(&mut Writer<'_>)| {
        let body = histogram(4, write);
        let mut family = MessageParser::new(&body).next().expect("good").expect("a family");
        let metric = family.next_metric().expect("good").expect("a metric");
        matches!(metric.value, MetricValue::Histogram(h) if h.is_native())
    };
    assert!(!is_native(|w| w.varint(1, 3)));
    assert!(!is_native(|w| w.zigzag(5, 3)), "a schema says nothing");
    assert!(is_native(|w| span(w, 12, 0, 0)));
    assert!(is_native(|w| w.double(6, 0.1)));
    assert!(is_native(|w| w.varint(7, 1)));
}

#[test]
fn errors_tell_where_in_which_family_and_what() {
    let good = family(b"fine", 1, |w| w.message(4, |w| w.message(2, |w| w.double(1, 1.0))));
    let fault = |family: &[u8]| {
        let mut body = good.clone();
        body.extend_from_slice(family);
        let error = read(&body).expect_err("must be refused");
        (error.offset - good.len(), error.to_string().split_once(": ").expect("a problem").1.to_owned(), error.family)
    };
    let told = |family: &[u8]| fault(family).1;
    assert_eq!(told(b"\x05\x0a"), "the message is cut off in field 0");
    assert_eq!(told(b"\x80"), "the message is cut off in field 0");
    assert_eq!(told(b"\x02\x0a\x09"), "the message is cut off in field 1");
    assert_eq!(told(&family(b"", 1, |w| w.message(4, |_| {}))), "the metric name is missing");
    assert_eq!(told(&family(b"\xff", 1, |w| w.message(4, |_| {}))), "the metric name is not valid UTF-8");
    assert_eq!(told(&family(b"m", 6, |w| w.message(4, |_| {}))), "unknown metric type 6 of metric family \"m\"");
    assert_eq!(
        told(&family(b"m", 1, |w| {
            w.bytes(2, b"\xff");
            w.message(4, |_| {});
        })),
        "the help text is not valid UTF-8"
    );
    // From here on the place is the metric's: two bytes of lengths and keys before the family's fields, and those.
    let metric = |kind, write: fn(&mut Writer<'_>)| fault(&family(b"m", kind, |w| w.message(4, write)));
    let at = 1 + 3 + 11 + 2 + 2;
    assert_eq!(
        metric(1, |w| w.message(2, |w| w.varint(1, 1))),
        (at, "field 1 is not a double".to_owned(), "m".to_owned())
    );
    assert_eq!(metric(1, |w| w.varint(2, 1)).1, "field 2 is not a message or a string");
    assert_eq!(metric(1, |w| label(w, b"\xff", b"v")).1, "label name: field 1 is not valid UTF-8");
    assert_eq!(metric(1, |w| label(w, b"n", b"\xff")).1, "label value: field 2 is not valid UTF-8");
    assert_eq!(metric(1, |w| label(w, b"", b"v")).1, "a label has no name");
    assert_eq!(
        metric(0, |w| w.message(3, |w| w.message(2, |w| label(w, b"n", b"\xff")))).1,
        "exemplar: label value: field 2 is not valid UTF-8"
    );
    let twice = |w: &mut Writer<'_>| {
        w.message(2, |_| {});
        w.message(2, |_| {});
    };
    assert_eq!(metric(1, twice).1, "the metric has two values");
    let spans = |w: &mut Writer<'_>| w.message(7, |w| span(w, 12, 0, 3));
    assert_eq!(metric(4, spans).1, "positive side: spans require 3 buckets, have 0");
    let huge = |w: &mut Writer<'_>| {
        w.message(7, |w| {
            (0..3).for_each(|_| span(w, 9, 0, u64::from(u32::MAX)));
            w.zigzag(10, 1);
        });
    };
    assert_eq!(metric(4, huge).1, "negative side: spans require 12884901885 buckets, have 1");
}

#[test]
fn timestamps_count_down_from_the_second_as_well() {
    let body = family(b"c", 0, |w| {
        w.message(4, |w| w.message(3, |w| timestamp(w, 3, -1, 500_000_000)));
    });
    assert!(read(&body).expect("good")[1].contains("since -500 "));
    let labels = Labels::from_pairs([("a", "b")]);
    assert_eq!(show_exemplar(&Exemplar { labels, value: 1.0, t: Some(TimestampMs(2)) }), "{a=\"b\"} 1 Some(2)");
}

/// Writes a message of fields that mean something somewhere, nested.
fn any_message(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let leaf = prop_oneof![
        (1u32..17, any::<u64>()).prop_map(|(field, n)| {
            let mut out = Vec::new();
            Writer::new(&mut out).varint(field, n);
            out
        }),
        (1u32..17, any::<f64>()).prop_map(|(field, v)| {
            let mut out = Vec::new();
            Writer::new(&mut out).double(field, v);
            out
        }),
        (1u32..17, prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(field, bytes)| {
            let mut out = Vec::new();
            Writer::new(&mut out).bytes(field, &bytes);
            out
        }),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let nested = (1u32..17, prop::collection::vec(any_message(depth - 1), 0..5)).prop_map(|(field, parts)| {
        let mut out = Vec::new();
        Writer::new(&mut out).bytes(field, &parts.concat());
        out
    });
    prop_oneof![leaf, nested].boxed()
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&body);
    }

    #[test]
    fn no_near_valid_message_makes_the_parser_panic(
        kind in 0u64..7, parts in prop::collection::vec(any_message(3), 0..6), cut in 0usize..400,
    ) {
        let mut body = family(b"m", kind, |w| parts.iter().for_each(|part| w.bytes(4, part)));
        body.truncate(cut);
        let _ = read(&body);
        let mut values = family(b"m", kind, |w| {
            for part in &parts {
                w.message(4, |w| [2, 3, 4, 5, 7].into_iter().for_each(|field| w.bytes(field, part)));
            }
        });
        let _ = read(&values);
        values.truncate(cut);
        let _ = read(&values);
    }
}
