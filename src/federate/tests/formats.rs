//! Types, exemplars, start timestamps and histograms, format by format.

use crate::exposition::{Event, Format as BodyKind, Parser};
use crate::federate::{Answer, BodyFormat, Format, Written, write};
use crate::model::{
    Annotations, BucketLayout, CounterResetHint, EscapingScheme, Exemplar, FloatHistogram, Histogram, Labels, Metadata,
    MetricType, Span, TimestampMs, Value,
};
use crate::net::protobuf::{Field, Fields, Wire, delimited};
use crate::storage::chunk::TimedValue;
use crate::storage::newest::NewestRows;
use crate::storage::{Scope, SeriesExemplars};

pub(super) const T: i64 = 1_700_000_000_098;

/// What targets say.
pub(super) fn told(name: &str) -> Option<Metadata> {
    let (metric_type, unit, help) = match name {
        "requests_total" => (MetricType::Counter, "", "All \"requests\".\nReally \\all."),
        "told_openly" => (MetricType::Counter, "", "By a target that speaks OpenMetrics."),
        "temperature_celsius" => (MetricType::Gauge, "celsius", "How warm it is."),
        "latency_seconds" => (MetricType::Histogram, "seconds", "How long it takes."),
        "size_bytes" => (MetricType::Summary, "bytes", "How large it is."),
        "native" => (MetricType::Histogram, "", "Of both kinds."),
        "mode" => (MetricType::StateSet, "", "One of several."),
        "wrongly" => (MetricType::Histogram, "", "Is none."),
        _ => return None,
    };
    Some(Metadata { metric_type, unit: unit.to_owned(), help: help.to_owned() })
}

pub(super) fn sample(value: Value) -> TimedValue {
    TimedValue { t: TimestampMs(T), start: TimestampMs(0), value }
}

pub(super) type Rows = Vec<(Labels, TimedValue)>;

pub(super) fn float(pairs: &[(&str, &str)], v: f64) -> (Labels, TimedValue) {
    (Labels::from_pairs(pairs.iter().copied()), sample(Value::Float(v)))
}

pub(super) fn answer(rows: Rows, body: BodyFormat, exemplars: Vec<SeriesExemplars>) -> (Vec<u8>, Written) {
    let mut stream = NewestRows::new(&Scope::unbounded(), rows, Annotations::none(), None).unwrap();
    let format = Format { body, escaping: EscapingScheme::AllowUtf8 };
    let external = Labels::from_pairs([("site", "home")]);
    let answer = Answer { format, external: &external, lookup: &told, exemplars };
    let mut out = Vec::new();
    let written = write(&mut stream, answer, &mut |buffer| {
        out.append(buffer);
        Ok(())
    });
    (out, written.unwrap())
}

fn text(rows: Rows, body: BodyFormat, exemplars: Vec<SeriesExemplars>) -> String {
    String::from_utf8(answer(rows, body, exemplars).0).unwrap()
}

fn classic() -> Rows {
    let mut rows = vec![
        float(&[("__name__", "requests_total"), ("instance", "i")], 5.0),
        float(&[("__name__", "told_openly_total"), ("instance", "i")], 6.0),
        float(&[("__name__", "temperature_celsius"), ("instance", "i")], 21.5),
        float(&[("__name__", "latency_bytes"), ("instance", "i")], 1.0),
        float(&[("__name__", "latency_seconds_max"), ("instance", "i")], 1.0),
        float(&[("__name__", "mode"), ("instance", "i"), ("mode", "on")], 1.0),
        float(&[("__name__", "wrongly"), ("instance", "i")], 1.0),
        float(&[("__name__", "wrongly_bucket"), ("instance", "i")], 1.0),
    ];
    for instance in ["i", "j"] {
        for (le, v) in [("0.5", 1.0), ("10.0", 2.0), ("+Inf", 3.0)] {
            rows.push(float(&[("__name__", "latency_seconds_bucket"), ("instance", instance), ("le", le)], v));
        }
        rows.push(float(&[("__name__", "latency_seconds_sum"), ("instance", instance)], 12.5));
        rows.push(float(&[("__name__", "latency_seconds_count"), ("instance", instance)], 3.0));
        rows.push(float(&[("__name__", "size_bytes"), ("instance", instance), ("quantile", "0.5")], 100.0));
        rows.push(float(&[("__name__", "size_bytes_count"), ("instance", instance)], 4.0));
        rows.push(float(&[("__name__", "size_bytes_sum"), ("instance", instance)], 400.0));
    }
    rows
}

#[test]
fn text_keeps_types_and_helps_and_brings_each_metric_together() {
    let expected = r#"# TYPE latency_bytes untyped
latency_bytes{instance="i",site="home"} 1 1700000000098
# HELP latency_seconds How long it takes.
# TYPE latency_seconds histogram
latency_seconds_bucket{instance="i",le="0.5",site="home"} 1 1700000000098
latency_seconds_bucket{instance="i",le="10.0",site="home"} 2 1700000000098
latency_seconds_bucket{instance="i",le="+Inf",site="home"} 3 1700000000098
latency_seconds_count{instance="i",site="home"} 3 1700000000098
latency_seconds_sum{instance="i",site="home"} 12.5 1700000000098
latency_seconds_bucket{instance="j",le="0.5",site="home"} 1 1700000000098
latency_seconds_bucket{instance="j",le="10.0",site="home"} 2 1700000000098
latency_seconds_bucket{instance="j",le="+Inf",site="home"} 3 1700000000098
latency_seconds_count{instance="j",site="home"} 3 1700000000098
latency_seconds_sum{instance="j",site="home"} 12.5 1700000000098
# TYPE latency_seconds_max untyped
latency_seconds_max{instance="i",site="home"} 1 1700000000098
# HELP mode One of several.
# TYPE mode untyped
mode{instance="i",mode="on",site="home"} 1 1700000000098
# HELP requests_total All "requests".\nReally \\all.
# TYPE requests_total counter
requests_total{instance="i",site="home"} 5 1700000000098
# HELP size_bytes How large it is.
# TYPE size_bytes summary
size_bytes{instance="i",quantile="0.5",site="home"} 100 1700000000098
size_bytes_count{instance="i",site="home"} 4 1700000000098
size_bytes_sum{instance="i",site="home"} 400 1700000000098
size_bytes{instance="j",quantile="0.5",site="home"} 100 1700000000098
size_bytes_count{instance="j",site="home"} 4 1700000000098
size_bytes_sum{instance="j",site="home"} 400 1700000000098
# HELP temperature_celsius How warm it is.
# TYPE temperature_celsius gauge
temperature_celsius{instance="i",site="home"} 21.5 1700000000098
# HELP told_openly_total By a target that speaks OpenMetrics.
# TYPE told_openly_total counter
told_openly_total{instance="i",site="home"} 6 1700000000098
# HELP wrongly Is none.
# TYPE wrongly untyped
wrongly{instance="i",site="home"} 1 1700000000098
# TYPE wrongly_bucket untyped
wrongly_bucket{instance="i",site="home"} 1 1700000000098
"#;
    for body in [BodyFormat::Text004, BodyFormat::Text100] {
        assert_eq!(text(classic(), body, Vec::new()), expected);
    }
}

#[test]
fn openmetrics_has_its_own_names_units_seconds_and_an_end() {
    let text = text(classic(), BodyFormat::OpenMetrics100, Vec::new());
    for part in [
        "# HELP requests All \\\"requests\\\".\\nReally \\\\all.\n# TYPE requests counter\n\
         requests_total{instance=\"i\",site=\"home\"} 5 1700000000.098\n",
        "# TYPE told_openly counter\ntold_openly_total{",
        "# TYPE temperature_celsius gauge\n# UNIT temperature_celsius celsius\ntemperature_celsius{",
        "# TYPE latency_seconds histogram\n# UNIT latency_seconds seconds\nlatency_seconds_bucket{",
        "# TYPE mode stateset\nmode{",
        "# TYPE wrongly unknown\nwrongly{",
        "# TYPE wrongly_bucket unknown\nwrongly_bucket{",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
    let mut types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let all = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), all, "no family comes twice");
}

fn exemplars(name: &str, more: &[(&str, &str)]) -> SeriesExemplars {
    let pairs = [&[("__name__", name), ("instance", "i")], more].concat();
    let exemplar = |trace: &str, t| Exemplar {
        labels: Labels::from_pairs([("trace_id", trace)]),
        value: 0.25,
        t: Some(TimestampMs(t)),
    };
    (Labels::from_pairs(pairs), vec![exemplar("old", T - 500), exemplar("new", T - 3), exemplar("later", T + 1)])
}

#[test]
fn counters_and_buckets_show_their_newest_exemplar_in_openmetrics() {
    let all = || {
        vec![
            exemplars("latency_seconds_bucket", &[("le", "0.5")]),
            exemplars("requests_total", &[]),
            exemplars("temperature_celsius", &[]),
        ]
    };
    let shown = text(classic(), BodyFormat::OpenMetrics100, all());
    let with: Vec<&str> = shown.lines().filter(|l| l.contains(" # {")).collect();
    assert_eq!(
        with,
        [
            "latency_seconds_bucket{instance=\"i\",le=\"0.5\",site=\"home\"} 1 1700000000.098 # {trace_id=\"new\"} 0.25 1700000000.095",
            "requests_total{instance=\"i\",site=\"home\"} 5 1700000000.098 # {trace_id=\"new\"} 0.25 1700000000.095",
        ]
    );
    assert!(!text(classic(), BodyFormat::Text004, all()).contains(" # {"));
}

#[test]
fn openmetrics_says_when_counting_began() {
    let mut rows = classic();
    rows.iter_mut().for_each(|(_, sample)| sample.start = TimestampMs(T - 1500));
    let text = text(rows, BodyFormat::OpenMetrics100, Vec::new());
    let created: Vec<&str> = text.lines().filter(|l| l.contains("_created{instance=\"i\"")).collect();
    let line = |family| format!("{family}_created{{instance=\"i\",site=\"home\"}} 1.699999998598e+09 1700000000.098");
    assert_eq!(created, ["latency_seconds", "requests", "size_bytes", "told_openly"].map(line));
}

#[test]
fn series_that_say_when_counting_began_are_a_part_of_their_family_in_openmetrics() {
    let rows = || {
        vec![
            float(&[("__name__", "told_openly_created")], 1.5),
            float(&[("__name__", "told_openly_x")], 1.0),
            float(&[("__name__", "told_openly_total")], 2.0),
        ]
    };
    let shown = text(rows(), BodyFormat::OpenMetrics100, Vec::new());
    let names: Vec<&str> = shown.lines().map(|l| l.split('{').next().unwrap_or_default()).collect();
    let expected = [
        "# HELP told_openly By a target that speaks OpenMetrics.",
        "# TYPE told_openly counter",
        "told_openly_total",
        "told_openly_created",
        "# TYPE told_openly_x unknown",
        "told_openly_x",
        "# EOF",
    ];
    assert_eq!(names, expected);
    assert!(text(rows(), BodyFormat::Text004, Vec::new()).contains("# TYPE told_openly_created untyped\n"));
}

/// Two observations at 0.0005, and some in the first and third bucket above 1.
fn native(hint: CounterResetHint) -> Histogram {
    let spans = [(1, 1), (1, 1)].map(|(offset, length)| Span { offset, length });
    let layout =
        BucketLayout { schema: 2, zero_threshold: 0.001, positive_spans: spans.to_vec(), ..BucketLayout::default() };
    Histogram {
        counter_reset_hint: hint,
        layout,
        zero_count: 2,
        count: 9,
        sum: 12.5,
        positive_buckets: vec![3, 1],
        negative_buckets: Vec::new(),
    }
}

fn custom() -> FloatHistogram {
    let layout = BucketLayout {
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }],
        custom_values: vec![0.5, 1.0, 5.0],
        ..BucketLayout::default()
    };
    FloatHistogram { layout, count: 6.5, sum: 9.0, positive_buckets: vec![1.5, 2.0, 3.0], ..FloatHistogram::default() }
}

fn histograms() -> Rows {
    let row = |name, instance, value| (Labels::from_pairs([("__name__", name), ("instance", instance)]), sample(value));
    vec![
        row("custom", "i", Value::FloatHistogram(Box::new(custom()))),
        row("native", "i", Value::Histogram(Box::new(native(CounterResetHint::NotReset)))),
        row("native", "j", Value::Histogram(Box::new(native(CounterResetHint::Gauge)))),
        row("native", "k", Value::FloatHistogram(Box::new(native(CounterResetHint::Unknown).to_float()))),
        float(&[("__name__", "native"), ("instance", "l")], 1.0),
    ]
}

#[test]
fn text_has_of_histograms_only_those_with_custom_bounds() {
    let (body, written) = answer(histograms(), BodyFormat::Text004, Vec::new());
    let expected = r#"# TYPE custom histogram
custom_bucket{instance="i",site="home",le="0.5"} 1.5 1700000000098
custom_bucket{instance="i",site="home",le="1"} 1.5 1700000000098
custom_bucket{instance="i",site="home",le="5"} 3.5 1700000000098
custom_bucket{instance="i",site="home",le="+Inf"} 6.5 1700000000098
custom_sum{instance="i",site="home"} 9 1700000000098
custom_count{instance="i",site="home"} 6.5 1700000000098
# HELP native Of both kinds.
# TYPE native untyped
native{instance="l",site="home"} 1 1700000000098
"#;
    assert_eq!(String::from_utf8(body).unwrap(), expected);
    assert_eq!((written.series, written.histograms_left_out), (2, 3));
    let openmetrics = text(histograms(), BodyFormat::OpenMetrics001, Vec::new());
    assert!(openmetrics.contains("custom_bucket{instance=\"i\",site=\"home\",le=\"1.0\"} 1.5 1700000000.098\n"));
}

/// One message of a body, as far as it has to be looked at.
#[derive(Debug, Default, PartialEq)]
struct Family {
    name: String,
    help: String,
    unit: String,
    kind: u64,
    metrics: Vec<Metric>,
}

/// Labels, the number of the value's field, its fields, the time.
type Metric = (Vec<(String, String)>, u32, Vec<(u32, String)>, i64);

fn text_of(field: &Field<'_>) -> String {
    field.text().unwrap().to_owned()
}

fn fields(bytes: &[u8]) -> Vec<Field<'_>> {
    Fields::new(bytes).collect::<Result<_, _>>().unwrap()
}

/// A value in a form that can be read in an assertion.
fn shown(value: Wire<'_>) -> String {
    match value {
        Wire::Varint(n) => n.to_string(),
        Wire::Fixed64(bits) => format!("{:?}", f64::from_bits(bits)),
        Wire::Fixed32(n) => format!("{n}u32"),
        Wire::Bytes(bytes) => format!("{bytes:?}"),
    }
}

fn metric(bytes: &[u8]) -> Metric {
    let (mut labels, mut kind, mut value, mut t) = (Vec::new(), 0, Vec::new(), 0);
    for field in fields(bytes) {
        match field.number {
            1 => {
                let pair = fields(field.bytes().unwrap());
                labels.push((text_of(&pair[0]), text_of(&pair[1])));
            }
            6 => t = field.int().unwrap(),
            other => {
                kind = other;
                value = fields(field.bytes().unwrap()).iter().map(|f| (f.number, shown(f.value))).collect();
            }
        }
    }
    (labels, kind, value, t)
}

fn families(mut body: &[u8]) -> Vec<Family> {
    let mut all = Vec::new();
    while let Some(message) = delimited(&mut body) {
        let mut family = Family::default();
        for field in fields(message.unwrap()) {
            match field.number {
                1 => family.name = text_of(&field),
                2 => family.help = text_of(&field),
                3 => family.kind = field.varint().unwrap(),
                4 => family.metrics.push(metric(field.bytes().unwrap())),
                5 => family.unit = text_of(&field),
                other => panic!("field {other}"),
            }
        }
        all.push(family);
    }
    all
}

#[test]
fn protocol_buffers_keep_types_and_leave_the_parts_of_classic_histograms_untyped() {
    let (body, written) = answer(classic(), BodyFormat::Protobuf, Vec::new());
    assert_eq!((written.series, written.bytes), (24, body.len() as u64));
    let found = families(&body);
    let heads: Vec<_> = found.iter().map(|f| (&*f.name, f.kind, f.metrics.len())).collect();
    let expected = [
        ("latency_bytes", 3, 1),
        ("latency_seconds_bucket", 3, 6),
        ("latency_seconds_count", 3, 2),
        ("latency_seconds_max", 3, 1),
        ("latency_seconds_sum", 3, 2),
        ("mode", 3, 1),
        ("requests_total", 0, 1),
        ("size_bytes", 3, 2),
        ("size_bytes_count", 3, 2),
        ("size_bytes_sum", 3, 2),
        ("temperature_celsius", 1, 1),
        ("told_openly_total", 0, 1),
        ("wrongly", 3, 1),
        ("wrongly_bucket", 3, 1),
    ];
    assert_eq!(heads, expected);
    let temperature = &found[10];
    assert_eq!((&*temperature.help, &*temperature.unit), ("How warm it is.", "celsius"));
    let labels = [("instance", "i"), ("site", "home")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(temperature.metrics, [(labels.to_vec(), 2, vec![(1, "21.5".to_owned())], T)]);
}

#[test]
fn native_histograms_are_whole_in_protocol_buffers() {
    let trace = exemplars("native", &[]);
    let (body, _) = answer(histograms(), BodyFormat::Protobuf, vec![trace]);
    let found = families(&body);
    let heads: Vec<_> = found.iter().map(|f| (&*f.name, f.kind, f.metrics.len())).collect();
    assert_eq!(heads, [("custom", 4, 1), ("native", 4, 1), ("native", 5, 1), ("native", 4, 1), ("native", 3, 1)]);
    let value = |family: &Family| family.metrics[0].2.clone();
    let of = |pairs: &[(u32, &str)]| pairs.iter().map(|(n, v)| (*n, (*v).to_owned())).collect::<Vec<_>>();
    let mut integer = value(&found[1]);
    let exemplars = integer.split_off(integer.len() - 2);
    assert!(exemplars.iter().all(|(number, _)| *number == 16), "{exemplars:?}");
    // Zigzag: schema 2, spans from 1, deltas 3 and 1.
    let expected = [
        (1, "9"),
        (2, "12.5"),
        (5, "4"),
        (6, "0.001"),
        (7, "2"),
        (12, "[8, 2, 16, 1]"),
        (12, "[8, 2, 16, 1]"),
        (13, "[6, 2]"),
    ];
    assert_eq!(integer, of(&expected));
    let float = value(&found[3]);
    assert_eq!(float[..5], of(&[(4, "9.0"), (2, "12.5"), (5, "4"), (6, "0.001"), (8, "2.0")]));
    assert_eq!(float.last().map(|(number, _)| *number), Some(14));
    let custom = value(&found[0]);
    assert_eq!(custom[..2], of(&[(4, "6.5"), (2, "9.0")]));
    assert_eq!(custom[2..].iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 3, 3]);
}

#[test]
fn a_histogram_without_anything_in_it_is_still_told_from_a_classic_one() {
    let empty = Histogram::default();
    let rows = vec![(Labels::from_pairs([("__name__", "native")]), sample(Value::Histogram(Box::new(empty))))];
    let found = families(&answer(rows, BodyFormat::Protobuf, Vec::new()).0);
    assert!(found[0].metrics[0].2.iter().any(|(number, _)| *number == 12), "{found:?}");
}

#[test]
fn a_large_family_comes_in_messages_of_bounded_size() {
    let name = |i: usize| format!("{i:04}");
    let rows = (0..5000).map(|i| float(&[("__name__", "requests_total"), ("i", &name(i))], i as f64)).collect();
    let (body, _) = answer(rows, BodyFormat::Protobuf, Vec::new());
    let (mut rest, mut longest) = (&body[..], 0);
    while let Some(message) = delimited(&mut rest) {
        longest = longest.max(message.unwrap().len());
    }
    assert!(longest < 40 << 10, "{longest}");
    let found = families(&body);
    assert!(found.len() > 3 && found.iter().all(|f| (&*f.name, f.kind) == ("requests_total", 0)));
    assert_eq!(found.iter().map(|f| f.metrics.len()).sum::<usize>(), 5000);
}

#[test]
fn every_text_body_is_one_that_our_parser_takes() {
    for (body, kind) in [
        (BodyFormat::Text004, BodyKind::Text),
        (BodyFormat::OpenMetrics001, BodyKind::OpenMetrics),
        (BodyFormat::OpenMetrics100, BodyKind::OpenMetrics),
    ] {
        let rows = [classic(), histograms()].concat();
        let (bytes, _) = answer(rows, body, vec![exemplars("requests_total", &[])]);
        let (mut parser, mut samples) = (Parser::new(&bytes, kind), 0);
        while let Some(event) = parser.next().unwrap() {
            samples += usize::from(matches!(event, Event::Series(_)));
        }
        assert_eq!(samples, 24 + 1 + 6);
    }
}
