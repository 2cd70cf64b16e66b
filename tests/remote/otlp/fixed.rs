//! One request and some refused ones, and what becomes of them, as Prometheus 3.14 answered: compared without a peer, and
//! with the peer's own answers where it is there.

use serde_json::{Value, json};

use super::{EXEMPLARS, FLAG, PATH, TYPE_LABELS, is_current, now_nanos};
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// What an `otlp:` section makes of the request.
struct Expected {
    config: &'static str,
    feature: &'static str,
    /// Labels that all series but `target_info` have.
    common: &'static [&'static str],
    /// Names and other labels, with values.
    series: &'static [(&'static str, &'static str)],
}

const EXPONENTIAL: &str = r#"10 12.5 [[3,"-1e-128","1e-128","3"],[0,"0.9972960560854698","1","1"],[0,"1","1.0027112750502025","2"],[0,"1.0027112750502025","1.0054299011128027","4"]]"#;
const CUSTOM: &str = r#"6 9.5 [[3,"-Inf","0.5","1"],[0,"0.5","10","2"],[0,"10","+Inf","3"]]"#;

const EXPECTED: [Expected; 5] = [
    Expected {
        config: "{}",
        feature: EXEMPLARS,
        common: &["job=s"],
        series: &[
            ("latency_seconds_bucket le=+Inf", "6"),
            ("latency_seconds_bucket le=0.5", "1"),
            ("latency_seconds_bucket le=10", "3"),
            ("latency_seconds_count", "6"),
            ("latency_seconds_sum", "9.5"),
            ("load_ratio", "-3"),
            ("requests_total", "7"),
            ("room_temperature_celsius a_b=x key_c=y", "1.5"),
            ("rpc_milliseconds quantile=0.5", "2"),
            ("rpc_milliseconds_count", "4"),
            ("rpc_milliseconds_sum", "4.5"),
            ("sent_bytes_per_second", "0.5"),
            ("size_bytes", EXPONENTIAL),
            ("target_info host_name=h job=s", "1"),
        ],
    },
    Expected {
        config: "{translation_strategy: UnderscoreEscapingWithoutSuffixes, label_name_underscore_sanitization: false}",
        feature: EXEMPLARS,
        common: &["job=s"],
        series: &[
            ("latency_bucket le=+Inf", "6"),
            ("latency_bucket le=0.5", "1"),
            ("latency_bucket le=10", "3"),
            ("latency_count", "6"),
            ("latency_sum", "9.5"),
            ("load", "-3"),
            ("requests", "7"),
            ("room_temperature _c=y a_b=x", "1.5"),
            ("rpc quantile=0.5", "2"),
            ("rpc_count", "4"),
            ("rpc_sum", "4.5"),
            ("sent", "0.5"),
            ("size", EXPONENTIAL),
            ("target_info host_name=h job=s", "1"),
        ],
    },
    Expected {
        config: "{translation_strategy: NoUTF8EscapingWithSuffixes, promote_scope_metadata: true}",
        feature: EXEMPLARS,
        common: &["job=s", "otel_scope_name=lib", "otel_scope_version=1"],
        series: &[
            ("latency_seconds_bucket le=+Inf", "6"),
            ("latency_seconds_bucket le=0.5", "1"),
            ("latency_seconds_bucket le=10", "3"),
            ("latency_seconds_count", "6"),
            ("latency_seconds_sum", "9.5"),
            ("load_ratio", "-3"),
            ("requests_total", "7"),
            ("room.temperature_celsius _c=y a.b=x", "1.5"),
            ("rpc_milliseconds quantile=0.5", "2"),
            ("rpc_milliseconds_count", "4"),
            ("rpc_milliseconds_sum", "4.5"),
            ("sent_bytes_per_second", "0.5"),
            ("size_bytes", EXPONENTIAL),
            ("target_info host.name=h job=s", "1"),
        ],
    },
    Expected {
        config: "{translation_strategy: NoTranslation, keep_identifying_resource_attributes: true}",
        feature: TYPE_LABELS,
        common: &["job=s"],
        series: &[
            ("latency_bucket __type__=histogram __unit__=seconds le=+Inf", "6"),
            ("latency_bucket __type__=histogram __unit__=seconds le=0.5", "1"),
            ("latency_bucket __type__=histogram __unit__=seconds le=10", "3"),
            ("latency_count __type__=histogram __unit__=seconds", "6"),
            ("latency_sum __type__=histogram __unit__=seconds", "9.5"),
            ("load __type__=gauge", "-3"),
            ("requests __type__=counter", "7"),
            ("room.temperature __type__=gauge __unit__=celsius _c=y a.b=x", "1.5"),
            ("rpc __type__=summary __unit__=milliseconds quantile=0.5", "2"),
            ("rpc_count __type__=summary __unit__=milliseconds", "4"),
            ("rpc_sum __type__=summary __unit__=milliseconds", "4.5"),
            ("sent __type__=gauge __unit__=bytes_per_second", "0.5"),
            ("size __type__=histogram __unit__=bytes", EXPONENTIAL),
            ("target_info host.name=h job=s service.name=s", "1"),
        ],
    },
    Expected {
        config: "{convert_histograms_to_nhcb: true, promote_resource_attributes: [host.name]}",
        feature: EXEMPLARS,
        common: &["host_name=h", "job=s"],
        series: &[
            ("latency_seconds", CUSTOM),
            ("load_ratio", "-3"),
            ("requests_total", "7"),
            ("room_temperature_celsius a_b=x key_c=y", "1.5"),
            ("rpc_milliseconds quantile=0.5", "2"),
            ("rpc_milliseconds_count", "4"),
            ("rpc_milliseconds_sum", "4.5"),
            ("sent_bytes_per_second", "0.5"),
            ("size_bytes", EXPONENTIAL),
            ("target_info host_name=h job=s", "1"),
        ],
    },
];

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn request(metrics: &Value) -> Value {
    let attributes = [attribute("service.name", "s"), attribute("host.name", "h")];
    json!({"resourceMetrics": [{
        "resource": {"attributes": attributes},
        "scopeMetrics": [{"scope": {"name": "lib", "version": "1"}, "metrics": metrics}],
    }]})
}

/// A metric of one point at `t`.
fn metric(name: &str, unit: &str, kind: &str, t: u64, point: Value) -> Value {
    let mut point = point;
    point["timeUnixNano"] = json!(t.to_string());
    json!({"name": name, "unit": unit, kind: {"aggregationTemporality": 2, "dataPoints": [point]}})
}

fn temperature(t: u64, value: f64) -> Value {
    let attributes = [attribute("a.b", "x"), attribute("_c", "y")];
    metric("room.temperature", "Cel", "gauge", t, json!({"asDouble": value, "attributes": attributes}))
}

/// A metric of each kind.
fn all_kinds(t: u64) -> Value {
    let mut requests = metric("requests", "{request}", "sum", t, json!({"asInt": "7"}));
    requests["sum"]["isMonotonic"] = json!(true);
    let latency = json!({"count": "6", "sum": 9.5, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 10]});
    // Finer than a native histogram can be.
    let positive = json!({"offset": -1, "bucketCounts": ["1", "2", "0", "4"]});
    let size = json!({"count": "10", "sum": 12.5, "scale": 9, "zeroCount": "3", "positive": positive});
    let rpc = json!({"count": "4", "sum": 4.5, "quantileValues": [{"quantile": 0.5, "value": 2}]});
    json!([
        temperature(t, 1.5),
        metric("load", "1", "gauge", t, json!({"asInt": "-3"})),
        requests,
        metric("sent", "By/s", "sum", t, json!({"asDouble": 0.5})),
        metric("latency", "s", "histogram", t, latency),
        metric("size", "By", "exponentialHistogram", t, size),
        metric("rpc", "ms", "summary", t, rpc),
    ])
}

/// Requests that are refused as a whole, with the status and, where it is not in the store's own words, the text.
fn refused(t: u64) -> Vec<(Value, u16, &'static str)> {
    let one = |name: &str| metric(name, "", "gauge", t, json!({"asInt": "1"}));
    let mut delta = metric("d", "", "sum", t, json!({"asInt": "1"}));
    delta["sum"]["aggregationTemporality"] = json!(1);
    let mut unspecified = metric("u", "", "histogram", t, json!({"count": "1", "bucketCounts": ["1"]}));
    unspecified["histogram"]["aggregationTemporality"] = json!(0);
    let coarse = json!({"count": "1", "scale": -5, "positive": {"bucketCounts": ["1"]}});
    let dots = json!({"asInt": "1", "attributes": [attribute("..", "x")]});
    let no_value = json!({"asInt": "1", "exemplars": [{"timeUnixNano": t.to_string()}]});
    let too_many = json!({"count": "1", "positive": {"bucketCounts": ["5"]}});
    let hour = 3_600_000_000_000;
    let untyped = "could not get aggregation temporality for e as it has unsupported metric type Empty\n";
    vec![
        (json!([delta]), 500, "invalid temporality and type combination for metric \"d\"\n"),
        (json!([unspecified]), 500, "invalid temporality and type combination for metric \"u\"\n"),
        (json!([{"name": "e"}]), 500, untyped),
        (json!([one("fine"), {"name": "e"}]), 500, untyped),
        (
            json!([metric("c", "", "exponentialHistogram", t, coarse)]),
            500,
            "cannot convert exponential to native histogram. Scale must be >= -4, was -5\n",
        ),
        (json!([one("")]), 500, "normalization for metric \"\" resulted in empty name\n"),
        (
            json!([metric("l", "", "gauge", t, dots)]),
            500,
            "normalization for label name \"..\" resulted in invalid name \"__\"\n",
        ),
        (json!([metric("v", "", "sum", t, no_value)]), 500, "unsupported exemplar value type: Empty\n"),
        (json!([metric("m", "", "exponentialHistogram", t, too_many)]), 500, ""),
        (json!([one("beside"), metric("f", "", "gauge", t + hour, json!({"asInt": "1"}))]), 400, ""),
        (json!([one("beside"), temperature(t - 1_000_000_000, 1.0)]), 400, ""),
        (json!([one("beside"), temperature(t, 2.0)]), 400, ""),
    ]
}

fn post(server: &Server, request: &Value) -> (u16, String) {
    let (url, headers) = (format!("{}{PATH}", server.url), "Content-Type: application/json\r\n");
    let reply = http::post_bytes(&url, headers, request.to_string().as_bytes()).expect("an answer");
    (reply.status, reply.text())
}

/// All series at `t`, sorted: name and labels without the common ones, and the value.
fn series(server: &Server, t: u64, common: &[&str]) -> Vec<(String, String)> {
    let query = [("query", r#"{__name__=~".+"}"#), ("time", &(t / 1_000_000_000).to_string())];
    let data = http::get_api(&http::url(&server.url, "/api/v1/query", &query)).expect("an answer");
    let mut all = Vec::new();
    for row in data["result"].as_array().expect("a list") {
        let labels = row["metric"].as_object().expect("labels");
        let mut name = labels["__name__"].as_str().expect("a name").to_owned();
        let pairs = labels.iter().filter(|(name, _)| *name != "__name__");
        let mut pairs: Vec<String> = pairs.map(|(n, v)| format!("{n}={}", v.as_str().unwrap_or("?"))).collect();
        pairs.sort_unstable();
        if name != "target_info" {
            assert!(common.iter().all(|label| pairs.iter().any(|p| p == label)), "{name} {pairs:?}");
            pairs.retain(|pair| !common.contains(&pair.as_str()));
        }
        pairs.iter().for_each(|pair| name.extend([" ", pair]));
        let histogram = &row["histogram"][1];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let value = text(&row["value"][1]).unwrap_or_else(|| {
            let (count, sum) = (text(&histogram["count"]), text(&histogram["sum"]));
            format!("{} {} {}", count.unwrap_or_default(), sum.unwrap_or_default(), histogram["buckets"])
        });
        all.push((name, value));
    }
    all.sort_unstable();
    all
}

fn check(server: &Server, expected: &Expected, who: &str) {
    let (t, config) = (now_nanos(), expected.config);
    assert_eq!(post(server, &request(&all_kinds(t))), (200, String::new()), "{who} with {config}");
    let known: Vec<_> = expected.series.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(series(server, t, expected.common), known, "{who} with {config}");
    if config == "{}" {
        for (metrics, status, text) in refused(t) {
            let answer = post(server, &request(&metrics));
            assert_eq!(answer.0, status, "{who}: {metrics}: {}", answer.1);
            assert!(!answer.1.is_empty() && (text.is_empty() || answer.1 == text), "{who}: {metrics}: {}", answer.1);
        }
        assert_eq!(series(server, t, expected.common), known, "{who}: refused requests leave nothing behind");
    }
}

#[test]
fn metrics_of_every_kind_become_the_series_that_are_written_down_here() {
    let peers = Peers::find(&["prometheus"]).filter(is_current);
    for expected in &EXPECTED {
        let home = Home::new();
        home.write_config(&format!("otlp: {}\n", expected.config));
        check(&home.watershed(&[FLAG, expected.feature]), expected, "Watershed");
        if let Some(peers) = &peers {
            let home = Home::new();
            home.write_config(&format!("otlp: {}\n", expected.config));
            check(&home.prometheus(peers, &[FLAG, expected.feature]), expected, "Prometheus");
        }
    }
}
