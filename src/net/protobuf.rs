//! Protocol buffers on the wire, without generated types: a borrowed cursor over a message's fields, and a writer.
//!
//! Messages with millions of small fields (samples, labels, buckets) are read and written through these two, since generated
//! types allocate a string for every label. Varints and keys are those of `prost`. The laws: nothing is believed before it
//! was measured (every length is checked against what is left), no input can make the reader panic, recurse or allocate, and
//! unknown fields are skipped by whoever does not ask for them. Source: protobuf.dev, "Encoding".

use prost::encoding::{WireType, decode_varint, encode_varint, encoded_len_varint};

/// Why bytes are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtobufError {
    /// A field's bytes end before it does.
    #[error("the message is cut off in field {field}")]
    Truncated {
        /// Its number; 0 if the key itself is cut off.
        field: u32,
    },
    /// A number of more than ten bytes, or more than 64 bits.
    #[error("field {field} has no valid number")]
    Varint {
        /// Its number; 0 if it is the key.
        field: u32,
    },
    /// A key with field number 0, or one above 2^29 - 1, or a wire type that does not exist.
    #[error("{0} is not the key of a field")]
    Key(u64),
    /// A group, which no message of our formats has.
    #[error("field {0} is a group, which is not supported")]
    Group(u32),
    /// A known field has another wire type than its message says.
    #[error("field {field} is not {wanted}")]
    Type {
        /// Its number.
        field: u32,
        /// What it should be: `a string`, `a double`.
        wanted: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("field {0} is not valid UTF-8")]
    Utf8(u32),
}

/// One field's value, as its wire type says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wire<'a> {
    /// Integers, enumerations and booleans.
    Varint(u64),
    /// Doubles and fixed 64-bit integers.
    Fixed64(u64),
    /// Floats and fixed 32-bit integers.
    Fixed32(u32),
    /// Strings, bytes, messages, packed lists.
    Bytes(&'a [u8]),
}

/// One field of a message.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Field<'a> {
    /// Its number, from 1.
    pub number: u32,
    /// Its value.
    pub value: Wire<'a>,
}

impl<'a> Field<'a> {
    /// The field as an unsigned integer; signed ones of `int32` and `int64` are its bits as they are.
    pub fn varint(&self) -> Result<u64, ProtobufError> {
        match self.value {
            Wire::Varint(n) => Ok(n),
            _ => Err(self.mistyped("an integer")),
        }
    }

    /// The field as `int64` or `int32`.
    pub fn int(&self) -> Result<i64, ProtobufError> {
        self.varint().map(u64::cast_signed)
    }

    /// The field as `sint64` or `sint32`.
    pub fn zigzag(&self) -> Result<i64, ProtobufError> {
        self.varint().map(unzigzag)
    }

    /// The field as `double`.
    pub fn double(&self) -> Result<f64, ProtobufError> {
        match self.value {
            Wire::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.mistyped("a double")),
        }
    }

    /// The field as bytes or as a message's.
    pub fn bytes(&self) -> Result<&'a [u8], ProtobufError> {
        match self.value {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mistyped("a message or a string")),
        }
    }

    /// The field as a string.
    pub fn text(&self) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtobufError::Utf8(self.number))
    }

    /// The field as a message.
    pub fn message(&self) -> Result<Fields<'a>, ProtobufError> {
        self.bytes().map(Fields::new)
    }

    /// The integers of a repeated field, which may come packed or one by one.
    pub fn varints(&self) -> Result<Varints<'a>, ProtobufError> {
        match self.value {
            Wire::Varint(n) => Ok(Varints { single: Some(n), packed: &[], field: self.number }),
            Wire::Bytes(packed) => Ok(Varints { single: None, packed, field: self.number }),
            _ => Err(self.mistyped("a list of integers")),
        }
    }

    /// The doubles of a repeated field, which may come packed or one by one.
    pub fn doubles(&self) -> Result<impl Iterator<Item = f64> + use<'a>, ProtobufError> {
        let (single, packed) = match self.value {
            Wire::Fixed64(bits) => (Some(f64::from_bits(bits)), &[][..]),
            Wire::Bytes(packed) => (None, packed),
            _ => return Err(self.mistyped("a list of doubles")),
        };
        let (doubles, rest) = packed.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(ProtobufError::Truncated { field: self.number });
        }
        Ok(single.into_iter().chain(doubles.iter().map(|d| f64::from_le_bytes(*d))))
    }

    fn mistyped(&self, wanted: &'static str) -> ProtobufError {
        ProtobufError::Type { field: self.number, wanted }
    }
}

/// The integers of a repeated field.
#[derive(Clone, Debug)]
pub struct Varints<'a> {
    single: Option<u64>,
    packed: &'a [u8],
    field: u32,
}

impl Iterator for Varints<'_> {
    type Item = Result<u64, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(n) = self.single.take() {
            return Some(Ok(n));
        }
        if self.packed.is_empty() {
            return None;
        }
        let n = varint(&mut self.packed, self.field);
        if n.is_err() {
            self.packed = &[];
        }
        Some(n)
    }
}

/// The fields of a message, in the order in which they were written; ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of the message that `bytes` are.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    fn field(&mut self) -> Result<Field<'a>, ProtobufError> {
        let key = varint(&mut self.rest, 0)?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or(ProtobufError::Key(key))?;
        let wire = WireType::try_from(key & 7).map_err(|_| ProtobufError::Key(key))?;
        let value = match wire {
            WireType::Varint => Wire::Varint(varint(&mut self.rest, number)?),
            WireType::SixtyFourBit => Wire::Fixed64(u64::from_le_bytes(self.array(number)?)),
            WireType::ThirtyTwoBit => Wire::Fixed32(u32::from_le_bytes(self.array(number)?)),
            WireType::LengthDelimited => {
                let length = varint(&mut self.rest, number)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let (bytes, rest) =
                    self.rest.split_at_checked(length).ok_or(ProtobufError::Truncated { field: number })?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(ProtobufError::Group(number)),
        };
        Ok(Field { number, value })
    }

    fn array<const N: usize>(&mut self, field: u32) -> Result<[u8; N], ProtobufError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::Truncated { field })?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ProtobufError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[inline]
fn varint(bytes: &mut &[u8], field: u32) -> Result<u64, ProtobufError> {
    // Most are small: lengths, keys, symbol references.
    if let [first @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*first));
    }
    let cut = bytes.len() < 10 && bytes.iter().all(|b| *b >= 0x80);
    if cut {
        return Err(ProtobufError::Truncated { field });
    }
    decode_varint(bytes).map_err(|_| ProtobufError::Varint { field })
}

/// Takes a message's declared length and the message itself off the front of `bytes`, as streams of delimited messages have
/// them. `None` at the end.
pub fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<Result<&'a [u8], ProtobufError>> {
    if bytes.is_empty() {
        return None;
    }
    let message = varint(bytes, 0).and_then(|length| {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        bytes.split_at_checked(length).ok_or(ProtobufError::Truncated { field: 0 })
    });
    match message {
        Ok((message, rest)) => {
            *bytes = rest;
            Some(Ok(message))
        }
        Err(error) => {
            *bytes = &[];
            Some(Err(error))
        }
    }
}

/// The signed integer that a `sint64` stands for.
pub fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

/// How a `sint64` is written.
pub fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// Writes fields to the end of a buffer. Every method writes its field whatever the value: leaving out defaults, as
/// proto3 writers do, is the caller's choice.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer behind what `out` already holds.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// An integer that is never negative, an enumeration or a boolean.
    pub fn varint(&mut self, field: u32, n: u64) {
        self.key(field, WireType::Varint);
        encode_varint(n, self.out);
    }

    /// `int64` and `int32`.
    pub fn int(&mut self, field: u32, n: i64) {
        self.varint(field, n.cast_unsigned());
    }

    /// `sint64` and `sint32`.
    pub fn zigzag(&mut self, field: u32, n: i64) {
        self.varint(field, zigzag(n));
    }

    /// `double`, to the bit.
    pub fn double(&mut self, field: u32, v: f64) {
        self.fixed64(field, v.to_bits());
    }

    /// `fixed64`, and `sfixed64` by its bits.
    pub fn fixed64(&mut self, field: u32, n: u64) {
        self.key(field, WireType::SixtyFourBit);
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    /// Bytes, a string, or a message that is already written.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, WireType::LengthDelimited);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Fields that are already written.
    pub fn encoded(&mut self, fields: &[u8]) {
        self.out.extend_from_slice(fields);
    }

    /// A message, written in place.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.key(field, WireType::LengthDelimited);
        // One byte holds the length of most; a longer message moves by what its length needs.
        let start = self.out.len();
        self.out.push(0);
        write(&mut Writer { out: self.out });
        let length = (self.out.len() - start - 1) as u64;
        let extra = encoded_len_varint(length) - 1;
        if extra > 0 {
            let end = self.out.len();
            self.out.resize(end + extra, 0);
            self.out.copy_within(start + 1..end, start + 1 + extra);
        }
        encode_varint(length, &mut &mut self.out[start..=start + extra]);
    }

    /// A packed list of integers.
    pub fn packed(&mut self, field: u32, numbers: impl Iterator<Item = u64>) {
        self.message(field, |w| numbers.for_each(|n| encode_varint(n, w.out)));
    }

    /// A packed list of doubles.
    pub fn packed_doubles(&mut self, field: u32, values: impl Iterator<Item = f64>) {
        self.message(field, |w| values.for_each(|v| w.out.extend_from_slice(&v.to_bits().to_le_bytes())));
    }

    fn key(&mut self, field: u32, wire: WireType) {
        encode_varint(u64::from(field) << 3 | wire as u64, self.out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = Vec::new();
        let mut w = Writer::new(&mut bytes);
        w.varint(1, 300);
        w.int(2, -1);
        w.zigzag(3, i64::MIN);
        w.double(4, -0.0);
        w.bytes(5, "é".as_bytes());
        w.message(6, |w| {
            w.bytes(1, &[7; 200]);
            w.message(2, |_| {});
        });
        w.packed(7, [1, u64::MAX].into_iter());
        w.packed_doubles(8, [1.5, f64::NAN].into_iter());
        let fields: Vec<Field<'_>> = Fields::new(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((fields[0].varint(), fields[1].int(), fields[2].zigzag()), (Ok(300), Ok(-1), Ok(i64::MIN)));
        assert_eq!(fields[3].double().unwrap().to_bits(), (-0.0_f64).to_bits());
        assert_eq!(fields[4].text(), Ok("é"));
        let inner: Vec<Field<'_>> = fields[5].message().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!((inner[0].bytes().unwrap().len(), inner[1].bytes()), (200, Ok(&[][..])));
        assert_eq!(fields[6].varints().unwrap().collect::<Vec<_>>(), [Ok(1), Ok(u64::MAX)]);
        let doubles: Vec<f64> = fields[7].doubles().unwrap().collect();
        assert!(doubles[0] == 1.5 && doubles[1].is_nan());
    }

    #[test]
    fn broken_messages_are_refused_with_the_field() {
        let first = |bytes: &'static [u8]| Fields::new(bytes).next().unwrap().unwrap_err();
        assert_eq!(first(&[0x80]), ProtobufError::Truncated { field: 0 });
        assert_eq!(first(&[0x0a, 5, 1]), ProtobufError::Truncated { field: 1 });
        assert_eq!(first(&[0x11, 1, 2]), ProtobufError::Truncated { field: 2 });
        assert_eq!(
            first(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            ProtobufError::Varint { field: 1 }
        );
        assert_eq!(first(&[0x00]), ProtobufError::Key(0));
        assert_eq!(first(&[0x0f]), ProtobufError::Key(15));
        assert_eq!(first(&[0x0b]), ProtobufError::Group(1));
        let text = Fields::new(&[0x0a, 1, 0xff]).next().unwrap().unwrap();
        assert_eq!(text.text(), Err(ProtobufError::Utf8(1)));
        assert_eq!(text.double(), Err(ProtobufError::Type { field: 1, wanted: "a double" }));
        let mut length = &[0xff, 0xff, 0xff, 0xff, 0x0f][..];
        assert_eq!(delimited(&mut length), Some(Err(ProtobufError::Truncated { field: 0 })));
        assert_eq!(delimited(&mut length), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_go_on_forever(bytes: Vec<u8>) {
            let mut fields = 0;
            for field in Fields::new(&bytes) {
                fields += 1;
                let Ok(field) = field else { break };
                let lists = field.varints().map(|v| v.count()).unwrap_or(0) + field.doubles().map_or(0, |d| d.count());
                prop_assert!(lists <= bytes.len() + 1);
            }
            prop_assert!(fields <= bytes.len());
        }

        #[test]
        fn zigzag_is_its_own_inverse(n: i64) {
            prop_assert_eq!(unzigzag(zigzag(n)), n);
        }
    }
}
