//! Streams of newest samples.

use super::chunk::TimedValue;
use super::families::PartOf;
use super::{HistogramRef, QueryError, StreamStep};
use crate::model::{TimestampMs, Value};

/// One series' newest sample. Its labels lie encoded in the batch's arena; [`LatestBatch::value`] tells what it says.
#[derive(Clone, Copy, Debug)]
pub struct LatestRow {
    start: u32,
    end: u32,
    /// 1 more than the place of what most rows do not have; 0 without.
    more: u32,
    /// See [`LatestRow::is_plain`].
    plain: bool,
    /// When.
    pub t: TimestampMs,
    /// What, if it is a float; never the staleness marker. 0 for a histogram.
    pub v: f64,
}

impl LatestRow {
    /// Whether the store knows that no label needs escaping: names are legacy names, values have no quotes, backslashes
    /// and line breaks. False says nothing.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.plain
    }
}

/// What most rows do not have.
#[derive(Clone, Debug)]
struct More {
    start: TimestampMs,
    histogram: Option<Value>,
}

/// What a newest sample says.
#[derive(Clone, Copy, Debug)]
pub enum NewestValue<'a> {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(HistogramRef<'a>),
}

/// A batch of newest samples without an allocation per series of floats.
#[derive(Clone, Debug, Default)]
pub struct LatestBatch {
    /// Encoded label sets, one behind the other; see [`crate::model::labels`].
    pub arena: Vec<u8>,
    /// The rows.
    pub rows: Vec<LatestRow>,
    more: Vec<More>,
}

impl LatestBatch {
    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.rows.clear();
        self.more.clear();
    }

    /// Adds a row of a float whose labels the caller has appended to `arena` since it was `start` bytes long.
    #[inline]
    pub fn push_row(&mut self, start: usize, t: TimestampMs, v: f64) {
        self.push(start, t, v, 0);
    }

    /// As [`push_row`](LatestBatch::push_row), of any kind.
    pub fn push_value(&mut self, start: usize, sample: TimedValue) {
        let (v, histogram) = match sample.value {
            Value::Float(v) if sample.start.0 == 0 => return self.push(start, sample.t, v, 0),
            Value::Float(v) => (v, None),
            histogram => (0.0, Some(histogram)),
        };
        self.more.push(More { start: sample.start, histogram });
        self.push(start, sample.t, v, fit(self.more.len()));
    }

    /// Notes of the last row that its labels need no escaping.
    #[inline]
    pub fn mark_plain(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.plain = true;
        }
    }

    #[inline]
    fn push(&mut self, start: usize, t: TimestampMs, v: f64, more: u32) {
        self.rows.push(LatestRow { start: fit(start), end: fit(self.arena.len()), more, plain: false, t, v });
    }

    /// The encoded labels of a row.
    #[inline]
    pub fn labels(&self, row: &LatestRow) -> &[u8] {
        &self.arena[row.start as usize..row.end as usize]
    }

    /// What a row says.
    #[inline]
    pub fn value(&self, row: &LatestRow) -> NewestValue<'_> {
        match self.more(row).and_then(|more| more.histogram.as_ref()) {
            Some(Value::Histogram(h)) => NewestValue::Histogram(HistogramRef::Integer(h)),
            Some(Value::FloatHistogram(h)) => NewestValue::Histogram(HistogramRef::Float(h)),
            Some(Value::Float(_)) | None => NewestValue::Float(row.v),
        }
    }

    /// Since when a row has been counted; 0 if that is not known.
    #[inline]
    pub fn counted_since(&self, row: &LatestRow) -> TimestampMs {
        self.more(row).map_or(TimestampMs(0), |more| more.start)
    }

    #[inline]
    fn more(&self, row: &LatestRow) -> Option<&More> {
        self.more.get((row.more as usize).checked_sub(1)?)
    }
}

/// A batch holds some thousand rows; its arena never comes near 4 GiB.
#[inline]
fn fit(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A sequence of batches of newest samples. All rows of one metric name come together, names in ascending order, then
/// labels; rows without a name come first.
pub trait LatestStream: Send {
    /// Clears `batch` and fills it with the next rows.
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError>;

    /// Brings together what belongs to one metric family, such as the buckets, count and sum of each of its histograms; see
    /// `FamilyPart`. To be called before the first [`next`](LatestStream::next). False if this stream cannot do it.
    fn by_family(&mut self, part_of: &mut PartOf<'_>) -> bool {
        let _ = part_of;
        false
    }
}
