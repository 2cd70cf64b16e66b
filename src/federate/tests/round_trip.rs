//! What is written in text is read back the same, whatever the names and values are.

use proptest::prelude::*;

use super::formats::{T, answer, float, told};
use crate::exposition::{Event, Format as BodyKind, Parser, SeriesLabels};
use crate::federate::BodyFormat;
use crate::model::{Exemplar, Labels, TimestampMs};

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("requests_total".to_owned()),
        Just("latency_seconds_bucket".to_owned()),
        Just("latency_seconds_sum".to_owned()),
        Just("told_openly_total".to_owned()),
        Just("told_openly_created".to_owned()),
        Just("size_bytes".to_owned()),
        "[a-z_:][a-z0-9_:]{0,8}",
        "[^\0]{1,6}",
    ]
}

fn any_value() -> impl Strategy<Value = f64> {
    // Text has one zero, and one NaN that is no marker.
    prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(f64::NAN), (-1000i32..1000).prop_map(f64::from)]
        .prop_map(|v| if v == 0.0 { 0.0 } else { v })
}

pub(super) fn any_series() -> impl Strategy<Value = (Labels, f64)> {
    let pairs = prop::collection::vec(("[a-z]{1,3}|le|quantile|[^\0]{1,4}", "[^\0]{0,5}|0\\.5|[\"\\\\\n]{1,3}"), 0..4);
    (any_name(), pairs, any_value()).prop_map(|(name, pairs, v)| {
        let own = pairs.iter().filter(|(n, _)| n != "__name__").map(|(n, v)| (n.as_str(), v.as_str()));
        (Labels::from_pairs(own.chain([("__name__", name.as_str())])), v)
    })
}

/// The bits of a value as text can tell it.
fn bits(v: f64) -> u64 {
    if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() }
}

fn read_back(body: &[u8], kind: BodyKind) -> Vec<(Labels, u64, Option<TimestampMs>, Option<Exemplar>)> {
    let (mut parser, mut found, mut labels) = (Parser::new(body, kind), Vec::new(), SeriesLabels::new());
    while let Some(event) = parser.next().unwrap() {
        if let Event::Series(sample) = event {
            // Bounds stay as they are spelt if the family is not said to be of buckets.
            labels.decode(sample.series, kind, crate::model::MetricType::Unknown).unwrap();
            let series = Labels::from_pairs(labels.iter());
            let exemplar = sample.exemplar.map(|e| e.decode());
            found.push((series, bits(sample.value), sample.timestamp, exemplar));
        }
    }
    found
}

proptest! {
    #[test]
    fn series_are_read_back_as_they_were(series in prop::collection::vec(any_series(), 0..12), trace in "[a-z0-9]{1,20}") {
        let mut series = series;
        series.sort_by(|a, b| a.0.cmp(&b.0));
        series.dedup_by(|a, b| a.0 == b.0);
        for (body, kind) in [(BodyFormat::Text100, BodyKind::Text), (BodyFormat::OpenMetrics100, BodyKind::OpenMetrics)] {
            let rows = series.iter().map(|(labels, v)| float(&labels.iter().collect::<Vec<_>>(), *v)).collect();
            let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", &*trace)]), value: 1.0, t: Some(TimestampMs(T - 1)) };
            let with: Vec<_> = series.iter().map(|(labels, _)| (labels.clone(), vec![exemplar.clone()])).collect();
            let (bytes, written) = answer(rows, body, with);
            prop_assert_eq!(written.series, series.len() as u64);
            let mut found = read_back(&bytes, kind);
            found.sort_by(|a, b| a.0.cmp(&b.0));
            let mut expected: Vec<_> = series.iter().map(|(labels, v)| {
                let mut pairs: Vec<_> = labels.iter().collect();
                if labels.get("site").is_none() {
                    pairs.push(("site", "home"));
                }
                (Labels::from_pairs(pairs), bits(*v), Some(TimestampMs(T)))
            }).collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(found.iter().map(|f| (f.0.clone(), f.1, f.2)).collect::<Vec<_>>(), expected);
            for (labels, .., shown) in found {
                let is_counted = matches!(labels.metric_name(), Some("requests_total" | "told_openly_total"))
                    || labels.metric_name() == Some("latency_seconds_bucket") && labels.get("le").is_some();
                prop_assert_eq!(shown.is_some(), is_counted && kind == BodyKind::OpenMetrics, "{}", labels);
                prop_assert!(shown.is_none_or(|shown| shown == exemplar));
            }
        }
        prop_assert!(told("requests_total").is_some());
    }
}
