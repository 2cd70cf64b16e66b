//! Adding histograms up and subtracting them.
//!
//! The outcome has the coarser of both resolutions and the wider of both zero buckets; one that would end within a
//! bucket that holds something is widened to the end of that bucket. Custom bounds are reduced to those that both have.

use super::bounds::ends_in_zero_bucket;
use super::buckets::indexes;
use super::cells::{self, Cell};
use super::{BucketLayout, CounterResetHint, FloatHistogram, Span, custom};
use crate::model::Compensated;

/// What happened beside the arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Combined {
    /// One histogram said that its counter was reset, the other that it was not.
    pub resets_conflict: bool,
    /// Custom bounds differed, so only the common ones are left.
    pub bounds_reconciled: bool,
}

/// Exponential and custom bounds have nothing in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("histograms with exponential and with custom bounds cannot be combined")]
pub struct IncompatibleBounds;

/// Which way the other histogram counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

impl Sign {
    fn of(self, count: f64) -> f64 {
        if self == Sign::Minus { -count } else { count }
    }
}

/// A histogram that is changed in place, whatever its counts are made of.
pub(super) struct Target<'a, C> {
    pub(super) hint: &'a mut CounterResetHint,
    pub(super) layout: &'a mut BucketLayout,
    pub(super) zero_count: &'a mut C,
    pub(super) count: &'a mut C,
    pub(super) sum: &'a mut C,
    pub(super) positive: &'a mut Vec<C>,
    pub(super) negative: &'a mut Vec<C>,
}

/// A histogram made of two between which it lies.
#[derive(Clone, Debug)]
pub struct Between {
    /// The histogram.
    pub histogram: FloatHistogram,
    /// Whether differing custom bounds were reconciled on the way, by subtracting.
    pub subtracting_reconciled: bool,
    /// The same, by adding.
    pub adding_reconciled: bool,
}

impl FloatHistogram {
    /// The histogram that lies such a share of the way behind `before`, where this one is the whole way. A counter that was
    /// reset since counts from 0.
    pub fn between(
        &self,
        before: &FloatHistogram,
        share: f64,
        is_counter: bool,
    ) -> Result<Between, IncompatibleBounds> {
        let mut histogram = self.clone();
        if is_counter && self.detect_reset(before) {
            histogram.mul(share);
            return Ok(Between { histogram, subtracting_reconciled: false, adding_reconciled: false });
        }
        let subtracting_reconciled = histogram.sub(before)?.bounds_reconciled;
        histogram.mul(share);
        let adding_reconciled = histogram.add(before)?.bounds_reconciled;
        Ok(Between { histogram, subtracting_reconciled, adding_reconciled })
    }

    /// Adds another histogram. On error nothing has changed.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleBounds> {
        self.as_target().combine(other, Sign::Plus)
    }

    /// Subtracts another histogram; counts may become negative. The reset hint comes out as it does of an addition:
    /// PromQL's operator makes it that of a gauge, a mean in steps does not. On error nothing has changed.
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleBounds> {
        self.as_target().combine(other, Sign::Minus)
    }

    fn as_target(&mut self) -> Target<'_, f64> {
        Target {
            hint: &mut self.counter_reset_hint,
            layout: &mut self.layout,
            zero_count: &mut self.zero_count,
            count: &mut self.count,
            sum: &mut self.sum,
            positive: &mut self.positive_buckets,
            negative: &mut self.negative_buckets,
        }
    }
}

impl CounterResetHint {
    /// Takes up another histogram's hint; true if they contradict each other.
    fn join(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        let conflict = matches!((*self, other), (Reset, NotReset) | (NotReset, Reset));
        *self = match (*self, other) {
            (Gauge, _) | (_, Gauge) => Gauge,
            (mine, other) if mine == other => mine,
            _ => Unknown,
        };
        conflict
    }
}

impl<C: Cell> Target<'_, C> {
    pub(super) fn combine(&mut self, other: &FloatHistogram, sign: Sign) -> Result<Combined, IncompatibleBounds> {
        if self.layout.has_custom_bounds() != other.layout.has_custom_bounds() {
            return Err(IncompatibleBounds);
        }
        let resets_conflict = self.hint.join(other.counter_reset_hint);
        self.count.add(C::of(Compensated::new(sign.of(other.count))));
        self.sum.add(C::of(Compensated::new(sign.of(other.sum))));
        let bounds_reconciled = self.layout.has_custom_bounds()
            && !custom::same_bounds(&self.layout.custom_values, &other.layout.custom_values);
        if bounds_reconciled {
            let common = custom::common_bounds(&self.layout.custom_values, &other.layout.custom_values);
            self.combine_custom(other, sign, common);
        } else {
            self.combine_buckets(other, sign);
        }
        Ok(Combined { resets_conflict, bounds_reconciled })
    }

    fn combine_buckets(&mut self, other: &FloatHistogram, sign: Sign) {
        if !self.layout.has_custom_bounds() {
            let zero_count = self.reconcile_zero_buckets(other).map(|count| sign.of(count));
            self.zero_count.add(C::of(zero_count));
            self.coarsen_to(other.layout.schema);
        }
        let (layout, from) = (&mut *self.layout, &other.layout);
        let grid = Grid {
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            halvings: cells::halvings(from.schema, layout.schema),
        };
        let positive = (&from.positive_spans[..], &other.positive_buckets[..]);
        combine_side(&mut layout.positive_spans, self.positive, positive, sign, grid);
        let negative = (&from.negative_spans[..], &other.negative_buckets[..]);
        combine_side(&mut layout.negative_spans, self.negative, negative, sign, grid);
    }

    /// Reduces the resolution, unless it is that low already.
    pub(super) fn coarsen_to(&mut self, schema: i32) {
        let halvings = cells::halvings(self.layout.schema, schema);
        if halvings > 0 {
            cells::coarsen(&mut self.layout.positive_spans, self.positive, halvings, C::add);
            cells::coarsen(&mut self.layout.negative_spans, self.negative, halvings, C::add);
            self.layout.schema = schema;
        }
    }

    fn combine_custom(&mut self, other: &FloatHistogram, sign: Sign, common: Vec<f64>) {
        let mut rebinned = custom::Rebinned::new(&common);
        let mine = &*self.layout;
        let cells = self.positive.iter().map(|cell| cell.parts());
        rebinned.add(&mine.positive_spans, cells, &mine.custom_values);
        let theirs = other.positive_buckets.iter().map(|count| Compensated::new(sign.of(*count)));
        rebinned.add(&other.layout.positive_spans, theirs, &other.layout.custom_values);
        let (spans, cells) = rebinned.finish();
        self.layout.positive_spans = spans;
        *self.positive = cells.into_iter().map(C::of).collect();
        self.layout.custom_values = common;
    }
}

/// What the buckets of both operands are brought to.
#[derive(Clone, Copy)]
struct Grid {
    schema: i32,
    zero_threshold: f64,
    /// From the other histogram's resolution to this one.
    halvings: u32,
}

fn combine_side<C: Cell>(
    spans: &mut Vec<Span>,
    cells: &mut Vec<C>,
    (other_spans, counts): (&[Span], &[f64]),
    sign: Sign,
    grid: Grid,
) {
    // The reference leaves out the other histogram's buckets within the zero bucket up to the first one beyond it.
    let in_zero_bucket = |index: i32| ends_in_zero_bucket(index, grid.schema, grid.zero_threshold);
    let cell = |count: f64| C::of(Compensated::new(sign.of(count)));
    let same_buckets = grid.halvings == 0 && spans == other_spans && cells.len() == counts.len();
    if same_buckets && !indexes(other_spans).next().is_some_and(in_zero_bucket) {
        cells.iter_mut().zip(counts).for_each(|(mine, count)| mine.add(cell(*count)));
        return;
    }
    let buckets = indexes(other_spans).zip(counts.iter().map(|count| cell(*count)));
    if grid.halvings == 0 {
        cells::add(spans, cells, buckets.skip_while(|(index, _)| in_zero_bucket(*index)));
    } else {
        let coarser = cells::coarser(buckets, grid.halvings);
        cells::add(spans, cells, coarser.skip_while(|(index, _)| in_zero_bucket(*index)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{
        any_custom, any_pair, any_pair_of_one_threshold, custom, exponential, hinted, with_zero,
    };
    use super::*;

    /// Sum and difference in text form, and whether bounds were reconciled; the texts are the reference's.
    fn combined(a: &FloatHistogram, b: &FloatHistogram) -> (String, String, bool) {
        let (mut sum, mut difference) = (a.clone(), a.clone());
        let outcome = sum.add(b).unwrap();
        assert_eq!(difference.sub(b).unwrap(), outcome);
        (sum.to_string(), difference.to_string(), outcome.bounds_reconciled)
    }

    fn compacted(mut h: FloatHistogram) -> FloatHistogram {
        h.compact(0);
        h
    }

    #[test]
    fn the_coarser_resolution_is_that_of_the_outcome() {
        let fine = exponential(1, &[(-1, &[1.0, 2.0, 3.0]), (2, &[4.0])], &[]);
        let coarse = exponential(0, &[(0, &[10.0, 20.0])], &[(3, &[5.0])]);
        let sum = "{count:45, sum:0, [-8,-4):5, (0.5,1]:13, (1,2]:23, (2,4]:4}";
        let difference = "{count:-25, sum:0, [-8,-4):-5, (0.5,1]:-7, (1,2]:-17, (2,4]:4}";
        assert_eq!(combined(&fine, &coarse), (sum.into(), difference.into(), false));

        let coarse = exponential(0, &[(0, &[10.0, 20.0])], &[]);
        let fine = exponential(2, &[(-3, &[1.0, 2.0, 3.0, 4.0, 5.0])], &[(1, &[1.0, 1.0])]);
        let sum = "{count:47, sum:0, [-2,-1):2, (0.5,1]:20, (1,2]:25}";
        let difference = "{count:13, sum:0, [-2,-1):-2, (1,2]:15}";
        assert_eq!(combined(&coarse, &fine), (sum.into(), difference.into(), false));
    }

    #[test]
    fn a_zero_bucket_grows_until_it_ends_in_no_bucket_that_holds_something() {
        let a = with_zero(0.125, 1.0, exponential(0, &[(-2, &[1.0, 2.0, 3.0])], &[(-1, &[7.0])]));
        let b = with_zero(0.4, 2.0, exponential(0, &[(0, &[10.0])], &[]));
        let sum = "{count:26, sum:0, [-0.5,0.5]:13, (0.5,1]:13}";
        let difference = "{count:2, sum:0, [-0.5,0.5]:9, (0.5,1]:-7}";
        assert_eq!(combined(&a, &b), (sum.into(), difference.into(), false));

        let a = with_zero(0.5, 2.0, exponential(0, &[(1, &[10.0])], &[]));
        let b = exponential(0, &[(-3, &[1.0, 2.0, 3.0])], &[(-2, &[4.0, 5.0, 6.0, 7.0])]);
        let b = with_zero(0.001, 1.0, b);
        let sum = "{count:41, sum:0, [-2,-1):7, [-1,-0.5):6, [-0.5,0.5]:18, (1,2]:10}";
        let difference = "{count:-17, sum:0, [-2,-1):-7, [-1,-0.5):-6, [-0.5,0.5]:-14, (1,2]:10}";
        assert_eq!(combined(&a, &b), (sum.into(), difference.into(), false));
    }

    #[test]
    fn a_negative_bucket_can_widen_the_zero_bucket_too() {
        let a = with_zero(0.0, 1.0, exponential(0, &[(-1, &[2.0, 3.0, 4.0])], &[(0, &[5.0, 6.0])]));
        let b = with_zero(0.75, 1.0, exponential(0, &[], &[]));
        let sum = "{count:22, sum:0, [-2,-1):6, [-1,1]:12, (1,2]:4}";
        let difference = "{count:20, sum:0, [-2,-1):6, [-1,1]:10, (1,2]:4}";
        assert_eq!(combined(&a, &b), (sum.into(), difference.into(), false));
    }

    #[test]
    fn buckets_of_the_other_within_the_common_zero_bucket_are_left_out() {
        let a = with_zero(1.0, 1.0, exponential(0, &[(-1, &[1.0, 2.0, 3.0])], &[]));
        let b = with_zero(1.0, 1.0, exponential(0, &[(-1, &[10.0, 20.0, 30.0])], &[]));
        let sum = "{count:68, sum:0, [-1,1]:2, (0.25,0.5]:1, (0.5,1]:2, (1,2]:33}";
        let difference = "{count:-54, sum:0, (0.25,0.5]:1, (0.5,1]:2, (1,2]:-27}";
        assert_eq!(combined(&a, &b), (sum.into(), difference.into(), false));
    }

    /// The reference's answer. The bucket (1,2] goes into the zero bucket, and again into (1,4].
    #[test]
    fn a_bucket_counts_twice_if_it_is_in_the_zero_bucket_only_before_it_is_merged() {
        let wide = with_zero(2.0, 0.0, exponential(-1, &[], &[]));
        let (sum, _, _) = combined(&wide, &exponential(0, &[(1, &[1.0])], &[]));
        assert_eq!(sum, "{count:1, sum:0, [-2,2]:1, (1,4]:1}");
    }

    #[test]
    fn custom_bounds_are_reduced_to_the_common_ones() {
        let a = custom(&[1.0, 2.0, 3.0], &[(0, &[1.0, 2.0]), (1, &[4.0])]);
        let b = custom(&[1.0, 3.0, 5.0], &[(0, &[10.0, 20.0, 30.0, 40.0])]);
        let sum = "{count:107, sum:0, [-Inf,1]:11, (1,3]:22, (3,+Inf]:74}";
        let difference = "{count:-93, sum:0, [-Inf,1]:-9, (1,3]:-18, (3,+Inf]:-66}";
        assert_eq!(combined(&a, &b), (sum.into(), difference.into(), true));

        let a = custom(&[1.0, 2.0], &[(0, &[1.0, 2.0, 3.0])]);
        let b = custom(&[3.0], &[(1, &[4.0])]);
        let (sum, difference) = ("{count:10, sum:0, [-Inf,+Inf]:10}", "{count:2, sum:0, [-Inf,+Inf]:2}");
        assert_eq!(combined(&a, &b), (sum.into(), difference.into(), true));
    }

    #[test]
    fn exponential_and_custom_bounds_do_not_combine() {
        let (mut a, b) = (exponential(0, &[(0, &[1.0])], &[]), custom(&[1.0], &[(0, &[1.0])]));
        let before = a.clone();
        assert_eq!(a.add(&b), Err(IncompatibleBounds));
        assert_eq!(a.sub(&b), Err(IncompatibleBounds));
        assert_eq!(a, before);
    }

    #[test]
    fn hints_are_joined() {
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        for (a, b, joined, conflict) in [
            (Unknown, Unknown, Unknown, false),
            (Reset, Reset, Reset, false),
            (NotReset, NotReset, NotReset, false),
            (Gauge, Reset, Gauge, false),
            (NotReset, Gauge, Gauge, false),
            (Unknown, Gauge, Gauge, false),
            (Unknown, Reset, Unknown, false),
            (NotReset, Unknown, Unknown, false),
            (Reset, NotReset, Unknown, true),
            (NotReset, Reset, Unknown, true),
        ] {
            let h = || exponential(0, &[(0, &[1.0])], &[]);
            let mut sum = hinted(a, h());
            let combined = sum.add(&hinted(b, h())).unwrap();
            assert_eq!((sum.counter_reset_hint, combined.resets_conflict), (joined, conflict), "{a:?} and {b:?}");
        }
    }

    #[test]
    fn thresholds_that_are_not_numbers_do_no_harm() {
        let mut a = with_zero(f64::NAN, 1.0, exponential(0, &[(0, &[1.0])], &[]));
        a.add(&with_zero(0.5, 1.0, exponential(0, &[(0, &[1.0])], &[]))).unwrap();
        let mut a = with_zero(f64::INFINITY, 1.0, exponential(0, &[(0, &[1.0])], &[]));
        a.add(&with_zero(0.5, 1.0, exponential(0, &[(0, &[2.0])], &[]))).unwrap();
        assert_eq!(a.zero_count, 4.0);
    }

    #[test]
    fn layouts_that_contradict_themselves_do_no_harm() {
        let odd = |spans: &[(i32, u32)], counts: usize| {
            let mut h = exponential(0, &[], &[]);
            h.layout.positive_spans = spans.iter().map(|&(offset, length)| Span { offset, length }).collect();
            h.positive_buckets = vec![1.0; counts];
            h
        };
        let all = [
            odd(&[(i32::MAX, u32::MAX), (i32::MAX, 7)], 3),
            odd(&[(5, 3), (-4, 3), (-9, 2)], 8),
            odd(&[(0, 2)], 9),
            odd(&[(0, 0), (0, 0)], 2),
            odd(&[], 2),
            odd(&[(i32::MIN, 2), (i32::MIN, 3)], 5),
            exponential(8, &[(0, &[1.0; 4])], &[]),
        ];
        for a in &all {
            for b in &all {
                let mut sum = a.clone();
                sum.add(b).unwrap();
                sum.compact(2);
                sum.detect_reset(b);
                assert!(sum.positive_buckets.len() <= 24);
            }
        }
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order((a, b) in any_pair()) {
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.add(&b).unwrap();
            ba.add(&a).unwrap();
            let (ab, ba) = (compacted(ab), compacted(ba));
            prop_assert!(ab.equals(&ba), "{ab} and {ba}");
        }

        #[test]
        fn sums_of_custom_bounds_do_not_depend_on_the_order(a in any_custom(), b in any_custom()) {
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.add(&b).unwrap();
            ba.add(&a).unwrap();
            let (ab, ba) = (compacted(ab), compacted(ba));
            prop_assert!(ab.equals(&ba), "{ab} and {ba}");
        }

        #[test]
        fn subtraction_takes_back_an_addition((a, b) in any_pair_of_one_threshold()) {
            let mut back = a.clone();
            back.add(&b).unwrap();
            back.sub(&b).unwrap();
            let (back, a) = (compacted(back), compacted(a.to_schema(b.layout.schema)));
            prop_assert!(back.equals(&a), "{back} and {a}");
        }

        #[test]
        fn nothing_is_lost_in_a_sum((a, b) in any_pair()) {
            let mut sum = a.clone();
            sum.add(&b).unwrap();
            let buckets = sum.positive_buckets.iter().chain(&sum.negative_buckets).sum::<f64>();
            prop_assert_eq!(buckets + sum.zero_count, a.count + b.count);
        }

        #[test]
        fn a_counter_that_grew_was_not_reset((a, b) in any_pair()) {
            let mut grown = a.clone();
            grown.add(&b).unwrap();
            prop_assert!(!grown.detect_reset(&a), "{a} to {grown}");
        }
    }
}
