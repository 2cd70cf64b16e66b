//! One series' samples, and the pages that series lie in.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::model::{Sample, TimestampMs};
use crate::storage::chunk::xor::XorState;
use crate::storage::{Chunk, Columns, Encoding, TimeRange, chunk};

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

/// A chunk that gets no more samples.
#[derive(Clone, Debug)]
struct Closed {
    min: i64,
    max: i64,
    data: Bytes,
}

/// The samples of the series in a slot.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// The series' reference in the log; 0 while the slot is free.
    pub(crate) wal_ref: u64,
    /// The open chunk: its encoder, its bytes, its first time and when to close it.
    state: XorState,
    bytes: Vec<u8>,
    start: i64,
    next_at: i64,
    /// Oldest first. Boxed because most of a young head's series have none.
    #[expect(clippy::box_collection, reason = "eight bytes instead of 24 in every series")]
    closed: Option<Box<Vec<Closed>>>,
}

impl Series {
    pub(crate) fn new(wal_ref: u64) -> Series {
        Series { wal_ref, ..Series::default() }
    }

    /// The newest sample. The open chunk always holds it.
    pub(crate) fn last(&self) -> Option<(i64, f64)> {
        (self.state.count() > 0).then(|| self.state.last())
    }

    /// The oldest sample's time.
    pub(crate) fn first_t(&self) -> Option<i64> {
        let oldest = self.closed.as_ref().and_then(|c| c.first()).map_or(self.start, |c| c.min);
        (self.state.count() > 0).then_some(oldest)
    }

    /// Chunks in memory.
    pub(crate) fn chunk_count(&self) -> usize {
        usize::from(self.state.count() > 0) + self.closed.as_ref().map_or(0, |c| c.len())
    }

    /// What would become of a sample now.
    #[inline]
    pub(crate) fn judge(&self, t: i64, v: f64, min_valid: i64) -> Verdict {
        if t < min_valid {
            return Verdict::TooOld;
        }
        if self.state.count() == 0 {
            return Verdict::Keep;
        }
        let (last_t, last_v) = self.state.last();
        match t.cmp(&last_t) {
            std::cmp::Ordering::Greater => Verdict::Keep,
            std::cmp::Ordering::Less => Verdict::OutOfOrder,
            std::cmp::Ordering::Equal if v.to_bits() == last_v.to_bits() => Verdict::Same,
            std::cmp::Ordering::Equal => Verdict::Duplicate,
        }
    }

    /// Takes a sample that was judged [`Verdict::Keep`]; says whether it opened a chunk.
    #[inline]
    pub(crate) fn push(&mut self, t: i64, v: f64, chunk_range: i64) -> bool {
        let opens = self.state.count() == 0 || self.is_due(t);
        if opens {
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

    /// Whether the open chunk must be closed before a sample at `t`.
    #[inline]
    fn is_due(&mut self, t: i64) -> bool {
        let count = self.state.count();
        if count == TARGET_SAMPLES / 4 {
            // A quarter is there: spread what is left of the range evenly over chunks.
            self.next_at = even_end(self.start, self.state.last().0, self.next_at);
        }
        // Twice the target means that the estimate was made at a slower rate.
        t >= self.next_at || count >= TARGET_SAMPLES * 2 || self.bytes.len() > MAX_CHUNK_BYTES
    }

    fn close(&mut self) {
        if self.state.count() == 0 {
            return;
        }
        let max = self.state.last().0;
        let data = Bytes::from(std::mem::take(&mut self.bytes).into_boxed_slice());
        self.closed.get_or_insert_default().push(Closed { min: self.start, max, data });
        self.state = XorState::new();
    }

    /// Drops closed chunks whose samples are all older than `min_t`; returns how many.
    pub(crate) fn drop_before(&mut self, min_t: i64) -> usize {
        let Some(closed) = &mut self.closed else { return 0 };
        let old = closed.partition_point(|c| c.max < min_t);
        closed.drain(..old);
        closed.shrink_to_fit();
        if closed.is_empty() {
            self.closed = None;
        }
        old
    }

    /// Whether a chunk overlaps the range.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        let overlaps = |min: i64, max: i64| range.overlaps(TimestampMs(min), TimestampMs(max));
        self.last().is_some_and(|(last, _)| overlaps(self.start, last))
            || self.closed.iter().flat_map(|c| c.iter()).any(|c| overlaps(c.min, c.max))
    }

    /// The chunks that overlap the range, oldest first. Closed ones are shared, the open one is copied.
    pub(crate) fn chunks(&self, range: TimeRange, out: &mut Vec<Chunk>) {
        let closed = self.closed.iter().flat_map(|c| c.iter()).map(|c| (c.min, c.max, Some(&c.data)));
        let open = self.last().map(|(last, _)| (self.start, last, None));
        for (min, max, data) in closed.chain(open) {
            let (min, max) = (TimestampMs(min), TimestampMs(max));
            if range.overlaps(min, max) {
                let data = data.cloned().unwrap_or_else(|| Bytes::copy_from_slice(&self.bytes));
                out.push(Chunk { min, max, encoding: Encoding::Xor, data });
            }
        }
    }

    /// The newest sample in the range; decodes only if newer samples lie behind it.
    pub(crate) fn latest(&self, range: TimeRange, columns: &mut Columns) -> Option<Sample> {
        let (t, v) = self.last()?;
        if t < range.min.0 {
            return None;
        }
        if t <= range.max.0 {
            return Some(Sample { t: TimestampMs(t), v });
        }
        if self.start <= range.max.0 {
            return latest_in(&self.bytes, range, columns);
        }
        let closed = self.closed.as_ref()?;
        let chunk = closed.iter().rev().find(|c| c.min <= range.max.0)?;
        latest_in(&chunk.data, range, columns)
    }
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

/// The end of a chunk a quarter full at `now`, such that chunks of equal length reach up to `end`.
fn even_end(start: i64, now: i64, end: i64) -> i64 {
    let length = end.wrapping_sub(start) as f64;
    let chunks = (length / (now.wrapping_sub(start).wrapping_add(1) as f64 * 4.0)).floor();
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

/// The page of a slot and the place in it.
#[inline]
pub(crate) fn locate(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE_SERIES, slot as usize % PAGE_SERIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: i64 = 7_200_000;

    fn fill(start: i64, step: i64, n: i64) -> Vec<Chunk> {
        let mut series = Series::default();
        for i in 0..n {
            let t = start + i * step;
            assert_eq!(series.judge(t, i as f64, i64::MIN), Verdict::Keep);
            series.push(t, i as f64, RANGE);
        }
        let mut chunks = Vec::new();
        series.chunks(TimeRange::ALL, &mut chunks);
        chunks
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
    fn the_newest_sample_before_an_instant_is_found_in_every_chunk() {
        let mut series = Series::default();
        for i in 0..600i64 {
            series.push(i * 15_000, i as f64, RANGE);
        }
        let mut columns = Columns::default();
        let mut latest =
            |min, max| series.latest(TimeRange { min: TimestampMs(min), max: TimestampMs(max) }, &mut columns);
        for i in 0..600 {
            let t = i * 15_000;
            for max in [t, t + 14_999] {
                assert_eq!(latest(0, max), Some(Sample { t: TimestampMs(t), v: i as f64 }));
            }
            assert_eq!(latest(t + 1, t + 14_999), None);
        }
        assert_eq!(latest(-10, -1), None);
    }
}
