//! `target_info`: what of a resource does not become labels of its series.

use std::rc::Rc;

use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::translate::{Measured, Sink, Stop, Translated, Translator};
use crate::model::{Metadata, MetricType, TimestampMs};

const NAME: &str = "target_info";
/// Attributes that become `job` and `instance`.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];
/// Samples for one resource: with the usual lookback those of two days.
const MAX_SAMPLES: u64 = 1200;
/// Samples between the first and the last one of its resource, for all resources of a request: a thousand that each come
/// after hours.
const MAX_BETWEEN: u64 = 100_000;

/// Appends samples from a resource's first data point to its last, so close that each of its samples finds one.
pub(super) fn append(
    translator: &mut Translator<'_>,
    attributes: &[KeyValue],
    first_nanos: u64,
    last_nanos: u64,
    sink: &mut dyn Sink,
) -> Result<(), Stop> {
    let identifying = IDENTIFYING.iter().filter(|key| attributes.iter().any(|a| a.key == **key)).count();
    if attributes.len() == identifying {
        // It would only say what every series says.
        return Ok(());
    }
    let left_out = if translator.config.keep_identifying_resource_attributes { &[][..] } else { &IDENTIFYING };
    translator.own_attributes(attributes, left_out)?;
    translator.identify();
    if !translator.labels.has("job") && !translator.labels.has("instance") {
        return Ok(());
    }
    let labels = translator.named(NAME, None);
    let interval = (translator.options.lookback.0.max(2).cast_unsigned() / 2).saturating_mul(1_000_000);
    let between = last_nanos.saturating_sub(first_nanos) / interval;
    translator.between = translator.between.saturating_add(between);
    if between >= MAX_SAMPLES || translator.between > MAX_BETWEEN {
        return Err(Stop::Mistake("the data points of a resource lie too far apart in time".to_owned()));
    }
    let help = "Target metadata".to_owned();
    let metadata = Rc::new(Metadata { metric_type: MetricType::Gauge, unit: String::new(), help });
    // A target's labels may be long: they are looked for once, not for each of its samples.
    let told = translator.told.entry(labels.clone()).or_default();
    let mut at = first_nanos;
    loop {
        let t = TimestampMs((at.min(last_nanos) / 1_000_000).cast_signed());
        // Several resources of a request may be one target.
        if told.insert(t) {
            let sample = Translated { labels: &labels, t, start: TimestampMs(0), metadata: &metadata };
            sink.take(&sample, Measured::Float(1.0), &[])?;
        }
        if at >= last_nanos {
            return Ok(());
        }
        at = at.saturating_add(interval);
    }
}
