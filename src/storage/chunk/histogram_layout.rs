//! What integer and float histogram chunks share: the header, and the bucket layout in front of the first sample.

use super::DecodeError;
use super::bits::{BitEnd, Bits};
use super::starts::Starts;
use crate::model::{BucketLayout, CounterResetHint, Span};

/// The schema of custom bounds.
pub(super) const CUSTOM_BUCKETS: i32 = -53;
/// Exponential schemas that a chunk may hold; those outside -4 to 8 are kept for finer or coarser ones to come.
const EXPONENTIAL: std::ops::RangeInclusive<i32> = -9..=52;
/// Bytes of the header: samples and reset bits, in the forms of [`Form`].
pub(super) const HEADER: usize = 3;
/// The bits of the first two bytes that are the number of samples where a chunk has starts.
pub(super) const COUNT_WITH_STARTS: u16 = 0x3fff;
/// Stands for a zero threshold that follows as 64 bits.
const RAW_THRESHOLD: u8 = 255;
/// A threshold of 2^n is the byte n plus this.
const THRESHOLD_BIAS: i32 = 244;
/// The largest bound, in thousandths, that is written as a number of them: 25 bits hold it plus one.
const MAX_THOUSANDTHS: f64 = 33_554_430.0;
/// Spans and bounds that one decoded chunk may repeat over all its samples: a few KiB of crafted bytes could otherwise
/// ask for gigabytes, while 240 samples of 1,000 custom bounds take a hundredth of it.
const MAX_REPEATED: usize = 1 << 24;

/// How the three bytes of the header are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// 16 bits of sample count, reset bits, six unused bits.
    Plain,
    /// Reset bits, 14 bits of sample count, the byte of the start timestamps.
    WithStarts,
}

impl Form {
    /// That of a chunk that begins with a sample of this start timestamp, 0 for none.
    pub(super) fn for_start(start: i64) -> Form {
        if start == 0 { Form::Plain } else { Form::WithStarts }
    }

    /// The most samples that the header can count.
    pub(super) fn samples_max(self) -> u16 {
        match self {
            Form::Plain => u16::MAX,
            Form::WithStarts => COUNT_WITH_STARTS,
        }
    }

    /// Writes the number of samples and the hint into a chunk's header, which holds the starts already, if it has any.
    pub(super) fn write(self, bytes: &mut [u8], samples: u16, hint: CounterResetHint) {
        bytes[..2].copy_from_slice(&samples.to_be_bytes());
        match self {
            Form::Plain => bytes[2] = reset_bits(hint),
            Form::WithStarts => bytes[0] |= reset_bits(hint),
        }
    }
}

/// The two bits that stand for a hint.
fn reset_bits(hint: CounterResetHint) -> u8 {
    match hint {
        CounterResetHint::Unknown => 0b00 << 6,
        CounterResetHint::NotReset => 0b01 << 6,
        CounterResetHint::Reset => 0b10 << 6,
        CounterResetHint::Gauge => 0b11 << 6,
    }
}

fn hint_of(byte: u8) -> CounterResetHint {
    match byte >> 6 {
        0b00 => CounterResetHint::Unknown,
        0b01 => CounterResetHint::NotReset,
        0b10 => CounterResetHint::Reset,
        _ => CounterResetHint::Gauge,
    }
}

/// A chunk's header.
pub(super) struct Header {
    pub(super) count: u16,
    pub(super) hint: CounterResetHint,
    pub(super) starts: Starts,
}

impl Header {
    pub(super) fn read(data: &[u8], form: Form) -> Option<Header> {
        let &[a, b, c, ..] = data else { return None };
        let count = u16::from_be_bytes([a, b]);
        Some(match form {
            Form::Plain => Header { count, hint: hint_of(c), starts: Starts::default() },
            Form::WithStarts => Header { count: count & COUNT_WITH_STARTS, hint: hint_of(a), starts: Starts::new(c) },
        })
    }

    /// What a reader may say about resets at one sample. Whether the chunk before this one is still the one that the
    /// writer knew cannot be seen here, so the first sample of a counter is `Unknown` whatever the header says.
    pub(super) fn hint_at(&self, sample: u16) -> CounterResetHint {
        match (self.hint, sample) {
            (CounterResetHint::Gauge, _) => CounterResetHint::Gauge,
            (_, 0) => CounterResetHint::Unknown,
            _ => CounterResetHint::NotReset,
        }
    }
}

/// Appends the layout to the bits.
pub(super) fn push_layout(end: &mut BitEnd, bytes: &mut Vec<u8>, layout: &BucketLayout) {
    push_threshold(end, bytes, layout.zero_threshold);
    end.push_varbit_int(bytes, i64::from(layout.schema));
    push_spans(end, bytes, &layout.positive_spans);
    push_spans(end, bytes, &layout.negative_spans);
    if layout.schema == CUSTOM_BUCKETS {
        end.push_varbit_uint(bytes, layout.custom_values.len() as u64);
        for &bound in &layout.custom_values {
            push_bound(end, bytes, bound);
        }
    }
}

/// Reads the layout in front of `samples` samples. `None` in the inner place: the bits end.
pub(super) fn read_layout(bits: &mut Bits<'_>, samples: u16) -> Result<Option<BucketLayout>, DecodeError> {
    let Some((zero_threshold, schema)) = read_threshold(bits).zip(bits.varbit_int()) else { return Ok(None) };
    let known = i32::try_from(schema).ok().filter(|s| *s == CUSTOM_BUCKETS || EXPONENTIAL.contains(s));
    let Some(schema) = known else { return Err(DecodeError::UnknownSchema(schema)) };
    let Some(positive_spans) = read_spans(bits) else { return Ok(None) };
    let Some(negative_spans) = read_spans(bits) else { return Ok(None) };
    let custom_values = match schema {
        CUSTOM_BUCKETS => read_bounds(bits),
        _ => Some(Vec::new()),
    };
    let Some(custom_values) = custom_values else { return Ok(None) };
    let repeated = positive_spans.len() + negative_spans.len() + custom_values.len();
    if repeated * usize::from(samples) > MAX_REPEATED {
        return Err(DecodeError::TooLarge);
    }
    Ok(Some(BucketLayout { schema, zero_threshold, positive_spans, negative_spans, custom_values }))
}

/// Number of buckets in the spans.
pub(super) fn bucket_count(spans: &[Span]) -> u64 {
    spans.iter().map(|span| u64::from(span.length)).sum()
}

/// Zeros for the buckets of the spans, if as many can follow in the bits at `bits_each`.
pub(super) fn buckets_within<B: Clone + Default>(bits: &Bits<'_>, spans: &[Span], bits_each: u64) -> Option<Vec<B>> {
    let count = bucket_count(spans);
    (count <= bits.left() as u64 / bits_each).then(|| vec![B::default(); count as usize])
}

fn push_spans(end: &mut BitEnd, bytes: &mut Vec<u8>, spans: &[Span]) {
    end.push_varbit_uint(bytes, spans.len() as u64);
    for span in spans {
        end.push_varbit_uint(bytes, u64::from(span.length));
        end.push_varbit_int(bytes, i64::from(span.offset));
    }
}

fn read_spans(bits: &mut Bits<'_>) -> Option<Vec<Span>> {
    let count = bits.varbit_uint()?;
    // A span takes two bits at least.
    if count > bits.left() as u64 / 2 {
        return None;
    }
    (0..count)
        .map(|_| {
            let length = u32::try_from(bits.varbit_uint()?).ok()?;
            let offset = i32::try_from(bits.varbit_int()?).ok()?;
            Some(Span { offset, length })
        })
        .collect()
}

fn read_bounds(bits: &mut Bits<'_>) -> Option<Vec<f64>> {
    let count = bits.varbit_uint()?;
    // The shortest bound takes five bits.
    if count > bits.left() as u64 / 5 {
        return None;
    }
    (0..count).map(|_| read_bound(bits)).collect()
}

fn push_threshold(end: &mut BitEnd, bytes: &mut Vec<u8>, threshold: f64) {
    if threshold == 0.0 {
        return end.push(bytes, 0, 8);
    }
    let raw = threshold.to_bits();
    let (is_power, exponent) = (raw << 12 == 0, (raw >> 52) as i32 - 1023);
    let byte = exponent + THRESHOLD_BIAS;
    // The sign would be the top bit of the exponent and puts it out of the range.
    if is_power && (1..i32::from(RAW_THRESHOLD)).contains(&byte) {
        return end.push(bytes, byte as u64, 8);
    }
    end.push(bytes, u64::from(RAW_THRESHOLD), 8);
    end.push(bytes, raw, 64);
}

fn read_threshold(bits: &mut Bits<'_>) -> Option<f64> {
    match bits.take(8)? {
        0 => Some(0.0),
        byte if byte == u64::from(RAW_THRESHOLD) => bits.float(),
        byte => Some(f64::from_bits(((byte as i32 - THRESHOLD_BIAS + 1023) as u64) << 52)),
    }
}

fn push_bound(end: &mut BitEnd, bytes: &mut Vec<u8>, bound: f64) {
    let thousandths = bound * 1000.0;
    let in_range = (0.0..=MAX_THOUSANDTHS).contains(&thousandths);
    if in_range && thousandths.round() / 1000.0 == bound {
        return end.push_varbit_uint(bytes, thousandths.round() as u64 + 1);
    }
    end.push(bytes, 0, 1);
    end.push(bytes, bound.to_bits(), 64);
}

fn read_bound(bits: &mut Bits<'_>) -> Option<f64> {
    match bits.varbit_uint()? {
        0 => bits.float(),
        thousandths => Some((thousandths - 1) as f64 / 1000.0),
    }
}
