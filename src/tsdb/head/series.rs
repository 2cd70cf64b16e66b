//! One series' samples, and the pages that series lie in.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::closed::{Closed, Held, Part, Seen};
use super::histogram_chunk::{OpenHistogram, with_stale};
use super::split_ref;
use crate::model::{Sample, TimestampMs, Value, is_stale};
use crate::storage::chunk::Appended;
use crate::storage::chunk::xor::XorState;
use crate::storage::{Columns, Encoding, HistogramRef, SeriesRef, TimeRange, chunk};

/// Series of one page, and so of one lock.
pub(crate) const PAGE_SERIES: usize = 256;
/// What a chunk is meant to hold; as in the reference.
const TARGET_SAMPLES: u16 = 120;
/// A chunk larger than this is closed before the next sample; as in the reference (1 KiB less one sample).
const MAX_CHUNK_BYTES: usize = 1024 - 19;
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
/// At most one chunk is open: one of floats as long as `state` has samples, else one of histograms if `rest` has it. So
/// all that a series of floats pays for histograms is a look at a count that it looks at anyway.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// The series' reference in the log; 0 while the slot is free.
    pub(crate) wal_ref: u64,
    /// The open chunk: its encoder if it holds floats, its bytes, its first time and when to close it.
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
    /// The open chunk's encoder if it holds histograms.
    histogram: Option<Box<OpenHistogram>>,
}

impl Series {
    pub(crate) fn new(wal_ref: u64) -> Series {
        Series { wal_ref, ..Series::default() }
    }

    fn histogram(&self) -> Option<&OpenHistogram> {
        self.rest.as_ref()?.histogram.as_deref()
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
        self.state.count() > 0 || self.histogram().is_some()
    }

    /// The newest sample's time.
    pub(crate) fn last_t(&self) -> Option<i64> {
        if self.state.count() > 0 { Some(self.state.last().0) } else { self.last_t_of_no_floats() }
    }

    #[cold]
    fn last_t_of_no_floats(&self) -> Option<i64> {
        let closed = || self.closed().last().map(|c| c.max);
        self.histogram().map(OpenHistogram::last_t).or_else(closed)
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
            return self.judge_after_no_floats(t, v);
        }
        let (last_t, last_v) = self.state.last();
        match t.cmp(&last_t) {
            std::cmp::Ordering::Greater => Verdict::Keep,
            std::cmp::Ordering::Less => Verdict::OutOfOrder,
            std::cmp::Ordering::Equal if v.to_bits() == last_v.to_bits() => Verdict::Same,
            std::cmp::Ordering::Equal => Verdict::Duplicate,
        }
    }

    #[cold]
    fn judge_after_no_floats(&self, t: i64, v: f64) -> Verdict {
        self.judge_by(t, |histogram| is_stale(v) && histogram.is_stale())
    }

    /// What would become of a histogram now.
    pub(crate) fn judge_histogram(&self, t: i64, sample: HistogramRef<'_>, min_valid: i64) -> Verdict {
        if t < min_valid { Verdict::TooOld } else { self.judge_by(t, |histogram| histogram.ends_with(sample)) }
    }

    fn judge_by(&self, t: i64, is_same: impl FnOnce(&OpenHistogram) -> bool) -> Verdict {
        let Some(last_t) = self.last_t() else { return Verdict::Keep };
        match t.cmp(&last_t) {
            std::cmp::Ordering::Greater => Verdict::Keep,
            std::cmp::Ordering::Less => Verdict::OutOfOrder,
            // The sample lies in a closed chunk and is not looked up; like the reference we take it for the same.
            std::cmp::Ordering::Equal if !self.has_open() => Verdict::Same,
            std::cmp::Ordering::Equal if self.histogram().is_some_and(is_same) => Verdict::Same,
            std::cmp::Ordering::Equal => Verdict::Duplicate,
        }
    }

    /// Takes a float that was judged [`Verdict::Keep`]; says whether it opened a chunk. The marker that a series has ended
    /// becomes one of the kind of its newest sample.
    #[inline]
    pub(crate) fn push(&mut self, t: i64, v: f64, chunk_range: i64) -> bool {
        let opens = self.state.count() == 0 || self.is_due(t);
        if opens {
            if self.state.count() == 0
                && is_stale(v)
                && let Some(opened) = self.push_stale_histogram(t, chunk_range)
            {
                return opened;
            }
            self.close();
            self.start = t;
            self.next_at = range_end(t, chunk_range);
        }
        let spare = self.bytes.capacity() - self.bytes.len();
        if self.bytes.len() >= DOUBLING_BYTES && spare < XorState::MAX_SAMPLE_BYTES {
            self.bytes.reserve_exact(STEP_BYTES);
        }
        self.state.append(&mut self.bytes, t, v);
        opens
    }

    #[cold]
    fn push_stale_histogram(&mut self, t: i64, chunk_range: i64) -> Option<bool> {
        let closed = || self.closed().last().map(|c| c.held.encoding());
        let newest = self.histogram().map(OpenHistogram::encoding).or_else(closed)?;
        with_stale(newest, |marker| self.push_histogram(t, marker, chunk_range))
    }

    /// A float as this series takes it: the marker that a series has ended is one of the kind of its newest sample.
    pub(crate) fn typed(&self, v: f64) -> Value {
        let closed = || self.closed().last().map(|c| c.held.encoding());
        let newest = || self.histogram().map(OpenHistogram::encoding).or_else(closed);
        let is_marker = is_stale(v) && self.state.count() == 0;
        let marker = is_marker.then(newest).flatten().and_then(|newest| with_stale(newest, |marker| marker.to_value()));
        marker.unwrap_or(Value::Float(v))
    }

    /// Takes a histogram that was judged [`Verdict::Keep`]; says whether it opened a chunk.
    pub(crate) fn push_histogram(&mut self, t: i64, sample: HistogramRef<'_>, chunk_range: i64) -> bool {
        let range_end = |t| range_end(t, chunk_range);
        let rest = self.rest.get_or_insert_default();
        let mut before = rest.histogram.take().filter(|_| self.state.count() == 0);
        if let Some(open) = before.as_mut().filter(|open| open.holds(sample))
            && !open.is_due(t, self.start, self.bytes.len(), &mut self.next_at, range_end)
        {
            match open.append(&mut self.bytes, t, sample) {
                Ok(Appended::InPlace | Appended::Recoded) => {
                    rest.histogram = before;
                    return false;
                }
                Ok(Appended::MustCut(header)) => {
                    let next = open.cut(header);
                    rest.histogram = before;
                    self.open_histogram(t, sample, next, range_end(t));
                    return true;
                }
                // Neither the caller's sample nor our own bytes can be wrong; were they, a new chunk loses nothing.
                Err(_) => {}
            }
        }
        let next = OpenHistogram::opened_by(sample, before.as_deref());
        rest.histogram = before;
        self.open_histogram(t, sample, next, range_end(t));
        true
    }

    fn open_histogram(&mut self, t: i64, sample: HistogramRef<'_>, mut next: OpenHistogram, next_at: i64) {
        self.close();
        (self.start, self.next_at) = (t, next_at);
        // The first sample of a chunk always fits.
        if next.append(&mut self.bytes, t, sample).is_ok() {
            self.rest.get_or_insert_default().histogram = Some(Box::new(next));
        }
    }

    /// Whether the open chunk must be closed before a sample at `t`.
    #[inline]
    fn is_due(&mut self, t: i64) -> bool {
        let count = self.state.count();
        if count == TARGET_SAMPLES / 4 {
            // A quarter is there: spread what is left of the range evenly over chunks.
            self.next_at = even_end(self.start, self.state.last().0, self.next_at, 4.0);
        }
        // Twice the target means that the estimate was made at a slower rate.
        t >= self.next_at || count >= TARGET_SAMPLES * 2 || self.bytes.len() > MAX_CHUNK_BYTES
    }

    fn close(&mut self) {
        let Some((max, encoding)) = self.open_end() else { return };
        let data = Bytes::from(std::mem::take(&mut self.bytes).into_boxed_slice());
        let rest = self.rest.get_or_insert_default();
        let held = Held::Memory { encoding, data: Box::new(data) };
        rest.closed.push(Closed { min: self.start, max, held });
        rest.histogram = None;
        self.state = XorState::new();
    }

    /// The open chunk's last time and encoding.
    fn open_end(&self) -> Option<(i64, Encoding)> {
        if self.state.count() > 0 {
            return Some((self.state.last().0, Encoding::Xor));
        }
        self.histogram().map(|h| (h.last_t(), h.encoding()))
    }

    /// Drops closed chunks whose samples are all older than `min_t`; returns how many.
    pub(crate) fn drop_before(&mut self, min_t: i64) -> usize {
        let Some(rest) = &mut self.rest else { return 0 };
        let old = rest.closed.partition_point(|c| c.max < min_t);
        rest.closed.drain(..old);
        rest.closed.shrink_to_fit();
        if rest.closed.is_empty() && rest.histogram.is_none() {
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
        let open_samples = self.state.count().max(self.histogram().map_or(0, OpenHistogram::count));
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

    /// The newest float in the range, as far as the open chunk tells; decodes only if newer samples lie behind it.
    pub(super) fn latest(&self, range: TimeRange, columns: &mut Columns) -> Latest {
        if self.state.count() == 0 {
            return self.latest_of_no_floats(range);
        }
        let (t, v) = self.state.last();
        if t < range.min.0 {
            return Latest::Nothing;
        }
        if t <= range.max.0 {
            return Latest::Sample(Sample { t: TimestampMs(t), v });
        }
        if self.start <= range.max.0 {
            return latest_in(&self.bytes, range, columns).map_or(Latest::Nothing, Latest::Sample);
        }
        if self.closed().is_empty() { Latest::Nothing } else { Latest::Elsewhere }
    }

    #[cold]
    fn latest_of_no_floats(&self, range: TimeRange) -> Latest {
        match self.histogram() {
            // The newest sample up to the end of the range is in this chunk.
            Some(_) if self.start <= range.max.0 => Latest::Nothing,
            _ if self.closed().is_empty() => Latest::Nothing,
            _ => Latest::Elsewhere,
        }
    }
}

/// What a look at a series' open chunk tells of its newest sample in a range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Latest {
    Sample(Sample),
    /// There is none, or it is a histogram.
    Nothing,
    /// It lies in a closed chunk.
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

/// Where the range that `t` lies in ends.
fn range_end(t: i64, width: i64) -> i64 {
    (t / width).saturating_mul(width).saturating_add(width)
}

/// The end of a chunk that will be `times_as_long` as it is at `now`, such that chunks of equal length reach up to `end`.
pub(super) fn even_end(start: i64, now: i64, end: i64, times_as_long: f64) -> i64 {
    let length = end.wrapping_sub(start) as f64;
    let chunks = (length / (now.wrapping_sub(start).wrapping_add(1) as f64 * times_as_long)).floor();
    if chunks <= 1.0 { end } else { (start as f64 + length / chunks) as i64 }
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

    fn fill(start: i64, step: i64, n: i64) -> Vec<Chunk> {
        let mut series = Series::default();
        for i in 0..n {
            let t = start + i * step;
            assert_eq!(series.judge(t, i as f64, i64::MIN), Verdict::Keep);
            series.push(t, i as f64, RANGE);
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
                assert!(chunk.max.0 < range_end(chunk.min.0, RANGE));
                assert!(u16::from_be_bytes([chunk.data[0], chunk.data[1]]) <= 240);
                assert!(chunk.data.len() <= 1024);
            }
        }
    }

    #[test]
    fn the_newest_sample_before_an_instant_is_found_in_the_open_chunk_or_told_to_be_elsewhere() {
        let mut series = Series::default();
        for i in 0..600i64 {
            series.push(i * 15_000, i as f64, RANGE);
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
                    true => Latest::Sample(Sample { t: TimestampMs(t), v: i as f64 }),
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
        assert!(series.push(1, 1.0, RANGE));
        assert!(series.push_histogram(2, HistogramRef::Integer(&histogram(5)), RANGE));
        assert!(!series.push_histogram(3, HistogramRef::Integer(&histogram(6)), RANGE));
        assert!(!series.push(4, STALE_NAN, RANGE));
        assert!(series.push_histogram(5, HistogramRef::Float(&float), RANGE));
        assert!(!series.push(6, STALE_NAN, RANGE));
        assert!(series.push(7, 1.0, RANGE));
        assert!(!series.push(8, STALE_NAN, RANGE));
        assert_eq!(kinds(&chunks_of(&series)), [(Xor, 1), (H, 3), (F, 2), (Xor, 2)]);
        assert_eq!((series.first_t(), series.last_t(), series.chunk_count()), (Some(1), Some(8), 4));
    }

    #[test]
    fn a_histogram_is_the_same_known_contradicted_or_late() {
        let (h, other) = (histogram(5), histogram(6));
        let mut series = Series::default();
        series.push_histogram(10, HistogramRef::Integer(&h), RANGE);
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
        assert!(!series.push_histogram(12, HistogramRef::Integer(&wider), RANGE));
        assert_eq!(series.judge_histogram(12, HistogramRef::Integer(&wider), 0), Verdict::Same);
        assert!(!series.push_histogram(13, HistogramRef::Integer(&histogram(9)), RANGE));
        assert_eq!(series.judge_histogram(13, HistogramRef::Integer(&histogram(9)), 0), Verdict::Same);
    }

    #[test]
    fn whoever_looks_sees_a_series_as_it_was_whatever_came_later() {
        for step in [1_000, 15_000, 400_000] {
            let (mut series, mut looks) = (Series::default(), Vec::new());
            for i in 0..500i64 {
                let t = RANGE * 100 + i * step;
                match i / 60 % 3 {
                    0 => series.push(t, i as f64, RANGE),
                    1 => series.push_histogram(t, HistogramRef::Integer(&histogram(i.cast_unsigned() + 3)), RANGE),
                    // Gains a bucket now and then.
                    _ => {
                        let mut h = histogram(i.cast_unsigned() + 3);
                        h.layout.positive_spans[0].length += (i as u32 % 60) / 7;
                        h.positive_buckets.resize(h.layout.positive_spans[0].length as usize, 0);
                        h.count = h.positive_buckets.len() as u64 + h.count - 2;
                        series.push_histogram(t, HistogramRef::Integer(&h), RANGE)
                    }
                };
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
            }
        }
    }
}
