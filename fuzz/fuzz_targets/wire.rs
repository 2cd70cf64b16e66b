use watershed::net::protobuf::{Fields, Wire, Writer, delimited};
use watershed::net::unpack;
use watershed::remote::snappy as block;
use watershed::web::certificate_names;

/// More than any input of these makes, and little enough to be seen when it is passed.
const LIMIT: usize = 1 << 20;

/// Fields are read whatever they are, and what is written is read as it was.
pub fn protobuf(data: &[u8]) {
    walk(data, 0);
    let mut rest = data;
    while let Some(Ok(one)) = delimited(&mut rest) {
        walk(one, 0);
    }
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    for (number, byte) in (1..).zip(data) {
        writer.zigzag(number, i64::from(*byte) - 128);
        writer.bytes(number, &data[..usize::from(*byte).min(data.len())]);
    }
    let mut fields = Fields::new(&out);
    for (number, byte) in (1..).zip(data) {
        let mut next = || fields.next().expect("a field").expect("a good field");
        let (first, second) = (next(), next());
        assert_eq!((first.number, first.zigzag()), (number, Ok(i64::from(*byte) - 128)));
        assert_eq!(second.bytes(), Ok(&data[..usize::from(*byte).min(data.len())]));
    }
}

fn walk(bytes: &[u8], depth: u32) {
    for field in Fields::new(bytes) {
        let Ok(field) = field else { return };
        let _ = (field.varint(), field.int(), field.zigzag(), field.double(), field.text());
        let _ = field.varints().map(Iterator::count);
        let _ = field.doubles().map(Iterator::count);
        if let (Wire::Bytes(inner), true) = (field.value, depth < 20) {
            walk(inner, depth + 1);
        }
    }
}

/// A block is never more than is allowed, and what is packed is unpacked.
pub fn snappy(data: &[u8]) {
    let mut out = Vec::new();
    if block::decode(data, LIMIT, &mut out).is_ok() {
        assert!(out.len() <= LIMIT);
        assert_eq!(block::declared_len(data), Some(out.len() as u64));
    }
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    block::encode(data, &mut packed).expect("an input is small enough");
    block::decode(&packed, LIMIT, &mut unpacked).expect("what was packed can be unpacked");
    assert_eq!(unpacked, data);
}

pub fn gzip(data: &[u8]) {
    capped(data, "gzip");
}

pub fn zstd(data: &[u8]) {
    capped(data, "zstd");
}

/// What is unpacked stays below its limit, and needs no more memory than that.
fn capped(data: &[u8], encoding: &str) {
    for limit in [1, 100, 70_000, LIMIT] {
        let mut out = Vec::new();
        let done = unpack(data, encoding, limit as u64, &mut out);
        assert!(out.len() <= limit && out.capacity() <= limit.max(64 << 10));
        assert!(done.is_err() || out.len() < limit);
    }
}

/// Names are made of the certificate's bytes: no more of them than those have room for, since each has a tag and a length.
pub fn certificate(data: &[u8]) {
    assert!(certificate_names(data).len() * 2 <= data.len());
}
