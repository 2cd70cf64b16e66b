//! Buckets of one sign as spans and the counts beside them: walking, adding, coarsening, dropping empty ones.
//!
//! What a bucket holds is a [`Cell`]: a plain count, or a count with what its sum lost by rounding. Arithmetic is
//! written once for both. Spans come out in their shortest form, one for each run of consecutive buckets.
//!
//! Histograms may come from anywhere, so spans may promise more or fewer buckets than there are, overlap, or overflow;
//! then the outcome is some histogram, never a panic and never more buckets than the operands have together.

use super::Span;
use super::buckets::indexes;
use crate::model::Compensated;

/// What a bucket, or another count, holds.
pub(super) trait Cell: Copy + Default {
    /// From a count with its rounding error, as far as this kind keeps it.
    fn of(count: Compensated) -> Self;
    /// Count and rounding error.
    fn parts(self) -> Compensated;
    /// Adds in this kind's way.
    fn add(&mut self, other: Self);
    /// Both multiplied or divided.
    fn map(self, scale: impl Fn(f64) -> f64) -> Self;
    /// Whether nothing is in it.
    fn is_empty(self) -> bool;
}

impl Cell for f64 {
    #[inline]
    fn of(count: Compensated) -> f64 {
        count.value
    }

    #[inline]
    fn parts(self) -> Compensated {
        Compensated::new(self)
    }

    #[inline]
    fn add(&mut self, other: f64) {
        *self += other;
    }

    #[inline]
    fn map(self, scale: impl Fn(f64) -> f64) -> f64 {
        scale(self)
    }

    #[inline]
    fn is_empty(self) -> bool {
        self == 0.0
    }
}

impl Cell for Compensated {
    #[inline]
    fn of(count: Compensated) -> Compensated {
        count
    }

    #[inline]
    fn parts(self) -> Compensated {
        self
    }

    #[inline]
    fn add(&mut self, other: Compensated) {
        Compensated::add(self, other.value);
        if other.lost != 0.0 {
            Compensated::add(self, other.lost);
        }
    }

    #[inline]
    fn map(self, scale: impl Fn(f64) -> f64) -> Compensated {
        Compensated { value: scale(self.value), lost: scale(self.lost) }
    }

    #[inline]
    fn is_empty(self) -> bool {
        self.value == 0.0 && self.lost == 0.0
    }
}

/// Builds spans from ascending indexes.
#[derive(Default)]
pub(super) struct SpanBuilder {
    spans: Vec<Span>,
    /// Index behind the last bucket.
    end: i32,
}

impl SpanBuilder {
    pub(super) fn push(&mut self, index: i32) {
        match self.spans.last_mut() {
            Some(span) if index == self.end => span.length += 1,
            _ => self.spans.push(Span { offset: index.wrapping_sub(self.end), length: 1 }),
        }
        self.end = index.wrapping_add(1);
    }

    pub(super) fn finish(self) -> Vec<Span> {
        self.spans
    }
}

/// Adds buckets, given in ascending order, creating those that are missing.
pub(super) fn add<C: Cell>(spans: &mut Vec<Span>, cells: &mut Vec<C>, others: impl Iterator<Item = (i32, C)>) {
    let missing = add_to_existing(spans, cells, others);
    if missing.is_empty() {
        return;
    }
    let (mut merged, mut all) = (SpanBuilder::default(), Vec::with_capacity(cells.len() + missing.len()));
    let mut missing = missing.into_iter().peekable();
    let mut push = |(index, cell)| {
        merged.push(index);
        all.push(cell);
    };
    for (index, cell) in indexes(spans).zip(cells.iter().copied()) {
        while let Some(before) = missing.next_if(|(other, _)| *other < index) {
            push(before);
        }
        push((index, cell));
    }
    missing.for_each(push);
    (*spans, *cells) = (merged.finish(), all);
}

/// Adds to the buckets that are there and returns the others.
fn add_to_existing<C: Cell>(spans: &[Span], cells: &mut [C], others: impl Iterator<Item = (i32, C)>) -> Vec<(i32, C)> {
    let mut missing = Vec::new();
    // The span that the walk has come to, the index of its first bucket, and that bucket's place among the cells.
    let (mut rest, mut first, mut place) = (spans, spans.first().map_or(0, |s| i64::from(s.offset)), 0);
    for (index, cell) in others {
        let wanted = i64::from(index);
        while let [span, behind @ ..] = rest
            && wanted >= first + i64::from(span.length)
        {
            first += i64::from(span.length) + behind.first().map_or(0, |next| i64::from(next.offset));
            place += span.length as usize;
            rest = behind;
        }
        let found =
            if rest.is_empty() || wanted < first { None } else { cells.get_mut(place + (wanted - first) as usize) };
        match found {
            Some(existing) => existing.add(cell),
            None => missing.push((index, cell)),
        }
    }
    missing
}

/// Buckets at a resolution that is `halvings` steps coarser; those that fall into one are added up in order.
pub(super) fn coarser<C: Cell>(
    buckets: impl Iterator<Item = (i32, C)>,
    halvings: u32,
) -> impl Iterator<Item = (i32, C)> {
    let mut buckets = buckets.map(move |(index, cell)| (coarser_index(index, halvings), cell)).peekable();
    std::iter::from_fn(move || {
        let (index, mut sum) = buckets.next()?;
        while let Some((_, cell)) = buckets.next_if(|(next, _)| *next == index) {
            sum.add(cell);
        }
        Some((index, sum))
    })
}

/// The bucket of the coarser resolution that a bucket lies in. Bucket 0 ends at 1, so rounding is up.
fn coarser_index(index: i32, halvings: u32) -> i32 {
    (index.wrapping_sub(1) >> halvings.min(31)).wrapping_add(1)
}

/// How many times resolution is halved from one schema to another.
pub(super) fn halvings(from: i32, to: i32) -> u32 {
    from.saturating_sub(to).max(0).cast_unsigned()
}

/// [`coarser`] in place, for any kind of count.
pub(super) fn coarsen<C: Copy>(spans: &mut Vec<Span>, cells: &mut Vec<C>, halvings: u32, add: fn(&mut C, C)) {
    let (mut merged, mut filled, mut last) = (SpanBuilder::default(), 0, None);
    for (index, read) in indexes(spans).zip(0..cells.len()) {
        let (index, cell) = (coarser_index(index, halvings), cells[read]);
        if last == Some(index) {
            add(&mut cells[filled - 1], cell);
            continue;
        }
        // Cells are never written faster than they are read.
        cells[filled] = cell;
        filled += 1;
        merged.push(index);
        last = Some(index);
    }
    cells.truncate(filled);
    *spans = merged.finish();
}

/// Drops empty buckets and joins spans, except that gaps of at most `max_gap` buckets between two that hold something
/// are filled with empty ones.
pub(super) fn compact<C: Copy + Default>(
    spans: &mut Vec<Span>,
    cells: &mut Vec<C>,
    max_gap: u32,
    is_empty: fn(C) -> bool,
) {
    let apart = |span: &Span| span.length > 0 && i64::from(span.offset) > i64::from(max_gap);
    let is_compact = spans.first().is_none_or(|span| span.length > 0)
        && spans.iter().skip(1).all(apart)
        && !cells.iter().any(|cell| is_empty(*cell));
    if is_compact {
        return;
    }
    let (mut joined, mut kept) = (SpanBuilder::default(), Vec::with_capacity(cells.len()));
    for (index, cell) in indexes(spans).zip(cells.iter().copied()).filter(|(_, cell)| !is_empty(*cell)) {
        let gap = index.wrapping_sub(joined.end);
        if !kept.is_empty() && gap > 0 && gap.cast_unsigned() <= max_gap {
            (joined.end..index).for_each(|empty| {
                joined.push(empty);
                kept.push(C::default());
            });
        }
        joined.push(index);
        kept.push(cell);
    }
    (*spans, *cells) = (joined.finish(), kept);
}
