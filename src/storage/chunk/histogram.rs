//! Integer native histograms in Prometheus's encoding; FORMATS.md draws it.
//!
//! Times, counts and buckets are written as varbit deltas of deltas, the sum by xor. A stale sample has no buckets.

use super::bits::{BitEnd, Bits, ReadWindow, WrittenWindow};
use super::histogram_append::{self as append, Appended, EncodeError, Growing};
use super::histogram_layout::{Form, HEADER, Header, buckets_within, push_layout, read_layout};
use super::starts::WrittenStarts;
use super::{Columns, DecodeError, Encoding};
use crate::model::is_stale;
use crate::model::{BucketLayout, CounterResetHint, Histogram};

/// Where a growing chunk of integer histograms stands: its layout and what the next sample is encoded against. The
/// bytes live outside so that their owner decides how they grow.
#[derive(Clone, Debug)]
pub struct HistogramState {
    form: Form,
    header: CounterResetHint,
    samples: u16,
    starts: WrittenStarts,
    end: BitEnd,
    t: i64,
    t_delta: i64,
    count_delta: i64,
    zero_delta: i64,
    sum_window: WrittenWindow,
    /// Holds the chunk's layout too.
    newest: Histogram,
    /// Positive, then negative.
    bucket_deltas: [Vec<i64>; 2],
}

impl HistogramState {
    /// The state before the first sample of a chunk with this header; its bytes are empty.
    pub fn new(header: CounterResetHint) -> HistogramState {
        <HistogramState as Growing>::new(header, Form::Plain)
    }

    /// As [`new`](Self::new), for a chunk with start timestamps.
    pub fn with_starts(header: CounterResetHint) -> HistogramState {
        <HistogramState as Growing>::new(header, Form::WithStarts)
    }

    /// The header of a chunk that `first` opens, when the chunk before it (if it held integer histograms too) was closed
    /// for its size or age. A chunk cut by [`Appended::MustCut`] takes the header told there instead.
    pub fn header_after(previous: Option<&HistogramState>, first: &Histogram) -> CounterResetHint {
        match (first.counter_reset_hint, previous) {
            (hint @ (CounterResetHint::Gauge | CounterResetHint::Reset), _) => hint,
            (_, Some(previous)) => append::verdict(previous, first),
            _ => CounterResetHint::Unknown,
        }
    }

    /// How its bytes are to be read.
    pub fn encoding(&self) -> Encoding {
        match self.form {
            Form::Plain => Encoding::Histogram,
            Form::WithStarts => Encoding::HistogramStarts,
        }
    }

    /// Samples encoded so far.
    pub fn count(&self) -> u16 {
        self.samples
    }

    /// Time in milliseconds and values of the newest sample in the chunk's layout; zeros before the first.
    pub fn last(&self) -> (i64, &Histogram) {
        (self.t, &self.newest)
    }

    /// Appends one sample to `bytes`, which hold this chunk and nothing else, if it fits. Times must ascend.
    pub fn append(&mut self, bytes: &mut Vec<u8>, t: i64, sample: &Histogram) -> Result<Appended, EncodeError> {
        append::append(self, bytes, t, 0, sample)
    }

    /// As [`append`](Self::append), of a sample counted since `start`, 0 if that is not known. A chunk without start
    /// timestamps drops it.
    pub fn append_with_start(
        &mut self,
        bytes: &mut Vec<u8>,
        t: i64,
        start: i64,
        sample: &Histogram,
    ) -> Result<Appended, EncodeError> {
        append::append(self, bytes, t, start, sample)
    }

    fn push_first(&mut self, bytes: &mut Vec<u8>, t: i64, sample: &Histogram) {
        let end = &mut self.end;
        bytes.extend_from_slice(&[0; HEADER]);
        push_layout(end, bytes, &sample.layout);
        end.push_varbit_int(bytes, t);
        end.push_varbit_uint(bytes, sample.count);
        end.push_varbit_uint(bytes, sample.zero_count);
        end.push(bytes, sample.sum.to_bits(), 64);
        for &bucket in sample.positive_buckets.iter().chain(&sample.negative_buckets) {
            end.push_varbit_int(bytes, bucket);
        }
        self.bucket_deltas = [vec![0; sample.positive_buckets.len()], vec![0; sample.negative_buckets.len()]];
        self.newest.clone_from(sample);
    }

    fn push_next(&mut self, bytes: &mut Vec<u8>, t: i64, sample: &Histogram) {
        let (end, newest) = (&mut self.end, &mut self.newest);
        end.push_varbit_int(bytes, step(&mut self.t_delta, t.wrapping_sub(self.t)));
        for (old, new, delta) in [
            (&mut newest.count, sample.count, &mut self.count_delta),
            (&mut newest.zero_count, sample.zero_count, &mut self.zero_delta),
        ] {
            end.push_varbit_int(bytes, step(delta, new.wrapping_sub(*old) as i64));
            *old = new;
        }
        self.sum_window.push(end, bytes, sample.sum.to_bits() ^ newest.sum.to_bits());
        newest.sum = sample.sum;
        let sides = [
            (&mut newest.positive_buckets, &sample.positive_buckets),
            (&mut newest.negative_buckets, &sample.negative_buckets),
        ];
        for ((old, new), deltas) in sides.into_iter().zip(&mut self.bucket_deltas) {
            for ((old, &new), delta) in old.iter_mut().zip(new).zip(deltas) {
                end.push_varbit_int(bytes, step(delta, new.wrapping_sub(*old)));
                *old = new;
            }
        }
    }

    /// Stale samples keep their counts unchanged in the stream: readers do not look at them.
    fn push_stale(&mut self, bytes: &mut Vec<u8>, t: i64, sum: f64) {
        let end = &mut self.end;
        end.push_varbit_int(bytes, step(&mut self.t_delta, t.wrapping_sub(self.t)));
        end.push(bytes, 0, 2);
        self.sum_window.push(end, bytes, sum.to_bits() ^ self.newest.sum.to_bits());
        self.newest.sum = sum;
    }
}

/// The delta of the delta; the delta is kept.
fn step(delta: &mut i64, new: i64) -> i64 {
    new.wrapping_sub(std::mem::replace(delta, new))
}

impl Growing for HistogramState {
    type Sample = Histogram;

    fn new(header: CounterResetHint, form: Form) -> HistogramState {
        HistogramState {
            form,
            header,
            samples: 0,
            starts: WrittenStarts::default(),
            end: BitEnd::default(),
            t: 0,
            t_delta: 0,
            count_delta: 0,
            zero_delta: 0,
            sum_window: WrittenWindow::default(),
            newest: Histogram::default(),
            bucket_deltas: [Vec::new(), Vec::new()],
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

    fn newest(&self) -> &Histogram {
        &self.newest
    }

    fn push(&mut self, bytes: &mut Vec<u8>, t: i64, start: i64, sample: &Histogram) {
        match (self.samples, is_stale(sample.sum)) {
            (0, false) => self.push_first(bytes, t, sample),
            (0, true) => self.push_first(bytes, t, &Histogram { sum: sample.sum, ..Histogram::default() }),
            (_, false) => self.push_next(bytes, t, sample),
            (_, true) => self.push_stale(bytes, t, sample.sum),
        }
        if self.form == Form::WithStarts {
            self.starts.push(&mut self.end, bytes, self.samples, (self.t, t), start);
        }
        self.t = t;
        self.samples += 1;
        self.form.write(bytes, self.samples, self.header);
    }

    fn decode(&self, bytes: &[u8], columns: &mut Columns<Histogram>) -> Result<(), DecodeError> {
        decode_form(bytes, self.form, columns)
    }

    fn cut_header(verdict: CounterResetHint) -> CounterResetHint {
        verdict
    }
}

impl append::Sample for Histogram {
    type Count = u64;
    type Bucket = i64;

    fn hint(&self) -> CounterResetHint {
        self.counter_reset_hint
    }

    fn layout(&self) -> &BucketLayout {
        &self.layout
    }

    fn layout_mut(&mut self) -> &mut BucketLayout {
        &mut self.layout
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn zero_count(&self) -> u64 {
        self.zero_count
    }

    fn sum(&self) -> f64 {
        self.sum
    }

    fn buckets(&self) -> [&[i64]; 2] {
        [&self.positive_buckets, &self.negative_buckets]
    }

    fn buckets_mut(&mut self) -> [&mut Vec<i64>; 2] {
        [&mut self.positive_buckets, &mut self.negative_buckets]
    }
}

impl append::Bucket for i64 {
    type Count = i64;

    fn count_after(self, before: i64) -> i64 {
        before.wrapping_add(self)
    }

    fn of_count(count: i64, before: i64) -> i64 {
        count.wrapping_sub(before)
    }
}

/// Appends the samples of an encoded chunk to `columns`.
pub fn decode_into(data: &[u8], columns: &mut Columns<Histogram>) -> Result<(), DecodeError> {
    decode_form(data, Form::Plain, columns)
}

pub(super) fn decode_form(data: &[u8], form: Form, columns: &mut Columns<Histogram>) -> Result<(), DecodeError> {
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
            true => Histogram { sum: reader.sample.sum, ..Histogram::default() },
            false => Histogram { counter_reset_hint: header.hint_at(sample), ..reader.sample.clone() },
        };
        columns.push(reader.t, value, header.starts.any().then_some(start));
    }
    Ok(())
}

/// The sample read last and its deltas.
struct Reader {
    t: i64,
    t_delta: i64,
    count_delta: i64,
    zero_delta: i64,
    sum_window: ReadWindow,
    sample: Histogram,
    bucket_deltas: [Vec<i64>; 2],
}

impl Reader {
    fn first(bits: &mut Bits<'_>, layout: BucketLayout) -> Option<Reader> {
        let t = bits.varbit_int()?;
        let (count, zero_count, sum) = (bits.varbit_uint()?, bits.varbit_uint()?, bits.float()?);
        let mut positive_buckets: Vec<i64> = buckets_within(bits, &layout.positive_spans, 1)?;
        let mut negative_buckets: Vec<i64> = buckets_within(bits, &layout.negative_spans, 1)?;
        for bucket in positive_buckets.iter_mut().chain(&mut negative_buckets) {
            *bucket = bits.varbit_int()?;
        }
        let bucket_deltas = [vec![0; positive_buckets.len()], vec![0; negative_buckets.len()]];
        let sample = Histogram {
            counter_reset_hint: CounterResetHint::Unknown,
            layout,
            zero_count,
            count,
            sum,
            positive_buckets,
            negative_buckets,
        };
        let sum_window = ReadWindow::default();
        Some(Reader { t, t_delta: 0, count_delta: 0, zero_delta: 0, sum_window, sample, bucket_deltas })
    }

    fn next(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let sample = &mut self.sample;
        self.t = self.t.wrapping_add(advance(&mut self.t_delta, bits)?);
        sample.count = sample.count.wrapping_add(advance(&mut self.count_delta, bits)? as u64);
        sample.zero_count = sample.zero_count.wrapping_add(advance(&mut self.zero_delta, bits)? as u64);
        sample.sum = f64::from_bits(sample.sum.to_bits() ^ self.sum_window.read(bits)?);
        if is_stale(sample.sum) {
            return Some(());
        }
        let sides = [&mut sample.positive_buckets, &mut sample.negative_buckets];
        for (buckets, deltas) in sides.into_iter().zip(&mut self.bucket_deltas) {
            for (bucket, delta) in buckets.iter_mut().zip(deltas) {
                *bucket = bucket.wrapping_add(advance(delta, bits)?);
            }
        }
        Some(())
    }
}

/// Reads a delta of the delta; the new delta is kept and answered.
fn advance(delta: &mut i64, bits: &mut Bits<'_>) -> Option<i64> {
    *delta = delta.wrapping_add(bits.varbit_int()?);
    Some(*delta)
}
