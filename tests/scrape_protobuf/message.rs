//! A writer of `io.prometheus.client` messages that shares no line with the parser under test.

/// The content type of delimited messages.
pub const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A message that is being written.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn raw(&mut self, mut n: u64) {
        while n >= 128 {
            self.0.push(n as u8 | 128);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.raw(field << 3 | wire);
    }

    pub fn int(&mut self, field: u64, n: i64) -> &mut Message {
        self.key(field, 0);
        self.raw(n as u64);
        self
    }

    pub fn zigzag(&mut self, field: u64, n: i64) -> &mut Message {
        self.int(field, (n << 1) ^ (n >> 63))
    }

    pub fn double(&mut self, field: u64, v: f64) -> &mut Message {
        self.key(field, 1);
        self.0.extend(v.to_bits().to_le_bytes());
        self
    }

    pub fn text(&mut self, field: u64, text: &str) -> &mut Message {
        self.bytes(field, text.as_bytes())
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Message {
        self.key(field, 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) -> &mut Message {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }

    pub fn packed_zigzag(&mut self, field: u64, numbers: &[i64]) -> &mut Message {
        let mut inner = Message::default();
        numbers.iter().for_each(|n| inner.raw(((n << 1) ^ (n >> 63)) as u64));
        self.bytes(field, &inner.0)
    }

    pub fn packed_doubles(&mut self, field: u64, numbers: &[f64]) -> &mut Message {
        let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }

    pub fn timestamp(&mut self, field: u64, ms: i64) -> &mut Message {
        self.message(field, |m| drop(m.int(1, ms / 1000).int(2, ms % 1000 * 1_000_000)))
    }

    pub fn label(&mut self, name: &str, value: &str) -> &mut Message {
        self.message(1, |m| drop(m.text(1, name).text(2, value)))
    }

    pub fn exemplar(&mut self, field: u64, id: &str, value: f64, ms: Option<i64>) -> &mut Message {
        self.message(field, |m| {
            m.label("trace_id", id).double(2, value);
            ms.into_iter().for_each(|ms| drop(m.timestamp(3, ms)));
        })
    }

    pub fn spans(&mut self, field: u64, spans: &[(i64, i64)]) -> &mut Message {
        for (offset, length) in spans {
            self.message(field, |m| drop(m.zigzag(1, *offset).int(2, *length)));
        }
        self
    }

    /// A classic bucket.
    pub fn bucket(&mut self, le: f64, count: i64) -> &mut Message {
        self.message(3, |m| drop(m.int(1, count).double(2, le)))
    }
}

pub const COUNTER: i64 = 0;
pub const GAUGE: i64 = 1;
pub const SUMMARY: i64 = 2;
pub const UNTYPED: i64 = 3;
pub const HISTOGRAM: i64 = 4;
pub const GAUGE_HISTOGRAM: i64 = 5;

/// Appends a family to a body.
pub fn family(body: &mut Vec<u8>, name: &str, kind: i64, help: &str, metrics: impl FnOnce(&mut Message)) {
    let mut message = Message::default();
    message.text(1, name).text(2, help).int(3, kind);
    metrics(&mut message);
    let mut length = Message::default();
    length.raw(message.0.len() as u64);
    body.extend(length.0);
    body.extend(message.0);
}
