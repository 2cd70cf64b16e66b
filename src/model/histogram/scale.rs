//! Scaling, lower resolution, and what else changes or tells a histogram as a whole.

use super::bounds::CUSTOM_SCHEMA;
use super::cells;
use super::{BucketLayout, CounterResetHint, FloatHistogram};

impl BucketLayout {
    /// Whether bounds are given one by one; there is no zero bucket then, and there are no negative buckets.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }
}

impl FloatHistogram {
    /// Multiplies all counts and the sum. With a negative factor the outcome is a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|count| count * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. With a negative divisor the outcome is a gauge; with 0 only the totals and the
    /// zero bucket are left, infinite or NaN.
    pub fn div(&mut self, divisor: f64) {
        self.scale(|count| count / divisor);
        if divisor == 0.0 {
            self.positive_buckets.clear();
            self.negative_buckets.clear();
            self.layout.positive_spans.clear();
            self.layout.negative_spans.clear();
        } else if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    fn scale(&mut self, scaled: impl Fn(f64) -> f64) {
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        let counts = self.positive_buckets.iter_mut().chain(&mut self.negative_buckets);
        totals.into_iter().chain(counts).for_each(|count| *count = scaled(*count));
    }

    /// Drops empty buckets and joins adjacent spans. Gaps of at most `max_gap` buckets between two that hold something
    /// are filled with empty ones instead, so that they need no span of their own; arithmetic compacts with 0.
    pub fn compact(&mut self, max_gap: u32) {
        cells::compact(&mut self.layout.positive_spans, &mut self.positive_buckets, max_gap);
        cells::compact(&mut self.layout.negative_spans, &mut self.negative_buckets, max_gap);
    }

    /// Merges buckets to the coarser resolution `schema`. Changes nothing if it is not coarser, or if bounds are custom
    /// in either.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if schema < self.layout.schema && schema != CUSTOM_SCHEMA {
            let halvings = cells::halvings(self.layout.schema, schema);
            cells::coarsen(&mut self.layout.positive_spans, &mut self.positive_buckets, halvings);
            cells::coarsen(&mut self.layout.negative_spans, &mut self.negative_buckets, halvings);
            self.layout.schema = schema;
        }
    }

    /// A copy with [reduced resolution](FloatHistogram::reduce_resolution); what was known of resets is lost with it.
    pub fn to_schema(&self, schema: i32) -> FloatHistogram {
        let mut copy = self.clone();
        copy.reduce_resolution(schema);
        if copy.layout.schema != self.layout.schema {
            copy.counter_reset_hint = CounterResetHint::Unknown;
        }
        copy
    }

    /// Whether a count, the sum or a custom bound is infinite, as after adding up beyond the range of floats.
    pub fn has_overflow(&self) -> bool {
        let totals = [self.zero_count, self.count, self.sum];
        let counts = self.positive_buckets.iter().chain(&self.negative_buckets).chain(&self.layout.custom_values);
        totals.iter().chain(counts).any(|v| v.is_infinite())
    }

    /// Bytes in the reference's memory, by which PromQL limits the samples of a query.
    pub fn size(&self) -> usize {
        const STRUCT: usize = 168;
        let layout = &self.layout;
        let spans = layout.positive_spans.len() + layout.negative_spans.len();
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + layout.custom_values.len();
        STRUCT + 8 * (spans + floats)
    }
}
