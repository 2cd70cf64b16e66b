//! From a metric's data points to samples.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
};

use super::exemplar::exemplars;
use super::histogram::{from_explicit, from_exponential};
use super::translate::{Measured, Metric, Sink, Stop, Translated, Translator, decode};
use crate::model::{Exemplar, Histogram, Labels, STALE_NAN, TimestampMs};
use crate::net::protobuf::Field;

/// Whether a data point only says that there is nothing.
pub(super) fn has_no_value(flags: u32) -> bool {
    flags & 1 != 0
}

/// A data point's place in time.
#[derive(Clone, Copy)]
struct Times {
    t: TimestampMs,
    start: TimestampMs,
}

/// A data point that becomes several series: their common labels, and what else they share.
struct Whole<'a> {
    metric: &'a Metric,
    labels: Labels,
    times: Times,
    is_stale: bool,
}

impl Translator<'_> {
    /// Translates one data point; `data` is the number of the field that the metric's data stand in.
    pub(super) fn point(
        &mut self,
        data: u32,
        metric: &Metric,
        field: Field<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        match data {
            5 | 7 => self.number(metric, &decode(field)?, data == 7, sink),
            9 if self.config.convert_histograms_to_nhcb => self.custom_buckets(metric, &decode(field)?, sink),
            9 => self.classic_histogram(metric, &decode(field)?, sink),
            10 => self.exponential_histogram(metric, &decode(field)?, sink),
            _ => self.summary(metric, &decode(field)?, sink),
        }
    }

    fn number(
        &mut self,
        metric: &Metric,
        point: &NumberDataPoint,
        has_exemplars: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        let times = self.begin(metric, &point.attributes, point.time_unix_nano, point.start_time_unix_nano)?;
        let value = match point.value {
            Some(Number::AsInt(n)) => n as f64,
            Some(Number::AsDouble(v)) => v,
            None => 0.0,
        };
        let value = if has_no_value(point.flags) { STALE_NAN } else { value };
        let exemplars = if has_exemplars { exemplars(&point.exemplars)? } else { Vec::new() };
        self.put(metric, times, Measured::Float(value), &exemplars, sink)
    }

    fn exponential_histogram(
        &mut self,
        metric: &Metric,
        point: &ExponentialHistogramDataPoint,
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        let times = self.begin(metric, &point.attributes, point.time_unix_nano, point.start_time_unix_nano)?;
        self.note_sum(point.flags, point.count, point.sum);
        let histogram = from_exponential(point)?;
        self.put(metric, times, native(histogram), &exemplars(&point.exemplars)?, sink)
    }

    fn custom_buckets(&mut self, metric: &Metric, point: &HistogramDataPoint, sink: &mut dyn Sink) -> Result<(), Stop> {
        let times = self.begin(metric, &point.attributes, point.time_unix_nano, point.start_time_unix_nano)?;
        self.note_sum(point.flags, point.count, point.sum);
        let histogram = from_explicit(point)?;
        self.put(metric, times, native(histogram), &exemplars(&point.exemplars)?, sink)
    }

    fn classic_histogram(
        &mut self,
        metric: &Metric,
        point: &HistogramDataPoint,
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        let times = self.begin(metric, &point.attributes, point.time_unix_nano, point.start_time_unix_nano)?;
        let exemplars = exemplars(&point.exemplars)?;
        let whole = Whole { metric, labels: self.labels.labels(), times, is_stale: has_no_value(point.flags) };
        if let Some(sum) = point.sum {
            self.put_part(&whole, "_sum", None, sum, &[], sink)?;
        }
        self.put_part(&whole, "_count", None, point.count as f64, &[], sink)?;
        let (mut cumulated, mut left) = (0_u64, exemplars.as_slice());
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulated = cumulated.wrapping_add(*count);
            // Both ascend.
            let here = left.iter().position(|e| e.value > *bound).unwrap_or(left.len());
            self.put_part(&whole, "_bucket", Some(("le", *bound)), cumulated as f64, &left[..here], sink)?;
            left = &left[here..];
        }
        self.put_part(&whole, "_bucket", Some(("le", f64::INFINITY)), point.count as f64, left, sink)
    }

    fn summary(&mut self, metric: &Metric, point: &SummaryDataPoint, sink: &mut dyn Sink) -> Result<(), Stop> {
        let times = self.begin(metric, &point.attributes, point.time_unix_nano, point.start_time_unix_nano)?;
        let whole = Whole { metric, labels: self.labels.labels(), times, is_stale: has_no_value(point.flags) };
        self.put_part(&whole, "_sum", None, point.sum, &[], sink)?;
        self.put_part(&whole, "_count", None, point.count as f64, &[], sink)?;
        for quantile in &point.quantile_values {
            self.put_part(&whole, "", Some(("quantile", quantile.quantile)), quantile.value, &[], sink)?;
        }
        Ok(())
    }

    /// Notes a data point's time, whether or not it can be translated, and collects its labels.
    fn begin(
        &mut self,
        metric: &Metric,
        attributes: &[KeyValue],
        t_nanos: u64,
        start_nanos: u64,
    ) -> Result<Times, Stop> {
        let (first, last) = self.times.unwrap_or((t_nanos, t_nanos));
        self.times = Some((first.min(t_nanos), last.max(t_nanos)));
        self.series(attributes, &metric.metadata)?;
        let ms = |nanos: u64| TimestampMs(nanos.cast_signed() / 1_000_000);
        Ok(Times { t: ms(t_nanos), start: ms(start_nanos) })
    }

    /// A data point that becomes one sample.
    fn put(
        &mut self,
        metric: &Metric,
        times: Times,
        value: Measured,
        exemplars: &[Exemplar],
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        let labels = self.named(&metric.family, None);
        sink.take(&sample(&labels, times, metric), value, exemplars)
    }

    /// One of the samples that a data point becomes.
    fn put_part(
        &mut self,
        whole: &Whole<'_>,
        suffix: &str,
        bound: Option<(&str, f64)>,
        value: f64,
        exemplars: &[Exemplar],
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        self.labels.reset(&whole.labels);
        let labels = self.named(&format!("{}{suffix}", whole.metric.family), bound);
        let value = if whole.is_stale { STALE_NAN } else { value };
        sink.take(&sample(&labels, whole.times, whole.metric), Measured::Float(value), exemplars)
    }

    fn note_sum(&mut self, flags: u32, count: u64, sum: Option<f64>) {
        let is_odd = !has_no_value(flags) && count == 0 && sum.is_some_and(|sum| sum != 0.0);
        self.findings.sums_of_nothing += u64::from(is_odd);
    }
}

fn native(histogram: Histogram) -> Measured {
    Measured::Histogram(Box::new(histogram))
}

fn sample<'a>(labels: &'a Labels, times: Times, metric: &'a Metric) -> Translated<'a> {
    Translated { labels, t: times.t, start: times.start, metadata: &metric.metadata }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::Config;
    use super::super::receiver::Options;
    use super::*;
    use crate::model::{METRIC_NAME, Metadata};

    /// Name, bound, time, start, value and number of exemplars of each sample.
    #[derive(Default)]
    struct Recorder(Vec<(String, String, i64, i64, Measured, usize)>);

    impl Sink for Recorder {
        fn take(&mut self, sample: &Translated<'_>, value: Measured, exemplars: &[Exemplar]) -> Result<(), Stop> {
            let text = |name| sample.labels.get(name).unwrap_or("").to_owned();
            self.0.push((text(METRIC_NAME), text("le"), sample.t.0, sample.start.0, value, exemplars.len()));
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
        let metric = Metric { family: "h".to_owned(), metadata: Rc::new(Metadata::default()) };
        translator.classic_histogram(&metric, &point, &mut recorder).unwrap();
        let row = |name: &str, le: &str, value, exemplars| {
            (name.to_owned(), le.to_owned(), 5, 1, Measured::Float(value), exemplars)
        };
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
