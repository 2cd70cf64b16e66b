//! One series' samples, and the pages that series lie in.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::closed::{Closed, Held, Part, Seen};
use super::histogram_chunk::{OpenHistogram, with_stale};
use super::open::{ChunkRule, Open};
use super::split_ref;
use crate::model::{Sample, TimestampMs, Value, is_stale};
use crate::storage::chunk::Appended;
use crate::storage::chunk::cut::GrowingFloats;
use crate::storage::chunk::xor::XorState;
use crate::storage::chunk::xor2::Xor2State;
use crate::storage::{Columns, Encoding, HistogramRef, SeriesRef, TimeRange, chunk};

/// Series of one page, and so of one lock.
pub(crate) const PAGE_SERIES: usize = 256;
/// Up to this size a chunk's buffer doubles, then it grows in steps.
const DOUBLING_BYTES: usize = 64;
const STEP_BYTES: usize = 32;

/// What becomes of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is newer than what is there.
    Keep,
    /// It is there already, to the bit.
    Same,
    OutOfOrder,
    Duplicate,
    TooOld,
}

/// The samples of the series in a slot.
///
/// At most one chunk is open: one of plain floats as long as `state` has samples, else what `rest` has, of histograms or of
/// floats with start timestamps. So all that a series of plain floats pays for the others is a look at a count that it
/// looks at anyway.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// The series' reference in the log; 0 while the slot is free.
    pub(crate) wal_ref: u64,
    /// The open chunk: its encoder if it holds plain floats, its bytes, its first time and when to close it.
    state: XorState,
    bytes: Vec<u8>,
    start: i64,
    next_at: i64,
    /// What most series of a young head do not have.
    rest: Option<Box<Rest>>,
}

/// Hundreds of thousands of series of floats pay for each byte.
const _: () = assert!(size_of::<Series>() <= 88);

#[derive(Debug, Default)]
struct Rest {
    /// Oldest first.
    closed: Vec<Closed>,
    /// The open chunk's encoder if it holds anything but plain floats.
    open: Option<Box<Open>>,
}

impl Series {
    pub(crate) fn new(wal_ref: u64) -> Series {
        Series { wal_ref, ..Series::default() }
    }

    /// The open chunk unless it holds plain floats.
    fn open(&self) -> Option<&Open> {
        self.rest.as_ref()?.open.as_deref()
    }

    pub(super) fn closed(&self) -> &[Closed] {
        self.rest.as_ref().map_or(&[], |rest| &rest.closed)
    }

    pub(super) fn closed_mut(&mut self) -> &mut [Closed] {
        self.rest.as_mut().map_or(&mut [], |rest| &mut rest.closed)
    }

    /// Adds a chunk that is already closed and comes behind all others.
    pub(super) fn push_closed(&mut self, chunk: Closed) {
        self.close();
        self.rest.get_or_insert_default().closed.push(chunk);
    }

    fn has_open(&self) -> bool {
        self.state.count() > 0 || self.open().is_some()
    }

    /// The newest sample's time.
    pub(crate) fn last_t(&self) -> Option<i64> {
        if self.state.count() > 0 { Some(self.state.last().0) } else { self.last_t_of_others() }
    }

    #[inline(never)]
    fn last_t_of_others(&self) -> Option<i64> {
        let closed = || self.closed().last().map(|c| c.max);
        self.open().map(Open::last_t).or_else(closed)
    }

    /// The oldest sample's time.
    pub(crate) fn first_t(&self) -> Option<i64> {
        self.closed().first().map(|c| c.min).or_else(|| self.has_open().then_some(self.start))
    }

    /// Chunks in memory.
    pub(crate) fn chunk_count(&self) -> usize {
        usize::from(self.has_open()) + self.closed().len()
    }

    /// What would become of a float now.
    #[inline]
    pub(crate) fn judge(&self, t: i64, v: f64, min_valid: i64) -> Verdict {
        if t < min_valid {
            return Verdict::TooOld;
        }
        if self.state.count() == 0 {
            return self.judge_after_others(t, v);
        }
        let (last_t, last_v) = self.state.last();
        match t.cmp(&last_t) {
            std::cmp::Ordering::Greater => Verdict::Keep,
            std::cmp::Ordering::Less => Verdict::OutOfOrder,
            std::cmp::Ordering::Equal if v.to_bits() == last_v.to_bits() => Verdict::Same,
            std::cmp::Ordering::Equal => Verdict::Duplicate,
        }
    }

    #[inline(never)]
    fn judge_after_others(&self, t: i64, v: f64) -> Verdict {
        self.judge_by(t, |open| match open {
            Open::Floats(state) => v.to_bits() == state.last().1.to_bits(),
            Open::Histogram(open) => is_stale(v) && open.is_stale(),
        })
    }

    /// What would become of a histogram now.
    pub(crate) fn judge_histogram(&self, t: i64, sample: HistogramRef<'_>, min_valid: i64) -> Verdict {
        if t < min_valid {
            return Verdict::TooOld;
        }
        self.judge_by(t, |open| matches!(open, Open::Histogram(open) if open.ends_with(sample)))
    }

    /// `is_same`: whether the newest sample of an open chunk of other than plain floats says the same.
    fn judge_by(&self, t: i64, is_same: impl FnOnce(&Open) -> bool) -> Verdict {
        let Some(last_t) = self.last_t() else { return Verdict::Keep };
        match t.cmp(&last_t) {
            std::cmp::Ordering::Greater => Verdict::Keep,
            std::cmp::Ordering::Less => Verdict::OutOfOrder,
            // The sample lies in a closed chunk and is not looked up; like the reference we take it for the same.
            std::cmp::Ordering::Equal if !self.has_open() => Verdict::Same,
            std::cmp::Ordering::Equal if self.open().is_some_and(is_same) => Verdict::Same,
            std::cmp::Ordering::Equal => Verdict::Duplicate,
        }
    }

    /// Takes a float that was judged [`Verdict::Keep`], counted since `start` (0 if that is not known); says whether it opened
    /// a chunk. The marker that a series has ended becomes one of the kind of its newest sample.
    #[inline]
    pub(crate) fn push(&mut self, t: i64, start: i64, v: f64, rule: ChunkRule) -> bool {
        let count = self.state.count();
        if count == 0 || start != 0 {
            return self.push_beside_plain(t, start, v, rule);
        }
        if self.is_due(t, count, self.state.last().0) {
            self.open_floats(t, start, v, rule);
            return true;
        }
        self.push_plain(t, v);
        false
    }

    #[inline]
    fn push_plain(&mut self, t: i64, v: f64) {
        make_room(&mut self.bytes, XorState::MAX_SAMPLE_BYTES);
        self.state.append(&mut self.bytes, t, v);
    }

    /// [`push`](Series::push) where the float has a start or the open chunk, if there is one, is none of plain floats.
    #[inline(never)]
    fn push_beside_plain(&mut self, t: i64, start: i64, v: f64, rule: ChunkRule) -> bool {
        if let Some(Open::Floats(state)) = self.open() {
            let (count, last_t) = (state.count(), state.last().0);
            if !self.is_due(t, count, last_t) {
                self.push_with_start(t, start, v);
                return false;
            }
        } else if self.state.count() == 0
            && is_stale(v)
            && let Some(opened) = self.push_stale_histogram(t, start, rule)
        {
            return opened;
        }
        self.open_floats(t, start, v, rule);
        true
    }

    /// Appends to the open chunk of floats with starts.
    fn push_with_start(&mut self, t: i64, start: i64, v: f64) {
        if let Some(Open::Floats(state)) = self.rest.as_mut().and_then(|rest| rest.open.as_deref_mut()) {
            make_room(&mut self.bytes, Xor2State::MAX_SAMPLE_BYTES);
            state.append(&mut self.bytes, t, start, v);
        }
    }

    fn open_floats(&mut self, t: i64, start: i64, v: f64, rule: ChunkRule) {
        self.close();
        (self.start, self.next_at) = (t, rule.range_end(t));
        if start == 0 && !rule.xor2 {
            return self.push_plain(t, v);
        }
        self.rest.get_or_insert_default().open = Some(Box::new(Open::Floats(Xor2State::new())));
        self.push_with_start(t, start, v);
    }

    #[cold]
    fn push_stale_histogram(&mut self, t: i64, start: i64, rule: ChunkRule) -> Option<bool> {
        with_stale(self.newest_encoding()?, |marker| self.push_histogram(t, start, marker, rule))
    }

    /// That of the chunk with the newest sample, unless it is the open one and of plain floats.
    fn newest_encoding(&self) -> Option<Encoding> {
        let closed = || self.closed().last().map(|c| c.held.encoding());
        self.open().map(Open::encoding).or_else(closed)
    }

    /// A float as this series takes it: the marker that a series has ended is one of the kind of its newest sample.
    pub(crate) fn typed(&self, v: f64) -> Value {
        let newest = (is_stale(v) && self.state.count() == 0).then(|| self.newest_encoding()).flatten();
        let marker = newest.and_then(|newest| with_stale(newest, |marker| marker.to_value()));
        marker.unwrap_or(Value::Float(v))
    }

    /// Takes a histogram that was judged [`Verdict::Keep`]; otherwise as [`push`](Series::push).
    pub(crate) fn push_histogram(&mut self, t: i64, start: i64, sample: HistogramRef<'_>, rule: ChunkRule) -> bool {
        let with_starts = start != 0 || rule.histogram_starts;
        if let Some(Open::Histogram(open)) = self.rest.as_mut().and_then(|rest| rest.open.as_deref_mut())
            && open.holds(sample, with_starts)
            && !open.is_due(t, self.start, self.bytes.len(), &mut self.next_at, |t| rule.range_end(t))
        {
            match open.append(&mut self.bytes, (t, start), sample) {
                Ok(Appended::InPlace | Appended::Recoded) => return false,
                Ok(Appended::MustCut(header)) => {
                    let next = open.cut(header);
                    self.open_histogram((t, start), sample, next, rule);
                    return true;
                }
                // Neither the caller's sample nor our own bytes can be wrong; were they, a new chunk loses nothing.
                Err(_) => {}
            }
        }
        let before = match self.open() {
            Some(Open::Histogram(open)) => Some(&**open),
            _ => None,
        };
        let next = OpenHistogram::opened_by(sample, with_starts, before);
        self.open_histogram((t, start), sample, next, rule);
        true
    }

    fn open_histogram(
        &mut self,
        (t, start): (i64, i64),
        sample: HistogramRef<'_>,
        mut next: OpenHistogram,
        rule: ChunkRule,
    ) {
        self.close();
        (self.start, self.next_at) = (t, rule.range_end(t));
        // The first sample of a chunk always fits.
        if next.append(&mut self.bytes, (t, start), sample).is_ok() {
            self.rest.get_or_insert_default().open = Some(Box::new(Open::Histogram(Box::new(next))));
        }
    }

    /// Whether the open chunk of floats, which has so many samples up to `last_t`, must be closed before a sample at `t`.
    #[inline]
    fn is_due(&mut self, t: i64, count: u16, last_t: i64) -> bool {
        let open = GrowingFloats { count, bytes: self.bytes.len(), start: self.start, newest: last_t };
        open.is_due(t, &mut self.next_at)
    }

    fn close(&mut self) {
        let Some((max, encoding)) = self.open_end() else { return };
        let data = Bytes::from(std::mem::take(&mut self.bytes).into_boxed_slice());
        let rest = self.rest.get_or_insert_default();
        let held = Held::Memory { encoding, data: Box::new(data) };
        rest.closed.push(Closed { min: self.start, max, held });
        rest.open = None;
        self.state = XorState::new();
    }

    /// The open chunk's last time and encoding.
    fn open_end(&self) -> Option<(i64, Encoding)> {
        if self.state.count() > 0 {
            return Some((self.state.last().0, Encoding::Xor));
        }
        self.open().map(|open| (open.last_t(), open.encoding()))
    }

    /// Whether the newest sample says that the series has ended, as far as the open chunk tells.
    pub(crate) fn has_ended(&self) -> bool {
        match self.open() {
            _ if self.state.count() > 0 => is_stale(self.state.last().1),
            Some(Open::Floats(state)) => is_stale(state.last().1),
            Some(Open::Histogram(open)) => open.is_stale(),
            None => false,
        }
    }

    /// Drops closed chunks whose samples are all older than `min_t`; returns how many.
    pub(crate) fn drop_before(&mut self, min_t: i64) -> usize {
        let Some(rest) = &mut self.rest else { return 0 };
        let old = rest.closed.partition_point(|c| c.max < min_t);
        rest.closed.drain(..old);
        rest.closed.shrink_to_fit();
        if rest.closed.is_empty() && rest.open.is_none() {
            self.rest = None;
        }
        old
    }

    /// First and last time of each chunk, oldest first.
    pub(super) fn spans(&self) -> impl Iterator<Item = (i64, i64)> {
        let open = self.open_end().map(|(last, _)| (self.start, last));
        self.closed().iter().map(|c| (c.min, c.max)).chain(open)
    }

    /// Whether a chunk overlaps the range.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.spans().any(|(min, max)| range.overlaps(TimestampMs(min), TimestampMs(max)))
    }

    /// Forgets all samples; returns how many chunks they were in.
    pub(crate) fn clear(&mut self) -> usize {
        let chunks = self.chunk_count();
        *self = Series::new(self.wal_ref);
        chunks
    }

    /// How far the series has come.
    pub(crate) fn seen(&self) -> Option<Seen> {
        let open_samples = self.state.count().max(self.open().map_or(0, Open::count));
        Some(Seen { last_t: self.last_t()?, open_samples })
    }

    /// The chunks that overlap the range and are not all behind `seen`, oldest first. Closed ones are shared, the open one
    /// is copied.
    pub(super) fn parts(&self, range: TimeRange, seen: Seen, out: &mut Vec<Part>) {
        let wanted = |min: i64, max: i64| min <= seen.last_t && range.overlaps(TimestampMs(min), TimestampMs(max));
        out.extend(self.closed().iter().filter(|c| wanted(c.min, c.max)).map(|c| Part::closed(c, seen)));
        if let Some((last, encoding)) = self.open_end().filter(|(last, _)| wanted(self.start, *last)) {
            out.push(Part::open(self.start, last, encoding, &self.bytes, seen));
        }
    }

    /// The newest sample in the range, as far as the open chunk tells; decodes only if newer samples lie behind it.
    pub(super) fn latest(&self, range: TimeRange, columns: &mut Columns) -> Latest {
        if self.state.count() == 0 {
            return self.latest_of_others(range);
        }
        let (t, v) = self.state.last();
        if t < range.min.0 {
            return Latest::Nothing;
        }
        if t <= range.max.0 {
            return if is_stale(v) { Latest::Nothing } else { Latest::Float(Sample { t: TimestampMs(t), v }) };
        }
        if self.start <= range.max.0 {
            let newest = latest_in(&self.bytes, range, columns).filter(|s| !is_stale(s.v));
            return newest.map_or(Latest::Nothing, Latest::Float);
        }
        if self.closed().is_empty() { Latest::Nothing } else { Latest::Elsewhere }
    }

    /// [`latest`](Series::latest) where the open chunk, if there is one, is none of plain floats.
    #[inline(never)]
    fn latest_of_others(&self, range: TimeRange) -> Latest {
        match self.open().map(Open::last_t) {
            Some(t) if t < range.min.0 => Latest::Nothing,
            Some(t) if t <= range.max.0 && self.has_ended() => Latest::Nothing,
            Some(t) if t <= range.max.0 => Latest::Later,
            None if self.closed().is_empty() => Latest::Nothing,
            _ => Latest::Elsewhere,
        }
    }

    /// The newest histogram, if the open chunk is of histograms and knows that it has no start.
    pub(super) fn newest_histogram(&self) -> Option<(i64, Value)> {
        match self.open()? {
            Open::Histogram(open) if !open.encoding().has_starts() => Some((open.last_t(), open.last_value())),
            _ => None,
        }
    }
}

/// What a look at a series' open chunk tells of its newest sample in a range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Latest {
    /// A float without a start, no staleness marker.
    Float(Sample),
    /// The newest sample of the open chunk, one of another kind; no staleness marker.
    Later,
    /// There is none, or it is a staleness marker.
    Nothing,
    /// It lies in a closed chunk, or before the newest one of another kind.
    Elsewhere,
}

/// We wrote these bytes ourselves, so they decode; if not, what was decoded before the mistake counts.
fn latest_in(data: &[u8], range: TimeRange, columns: &mut Columns) -> Option<Sample> {
    columns.clear();
    let _ = chunk::xor::decode_into(data, columns);
    let end = columns.times.partition_point(|t| *t <= range.max.0);
    let at = end.checked_sub(1)?;
    let sample = Sample { t: TimestampMs(columns.times[at]), v: columns.values[at] };
    range.contains(sample.t).then_some(sample)
}

/// Lets the bytes of a chunk grow by a sample: doubling while they are few, then in steps.
#[inline]
fn make_room(bytes: &mut Vec<u8>, sample: usize) {
    if bytes.len() >= DOUBLING_BYTES && bytes.capacity() - bytes.len() < sample {
        bytes.reserve_exact(STEP_BYTES);
    }
}

/// Series that share a lock, which is taken once for a run of neighbours.
#[derive(Debug)]
pub(crate) struct Page(Mutex<Box<[Series]>>);

impl Page {
    pub(super) fn new() -> Page {
        Page(Mutex::new((0..PAGE_SERIES).map(|_| Series::default()).collect()))
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, Box<[Series]>> {
        self.0.lock()
    }
}

/// Goes over series and holds the lock of one page at a time: the old one is given back before the next is taken.
pub(crate) struct PageCursor<'a> {
    pages: &'a [Arc<Page>],
    locked: Option<(usize, MutexGuard<'a, Box<[Series]>>)>,
}

impl<'a> PageCursor<'a> {
    pub(crate) fn new(pages: &'a [Arc<Page>]) -> PageCursor<'a> {
        PageCursor { pages, locked: None }
    }

    /// The series in a slot; `None` if there has never been such a slot.
    #[inline]
    pub(crate) fn series(&mut self, slot: u32) -> Option<&mut Series> {
        let (number, at) = locate(slot);
        if self.locked.as_ref().is_none_or(|(n, _)| *n != number) {
            self.locked = None;
            self.locked = Some((number, self.pages.get(number)?.lock()));
        }
        self.locked.as_mut().map(|(_, page)| &mut page[at])
    }

    /// The series of a reference with its slot, if the slot is still its own.
    #[inline]
    pub(crate) fn known(&mut self, series: SeriesRef) -> Option<(u32, &mut Series)> {
        let (slot, low_ref) = split_ref(series);
        let found = self.series(slot).filter(|s| s.wal_ref as u32 == low_ref && low_ref != 0)?;
        Some((slot, found))
    }
}

/// The page of a slot and the place in it.
#[inline]
pub(crate) fn locate(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE_SERIES, slot as usize % PAGE_SERIES)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::MemDisk;
    use crate::model::{BucketLayout, Histogram, STALE_NAN, Span};
    use crate::storage::Chunk;
    use crate::tsdb::head_chunks::{HeadChunks, Options};

    const RANGE: i64 = 7_200_000;
    const RULE: ChunkRule = ChunkRule { range: RANGE, xor2: false, histogram_starts: false };

    fn fill(start: i64, step: i64, n: i64) -> Vec<Chunk> {
        let mut series = Series::default();
        for i in 0..n {
            let t = start + i * step;
            assert_eq!(series.judge(t, i as f64, i64::MIN), Verdict::Keep);
            series.push(t, 0, i as f64, RULE);
        }
        chunks_of(&series)
    }

    fn chunks_of(series: &Series) -> Vec<Chunk> {
        let disk = Arc::new(MemDisk::new());
        let (files, ..) = HeadChunks::open(disk, Path::new("/chunks_head"), Options::default()).unwrap();
        let mut parts = Vec::new();
        series.parts(TimeRange::ALL, series.seen().unwrap(), &mut parts);
        parts.into_iter().map(|part| part.load(&files.pin()).unwrap().unwrap()).collect()
    }

    #[test]
    fn a_steady_rate_fills_its_range_with_chunks_of_120() {
        let counts: Vec<_> =
            fill(RANGE * 100, 15_000, 480 * 2).iter().map(|c| u16::from_be_bytes([c.data[0], c.data[1]])).collect();
        assert_eq!(counts, [120; 8]);
    }

    #[test]
    fn no_chunk_crosses_a_range_and_none_grows_beyond_bounds() {
        for (start, step) in [(RANGE * 50 + 17, 10_000), (RANGE * 50 - 1, 1_000), (-RANGE / 2, 60_000), (3, 1)] {
            for chunk in fill(start, step, 3000) {
                assert!(chunk.max.0 < RULE.range_end(chunk.min.0));
                assert!(u16::from_be_bytes([chunk.data[0], chunk.data[1]]) <= 240);
                assert!(chunk.data.len() <= 1024);
            }
        }
    }

    #[test]
    fn the_newest_sample_before_an_instant_is_found_in_the_open_chunk_or_told_to_be_elsewhere() {
        let mut series = Series::default();
        for i in 0..600i64 {
            series.push(i * 15_000, 0, i as f64, RULE);
        }
        let open_start = chunks_of(&series).last().unwrap().min.0;
        assert!(open_start > 15_000 && open_start < 599 * 15_000);
        let mut columns = Columns::default();
        let mut latest =
            |min, max| series.latest(TimeRange { min: TimestampMs(min), max: TimestampMs(max) }, &mut columns);
        for i in 0..600 {
            let t = i * 15_000;
            for max in [t, t + 14_999] {
                let expected = match t >= open_start {
                    true => Latest::Float(Sample { t: TimestampMs(t), v: i as f64 }),
                    false => Latest::Elsewhere,
                };
                assert_eq!(latest(0, max), expected);
            }
            if t >= open_start {
                assert_eq!(latest(t + 1, t + 14_999), Latest::Nothing);
            }
        }
    }

    fn histogram(count: u64) -> Histogram {
        let positive_spans = vec![Span { offset: 0, length: 2 }];
        Histogram {
            layout: BucketLayout { schema: 1, positive_spans, ..BucketLayout::default() },
            count,
            sum: count as f64,
            positive_buckets: vec![count.cast_signed() - 1, 2 - count.cast_signed()],
            ..Histogram::default()
        }
    }

    fn kinds(chunks: &[Chunk]) -> Vec<(Encoding, u16)> {
        chunks.iter().map(|c| (c.encoding, u16::from_be_bytes([c.data[0], c.data[1]]))).collect()
    }

    #[test]
    fn a_change_of_kind_opens_a_chunk_and_a_marker_takes_the_kind_of_what_it_ends() {
        use crate::storage::Encoding::{FloatHistogram as F, Histogram as H, Xor};
        let float = crate::model::FloatHistogram { count: 1.0, ..Default::default() };
        let mut series = Series::default();
        assert!(series.push(1, 0, 1.0, RULE));
        assert!(series.push_histogram(2, 0, HistogramRef::Integer(&histogram(5)), RULE));
        assert!(!series.push_histogram(3, 0, HistogramRef::Integer(&histogram(6)), RULE));
        assert!(!series.push(4, 0, STALE_NAN, RULE));
        assert!(series.push_histogram(5, 0, HistogramRef::Float(&float), RULE));
        assert!(!series.push(6, 0, STALE_NAN, RULE));
        assert!(series.push(7, 0, 1.0, RULE));
        assert!(!series.push(8, 0, STALE_NAN, RULE));
        assert_eq!(kinds(&chunks_of(&series)), [(Xor, 1), (H, 3), (F, 2), (Xor, 2)]);
        assert_eq!((series.first_t(), series.last_t(), series.chunk_count()), (Some(1), Some(8), 4));
    }

    #[test]
    fn the_first_sample_with_a_start_opens_a_chunk_that_has_room_for_it_and_those_without_follow() {
        use crate::storage::Encoding::{Histogram as H, HistogramStarts as HS, Xor, Xor2};
        let float = |series: &mut Series, t, start| series.push(t, start, 1.5, RULE);
        let mut series = Series::default();
        let opened = [(1, 0), (2, 0), (3, 1), (4, 0), (5, 1)].map(|(t, start)| float(&mut series, t, start));
        assert_eq!(opened, [true, false, true, false, false]);
        assert_eq!((series.judge(5, 1.5, 0), series.judge(5, 2.5, 0)), (Verdict::Same, Verdict::Duplicate));
        let h = histogram(5);
        let opened =
            [(6, 0), (7, 2), (8, 0)].map(|(t, start)| series.push_histogram(t, start, HistogramRef::Integer(&h), RULE));
        assert_eq!(opened, [true, true, false]);
        assert!(!series.push(9, 3, STALE_NAN, RULE), "a marker of the histograms' kind");
        assert!(float(&mut series, 10, 0));
        let chunks = chunks_of(&series);
        assert_eq!(chunks.iter().map(|c| c.encoding).collect::<Vec<_>>(), [Xor, Xor2, H, HS, Xor]);
        let mut values = Vec::new();
        chunks.iter().for_each(|c| chunk::decode_values(c, &mut values).unwrap());
        let keys: Vec<_> = values.iter().map(|v| (v.t.0, v.start.0)).collect();
        let expected = [(1, 0), (2, 0), (3, 1), (4, 0), (5, 1), (6, 0), (7, 2), (8, 0), (9, 3), (10, 0)];
        assert_eq!(keys, expected);
        assert!(values[8].value.is_stale());
    }

    #[test]
    fn chunks_are_opened_as_the_rule_says_and_floats_go_on_as_they_were_opened() {
        use crate::storage::Encoding::{Histogram as H, HistogramStarts as HS, Xor, Xor2};
        let newer = ChunkRule { xor2: true, histogram_starts: true, ..RULE };
        let h = histogram(5);
        let mut series = Series::default();
        for (t, rule) in [(1, RULE), (2, newer), (RANGE, newer), (RANGE + 1, RULE), (2 * RANGE, RULE)] {
            series.push(t, 0, 1.0, rule);
        }
        for (t, rule) in [(1, RULE), (2, newer), (3, RULE)] {
            series.push_histogram(2 * RANGE + t, 0, HistogramRef::Integer(&h), rule);
        }
        assert_eq!(
            chunks_of(&series).iter().map(|c| (c.encoding, c.sample_count())).collect::<Vec<_>>(),
            [(Xor, 2), (Xor2, 2), (Xor, 1), (H, 1), (HS, 2)]
        );
    }

    #[test]
    fn a_histogram_is_the_same_known_contradicted_or_late() {
        let (h, other) = (histogram(5), histogram(6));
        let mut series = Series::default();
        series.push_histogram(10, 0, HistogramRef::Integer(&h), RULE);
        let judge = |t, h| series.judge_histogram(t, HistogramRef::Integer(h), 0);
        assert_eq!(judge(11, &h), Verdict::Keep);
        assert_eq!(judge(10, &h), Verdict::Same);
        assert_eq!(judge(10, &other), Verdict::Duplicate);
        assert_eq!(judge(9, &h), Verdict::OutOfOrder);
        assert_eq!(judge(-1, &h), Verdict::TooOld);
        assert_eq!(series.judge(10, 5.0, 0), Verdict::Duplicate);
        assert_eq!(series.judge(11, 5.0, 0), Verdict::Keep);
        // More buckets make the chunk be written anew; what came before is still known.
        let mut wider = histogram(7);
        wider.layout.positive_spans[0].length = 3;
        wider.positive_buckets.push(-1);
        assert!(!series.push_histogram(12, 0, HistogramRef::Integer(&wider), RULE));
        assert_eq!(series.judge_histogram(12, HistogramRef::Integer(&wider), 0), Verdict::Same);
        assert!(!series.push_histogram(13, 0, HistogramRef::Integer(&histogram(9)), RULE));
        assert_eq!(series.judge_histogram(13, HistogramRef::Integer(&histogram(9)), 0), Verdict::Same);
    }

    #[test]
    fn whoever_looks_sees_a_series_as_it_was_whatever_came_later() {
        for step in [1_000, 15_000, 400_000] {
            let (mut series, mut looks, mut starts) = (Series::default(), Vec::new(), Vec::new());
            for i in 0..500i64 {
                let t = RANGE * 100 + i * step;
                // The starts begin within a chunk, too.
                let start = if i / 40 % 2 == 0 { 0 } else { t - i % 3 };
                match i / 60 % 3 {
                    0 => series.push(t, start, i as f64, RULE),
                    1 => {
                        let h = histogram(i.cast_unsigned() + 3);
                        series.push_histogram(t, start, HistogramRef::Integer(&h), RULE)
                    }
                    // Gains a bucket now and then.
                    _ => {
                        let mut h = histogram(i.cast_unsigned() + 3);
                        h.layout.positive_spans[0].length += (i as u32 % 60) / 7;
                        h.positive_buckets.resize(h.layout.positive_spans[0].length as usize, 0);
                        h.count = h.positive_buckets.len() as u64 + h.count - 2;
                        series.push_histogram(t, start, HistogramRef::Integer(&h), RULE)
                    }
                };
                starts.push(start);
                looks.push((i + 1, series.seen().unwrap()));
            }
            let disk = Arc::new(MemDisk::new());
            let (files, ..) = HeadChunks::open(disk, Path::new("/chunks_head"), Options::default()).unwrap();
            for (n, seen) in looks {
                let mut parts = Vec::new();
                series.parts(TimeRange::ALL, seen, &mut parts);
                let mut values = Vec::new();
                for part in parts {
                    if let Some(chunk) = part.load(&files.pin()).unwrap() {
                        crate::storage::chunk::decode_values(&chunk, &mut values).unwrap();
                        assert_eq!(values.last().unwrap().t, chunk.max);
                    }
                }
                let times: Vec<i64> = values.iter().map(|v| (v.t.0 - RANGE * 100) / step).collect();
                assert_eq!(times, (0..n).collect::<Vec<_>>());
                assert!(values.iter().map(|v| v.start.0).eq(starts[..n as usize].iter().copied()));
            }
        }
    }
}
