//! Remote write requests, version 1, encoded by hand: protobuf and snappy.

use std::io;

use super::http;

/// A native histogram of either kind.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Counts are floats.
    pub float: bool,
    /// -4 to 8, or -53 for custom bounds.
    pub schema: i32,
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in it.
    pub zero_count: f64,
    /// Offset and length.
    pub positive_spans: Vec<(i32, u32)>,
    /// Absolute counts.
    pub positive: Vec<f64>,
    /// Offset and length.
    pub negative_spans: Vec<(i32, u32)>,
    /// Absolute counts.
    pub negative: Vec<f64>,
    /// Upper bounds; only with schema -53.
    pub custom_values: Vec<f64>,
    /// Counts may fall.
    pub gauge: bool,
}

/// One sample.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A distribution.
    Histogram(Histogram),
}

/// Samples of one series: milliseconds since 1970 and values.
#[derive(Clone, Debug)]
pub struct Series {
    /// Ascending by name.
    pub labels: Vec<(String, String)>,
    /// In any order.
    pub samples: Vec<(i64, Value)>,
}

/// Sends samples to a Prometheus that receives remote write.
pub fn send(base: &str, series: &[Series]) -> io::Result<()> {
    let message = series.iter().fold(Message::default(), |m, s| m.bytes(1, &time_series(s).0));
    let body = snap::raw::Encoder::new().compress_vec(&message.0).map_err(io::Error::other)?;
    let headers = "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
                   X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
    let reply = http::post_bytes(&format!("{base}/api/v1/write"), headers, &body)?;
    match reply.status {
        200 | 204 => Ok(()),
        status => Err(io::Error::other(format!("remote write answered {status}: {}", reply.text()))),
    }
}

fn time_series(series: &Series) -> Message {
    let mut message = Message::default();
    for (name, value) in &series.labels {
        let label = Message::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes());
        message = message.bytes(1, &label.0);
    }
    for (t, value) in &series.samples {
        message = match value {
            Value::Float(v) => message.bytes(2, &Message::default().double(1, *v).int(2, *t).0),
            Value::Histogram(h) => message.bytes(4, &histogram(*t, h).0),
        };
    }
    message
}

fn histogram(t: i64, h: &Histogram) -> Message {
    let spans = |mut message: Message, field, spans: &[(i32, u32)]| {
        for (offset, length) in spans {
            let span = Message::default().zigzag(1, i64::from(*offset)).int(2, i64::from(*length));
            message = message.bytes(field, &span.0);
        }
        message
    };
    let packed = |counts: &[f64]| counts.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let deltas = |counts: &[f64]| {
        let mut before = 0;
        let mut packed = Message::default();
        for count in counts {
            packed.push_varint(zigzag(*count as i64 - before));
            before = *count as i64;
        }
        packed.0
    };
    let message = Message::default();
    let message = if h.float { message.double(2, h.count) } else { message.int(1, h.count as i64) };
    let message = message.double(3, h.sum).zigzag(4, i64::from(h.schema)).double(5, h.zero_threshold);
    let message = if h.float { message.double(7, h.zero_count) } else { message.int(6, h.zero_count as i64) };
    let message = spans(message, 8, &h.negative_spans);
    let message =
        if h.float { message.bytes(10, &packed(&h.negative)) } else { message.bytes(9, &deltas(&h.negative)) };
    let message = spans(message, 11, &h.positive_spans);
    let message =
        if h.float { message.bytes(13, &packed(&h.positive)) } else { message.bytes(12, &deltas(&h.positive)) };
    message.int(14, if h.gauge { 3 } else { 0 }).int(15, t).bytes(16, &packed(&h.custom_values))
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

/// A protobuf message in the making.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn push_varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    /// A string, or a message.
    pub fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.push_varint(field << 3 | 2);
        self.push_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A `double`.
    pub fn double(mut self, field: u64, v: f64) -> Message {
        self.push_varint(field << 3 | 1);
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }

    /// An `int64` and whatever is written as one.
    pub fn int(mut self, field: u64, n: i64) -> Message {
        self.push_varint(field << 3);
        self.push_varint(n.cast_unsigned());
        self
    }

    /// A `sint64`.
    pub fn zigzag(mut self, field: u64, n: i64) -> Message {
        self.push_varint(field << 3);
        self.push_varint(zigzag(n));
        self
    }
}

/// The histograms of a series in the course of `steps` samples: of the kind that `kind % 5` chooses, growing, with
/// resets, with buckets that come and go.
pub fn histograms(kind: usize, steps: usize) -> Vec<Histogram> {
    (0..steps).map(|step| histogram_at(kind, step)).collect()
}

fn histogram_at(kind: usize, step: usize) -> Histogram {
    let (float, gauge, custom) = (kind % 2 == 1, kind % 5 == 3, kind % 5 == 4);
    // A counter starts anew now and then; a gauge goes up and down.
    let age = if gauge { (step * 7) % 11 } else { step % (37 + kind) };
    let factor = if float { 0.5 } else { 1.0 };
    let count = |n: usize| (n * (age + 1)) as f64 * factor;
    let buckets = 1 + (step / 40) % 4;
    let positive: Vec<f64> = (0..buckets).map(count).collect();
    let negative: Vec<f64> = if custom { Vec::new() } else { (1..=2).map(count).collect() };
    let zero_count = if custom { 0.0 } else { count(3) };
    Histogram {
        float,
        schema: if custom { -53 } else { [0, 3, 8, -4, 1, -1, 5][kind % 7] },
        count: positive.iter().sum::<f64>() + negative.iter().sum::<f64>() + zero_count,
        sum: step as f64 * 0.1 - 3.0,
        // Below all buckets: where they overlap with the zero bucket, an API may show them cut.
        zero_threshold: if custom { 0.0 } else { 1e-20 },
        zero_count,
        positive_spans: match (custom, buckets) {
            (true, _) => vec![(0, buckets as u32)],
            (false, 1) => vec![(-2, 1)],
            (false, _) => vec![(-2, 1), (3, buckets as u32 - 1)],
        },
        positive,
        negative_spans: if custom { Vec::new() } else { vec![(kind as i32 % 3, 2)] },
        negative,
        custom_values: if custom { vec![-1.0, 0.5, 2.5, 10.0] } else { Vec::new() },
        gauge,
    }
}
