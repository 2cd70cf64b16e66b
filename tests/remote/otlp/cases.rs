//! The requests that are sent to both servers, in this order.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, number_data_point,
};

use super::payload::*;
use super::{PROTOBUF, gzipped};

pub struct Case {
    pub name: &'static str,
    pub headers: String,
    pub body: Vec<u8>,
    /// Whether the error is to be the same, too.
    pub has_same_text: bool,
    /// Prometheus 3.14.0 refuses the whole of a request for a metric without data points, its successor warns of it.
    pub is_mended_after_3_14_0: bool,
}

fn protobuf(name: &'static str, body: Vec<u8>) -> Case {
    Case { name, headers: PROTOBUF.to_owned(), body, has_same_text: true, is_mended_after_3_14_0: false }
}

fn of(name: &'static str, metrics: Vec<Metric>) -> Case {
    protobuf(name, message(vec![service(metrics)]))
}

pub fn cases(now: u64) -> Vec<Case> {
    let mut all = numbers(now);
    all.extend(names(now));
    all.extend(histograms(now));
    all.extend(resources(now));
    all.extend(refused(now));
    all.extend(wrappings(now));
    all
}

fn numbers(now: u64) -> Vec<Case> {
    let earlier = now - 60_000_000_000;
    let stale = NumberDataPoint { flags: NO_VALUE, ..number(now, 1.0, Vec::new()) };
    let int =
        NumberDataPoint { value: Some(number_data_point::Value::AsInt(i64::MAX)), ..number(now, 0.0, Vec::new()) };
    let nothing = NumberDataPoint { value: None, ..number(now, 0.0, Vec::new()) };
    let with_exemplars = NumberDataPoint {
        exemplars: vec![
            exemplar(now - 2_000_000_000, 1.5, 7, &[("user", "x")]),
            exemplar(now - 1_000_000_000, 2.5, 0, &[("user", "y"), ("path", "/z")]),
            exemplar(now, 3.5, 9, &[("long", &"l".repeat(100))]),
        ],
        ..number(now, 5.0, texts(&[("a", "b")]))
    };
    vec![
        of(
            "gauges",
            vec![gauge("temperature", "Cel", vec![number(earlier, 1.5, Vec::new()), number(now, -2.0, Vec::new())])],
        ),
        of(
            "special values",
            vec![gauge(
                "special",
                "",
                vec![
                    number(now, f64::INFINITY, texts(&[("is", "inf")])),
                    number(now, -0.0, texts(&[("is", "zero")])),
                    number(now, 1e-300, texts(&[("is", "small")])),
                ],
            )],
        ),
        of("integers and none", vec![gauge("int", "", vec![int]), gauge("nothing", "", vec![nothing])]),
        of("a marker of absence", vec![gauge("ends", "", vec![number(earlier, 1.0, Vec::new()), stale])]),
        of("attributes of every kind", vec![gauge("motley", "", vec![number(now, 1.0, motley())])]),
        of(
            "counters",
            vec![
                sum("requests", "{request}", CUMULATIVE, true, vec![with_exemplars]),
                sum("queue.length", "1", CUMULATIVE, false, vec![number(now, 4.0, Vec::new())]),
                sum("requests.total", "", CUMULATIVE, true, vec![number(now, 4.0, Vec::new())]),
            ],
        ),
    ]
}

fn names(now: u64) -> Vec<Case> {
    let point = || vec![number(now, 1.0, texts(&[("x", "y")]))];
    let mut metrics = Vec::new();
    for (n, unit) in [
        "",
        "1",
        "s",
        "By",
        "%",
        "By/s",
        "m/s",
        "{thing}/s",
        "s/{thing}",
        "{thing}",
        "foo bar",
        "/s",
        "1/m",
        "_odd_",
        "°C",
        "KiBy/min",
    ]
    .into_iter()
    .enumerate()
    {
        metrics.push(gauge(&format!("unit.gauge.{n}"), unit, point()));
        metrics.push(sum(&format!("unit.sum.{n}"), unit, CUMULATIVE, true, point()));
        metrics.push(gauge(&format!("unit.{n}_seconds_per_second_bytes_ratio"), unit, point()));
        metrics.push(sum(&format!("unit.{n}.seconds.total"), unit, CUMULATIVE, true, point()));
    }
    for name in [
        "simple",
        "with.dots",
        "with-dashes/and:colons",
        "__two__under",
        "trailing_",
        "1digit",
        "sp ace",
        "ünï.cödé",
        "total",
        "a.total.b",
        "ratio",
        "_x",
        "a..b__c",
    ] {
        metrics.push(gauge(name, "1", vec![number(now, 1.0, texts(&[("kind", "gauge")]))]));
        metrics.push(sum(name, "s", CUMULATIVE, true, vec![number(now, 1.0, texts(&[("kind", "sum")]))]));
    }
    let labels = texts(&[
        ("a.b", "1"),
        ("a_b", "2"),
        ("a-b", "3"),
        ("_under", "4"),
        ("__two", "5"),
        ("__both__", "6"),
        ("1digit", "7"),
        ("ünï", "8"),
        ("a..b", "9"),
        ("job", "own job"),
        ("instance", "own instance"),
        ("le", "10"),
        ("__name__", "no"),
        ("host.name", "own host"),
        ("otel_scope_name", "own scope"),
        ("sp ace", "11"),
        ("c__d", "12"),
        ("__a.b__", "13"),
    ]);
    vec![of("metric names", metrics), of("label names", vec![gauge("labelled", "", vec![number(now, 1.0, labels)])])]
}

fn histograms(now: u64) -> Vec<Case> {
    let bounds = [0.005, 0.1, 1.0, 1e7, 1e22];
    let counts = [0, 4, 0, 5, 1, 2];
    let exemplars = vec![exemplar(now, 0.001, 3, &[]), exemplar(now, 0.5, 4, &[]), exemplar(now, 1e30, 5, &[])];
    let point = histogram_point(now, &bounds, &counts);
    let classic = vec![
        HistogramDataPoint { exemplars, ..point.clone() },
        HistogramDataPoint { sum: None, attributes: texts(&[("no", "sum")]), ..point.clone() },
        HistogramDataPoint { attributes: texts(&[("no", "buckets")]), ..histogram_point(now, &[], &[9]) },
        HistogramDataPoint {
            attributes: texts(&[("le", "mine"), ("all", "zero")]),
            ..histogram_point(now, &bounds, &[0; 6])
        },
    ];
    let gone = HistogramDataPoint { flags: NO_VALUE, ..histogram_point(now, &bounds, &counts) };
    let exponentials = [
        exponential_point(now, 0, (0, &[1, 2, 0, 3]), (0, &[])),
        exponential_point(now, 3, (-5, &[0, 0, 4, 0, 0, 0, 0, 0, 1, 0]), (2, &[7, 0, 0, 1])),
        exponential_point(now, -4, (-1, &[1, 1]), (-1, &[1])),
        exponential_point(now, 8, (100, &[5]), (0, &[])),
        exponential_point(now, 10, (-3, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), (5, &[1, 1, 1])),
        exponential_point(now, 20, (1000, &[1, 2, 3]), (0, &[])),
        exponential_point(now, 0, (0, &[0, 0]), (0, &[])),
    ];
    let exponentials = exponentials.into_iter().enumerate().map(|(n, point)| ExponentialHistogramDataPoint {
        attributes: texts(&[("n", &n.to_string())]),
        exemplars: vec![exemplar(now, n as f64, 8, &[])],
        ..point
    });
    let earlier = exponential_point(now - 60_000_000_000, 0, (0, &[1]), (0, &[]));
    let ended = ExponentialHistogramDataPoint { flags: NO_VALUE, ..exponential_point(now, 0, (0, &[1]), (0, &[])) };
    vec![
        of("explicit histograms", vec![histogram("latency", "s", CUMULATIVE, classic)]),
        of(
            "a histogram that ends",
            vec![histogram(
                "gone",
                "",
                CUMULATIVE,
                vec![histogram_point(now - 60_000_000_000, &bounds, &counts), gone],
            )],
        ),
        of("exponential histograms", vec![exponential("exponential", CUMULATIVE, exponentials.collect())]),
        of("an exponential histogram that ends", vec![exponential("ended", CUMULATIVE, vec![earlier, ended])]),
        of(
            "summaries",
            vec![
                summary("rpc", "ms", now, &[(0.0, 1.0), (0.5, 2.0), (0.99, 1e9), (1.0, f64::NAN)], 0),
                summary("rpc.gone", "", now, &[(0.5, 2.0)], NO_VALUE),
                summary("rpc.bare", "", now, &[], 0),
            ],
        ),
    ]
}

fn resources(now: u64) -> Vec<Case> {
    let metric = |name: &str| vec![gauge(name, "", vec![number(now, 1.0, texts(&[("a", "b")]))])];
    let long = vec![gauge(
        "long",
        "",
        vec![number(now - 1_800_000_000_000, 1.0, Vec::new()), number(now - 7_000_000_000, 2.0, Vec::new())],
    )];
    let odd = vec![
        attribute("service.name", Value::IntValue(7)),
        text("service.instance.id", ""),
        text("a.b", "1"),
        text("a_b", "2"),
        text("__name__", "mine"),
        text("1x", "3"),
    ];
    let mut bare = message(vec![resource(Vec::new(), metric("no.resource"))]);
    // Fields that nobody knows are skipped.
    bare.extend_from_slice(&[0xf8, 0x07, 1, 0x9a, 0x01, 2, 0, 0]);
    vec![
        protobuf("no resource", bare),
        protobuf("only a name", message(vec![resource(texts(&[("service.name", "s")]), metric("only.name"))])),
        protobuf(
            "only an instance",
            message(vec![resource(texts(&[("service.instance.id", "i"), ("x", "y")]), metric("only.instance"))]),
        ),
        protobuf("no identity", message(vec![resource(texts(&[("x", "y")]), metric("no.identity"))])),
        protobuf("odd attributes", message(vec![resource(odd, metric("odd"))])),
        protobuf("half an hour", message(vec![resource(texts(&[("service.name", "long"), ("x", "y")]), long)])),
        protobuf("one target in two resources", message(vec![service(metric("first")), service(metric("second"))])),
        protobuf("nothing", Vec::new()),
        of("no metric", Vec::new()),
        Case {
            is_mended_after_3_14_0: true,
            ..of(
                "no points",
                vec![gauge("pointless", "", Vec::new()), histogram("pointless.too", "", CUMULATIVE, Vec::new())],
            )
        },
    ]
}

fn refused(now: u64) -> Vec<Case> {
    let points = |value| vec![number(now, value, Vec::new())];
    let fine = || gauge("beside.a.mistake", "", points(1.0));
    let late = vec![number(now, 1.0, Vec::new()), number(now - 30_000_000_000, 1.0, Vec::new())];
    let future = vec![number(now + 3_600_000_000_000, 1.0, Vec::new())];
    let no_value = NumberDataPoint {
        exemplars: vec![opentelemetry_proto::tonic::metrics::v1::Exemplar {
            value: None,
            ..exemplar(now, 1.0, 1, &[])
        }],
        ..number(now, 1.0, Vec::new())
    };
    let untyped = Metric { data: None, ..fine() };
    let mut cases = vec![
        of("delta sums", vec![fine(), sum("delta", "", DELTA, true, points(1.0))]),
        of("unspecified temporality", vec![fine(), sum("unspecified", "", 0, true, points(1.0))]),
        of(
            "delta histograms",
            vec![
                histogram("delta.h", "", DELTA, vec![histogram_point(now, &[1.0], &[1, 2])]),
                exponential("delta.e", DELTA, vec![exponential_point(now, 0, (0, &[1]), (0, &[]))]),
            ],
        ),
        of("a delta metric without points", vec![sum("delta \"empty\"", "", DELTA, true, Vec::new())]),
        of("a metric of no type", vec![fine(), untyped]),
        of(
            "too coarse a scale",
            vec![fine(), exponential("coarse", CUMULATIVE, vec![exponential_point(now, -5, (0, &[1]), (0, &[]))])],
        ),
        of("an exemplar without a value", vec![fine(), sum("valueless", "", CUMULATIVE, true, vec![no_value])]),
        of("a sample before the newest, first", vec![gauge("late", "", vec![number(now, 1.0, Vec::new())])]),
        of(
            "a sample before the newest",
            vec![fine(), gauge("late", "", vec![number(now - 30_000_000_000, 1.0, Vec::new())])],
        ),
        of("another value at its time", vec![gauge("late", "", points(2.0))]),
        of("the same once more", vec![gauge("late", "", points(1.0))]),
        of("order within a request", vec![gauge("backwards", "", late)]),
        of("the far future", vec![fine(), gauge("future", "", future)]),
        of(
            "a mistake and a late sample",
            vec![gauge("late", "", points(3.0)), sum("delta", "", DELTA, true, points(1.0))],
        ),
    ];
    for case in &mut cases {
        // What the store refuses is told in its own words.
        case.has_same_text =
            !["before", "another", "mistake and", "future"].iter().any(|word| case.name.contains(word));
    }
    cases
}

fn wrappings(now: u64) -> Vec<Case> {
    let body = |name: &str| message(vec![service(vec![gauge(name, "", vec![number(now, 1.0, Vec::new())])])]);
    let case = |name, headers: &str, body| Case {
        name,
        headers: headers.to_owned(),
        body,
        has_same_text: true,
        is_mended_after_3_14_0: false,
    };
    let json = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"json"}}}},
        {{"key":"list","value":{{"arrayValue":{{"values":[{{"intValue":"5"}},{{"boolValue":true}}]}}}}}}]}},
        "scopeMetrics":[{{"scope":{{"name":"s","version":"v"}},"metrics":[
        {{"name":"json.gauge","unit":"s","gauge":{{"dataPoints":[{{"timeUnixNano":"{now}","asInt":"12"}}]}}}},
        {{"name":"json.sum","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
          {{"timeUnixNano":"{now}","asDouble":0.5,"attributes":[{{"key":"a","value":{{"doubleValue":1.5}}}}],
            "exemplars":[{{"timeUnixNano":"{now}","asDouble":1,"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"}}]}}]}}}},
        {{"name":"json.histogram","histogram":{{"aggregationTemporality":2,"dataPoints":[
          {{"timeUnixNano":"{now}","count":"3","sum":4.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}}]}}}},
        {{"name":"json.exponential","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[
          {{"timeUnixNano":"{now}","count":"4","sum":4.5,"scale":1,"zeroCount":"1","positive":{{"offset":-1,"bucketCounts":["1","2"]}}}}]}}}},
        {{"name":"json.summary","summary":{{"dataPoints":[
          {{"timeUnixNano":"{now}","count":"4","sum":4.5,"quantileValues":[{{"quantile":0.5,"value":2}}]}}]}}}}
        ]}}]}}]}}"#
    );
    let broken = |name, headers: &str, body| Case { has_same_text: false, ..case(name, headers, body) };
    let gzip = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let as_json = "Content-Type: application/json\r\n";
    vec![
        case("gzip", &gzip, gzipped(&body("gzip"))),
        broken("no gzip", &gzip, body("no.gzip")),
        broken("half a gzip", &gzip, gzipped(&body("half.gzip"))[..30].to_vec()),
        case("snappy", &format!("{PROTOBUF}Content-Encoding: snappy\r\n"), body("snappy")),
        case("no content type", "", body("untyped")),
        case("another content type", "Content-Type: text/plain\r\n", body("untyped")),
        case("JSON", as_json, json.clone().into_bytes()),
        case(
            "JSON in gzip",
            &format!("{as_json}Content-Encoding: gzip\r\n"),
            gzipped(json.replace("json.", "packed.").as_bytes()),
        ),
        broken("no JSON", as_json, b"{".to_vec()),
        broken("no protobuf", PROTOBUF, b"nonsense".to_vec()),
        broken("half a message", PROTOBUF, body("half")[..60].to_vec()),
    ]
}
