//! How fine native histograms may be, and how many buckets they may have.

use super::Admission;
use crate::model::{BucketLayout, Value};
use crate::scrape::config::JobConfig;

/// Below this factor between two bounds no resolution in use is too fine.
const FINEST_FACTOR: f64 = 1.00271;
const COARSEST_SCHEMA: i32 = BucketLayout::COARSEST_SCHEMA;
const FINEST_SCHEMA: i32 = BucketLayout::FINEST_SCHEMA;
/// Schemas that may be used one day.
const RESERVED: std::ops::RangeInclusive<i32> = -9..=52;

/// What of a job's configuration limits native histograms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct HistogramLimits {
    max_schema: i32,
    max_buckets: usize,
}

impl HistogramLimits {
    pub(super) fn new(job: &JobConfig) -> HistogramLimits {
        let max_buckets = job.native_histogram_bucket_limit.unwrap_or(u64::MAX);
        HistogramLimits {
            max_schema: finest_schema(job.native_histogram_min_bucket_factor),
            max_buckets: usize::try_from(max_buckets).unwrap_or(usize::MAX),
        }
    }

    /// Merges buckets until the histogram keeps both limits; says what becomes of one that cannot.
    pub(super) fn apply(self, value: &mut Value) -> Admission {
        let schema = layout(value).map_or(0, |layout| layout.schema);
        if self.max_schema < FINEST_SCHEMA && RESERVED.contains(&schema) && schema > self.max_schema {
            reduce(value, self.max_schema);
        }
        while buckets(value) > self.max_buckets {
            let schema = layout(value).map_or(0, |layout| layout.schema);
            if !(COARSEST_SCHEMA + 1..=FINEST_SCHEMA).contains(&schema) {
                return Admission::TooManyBuckets;
            }
            reduce(value, schema - 1);
        }
        Admission::Counted
    }
}

/// The finest schema whose bounds are at least `factor` apart; 0 and 1 are no wish.
fn finest_schema(factor: f64) -> i32 {
    let factor = if factor <= 1.0 { FINEST_FACTOR } else { factor };
    let floor = (-factor.log2().log2()).floor();
    // Casting saturates, also from infinities.
    (floor as i32).clamp(COARSEST_SCHEMA, FINEST_SCHEMA)
}

fn layout(value: &Value) -> Option<&BucketLayout> {
    match value {
        Value::Float(_) => None,
        Value::Histogram(h) => Some(&h.layout),
        Value::FloatHistogram(h) => Some(&h.layout),
    }
}

fn buckets(value: &Value) -> usize {
    match value {
        Value::Float(_) => 0,
        Value::Histogram(h) => h.positive_buckets.len() + h.negative_buckets.len(),
        Value::FloatHistogram(h) => h.positive_buckets.len() + h.negative_buckets.len(),
    }
}

fn reduce(value: &mut Value, schema: i32) {
    match value {
        Value::Float(_) => {}
        Value::Histogram(h) => h.reduce_resolution(schema),
        Value::FloatHistogram(h) => h.reduce_resolution(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Histogram, Span};

    fn histogram(schema: i32, buckets: u32) -> Value {
        let layout = BucketLayout {
            schema,
            positive_spans: vec![Span { offset: 1, length: buckets }],
            custom_values: if schema == -53 { (0..buckets).map(f64::from).collect() } else { Vec::new() },
            ..BucketLayout::default()
        };
        let mut positive_buckets = vec![0; buckets as usize];
        positive_buckets[0] = 1;
        Value::Histogram(Box::new(Histogram {
            layout,
            count: u64::from(buckets),
            positive_buckets,
            ..Histogram::default()
        }))
    }

    #[test]
    fn factors_pick_the_schema_as_in_the_reference() {
        let schemas = [
            (0.0, 8),
            (1.0, 8),
            (1.002, 8),
            (1.0028, 7),
            (1.1, 2),
            (2.0, 0),
            (3.0, -1),
            (1e9, -4),
            (f64::INFINITY, -4),
        ];
        for (factor, schema) in schemas {
            assert_eq!(finest_schema(factor), schema, "{factor}");
        }
    }

    #[test]
    fn buckets_are_merged_until_they_are_few_enough() {
        let limits = HistogramLimits { max_schema: 8, max_buckets: 4 };
        let mut value = histogram(3, 16);
        assert!(limits.apply(&mut value) == Admission::Counted);
        assert_eq!((layout(&value).map(|l| l.schema), buckets(&value)), (Some(1), 4));
        let Value::Histogram(h) = &value else { panic!("still an integer histogram") };
        assert_eq!((h.validate(), h.positive_buckets.as_slice()), (Ok(()), &[4, 0, 0, 0][..]));
        assert!(limits.apply(&mut histogram(-53, 5)) == Admission::TooManyBuckets, "custom bounds stay");
        let none = HistogramLimits { max_schema: 8, max_buckets: 0 };
        assert!(none.apply(&mut histogram(2, 3)) == Admission::TooManyBuckets, "there is a coarsest resolution");
    }

    #[test]
    fn what_is_finer_than_wished_becomes_coarser() {
        let limits = HistogramLimits { max_schema: 1, max_buckets: usize::MAX };
        let mut value = histogram(3, 16);
        limits.apply(&mut value);
        assert_eq!(layout(&value).map(|l| l.schema), Some(1));
        let mut coarse = histogram(0, 16);
        limits.apply(&mut coarse);
        assert_eq!((layout(&coarse).map(|l| l.schema), buckets(&coarse)), (Some(0), 16));
        let mut custom = histogram(-53, 3);
        limits.apply(&mut custom);
        assert_eq!(layout(&custom).map(|l| l.schema), Some(-53));
    }
}
