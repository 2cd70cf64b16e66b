//! From the message to samples.

use std::collections::{BTreeMap, HashMap, HashSet};

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::attributes::{find, text};
use super::exemplar::exemplars;
use super::histogram::{from_explicit, from_exponential};
use super::names::{Kind, label_name, metric_name, unit_name};
use super::receiver::Options;
use super::{Config, target_info};
use crate::model::number::write_plain;
use crate::model::{
    Exemplar, GoQuoted, Histogram, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricType, STALE_NAN, Shortened,
    TimestampMs,
};
use crate::net::protobuf::{Field, Fields, ProtobufError};
use crate::storage::AppendError;

/// Bytes of what is decoded at once: a data point, a resource, a scope.
const MAX_PART: usize = 1 << 20;
/// Mistakes that are told; all lead to the same end.
const MAX_MISTAKES: usize = 20;
/// Attributes of a data point, a resource or a scope: many times what any real one has, and few enough to look for doubles.
const MAX_ATTRIBUTES: usize = 1000;
/// Keys whose label names are remembered; requests have some ten.
const KEPT_NAMES: usize = 10_000;

/// Takes what a request holds.
pub(super) trait Sink {
    /// A float with its exemplars.
    fn float(&mut self, sample: &Translated<'_>, value: f64, exemplars: &[Exemplar]) -> Result<(), Stop>;

    /// A native histogram with its exemplars.
    fn histogram(&mut self, sample: &Translated<'_>, value: Histogram, exemplars: &[Exemplar]) -> Result<(), Stop>;
}

/// What is said of a sample besides its value.
pub(super) struct Translated<'a> {
    pub(super) labels: &'a Labels,
    pub(super) t: TimestampMs,
    pub(super) start: TimestampMs,
    /// Which of the request's metrics it belongs to, counted from 1.
    pub(super) metric: u64,
    pub(super) metadata: &'a Metadata,
}

/// Why a request is not taken further.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is no message.
    Message(String),
    /// A sample of it is none that a store can have.
    Untranslatable(String),
    /// Its samples would take too much memory.
    TooCostly,
    /// The store failed.
    Store(AppendError),
}

impl From<ProtobufError> for Stop {
    fn from(error: ProtobufError) -> Stop {
        Stop::Message(error.to_string())
    }
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Stop {
        Stop::Store(error)
    }
}

/// What translating found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Why nothing of the request is kept, in the reference's words.
    pub(super) mistakes: Vec<String>,
    /// Metrics without a data point.
    pub(super) empty_metrics: u64,
    /// Attributes whose names became one label, whose value is both.
    pub(super) collisions: u64,
    /// Histograms without observations and with a sum.
    pub(super) sums_of_nothing: u64,
}

impl Findings {
    pub(super) fn mistake(&mut self, what: String) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(what);
        }
    }
}

/// Translates one request.
pub(super) struct Translator<'c> {
    pub(super) config: &'c Config,
    pub(super) options: Options,
    pub(super) labels: LabelsBuilder,
    pub(super) findings: Findings,
    /// Samples of `target_info` that this request has brought.
    pub(super) told: HashSet<(Labels, TimestampMs)>,
    /// Samples of `target_info` between the first and the last one of a resource.
    pub(super) between: u64,
    metrics: u64,
    label_names: HashMap<String, Result<String, String>>,
    resource: ResourceLabels,
    /// Labels that every series of a scope has, whatever its data points say; empty values take those away.
    scope: BTreeMap<String, String>,
    /// First and last data point of the resource, in nanoseconds.
    times: Option<(u64, u64)>,
}

/// Labels that every series of a resource has.
#[derive(Default)]
pub(super) struct ResourceLabels {
    pub(super) job: String,
    pub(super) instance: String,
    promoted: Vec<(String, String)>,
}

/// A metric without its data points.
struct Metric<'m> {
    /// As it is given.
    name: &'m str,
    /// Counted from 1.
    number: u64,
    /// As it is stored.
    family: String,
    metadata: Metadata,
}

/// A data point's place in time.
#[derive(Clone, Copy)]
struct Times {
    t: TimestampMs,
    start: TimestampMs,
}

impl Times {
    fn new(t_nanos: u64, start_nanos: u64) -> Times {
        let ms = |nanos: u64| TimestampMs(nanos.cast_signed() / 1_000_000);
        Times { t: ms(t_nanos), start: ms(start_nanos) }
    }
}

/// Whether a data point only says that there is nothing.
pub(super) fn has_no_value(flags: u32) -> bool {
    flags & 1 != 0
}

impl<'c> Translator<'c> {
    pub(super) fn new(config: &'c Config, options: Options) -> Translator<'c> {
        Translator {
            config,
            options,
            labels: LabelsBuilder::new(),
            findings: Findings::default(),
            told: HashSet::new(),
            between: 0,
            metrics: 0,
            label_names: HashMap::new(),
            resource: ResourceLabels::default(),
            scope: BTreeMap::new(),
            times: None,
        }
    }

    /// Translates an `ExportMetricsServiceRequest`.
    pub(super) fn request(&mut self, message: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                self.resource_metrics(field.bytes()?, sink)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let resource: Resource = part(message, 1)?;
        self.times = None;
        if let Err(why) = self.enter_resource(&resource.attributes) {
            self.findings.mistake(why);
            return Ok(());
        }
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 2 {
                self.scope_metrics(field.bytes()?, sink)?;
            }
        }
        self.scope.clear();
        match self.times {
            Some((first, last)) => target_info::append(self, &resource.attributes, first, last, sink),
            None => Ok(()),
        }
    }

    pub(super) fn next_metric(&mut self) -> u64 {
        self.metrics += 1;
        self.metrics
    }

    fn enter_resource(&mut self, attributes: &[KeyValue]) -> Result<(), String> {
        check_number(attributes)?;
        let job = match (find(attributes, "service.namespace"), find(attributes, "service.name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.into_owned(),
            (_, None) => String::new(),
        };
        let instance = find(attributes, "service.instance.id").unwrap_or_default().into_owned();
        self.labels.clear();
        for attribute in attributes.iter().filter(|a| self.config.promotes(&a.key)) {
            let name = self.label_name(&attribute.key)?;
            self.labels.set(&name, &text(attribute));
        }
        let promoted = self.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.resource = ResourceLabels { job, instance, promoted };
        Ok(())
    }

    fn scope_metrics(&mut self, message: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let scope: InstrumentationScope = part(message, 1)?;
        let schema_url = Fields::new(message).filter_map(|f| f.ok().filter(|f| f.number == 3)).last();
        let schema_url = schema_url.map_or(Ok(""), |f| f.text())?;
        if let Err(why) = self.enter_scope(&scope, schema_url) {
            self.findings.mistake(why);
            return Ok(());
        }
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 2 {
                self.metric(field.bytes()?, sink)?;
            }
        }
        Ok(())
    }

    fn enter_scope(&mut self, scope: &InstrumentationScope, schema_url: &str) -> Result<(), String> {
        self.scope.clear();
        if !self.config.promote_scope_metadata || scope.name.is_empty() {
            return Ok(());
        }
        check_number(&scope.attributes)?;
        for attribute in &scope.attributes {
            let name = self.label_name(&format!("otel_scope_{}", attribute.key))?;
            self.scope.insert(name, text(attribute).into_owned());
        }
        let own = [("name", scope.name.as_str()), ("version", &scope.version), ("schema_url", schema_url)];
        self.scope.extend(own.map(|(name, value)| (format!("otel_scope_{name}"), value.to_owned())));
        Ok(())
    }

    fn metric(&mut self, message: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let (mut name, mut description, mut unit, mut data) = ("", "", "", None);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => name = field.text()?,
                2 => description = field.text()?,
                3 => unit = field.text()?,
                5 | 7 | 9 | 10 | 11 => data = Some(field),
                _ => {}
            }
        }
        let Some(data) = data else {
            let name = Shortened(name);
            let why =
                format!("could not get aggregation temporality for {name} as it has unsupported metric type Empty");
            self.findings.mistake(why);
            return Ok(());
        };
        let shape = Shape::read(data)?;
        if data.number != 5 && data.number != 11 && shape.temporality != CUMULATIVE {
            let quoted = GoQuoted(&Shortened(name).to_string()).to_string();
            self.findings.mistake(format!("invalid temporality and type combination for metric {quoted}"));
            return Ok(());
        }
        let (kind, metric_type) = match data.number {
            5 => (Kind::Gauge, MetricType::Gauge),
            7 if shape.is_monotonic => (Kind::Counter, MetricType::Counter),
            7 => (Kind::Other, MetricType::Gauge),
            11 => (Kind::Other, MetricType::Summary),
            _ => (Kind::Other, MetricType::Histogram),
        };
        let family = match metric_name(self.config, name, unit, kind) {
            Ok(family) => family,
            Err(why) => {
                self.findings.mistake(why);
                return Ok(());
            }
        };
        let metadata = Metadata { metric_type, unit: unit_name(unit, true), help: description.to_owned() };
        let metric = Metric { name, number: self.next_metric(), family, metadata };
        let mut points = 0_u64;
        for field in data.message()? {
            let field = field?;
            if field.number == 1 {
                points += 1;
                if let Err(why) = self.point(data.number, &metric, field, sink)? {
                    self.findings.mistake(why);
                    return Ok(());
                }
            }
        }
        self.findings.empty_metrics += u64::from(points == 0);
        if points == 0 {
            tracing::debug!(metric = metric.name, "an OTLP metric without data points is dropped");
        }
        Ok(())
    }

    /// Translates one data point; the inner error is a mistake of its metric.
    fn point(
        &mut self,
        data: u32,
        metric: &Metric<'_>,
        field: Field<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        Ok(match data {
            5 | 7 => self.number(metric, &decode(field)?, data == 7, sink)?,
            9 if self.config.convert_histograms_to_nhcb => self.custom_buckets(metric, &decode(field)?, sink)?,
            9 => self.classic_histogram(metric, &decode(field)?, sink)?,
            10 => self.exponential_histogram(metric, &decode(field)?, sink)?,
            _ => self.summary(metric, &decode(field)?, sink)?,
        })
    }

    fn number(
        &mut self,
        metric: &Metric<'_>,
        point: &NumberDataPoint,
        has_exemplars: bool,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        let times = self.note_time(point.time_unix_nano, point.start_time_unix_nano);
        let value = match point.value {
            Some(Number::AsInt(n)) => n as f64,
            Some(Number::AsDouble(v)) => v,
            None => 0.0,
        };
        let value = if has_no_value(point.flags) { STALE_NAN } else { value };
        let given = if has_exemplars { exemplars(&point.exemplars) } else { Ok(Vec::new()) };
        let exemplars = match self.series(&point.attributes, &metric.metadata).and(given) {
            Ok(exemplars) => exemplars,
            Err(why) => return Ok(Err(why)),
        };
        let labels = self.named(&metric.family, None);
        sink.float(&sample(&labels, times, metric), value, &exemplars)?;
        Ok(Ok(()))
    }

    fn exponential_histogram(
        &mut self,
        metric: &Metric<'_>,
        point: &ExponentialHistogramDataPoint,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        let times = self.note_time(point.time_unix_nano, point.start_time_unix_nano);
        self.note_sum(point.flags, point.count, point.sum);
        let given = from_exponential(point).and_then(|h| Ok((h, exemplars(&point.exemplars)?)));
        self.native(metric, &point.attributes, times, given, sink)
    }

    fn custom_buckets(
        &mut self,
        metric: &Metric<'_>,
        point: &HistogramDataPoint,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        let times = self.note_time(point.time_unix_nano, point.start_time_unix_nano);
        self.note_sum(point.flags, point.count, point.sum);
        let given = from_explicit(point).and_then(|h| Ok((h, exemplars(&point.exemplars)?)));
        self.native(metric, &point.attributes, times, given, sink)
    }

    fn native(
        &mut self,
        metric: &Metric<'_>,
        attributes: &[KeyValue],
        times: Times,
        given: Result<(Histogram, Vec<Exemplar>), String>,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        let (histogram, exemplars) = match self.series(attributes, &metric.metadata).and(given) {
            Ok(given) => given,
            Err(why) => return Ok(Err(why)),
        };
        let labels = self.named(&metric.family, None);
        sink.histogram(&sample(&labels, times, metric), histogram, &exemplars)?;
        Ok(Ok(()))
    }

    fn classic_histogram(
        &mut self,
        metric: &Metric<'_>,
        point: &HistogramDataPoint,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        let times = self.note_time(point.time_unix_nano, point.start_time_unix_nano);
        let exemplars = match self.series(&point.attributes, &metric.metadata).and(exemplars(&point.exemplars)) {
            Ok(exemplars) => exemplars,
            Err(why) => return Ok(Err(why)),
        };
        let base = self.labels.labels();
        let is_stale = has_no_value(point.flags);
        let mut put = |suffix: &str, le: Option<f64>, value: f64, exemplars: &[Exemplar]| {
            self.labels.reset(&base);
            let labels = self.named(&format!("{}{suffix}", metric.family), le.map(|le| ("le", le)));
            sink.float(&sample(&labels, times, metric), if is_stale { STALE_NAN } else { value }, exemplars)
        };
        if let Some(sum) = point.sum {
            put("_sum", None, sum, &[])?;
        }
        put("_count", None, point.count as f64, &[])?;
        let (mut cumulated, mut left) = (0_u64, exemplars.as_slice());
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulated = cumulated.wrapping_add(*count);
            // Both ascend.
            let here = left.iter().position(|e| e.value > *bound).unwrap_or(left.len());
            put("_bucket", Some(*bound), cumulated as f64, &left[..here])?;
            left = &left[here..];
        }
        put("_bucket", Some(f64::INFINITY), point.count as f64, left)?;
        Ok(Ok(()))
    }

    fn summary(
        &mut self,
        metric: &Metric<'_>,
        point: &SummaryDataPoint,
        sink: &mut dyn Sink,
    ) -> Result<Result<(), String>, Stop> {
        let times = self.note_time(point.time_unix_nano, point.start_time_unix_nano);
        if let Err(why) = self.series(&point.attributes, &metric.metadata) {
            return Ok(Err(why));
        }
        let base = self.labels.labels();
        let is_stale = has_no_value(point.flags);
        let mut put = |suffix: &str, quantile: Option<f64>, value: f64| {
            self.labels.reset(&base);
            let labels = self.named(&format!("{}{suffix}", metric.family), quantile.map(|q| ("quantile", q)));
            sink.float(&sample(&labels, times, metric), if is_stale { STALE_NAN } else { value }, &[])
        };
        put("_sum", None, point.sum)?;
        put("_count", None, point.count as f64)?;
        for quantile in &point.quantile_values {
            put("", Some(quantile.quantile), quantile.value)?;
        }
        Ok(Ok(()))
    }

    /// Collects the labels of a data point in the builder, without its name.
    fn series(&mut self, attributes: &[KeyValue], metadata: &Metadata) -> Result<(), String> {
        self.own_attributes(attributes, &[METRIC_NAME])?;
        // The names of either list differ among themselves, so only the data point's own labels are looked through.
        let own = self.labels.len();
        for (name, value) in &self.resource.promoted {
            if !self.labels.iter().take(own).any(|(known, _)| known == name) {
                self.labels.push_new(name, value);
            }
        }
        self.identify();
        if !self.scope.is_empty() {
            self.labels.retain(|name, _| !self.scope.contains_key(name));
            let scope = self.scope.iter().filter(|(_, value)| !value.is_empty());
            scope.for_each(|(name, value)| self.labels.push_new(name, value));
        }
        if self.options.has_type_labels {
            if metadata.metric_type != MetricType::Unknown {
                self.labels.set("__type__", metadata.metric_type.as_str());
            }
            let unit = unit_name(&metadata.unit, self.config.translation_strategy.escapes());
            if !unit.is_empty() {
                self.labels.set("__unit__", &unit);
            }
        }
        Ok(())
    }

    /// Starts the builder anew with attributes: sorted by key, the values of keys that become one name joined.
    pub(super) fn own_attributes(&mut self, attributes: &[KeyValue], left_out: &[&str]) -> Result<(), String> {
        check_number(attributes)?;
        self.labels.clear();
        let mut sorted: Vec<&KeyValue> = attributes.iter().filter(|a| !left_out.contains(&a.key.as_str())).collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let escapes = self.config.translation_strategy.escapes();
        for attribute in sorted {
            let value = text(attribute);
            if !escapes && attribute.key.is_empty() {
                return Err("label name is empty".to_owned());
            }
            if !escapes {
                self.labels.set(&attribute.key, &value);
                continue;
            }
            let name = self.label_name(&attribute.key)?;
            match self.labels.get(&name) {
                "" => self.labels.set(&name, &value),
                before => {
                    let both = format!("{before};{value}");
                    self.labels.set(&name, &both);
                    self.findings.collisions += 1;
                }
            }
        }
        Ok(())
    }

    /// Sets the labels that tell a resource apart.
    pub(super) fn identify(&mut self) {
        for (name, value) in [("job", &self.resource.job), ("instance", &self.resource.instance)] {
            if !value.is_empty() {
                self.labels.set(name, value);
            }
        }
    }

    /// The finished labels, with a metric's name and a bound.
    pub(super) fn named(&mut self, name: &str, bound: Option<(&str, f64)>) -> Labels {
        if let Some((label, bound)) = bound {
            let mut digits = Vec::new();
            write_plain(&mut digits, bound);
            // Digits are ASCII.
            self.labels.set(label, &String::from_utf8_lossy(&digits));
        }
        self.labels.set(METRIC_NAME, name);
        self.labels.labels()
    }

    fn label_name(&mut self, key: &str) -> Result<String, String> {
        if let Some(known) = self.label_names.get(key) {
            return known.clone();
        }
        let name = label_name(self.config, key);
        if self.label_names.len() >= KEPT_NAMES {
            self.label_names.clear();
        }
        self.label_names.insert(key.to_owned(), name.clone());
        name
    }

    fn note_time(&mut self, t_nanos: u64, start_nanos: u64) -> Times {
        let (first, last) = self.times.unwrap_or((t_nanos, t_nanos));
        self.times = Some((first.min(t_nanos), last.max(t_nanos)));
        Times::new(t_nanos, start_nanos)
    }

    fn note_sum(&mut self, flags: u32, count: u64, sum: Option<f64>) {
        let is_odd = !has_no_value(flags) && count == 0 && sum.is_some_and(|sum| sum != 0.0);
        self.findings.sums_of_nothing += u64::from(is_odd);
    }
}

fn check_number(attributes: &[KeyValue]) -> Result<(), String> {
    match attributes.len() {
        ..=MAX_ATTRIBUTES => Ok(()),
        n => Err(format!("{n} attributes are more than the {MAX_ATTRIBUTES} allowed")),
    }
}

fn sample<'a>(labels: &'a Labels, times: Times, metric: &'a Metric<'_>) -> Translated<'a> {
    Translated { labels, t: times.t, start: times.start, metric: metric.number, metadata: &metric.metadata }
}

/// Counts since a start; the only ones that are taken.
const CUMULATIVE: u64 = 2;

/// What the fields of a metric's data say besides its points.
#[derive(Default)]
struct Shape {
    temporality: u64,
    is_monotonic: bool,
}

impl Shape {
    fn read(data: Field<'_>) -> Result<Shape, ProtobufError> {
        let mut shape = Shape::default();
        for field in data.message()? {
            let field = field?;
            match field.number {
                2 if data.number != 5 && data.number != 11 => shape.temporality = field.varint()?,
                3 if data.number == 7 => shape.is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
        Ok(shape)
    }
}

/// A part that a message has at most once; the last, if it is there several times.
fn part<M: Message + Default>(message: &[u8], number: u32) -> Result<M, Stop> {
    let mut found = None;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            found = Some(field);
        }
    }
    found.map_or_else(|| Ok(M::default()), decode)
}

fn decode<M: Message + Default>(field: Field<'_>) -> Result<M, Stop> {
    let bytes = field.bytes()?;
    if bytes.len() > MAX_PART {
        return Err(Stop::Message(format!("a part of {} bytes is larger than the {MAX_PART} allowed", bytes.len())));
    }
    M::decode(bytes).map_err(|e| Stop::Message(e.to_string()))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;

    use super::*;

    /// Name, bound, time, start, value and number of exemplars of each float.
    #[derive(Default)]
    struct Recorder(Vec<(String, String, i64, i64, f64, usize)>);

    impl Sink for Recorder {
        fn float(&mut self, sample: &Translated<'_>, value: f64, exemplars: &[Exemplar]) -> Result<(), Stop> {
            let text = |name| sample.labels.get(name).unwrap_or("").to_owned();
            self.0.push((text(METRIC_NAME), text("le"), sample.t.0, sample.start.0, value, exemplars.len()));
            Ok(())
        }

        fn histogram(&mut self, _: &Translated<'_>, _: Histogram, _: &[Exemplar]) -> Result<(), Stop> {
            Ok(())
        }
    }

    #[test]
    fn every_series_of_a_histogram_has_its_start_and_each_exemplar_its_bucket() {
        let exemplar = |value| opentelemetry_proto::tonic::metrics::v1::Exemplar {
            value: Some(opentelemetry_proto::tonic::metrics::v1::exemplar::Value::AsDouble(value)),
            ..Default::default()
        };
        let point = HistogramDataPoint {
            start_time_unix_nano: 1_999_999,
            time_unix_nano: 5_000_000,
            count: 6,
            sum: Some(2.5),
            bucket_counts: vec![1, 2, 3],
            explicit_bounds: vec![0.5, 10.0],
            exemplars: vec![exemplar(0.1), exemplar(0.5), exemplar(99.0)],
            ..HistogramDataPoint::default()
        };
        let options = Options { lookback: crate::model::DurationMs::from_secs(300), has_type_labels: false };
        let (config, mut recorder) = (Config::default(), Recorder::default());
        let mut translator = Translator::new(&config, options);
        let metric = Metric { name: "h", number: 1, family: "h".to_owned(), metadata: Metadata::default() };
        translator.classic_histogram(&metric, &point, &mut recorder).unwrap().unwrap();
        let row = |name: &str, le: &str, value, exemplars| (name.to_owned(), le.to_owned(), 5, 1, value, exemplars);
        assert_eq!(
            recorder.0,
            [
                row("h_sum", "", 2.5, 0),
                row("h_count", "", 6.0, 0),
                row("h_bucket", "0.5", 1.0, 2),
                row("h_bucket", "10", 3.0, 0),
                row("h_bucket", "+Inf", 6.0, 1),
            ]
        );
        assert_eq!(translator.times, Some((5_000_000, 5_000_000)));
    }
}
