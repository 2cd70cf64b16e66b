//! Bodies that no honest sender sends: bounded memory, the right status, and the next honest request is taken.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{Receiver, Request, V1, V2, sample, written};
use crate::support::now_ms;
use crate::support::remote_write::Message;

/// What a receiver may need beyond what it has at rest: a message and what is made of it.
const GROWTH_MAX: u64 = 200 << 20;

/// Checks that memory stayed bounded and that the receiver works.
fn is_well(receiver: &Receiver, rest: u64) {
    let peak = receiver.server.status_bytes("VmHWM:");
    assert!(peak < rest + GROWTH_MAX, "{} MiB at the peak, {} at rest", peak >> 20, rest >> 20);
    let request = Request::new().series(&[("__name__", "honest")], &sample(now_ms(), 1.0));
    assert_eq!(written(&receiver.send(V2, &request.message())), [1, 0, 0]);
    assert_eq!(receiver.metric("watershed_remote_write_receiver_held_bytes"), 0.0);
}

fn at_rest(receiver: &Receiver) -> u64 {
    receiver.server.status_bytes("VmHWM:")
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

#[test]
fn bombs_are_refused_by_what_they_declare_or_unpack() {
    let receiver = Receiver::start(&[]);
    let rest = at_rest(&receiver);
    // A snappy block that says it has 4 GiB, and one that really has 1 GiB of zeros.
    let lie = [varint(u64::from(u32::MAX)), vec![0; 100]].concat();
    let mut bomb = varint(1 << 30);
    bomb.extend_from_slice(&[0, 0]);
    // Copies of 64 bytes with an offset of 1.
    (0..(1 << 30) / 64).take(5 << 20).for_each(|_| bomb.extend_from_slice(&[0xfe, 1, 0]));
    let zeros = vec![0; 64 << 20];
    let zstd = zstd::encode_all(&zeros[..], 3).expect("packed");
    for (encoding, body) in [("snappy", &lie), ("snappy", &bomb), ("zstd", &zstd)] {
        assert_eq!(receiver.post(V2, encoding, body).status, 413, "{encoding} {}", body.len());
    }
    assert_eq!(receiver.metric("watershed_remote_write_receiver_rejected_requests_total{reason=\"too_large\"}"), 3.0);
    is_well(&receiver, rest);
}

#[test]
fn a_posted_body_of_1_gb_is_refused_and_not_kept() {
    let receiver = Receiver::start(&[]);
    let rest = at_rest(&receiver);
    let head = |length: &str| {
        format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: {V1}\r\nContent-Encoding: snappy\r\n{length}\r\n\r\n"
        )
    };
    // Declared: the answer comes before the body.
    let mut stream = TcpStream::connect(&receiver.server.address).expect("a connection");
    stream.write_all(head("Content-Length: 1073741824").as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    // Not declared: it is cut off where the limit is.
    let mut stream = TcpStream::connect(&receiver.server.address).expect("a connection");
    stream.write_all(head("Transfer-Encoding: chunked").as_bytes()).expect("sent");
    let piece = [b"100000\r\n".to_vec(), vec![0; 1 << 20], b"\r\n".to_vec()].concat();
    let sent = (0..1024).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(sent < 100, "{sent} MiB were taken");
    is_well(&receiver, rest);
}

#[test]
fn bodies_that_come_slowly_share_one_limit() {
    let receiver = Receiver::start(&["--web.remote-write-receiver.max-held-size=4MB"]);
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: {V1}\r\nContent-Encoding: snappy\r\nContent-Length: 3000000\r\n\r\n"
    );
    let half = [head.as_bytes(), &vec![0; 2_500_000]].concat();
    let mut first = TcpStream::connect(&receiver.server.address).expect("a connection");
    first.write_all(&half).expect("sent");
    crate::support::wait_for("the first body to be held", Duration::from_secs(30), || {
        let held = receiver.metric("watershed_remote_write_receiver_held_bytes");
        // The room that has been made for it, of which it fills a part.
        if held == 3_000_000.0 { Ok(()) } else { Err(held) }
    });
    let answer = receiver.post(V1, "snappy", &vec![0; 2_500_000]);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    assert_eq!(receiver.metric("watershed_remote_write_receiver_rejected_requests_total{reason=\"busy\"}"), 1.0);
    drop(first);
    crate::support::wait_for("the first body to be given up", Duration::from_secs(30), || {
        let held = receiver.metric("watershed_remote_write_receiver_held_bytes");
        if held == 0.0 { Ok(()) } else { Err(held) }
    });
    is_well(&receiver, at_rest(&receiver));
}

#[test]
fn messages_of_millions_of_tiny_parts_stay_small() {
    let receiver = Receiver::start(&[]);
    let rest = at_rest(&receiver);
    let times = |n: usize, part: &[u8]| Message(part.repeat(n));
    let series = |rest: &Message| {
        let label = Message::default().bytes(1, b"__name__").bytes(2, b"tiny");
        let mut series = Message::default().bytes(1, &label.0);
        series.0.extend_from_slice(&rest.0);
        Message::default().bytes(1, &series.0)
    };
    let histogram = |rest: &Message| series(&Message::default().bytes(4, &rest.0));
    let n = 14 << 20;
    for (what, content_type, message) in [
        ("empty series", V1, times(n, &[0x0a, 0])),
        ("empty samples", V1, series(&times(n, &[0x12, 0]))),
        ("empty labels", V1, series(&times(n, &[0x0a, 0]))),
        ("empty labels of a sample", V1, series(&Message([times(n, &[0x0a, 0]).0, vec![0x12, 0]].concat()))),
        ("empty exemplars", V1, series(&times(n, &[0x1a, 0]))),
        ("empty spans", V1, histogram(&times(n, &[0x5a, 0]))),
        ("deltas", V1, histogram(&Message::default().bytes(12, &vec![0; 2 * n]))),
        ("bounds", V1, histogram(&Message::default().bytes(16, &vec![0; 2 * n]))),
        ("empty symbols", V2, times(n, &[0x22, 0])),
        ("empty series of 2.0", V2, times(n, &[0x2a, 0])),
        ("references", V2, Message::default().bytes(5, &Message::default().bytes(1, &vec![0; 2 * n]).0)),
    ] {
        let answer = receiver.send(content_type, &message);
        assert!(matches!(answer.status, 204 | 400), "{what}: {} {}", answer.status, answer.text());
        let peak = receiver.server.status_bytes("VmHWM:");
        println!("{what}: {} MiB at the peak, answered {}", peak >> 20, answer.status);
        assert!(answer.body.len() < 20_000, "{what}");
    }
    is_well(&receiver, rest);
}

#[test]
fn deep_nesting_and_truncation_are_wrong_messages() {
    let receiver = Receiver::start(&[]);
    let rest = at_rest(&receiver);
    // Every field is a message of field 1, and of fields 5, one in the other.
    for field in [1, 5] {
        let deep = (0..2000).fold(Message::default(), |inner, _| Message::default().bytes(field, &inner.0));
        for content_type in [V1, V2] {
            let answer = receiver.send(content_type, &deep);
            assert!(matches!(answer.status, 204 | 400), "{field} {content_type}: {}", answer.status);
        }
    }
    let groups = Message(vec![0x0b; 1 << 20]);
    assert_eq!(receiver.send(V1, &groups).status, 400);
    let whole = Request::new().series(&[("__name__", "cut"), ("a", "b")], &sample(now_ms(), 1.0)).message();
    for cut in 1..whole.0.len() {
        let answer = receiver.send(V2, &Message(whole.0[..cut].to_vec()));
        assert!(matches!(answer.status, 204 | 400) && written(&answer)[0] == 0, "{cut}: {}", answer.status);
    }
    is_well(&receiver, rest);
}
