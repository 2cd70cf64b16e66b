//! Floats in Prometheus's XOR encoding (after Facebook's Gorilla).
//!
//! ```text
//! count    u16 big endian
//! sample 0 time as zigzag varint, value as 64 bits
//! sample 1 time delta as uvarint, value by xor
//! sample n delta of the time delta, value by xor
//!
//! delta of delta   0 | 10 + 14 bits | 110 + 17 bits | 1110 + 20 bits | 1111 + 64 bits
//! xor              0                                   the value before again
//!                  10 + significant bits               they fit the window used before
//!                  11 + 5 bits leading zeros + 6 bits their number (0 is 64) + significant bits
//! ```

use super::bits::{BitEnd, Bits, ReadWindow, WrittenWindow, fits_skewed, push_uvarint, push_varint};
use super::{Columns, DecodeError};

/// Width of the number of samples in front of the bits.
const HEADER: usize = 2;
/// Widths of the delta of delta after a prefix of 1, 2 and 3 one bits.
const DOD_BITS: [u32; 3] = [14, 17, 20];

/// Where a growing chunk stands: what the next sample is encoded against. The bytes live outside so that their owner
/// decides how they grow.
#[derive(Clone, Copy, Debug)]
pub struct XorState {
    t: i64,
    v: f64,
    delta: i64,
    count: u16,
    window: WrittenWindow,
    end: BitEnd,
}

impl Default for XorState {
    fn default() -> XorState {
        XorState::new()
    }
}

impl XorState {
    /// The most bytes that one sample can take: 4 + 64 bits of time, 13 + 64 bits of value, rounded up.
    pub const MAX_SAMPLE_BYTES: usize = 20;

    /// The state before the first sample; its bytes are empty.
    pub fn new() -> XorState {
        XorState { t: 0, v: 0.0, delta: 0, count: 0, window: WrittenWindow::default(), end: BitEnd::default() }
    }

    /// Samples encoded so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Time in milliseconds and value of the newest sample; zeros before the first.
    pub fn last(&self) -> (i64, f64) {
        (self.t, self.v)
    }

    /// Appends one sample to `bytes`, which hold this chunk and nothing else. Times must ascend and a chunk holds at
    /// most 65,535 samples; callers cut far earlier.
    pub fn append(&mut self, bytes: &mut Vec<u8>, t: i64, v: f64) {
        match self.count {
            0 => {
                bytes.extend_from_slice(&[0; HEADER]);
                push_varint(bytes, t);
                bytes.extend_from_slice(&v.to_bits().to_be_bytes());
            }
            1 => {
                self.delta = t.wrapping_sub(self.t);
                push_uvarint(bytes, self.delta as u64);
                self.append_value(bytes, v);
            }
            _ => {
                let delta = t.wrapping_sub(self.t);
                self.append_dod(bytes, delta.wrapping_sub(self.delta));
                self.delta = delta;
                self.append_value(bytes, v);
            }
        }
        self.t = t;
        self.v = v;
        self.count += 1;
        bytes[..HEADER].copy_from_slice(&self.count.to_be_bytes());
    }

    fn append_dod(&mut self, bytes: &mut Vec<u8>, dod: i64) {
        if dod == 0 {
            return self.end.push(bytes, 0, 1);
        }
        for (ones, bits) in (1..).zip(DOD_BITS) {
            if fits_skewed(dod, bits) {
                // Prefix of `ones` one bits and a zero.
                let prefix = ((1u64 << ones) - 1) << 1;
                let low = dod as u64 & ((1 << bits) - 1);
                return self.end.push(bytes, prefix << bits | low, ones + 1 + bits);
            }
        }
        self.end.push(bytes, 0b1111, 4);
        self.end.push(bytes, dod as u64, 64);
    }

    fn append_value(&mut self, bytes: &mut Vec<u8>, v: f64) {
        self.window.push(&mut self.end, bytes, v.to_bits() ^ self.v.to_bits());
    }
}

/// Appends the samples of an encoded chunk to `columns`.
pub fn decode_into(data: &[u8], columns: &mut Columns) -> Result<(), DecodeError> {
    let mut sample = 0;
    let count = match data {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    decode_samples(data, count, columns, &mut sample).ok_or(DecodeError::Truncated { sample, count })
}

fn decode_samples(data: &[u8], count: u16, columns: &mut Columns, sample: &mut u16) -> Option<()> {
    let mut bits = Bits::new(data.get(HEADER..)?);
    let (mut t, mut delta, mut v) = (0i64, 0i64, 0u64);
    let mut window = ReadWindow::default();
    columns.times.reserve(usize::from(count));
    columns.values.reserve(usize::from(count));
    while *sample < count {
        match *sample {
            0 => t = bits.varint()?,
            1 => {
                delta = bits.uvarint()? as i64;
                t = t.wrapping_add(delta);
            }
            _ => {
                delta = delta.wrapping_add(read_dod(&mut bits)?);
                t = t.wrapping_add(delta);
            }
        }
        if *sample == 0 {
            v = bits.take(64)?;
        } else {
            v ^= window.read(&mut bits)?;
        }
        columns.times.push(t);
        columns.values.push(f64::from_bits(v));
        *sample += 1;
    }
    Some(())
}

/// The delta of the time delta behind its prefix.
fn read_dod(bits: &mut Bits<'_>) -> Option<i64> {
    if bits.take(1)? == 0 {
        return Some(0);
    }
    for width in DOD_BITS {
        if bits.take(1)? == 0 {
            return bits.skewed(width);
        }
    }
    Some(bits.take(64)? as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
        let (mut state, mut bytes) = (XorState::new(), Vec::new());
        for &(t, v) in samples {
            let before = bytes.len();
            state.append(&mut bytes, t, v);
            assert!(bytes.len() - before <= XorState::MAX_SAMPLE_BYTES + HEADER);
        }
        assert_eq!(usize::from(state.count()), samples.len());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Vec<(i64, u64)>, DecodeError> {
        let mut columns = Columns::default();
        decode_into(bytes, &mut columns)?;
        Ok(columns.times.into_iter().zip(columns.values.into_iter().map(f64::to_bits)).collect())
    }

    #[test]
    fn bytes_are_those_that_the_reference_writes() {
        // Worked out by hand: header, zigzag(1000), 1.0; delta 15000, same value; same delta, 2.0 (xor 0x7ff << 52).
        let bytes = encode(&[(1000, 1.0), (16_000, 1.0), (31_000, 2.0)]);
        let expected = [
            0,
            3, // count
            0xd0,
            0x0f, // 1000
            0x3f,
            0xf0,
            0,
            0,
            0,
            0,
            0,
            0, // 1.0
            0x98,
            0x75,        // 15000
            0b0011_0000, // 0: same value; 0: same delta; 11: new window; 5 bits of leading zeros from here: 1 ...
            0b1001_0111, // ... 6 bits of length 11, then the first of 11 one bits
            0xff,
            0b1100_0000,
        ];
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_to_the_bit(
            start in any::<i64>(),
            samples in prop::collection::vec((prop_oneof![0i64..40_000, any::<i64>(), -70_000i64..600_000], any::<u64>(), any::<bool>()), 1..200),
        ) {
            let mut t = start;
            let mut last = 0;
            let samples: Vec<_> = samples.into_iter().map(|(delta, bits, repeat)| {
                t = t.wrapping_add(delta);
                if !repeat { last = bits }
                (t, f64::from_bits(last))
            }).collect();
            let expected: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
            let bytes = encode(&samples);
            prop_assert_eq!(decode(&bytes), Ok(expected));
            // Bytes behind the last sample do not matter, missing ones are an error.
            let mut longer = bytes.clone();
            longer.extend_from_slice(&[0xff; 3]);
            prop_assert_eq!(decode(&longer).map(|s| s.len()), Ok(samples.len()));
            if samples.len() > 1 {
                prop_assert!(decode(&bytes[..bytes.len() - 1]).is_err());
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
