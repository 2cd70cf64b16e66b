//! Whether a native histogram is consistent with itself; the rules are Prometheus's.

use super::bounds::{MAX_SCHEMA, MIN_SCHEMA};
use super::{BucketLayout, FloatHistogram, Histogram, Span};

/// What is wrong with a histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MalformedHistogram {
    /// Neither exponential nor custom.
    #[error("schema {0} is not in use")]
    Schema(i32),
    /// Not numbers, not ascending, or up to +Inf, which is never told.
    #[error("custom bounds are not finite numbers in ascending order")]
    Bounds,
    /// Custom bounds have neither a zero bucket nor negative buckets, and only their schema has bounds.
    #[error("custom bounds together with what only exponential schemas have, or the other way round")]
    MixedKinds,
    /// A span begins before the end of the one before.
    #[error("spans overlap")]
    Spans,
    /// There are more or fewer buckets than the spans promise.
    #[error("the spans promise {promised} buckets, there are {given}")]
    BucketsAndSpansDiffer {
        /// Sum of the spans' lengths.
        promised: u64,
        /// Buckets of that sign.
        given: u64,
    },
    /// There are more buckets than bounds for them.
    #[error("the spans reach beyond the custom bounds")]
    BeyondBounds,
    /// A count below 0.
    #[error("a count is negative")]
    NegativeCount,
    /// Of integer histograms: the buckets hold other than all observations (less are right if some were NaN).
    #[error("the buckets hold {in_buckets} observations, the count is {count}")]
    CountsDiffer {
        /// Those of all buckets.
        in_buckets: u64,
        /// As the histogram says.
        count: u64,
    },
}

impl Histogram {
    /// Checks the histogram against itself.
    pub fn validate(&self) -> Result<(), MalformedHistogram> {
        check_layout(&self.layout, self.positive_buckets.len(), self.negative_buckets.len(), self.zero_count != 0)?;
        let observed = sum_of_deltas(&self.positive_buckets)?.wrapping_add(sum_of_deltas(&self.negative_buckets)?);
        let in_buckets = observed.wrapping_add(self.zero_count);
        // A NaN that was observed is counted and lies in no bucket.
        let fits = if self.sum.is_nan() { in_buckets <= self.count } else { in_buckets == self.count };
        if fits { Ok(()) } else { Err(MalformedHistogram::CountsDiffer { in_buckets, count: self.count }) }
    }
}

impl FloatHistogram {
    /// Checks the histogram against itself. Float counts may be off by rounding, so their sum is not compared.
    pub fn validate(&self) -> Result<(), MalformedHistogram> {
        check_layout(&self.layout, self.positive_buckets.len(), self.negative_buckets.len(), self.zero_count != 0.0)?;
        let mut counts = self.positive_buckets.iter().chain(&self.negative_buckets);
        if counts.any(|c| *c < 0.0) || self.zero_count < 0.0 || self.count < 0.0 {
            return Err(MalformedHistogram::NegativeCount);
        }
        Ok(())
    }
}

/// Checks that the numbers of buckets are those that the layout promises, and that it is of one kind.
fn check_layout(
    layout: &BucketLayout,
    positive: usize,
    negative: usize,
    has_zeros: bool,
) -> Result<(), MalformedHistogram> {
    let BucketLayout { schema, zero_threshold, positive_spans, negative_spans, custom_values } = layout;
    if layout.has_custom_bounds() {
        check_bounds(custom_values, positive_spans, positive)?;
        let has_negative = !negative_spans.is_empty() || negative != 0;
        if has_zeros || *zero_threshold != 0.0 || has_negative {
            return Err(MalformedHistogram::MixedKinds);
        }
        return Ok(());
    }
    check_schema(*schema)?;
    check_spans(positive_spans, positive)?;
    check_spans(negative_spans, negative)?;
    if custom_values.is_empty() { Ok(()) } else { Err(MalformedHistogram::MixedKinds) }
}

fn check_schema(schema: i32) -> Result<(), MalformedHistogram> {
    if (MIN_SCHEMA..=MAX_SCHEMA).contains(&schema) { Ok(()) } else { Err(MalformedHistogram::Schema(schema)) }
}

fn check_spans(spans: &[Span], buckets: usize) -> Result<(), MalformedHistogram> {
    if spans.iter().skip(1).any(|span| span.offset < 0) {
        return Err(MalformedHistogram::Spans);
    }
    let promised = spans.iter().map(|span| u64::from(span.length)).sum();
    let given = buckets as u64;
    if promised == given { Ok(()) } else { Err(MalformedHistogram::BucketsAndSpansDiffer { promised, given }) }
}

fn check_bounds(bounds: &[f64], spans: &[Span], buckets: usize) -> Result<(), MalformedHistogram> {
    let ascending = bounds.is_sorted_by(|a, b| a < b);
    if !ascending || bounds.iter().any(|b| b.is_nan()) || bounds.last() == Some(&f64::INFINITY) {
        return Err(MalformedHistogram::Bounds);
    }
    if spans.iter().any(|span| span.offset < 0) {
        return Err(MalformedHistogram::Spans);
    }
    check_spans(spans, buckets)?;
    let reach: i64 = spans.iter().map(|span| i64::from(span.length) + i64::from(span.offset)).sum();
    // The last bucket goes from the last bound to +Inf.
    if reach > bounds.len() as i64 + 1 { Err(MalformedHistogram::BeyondBounds) } else { Ok(()) }
}

fn sum_of_deltas(deltas: &[i64]) -> Result<u64, MalformedHistogram> {
    let (mut count, mut sum) = (0i64, 0u64);
    for delta in deltas {
        count = count.wrapping_add(*delta);
        sum = sum.wrapping_add(u64::try_from(count).map_err(|_| MalformedHistogram::NegativeCount)?);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
        spans.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    fn sound() -> Histogram {
        Histogram {
            layout: BucketLayout {
                schema: 1,
                zero_threshold: 0.001,
                positive_spans: spans(&[(-3, 2), (4, 1)]),
                negative_spans: spans(&[(2, 1)]),
                custom_values: vec![],
            },
            zero_count: 2,
            count: 12,
            sum: 7.5,
            positive_buckets: vec![3, -2, 1],
            negative_buckets: vec![4],
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            layout: BucketLayout {
                schema: -53,
                positive_spans: spans(&[(0, 1), (1, 1)]),
                custom_values: vec![1.0, 2.0],
                ..BucketLayout::default()
            },
            count: 3,
            positive_buckets: vec![1, 1],
            ..Histogram::default()
        }
    }

    #[test]
    fn sound_histograms_are_sound_in_both_kinds() {
        for h in [sound(), custom(), Histogram { sum: f64::NAN, count: 13, ..sound() }] {
            assert_eq!(h.validate(), Ok(()));
            assert_eq!(h.to_float().validate(), Ok(()));
        }
    }

    #[test]
    fn each_contradiction_is_told() {
        use MalformedHistogram as M;
        let change = |base: fn() -> Histogram, f: &dyn Fn(&mut Histogram)| {
            let mut h = base();
            f(&mut h);
            h.validate().unwrap_err()
        };
        assert_eq!(change(sound, &|h| h.layout.schema = 9), M::Schema(9));
        assert_eq!(change(sound, &|h| h.layout.positive_spans[1].offset = -1), M::Spans);
        assert_eq!(change(sound, &|h| h.positive_buckets.push(0)), M::BucketsAndSpansDiffer { promised: 3, given: 4 });
        assert_eq!(change(sound, &|h| h.positive_buckets[1] = -4), M::NegativeCount);
        assert_eq!(change(sound, &|h| h.count = 13), M::CountsDiffer { in_buckets: 12, count: 13 });
        assert_eq!(
            change(sound, &|h| (h.sum, h.count) = (f64::NAN, 11)),
            M::CountsDiffer { in_buckets: 12, count: 11 }
        );
        assert_eq!(change(sound, &|h| h.layout.custom_values.push(1.0)), M::MixedKinds);
        assert_eq!(change(custom, &|h| h.zero_count = 1), M::MixedKinds);
        assert_eq!(change(custom, &|h| h.layout.zero_threshold = 1.0), M::MixedKinds);
        assert_eq!(change(custom, &|h| h.layout.custom_values = vec![2.0, 2.0]), M::Bounds);
        assert_eq!(change(custom, &|h| h.layout.custom_values = vec![f64::NAN]), M::Bounds);
        assert_eq!(change(custom, &|h| h.layout.custom_values[1] = f64::INFINITY), M::Bounds);
        assert_eq!(change(custom, &|h| h.layout.positive_spans[1].offset = 2), M::BeyondBounds);
        assert_eq!(change(custom, &|h| h.layout.positive_spans[0].offset = -1), M::Spans);
        let negative = |f: &dyn Fn(&mut FloatHistogram)| {
            let mut h = sound().to_float();
            f(&mut h);
            h.validate().unwrap_err()
        };
        assert_eq!(negative(&|h| h.count = -1.0), M::NegativeCount);
        assert_eq!(negative(&|h| h.negative_buckets[0] = -1.0), M::NegativeCount);
        assert_eq!(negative(&|h| h.zero_count = -1.0), M::NegativeCount);
    }
}
