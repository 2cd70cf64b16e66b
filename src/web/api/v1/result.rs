//! Answers to queries as JSON.
//!
//! What is written is long and simple: numbers go straight into a buffer that is handed on whenever it is full, and no sample
//! costs an allocation.

use std::io;

use super::json::LabelMap;
use super::reply::{OPEN, close};
use crate::model::json::{Escaping, append};
use crate::model::number::{write_api, write_plain, write_seconds};
use crate::model::{Annotations, Bucket, FloatHistogram, Labels, TimestampMs};
use crate::promql::service::Statistics;
use crate::promql::{Answer, MatrixSeries, Point, VectorSample};

/// Bytes that are handed on at a time.
const FULL: usize = 64 << 10;

/// A whole answer.
pub(super) struct QueryResult<'a> {
    /// What the expression evaluates to.
    pub(super) answer: &'a Answer,
    /// Series that are shown of it.
    pub(super) limit: usize,
    /// What it took, if somebody asked for that.
    pub(super) statistics: Option<&'a Statistics>,
    /// Remarks.
    pub(super) annotations: &'a Annotations,
    /// What was done for it, as JSON, if somebody asked for that.
    pub(super) explanation: Option<&'a str>,
}

/// Takes what is in a full buffer and leaves it empty.
type HandOn<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>;

impl QueryResult<'_> {
    /// Writes the body of the answer.
    pub(super) fn write(&self, hand_on: HandOn<'_>) -> io::Result<()> {
        let mut out = Writer { buffer: Vec::with_capacity(FULL + (FULL >> 2)), hand_on };
        out.add(OPEN);
        out.add(br#"{"resultType":""#);
        match self.answer {
            Answer::Scalar(t, v) => out.scalar(*t, *v),
            Answer::String(t, text) => out.string(*t, text),
            Answer::Vector(t, all) => {
                out.add(br#"vector","result":["#);
                out.list(&all[..all.len().min(self.limit)], |out, sample| out.sample(*t, sample))?;
            }
            Answer::Matrix(all) => {
                out.add(br#"matrix","result":["#);
                out.list(&all[..all.len().min(self.limit)], Writer::series)?;
            }
        }
        if let Some(statistics) = self.statistics {
            out.add(br#","stats":"#);
            append(&mut out.buffer, statistics, Escaping::Text);
        }
        out.add(b"}");
        if let Some(explanation) = self.explanation {
            out.add(br#","explain":"#);
            out.add(explanation.as_bytes());
        }
        out.add(&close(self.annotations));
        (out.hand_on)(&mut out.buffer)
    }
}

struct Writer<'a> {
    buffer: Vec<u8>,
    hand_on: HandOn<'a>,
}

impl Writer<'_> {
    fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.buffer.len() < FULL { Ok(()) } else { (self.hand_on)(&mut self.buffer) }
    }

    /// The reference's two bare values have encoders of their own: no exponents, no zeros at the end of times.
    fn scalar(&mut self, t: TimestampMs, v: f64) {
        self.add(br#"scalar","result":["#);
        write_plain(&mut self.buffer, t.as_seconds());
        self.add(b",\"");
        write_plain(&mut self.buffer, v);
        self.add(b"\"]");
    }

    fn string(&mut self, t: TimestampMs, text: &str) {
        self.add(br#"string","result":["#);
        write_plain(&mut self.buffer, t.as_seconds());
        self.add(b",");
        append(&mut self.buffer, &text, Escaping::Value);
        self.add(b"]");
    }

    /// The items of a list that is open, and its end.
    fn list<T>(&mut self, all: &[T], write: impl Fn(&mut Self, &T) -> io::Result<()>) -> io::Result<()> {
        for (index, one) in all.iter().enumerate() {
            if index > 0 {
                self.add(b",");
            }
            write(self, one)?;
            self.make_room()?;
        }
        self.add(b"]");
        Ok(())
    }

    fn metric(&mut self, labels: &Labels) {
        self.add(br#"{"metric":"#);
        append(&mut self.buffer, &LabelMap(labels.as_bytes()), Escaping::Labels);
    }

    fn sample(&mut self, t: TimestampMs, sample: &VectorSample) -> io::Result<()> {
        self.metric(&sample.labels);
        match &sample.value {
            Point::Float(v) => {
                self.add(br#","value":"#);
                self.float(t, *v);
            }
            Point::Histogram(histogram) => {
                self.add(br#","histogram":"#);
                self.histogram(t, histogram);
            }
        }
        self.add(b"}");
        Ok(())
    }

    fn series(&mut self, series: &MatrixSeries) -> io::Result<()> {
        self.metric(&series.labels);
        let floats = series.floats();
        self.points(floats, br#","values":["#, |out, t, v| out.float(t, v))?;
        let histograms = series.histograms();
        self.points(histograms, br#","histograms":["#, |out, t, histogram| out.histogram(t, histogram))?;
        self.add(b"}");
        Ok(())
    }

    /// Points under a name; nothing if there is none.
    fn points<V>(
        &mut self,
        mut all: impl Iterator<Item = (TimestampMs, V)>,
        name: &[u8],
        write: impl Fn(&mut Self, TimestampMs, V),
    ) -> io::Result<()> {
        let mut separator = name;
        all.try_for_each(|(t, v)| {
            self.add(separator);
            separator = b",";
            write(self, t, v);
            self.make_room()
        })?;
        if separator == b"," {
            self.add(b"]");
        }
        Ok(())
    }

    fn float(&mut self, t: TimestampMs, v: f64) {
        self.add(b"[");
        write_seconds(&mut self.buffer, t);
        self.add(b",\"");
        write_api(&mut self.buffer, v);
        self.add(b"\"]");
    }

    fn histogram(&mut self, t: TimestampMs, histogram: &FloatHistogram) {
        self.add(b"[");
        write_seconds(&mut self.buffer, t);
        self.add(br#",{"count":"#);
        self.quoted(histogram.count);
        self.add(br#","sum":"#);
        self.quoted(histogram.sum);
        let mut separator: &[u8] = br#","buckets":["#;
        for bucket in histogram.all_buckets().filter(|bucket| bucket.count != 0.0) {
            self.add(separator);
            separator = b",";
            self.bucket(&bucket);
        }
        if separator == b"," {
            self.add(b"]");
        }
        self.add(b"}]");
    }

    fn bucket(&mut self, bucket: &Bucket<f64>) {
        // Which of its bounds belong to it.
        self.add(match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b"[0,",
            (true, false) => b"[1,",
            (false, false) => b"[2,",
            (true, true) => b"[3,",
        });
        self.quoted(bucket.lower);
        self.add(b",");
        self.quoted(bucket.upper);
        self.add(b",");
        self.quoted(bucket.count);
        self.add(b"]");
    }

    fn quoted(&mut self, v: f64) {
        self.add(b"\"");
        write_api(&mut self.buffer, v);
        self.add(b"\"");
    }
}
