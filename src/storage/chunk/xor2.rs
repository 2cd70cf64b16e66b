//! Floats in Prometheus's second XOR encoding, with start timestamps.
//!
//! ```text
//! count    u16 big endian
//! starts   u8, see FORMATS.md
//! sample 0 time as zigzag varint, value as 64 bits, start if known
//! sample 1 time delta as uvarint, value, start if it changes
//! sample n what changed, in one prefix:
//!
//!          0                    neither delta nor value
//!          10   + xor           the value; 0: in the window before, 1: in a new window
//!          110  + 13 bits       delta of the time delta, then value
//!          1110 + 20 bits       the same
//!          11110 + 64 bits      the same
//!          11111                the value is the staleness marker
//!
//! value    0 as before | 10 + xor in the window before | 110 + xor in a new window | 111 staleness marker
//! ```
//!
//! Deltas of deltas are two's complement here. A staleness marker does not become the value that the next xor is
//! taken with; the last other value stays it.

use super::bits::{BitEnd, Bits, ReadWindow, WrittenWindow, push_uvarint, push_varint};
use super::starts::{Starts, WrittenStarts};
use super::{Columns, DecodeError};
use crate::model::{STALE_NAN, is_stale};

/// Width of the number of samples and the starts in front of the bits.
const HEADER: usize = 3;

/// Where a growing chunk stands: what the next sample is encoded against. The bytes live outside so that their owner
/// decides how they grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xor2State {
    t: i64,
    /// The newest value that is not the staleness marker.
    v: f64,
    is_stale: bool,
    delta: i64,
    count: u16,
    window: WrittenWindow,
    starts: WrittenStarts,
    end: BitEnd,
}

impl Xor2State {
    /// The most bytes that one sample behind the first can take: the widest delta, value and start, 69, 77 and 72 bits.
    pub const MAX_SAMPLE_BYTES: usize = 28;

    /// The state before the first sample; its bytes are empty.
    pub fn new() -> Xor2State {
        Xor2State::default()
    }

    /// Samples encoded so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Time in milliseconds and value of the newest sample; zeros before the first.
    pub fn last(&self) -> (i64, f64) {
        (self.t, if self.is_stale { STALE_NAN } else { self.v })
    }

    /// Appends one sample, which has been counted since `start` (0 if that is not known), to `bytes`, which hold this chunk
    /// and nothing else. Times must ascend and a chunk holds at most 65,535 samples; callers cut far earlier.
    pub fn append(&mut self, bytes: &mut Vec<u8>, t: i64, start: i64, v: f64) {
        let delta = t.wrapping_sub(self.t);
        match self.count {
            0 => {
                bytes.extend_from_slice(&[0; HEADER]);
                push_varint(bytes, t);
                bytes.extend_from_slice(&v.to_bits().to_be_bytes());
            }
            1 => {
                push_uvarint(bytes, delta as u64);
                self.push_value(bytes, v);
            }
            _ => match delta.wrapping_sub(self.delta) {
                0 => self.push_at_same_pace(bytes, v),
                dod => {
                    self.push_dod(bytes, dod);
                    self.push_value(bytes, v);
                }
            },
        }
        self.delta = if self.count == 0 { 0 } else { delta };
        self.starts.push(&mut self.end, bytes, self.count, (self.t, t), start);
        self.t = t;
        self.is_stale = is_stale(v);
        if !self.is_stale {
            self.v = v;
        }
        self.count += 1;
        bytes[..2].copy_from_slice(&self.count.to_be_bytes());
    }

    /// The prefix that says whether and how the value changes where the delta does not.
    fn push_at_same_pace(&mut self, bytes: &mut Vec<u8>, v: f64) {
        match v.to_bits() ^ self.v.to_bits() {
            _ if is_stale(v) => self.end.push(bytes, 0b11111, 5),
            0 => self.end.push(bytes, 0, 1),
            xor => self.window.push_changed(&mut self.end, bytes, xor, (0b100, 0b101), (3, 3)),
        }
    }

    fn push_dod(&mut self, bytes: &mut Vec<u8>, dod: i64) {
        for (prefix, prefix_width, width) in [(0b110, 3, 13), (0b1110, 4, 20)] {
            let half = 1i64 << (width - 1);
            if (-half..half).contains(&dod) {
                let low = dod as u64 & ((1 << width) - 1);
                return self.end.push(bytes, prefix << width | low, prefix_width + width);
            }
        }
        self.end.push(bytes, 0b11110, 5);
        self.end.push(bytes, dod as u64, 64);
    }

    /// A value with its own prefix.
    fn push_value(&mut self, bytes: &mut Vec<u8>, v: f64) {
        match v.to_bits() ^ self.v.to_bits() {
            _ if is_stale(v) => self.end.push(bytes, 0b111, 3),
            0 => self.end.push(bytes, 0, 1),
            xor => self.window.push_changed(&mut self.end, bytes, xor, (0b10, 0b110), (2, 3)),
        }
    }
}

/// Appends the samples of an encoded chunk to `columns`.
pub fn decode_into(data: &[u8], columns: &mut Columns) -> Result<(), DecodeError> {
    let mut sample = 0;
    let count = match data {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    let starts = Starts::new(data.get(HEADER - 1).copied().unwrap_or(0));
    let result = decode_samples(data, count, starts, columns, &mut sample);
    result.ok_or(DecodeError::Truncated { sample, count })
}

fn decode_samples(data: &[u8], count: u16, mut starts: Starts, columns: &mut Columns, sample: &mut u16) -> Option<()> {
    let mut bits = Bits::new(data.get(HEADER..)?);
    let (mut t, mut delta) = (0i64, 0i64);
    let mut values = Values::default();
    columns.times.reserve(usize::from(count));
    columns.values.reserve(usize::from(count));
    while *sample < count {
        let before = t;
        let v = match *sample {
            0 => {
                t = bits.varint()?;
                values.first(&mut bits)?
            }
            1 => {
                delta = bits.uvarint()? as i64;
                t = t.wrapping_add(delta);
                values.read(&mut bits)?
            }
            _ => {
                let change = bits.ones(5)?;
                if (2..=4).contains(&change) {
                    delta = delta.wrapping_add(read_dod(&mut bits, change)?);
                }
                t = t.wrapping_add(delta);
                match change {
                    0 => values.last(),
                    1 => values.read_changed(&mut bits)?,
                    2..=4 => values.read(&mut bits)?,
                    _ => STALE_NAN,
                }
            }
        };
        let start = starts.read(&mut bits, *sample, t, before)?;
        columns.push(t, v, starts.any().then_some(start));
        *sample += 1;
    }
    Some(())
}

/// The two's complement number behind a prefix of 2, 3 or 4 ones.
fn read_dod(bits: &mut Bits<'_>, ones: u32) -> Option<i64> {
    let width = match ones {
        2 => 13,
        3 => 20,
        _ => 64,
    };
    let unused = 64 - width;
    Some((bits.take(width)? << unused) as i64 >> unused)
}

/// What the next value is encoded against.
#[derive(Default)]
struct Values {
    /// Bits of the newest value that is not the staleness marker.
    bits: u64,
    window: ReadWindow,
}

impl Values {
    fn last(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    fn first(&mut self, bits: &mut Bits<'_>) -> Option<f64> {
        let v = bits.take(64)?;
        if v != STALE_NAN.to_bits() {
            self.bits = v;
        }
        Some(f64::from_bits(v))
    }

    /// A value with its own prefix.
    fn read(&mut self, bits: &mut Bits<'_>) -> Option<f64> {
        match bits.ones(3)? {
            0 => {}
            1 => self.bits ^= self.window.read_same(bits)?,
            2 => self.bits ^= self.window.read_new(bits)?,
            _ => return Some(STALE_NAN),
        }
        Some(self.last())
    }

    /// A value that is known to differ and not to be the staleness marker.
    fn read_changed(&mut self, bits: &mut Bits<'_>) -> Option<f64> {
        let new = bits.take(1)? == 1;
        self.bits ^= if new { self.window.read_new(bits)? } else { self.window.read_same(bits)? };
        Some(self.last())
    }
}
