//! Float native histograms in Prometheus's encoding; FORMATS.md draws it.
//!
//! Times are written as varbit deltas of deltas, counts, sum and buckets by xor, each with a window of its own.

use super::bits::{BitEnd, Bits, ReadWindow, WrittenWindow};
use super::histogram_append::{self as append, Appended, EncodeError, Growing};
use super::histogram_layout::{Form, HEADER, Header, buckets_within, push_layout, read_layout};
use super::starts::WrittenStarts;
use super::{Columns, DecodeError, Encoding};
use crate::model::is_stale;
use crate::model::{BucketLayout, CounterResetHint, FloatHistogram};

/// Where a growing chunk of float histograms stands: its layout and what the next sample is encoded against. The bytes
/// live outside so that their owner decides how they grow.
#[derive(Clone, Debug)]
pub struct FloatHistogramState {
    form: Form,
    header: CounterResetHint,
    samples: u16,
    starts: WrittenStarts,
    end: BitEnd,
    t: i64,
    t_delta: i64,
    /// Those of count, zero count and sum.
    windows: [WrittenWindow; 3],
    /// Holds the chunk's layout too.
    newest: FloatHistogram,
    /// Positive, then negative.
    bucket_windows: [Vec<WrittenWindow>; 2],
}

impl FloatHistogramState {
    /// The state before the first sample of a chunk with this header; its bytes are empty.
    pub fn new(header: CounterResetHint) -> FloatHistogramState {
        <FloatHistogramState as Growing>::new(header, Form::Plain)
    }

    /// As [`new`](Self::new), for a chunk with start timestamps.
    pub fn with_starts(header: CounterResetHint) -> FloatHistogramState {
        <FloatHistogramState as Growing>::new(header, Form::WithStarts)
    }

    /// The header of a chunk that `first` opens, when the chunk before it (if it held float histograms too) was closed
    /// for its size or age. A chunk cut by [`Appended::MustCut`] takes the header told there instead.
    pub fn header_after(previous: Option<&FloatHistogramState>, first: &FloatHistogram) -> CounterResetHint {
        match (first.counter_reset_hint, previous) {
            (hint @ (CounterResetHint::Gauge | CounterResetHint::Reset), _) => hint,
            // The reference knows two answers here, and three for integer histograms.
            (_, Some(previous)) if append::verdict(previous, first) == CounterResetHint::Reset => {
                CounterResetHint::Reset
            }
            (_, Some(_)) => CounterResetHint::NotReset,
            _ => CounterResetHint::Unknown,
        }
    }

    /// How its bytes are to be read.
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::Plain => Encoding::FloatHistogram,
            Form::WithStarts => Encoding::FloatHistogramStarts,
        }
    }

    /// Samples encoded so far.
    pub fn count(&self) -> u16 {
        self.samples
    }

    /// Time in milliseconds and values of the newest sample in the chunk's layout; zeros before the first.
    pub fn last(&self) -> (i64, &FloatHistogram) {
        (self.t, &self.newest)
    }

    /// Appends one sample to `bytes`, which hold this chunk and nothing else, if it fits. Times must ascend.
    pub fn append(&mut self, bytes: &mut Vec<u8>, t: i64, sample: &FloatHistogram) -> Result<Appended, EncodeError> {
        append::append(self, bytes, t, 0, sample)
    }

    /// As [`append`](Self::append), of a sample counted since `start`, 0 if that is not known. A chunk without start
    /// timestamps drops it.
    pub fn append_with_start(
        &mut self,
        bytes: &mut Vec<u8>,
        t: i64,
        start: i64,
        sample: &FloatHistogram,
    ) -> Result<Appended, EncodeError> {
        append::append(self, bytes, t, start, sample)
    }

    fn push_first(&mut self, bytes: &mut Vec<u8>, t: i64, sample: &FloatHistogram) {
        let end = &mut self.end;
        bytes.extend_from_slice(&[0; HEADER]);
        push_layout(end, bytes, &sample.layout);
        end.push_varbit_int(bytes, t);
        let buckets = sample.positive_buckets.iter().chain(&sample.negative_buckets);
        for value in [sample.count, sample.zero_count, sample.sum].iter().chain(buckets) {
            end.push(bytes, value.to_bits(), 64);
        }
        let windows = |buckets: &[f64]| vec![WrittenWindow::default(); buckets.len()];
        self.bucket_windows = [windows(&sample.positive_buckets), windows(&sample.negative_buckets)];
        self.newest.clone_from(sample);
    }

    /// A stale sample comes without buckets and zero counts.
    fn push_next(&mut self, bytes: &mut Vec<u8>, t: i64, sample: &FloatHistogram) {
        let (end, newest) = (&mut self.end, &mut self.newest);
        let t_delta = t.wrapping_sub(self.t);
        end.push_varbit_int(bytes, t_delta.wrapping_sub(std::mem::replace(&mut self.t_delta, t_delta)));
        let mut push = |window: &mut WrittenWindow, old: &mut f64, new: f64| {
            window.push(end, bytes, new.to_bits() ^ old.to_bits());
            *old = new;
        };
        let [count, zero_count, sum] = &mut self.windows;
        push(count, &mut newest.count, sample.count);
        push(zero_count, &mut newest.zero_count, sample.zero_count);
        push(sum, &mut newest.sum, sample.sum);
        let sides = [
            (&mut newest.positive_buckets, &sample.positive_buckets),
            (&mut newest.negative_buckets, &sample.negative_buckets),
        ];
        for ((old, new), windows) in sides.into_iter().zip(&mut self.bucket_windows) {
            for ((old, &new), window) in old.iter_mut().zip(new).zip(windows) {
                push(window, old, new);
            }
        }
    }
}

impl Growing for FloatHistogramState {
    type Sample = FloatHistogram;

    fn new(header: CounterResetHint, form: Form) -> FloatHistogramState {
        FloatHistogramState {
            form,
            header,
            samples: 0,
            starts: WrittenStarts::default(),
            end: BitEnd::default(),
            t: 0,
            t_delta: 0,
            windows: [WrittenWindow::default(); 3],
            newest: FloatHistogram::default(),
            bucket_windows: [Vec::new(), Vec::new()],
        }
    }

    fn form(&self) -> Form {
        self.form
    }

    fn header(&self) -> CounterResetHint {
        self.header
    }

    fn samples(&self) -> u16 {
        self.samples
    }

    fn newest(&self) -> &FloatHistogram {
        &self.newest
    }

    fn push(&mut self, bytes: &mut Vec<u8>, t: i64, start: i64, sample: &FloatHistogram) {
        let stale = FloatHistogram { sum: sample.sum, ..FloatHistogram::default() };
        let sample = if is_stale(sample.sum) { &stale } else { sample };
        match self.samples {
            0 => self.push_first(bytes, t, sample),
            _ => self.push_next(bytes, t, sample),
        }
        if self.form == Form::WithStarts {
            self.starts.push(&mut self.end, bytes, self.samples, (self.t, t), start);
        }
        self.t = t;
        self.samples += 1;
        self.form.write(bytes, self.samples, self.header);
    }

    fn decode(&self, bytes: &[u8], columns: &mut Columns<FloatHistogram>) -> Result<(), DecodeError> {
        decode_form(bytes, self.form, columns)
    }

    fn cut_header(verdict: CounterResetHint) -> CounterResetHint {
        // Only a reset that was seen is told; the reference leaves everything else open.
        match verdict {
            CounterResetHint::Reset => CounterResetHint::Reset,
            _ => CounterResetHint::Unknown,
        }
    }
}

impl append::Sample for FloatHistogram {
    type Count = f64;
    type Bucket = f64;

    fn hint(&self) -> CounterResetHint {
        self.counter_reset_hint
    }

    fn layout(&self) -> &BucketLayout {
        &self.layout
    }

    fn layout_mut(&mut self) -> &mut BucketLayout {
        &mut self.layout
    }

    fn count(&self) -> f64 {
        self.count
    }

    fn zero_count(&self) -> f64 {
        self.zero_count
    }

    fn sum(&self) -> f64 {
        self.sum
    }

    fn buckets(&self) -> [&[f64]; 2] {
        [&self.positive_buckets, &self.negative_buckets]
    }

    fn buckets_mut(&mut self) -> [&mut Vec<f64>; 2] {
        [&mut self.positive_buckets, &mut self.negative_buckets]
    }
}

impl append::Bucket for f64 {
    type Count = f64;

    fn count_after(self, _before: f64) -> f64 {
        self
    }

    fn of_count(count: f64, _before: f64) -> f64 {
        count
    }
}

/// Appends the samples of an encoded chunk to `columns`.
pub fn decode_into(data: &[u8], columns: &mut Columns<FloatHistogram>) -> Result<(), DecodeError> {
    decode_form(data, Form::Plain, columns)
}

pub(super) fn decode_form(data: &[u8], form: Form, columns: &mut Columns<FloatHistogram>) -> Result<(), DecodeError> {
    let mut header = Header::read(data, form).ok_or(DecodeError::Truncated { sample: 0, count: 0 })?;
    let count = header.count;
    if count == 0 {
        return Ok(());
    }
    let cut = |sample| DecodeError::Truncated { sample, count };
    let mut bits = Bits::new(&data[HEADER..]);
    let layout = read_layout(&mut bits, count)?.ok_or(cut(0))?;
    let mut reader = Reader::first(&mut bits, layout).ok_or(cut(0))?;
    for sample in 0..count {
        let before = reader.t;
        if sample > 0 {
            reader.next(&mut bits).ok_or(cut(sample))?;
        }
        let start = header.starts.read(&mut bits, sample, reader.t, before).ok_or(cut(sample))?;
        let value = match is_stale(reader.sample.sum) {
            true => FloatHistogram { sum: reader.sample.sum, ..FloatHistogram::default() },
            false => FloatHistogram { counter_reset_hint: header.hint_at(sample), ..reader.sample.clone() },
        };
        columns.push(reader.t, value, header.starts.any().then_some(start));
    }
    Ok(())
}

/// The sample read last and its windows.
struct Reader {
    t: i64,
    t_delta: i64,
    windows: [ReadWindow; 3],
    sample: FloatHistogram,
    bucket_windows: [Vec<ReadWindow>; 2],
}

impl Reader {
    fn first(bits: &mut Bits<'_>, layout: BucketLayout) -> Option<Reader> {
        let t = bits.varbit_int()?;
        let (count, zero_count, sum) = (bits.float()?, bits.float()?, bits.float()?);
        let mut positive_buckets: Vec<f64> = buckets_within(bits, &layout.positive_spans, 64)?;
        let mut negative_buckets: Vec<f64> = buckets_within(bits, &layout.negative_spans, 64)?;
        for bucket in positive_buckets.iter_mut().chain(&mut negative_buckets) {
            *bucket = bits.float()?;
        }
        let windows = |buckets: &[f64]| vec![ReadWindow::default(); buckets.len()];
        let bucket_windows = [windows(&positive_buckets), windows(&negative_buckets)];
        let sample = FloatHistogram {
            counter_reset_hint: CounterResetHint::Unknown,
            layout,
            zero_count,
            count,
            sum,
            positive_buckets,
            negative_buckets,
        };
        Some(Reader { t, t_delta: 0, windows: [ReadWindow::default(); 3], sample, bucket_windows })
    }

    fn next(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let sample = &mut self.sample;
        self.t_delta = self.t_delta.wrapping_add(bits.varbit_int()?);
        self.t = self.t.wrapping_add(self.t_delta);
        let [count, zero_count, sum] = &mut self.windows;
        advance(&mut sample.count, count, bits)?;
        advance(&mut sample.zero_count, zero_count, bits)?;
        advance(&mut sample.sum, sum, bits)?;
        if is_stale(sample.sum) {
            return Some(());
        }
        let sides = [&mut sample.positive_buckets, &mut sample.negative_buckets];
        for (buckets, windows) in sides.into_iter().zip(&mut self.bucket_windows) {
            for (bucket, window) in buckets.iter_mut().zip(windows) {
                advance(bucket, window, bits)?;
            }
        }
        Some(())
    }
}

fn advance(value: &mut f64, window: &mut ReadWindow, bits: &mut Bits<'_>) -> Option<()> {
    *value = f64::from_bits(value.to_bits() ^ window.read(bits)?);
    Some(())
}
