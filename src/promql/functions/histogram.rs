//! What else functions ask of native histograms.

use std::sync::Arc;

use crate::model::{Bucket, Compensated, CounterResetHint, FloatHistogram};

/// The mean of the observations.
pub(crate) fn mean(h: &FloatHistogram) -> f64 {
    h.sum / h.count
}

/// The variance of the observations, estimated as if all of a bucket lay in its middle.
pub(crate) fn variance(h: &FloatHistogram) -> f64 {
    let mean = mean(h);
    let mut squares = Compensated::default();
    for bucket in h.all_buckets().filter(|bucket| bucket.count != 0.0) {
        let distance = middle(h, &bucket) - mean;
        squares.add(bucket.count * distance * distance);
    }
    squares.total() / h.count
}

/// The middle of a bucket: of custom bounds the arithmetic mean, of exponential ones the geometric, in the zero bucket 0.
fn middle(h: &FloatHistogram, bucket: &Bucket<f64>) -> f64 {
    if h.layout.has_custom_bounds() {
        (bucket.upper + bucket.lower) / 2.0
    } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
        0.0
    } else {
        let distance = (bucket.upper * bucket.lower).sqrt();
        if bucket.upper < 0.0 { -distance } else { distance }
    }
}

/// Takes the buckets from a series of histograms, for expressions that only use counts and sums.
///
/// Resets can only be seen in the buckets, so they are looked for here, and hints say what was found.
#[derive(Debug, Default)]
pub(crate) struct StatsOnly {
    last: Option<Arc<FloatHistogram>>,
}

impl StatsOnly {
    /// The next histogram of the series without buckets. Its resolution stays, custom bounds do not.
    pub(crate) fn next(&mut self, h: &Arc<FloatHistogram>) -> FloatHistogram {
        let mut stats = FloatHistogram {
            counter_reset_hint: h.counter_reset_hint,
            count: h.count,
            sum: h.sum,
            ..FloatHistogram::default()
        };
        stats.layout.schema = h.layout.schema;
        if let (CounterResetHint::Unknown, Some(last)) = (h.counter_reset_hint, &self.last) {
            let was_reset = h.detect_reset(last);
            stats.counter_reset_hint = if was_reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
        }
        self.last = Some(Arc::clone(h));
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::fixture::{custom, exponential, hinted, with_zero};

    #[test]
    fn observations_are_taken_to_lie_in_the_middle_of_their_bucket() {
        let two = |h: FloatHistogram, sum: f64| variance(&FloatHistogram { sum, ..h });
        assert_eq!(two(custom(&[2.0, 4.0], &[(1, &[4.0])]), 12.0), 0.0);
        assert_eq!(two(custom(&[2.0, 4.0, 6.0], &[(1, &[1.0, 1.0])]), 8.0), 1.0);
        assert_eq!(two(exponential(-1, &[(1, &[1.0])], &[(1, &[1.0])]), 0.0), 4.0);
        assert_eq!(two(with_zero(0.5, 4.0, exponential(-1, &[], &[])), 4.0), 1.0);
        assert_eq!(mean(&FloatHistogram { sum: 8.0, ..exponential(0, &[(1, &[4.0])], &[]) }), 2.0);
        assert!(two(exponential(0, &[], &[]), 0.0).is_nan());
    }

    #[test]
    fn a_series_without_buckets_still_knows_its_resets() {
        use CounterResetHint::{Gauge, NotReset, Reset};
        let of = |counts: &[f64]| FloatHistogram { count: 9.0, sum: 1.0, ..exponential(2, &[(0, counts)], &[]) };
        let mut series = StatsOnly::default();
        let mut next = |h: FloatHistogram| series.next(&Arc::new(h));
        let first = next(of(&[1.0, 2.0]));
        let mut expected = FloatHistogram { count: 9.0, sum: 1.0, ..FloatHistogram::default() };
        expected.layout.schema = 2;
        assert_eq!(first, expected);
        assert_eq!(next(of(&[2.0, 2.0])).counter_reset_hint, NotReset);
        assert_eq!(next(of(&[3.0, 1.0])).counter_reset_hint, Reset);
        assert_eq!(next(hinted(Gauge, of(&[0.0]))).counter_reset_hint, Gauge);
    }
}
