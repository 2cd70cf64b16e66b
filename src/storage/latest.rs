//! Streams of newest samples.

use std::ops::Range;

use super::chunk::TimedValue;
use super::families::PartOf;
use super::{HistogramRef, QueryError, StreamStep};
use crate::model::{TimestampMs, Value};

/// One series' newest sample. Its labels lie in the batch's arena; [`LatestBatch::value`] tells what it says.
#[derive(Clone, Copy, Debug)]
pub struct LatestRow {
    start: u32,
    end: u32,
    /// 1 more than the place of what most rows do not have; 0 without.
    more: u32,
    /// Where the metric name of a row in text lies, and how long it is; 0 of a row that is not in text.
    name: u32,
    name_len: u32,
    /// See [`TextRow::has`].
    has: u32,
    /// When.
    pub t: TimestampMs,
    /// What, if it is a float; never the staleness marker. 0 for a histogram.
    pub v: f64,
}

/// The labels of a row as the text formats write them, of which none needs escaping: names are legacy names, values have no
/// quotes, backslashes and line breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextRow<'a> {
    /// The metric name as it is; never empty.
    pub name: &'a [u8],
    /// `name="value",` of every other label, ascending.
    pub labels: &'a [u8],
    /// Which of the labels that were asked for the series has, the first one in the lowest bit.
    pub has: u32,
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
    /// Label sets, one behind the other, encoded (see [`crate::model::labels`]) or in text.
    pub arena: Vec<u8>,
    /// The rows.
    pub rows: Vec<LatestRow>,
    more: Vec<More>,
    /// `None`: all rows are encoded.
    asked: Option<Vec<String>>,
}

/// Of so many labels a row in text can tell whether the series has them.
pub const ASKED_MAX: usize = u32::BITS as usize;

impl LatestBatch {
    /// A batch for a caller who wants labels [in text](TextRow), and to know which of some labels each series has: at most
    /// [`ASKED_MAX`]. A store that keeps its labels in that form spares both of them the work; others hand out encoded rows,
    /// and so does every store where a label needs escaping or there is no metric name.
    pub fn in_text(asked: Vec<String>) -> LatestBatch {
        debug_assert!(asked.len() <= ASKED_MAX, "there are no more bits");
        LatestBatch { asked: Some(asked), ..LatestBatch::default() }
    }

    /// The labels to tell about, if rows are wanted in text.
    pub fn asked(&self) -> Option<&[String]> {
        self.asked.as_deref()
    }

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

    /// Notes of the last row that what was appended are its labels in text. Its metric name lies in the arena too, and may be
    /// that of other rows.
    #[inline]
    pub fn mark_text(&mut self, name: Range<usize>, has: u32) {
        if let Some(row) = self.rows.last_mut() {
            (row.name, row.name_len, row.has) = (fit(name.start), fit(name.len()), has);
        }
    }

    #[inline]
    fn push(&mut self, start: usize, t: TimestampMs, v: f64, more: u32) {
        let (start, end) = (fit(start), fit(self.arena.len()));
        self.rows.push(LatestRow { start, end, more, name: 0, name_len: 0, has: 0, t, v });
    }

    /// The encoded labels of a row; of one in text, see [`text`](LatestBatch::text).
    #[inline]
    pub fn labels(&self, row: &LatestRow) -> &[u8] {
        &self.arena[row.start as usize..row.end as usize]
    }

    /// The labels of a row, if it is in text.
    #[inline]
    pub fn text(&self, row: &LatestRow) -> Option<TextRow<'_>> {
        if row.name_len == 0 {
            return None;
        }
        let name = &self.arena[row.name as usize..][..row.name_len as usize];
        Some(TextRow { name, labels: self.labels(row), has: row.has })
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
