//! Start timestamps: since when a sample's counter has been counting, beside each sample of the newer encodings.
//!
//! One header byte says whether the first sample has one (highest bit) and at which sample the first change comes (the
//! low seven bits, 0 for none). A start is written as its distance before the time of the sample **before** it, so that
//! a start that follows each sample costs next to nothing.

use super::bits::{BitEnd, Bits};

/// The header bit that says that the first sample has a start.
const FIRST_KNOWN: u8 = 0x80;

/// The header byte's place in a chunk of any encoding that has one.
const HEADER_AT: usize = 2;
/// The last sample whose number the header can hold. Starts are written from there on even if none has changed, because a
/// later change could not be told any more.
const LAST_FIRST_CHANGE: u16 = 0x7f;

/// Writes the starts of one chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WrittenStarts {
    header: u8,
    start: i64,
    distance: i64,
}

impl WrittenStarts {
    /// Appends the start of the sample `index`, whose time `t` and values have just been written; the sample before it was
    /// at `before`.
    pub(super) fn push(
        &mut self,
        end: &mut BitEnd,
        bytes: &mut Vec<u8>,
        index: u16,
        (before, t): (i64, i64),
        start: i64,
    ) {
        let changes = self.header & !FIRST_KNOWN != 0;
        let distance = before.wrapping_sub(start);
        if index == 0 {
            if start != 0 {
                self.header = FIRST_KNOWN;
                end.push_varint(bytes, t.wrapping_sub(start));
            }
        } else if changes {
            end.push_varbit_int(bytes, distance.wrapping_sub(std::mem::replace(&mut self.distance, distance)));
        } else if start != self.start || index == LAST_FIRST_CHANGE {
            self.header |= index as u8;
            self.distance = distance;
            end.push_varbit_int(bytes, distance);
        }
        self.start = start;
        bytes[HEADER_AT] = self.header;
    }
}

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
