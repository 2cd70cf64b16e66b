//! Reading series from storage, and turning each into what its selector wants.
//!
//! Series come in batches. If there are more than one, threads take them in turns, so that decoding and the function above
//! it run on several processors; what they make is handed on in the order of the batches, so that the answer does not
//! depend on the number of threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

use super::context::{Context, Failure};
use super::series::StepSeries;
use super::{Evaluator, Sink};
use crate::model::{BucketLayout, FloatHistogram, Labels, STALE_NAN, TimestampMs, Value, is_stale};
use crate::promql::functions::histogram::StatsOnly;
use crate::promql::functions::range::{Samples, Window};
use crate::promql::notes::Notes;
use crate::promql::plan::{Buckets, Select};
use crate::storage::{
    Chunk, Columns, DecodeError, Encoding, QueryError, SelectRequest, SeriesBatch, SeriesStream, StreamStep, TimeRange,
    TimedValue, decode_into, decode_values,
};

/// What becomes of staleness markers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Markers {
    /// They stand among the floats, also those of histograms.
    Kept,
    /// They are left out.
    Dropped,
}

/// Which samples are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub select: &'a Select,
    /// Both ends belong to it; more may come.
    pub range: TimeRange,
    pub markers: Markers,
}

/// What a thread reuses from series to series.
#[derive(Default)]
pub(super) struct Scratch {
    pub samples: Samples,
    pub windows: Vec<Window>,
    pub notes: Notes,
    values: Vec<TimedValue>,
}

/// Makes of a series' decoded samples what its selector wants; `None` if nothing comes of them.
pub(super) type Work<'a> = &'a (dyn Fn(Labels, &mut Scratch) -> Result<Option<StepSeries>, Failure> + Sync);

impl Evaluator<'_> {
    /// Reads series and hands on what `work` makes of them.
    pub(super) fn read(&self, reading: &Reading<'_>, work: Work<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        let context = self.context;
        if reading.range.min > reading.range.max {
            return Ok(());
        }
        let selectors = std::slice::from_ref(&reading.select.selector);
        let request = SelectRequest { selectors, range: reading.range, sorted: false, limit: None };
        let mut stream = context.storage.select(context.scope, &request)?;
        let mut first = SeriesBatch::default();
        if !advance(context, &mut *stream, &mut first)? {
            return Ok(());
        }
        let mut second = SeriesBatch::default();
        if context.threads > 1 && advance(context, &mut *stream, &mut second)? {
            return in_parallel(context, reading, work, sink, stream, [first, second]);
        }
        let mut scratch = Scratch::default();
        loop {
            for made in process(context, reading, work, &mut first, &mut scratch)? {
                sink(made)?;
            }
            context.merge_notes(std::mem::take(&mut scratch.notes));
            if !advance(context, &mut *stream, &mut first)? {
                return Ok(());
            }
        }
    }
}

/// Fetches the next batch; false at the end.
fn advance(
    context: &Context<'_>,
    stream: &mut (dyn SeriesStream + '_),
    batch: &mut SeriesBatch,
) -> Result<bool, Failure> {
    context.scope.check()?;
    match stream.next(batch)? {
        StreamStep::Batch => Ok(true),
        StreamStep::End(end) => {
            context.merge_annotations(end.annotations);
            Ok(false)
        }
    }
}

/// Decodes a batch series by series. What it has charged is given back.
fn process(
    context: &Context<'_>,
    reading: &Reading<'_>,
    work: Work<'_>,
    batch: &mut SeriesBatch,
    scratch: &mut Scratch,
) -> Result<Vec<StepSeries>, Failure> {
    let size = batch.size();
    let mut made = Vec::with_capacity(batch.series.len());
    for series in batch.series.drain(..) {
        decode(&series.chunks, reading, scratch)?;
        made.extend(work(series.labels, scratch)?);
    }
    context.scope.release(size.samples, size.bytes);
    Ok(made)
}

/// What a thread has made of one batch.
struct Made {
    /// Batches are counted from 0.
    index: usize,
    outcome: Result<(Vec<StepSeries>, Notes), Failure>,
}

struct Shared<'s> {
    stream: Box<dyn SeriesStream + 's>,
    /// Batches read before the threads started, the next one last.
    waiting: Vec<SeriesBatch>,
    /// Index of the next batch.
    next: usize,
    is_over: bool,
}

fn in_parallel(
    context: &Context<'_>,
    reading: &Reading<'_>,
    work: Work<'_>,
    sink: Sink<'_>,
    stream: Box<dyn SeriesStream + '_>,
    [first, second]: [SeriesBatch; 2],
) -> Result<(), Failure> {
    let shared = Mutex::new(Shared { stream, waiting: vec![second, first], next: 0, is_over: false });
    let stop = AtomicBool::new(false);
    // Two batches for each thread may lie finished; then threads wait for whoever takes them.
    let (sender, made) = sync_channel(context.threads * 2);
    std::thread::scope(|scope| {
        for _ in 0..context.threads {
            let (sender, shared, stop) = (sender.clone(), &shared, &stop);
            scope.spawn(move || work_off(context, reading, work, shared, stop, &sender));
        }
        drop(sender);
        let outcome = hand_on(context, &made, sink);
        // Whoever is still at work finishes its batch; nobody waits for room any more.
        stop.store(true, Ordering::Relaxed);
        drop(made);
        outcome
    })
}

/// A thread's work: one batch after the other until there is none.
fn work_off(
    context: &Context<'_>,
    reading: &Reading<'_>,
    work: Work<'_>,
    shared: &Mutex<Shared<'_>>,
    stop: &AtomicBool,
    made: &SyncSender<Made>,
) {
    let (mut batch, mut scratch) = (SeriesBatch::default(), Scratch::default());
    while !stop.load(Ordering::Relaxed) {
        let (index, fetched) = {
            let mut shared = shared.lock();
            if shared.is_over {
                return;
            }
            let fetched = match shared.waiting.pop() {
                Some(waiting) => {
                    batch = waiting;
                    Ok(true)
                }
                None => advance(context, &mut *shared.stream, &mut batch),
            };
            shared.is_over = !matches!(fetched, Ok(true));
            shared.next += 1;
            (shared.next - 1, fetched)
        };
        let outcome = match fetched {
            Ok(false) => return,
            Ok(true) => process(context, reading, work, &mut batch, &mut scratch),
            Err(failure) => Err(failure),
        };
        let outcome = outcome.map(|all| (all, std::mem::take(&mut scratch.notes)));
        let is_failure = outcome.is_err();
        if made.send(Made { index, outcome }).is_err() || is_failure {
            return;
        }
    }
}

/// Hands on what threads made, in the order of the batches.
fn hand_on(context: &Context<'_>, made: &Receiver<Made>, sink: Sink<'_>) -> Result<(), Failure> {
    let (mut next, mut early) = (0, BTreeMap::new());
    for Made { index, outcome } in made {
        early.insert(index, outcome);
        while let Some(outcome) = early.remove(&next) {
            let (all, notes) = outcome?;
            all.into_iter().try_for_each(&mut *sink)?;
            context.merge_notes(notes);
            next += 1;
        }
    }
    // A thread that panicked has left a gap; its panic goes on when the threads are joined.
    Ok(())
}

/// Decodes chunks into `scratch.samples`.
fn decode(chunks: &[Chunk], reading: &Reading<'_>, scratch: &mut Scratch) -> Result<(), Failure> {
    let samples = &mut scratch.samples;
    samples.clear();
    for chunk in chunks {
        let decoded = match chunk.encoding {
            Encoding::Xor | Encoding::Xor2 => decode_floats(chunk, samples),
            _ => decode_histograms(chunk, samples, &mut scratch.values),
        };
        decoded.map_err(|error| damaged(chunk, error))?;
    }
    if reading.select.buckets == Buckets::Dropped {
        samples.drop_buckets();
    }
    if reading.markers == Markers::Dropped {
        samples.drop_markers();
    }
    Ok(())
}

fn damaged(chunk: &Chunk, error: DecodeError) -> Failure {
    let reason = format!("a chunk from {} to {}: {error}", chunk.min, chunk.max);
    Failure::Storage(QueryError::Corrupt { path: "memory".to_owned(), offset: 0, reason })
}

fn decode_floats(chunk: &Chunk, samples: &mut Samples) -> Result<(), DecodeError> {
    let mut columns = Columns {
        times: std::mem::take(&mut samples.times),
        values: std::mem::take(&mut samples.floats),
        starts: std::mem::take(&mut samples.starts),
    };
    let result = decode_into(chunk, &mut columns);
    (samples.times, samples.floats, samples.starts) = (columns.times, columns.values, columns.starts);
    result
}

fn decode_histograms(chunk: &Chunk, samples: &mut Samples, values: &mut Vec<TimedValue>) -> Result<(), DecodeError> {
    values.clear();
    decode_values(chunk, values)?;
    for TimedValue { t: TimestampMs(t), start: TimestampMs(start), value } in values.drain(..) {
        match value {
            value if value.is_stale() => samples.push_float(t, STALE_NAN, 0),
            Value::Float(v) => samples.push_float(t, v, start),
            Value::Histogram(h) => samples.push_histogram(t, Arc::new(in_use(h.to_float())), start),
            Value::FloatHistogram(h) => samples.push_histogram(t, Arc::new(in_use(*h)), start),
        }
    }
    Ok(())
}

/// Chunks may hold resolutions that are not in use yet; queries see the finest that is.
fn in_use(mut histogram: FloatHistogram) -> FloatHistogram {
    histogram.reduce_resolution(BucketLayout::FINEST_SCHEMA);
    histogram
}

impl Samples {
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.floats.clear();
        self.starts.clear();
        self.histogram_times.clear();
        self.histograms.clear();
        self.histogram_starts.clear();
    }

    pub(super) fn push_float(&mut self, t: i64, v: f64, start: i64) {
        push_start(&mut self.starts, self.times.len(), start);
        self.times.push(t);
        self.floats.push(v);
    }

    pub(super) fn push_histogram(&mut self, t: i64, histogram: Arc<FloatHistogram>, start: i64) {
        push_start(&mut self.histogram_starts, self.histogram_times.len(), start);
        self.histogram_times.push(t);
        self.histograms.push(histogram);
    }

    fn drop_buckets(&mut self) {
        let mut series = StatsOnly::default();
        for histogram in &mut self.histograms {
            *histogram = Arc::new(series.next(histogram));
        }
    }

    fn drop_markers(&mut self) {
        if !self.floats.iter().any(|v| is_stale(*v)) {
            return;
        }
        let mut kept = 0;
        for index in 0..self.floats.len() {
            if is_stale(self.floats[index]) {
                continue;
            }
            self.times[kept] = self.times[index];
            self.floats[kept] = self.floats[index];
            if !self.starts.is_empty() {
                self.starts[kept] = self.starts[index];
            }
            kept += 1;
        }
        self.times.truncate(kept);
        self.floats.truncate(kept);
        self.starts.truncate(kept);
    }
}

/// Adds a start; the column stays empty until a sample has one.
fn push_start(starts: &mut Vec<i64>, before: usize, start: i64) {
    if start != 0 || !starts.is_empty() {
        starts.resize(before, 0);
        starts.push(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CounterResetHint;
    use crate::model::histogram::fixture::exponential;
    use crate::storage::chunk::ChunkBuilder;

    #[test]
    fn histograms_finer_than_what_is_in_use_are_read_at_the_finest_resolution_in_use() {
        let mut builder = ChunkBuilder::new();
        let fine = exponential(9, &[(1, &[1.0, 2.0, 4.0])], &[]);
        builder.push(TimestampMs(1), TimestampMs(0), &Value::FloatHistogram(Box::new(fine))).unwrap();
        let mut samples = Samples::default();
        for chunk in builder.finish() {
            decode_histograms(&chunk, &mut samples, &mut Vec::new()).unwrap();
        }
        assert_eq!(*samples.histograms[0], exponential(8, &[(1, &[3.0, 4.0])], &[]));
    }

    #[test]
    fn without_buckets_resets_are_still_known() {
        let mut samples = Samples::default();
        let counts: [&[f64]; 3] = [&[1.0, 2.0], &[2.0, 2.0], &[3.0, 1.0]];
        for (t, counts) in (0..).zip(counts) {
            samples.push_histogram(t, Arc::new(exponential(0, &[(0, counts)], &[])), 0);
        }
        samples.drop_buckets();
        let seen = samples.histograms.iter().map(|h| (h.counter_reset_hint, h.count, h.positive_buckets.len()));
        let (unknown, rose, fell) = (CounterResetHint::Unknown, CounterResetHint::NotReset, CounterResetHint::Reset);
        assert_eq!(seen.collect::<Vec<_>>(), [(unknown, 3.0, 0), (rose, 4.0, 0), (fell, 4.0, 0)]);
    }
}
