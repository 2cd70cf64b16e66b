//! From the message to its metrics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::names::{Kind, metric_name, unit_name};
use super::receiver::Options;
use super::{Config, target_info};
use crate::model::{
    Exemplar, GoQuoted, Histogram, Labels, LabelsBuilder, Metadata, MetricType, Shortened, TimestampMs,
};
use crate::net::protobuf::{Field, Fields, ProtobufError};
use crate::storage::AppendError;

/// Bytes of what is decoded at once: a data point, a resource, a scope.
const MAX_PART: usize = 1 << 20;
/// Mistakes that are told. All lead to the same end, so no more are looked for: what led to them is paid by nobody.
pub(super) const MAX_MISTAKES: usize = 20;

/// Takes what a request holds.
pub(super) trait Sink {
    /// A sample with its exemplars.
    fn take(&mut self, sample: &Translated<'_>, value: Measured, exemplars: &[Exemplar]) -> Result<(), Stop>;
}

/// What is said of a sample besides its value.
pub(super) struct Translated<'a> {
    pub(super) labels: &'a Labels,
    pub(super) t: TimestampMs,
    pub(super) start: TimestampMs,
    /// One for all samples of a metric.
    pub(super) metadata: &'a Rc<Metadata>,
}

/// A sample's value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Measured {
    Float(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// Why a part of a request, or the request, is not taken further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The part cannot be translated; what is beside it is still looked at.
    Mistake(String),
    /// The request is no message.
    Message(String),
    /// It has so many mistakes that no more are looked for.
    Enough,
    /// Its samples would take too much memory.
    TooCostly,
    /// Its samples would take more memory than others have left.
    Busy,
    /// The store failed.
    Store(AppendError),
}

impl From<String> for Stop {
    fn from(mistake: String) -> Stop {
        Stop::Mistake(mistake)
    }
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

/// Translates one request.
pub(super) struct Translator<'c> {
    pub(super) config: &'c Config,
    pub(super) options: Options,
    pub(super) labels: LabelsBuilder,
    pub(super) findings: Findings,
    /// Samples of `target_info` that this request has brought.
    pub(super) told: HashMap<Labels, HashSet<TimestampMs>>,
    /// Samples of `target_info` between the first and the last one of a resource.
    pub(super) between: u64,
    pub(super) label_names: HashMap<String, Result<String, String>>,
    pub(super) resource: ResourceLabels,
    /// Labels that every series of a scope has, whatever its data points say; empty values take those away.
    pub(super) scope: BTreeMap<String, String>,
    /// First and last data point of the resource, in nanoseconds.
    pub(super) times: Option<(u64, u64)>,
}

/// Labels that every series of a resource has.
#[derive(Default)]
pub(super) struct ResourceLabels {
    pub(super) job: String,
    pub(super) instance: String,
    pub(super) promoted: Vec<(String, String)>,
}

/// A metric without its data points.
pub(super) struct Metric {
    /// Its name as it is stored.
    pub(super) family: String,
    pub(super) metadata: Rc<Metadata>,
}

impl<'c> Translator<'c> {
    pub(super) fn new(config: &'c Config, options: Options) -> Translator<'c> {
        Translator {
            config,
            options,
            labels: LabelsBuilder::new(),
            findings: Findings::default(),
            told: HashMap::new(),
            between: 0,
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
                let outcome = self.resource_metrics(field.bytes()?, sink);
                self.forgive(outcome)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let resource: Resource = part(message, 1)?;
        self.times = None;
        self.enter_resource(&resource.attributes)?;
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 2 {
                let outcome = self.scope_metrics(field.bytes()?, sink);
                self.forgive(outcome)?;
            }
        }
        self.scope.clear();
        match self.times {
            Some((first, last)) => target_info::append(self, &resource.attributes, first, last, sink),
            None => Ok(()),
        }
    }

    fn scope_metrics(&mut self, message: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let scope: InstrumentationScope = part(message, 1)?;
        let schema_url = last(message, 3)?.map_or(Ok(""), |field| field.text())?;
        self.enter_scope(&scope, schema_url)?;
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 2 {
                let outcome = self.metric(field.bytes()?, sink);
                self.forgive(outcome)?;
            }
        }
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
            return Err(Stop::Mistake(format!(
                "could not get aggregation temporality for {name} as it has unsupported metric type Empty"
            )));
        };
        let shape = Shape::read(data)?;
        if data.number != 5 && data.number != 11 && shape.temporality != CUMULATIVE {
            let quoted = GoQuoted(&Shortened(name).to_string()).to_string();
            return Err(Stop::Mistake(format!("invalid temporality and type combination for metric {quoted}")));
        }
        let (kind, metric_type) = shape.kind(data.number);
        let family = metric_name(self.config, name, unit, kind)?;
        let metadata = Metadata { metric_type, unit: unit_name(unit, true), help: description.to_owned() };
        let metric = Metric { family, metadata: Rc::new(metadata) };
        let mut points = 0_u64;
        for field in data.message()? {
            let field = field?;
            if field.number == 1 {
                points += 1;
                self.point(data.number, &metric, field, sink)?;
            }
        }
        self.findings.empty_metrics += u64::from(points == 0);
        if points == 0 {
            tracing::debug!(metric = name, "an OTLP metric without data points is dropped");
        }
        Ok(())
    }

    /// Notes the mistake in a part of the request, and goes on with what is beside it.
    fn forgive(&mut self, outcome: Result<(), Stop>) -> Result<(), Stop> {
        match outcome {
            Err(Stop::Mistake(why)) => {
                self.findings.mistakes.push(why);
                if self.findings.mistakes.len() < MAX_MISTAKES { Ok(()) } else { Err(Stop::Enough) }
            }
            other => other,
        }
    }
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

    /// What the metric is, as its name and as its metadata tell it; `data` is the number of the field.
    fn kind(&self, data: u32) -> (Kind, MetricType) {
        match data {
            5 => (Kind::Gauge, MetricType::Gauge),
            7 if self.is_monotonic => (Kind::Counter, MetricType::Counter),
            7 => (Kind::Other, MetricType::Gauge),
            11 => (Kind::Other, MetricType::Summary),
            _ => (Kind::Other, MetricType::Histogram),
        }
    }
}

/// A part that a message has at most once; the last, if it is there several times.
fn part<M: Message + Default>(message: &[u8], number: u32) -> Result<M, Stop> {
    last(message, number)?.map_or_else(|| Ok(M::default()), decode)
}

fn last(message: &[u8], number: u32) -> Result<Option<Field<'_>>, ProtobufError> {
    let mut found = None;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            found = Some(field);
        }
    }
    Ok(found)
}

pub(super) fn decode<M: Message + Default>(field: Field<'_>) -> Result<M, Stop> {
    let bytes = field.bytes()?;
    if bytes.len() > MAX_PART {
        return Err(Stop::Message(format!("a part of {} bytes is larger than the {MAX_PART} allowed", bytes.len())));
    }
    M::decode(bytes).map_err(|e| Stop::Message(e.to_string()))
}
