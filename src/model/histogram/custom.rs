//! Custom bounds: histograms whose bounds differ meet at those that both have.

use super::Span;
use super::buckets::indexes;
use super::cells::SpanBuilder;
use crate::model::Compensated;

/// Whether all bounds are equal.
pub(super) fn same_bounds(a: &[f64], b: &[f64]) -> bool {
    a == b
}

/// The bounds that are in both; both ascend.
pub(super) fn common_bounds(a: &[f64], mut b: &[f64]) -> Vec<f64> {
    let mut is_in_b = |bound: f64| {
        while let [first, rest @ ..] = b
            && *first < bound
        {
            b = rest;
        }
        b.first() == Some(&bound)
    };
    a.iter().copied().filter(|bound| is_in_b(*bound)).collect()
}

/// Buckets between fewer bounds, being filled from buckets between more bounds.
pub(super) struct Rebinned<'a> {
    bounds: &'a [f64],
    /// One for each bound and one up to infinity.
    cells: Vec<Compensated>,
}

impl<'a> Rebinned<'a> {
    pub(super) fn new(bounds: &'a [f64]) -> Rebinned<'a> {
        Rebinned { bounds, cells: vec![Compensated::default(); bounds.len() + 1] }
    }

    /// Adds each bucket to the one that covers it.
    pub(super) fn add(&mut self, spans: &[Span], cells: impl Iterator<Item = Compensated>, bounds: &[f64]) {
        let mut target = 0;
        for (index, cell) in indexes(spans).zip(cells) {
            let upper = usize::try_from(index).ok().and_then(|index| bounds.get(index));
            // Indexes and bounds both ascend, so the search goes on from where it was.
            let reach = |upper: &f64| {
                while self.bounds.get(target).is_some_and(|bound| bound < upper) {
                    target += 1;
                }
                target
            };
            let place = upper.map_or(self.bounds.len(), reach);
            let sum = &mut self.cells[place];
            sum.add(cell.value);
            if cell.lost != 0.0 {
                sum.add(cell.lost);
            }
        }
    }

    /// The buckets that are not empty.
    pub(super) fn finish(self) -> (Vec<Span>, Vec<Compensated>) {
        let mut spans = SpanBuilder::default();
        let mut kept = Vec::with_capacity(self.cells.len());
        for (index, cell) in (0..).zip(self.cells) {
            if cell.value != 0.0 || cell.lost != 0.0 {
                spans.push(index);
                kept.push(cell);
            }
        }
        (spans.finish(), kept)
    }
}
