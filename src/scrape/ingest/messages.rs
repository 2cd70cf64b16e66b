//! Walks over protobuf.

use super::batch::Source;
use super::keys::{Part, metric_key};
use super::{Admission, Ingest, IngestError, Stamp};
use crate::exposition::Format;
use crate::exposition::protobuf::{
    HistogramMessage, MessageError, MessageExemplar, MessageFamily, MessageParser, Metric, MetricValue,
};
use crate::model::{ClassicHistogram, CounterResetHint, Exemplar, MetricType, Value, is_stale};

/// No sample of a protobuf body is taken from a line.
const NO_LINES: Source<'static> = Source { body: &[], format: Format::Text };

/// What all samples of one metric have in common.
struct Common<'m, 'b> {
    family: &'m MessageFamily<'b>,
    metric: &'m Metric<'b>,
    /// The part of the key that they share.
    key: &'m [u8],
    stamp: Stamp,
}

impl Common<'_, '_> {
    fn decode(&self, exemplar: MessageExemplar<'_>) -> Result<Exemplar, MessageError> {
        exemplar.decode().map_err(|problem| self.family.error(self.metric, problem))
    }
}

impl Ingest<'_, '_> {
    pub(super) fn messages(&mut self, body: &[u8]) -> Result<(), IngestError> {
        let (mut parser, mut key, mut classic) = (MessageParser::new(body), Vec::new(), ClassicHistogram::default());
        while let Some(mut family) = parser.next()? {
            let mut is_first = true;
            while let Some(metric) = family.next_metric()? {
                if std::mem::take(&mut is_first) {
                    self.see_message_family(&family);
                }
                metric_key(&mut key, &family, &metric);
                self.metric(&family, &metric, &key, &mut classic).map_err(|error| match error {
                    IngestError::Key(problem) => family.error(&metric, problem).into(),
                    other => other,
                })?;
            }
        }
        self.flush(NO_LINES)
    }

    fn see_message_family(&mut self, family: &MessageFamily<'_>) {
        let scrape = self.cache.scrape_number();
        let families = &mut self.cache.families;
        let number = families.number(family.name.as_bytes());
        families.set_help(number, family.help);
        families.set_type(number, family.kind.metric_type());
        if !family.unit.is_empty() {
            families.set_unit(number, family.unit.as_bytes());
        }
        families.see(number, scrape);
    }

    fn metric(
        &mut self,
        family: &MessageFamily<'_>,
        metric: &Metric<'_>,
        key: &[u8],
        classic: &mut ClassicHistogram,
    ) -> Result<(), IngestError> {
        let own_t = self.honoured(metric.timestamp);
        let stamp = |start| Stamp { own_t, start, family: MetricType::Unknown };
        let common = |start| Common { family, metric, key, stamp: stamp(start) };
        match &metric.value {
            MetricValue::Number(number) => {
                self.message_float(&common(number.start), Part::Whole, number.value, number.exemplar)
            }
            MetricValue::Summary(summary) => {
                let of = common(summary.start);
                self.message_float(&of, Part::Count, summary.count as f64, None)?;
                self.message_float(&of, Part::Sum, summary.sum, None)?;
                for (quantile, value) in summary.quantiles() {
                    self.message_float(&of, Part::Quantile(quantile), value, None)?;
                }
                Ok(())
            }
            MetricValue::Histogram(histogram) => self.message_histogram(&common(histogram.start), histogram, classic),
        }
    }

    /// A histogram is stored as native, as classic, or as both, as the job wishes it.
    fn message_histogram(
        &mut self,
        of: &Common<'_, '_>,
        histogram: &HistogramMessage<'_>,
        classic: &mut ClassicHistogram,
    ) -> Result<(), IngestError> {
        let wishes = self.options.histograms;
        if wishes.native && histogram.is_native() {
            let value = histogram.native().map_err(|problem| of.family.error(of.metric, problem))?;
            self.message_native(of, histogram, value)?;
            if wishes.keep_classic && histogram.has_classic_buckets() {
                self.classic_series(of, histogram)?;
            }
            return Ok(());
        }
        if wishes.keep_classic || !wishes.convert_classic {
            self.classic_series(of, histogram)?;
        }
        if wishes.convert_classic {
            let value = converted(histogram, classic).map_err(|problem| of.family.error(of.metric, problem))?;
            self.message_native(of, histogram, value)?;
        }
        Ok(())
    }

    fn message_native(
        &mut self,
        of: &Common<'_, '_>,
        histogram: &HistogramMessage<'_>,
        value: Value,
    ) -> Result<(), IngestError> {
        let key = self.push_key(of.key, Part::Whole);
        let exemplars = || histogram.exemplars().map(|exemplar| of.decode(exemplar)).collect();
        self.native_histogram(key, of.stamp, value, exemplars)?;
        self.flush_if_full()
    }

    fn classic_series(&mut self, of: &Common<'_, '_>, histogram: &HistogramMessage<'_>) -> Result<(), IngestError> {
        let count = histogram.count();
        self.message_float(of, Part::Count, count, None)?;
        self.message_float(of, Part::Sum, histogram.sum, None)?;
        for bucket in histogram.buckets() {
            let bound = bucket.upper_bound;
            self.message_float(of, Part::Bucket(bound), bucket.cumulative_count, bucket.exemplar)?;
            if bound == f64::INFINITY {
                return Ok(());
            }
        }
        // A bucket up to infinity need not be told, because it holds all.
        self.message_float(of, Part::Bucket(f64::INFINITY), count, None)
    }

    #[inline]
    fn message_float(
        &mut self,
        of: &Common<'_, '_>,
        part: Part,
        value: f64,
        exemplar: Option<MessageExemplar<'_>>,
    ) -> Result<(), IngestError> {
        let key = self.push_key(of.key, part);
        let admission = if is_stale(value) { Admission::Free } else { Admission::Counted };
        self.keyed_series(key, of.stamp, admission, |this, taken| {
            let exemplar = exemplar.map(|exemplar| of.decode(exemplar)).transpose()?;
            this.put_float(taken, value, exemplar);
            Ok(())
        })?;
        self.flush_if_full()
    }

    #[inline]
    fn flush_if_full(&mut self) -> Result<(), IngestError> {
        if self.is_full() { self.flush(NO_LINES) } else { Ok(()) }
    }
}

fn converted(histogram: &HistogramMessage<'_>, classic: &mut ClassicHistogram) -> Result<Value, String> {
    classic.clear();
    classic.set_count(histogram.count());
    classic.set_sum(histogram.sum);
    histogram.buckets().for_each(|bucket| classic.set_bucket(bucket.upper_bound, bucket.cumulative_count));
    let mut value = classic.convert().map_err(|problem| problem.to_string())?;
    if histogram.is_gauge() {
        match &mut value {
            Value::Histogram(h) => h.counter_reset_hint = CounterResetHint::Gauge,
            Value::FloatHistogram(h) => h.counter_reset_hint = CounterResetHint::Gauge,
            Value::Float(_) => {}
        }
    }
    Ok(value)
}
