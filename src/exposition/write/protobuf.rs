//! Delimited messages `io.prometheus.client.MetricFamily`. Source: `metrics.proto` of `prometheus/client_model`.
//!
//! ```text
//! MetricFamily  1 name  2 help  3 type  4 metric...  5 unit
//! Metric        1 label...  2 gauge  3 counter  5 untyped  6 time in ms  7 histogram
//! LabelPair     1 name  2 value
//! Gauge, Untyped    1 value
//! Counter       1 value  2 exemplar  3 start
//! Exemplar      1 label...  2 value  3 time
//! Histogram     1 count  2 sum  3 bucket...  4 count as a float  5 schema  6 zero threshold  7 zero count
//!               8 zero count as a float  9/12 spans  10/13 deltas  11/14 counts  15 start  16 exemplar...
//!               (negative / positive)
//! Bucket        1 cumulative count  2 upper bound  4 cumulative count as a float
//! BucketSpan    1 offset  2 length
//! Timestamp     1 seconds  2 nanoseconds
//! ```
//!
//! A message cannot be written before its length is known, so one message holds at most some dozens of KiB of metrics; a
//! larger family comes in several messages with the same head. That bends the format's rule, as the reference does it, too; its
//! parser and ours read on.

use super::{AnyHistogram, FamilyHead};
use crate::model::labels::is_legacy_metric_name;
use crate::model::{BucketLayout, EscapingScheme, Exemplar, Labels, MetricType, Span, TimestampMs};
use crate::net::protobuf::{Writer, zigzag};

/// A message ends behind the metric with which it reaches so many bytes.
const MESSAGE_BYTES: usize = 32 << 10;

/// A type of the format. There are no others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Of floats that count up.
    Counter,
    /// Of floats.
    Gauge,
    /// Of floats about which nothing is said.
    Untyped,
    /// Of histograms that count up.
    Histogram,
    /// Of histograms that may go down.
    GaugeHistogram,
}

impl Kind {
    fn number(self) -> u64 {
        match self {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Untyped => 3,
            Kind::Histogram => 4,
            Kind::GaugeHistogram => 5,
        }
    }

    /// How floats of a family are written.
    pub fn of_floats(metric_type: MetricType) -> Kind {
        match metric_type {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            _ => Kind::Untyped,
        }
    }

    /// The field of a metric that holds the value.
    fn field(self) -> u32 {
        match self {
            Kind::Gauge => 2,
            Kind::Counter => 3,
            Kind::Untyped => 5,
            Kind::Histogram | Kind::GaugeHistogram => 7,
        }
    }
}

/// One metric's time, the time since when it has been counted (0 if that is not known), and its exemplars.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// When.
    pub t: TimestampMs,
    /// Since when.
    pub start: TimestampMs,
    /// A counter has room for the last.
    pub exemplars: &'a [Exemplar],
}

/// Writes families as messages.
#[derive(Debug)]
pub struct MetricFamilies {
    escaping: EscapingScheme,
    kind: Kind,
    /// What each message of the family begins with.
    head: Vec<u8>,
    /// The message in progress; empty before its first metric.
    message: Vec<u8>,
}

impl MetricFamilies {
    /// A writer that has no family yet.
    pub fn new(escaping: EscapingScheme) -> MetricFamilies {
        MetricFamilies { escaping, kind: Kind::Untyped, head: Vec::new(), message: Vec::new() }
    }

    /// Begins a family; ends the one before.
    pub fn begin(&mut self, out: &mut Vec<u8>, head: &FamilyHead<'_>, kind: Kind) {
        self.end(out);
        self.kind = kind;
        self.head.clear();
        let mut w = Writer::new(&mut self.head);
        w.bytes(1, escaped(head.name, self.escaping).as_bytes());
        if !head.help.is_empty() {
            w.bytes(2, head.help.as_bytes());
        }
        w.varint(3, kind.number());
        if !head.unit.is_empty() {
            w.bytes(5, head.unit.as_bytes());
        }
    }

    /// Hands on the message in progress.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !self.message.is_empty() {
            prost::encoding::encode_varint(self.message.len() as u64, out);
            out.append(&mut self.message);
        }
    }

    /// Adds a metric of a float. `labels`: as [`push_label`] writes them.
    pub fn float(&mut self, out: &mut Vec<u8>, labels: &[u8], v: f64, with: &Circumstances<'_>) {
        let kind = self.kind;
        self.metric(out, labels, with.t, |w| {
            w.double(1, v);
            if kind == Kind::Counter {
                if let Some(exemplar) = with.exemplars.last() {
                    w.message(2, |w| write_exemplar(w, exemplar));
                }
                write_start(w, 3, with.start);
            }
        });
    }

    /// Adds a metric of a native histogram; one with custom bounds, which the format does not know, as a classic one.
    pub fn histogram(&mut self, out: &mut Vec<u8>, labels: &[u8], h: AnyHistogram<'_>, with: &Circumstances<'_>) {
        self.metric(out, labels, with.t, |w| {
            write_count(w, (1, 4), &h);
            w.double(2, h.sum());
            if h.layout().has_custom_bounds() {
                write_classic_buckets(w, &h);
            } else {
                write_native_buckets(w, &h);
            }
            write_start(w, 15, with.start);
            for exemplar in with.exemplars {
                w.message(16, |w| write_exemplar(w, exemplar));
            }
        });
    }

    fn metric(&mut self, out: &mut Vec<u8>, labels: &[u8], t: TimestampMs, value: impl FnOnce(&mut Writer<'_>)) {
        if self.message.is_empty() {
            self.message.extend_from_slice(&self.head);
        }
        let field = self.kind.field();
        Writer::new(&mut self.message).message(4, |w| {
            w.encoded(labels);
            w.message(field, value);
            w.int(6, t.0);
        });
        if self.message.len() >= MESSAGE_BYTES {
            self.end(out);
        }
    }
}

/// Appends a label pair of a metric.
#[inline]
pub fn push_label(out: &mut Vec<u8>, name: &str, value: &str, escaping: EscapingScheme) {
    Writer::new(out).message(1, |w| {
        if escaping == EscapingScheme::AllowUtf8 || is_legacy_metric_name(name) {
            w.bytes(1, name.as_bytes());
        } else {
            w.bytes(1, escaped(name, escaping).as_bytes());
        }
        w.bytes(2, value.as_bytes());
    });
}

fn escaped(name: &str, escaping: EscapingScheme) -> String {
    let mut out = String::new();
    escaping.write_name(&mut out, name);
    out
}

/// All observations: as an integer where they are counted so, else as a float.
fn write_count(w: &mut Writer<'_>, (integer, float): (u32, u32), h: &AnyHistogram<'_>) {
    match h {
        AnyHistogram::Integer(h) => w.varint(integer, h.count),
        AnyHistogram::Float(h) => w.double(float, h.count),
    }
}

fn write_classic_buckets(w: &mut Writer<'_>, h: &AnyHistogram<'_>) {
    for bucket in h.classic_buckets() {
        w.message(3, |w| {
            match h {
                AnyHistogram::Integer(_) => w.varint(1, bucket.cumulative as u64),
                AnyHistogram::Float(_) => w.double(4, bucket.cumulative),
            }
            w.double(2, bucket.bound);
        });
    }
}

fn write_native_buckets(w: &mut Writer<'_>, h: &AnyHistogram<'_>) {
    let layout = h.layout();
    w.varint(5, zigzag(i64::from(layout.schema)));
    w.double(6, layout.zero_threshold);
    match h {
        AnyHistogram::Integer(h) => {
            w.varint(7, h.zero_count);
            write_spans(w, 9, &layout.negative_spans);
            write_deltas(w, 10, &h.negative_buckets);
            write_positive_spans(w, layout);
            write_deltas(w, 13, &h.positive_buckets);
        }
        AnyHistogram::Float(h) => {
            w.double(8, h.zero_count);
            write_spans(w, 9, &layout.negative_spans);
            write_counts(w, 11, &h.negative_buckets);
            write_positive_spans(w, layout);
            write_counts(w, 14, &h.positive_buckets);
        }
    }
}

fn write_deltas(w: &mut Writer<'_>, field: u32, deltas: &[i64]) {
    if !deltas.is_empty() {
        w.packed(field, deltas.iter().map(|delta| zigzag(*delta)));
    }
}

fn write_counts(w: &mut Writer<'_>, field: u32, counts: &[f64]) {
    if !counts.is_empty() {
        w.packed_doubles(field, counts.iter().copied());
    }
}

/// An empty span tells a native histogram without anything in it from a classic one.
fn write_positive_spans(w: &mut Writer<'_>, layout: &BucketLayout) {
    const NOTHING: Span = Span { offset: 0, length: 0 };
    match layout.positive_spans.is_empty() && layout.negative_spans.is_empty() {
        true => write_spans(w, 12, &[NOTHING]),
        false => write_spans(w, 12, &layout.positive_spans),
    }
}

fn write_spans(w: &mut Writer<'_>, field: u32, spans: &[Span]) {
    for span in spans {
        w.message(field, |w| {
            w.zigzag(1, i64::from(span.offset));
            w.varint(2, u64::from(span.length));
        });
    }
}

fn write_start(w: &mut Writer<'_>, field: u32, start: TimestampMs) {
    if start.0 != 0 {
        write_time(w, field, start);
    }
}

fn write_time(w: &mut Writer<'_>, field: u32, t: TimestampMs) {
    w.message(field, |w| {
        w.int(1, t.0.div_euclid(1000));
        w.int(2, t.0.rem_euclid(1000) * 1_000_000);
    });
}

fn write_exemplar(w: &mut Writer<'_>, exemplar: &Exemplar) {
    write_labels(w, &exemplar.labels);
    w.double(2, exemplar.value);
    if let Some(t) = exemplar.t {
        write_time(w, 3, t);
    }
}

/// The names of an exemplar's labels are nobody's identity, so they are not escaped.
fn write_labels(w: &mut Writer<'_>, labels: &Labels) {
    for (name, value) in labels {
        w.message(1, |w| {
            w.bytes(1, name.as_bytes());
            w.bytes(2, value.as_bytes());
        });
    }
}
