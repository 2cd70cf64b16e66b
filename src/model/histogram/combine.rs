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

impl FloatHistogram {
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
            cells::coarsen(&mut self.layout.positive_spans, self.positive, halvings);
            cells::coarsen(&mut self.layout.negative_spans, self.negative, halvings);
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
