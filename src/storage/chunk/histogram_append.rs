//! What happens when a histogram meets a growing chunk: it fits, the chunk must be written anew with more buckets, or
//! a new chunk must be cut. The decisions are Prometheus's, for both kinds of histograms.
//!
//! A chunk has one bucket layout. A sample that lacks buckets gets empty ones, as long as the chunk's newest counts there
//! are zero too; a sample with more buckets makes the chunk be written anew. Within a chunk a counter does not go back in
//! any bucket: a reset cuts. Gauges may move freely and share the union of all buckets.

use super::histogram_layout::{CUSTOM_BUCKETS, Form, bucket_count};
use super::{Columns, DecodeError};
use crate::model::is_stale;
use crate::model::{BucketLayout, CounterResetHint, Span};

/// What an append has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// The sample follows the others; earlier bytes are as before, except for the sample count.
    InPlace,
    /// All bytes are new, because the sample brought buckets that the chunk did not have.
    Recoded,
    /// Nothing was written: the chunk is finished and the sample opens a new one, started with this header.
    MustCut(CounterResetHint),
}

/// Why a histogram cannot be encoded; chunk and state are as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The sample is malformed.
    #[error("the histogram's spans promise {promised} buckets, it has {given}")]
    BucketsAndSpansDiffer {
        /// Sum of the spans' lengths.
        promised: u64,
        /// Buckets of that sign in the sample.
        given: u64,
    },
    /// The bytes that the caller passed are not those of this chunk.
    #[error("the chunk cannot be written anew: {0}")]
    NotThisChunk(#[from] DecodeError),
}

/// A kind of histogram, as far as layout and resets go.
pub(super) trait Sample: Clone {
    /// Counts of all observations and of the zero bucket.
    type Count: PartialOrd + Copy;
    type Bucket: Bucket;

    fn hint(&self) -> CounterResetHint;
    fn layout(&self) -> &BucketLayout;
    fn layout_mut(&mut self) -> &mut BucketLayout;
    fn count(&self) -> Self::Count;
    fn zero_count(&self) -> Self::Count;
    fn sum(&self) -> f64;
    /// Positive, then negative buckets.
    fn buckets(&self) -> [&[Self::Bucket]; 2];
    fn buckets_mut(&mut self) -> [&mut Vec<Self::Bucket>; 2];
}

/// How a bucket is held: as a delta to the bucket before it or as its count.
pub(super) trait Bucket: Copy + Default {
    type Count: PartialOrd + Copy + Default;

    /// The count of this bucket when the one before it has `before`.
    fn count_after(self, before: Self::Count) -> Self::Count;
    /// The bucket of this count when the one before it has `before`.
    fn of_count(count: Self::Count, before: Self::Count) -> Self;
}

/// The state of a growing chunk, as far as appending goes.
pub(super) trait Growing: Sized {
    type Sample: Sample;

    /// Before the first sample.
    fn new(header: CounterResetHint, form: Form) -> Self;
    fn form(&self) -> Form;
    fn header(&self) -> CounterResetHint;
    fn samples(&self) -> u16;
    fn newest(&self) -> &Self::Sample;
    /// Writes a sample that fits.
    fn push(&mut self, bytes: &mut Vec<u8>, t: i64, start: i64, sample: &Self::Sample);
    fn decode(&self, bytes: &[u8], columns: &mut Columns<Self::Sample>) -> Result<(), DecodeError>;
    /// The header of a chunk that is cut because a counter sample does not fit.
    fn cut_header(verdict: CounterResetHint) -> CounterResetHint;
}

pub(super) fn append<G: Growing>(
    state: &mut G,
    bytes: &mut Vec<u8>,
    t: i64,
    start: i64,
    sample: &G::Sample,
) -> Result<Appended, EncodeError> {
    check_buckets(sample)?;
    if state.samples() == 0 {
        state.push(bytes, t, start, sample);
        return Ok(Appended::InPlace);
    }
    let fit = match judge(state.header(), state.newest(), sample) {
        // The count has no more room; no reset is known to lie between.
        Ok(_) if state.samples() == state.form().samples_max() => Err(CounterResetHint::NotReset),
        other => other,
    };
    let is_gauge = sample.hint() == CounterResetHint::Gauge;
    match fit {
        Err(_) if is_gauge => Ok(Appended::MustCut(CounterResetHint::Gauge)),
        Err(verdict) => Ok(Appended::MustCut(G::cut_header(verdict))),
        Ok(Fit::Same) => {
            state.push(bytes, t, start, sample);
            Ok(Appended::InPlace)
        }
        Ok(Fit::Merge(sides)) => {
            let sample = widen_sample(sample, &sides, is_gauge);
            let recode = sides.iter().any(|side| side.chunk_lacks());
            if recode {
                *state = recoded(state, bytes, &sides, sample.layout())?;
            }
            state.push(bytes, t, start, &sample);
            Ok(if recode { Appended::Recoded } else { Appended::InPlace })
        }
    }
}

/// What is known about resets between a chunk's newest sample and the next one, in the bits of a chunk header.
pub(super) fn verdict<G: Growing>(state: &G, sample: &G::Sample) -> CounterResetHint {
    match state.samples() {
        0 => CounterResetHint::Unknown,
        _ => judge_counter(state.header(), state.newest(), sample).err().unwrap_or(CounterResetHint::NotReset),
    }
}

fn check_buckets<S: Sample>(sample: &S) -> Result<(), EncodeError> {
    if is_stale(sample.sum()) {
        // Its buckets are not written.
        return Ok(());
    }
    let layout = sample.layout();
    for (spans, buckets) in [&layout.positive_spans, &layout.negative_spans].into_iter().zip(sample.buckets()) {
        let (promised, given) = (bucket_count(spans), buckets.len() as u64);
        if promised != given {
            return Err(EncodeError::BucketsAndSpansDiffer { promised, given });
        }
    }
    Ok(())
}

/// How a sample lies to the chunk's layout.
enum Fit {
    Same,
    /// Positive, then negative buckets.
    Merge([Merge; 2]),
}

/// An error is the verdict on resets: why the sample does not fit.
fn judge<S: Sample>(header: CounterResetHint, newest: &S, sample: &S) -> Result<Fit, CounterResetHint> {
    match sample.hint() {
        CounterResetHint::Gauge => judge_gauge(header, newest, sample).ok_or(CounterResetHint::Gauge),
        _ => judge_counter(header, newest, sample),
    }
}

fn judge_counter<S: Sample>(header: CounterResetHint, newest: &S, sample: &S) -> Result<Fit, CounterResetHint> {
    let (old, new) = (newest.layout(), sample.layout());
    if header == CounterResetHint::Gauge {
        return Err(CounterResetHint::NotReset);
    }
    if sample.hint() == CounterResetHint::Reset {
        return Err(CounterResetHint::Reset);
    }
    if is_stale(sample.sum()) {
        return Ok(Fit::Same);
    }
    if is_stale(newest.sum()) {
        return Err(CounterResetHint::Unknown);
    }
    if sample.count() < newest.count() {
        return Err(CounterResetHint::Reset);
    }
    if new.schema != old.schema || new.zero_threshold != old.zero_threshold {
        // A reset may go along with it; finding out would take bringing both to one layout.
        return Err(CounterResetHint::Unknown);
    }
    let other_bounds = new.schema == CUSTOM_BUCKETS && new.custom_values != old.custom_values;
    if other_bounds || sample.zero_count() < newest.zero_count() {
        return Err(CounterResetHint::Reset);
    }
    if old.positive_spans == new.positive_spans && old.negative_spans == new.negative_spans {
        let fell = newest.buckets().iter().zip(sample.buckets()).any(|(old, new)| any_fell(old, new));
        return if fell { Err(CounterResetHint::Reset) } else { Ok(Fit::Same) };
    }
    let sides = merges(newest, sample);
    let reset =
        sides.iter().zip(newest.buckets().iter().zip(sample.buckets())).any(|(side, (a, b))| side.any_fell(a, b));
    if reset { Err(CounterResetHint::Reset) } else { Ok(fit_of(sides)) }
}

fn judge_gauge<S: Sample>(header: CounterResetHint, newest: &S, sample: &S) -> Option<Fit> {
    let (old, new) = (newest.layout(), sample.layout());
    if header != CounterResetHint::Gauge {
        return None;
    }
    if is_stale(sample.sum()) {
        return Some(Fit::Same);
    }
    let other_bounds = new.schema == CUSTOM_BUCKETS && new.custom_values != old.custom_values;
    if is_stale(newest.sum()) || new.schema != old.schema || new.zero_threshold != old.zero_threshold || other_bounds {
        return None;
    }
    if old.positive_spans == new.positive_spans && old.negative_spans == new.negative_spans {
        return Some(Fit::Same);
    }
    Some(fit_of(merges(newest, sample)))
}

fn fit_of(sides: [Merge; 2]) -> Fit {
    let differs = sides.iter().any(|side| side.chunk_lacks() || side.sample_lacks());
    if differs { Fit::Merge(sides) } else { Fit::Same }
}

/// The sample with the empty buckets that it lacks.
fn widen_sample<S: Sample>(sample: &S, sides: &[Merge; 2], is_gauge: bool) -> S {
    let mut wide = sample.clone();
    let any_lack = sides.iter().any(Merge::sample_lacks);
    for (side, buckets) in sides.iter().zip(wide.buckets_mut()) {
        if side.sample_lacks() {
            *buckets = side.widened(buckets, In::Sample);
        }
    }
    let layout = wide.layout_mut();
    for (side, spans) in sides.iter().zip([&mut layout.positive_spans, &mut layout.negative_spans]) {
        // Spans of the same buckets can be written in several ways; the reference keeps a counter's as they came.
        if side.sample_lacks() || (is_gauge && any_lack) {
            *spans = side.spans();
        }
    }
    wide
}

/// Writes the chunk anew with a wider layout.
fn recoded<G: Growing>(
    state: &G,
    bytes: &mut Vec<u8>,
    sides: &[Merge; 2],
    layout: &BucketLayout,
) -> Result<G, DecodeError> {
    let mut old = Columns::default();
    state.decode(bytes, &mut old)?;
    let (mut wider, mut fresh) = (G::new(state.header(), state.form()), Vec::with_capacity(bytes.len() * 2));
    // The column of starts is empty or complete.
    let starts = old.starts.into_iter().chain(std::iter::repeat(0));
    for ((t, mut sample), start) in old.times.into_iter().zip(old.values).zip(starts) {
        sample.layout_mut().clone_from(layout);
        for (side, buckets) in sides.iter().zip(sample.buckets_mut()) {
            if side.chunk_lacks() {
                *buckets = side.widened(buckets, In::Chunk);
            }
        }
        wider.push(&mut fresh, t, start, &sample);
    }
    *bytes = fresh;
    Ok(wider)
}

/// Who has a bucket of a merged layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Chunk,
    Sample,
    Both,
}

/// The union of a chunk's and a sample's buckets of one sign, in ascending order.
struct Merge {
    buckets: Vec<(i64, In)>,
}

fn merges<S: Sample>(newest: &S, sample: &S) -> [Merge; 2] {
    let (old, new) = (newest.layout(), sample.layout());
    [Merge::new(&old.positive_spans, &new.positive_spans), Merge::new(&old.negative_spans, &new.negative_spans)]
}

impl Merge {
    fn new(chunk: &[Span], sample: &[Span]) -> Merge {
        let (mut a, mut b) = (indexes(chunk).peekable(), indexes(sample).peekable());
        let mut buckets = Vec::new();
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(a), Some(b)) if a == b => (*a, In::Both),
                (Some(a), Some(b)) if a > b => (*b, In::Sample),
                (Some(a), _) => (*a, In::Chunk),
                (None, Some(b)) => (*b, In::Sample),
                (None, None) => return Merge { buckets },
            };
            if next.1 != In::Sample {
                a.next();
            }
            if next.1 != In::Chunk {
                b.next();
            }
            buckets.push(next);
        }
    }

    fn chunk_lacks(&self) -> bool {
        self.buckets.iter().any(|(_, who)| *who == In::Sample)
    }

    fn sample_lacks(&self) -> bool {
        self.buckets.iter().any(|(_, who)| *who == In::Chunk)
    }

    /// Whether a count of the chunk's newest sample is larger than the next sample's, a missing bucket being 0.
    fn any_fell<B: Bucket>(&self, chunk: &[B], sample: &[B]) -> bool {
        let (mut chunk, mut sample) = (counts(chunk), counts(sample));
        let mut fell = |who: In| {
            Some(match who {
                In::Both => chunk.next()? > sample.next()?,
                In::Chunk => chunk.next()? != B::Count::default(),
                In::Sample => sample.next().is_none(),
            })
        };
        self.buckets.iter().any(|(_, who)| fell(*who) != Some(false))
    }

    /// The buckets of one of the two, with empty ones where only the other has them.
    fn widened<B: Bucket>(&self, buckets: &[B], owner: In) -> Vec<B> {
        let mut own = counts(buckets);
        let mut before = B::Count::default();
        let wide = self.buckets.iter().map(|(_, who)| {
            let has = *who == In::Both || *who == owner;
            let count = if has { own.next().unwrap_or_default() } else { B::Count::default() };
            B::of_count(count, std::mem::replace(&mut before, count))
        });
        wide.collect()
    }

    /// The fewest spans that hold all the buckets.
    fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut end = 0;
        for &(index, _) in &self.buckets {
            match spans.last_mut() {
                Some(last) if index == end => last.length += 1,
                _ => spans.push(Span { offset: (index - end) as i32, length: 1 }),
            }
            end = index + 1;
        }
        spans
    }
}

/// Index of each bucket of the spans.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> {
    let mut at = 0i64;
    spans.iter().flat_map(move |span| {
        let start = at + i64::from(span.offset);
        at = start + i64::from(span.length);
        start..at
    })
}

fn counts<B: Bucket>(buckets: &[B]) -> impl Iterator<Item = B::Count> {
    buckets.iter().scan(B::Count::default(), |before, bucket| {
        *before = bucket.count_after(*before);
        Some(*before)
    })
}

fn any_fell<B: Bucket>(old: &[B], new: &[B]) -> bool {
    counts(old).zip(counts(new)).any(|(old, new)| old > new)
}
