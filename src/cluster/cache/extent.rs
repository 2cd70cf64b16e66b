//! What one member has said of one expression at consecutive steps.

use std::sync::Arc;

use crate::model::{Labels, TimestampMs};
use crate::promql::{DelegatedSeries, StepTimes};

/// Bytes that two allocations cost besides their content.
const ALLOCATIONS: usize = 48;

type Float = (TimestampMs, f64);

/// An answer at consecutive steps.
#[derive(Debug)]
pub(super) struct Extent {
    pub steps: StepTimes,
    /// Ascending by labels, each once. Floats ascend by time, and there is at least one.
    series: Vec<(Labels, Box<[Float]>)>,
    /// When the oldest of it was asked for.
    pub since: TimestampMs,
    /// Bytes, in place and on the heap.
    pub bytes: u64,
}

/// A part of an answer.
pub(super) enum Piece<'a> {
    Kept(&'a Extent),
    /// An answer that has just come, at these steps; labels are there once, and floats ascend by time.
    Fresh(StepTimes, &'a [DelegatedSeries]),
}

impl Piece<'_> {
    fn steps(&self) -> StepTimes {
        match self {
            Piece::Kept(extent) => extent.steps,
            Piece::Fresh(steps, _) => *steps,
        }
    }

    pub(super) fn start(&self) -> TimestampMs {
        self.steps().start
    }

    /// Adds the series that have samples from `first` to `last`.
    fn add_to<'p>(&'p self, first: TimestampMs, last: TimestampMs, out: &mut Vec<(&'p Labels, &'p [Float])>) {
        let mut add = |labels: &'p Labels, floats: &'p [Float]| {
            let from = floats.partition_point(|(t, _)| *t < first);
            let to = floats.partition_point(|(t, _)| *t <= last);
            if let Some(floats) = floats.get(from..to).filter(|floats| !floats.is_empty()) {
                out.push((labels, floats));
            }
        };
        match self {
            Piece::Kept(extent) => extent.series.iter().for_each(|(labels, floats)| add(labels, floats)),
            Piece::Fresh(_, series) => series.iter().for_each(|series| add(&series.labels, &series.floats)),
        }
    }
}

/// What pieces have of the time from `first` to `last`, for each series its parts in the pieces' order.
fn parts<'p>(pieces: &'p [Piece<'_>], first: TimestampMs, last: TimestampMs) -> Vec<(&'p Labels, &'p [Float])> {
    let mut parts = Vec::new();
    pieces.iter().for_each(|piece| piece.add_to(first, last, &mut parts));
    parts.sort_by(|a, b| a.0.cmp(b.0));
    parts
}

/// The parts of one series as a whole.
fn whole(parts: &[(&Labels, &[Float])]) -> Option<(Labels, Vec<Float>)> {
    let (labels, _) = parts.first()?;
    let mut floats = Vec::with_capacity(parts.iter().map(|(_, floats)| floats.len()).sum());
    parts.iter().for_each(|(_, part)| floats.extend_from_slice(part));
    Some(((*labels).clone(), floats))
}

/// Bytes that the parts of one series take as a whole.
fn size(parts: &[(&Labels, &[Float])]) -> usize {
    let labels = parts.first().map_or(0, |(labels, _)| labels.as_bytes().len());
    let floats: usize = parts.iter().map(|part| size_of_val(part.1)).sum();
    size_of::<(Labels, Box<[Float]>)>() + labels + floats + ALLOCATIONS
}

/// Pieces that follow each other, as one answer from `first` to `last`.
pub(super) fn joined(pieces: &[Piece<'_>], first: TimestampMs, last: TimestampMs) -> Vec<DelegatedSeries> {
    let parts = parts(pieces, first, last);
    let series = parts.chunk_by(|a, b| a.0 == b.0).filter_map(whole);
    series.map(|(labels, floats)| DelegatedSeries { labels, floats, histograms: Vec::new() }).collect()
}

impl Extent {
    /// Pieces that follow each other, as one, as far as they are from `first` to `last`. `None` if nothing is, or if it has
    /// more than `max_bytes`. `now` is when the fresh ones were asked for.
    pub(super) fn of(
        pieces: &[Piece<'_>],
        (first, last): (TimestampMs, TimestampMs),
        max_bytes: u64,
        now: TimestampMs,
    ) -> Option<Extent> {
        let StepTimes { start, interval, .. } = pieces.first()?.steps();
        let steps = between(interval, start.max(first), pieces.last()?.steps().end().min(last))?;
        let parts = parts(pieces, steps.start, steps.end());
        let of_series = || parts.chunk_by(|a, b| a.0 == b.0);
        let bytes = of_series().map(size).sum::<usize>() + size_of::<Extent>() + ALLOCATIONS;
        if bytes as u64 > max_bytes {
            return None;
        }
        let series = of_series().filter_map(whole).map(|(labels, floats)| (labels, floats.into_boxed_slice()));
        let series: Vec<(Labels, Box<[Float]>)> = series.collect();
        // A member may say what it was not asked for.
        let is_at_steps = |floats: &[Float]| {
            let since = |t: TimestampMs| t.0.saturating_sub(steps.start.0);
            floats.iter().all(|(t, _)| since(*t).checked_rem(interval) == Some(0))
                && floats.is_sorted_by(|a, b| a.0 < b.0)
        };
        if !series.iter().all(|(_, floats)| is_at_steps(floats)) {
            return None;
        }
        let since = |piece: &Piece<'_>| match piece {
            Piece::Kept(extent) => extent.since,
            Piece::Fresh(..) => now,
        };
        Some(Extent { steps, series, since: pieces.iter().map(since).min().unwrap_or(now), bytes: bytes as u64 })
    }

    /// Whether it has steps of these, which have the same interval and phase.
    pub(super) fn overlaps(&self, steps: StepTimes) -> bool {
        self.steps.start <= steps.end() && steps.start <= self.steps.end()
    }
}

/// Steps from `first`, which is one, until `last`.
pub(super) fn between(interval: i64, first: TimestampMs, last: TimestampMs) -> Option<StepTimes> {
    let distance = last.0.checked_sub(first.0).filter(|distance| *distance >= 0)?;
    let count = usize::try_from(distance.checked_div(interval)?).ok()?.checked_add(1)?;
    Some(StepTimes { start: first, interval, count })
}

/// What extents, which ascend and overlap neither each other nor nothing, leave of steps.
pub(super) fn gaps(steps: StepTimes, held: &[Arc<Extent>]) -> Vec<StepTimes> {
    let interval = steps.interval;
    let mut gaps = Vec::new();
    let mut next = steps.start;
    for extent in held {
        gaps.extend(between(interval, next, TimestampMs(extent.steps.start.0.saturating_sub(interval))));
        next = TimestampMs(extent.steps.end().0.saturating_add(interval));
    }
    gaps.extend(between(interval, next, steps.end()));
    gaps
}
