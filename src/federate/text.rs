//! Bodies in the text formats.

use super::answer::Row;
use super::families::{Part, SeriesName};
use crate::exposition::format_openmetrics_float;
use crate::exposition::write::text::{
    Dialect, EOF, line_head, push_exemplar, push_head, push_pair, push_plain_pair, push_sample, push_value,
};
use crate::exposition::write::{AnyHistogram, ClassicBucket, FamilyHead};
use crate::model::labels::RawPairs;
use crate::model::number::write_float;
use crate::model::{EscapingScheme, Labels, METRIC_NAME, MetricType, TimestampMs};

/// The label that every series is given, if empty, so that a scraper's own does not take its place.
pub(super) const INSTANCE: &str = "instance";

/// The external labels and, if it is not among them, an empty `instance`, in ascending order of name.
pub(super) fn with_instance(external: &Labels) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = external.iter().collect();
    if external.get(INSTANCE).is_none() {
        pairs.push((INSTANCE, ""));
    }
    pairs.sort_unstable();
    pairs
}

/// A label that series without it are given.
pub(super) struct External {
    pub(super) name: Vec<u8>,
    /// As it is written.
    pub(super) written: Vec<u8>,
}

/// Which of the external labels a series has itself.
pub(super) struct Externals {
    /// In ascending order of name.
    labels: Vec<External>,
    present: Vec<bool>,
    next: usize,
}

impl Externals {
    pub(super) fn new(external: &Labels, mut write: impl FnMut(&mut Vec<u8>, &str, &str)) -> Externals {
        let labels: Vec<External> = with_instance(external)
            .into_iter()
            .map(|(name, value)| {
                let mut written = Vec::new();
                write(&mut written, name, value);
                External { name: name.into(), written }
            })
            .collect();
        Externals { present: vec![false; labels.len()], labels, next: 0 }
    }

    /// To be called before the labels of each series.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.present.fill(false);
        self.next = 0;
    }

    /// To be told each label of a series, in ascending order.
    #[inline]
    pub(super) fn see(&mut self, name: &[u8]) {
        while let Some(external) = self.labels.get(self.next) {
            // Most are decided by their first letter.
            if external.name.first() > name.first() || *external.name > *name {
                return;
            }
            self.present[self.next] = *external.name == *name;
            self.next += 1;
        }
    }

    /// Appends those that the series does not have.
    #[inline]
    pub(super) fn push_absent(&self, out: &mut Vec<u8>) {
        for (external, present) in self.labels.iter().zip(&self.present) {
            if !present {
                out.extend_from_slice(&external.written);
            }
        }
    }

    /// As [`push_absent`](Externals::push_absent), where bits say which ones the series has, the first one's the lowest.
    #[inline]
    fn push_others(&self, out: &mut Vec<u8>, mut present: u32) {
        for external in &self.labels {
            if present & 1 == 0 {
                out.extend_from_slice(&external.written);
            }
            present >>= 1;
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.labels.iter().map(|external| String::from_utf8_lossy(&external.name).into_owned())
    }
}

/// The labels of the parts of families, by which a series is told to be one. Of series in text their bits come before those of
/// the external labels.
const OF_PARTS: [&str; 2] = ["le", "quantile"];

/// The bit of one of [`OF_PARTS`]; none for others.
pub(super) fn bit_of(label: &str) -> u32 {
    OF_PARTS.iter().position(|of_part| *of_part == label).map_or(0, |bit| 1 << bit)
}

/// Writes lines.
pub(super) struct TextBody {
    dialect: Dialect,
    escaping: EscapingScheme,
    externals: Externals,
    /// A time as it is written, the space before it included. Samples of one scrape have the same.
    time: (TimestampMs, Vec<u8>),
}

impl TextBody {
    pub(super) fn new(dialect: Dialect, escaping: EscapingScheme, external: &Labels) -> TextBody {
        let write = |out: &mut Vec<u8>, name: &str, value: &str| {
            push_pair(out, name.as_bytes(), value.as_bytes(), escaping);
        };
        TextBody { dialect, escaping, externals: Externals::new(external, write), time: Default::default() }
    }

    /// What to ask a store about rows in text.
    pub(super) fn asked(&self) -> Vec<String> {
        OF_PARTS.iter().map(|label| (*label).to_owned()).chain(self.externals.names()).collect()
    }

    pub(super) fn begin_family(&self, out: &mut Vec<u8>, series: &SeriesName) {
        // Prometheus text has no word for histograms whose counts may go down; as in the reference they are histograms.
        let metric_type = match (series.metric_type, series.part) {
            (MetricType::GaugeHistogram, Part::Whole) => MetricType::Histogram,
            (other, _) => other,
        };
        let head = FamilyHead { name: &series.family, metric_type, help: &series.help, unit: &series.unit };
        push_head(out, self.dialect, self.escaping, &head);
    }

    pub(super) fn line_head(&self, name: &str) -> Vec<u8> {
        line_head(name.as_bytes(), self.escaping)
    }

    #[inline]
    pub(super) fn float(&mut self, out: &mut Vec<u8>, series: &SeriesName, head: &[u8], v: f64, row: &Row<'_>) {
        self.labels(out, head, row);
        push_value(out, v);
        self.push_time(out, row.t);
        if self.dialect == Dialect::OpenMetrics {
            self.openmetrics_rest(out, series, row);
        }
        out.push(b'\n');
    }

    #[inline]
    fn push_time(&mut self, out: &mut Vec<u8>, t: TimestampMs) {
        let (last, text) = &mut self.time;
        if *last != t || text.is_empty() {
            text.clear();
            text.push(b' ');
            self.dialect.push_time(text, t);
            *last = t;
        }
        out.extend_from_slice(text);
    }

    /// The exemplar, and a line of its own for the time at which counting began.
    fn openmetrics_rest(&mut self, out: &mut Vec<u8>, series: &SeriesName, row: &Row<'_>) {
        if let Some(exemplar) = row.exemplars.last() {
            push_exemplar(out, exemplar, self.escaping);
        }
        if row.start.0 != 0 && matches!(series.part, Part::Total | Part::Count) {
            out.push(b'\n');
            let head = self.line_head(&format!("{}_created", series.family));
            self.labels(out, &head, row);
            push_sample(out, self.dialect, row.start.0 as f64 / 1000.0, row.t);
        }
    }

    /// A histogram with custom bounds, as a classic one.
    pub(super) fn histogram(&mut self, out: &mut Vec<u8>, name: &str, h: AnyHistogram<'_>, row: &Row<'_>) {
        let infinite = ClassicBucket { bound: f64::INFINITY, cumulative: h.count() };
        let head = self.line_head(&format!("{name}_bucket"));
        for bucket in h.classic_buckets().into_iter().chain([infinite]) {
            self.labels(out, &head, row);
            push_plain_pair(out, b"le", &self.bound(bucket.bound));
            push_sample(out, self.dialect, bucket.cumulative, row.t);
            out.push(b'\n');
        }
        for (ending, v) in [("sum", h.sum()), ("count", h.count())] {
            let head = self.line_head(&format!("{name}_{ending}"));
            self.labels(out, &head, row);
            push_sample(out, self.dialect, v, row.t);
            out.push(b'\n');
        }
    }

    fn bound(&self, bound: f64) -> Vec<u8> {
        match self.dialect {
            Dialect::OpenMetrics => format_openmetrics_float(bound).into_bytes(),
            Dialect::Prometheus => {
                let mut text = Vec::new();
                write_float(&mut text, bound);
                text
            }
        }
    }

    /// The line's head and all labels, each with a comma behind it; there is always one, `instance`.
    #[inline]
    fn labels(&mut self, out: &mut Vec<u8>, head: &[u8], row: &Row<'_>) {
        out.extend_from_slice(head);
        if let Some(text) = row.text {
            out.extend_from_slice(text.labels);
            self.externals.push_others(out, text.has >> OF_PARTS.len());
            return;
        }
        self.externals.begin();
        for (name, value) in RawPairs::over(row.labels) {
            if name == METRIC_NAME.as_bytes() {
                continue;
            }
            self.externals.see(name);
            push_pair(out, name, value, self.escaping);
        }
        self.externals.push_absent(out);
    }

    pub(super) fn end(&self, out: &mut Vec<u8>) {
        if self.dialect == Dialect::OpenMetrics {
            out.extend_from_slice(EOF);
        }
    }
}
