//! Decoded records on their way into memory.

use std::ops::Range;

use crate::model::Value;
use crate::tsdb::wal::record::WalSample;

/// A batch is handed on when its rows take so many bytes. Large enough that handing on costs nothing, small enough for
/// the processor's second cache; in tests small enough that there are many.
const FULL: usize = if cfg!(test) { 2 << 10 } else { 256 << 10 };
/// Room that an emptied batch keeps in buffers that single records of unusual size fill.
const KEPT: usize = 2 * FULL;

/// Rows of one segment, by kind, and in which order they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The segment; `None` for one of a checkpoint.
    pub(super) segment: Option<u32>,
    /// The last segment of the same directory.
    pub(super) last_segment: u32,
    /// The order.
    pub(super) runs: Vec<Run>,
    pub(super) series: Vec<SeriesRow>,
    /// The encoded labels of `series`.
    pub(super) labels: Vec<u8>,
    pub(super) samples: Vec<WalSample>,
    pub(super) histograms: Vec<HistogramRow>,
    histogram_bytes: usize,
    /// Whole records of other kinds, which have been checked.
    pub(super) records: Vec<u8>,

    /// What there is to take, in order; added when names are given, with the slots of `samples` and `histograms`.
    pub(super) steps: Vec<Step>,
    pub(super) sample_slots: Vec<u32>,
    pub(super) histogram_slots: Vec<u32>,
}

/// Rows that follow one another in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) what: What,
    pub(super) rows: Range<usize>,
}

/// Which of a batch's lists a run is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Series,
    Samples,
    Histograms,
    /// The bytes of one record.
    Record,
}

/// One series and where its labels end.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesRow {
    pub(super) wal_ref: u64,
    pub(super) labels_end: usize,
}

/// One histogram.
#[derive(Debug)]
pub(super) struct HistogramRow {
    pub(super) series: u64,
    pub(super) t: i64,
    pub(super) start: i64,
    pub(super) value: Value,
}

/// What is to be done to series, whose names are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Give the series in this slot these of the chunks found.
    Attach(u32, Range<usize>),
    /// Forget what the series in this slot holds.
    Clear(u32),
    /// Take these rows.
    Samples(Range<usize>),
    /// Take these rows.
    Histograms(Range<usize>),
}

/// The row of a series that nobody knows.
pub(super) const NO_SLOT: u32 = u32::MAX;

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether it is time to hand it on.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        const SAMPLE: usize = size_of::<WalSample>() + size_of::<u32>();
        self.samples.len() * SAMPLE + self.labels.len() + self.records.len() + self.histogram_bytes >= FULL
    }

    /// Notes that rows have been added since there were `before` of them.
    pub(super) fn ran(&mut self, what: What, before: usize) {
        let now = match what {
            What::Series => self.series.len(),
            What::Samples => self.samples.len(),
            What::Histograms => self.histograms.len(),
            What::Record => self.records.len(),
        };
        match self.runs.last_mut() {
            _ if before == now => {}
            Some(run) if run.what == what && what != What::Record => run.rows.end = now,
            _ => self.runs.push(Run { what, rows: before..now }),
        }
    }

    pub(super) fn push_histogram(&mut self, row: HistogramRow) {
        let buckets = match &row.value {
            Value::Float(_) => 0,
            Value::Histogram(h) => h.positive_buckets.len() + h.negative_buckets.len(),
            Value::FloatHistogram(h) => h.positive_buckets.len() + h.negative_buckets.len(),
        };
        // Counts of eight bytes, and the rest.
        self.histogram_bytes += 256 + 8 * buckets;
        self.histograms.push(row);
    }

    /// Makes it as new, but for its memory.
    pub(super) fn clear(&mut self) {
        (self.segment, self.last_segment, self.histogram_bytes) = (None, 0, 0);
        self.runs.clear();
        self.series.clear();
        self.samples.clear();
        self.histograms.clear();
        self.labels.clear();
        self.records.clear();
        self.steps.clear();
        self.sample_slots.clear();
        self.histogram_slots.clear();
        self.labels.shrink_to(KEPT);
        self.records.shrink_to(KEPT);
    }
}
