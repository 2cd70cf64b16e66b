//! Native histograms: from exponential ones, and from explicit bounds as custom buckets.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};

use super::points::has_no_value;
use crate::model::{BucketLayout, Histogram, STALE_NAN, Span};

/// The coarsest and the finest resolution.
const MIN_SCALE: i32 = -4;
const MAX_SCALE: i32 = 8;
/// The schema of custom bounds.
const CUSTOM_BOUNDS: i32 = -53;
/// What exponential histograms mean by zero; those that say are few.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Buckets of one sign, or bounds, that one histogram may have, as for remote write.
const MAX_BUCKETS: usize = 1 << 16;
/// Empty buckets up to which a gap is filled instead of beginning a span.
const MAX_GAP: i64 = 2;

/// A native histogram of the same resolution, or of the finest that there is. The error is the reference's sentence.
pub(super) fn from_exponential(point: &ExponentialHistogramDataPoint) -> Result<Histogram, String> {
    for buckets in point.positive.iter().chain(&point.negative) {
        check_number(buckets.bucket_counts.len())?;
    }
    if point.scale < MIN_SCALE {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= {MIN_SCALE}, was {}",
            point.scale
        ));
    }
    let schema = point.scale.min(MAX_SCALE);
    // Further halvings leave all indexes at 0 or -1.
    let halvings = (i64::from(point.scale) - i64::from(schema)).min(62) as u32;
    let side = |buckets: Option<&Buckets>| match buckets {
        Some(buckets) => layout(&buckets.bucket_counts, i64::from(buckets.offset), halvings, Indexing::Exponential),
        None => Ok(Side::default()),
    };
    let (positive, negative) = (side(point.positive.as_ref())?, side(point.negative.as_ref())?);
    let mut histogram = Histogram {
        layout: BucketLayout {
            schema,
            zero_threshold: ZERO_THRESHOLD,
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            ..BucketLayout::default()
        },
        zero_count: point.zero_count,
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        positive_buckets: positive.deltas,
        negative_buckets: negative.deltas,
        ..Histogram::default()
    };
    if has_no_value(point.flags) {
        histogram = stale(histogram.layout);
    }
    Ok(histogram)
}

/// A native histogram with the bounds of an explicit one.
pub(super) fn from_explicit(point: &HistogramDataPoint) -> Result<Histogram, String> {
    let counts = &point.bucket_counts;
    check_number(counts.len().max(point.explicit_bounds.len()))?;
    let first = counts.iter().position(|c| *c != 0).unwrap_or(counts.len());
    let buckets = layout(&counts[first..], first as i64, 0, Indexing::Custom)?;
    let layout = BucketLayout {
        schema: CUSTOM_BOUNDS,
        positive_spans: buckets.spans,
        custom_values: point.explicit_bounds.clone(),
        ..BucketLayout::default()
    };
    if has_no_value(point.flags) {
        return Ok(stale(layout));
    }
    let (count, sum) = (point.count, point.sum.unwrap_or(0.0));
    Ok(Histogram { layout, count, sum, positive_buckets: buckets.deltas, ..Histogram::default() })
}

fn check_number(buckets: usize) -> Result<(), String> {
    if buckets > MAX_BUCKETS {
        return Err(format!("{buckets} buckets are more than the {MAX_BUCKETS} allowed"));
    }
    Ok(())
}

/// The marker that a series has ended; it has no buckets.
fn stale(layout: BucketLayout) -> Histogram {
    let layout = BucketLayout { positive_spans: Vec::new(), negative_spans: Vec::new(), ..layout };
    Histogram { layout, sum: STALE_NAN, ..Histogram::default() }
}

/// What number the first count has among our buckets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    /// OTLP counts by lower bounds: one less than we do by upper bounds.
    Exponential,
    /// By place among the bounds, on both sides.
    Custom,
}

#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    before: i64,
}

impl Side {
    fn push(&mut self, count: i64) {
        if let Some(span) = self.spans.last_mut() {
            span.length += 1;
        }
        self.deltas.push(count.wrapping_sub(self.before));
        self.before = count;
    }

    /// Adds a bucket `gap` behind the one before, of whose absence a span tells if it is large.
    fn add(&mut self, gap: i64, count: i64) -> Result<(), String> {
        if self.spans.is_empty() || gap > MAX_GAP {
            let offset = i32::try_from(gap).map_err(|_| format!("a gap of {gap} buckets is too wide"))?;
            self.spans.push(Span { offset, length: 0 });
        } else {
            (0..gap).for_each(|_| self.push(0));
        }
        self.push(count);
        Ok(())
    }
}

/// Dense counts from an index on as spans and deltas, every `2^halvings` of them merged; without empty ends.
fn layout(counts: &[u64], offset: i64, halvings: u32, indexing: Indexing) -> Result<Side, String> {
    let shift = if indexing == Indexing::Exponential { 1 } else { 0 };
    let index = |i: usize| ((i as i64 + offset) >> halvings) + shift;
    // The next bucket's index if there is no gap; the first span counts from 0.
    let (mut side, mut next) = (Side::default(), 0);
    let mut pending: Option<(i64, i64)> = None;
    for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
        let (at, count) = (index(i), count.cast_signed());
        // Also the end behind a bucket is an index.
        i32::try_from(at + 1).map_err(|_| format!("bucket index {at} is out of range"))?;
        pending = match pending {
            Some((same, so_far)) if same == at => Some((at, so_far.wrapping_add(count))),
            Some((done, whole)) => {
                side.add(done - next, whole)?;
                next = done + 1;
                Some((at, count))
            }
            None => Some((at, count)),
        };
    }
    if let Some((last, count)) = pending {
        side.add(last - next, count)?;
    }
    Ok(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index and count of each bucket that is not empty.
    fn buckets(side: &Side) -> Vec<(i64, i64)> {
        let (mut index, mut count, mut deltas, mut out) = (0, 0, side.deltas.iter(), Vec::new());
        for span in &side.spans {
            index += i64::from(span.offset);
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                if count != 0 {
                    out.push((index, count));
                }
                index += 1;
            }
        }
        assert!(deltas.next().is_none());
        out
    }

    #[test]
    fn more_buckets_than_any_histogram_has_are_refused() {
        let buckets = |n: usize| Some(Buckets { offset: 0, bucket_counts: vec![1; n] });
        let exponential = |positive, negative| {
            from_exponential(&ExponentialHistogramDataPoint { positive, negative, ..Default::default() })
        };
        assert!(exponential(buckets(MAX_BUCKETS), buckets(3)).is_ok());
        assert!(exponential(buckets(MAX_BUCKETS + 1), None).unwrap_err().contains("65537 buckets"));
        assert!(exponential(None, buckets(MAX_BUCKETS + 1)).is_err());
        let explicit = |bounds, counts| {
            let (explicit_bounds, bucket_counts) = (vec![0.5; bounds], vec![1; counts]);
            from_explicit(&HistogramDataPoint { explicit_bounds, bucket_counts, ..Default::default() })
        };
        assert!(explicit(MAX_BUCKETS - 1, MAX_BUCKETS).is_ok());
        assert!(explicit(0, MAX_BUCKETS + 1).is_err() && explicit(MAX_BUCKETS + 1, 0).is_err());
    }

    #[test]
    fn dense_counts_keep_their_indexes_whatever_the_gaps() {
        for offset in [-7, -1, 0, 1, 5] {
            for counts in [&[][..], &[0, 0], &[5], &[0, 0, 0, 5], &[5, 0, 0, 7, 1], &[1, 0, 0, 0, 0, 2, 0, 3, 0, 0]] {
                for halvings in [0, 1, 3, 62] {
                    let side = layout(counts, offset, halvings, Indexing::Exponential).unwrap();
                    let mut expected = std::collections::BTreeMap::new();
                    for (i, count) in counts.iter().enumerate().filter(|(_, c)| **c != 0) {
                        let index = (offset + i as i64).div_euclid(1 << halvings) + 1;
                        *expected.entry(index).or_insert(0) += *count as i64;
                    }
                    assert_eq!(buckets(&side), Vec::from_iter(expected), "{counts:?} from {offset} >> {halvings}");
                }
            }
        }
        assert_eq!(buckets(&layout(&[3, 0, 4], 2, 0, Indexing::Custom).unwrap()), [(2, 3), (4, 4)]);
        let last = i64::from(i32::MAX);
        assert_eq!(
            buckets(&layout(&[1, 1], last - 3, 0, Indexing::Exponential).unwrap()),
            [(last - 2, 1), (last - 1, 1)]
        );
        for (counts, offset) in [(&[1][..], last), (&[1], last - 1), (&[1, 1, 1], last - 3)] {
            assert!(layout(counts, offset, 0, Indexing::Exponential).is_err(), "{counts:?} from {offset}");
        }
        let lowest = layout(&[1], i64::from(i32::MIN), 0, Indexing::Exponential).unwrap();
        assert_eq!(buckets(&lowest), [(i64::from(i32::MIN) + 1, 1)]);
    }
}
