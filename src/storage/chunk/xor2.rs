//! Floats in Prometheus's second XOR encoding: read only.
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

use super::bits::{Bits, ReadWindow};
use super::starts::Starts;
use super::{Columns, DecodeError};
use crate::model::STALE_NAN;

/// Width of the number of samples and the starts in front of the bits.
const HEADER: usize = 3;

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
