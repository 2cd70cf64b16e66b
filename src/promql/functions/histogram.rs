//! What else functions ask of native histograms.

use crate::model::{Bucket, Compensated, CounterResetHint, FloatHistogram, is_stale};

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
    last: Option<FloatHistogram>,
}

impl StatsOnly {
    /// The next histogram of the series without buckets. Its resolution stays, custom bounds do not.
    pub(crate) fn next(&mut self, h: &FloatHistogram) -> FloatHistogram {
        let mut stats = FloatHistogram {
            counter_reset_hint: h.counter_reset_hint,
            count: h.count,
            sum: h.sum,
            ..FloatHistogram::default()
        };
        stats.layout.schema = h.layout.schema;
        if is_stale(h.sum) {
            return stats;
        }
        if let (CounterResetHint::Unknown, Some(last)) = (h.counter_reset_hint, &self.last) {
            let was_reset = h.detect_reset(last);
            stats.counter_reset_hint = if was_reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
        }
        match &mut self.last {
            Some(last) => last.clone_from(h),
            None => self.last = Some(h.clone()),
        }
        stats
    }

    /// Forgets the series so far: the next histogram is not the one after the last.
    pub(crate) fn skip(&mut self) {
        self.last = None;
    }
}
