//! Metric families of a text, as the reference's tools see them: samples of a histogram or a summary belong together.

use std::collections::BTreeMap;

use crate::exposition::{Event, Format, ParseError, Parser, SeriesLabels, parse_float, unescape_help};
use crate::model::{MetricType, TimestampMs};

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: MetricType,
    /// `None` where the text has no `# HELP` line for it.
    pub(super) help: Option<String>,
    pub(super) metrics: Vec<Metric>,
}

/// One metric: one series, or all of one histogram or summary.
#[derive(Debug)]
pub(super) struct Metric {
    /// Without the metric name and without `le` or `quantile`, in the order of the line.
    pub(super) labels: Vec<(String, String)>,
    pub(super) timestamp: Option<TimestampMs>,
    pub(super) value: Value,
}

/// What a metric says.
#[derive(Debug)]
pub(super) enum Value {
    Number(f64),
    /// Of a histogram or a summary.
    Parts(Parts),
}

/// Buckets by upper bound, or values by quantile, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) bounds: Vec<(f64, f64)>,
    pub(super) sum: f64,
    pub(super) count: f64,
}

/// Which part of a histogram or summary a series is.
enum Part {
    Bucket,
    Sum,
    Count,
    Quantile,
}

/// The families of a text in Prometheus's format, by name. Families without samples are left out.
pub(super) fn read(text: &[u8]) -> Result<Vec<Family>, ParseError> {
    let mut families = Families::default();
    let mut parser = Parser::new(text, Format::Text);
    let mut labels = SeriesLabels::new();
    while let Some(event) = parser.next()? {
        match event {
            Event::Type(name, kind) => families.of(&written(name)).kind = kind,
            Event::Help(name, help) => {
                families.of(&written(name)).help = Some(unescape_help(help, Format::Text).into_owned())
            }
            Event::Series(sample) => {
                labels.decode(sample.series, Format::Text, MetricType::Unknown)?;
                families.add(&labels, sample.timestamp, sample.value);
            }
            Event::Unit(..) | Event::Comment => {}
        }
    }
    Ok(families.0.into_values().filter(|family| !family.metrics.is_empty()).collect())
}

/// A name as it is written in a comment: in quotes if it needs them.
fn written(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    quoted.map_or_else(|| name.to_string(), |name| name.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[derive(Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn of(&mut self, name: &str) -> &mut Family {
        let new = || Family { name: name.to_owned(), kind: MetricType::Unknown, help: None, metrics: Vec::new() };
        self.0.entry(name.to_owned()).or_insert_with(new)
    }

    /// The family that a series belongs to by the types told before it, and which part of a metric it is.
    fn place(&self, series: &str, labels: &SeriesLabels) -> (String, Option<Part>) {
        let kind = |name: &str| self.0.get(name).map(|family| family.kind);
        let suffixes = [("_bucket", Part::Bucket), ("_sum", Part::Sum), ("_count", Part::Count)];
        for (suffix, part) in suffixes {
            let Some(name) = series.strip_suffix(suffix) else { continue };
            match (kind(name), &part) {
                (Some(MetricType::Histogram), _) | (Some(MetricType::Summary), Part::Sum | Part::Count) => {
                    return (name.to_owned(), Some(part));
                }
                _ => {}
            }
        }
        let is_quantile = kind(series) == Some(MetricType::Summary) && labels.get("quantile").is_some();
        (series.to_owned(), is_quantile.then_some(Part::Quantile))
    }

    fn add(&mut self, labels: &SeriesLabels, timestamp: Option<TimestampMs>, value: f64) {
        let mut pairs = labels.iter();
        let series = pairs.next().map_or("", |(_, name)| name);
        let (name, part) = self.place(series, labels);
        let bound_label = match part {
            Some(Part::Bucket) => "le",
            Some(Part::Quantile) => "quantile",
            _ => "",
        };
        let own = pairs.filter(|(name, _)| *name != bound_label);
        let own: Vec<_> = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let bound = labels.get(bound_label).and_then(|text| parse_float(text.as_bytes()).ok()).unwrap_or(f64::NAN);
        let family = self.of(&name);
        let Some(part) = part else {
            family.metrics.push(Metric { labels: own, timestamp, value: Value::Number(value) });
            return;
        };
        let Value::Parts(parts) = family.composed(own, timestamp) else { return };
        match part {
            Part::Bucket | Part::Quantile => parts.bounds.push((bound, value)),
            Part::Sum => parts.sum = value,
            Part::Count => parts.count = value,
        }
    }
}

impl Family {
    /// The histogram or summary with these labels, which is mostly the last one. A series of a summary's own name without a
    /// quantile is none; there is no room for its parts, as there is none in the reference.
    fn composed(&mut self, labels: Vec<(String, String)>, timestamp: Option<TimestampMs>) -> &mut Value {
        let known = self.metrics.iter().rposition(|metric| metric.labels == labels);
        let at = known.unwrap_or_else(|| {
            self.metrics.push(Metric { labels, timestamp, value: Value::Parts(Parts::default()) });
            self.metrics.len() - 1
        });
        let metric = &mut self.metrics[at];
        metric.timestamp = timestamp.or(metric.timestamp);
        &mut metric.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_histograms_and_summaries_come_together() {
        let text = "# HELP h Some \\\\ help.\n# TYPE h histogram\nh_bucket{le=\"1\",a=\"b\"} 2\nh_bucket{a=\"b\",le=\"+Inf\"} 3\n\
                    h_sum{a=\"b\"} 4\nh_count{a=\"b\"} 3\n# TYPE s summary\ns{quantile=\"0.5\"} 7\ns_count 2\nalone_sum 1\n";
        let families = read(text.as_bytes()).expect("metrics");
        let names: Vec<_> = families.iter().map(|f| (f.name.as_str(), f.metrics.len())).collect();
        assert_eq!(names, [("alone_sum", 1), ("h", 1), ("s", 1)]);
        assert_eq!(families[1].help.as_deref(), Some("Some \\ help."));
        let Value::Parts(parts) = &families[1].metrics[0].value else { panic!("a histogram") };
        assert_eq!((&parts.bounds[..], parts.sum, parts.count), (&[(1.0, 2.0), (f64::INFINITY, 3.0)][..], 4.0, 3.0));
        assert_eq!(families[1].metrics[0].labels, [("a".to_owned(), "b".to_owned())]);
        let Value::Parts(parts) = &families[2].metrics[0].value else { panic!("a summary") };
        assert_eq!((&parts.bounds[..], parts.count), (&[(0.5, 7.0)][..], 2.0));
    }

    #[test]
    fn what_is_no_metric_is_refused_with_its_line() {
        assert_eq!(read(b"a 1\nb{ 2\n").expect_err("no metric").line, 2);
    }
}
