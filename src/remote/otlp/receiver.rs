//! One request from its body to its outcome.

use std::io::Read as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use flate2::read::MultiGzDecoder;

use super::intake::{Intake, MAX_COST};
use super::translate::{Findings, Stop, Translator};
use super::{Config, json};
use crate::model::DurationMs;
use crate::runtime::Clock;
use crate::storage::{AppendError, Appendable, ByteBudget, Refusal, Scope};
use crate::telemetry::{Counter, Registry};

/// Samples further in the future than this are refused, as in the reference.
const MAX_AHEAD: DurationMs = DurationMs::from_secs(600);
/// Bytes of a message, unpacked: the reference's limit.
const MAX_MESSAGE: usize = 32 << 20;
/// Bytes of a message in JSON, of which a tree is made that is several times as large.
const MAX_JSON: usize = 4 << 20;

/// What the command line says of it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a sample stands for its series; `target_info` comes twice as often.
    pub lookback: DurationMs,
    /// Whether type and unit of a metric become labels (`type-and-unit-labels`).
    pub has_type_labels: bool,
}

/// What a receiver needs of others.
pub struct Deps {
    /// Where samples go.
    pub store: Arc<dyn Appendable>,
    /// The wall clock.
    pub clock: Clock,
    /// Takes the receiver's metrics.
    pub registry: Registry,
}

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Protocol buffers.
    Protobuf,
    /// JSON.
    Json,
}

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
}

/// Why nothing of a request was kept, by who must act.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is no message, or its samples come at a wrong time: 400.
    #[error("{0}")]
    Invalid(String),
    /// It, or what its samples take in memory, is larger than allowed: 413.
    #[error("{what} than the {max} bytes allowed")]
    TooLarge {
        /// Of what there is more.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// It cannot be translated: 500, as in the reference; a sender does not try again.
    #[error("{0}")]
    Untranslatable(String),
    /// There is no memory left beside what others' samples take: 503, and a sender tries again.
    #[error("the samples of too many requests are being taken; try again later")]
    Busy,
    /// The store takes nothing now, and may take it later: 503.
    #[error("{0}")]
    Store(#[from] AppendError),
}

/// Takes OTLP metrics into a store; from several threads at once.
pub struct Receiver {
    options: Options,
    config: ArcSwap<Config>,
    store: Arc<dyn Appendable>,
    clock: Clock,
    /// What the samples of all requests hold.
    held: Arc<ByteBudget>,
    metrics: Metrics,
}

struct Metrics {
    samples: Counter,
    refused: Counter,
    failed: Counter,
    empty_metrics: Counter,
    collisions: Counter,
    sums_of_nothing: Counter,
}

impl Metrics {
    fn new(r: &Registry) -> Metrics {
        let warnings = |category| {
            let help = "Oddities of OTLP metrics that were translated nevertheless.";
            r.counter("watershed_otlp_translation_warnings_total", help, &[("category", category)])
        };
        Metrics {
            samples: r.counter("watershed_otlp_samples_total", "Samples from OTLP that the store has kept.", &[]),
            refused: r.counter(
                "watershed_otlp_samples_refused_total",
                "Samples from OTLP that the store has left out of a request that was taken, such as one of two at a time.",
                &[],
            ),
            failed: r.counter("watershed_otlp_requests_failed_total", "OTLP requests of which nothing was kept.", &[]),
            empty_metrics: warnings("empty_data_points"),
            collisions: warnings("label_name_collision"),
            sums_of_nothing: warnings("histogram_zero_count_non_zero_sum"),
        }
    }

    fn count(&self, findings: &Findings) {
        self.empty_metrics.add(findings.empty_metrics);
        self.collisions.add(findings.collisions);
        self.sums_of_nothing.add(findings.sums_of_nothing);
    }
}

impl Receiver {
    /// A receiver with the config's defaults.
    pub fn new(options: Options, deps: Deps) -> Receiver {
        let metrics = Metrics::new(&deps.registry);
        let held = Arc::new(ByteBudget::new(MAX_COST as u64));
        Receiver { options, config: ArcSwap::default(), store: deps.store, clock: deps.clock, held, metrics }
    }

    /// Translates the requests that come from now on in another way.
    pub fn set_config(&self, config: Config) {
        self.config.store(Arc::new(config));
    }

    /// Bytes of a body that may be worth taking.
    pub fn max_body(&self) -> usize {
        MAX_MESSAGE
    }

    /// Takes a request into the store, or nothing of it. Computes, and may wait for the disk.
    pub fn receive(&self, format: Format, packing: Packing, body: &[u8]) -> Result<(), Failure> {
        let outcome = self.message(format, packing, body);
        if let Err(why) = &outcome {
            self.metrics.failed.inc();
            tracing::debug!(%why, "an OTLP request was not taken");
        }
        outcome
    }

    fn message(&self, format: Format, packing: Packing, body: &[u8]) -> Result<(), Failure> {
        let max = if format == Format::Json { MAX_JSON } else { MAX_MESSAGE };
        let unpacked = match packing {
            Packing::Plain => None,
            Packing::Gzip => Some(gunzip(body, max)?),
        };
        let message = unpacked.as_deref().unwrap_or(body);
        if message.len() > max {
            return Err(too_large(max));
        }
        match format {
            Format::Protobuf => self.take(message),
            Format::Json => self.take(&json::to_protobuf(message).map_err(Failure::Invalid)?),
        }
    }

    fn take(&self, message: &[u8]) -> Result<(), Failure> {
        let config = self.config.load();
        let mut translator = Translator::new(&config, self.options);
        let scope = Scope::within(Some(self.held.clone()), None, u64::MAX, MAX_COST as u64);
        let mut intake = Intake::new(self.store.appender(), scope, self.clock.now() + MAX_AHEAD);
        let walked = translator.request(message, &mut intake).and_then(|()| Ok(intake.flush()?));
        match walked {
            Ok(()) | Err(Stop::Enough) => {}
            Err(Stop::Message(why)) => return Err(Failure::Invalid(format!("not a message of OTLP metrics: {why}"))),
            Err(Stop::Mistake(why)) => return Err(Failure::Untranslatable(why)),
            Err(Stop::TooCostly) => {
                return Err(Failure::TooLarge { what: "its samples take more memory", max: MAX_COST });
            }
            Err(Stop::Busy) => return Err(Failure::Busy),
            Err(Stop::Store(error)) => return Err(error.into()),
        }
        let findings = translator.findings;
        self.metrics.count(&findings);
        verdict(&findings, intake.refused)?;
        let report = intake.commit()?;
        self.metrics.samples.add(report.appended);
        self.metrics.refused.add(report.refused.total());
        Ok(())
    }
}

/// Whether a request may be committed. What comes at a wrong time decides about the status.
fn verdict(findings: &Findings, refused: Option<Refusal>) -> Result<(), Failure> {
    let mistakes = findings.mistakes.iter().cloned();
    let all = mistakes.chain(refused.map(|refusal| refusal.to_string())).collect::<Vec<_>>().join("\n");
    match refused {
        _ if all.is_empty() => Ok(()),
        None | Some(Refusal::Malformed) => Err(Failure::Untranslatable(all)),
        Some(_) => Err(Failure::Invalid(all)),
    }
}

fn too_large(max: usize) -> Failure {
    Failure::TooLarge { what: "the message is larger", max }
}

fn gunzip(body: &[u8], max: usize) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(body).take(limit).read_to_end(&mut message);
    read.map_err(|e| Failure::Invalid(format!("gzip: {e}")))?;
    if message.len() > max { Err(too_large(max)) } else { Ok(message) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::translate::MAX_MISTAKES;
    use super::*;
    use crate::disk::MemDisk;
    use crate::model::TimestampMs;
    use crate::net::protobuf::Writer;
    use crate::storage::memory::MemoryStore;
    use crate::tsdb::{self, Tsdb};

    const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

    fn receiver() -> (Receiver, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::new());
        let deps = Deps { store: store.clone(), clock: Clock::manual(NOW), registry: Registry::new() };
        let options = Options { lookback: DurationMs::from_secs(300), has_type_labels: false };
        (Receiver::new(options, deps), store)
    }

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn point(t: TimestampMs) -> NumberDataPoint {
        let value = Some(number_data_point::Value::AsDouble(1.5));
        NumberDataPoint { time_unix_nano: t.0.cast_unsigned() * 1_000_000, value, ..NumberDataPoint::default() }
    }

    fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
        let data = Some(Data::Gauge(Gauge { data_points: points }));
        Metric { name: name.to_owned(), data, ..Metric::default() }
    }

    fn message(points: Vec<NumberDataPoint>) -> Vec<u8> {
        message_of(vec![gauge("m", points)])
    }

    fn message_of(metrics: Vec<Metric>) -> Vec<u8> {
        let text = |text: &str| Value::StringValue(text.to_owned());
        let attributes = vec![attribute("service.name", text("s")), attribute("host", text("h"))];
        let resource = Some(Resource { attributes, ..Resource::default() });
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
    }

    fn names(store: &MemoryStore) -> Vec<String> {
        assert_eq!(store.empty_series(), []);
        store.dump().keys().filter_map(|labels| labels.metric_name().map(str::to_owned)).collect()
    }

    #[test]
    fn a_wrong_timestamp_does_not_make_millions_of_samples() {
        let (receiver, store) = receiver();
        let body = message(vec![point(TimestampMs(1)), point(NOW)]);
        let failure = receiver.receive(Format::Protobuf, Packing::Plain, &body).unwrap_err();
        assert!(matches!(&failure, Failure::Untranslatable(why) if why.contains("too far apart")), "{failure}");
        assert_eq!(names(&store), [""; 0]);
        let body = message(vec![point(NOW - DurationMs::from_secs(600)), point(NOW)]);
        receiver.receive(Format::Protobuf, Packing::Plain, &body).unwrap();
        assert_eq!(names(&store), ["m", "target_info"]);
        let samples = store.dump().into_values().map(|samples| samples.len());
        assert_eq!(samples.collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn a_refused_request_leaves_nothing_behind_and_its_repair_is_taken() {
        let (receiver, store) = receiver();
        let receive = |metrics| receiver.receive(Format::Protobuf, Packing::Plain, &message_of(metrics));
        let fresh = |t| gauge("fresh", vec![point(t)]);
        let (second, hour) = (DurationMs::from_secs(1), DurationMs::from_secs(3600));
        let untranslatable = receive(vec![fresh(NOW), Metric { data: None, ..fresh(NOW) }]).unwrap_err();
        assert!(matches!(untranslatable, Failure::Untranslatable(_)), "{untranslatable}");
        assert_eq!(names(&store), [""; 0]);
        receive(vec![gauge("known", vec![point(NOW)])]).unwrap();
        let late = gauge("known", vec![point(NOW - second)]);
        for metrics in [vec![fresh(NOW), late.clone()], vec![late, fresh(NOW)], vec![fresh(NOW), fresh(NOW + hour)]] {
            let refused = receive(metrics).unwrap_err();
            assert!(matches!(refused, Failure::Invalid(_)), "{refused}");
            assert_eq!(names(&store), ["known", "target_info"]);
        }
        store.refuse_before(NOW - second);
        let too_old = receive(vec![fresh(NOW - second - second), fresh(NOW)]).unwrap_err();
        assert!(matches!(&too_old, Failure::Invalid(why) if why == "too old sample"), "{too_old}");
        assert_eq!(names(&store), ["known", "target_info"]);
        let known = gauge("known", vec![point(NOW + second)]);
        receive(vec![fresh(NOW), known, fresh(NOW + second)]).unwrap();
        assert_eq!(names(&store), ["fresh", "known", "target_info"]);
        let counts = store.dump().into_values().map(|samples| samples.len());
        assert_eq!(counts.collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn a_refused_request_creates_no_series_in_the_head() {
        let (registry, clock) = (Registry::new(), Clock::manual(NOW));
        let deps = tsdb::Deps { disk: Arc::new(MemDisk::new()), clock: clock.clone(), registry: registry.clone() };
        let store = Arc::new(Tsdb::open(Path::new("/data"), tsdb::Options::default(), deps).unwrap().0);
        let options = Options { lookback: DurationMs::from_secs(300), has_type_labels: false };
        let receiver = Receiver::new(options, Deps { store, clock, registry: registry.clone() });
        let series = || {
            let mut text = String::new();
            registry.write_text(&mut text);
            let line = text.lines().find(|line| line.starts_with("watershed_tsdb_head_series ")).unwrap();
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        let receive = |metrics| receiver.receive(Format::Protobuf, Packing::Plain, &message_of(metrics));
        receive(vec![gauge("known", vec![point(NOW)])]).unwrap();
        assert_eq!(series(), 2.0);
        let days = DurationMs::from_secs(3 * 24 * 3600);
        for metrics in [
            vec![gauge("new", vec![point(NOW)]), Metric::default()],
            vec![gauge("new", vec![point(NOW)]), gauge("known", vec![point(NOW - DurationMs::from_secs(1))])],
            vec![gauge("new", vec![point(NOW - days)])],
        ] {
            receive(metrics).unwrap_err();
            assert_eq!(series(), 2.0);
        }
        receive(vec![gauge("new", vec![point(NOW)])]).unwrap();
        assert_eq!(series(), 3.0);
    }

    #[test]
    fn a_request_whose_samples_take_more_memory_than_allowed_is_refused_before_they_do() {
        let (receiver, store) = receiver();
        receiver.set_config(Config { promote_all_resource_attributes: true, ..Config::default() });
        let mut w = Vec::new();
        let metric = gauge("m", (0..2000).map(|_| point(NOW)).collect());
        let text = Value::StringValue("v".repeat(500 << 10));
        let resource = Some(Resource { attributes: vec![attribute("long", text)], ..Resource::default() });
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        ExportMetricsServiceRequest { resource_metrics }.encode(&mut w).unwrap();
        assert!(w.len() < 1 << 20);
        let failure = receiver.receive(Format::Protobuf, Packing::Plain, &w).unwrap_err();
        assert!(matches!(failure, Failure::TooLarge { max: MAX_COST, .. }), "{failure}");
        assert_eq!(names(&store), [""; 0]);
    }

    #[test]
    fn requests_share_the_memory_for_their_samples_and_give_it_back() {
        let (receiver, store) = receiver();
        let receive = || receiver.receive(Format::Protobuf, Packing::Plain, &message(vec![point(NOW)]));
        let others = Scope::within(Some(receiver.held.clone()), None, u64::MAX, u64::MAX);
        others.charge(0, MAX_COST as u64).unwrap();
        assert!(matches!(receive(), Err(Failure::Busy)));
        assert_eq!(names(&store), [""; 0]);
        drop(others);
        receive().unwrap();
        assert_eq!((names(&store).len(), receiver.held.held()), (2, 0));
    }

    #[test]
    fn so_many_mistakes_are_told_and_no_more_are_looked_for() {
        let (receiver, _) = receiver();
        let mistaken = |metrics| {
            let mut body = message_of(vec![Metric::default(); metrics]);
            // What is behind the mistakes is cut off.
            body.extend_from_slice(&[0x0a, 5, 1]);
            receiver.receive(Format::Protobuf, Packing::Plain, &body).unwrap_err()
        };
        assert!(matches!(mistaken(MAX_MISTAKES - 1), Failure::Invalid(_)));
        for metrics in [MAX_MISTAKES, 1000] {
            let failure = mistaken(metrics);
            assert!(matches!(&failure, Failure::Untranslatable(why) if why.lines().count() == 20), "{failure}");
        }
    }

    #[test]
    fn a_small_body_does_not_unpack_to_a_large_one() {
        let (receiver, _) = receiver();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let piece = vec![0; 1 << 20];
        (0..=MAX_MESSAGE >> 20).for_each(|_| gzip.write_all(&piece).unwrap());
        let bomb = gzip.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        for format in [Format::Protobuf, Format::Json] {
            let failure = receiver.receive(format, Packing::Gzip, &bomb).unwrap_err();
            assert!(matches!(failure, Failure::TooLarge { .. }), "{failure}");
        }
    }

    #[test]
    fn deep_and_large_parts_are_refused() {
        let (receiver, store) = receiver();
        let mut value = AnyValue { value: Some(Value::BoolValue(true)) };
        for _ in 0..60 {
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        }
        let deep = KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() };
        let mut wide = Vec::new();
        Writer::new(&mut wide).message(1, |w| {
            w.message(1, |w| (0..1 << 20).for_each(|_| w.bytes(1, &[])));
        });
        for (body, why) in [
            (message(vec![NumberDataPoint { attributes: vec![deep], ..point(NOW) }]), "recursion"),
            (wide, "larger than"),
        ] {
            let failure = receiver.receive(Format::Protobuf, Packing::Plain, &body).unwrap_err();
            assert!(matches!(&failure, Failure::Invalid(text) if text.contains(why)), "{failure}");
        }
        let open = "{\"resourceMetrics\":[".repeat(100_000);
        let failure = receiver.receive(Format::Json, Packing::Plain, open.as_bytes()).unwrap_err();
        assert!(matches!(&failure, Failure::Invalid(text) if text.contains("recursion")), "{failure}");
        assert_eq!(names(&store), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_damage_to_a_message_makes_the_receiver_panic(
            at in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let (receiver, _) = receiver();
            let mut body = message(vec![point(NOW), point(NOW)]);
            for (index, byte) in at {
                let place = index.index(body.len());
                body[place] = byte;
            }
            body.truncate(cut.index(body.len() + 1));
            let _ = receiver.receive(Format::Protobuf, Packing::Plain, &body);
        }
    }
}
