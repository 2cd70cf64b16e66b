//! The bit stream that all chunk encodings share: reading, writing, and the two ways of writing a number in few bits.
//!
//! Bits fill each byte from the highest down. A reader answers `None` when the bytes end within what is asked for.

/// Widths of the number that follows 1, 2, ... 8 one bits in a varbit number; after none of them it is 0.
const VARBIT_WIDTHS: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];
/// Leading zeros of a window are written in five bits.
const MAX_LEADING: u32 = 31;
/// No window has been written yet.
const NO_WINDOW: u8 = u8::MAX;

/// Reads bits from the highest of the first byte on.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Bits<'a> {
        Bits { data, at: 0 }
    }

    /// Bits that are left; every length that a stream tells is checked against it.
    pub(super) fn left(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.at)
    }

    /// The next `n` bits, 1 to 64, right-aligned.
    pub(super) fn take(&mut self, n: u32) -> Option<u64> {
        let (byte, shift) = (self.at / 8, (self.at % 8) as u32);
        let window = match self.data.get(byte..byte + 8) {
            Some(eight) => u64::from_be_bytes(eight.try_into().ok()?),
            None => self.tail_window(byte, n + shift)?,
        };
        let mut value = window << shift;
        if n + shift > 64 {
            // The window lacks the last bits; they open the ninth byte.
            value |= u64::from(*self.data.get(byte + 8)?) >> (8 - shift);
        }
        self.at += n as usize;
        Some(value >> (64 - n))
    }

    /// The last bytes, padded with zeros, if they hold `needed` bits.
    #[cold]
    fn tail_window(&self, byte: usize, needed: u32) -> Option<u64> {
        let rest = self.data.get(byte..)?;
        if rest.len() * 8 < needed as usize {
            return None;
        }
        let mut padded = [0; 8];
        padded[..rest.len()].copy_from_slice(rest);
        Some(u64::from_be_bytes(padded))
    }

    /// The number of one bits, at most `most` (up to 8), before a zero bit, which is read too; after `most` ones none is.
    pub(super) fn ones(&mut self, most: u32) -> Option<u32> {
        let byte = |at: usize| self.data.get(at).copied().unwrap_or(0);
        let next = u16::from_be_bytes([byte(self.at / 8), byte(self.at / 8 + 1)]) << (self.at % 8);
        let ones = next.leading_ones().min(most);
        self.take(ones + u32::from(ones < most))?;
        Some(ones)
    }

    /// A number of seven bits a byte, the lowest first, the highest bit of a byte set if another follows.
    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// As [`Bits::uvarint`], the sign in the lowest bit.
    pub(super) fn varint(&mut self) -> Option<i64> {
        let zigzag = self.uvarint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// `width` bits of a number whose upper half, beyond the middle, stands for the negative ones.
    pub(super) fn skewed(&mut self, width: u32) -> Option<i64> {
        let raw = self.take(width)? as i64;
        Some(if width < 64 && raw > 1 << (width - 1) { raw - (1 << width) } else { raw })
    }

    /// An unsigned varbit number.
    pub(super) fn varbit_uint(&mut self) -> Option<u64> {
        match self.ones(8)? {
            0 => Some(0),
            ones => self.take(VARBIT_WIDTHS[ones as usize - 1]),
        }
    }

    /// A signed varbit number.
    pub(super) fn varbit_int(&mut self) -> Option<i64> {
        match self.ones(8)? {
            0 => Some(0),
            ones => self.skewed(VARBIT_WIDTHS[ones as usize - 1]),
        }
    }

    /// 64 bits as a float.
    pub(super) fn float(&mut self) -> Option<f64> {
        self.take(64).map(f64::from_bits)
    }
}

/// Where a growing bit stream ends within its last byte. The bytes live outside so that their owner decides how they
/// grow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BitEnd {
    /// Unused low bits of the last byte.
    free: u8,
}

impl BitEnd {
    /// Appends the low `n` bits of `value`, 1 to 64, the highest of them first. Higher bits of `value` must be zero.
    #[inline]
    pub(super) fn push(&mut self, bytes: &mut Vec<u8>, value: u64, n: u32) {
        // Most pushes are of one bit.
        let free = u32::from(self.free);
        if n <= free
            && let Some(last) = bytes.last_mut()
        {
            *last |= (value << (free - n)) as u8;
            self.free = (free - n) as u8;
            return;
        }
        self.push_on(bytes, value, n);
    }

    /// Appends bits of which some open another byte.
    fn push_on(&mut self, bytes: &mut Vec<u8>, value: u64, n: u32) {
        let free = u32::from(self.free);
        if free > 0
            && let Some(last) = bytes.last_mut()
        {
            *last |= (value >> (n - free)) as u8;
        }
        let rest = n - free;
        // Left-aligned, the rest is whole bytes and then the new last byte.
        let aligned = if rest == 0 { 0 } else { value << (64 - rest) };
        let used = rest.div_ceil(8);
        bytes.extend_from_slice(&aligned.to_be_bytes()[..used as usize]);
        self.free = (used * 8 - rest) as u8;
    }

    /// Appends an unsigned varbit number: the narrowest width that holds it.
    pub(super) fn push_varbit_uint(&mut self, bytes: &mut Vec<u8>, value: u64) {
        if value == 0 {
            return self.push(bytes, 0, 1);
        }
        let needed = 64 - value.leading_zeros();
        self.push_varbit(bytes, value, |width| needed <= width);
    }

    /// Appends a signed varbit number: the narrowest width whose skewed range holds it.
    pub(super) fn push_varbit_int(&mut self, bytes: &mut Vec<u8>, value: i64) {
        if value == 0 {
            return self.push(bytes, 0, 1);
        }
        self.push_varbit(bytes, value as u64, |width| fits_skewed(value, width));
    }

    /// Appends what [`Bits::varint`] reads, wherever the stream ends within its last byte.
    pub(super) fn push_varint(&mut self, bytes: &mut Vec<u8>, value: i64) {
        let mut whole = Vec::with_capacity(10);
        push_varint(&mut whole, value);
        for byte in whole {
            self.push(bytes, u64::from(byte), 8);
        }
    }

    fn push_varbit(&mut self, bytes: &mut Vec<u8>, value: u64, fits: impl Fn(u32) -> bool) {
        for (ones, width) in (1..8u32).zip(VARBIT_WIDTHS) {
            if fits(width) {
                let prefix = ((1u64 << ones) - 1) << 1;
                return self.push(bytes, prefix << width | value & ((1 << width) - 1), ones + 1 + width);
            }
        }
        self.push(bytes, 0xff, 8);
        self.push(bytes, value, 64);
    }
}

/// Whether [`Bits::skewed`] of a width below 64 can say the value: one more on the positive side than in two's complement.
pub(super) fn fits_skewed(value: i64, width: u32) -> bool {
    let half = 1i64 << (width - 1);
    -(half - 1) <= value && value <= half
}

/// The significant bits of the xor written last, as the writer remembers them.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenWindow {
    leading: u8,
    trailing: u8,
}

impl Default for WrittenWindow {
    fn default() -> WrittenWindow {
        WrittenWindow { leading: NO_WINDOW, trailing: 0 }
    }
}

impl WrittenWindow {
    /// Appends the xor of a value's bits with those of the value before it: 0 | 10 + bits in the window before | 11 + a new
    /// window and its bits.
    #[inline]
    pub(super) fn push(&mut self, end: &mut BitEnd, bytes: &mut Vec<u8>, xor: u64) {
        match xor {
            0 => end.push(bytes, 0, 1),
            _ => self.push_changed(end, bytes, xor, (0b10, 0b11), (2, 2)),
        }
    }

    /// Appends an xor that is not 0, behind one prefix for the window before and another for a new one, each with its
    /// width.
    #[inline]
    pub(super) fn push_changed(
        &mut self,
        end: &mut BitEnd,
        bytes: &mut Vec<u8>,
        xor: u64,
        (same, new): (u64, u64),
        (same_width, new_width): (u32, u32),
    ) {
        let leading = xor.leading_zeros().min(MAX_LEADING);
        let trailing = xor.trailing_zeros();
        let (old_leading, old_trailing) = (u32::from(self.leading), u32::from(self.trailing));
        if self.leading != NO_WINDOW && leading >= old_leading && trailing >= old_trailing {
            end.push(bytes, same, same_width);
            return end.push(bytes, xor >> old_trailing, 64 - old_leading - old_trailing);
        }
        let significant = 64 - leading - trailing;
        (self.leading, self.trailing) = (leading as u8, trailing as u8);
        end.push(bytes, new << 11 | u64::from(leading) << 6 | u64::from(significant & 63), new_width + 11);
        end.push(bytes, xor >> trailing, significant);
    }
}

/// The significant bits of the xor read last; all 64 before the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadWindow {
    leading: u32,
    trailing: u32,
}

impl ReadWindow {
    /// The xor behind its prefix: 0 | 10 + bits in the window before | 11 + a new window and its bits.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>) -> Option<u64> {
        if bits.take(1)? == 0 {
            return Some(0);
        }
        if bits.take(1)? == 1 { self.read_new(bits) } else { self.read_same(bits) }
    }

    /// A new window, then the xor's bits in it.
    pub(super) fn read_new(&mut self, bits: &mut Bits<'_>) -> Option<u64> {
        let window = bits.take(11)? as u32;
        let leading = window >> 6;
        let significant = if window & 63 == 0 { 64 } else { window & 63 };
        self.trailing = 64u32.checked_sub(leading + significant)?;
        self.leading = leading;
        self.read_same(bits)
    }

    /// The xor's bits in the window before.
    pub(super) fn read_same(&mut self, bits: &mut Bits<'_>) -> Option<u64> {
        Some(bits.take(64 - self.leading - self.trailing)? << self.trailing)
    }
}

/// Appends an unsigned number of seven bits a byte, the lowest first.
pub(super) fn push_uvarint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// As [`push_uvarint`], the sign in the lowest bit.
pub(super) fn push_varint(bytes: &mut Vec<u8>, value: i64) {
    push_uvarint(bytes, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varbit_numbers_take_the_narrowest_width() {
        // Last value of each width, then the first of the next: 5, 9, 13, 17, 24, 32, 64 and 72 bits.
        let cases: [(i64, usize); 12] = [
            (0, 1),
            (4, 5),
            (-3, 5),
            (5, 9),
            (-4, 9),
            (32, 9),
            (33, 13),
            (2048, 17),
            (131_073, 32),
            (16_777_217, 64),
            (1 << 55, 64),
            (-(1 << 55), 72),
        ];
        for (value, width) in cases {
            let (mut end, mut bytes) = (BitEnd::default(), Vec::new());
            end.push_varbit_int(&mut bytes, value);
            assert_eq!(bytes.len() * 8 - usize::from(end.free), width, "{value}");
        }
        let (mut end, mut bytes) = (BitEnd::default(), Vec::new());
        end.push_varbit_int(&mut bytes, -3);
        end.push_varbit_uint(&mut bytes, 7);
        assert_eq!(bytes, [0b1010_1101, 0b1100_0000]);
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written(
            values in prop::collection::vec((any::<i64>(), 0u32..64, any::<u64>(), 1u32..65), 1..50)
        ) {
            let (mut end, mut bytes) = (BitEnd::default(), Vec::new());
            for &(int, shift, raw, n) in &values {
                end.push_varbit_int(&mut bytes, int >> shift);
                end.push_varbit_uint(&mut bytes, raw >> shift);
                end.push(&mut bytes, raw >> (64 - n), n);
            }
            let mut bits = Bits::new(&bytes);
            for &(int, shift, raw, n) in &values {
                prop_assert_eq!(bits.varbit_int(), Some(int >> shift));
                prop_assert_eq!(bits.varbit_uint(), Some(raw >> shift));
                prop_assert_eq!(bits.take(n), Some(raw >> (64 - n)));
            }
            prop_assert!(bits.left() < 8);
            prop_assert_eq!(bits.take(8), None);
        }
    }
}
