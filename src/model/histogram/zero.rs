//! Zero buckets of different width: the narrower one is widened, and swallows the buckets that it then covers.

use super::bounds::bound;
use super::buckets::indexes;
use super::cells::{self, Cell};
use super::combine::Target;
use super::{BucketLayout, FloatHistogram, Span};
use crate::model::Compensated;

impl<C: Cell> Target<'_, C> {
    /// Makes this histogram's zero bucket wide enough for both, and returns what the other one's would then hold.
    pub(super) fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> Compensated {
        let (mut zero_count, mut threshold) = (Compensated::new(other.zero_count), other.layout.zero_threshold);
        loop {
            if self.layout.zero_threshold > threshold {
                (zero_count, threshold) = other.widened_zero_bucket(self.layout.zero_threshold);
            } else if threshold > self.layout.zero_threshold {
                self.widen_zero_bucket(threshold);
            } else {
                return zero_count;
            }
        }
    }

    fn widen_zero_bucket(&mut self, threshold: f64) {
        let (positive, negative) = (&self.positive[..], &self.negative[..]);
        let (zero_count, threshold) = widened(self.layout, self.zero_count.parts(), positive, negative, threshold);
        *self.zero_count = C::of(zero_count);
        self.layout.zero_threshold = threshold;
        let schema = self.layout.schema;
        drop_swallowed(&mut self.layout.positive_spans, self.positive, schema, threshold);
        drop_swallowed(&mut self.layout.negative_spans, self.negative, schema, threshold);
    }
}

impl FloatHistogram {
    /// What the zero bucket would hold if it were as wide as given, and how wide it then had to be so as not to end
    /// within a bucket that holds something.
    pub(super) fn widened_zero_bucket(&self, threshold: f64) -> (Compensated, f64) {
        let zero_count = Compensated::new(self.zero_count);
        if threshold == self.layout.zero_threshold {
            return (zero_count, threshold);
        }
        widened(&self.layout, zero_count, &self.positive_buckets, &self.negative_buckets, threshold)
    }
}

fn widened<C: Cell>(
    layout: &BucketLayout,
    zero_count: Compensated,
    positive: &[C],
    negative: &[C],
    mut threshold: f64,
) -> (Compensated, f64) {
    let mut swallowed = zero_count;
    loop {
        // What former rounds lost by rounding stays, as it does in the reference.
        swallowed.value = zero_count.value;
        if let Some(end) = swallow(&mut swallowed, &layout.positive_spans, positive, layout.schema, threshold) {
            threshold = end;
        }
        // If it was a negative bucket that held something, the positive ones have to be counted anew.
        match swallow(&mut swallowed, &layout.negative_spans, negative, layout.schema, threshold) {
            Some(end) => threshold = end,
            None => return (swallowed, threshold),
        }
    }
}

/// Adds the buckets of one sign that begin within the threshold. If the last one goes beyond it and holds something,
/// returns where it ends.
fn swallow<C: Cell>(sum: &mut Compensated, spans: &[Span], cells: &[C], schema: i32, threshold: f64) -> Option<f64> {
    for (index, cell) in indexes(spans).zip(cells) {
        if bound(index.wrapping_sub(1), schema) >= threshold {
            return None;
        }
        let count = cell.parts();
        Cell::add(sum, count);
        let end = bound(index, schema);
        if end > threshold {
            return (count.value != 0.0).then_some(end);
        }
    }
    None
}

/// Removes the buckets of one sign that begin within the threshold, and empty ones with them.
fn drop_swallowed<C: Cell>(spans: &mut Vec<Span>, cells: &mut Vec<C>, schema: i32, threshold: f64) {
    let within = indexes(spans).take_while(|index| bound(index.wrapping_sub(1), schema) < threshold);
    let within = within.zip(&*cells).count();
    cells[..within].fill(C::default());
    cells::compact(spans, cells, 0, Cell::is_empty);
}
