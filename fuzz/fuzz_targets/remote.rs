use std::sync::Arc;

use watershed::model::DurationMs;
use watershed::model::TimestampMs;
use watershed::remote::otlp;
use watershed::remote::read::{Framing, ReadRequest, decode_frame, decode_samples};
use watershed::remote::snappy;
use watershed::remote::write::{AcceptedMessages, Config, Content, Deps, Receiver};
use watershed::runtime::Clock;
use watershed::storage::memory::MemoryStore;
use watershed::telemetry::Registry;

pub fn write_v1(data: &[u8]) {
    receive(data, "application/x-protobuf;proto=prometheus.WriteRequest");
}

pub fn write_v2(data: &[u8]) {
    receive(data, "application/x-protobuf;proto=io.prometheus.write.v2.Request");
}

/// A message is taken in, once and again.
fn receive(message: &[u8], media_type: &str) {
    let receiver = receiver(Config { has_type_labels: message.len() % 2 == 1, ..Config::default() });
    let content = Content::negotiate(media_type, "snappy", AcceptedMessages::ALL).expect("both messages are known");
    let mut body = Vec::new();
    snappy::encode(message, &mut body).expect("an input is small enough");
    for _ in 0..2 {
        receiver.receive(content, &body);
    }
}

fn receiver(config: Config) -> Receiver {
    let store = Arc::new(MemoryStore::new());
    let deps = Deps { store, clock: Clock::manual(TimestampMs(1_700_000_000_000)), registry: Registry::new() };
    Receiver::new(config, deps)
}

fn otlp_receiver(has_type_labels: bool) -> otlp::Receiver {
    let (clock, store) = (Clock::manual(TimestampMs(1_700_000_000_000)), Arc::new(MemoryStore::new()));
    let options = otlp::Options { lookback: DurationMs(300_000), has_type_labels };
    otlp::Receiver::new(options, otlp::Deps { store, clock, registry: Registry::new() })
}

/// Bodies as they come from the network, packed in all ways.
pub fn packed(data: &[u8]) {
    for encoding in ["snappy", "zstd"] {
        for media_type in ["application/x-protobuf", "application/x-protobuf;proto=io.prometheus.write.v2.Request"] {
            let content = Content::negotiate(media_type, encoding, AcceptedMessages::ALL).expect("it is known");
            receiver(Config::default()).receive(content, data);
        }
    }
    for format in [otlp::Format::Json, otlp::Format::Protobuf] {
        let _ = otlp_receiver(false).receive(format, otlp::Packing::Gzip, data);
    }
}

/// As protocol buffers, or, if it begins with a brace, as JSON.
pub fn otlp(data: &[u8]) {
    let receiver = otlp_receiver(data.len() % 2 == 1);
    let format = if data.starts_with(b"{") { otlp::Format::Json } else { otlp::Format::Protobuf };
    for _ in 0..2 {
        let _ = receiver.receive(format, otlp::Packing::Plain, data);
    }
}

/// A request that was read is written as something that is read as the same.
pub fn read_request(data: &[u8]) {
    let Ok(request) = ReadRequest::decode(data) else { return };
    for query in &request.queries {
        let _ = (query.needed_range(), query.wants_labels_only());
    }
    let written = request.encode();
    let again = ReadRequest::decode(&written).expect("what was written can be read");
    assert_eq!(again.encode(), written);
}

pub fn read_answer(data: &[u8]) {
    let _ = decode_samples(data);
    let _ = decode_frame(data);
}

/// The first byte says how long the pieces are in which the stream comes; frames do not depend on it.
pub fn read_frames(data: &[u8]) {
    let Some((length, stream)) = data.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(frames(stream, usize::from(*length).max(1)), whole);
    for frame in &whole.0 {
        let _ = decode_frame(frame);
    }
}

/// The frames, and what ended them.
fn frames(stream: &[u8], length: usize) -> (Vec<Vec<u8>>, Result<(), String>) {
    let mut framing = Framing::new(1 << 20);
    let mut all = Vec::new();
    for piece in stream.chunks(length) {
        framing.push(piece);
        loop {
            match framing.next_frame() {
                Ok(Some(frame)) => all.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => return (all, Err(error.to_string())),
            }
        }
    }
    (all, framing.finish().map_err(|error| error.to_string()))
}
