//! Start timestamps: since when a sample's counter has been counting, beside each sample of the newer encodings.
//!
//! One header byte says whether the first sample has one (highest bit) and at which sample the first change comes (the
//! low seven bits, 0 for none). A start is written as its distance before the time of the sample **before** it, so that
//! a start that follows each sample costs next to nothing.

use super::bits::Bits;

/// The header bit that says that the first sample has a start.
const FIRST_KNOWN: u8 = 0x80;

/// Reads the starts of one chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Starts {
    header: u8,
    start: i64,
    distance: i64,
}

impl Starts {
    pub(super) fn new(header: u8) -> Starts {
        Starts { header, start: 0, distance: 0 }
    }

    /// Whether any sample of the chunk can have a start.
    pub(super) fn any(&self) -> bool {
        self.header != 0
    }

    /// The start of the sample `index`, whose time and values have just been read; 0 if it has none.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>, index: u16, t: i64, before: i64) -> Option<i64> {
        let change = u16::from(self.header & !FIRST_KNOWN);
        if index == 0 {
            if self.header & FIRST_KNOWN != 0 {
                self.start = t.wrapping_sub(bits.varint()?);
            }
        } else if change > 0 && index >= change {
            let step = bits.varbit_int()?;
            self.distance = if index == change { step } else { self.distance.wrapping_add(step) };
            self.start = before.wrapping_sub(self.distance);
        }
        Some(self.start)
    }
}
