//! Bodies of protocol buffers.

use super::answer::Row;
use super::families::SeriesName;
use super::text::Externals;
use crate::exposition::write::protobuf::{Circumstances, Kind, MetricFamilies, push_label};
use crate::exposition::write::{AnyHistogram, FamilyHead};
use crate::model::labels::LabelsIter;
use crate::model::{EscapingScheme, Labels, METRIC_NAME, MetricType};

/// Writes delimited messages.
pub(super) struct ProtobufBody {
    escaping: EscapingScheme,
    externals: Externals,
    families: MetricFamilies,
    /// Those of the metric in progress.
    labels: Vec<u8>,
}

impl ProtobufBody {
    pub(super) fn new(escaping: EscapingScheme, external: &Labels) -> ProtobufBody {
        let write = |out: &mut Vec<u8>, name: &str, value: &str| push_label(out, name, value, escaping);
        ProtobufBody {
            escaping,
            externals: Externals::new(external, write),
            families: MetricFamilies::new(escaping),
            labels: Vec::new(),
        }
    }

    pub(super) fn begin_family(&mut self, out: &mut Vec<u8>, series: &SeriesName) {
        let kind = match series.metric_type {
            MetricType::Histogram => Kind::Histogram,
            MetricType::GaugeHistogram => Kind::GaugeHistogram,
            floats => Kind::of_floats(floats),
        };
        let SeriesName { family, metric_type, help, unit, .. } = series;
        let head = FamilyHead { name: family, metric_type: *metric_type, help, unit };
        self.families.begin(out, &head, kind);
    }

    pub(super) fn float(&mut self, out: &mut Vec<u8>, v: f64, row: &Row<'_>) {
        self.write_labels(row.labels);
        self.families.float(out, &self.labels, v, &circumstances(row));
    }

    pub(super) fn histogram(&mut self, out: &mut Vec<u8>, h: AnyHistogram<'_>, row: &Row<'_>) {
        self.write_labels(row.labels);
        self.families.histogram(out, &self.labels, h, &circumstances(row));
    }

    fn write_labels(&mut self, labels: &[u8]) {
        self.labels.clear();
        self.externals.begin();
        for (name, value) in LabelsIter::over(labels) {
            if name != METRIC_NAME {
                self.externals.see(name.as_bytes());
                push_label(&mut self.labels, name, value, self.escaping);
            }
        }
        self.externals.push_absent(&mut self.labels);
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.families.end(out);
    }
}

fn circumstances<'a>(row: &Row<'a>) -> Circumstances<'a> {
    Circumstances { t: row.t, start: row.start, exemplars: row.exemplars }
}
