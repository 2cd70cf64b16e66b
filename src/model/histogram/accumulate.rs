//! Sums and means of many histograms, as `sum`, `avg`, `sum_over_time` and `avg_over_time` compute them.
//!
//! Every count is a [`Compensated`] sum. What rounding took from it is given back at the end, so outcomes depend on the
//! order of addition, but hardly. Nothing is copied per histogram while buckets stay the same.

use super::bounds::ends_in_zero_bucket;
use super::buckets::indexes;
use super::cells::Cell;
use super::combine::{Combined, IncompatibleBounds, Sign, Target};
use super::{BucketLayout, CounterResetHint, FloatHistogram, Span};
use crate::model::Compensated;

/// Counts up to here cannot become infinite by one more addition, even if all buckets of both histograms meet in one.
const FAR_FROM_OVERFLOW: f64 = 1e300;

/// A sum or mean of histograms, and what happened on the way.
#[derive(Clone, PartialEq, Debug)]
pub struct Accumulated {
    /// The outcome, not compacted.
    pub histogram: FloatHistogram,
    /// Some histograms said that the counter was reset, some that it was not.
    pub resets_conflict: bool,
    /// Custom bounds differed, so only the common ones are left.
    pub bounds_reconciled: bool,
}

/// A running sum of histograms.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    cells: Cells,
    notes: Notes,
}

/// A running mean of histograms: the sum divided by their number, or, from when the sum would overflow, the mean so far
/// moved a little by each histogram.
#[derive(Clone, Debug)]
pub struct HistogramMean {
    /// The sum, or the mean in steps.
    cells: Cells,
    in_steps: bool,
    number: f64,
    notes: Notes,
}

impl HistogramSum {
    /// A sum of one.
    pub fn new(first: &FloatHistogram) -> HistogramSum {
        HistogramSum { cells: Cells::new(first), notes: Notes::new(first) }
    }

    /// Adds one. After an error there is no sum any more.
    pub fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleBounds> {
        self.notes.see(histogram);
        self.notes.take(self.cells.add(histogram)?);
        Ok(())
    }

    /// Whether custom bounds differed so far.
    pub fn bounds_reconciled(&self) -> bool {
        self.notes.bounds_reconciled
    }

    /// The sum.
    pub fn finish(self) -> Accumulated {
        self.notes.with(self.cells.total())
    }
}

impl HistogramMean {
    /// A mean of one.
    pub fn new(first: &FloatHistogram) -> HistogramMean {
        HistogramMean { cells: Cells::new(first), in_steps: false, number: 1.0, notes: Notes::new(first) }
    }

    /// Takes in one more. After an error there is no mean any more.
    pub fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleBounds> {
        self.notes.see(histogram);
        self.number += 1.0;
        if !self.in_steps {
            if self.cells.is_far_from_overflow() && is_far_from_overflow(histogram) {
                self.notes.take(self.cells.add(histogram)?);
                return Ok(());
            }
            let mut sum = self.cells.clone();
            self.notes.take(sum.add(histogram)?);
            if !sum.has_overflow() {
                self.cells = sum;
                return Ok(());
            }
            self.in_steps = true;
            self.cells.scale(|v| v / (self.number - 1.0));
        }
        let kept = (self.number - 1.0) / self.number;
        self.cells.scale(|v| v * kept);
        let mut share = histogram.clone();
        share.div(self.number);
        self.notes.take(self.cells.add(&share)?);
        Ok(())
    }

    /// Whether custom bounds differed so far.
    pub fn bounds_reconciled(&self) -> bool {
        self.notes.bounds_reconciled
    }

    /// The mean.
    pub fn finish(mut self) -> Accumulated {
        if !self.in_steps {
            self.cells.scale(|v| v / self.number);
        }
        self.notes.with(self.cells.total())
    }
}

fn is_far_from_overflow(h: &FloatHistogram) -> bool {
    let counts = h.positive_buckets.iter().chain(&h.negative_buckets).chain(&h.layout.custom_values);
    // NaN is not near it: no sum with it is infinite.
    !counts.chain(&[h.zero_count, h.count, h.sum]).any(|v| v.abs() > FAR_FROM_OVERFLOW)
}

/// What all histograms said of resets, and whether bounds differed.
#[derive(Clone, Copy, Debug, Default)]
struct Notes {
    reset: bool,
    not_reset: bool,
    bounds_reconciled: bool,
}

impl Notes {
    fn new(first: &FloatHistogram) -> Notes {
        let mut notes = Notes::default();
        notes.see(first);
        notes
    }

    fn see(&mut self, histogram: &FloatHistogram) {
        self.reset |= histogram.counter_reset_hint == CounterResetHint::Reset;
        self.not_reset |= histogram.counter_reset_hint == CounterResetHint::NotReset;
    }

    fn take(&mut self, combined: Combined) {
        self.bounds_reconciled |= combined.bounds_reconciled;
    }

    fn with(self, histogram: FloatHistogram) -> Accumulated {
        let (resets_conflict, bounds_reconciled) = (self.reset && self.not_reset, self.bounds_reconciled);
        Accumulated { histogram, resets_conflict, bounds_reconciled }
    }
}

/// A histogram of compensated sums.
#[derive(Clone, Debug)]
struct Cells {
    hint: CounterResetHint,
    layout: BucketLayout,
    zero_count: Compensated,
    count: Compensated,
    sum: Compensated,
    positive: Vec<Compensated>,
    negative: Vec<Compensated>,
    /// Whether it is more than a copy of one histogram.
    is_sum: bool,
}

impl Cells {
    fn new(h: &FloatHistogram) -> Cells {
        let cells = |counts: &[f64]| counts.iter().copied().map(Compensated::new).collect();
        Cells {
            hint: h.counter_reset_hint,
            layout: h.layout.clone(),
            zero_count: Compensated::new(h.zero_count),
            count: Compensated::new(h.count),
            sum: Compensated::new(h.sum),
            positive: cells(&h.positive_buckets),
            negative: cells(&h.negative_buckets),
            is_sum: false,
        }
    }

    fn add(&mut self, histogram: &FloatHistogram) -> Result<Combined, IncompatibleBounds> {
        self.is_sum = true;
        let mut target = Target {
            hint: &mut self.hint,
            layout: &mut self.layout,
            zero_count: &mut self.zero_count,
            count: &mut self.count,
            sum: &mut self.sum,
            positive: &mut self.positive,
            negative: &mut self.negative,
        };
        target.combine(histogram, Sign::Plus)
    }

    fn all(&self) -> impl Iterator<Item = &Compensated> {
        [&self.zero_count, &self.count, &self.sum].into_iter().chain(&self.positive).chain(&self.negative)
    }

    fn scale(&mut self, scaled: impl Fn(f64) -> f64) {
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        let cells = self.positive.iter_mut().chain(&mut self.negative);
        totals.into_iter().chain(cells).for_each(|cell| *cell = cell.map(&scaled));
    }

    fn is_far_from_overflow(&self) -> bool {
        let numbers = self.all().map(|cell| cell.value).chain(self.layout.custom_values.iter().copied());
        !numbers.into_iter().any(|v| v.abs() > FAR_FROM_OVERFLOW)
    }

    fn has_overflow(&self) -> bool {
        let numbers = self.all().map(|cell| cell.value).chain(self.layout.custom_values.iter().copied());
        numbers.into_iter().any(f64::is_infinite)
    }

    /// Gives back what rounding took, except to buckets within the zero bucket, to which nothing was added either.
    fn total(self) -> FloatHistogram {
        let total = |cell: Compensated| if self.is_sum { cell.total() } else { cell.value };
        let totals = |spans: &[Span], cells: Vec<Compensated>| {
            let is_within = |index: &i32| ends_in_zero_bucket(*index, self.layout.schema, self.layout.zero_threshold);
            let within = indexes(spans).take(cells.len()).take_while(is_within).count();
            let total = |(place, cell): (usize, Compensated)| if place < within { cell.value } else { total(cell) };
            cells.into_iter().enumerate().map(total).collect()
        };
        FloatHistogram {
            counter_reset_hint: self.hint,
            zero_count: total(self.zero_count),
            count: total(self.count),
            sum: total(self.sum),
            positive_buckets: totals(&self.layout.positive_spans, self.positive),
            negative_buckets: totals(&self.layout.negative_spans, self.negative),
            layout: self.layout,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{any_exponential, custom, exponential, hinted};
    use super::*;

    fn sum(all: &[FloatHistogram]) -> Accumulated {
        let mut sum = HistogramSum::new(&all[0]);
        all[1..].iter().for_each(|h| sum.add(h).unwrap());
        sum.finish()
    }

    fn mean(all: &[FloatHistogram]) -> Accumulated {
        let mut mean = HistogramMean::new(&all[0]);
        all[1..].iter().for_each(|h| mean.add(h).unwrap());
        mean.finish()
    }

    fn one(count: f64) -> FloatHistogram {
        FloatHistogram { sum: count, ..exponential(0, &[(0, &[count])], &[]) }
    }

    #[test]
    fn sums_and_means_keep_what_rounding_takes() {
        let all = [one(1.0), one(1e100), one(1.0), one(-1e100)];
        assert_eq!(sum(&all).histogram.to_string(), "{count:2, sum:2, (0.5,1]:2}");
        assert_eq!(mean(&all).histogram.to_string(), "{count:0.5, sum:0.5, (0.5,1]:0.5}");
    }

    #[test]
    fn rounding_errors_follow_their_buckets_to_a_lower_resolution() {
        let fine = |counts: &[f64]| exponential(1, &[(1, counts)], &[]);
        let all = [fine(&[1e100, 1.0]), fine(&[1.0, 1e100]), one(0.0), fine(&[-1e100, -1e100])];
        assert_eq!(
            sum(&all).histogram.positive_buckets().map(|b| (b.upper, b.count)).collect::<Vec<_>>(),
            [(1.0, 0.0), (2.0, 2.0)]
        );
    }

    #[test]
    fn a_mean_survives_a_sum_beyond_all_floats() {
        let all = [one(1.5e308), one(1.5e308), one(0.9e308)];
        assert_eq!(mean(&all).histogram.to_string(), "{count:1.3e+308, sum:1.3e+308, (0.5,1]:1.3e+308}");
        assert_eq!(sum(&all).histogram.count, f64::INFINITY);
    }

    #[test]
    fn one_histogram_is_its_own_sum_and_mean() {
        let h = FloatHistogram { sum: -0.0, ..exponential(0, &[(0, &[0.0, 2.0])], &[(3, &[1.0])]) };
        assert_eq!(
            (sum(std::slice::from_ref(&h)).histogram, mean(std::slice::from_ref(&h)).histogram),
            (h.clone(), h.clone())
        );
        assert!(sum(&[h]).histogram.sum.is_sign_negative());
    }

    #[test]
    fn conflicts_among_all_hints_and_different_bounds_are_told() {
        use CounterResetHint::{Gauge, NotReset, Reset};
        let all = |hints: &[CounterResetHint]| hints.iter().map(|hint| hinted(*hint, one(1.0))).collect::<Vec<_>>();
        assert!(!sum(&all(&[Reset, Reset, Gauge])).resets_conflict);
        assert!(sum(&all(&[Reset, Gauge, NotReset])).resets_conflict);
        assert!(mean(&all(&[NotReset, Gauge, Reset])).resets_conflict);
        let custom = [custom(&[1.0, 2.0], &[(0, &[1.0, 2.0])]), custom(&[1.0], &[(0, &[3.0])])];
        assert!(sum(&custom).bounds_reconciled && mean(&custom).bounds_reconciled);
        assert!(!sum(&custom[..1]).bounds_reconciled);
        assert_eq!(HistogramSum::new(&one(1.0)).add(&custom[0]), Err(IncompatibleBounds));
        assert_eq!(HistogramMean::new(&one(1.0)).add(&custom[0]), Err(IncompatibleBounds));
    }

    proptest! {
        #[test]
        fn a_compensated_sum_of_whole_counts_is_the_plain_sum(all in prop::collection::vec(any_exponential(), 1..6)) {
            let mut plain = all[0].clone();
            all[1..].iter().for_each(|h| { plain.add(h).unwrap(); });
            let sum = sum(&all).histogram;
            prop_assert!(sum.equals(&plain), "{sum} and {plain}");
        }

        #[test]
        fn a_mean_of_whole_counts_is_the_sum_by_their_number(all in prop::collection::vec(any_exponential(), 1..6)) {
            let mut expected = sum(&all).histogram;
            expected.div(all.len() as f64);
            let mean = mean(&all).histogram;
            prop_assert!(mean.equals(&expected), "{mean} and {expected}");
        }
    }
}
