//! OTLP messages.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

pub const DELTA: i32 = 1;
pub const CUMULATIVE: i32 = 2;
/// The flag of a point that only says that there is nothing.
pub const NO_VALUE: u32 = 1;

pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub fn texts(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| text(key, value)).collect()
}

/// Attributes of every kind.
pub fn motley() -> Vec<KeyValue> {
    let any = |value| AnyValue { value: Some(value) };
    let map = KeyValueList {
        values: vec![
            attribute("z", Value::DoubleValue(1e21)),
            text("a", "<&> \"quoted\" \u{2028}\u{e9}\u{8}"),
            attribute("n", Value::IntValue(-7)),
            attribute("bytes", Value::BytesValue(vec![0, 255, 1])),
            KeyValue { key: "nothing".to_owned(), ..KeyValue::default() },
        ],
    };
    let list = ArrayValue {
        values: vec![any(Value::BoolValue(true)), any(Value::DoubleValue(0.1)), any(Value::KvlistValue(map.clone()))],
    };
    vec![
        attribute("bool", Value::BoolValue(true)),
        attribute("int", Value::IntValue(i64::MIN)),
        attribute("double", Value::DoubleValue(1.5)),
        attribute("small", Value::DoubleValue(1.25e-9)),
        attribute("large", Value::DoubleValue(-1e300)),
        attribute("whole", Value::DoubleValue(100_000.0)),
        attribute("nan", Value::DoubleValue(f64::NAN)),
        attribute("infinite", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("bytes", Value::BytesValue(b"any bytes\xff".to_vec())),
        attribute("map", Value::KvlistValue(map)),
        attribute("list", Value::ArrayValue(list)),
        attribute("bad.list", Value::ArrayValue(ArrayValue { values: vec![any(Value::DoubleValue(f64::NAN))] })),
        KeyValue { key: "none".to_owned(), ..KeyValue::default() },
        text("empty", ""),
    ]
}

pub fn exemplar(t: u64, value: f64, trace: u8, attributes: &[(&str, &str)]) -> Exemplar {
    Exemplar {
        filtered_attributes: texts(attributes),
        time_unix_nano: t,
        span_id: if trace == 0 { Vec::new() } else { vec![trace; 8] },
        trace_id: if trace == 0 { Vec::new() } else { vec![trace; 16] },
        value: Some(exemplar::Value::AsDouble(value)),
    }
}

pub fn number(t: u64, value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: t - 60_000_000_000,
        time_unix_nano: t,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: format!("What {name} is."),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

pub fn gauge(name: &str, unit: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, unit, Data::Gauge(Gauge { data_points }))
}

pub fn sum(
    name: &str,
    unit: &str,
    aggregation_temporality: i32,
    is_monotonic: bool,
    data_points: Vec<NumberDataPoint>,
) -> Metric {
    metric(name, unit, Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic }))
}

pub fn histogram(name: &str, unit: &str, temporality: i32, data_points: Vec<HistogramDataPoint>) -> Metric {
    metric(name, unit, Data::Histogram(Histogram { data_points, aggregation_temporality: temporality }))
}

pub fn histogram_point(t: u64, bounds: &[f64], counts: &[u64]) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: texts(&[("path", "/")]),
        start_time_unix_nano: t - 60_000_000_000,
        time_unix_nano: t,
        count: counts.iter().sum(),
        sum: Some(counts.len() as f64 * 1.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

pub fn exponential(name: &str, temporality: i32, data_points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let data = ExponentialHistogram { data_points, aggregation_temporality: temporality };
    metric(name, "s", Data::ExponentialHistogram(data))
}

pub fn exponential_point(
    t: u64,
    scale: i32,
    positive: (i32, &[u64]),
    negative: (i32, &[u64]),
) -> ExponentialHistogramDataPoint {
    let buckets = |(offset, counts): (i32, &[u64])| Some(Buckets { offset, bucket_counts: counts.to_vec() });
    ExponentialHistogramDataPoint {
        attributes: texts(&[("path", "/")]),
        start_time_unix_nano: t - 60_000_000_000,
        time_unix_nano: t,
        count: 3 + positive.1.iter().chain(negative.1).sum::<u64>(),
        sum: Some(12.5),
        scale,
        zero_count: 3,
        positive: buckets(positive),
        negative: buckets(negative),
        ..ExponentialHistogramDataPoint::default()
    }
}

pub fn summary(name: &str, unit: &str, t: u64, quantiles: &[(f64, f64)], flags: u32) -> Metric {
    let point = SummaryDataPoint {
        attributes: texts(&[("path", "/")]),
        start_time_unix_nano: 0,
        time_unix_nano: t,
        count: 17,
        sum: 3.25,
        quantile_values: quantiles
            .iter()
            .map(|(quantile, value)| ValueAtQuantile { quantile: *quantile, value: *value })
            .collect(),
        flags,
    };
    metric(name, unit, Data::Summary(Summary { data_points: vec![point] }))
}

/// A resource with one scope.
pub fn resource(attributes: Vec<KeyValue>, metrics: Vec<Metric>) -> ResourceMetrics {
    let scope = InstrumentationScope {
        name: "the.scope".to_owned(),
        version: "1.2".to_owned(),
        attributes: texts(&[("lib.kind", "x"), ("name", "overwritten")]),
        ..InstrumentationScope::default()
    };
    ResourceMetrics {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: "https://schema/1".to_owned() }],
        schema_url: String::new(),
    }
}

/// The resource of a service.
pub fn service(metrics: Vec<Metric>) -> ResourceMetrics {
    let attributes = texts(&[
        ("service.name", "shop"),
        ("service.namespace", "web"),
        ("service.instance.id", "host-1"),
        ("host.name", "machine"),
        ("cloud.region", "north"),
        ("k8s.pod/name", "pod"),
    ]);
    resource(attributes, metrics)
}

pub fn message(resource_metrics: Vec<ResourceMetrics>) -> Vec<u8> {
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}
