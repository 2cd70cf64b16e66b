//! Clients and backends that do not keep to the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::RUNTIME;
use crate::backends::{Kind, Start, Told};
use crate::client::{Client, request};
use crate::door::Door;
use crate::raw::{Line, Scripted, say, say_and_end, status};

pub const LIMIT: Duration = Duration::from_secs(30);

pub fn door(url: &str, more: &str) -> Door {
    Door::with_file(&format!("target: gateway\ngateway: {{proxy: {{ruler: {{url: '{url}', {more}}}}}}}\n"))
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Answers every request in order, by its path, and keeps the connection.
pub async fn well_behaved(mut line: Line) {
    while let Some(head) = line.head().await {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
        line.say(answer.as_bytes()).await;
    }
}

/// The gateway answers a plain request with what belongs to it.
pub async fn assert_in_step(door: &Door) {
    for n in 0..3 {
        let path = format!("/ruler/step/{n}");
        let answer = Client::connect(door.address).await.send(request("GET", &path, b"")).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, path));
    }
}

/// A second request that must never come out as one.
const HIDDEN: &str = "GET /ruler/hidden HTTP/1.1\r\nHost: x\r\n\r\n";

fn smuggling_shapes() -> Vec<(String, String)> {
    let length = HIDDEN.len();
    let chunked = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    let mut shapes = Vec::new();
    for headers in [
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nContent-Length: 0"),
        format!("Content-Length: 0, {length}"),
        format!("Content-Length: +{length}"),
        format!("Content-Length: 0x{length:x}"),
        "Content-Length: 99999999999999999999999".to_owned(),
        "Transfer-Encoding: identity".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked".to_owned(),
        "Transfer-Encoding:\u{b}chunked".to_owned(),
    ] {
        shapes.push((headers, HIDDEN.to_owned()));
    }
    for headers in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nConnection: close, transfer-encoding",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close, content-length",
    ] {
        shapes.push((headers.to_owned(), chunked.clone()));
    }
    for sizes in
        ["ffffffffffffffff1\r\n", "0x0\r\n\r\n", "-0\r\n\r\n", "5 5\r\n", "\r\n", "1\r\nab", "g\r\n", "3\nabc\n0\n\n"]
    {
        shapes.push(("Transfer-Encoding: chunked".to_owned(), format!("{sizes}{HIDDEN}")));
    }
    shapes
}

#[test]
fn no_shape_of_lengths_hides_a_second_request() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(swallowing).await;
        let door = door(&backend.url(), "");
        for (headers, body) in smuggling_shapes() {
            let text = format!("POST /ruler/first HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}");
            let answer = say(door.address, text.as_bytes()).await;
            let what = format!("{headers:?} {body:?}: {answer}");
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{what}");
            // Where lengths and chunks are both there, chunks count (RFC 9112, section 6.3) and the connection ends.
            let is_good = body.starts_with(&format!("{:x}\r\nGET", HIDDEN.len())) && body.ends_with("\r\n0\r\n\r\n");
            match is_good {
                true => assert_eq!(status(&answer), 200, "{what}"),
                false => assert!(matches!(status(&answer), 400), "{what}"),
            }
            assert!(!answer.contains("hidden"), "{what}");
        }
        for line in backend.came() {
            for (at, _) in line.match_indices("GET /ruler/hidden") {
                assert!(line[..at].ends_with("\r\n"), "it can only be in a chunk: {line}");
                assert!(line[..at].contains("transfer-encoding: chunked"), "{line}");
            }
        }
        assert_in_step(&door).await;
    });
}

/// Reads whole requests with their bodies, by their chunks or lengths, and answers each with its path.
async fn swallowing(mut line: Line) {
    while let Some(head) = line.head().await {
        let lower = head.to_ascii_lowercase();
        assert!(!(lower.contains("content-length") && lower.contains("transfer-encoding")), "{head}");
        if lower.contains("transfer-encoding") {
            // A body ends with an empty chunk; what is asked here has no trailers.
            while let Some(size) = line.until("\r\n").await {
                let size = usize::from_str_radix(size.trim(), 16).expect("a size that the gateway wrote");
                if line.exactly(size + 2).await.is_none() || size == 0 {
                    break;
                }
            }
        } else if let Some(length) = lower.lines().find_map(|l| l.strip_prefix("content-length:")) {
            line.exactly(length.trim().parse().expect("a length")).await;
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        line.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).as_bytes()).await;
    }
}

#[test]
fn a_body_that_breaks_off_is_answered_400_and_its_connection_to_the_backend_is_not_used_again() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(swallowing).await;
        let door = door(&backend.url(), "");
        assert_in_step(&door).await;
        for broken in [
            "Content-Length: 10\r\n\r\nabc",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nabXX\r\n0\r\n\r\n",
        ] {
            let text = format!("POST /ruler/a HTTP/1.1\r\nHost: x\r\n{broken}");
            let answer = say_and_end(door.address, text.as_bytes()).await;
            assert!(matches!(status(&answer), 0 | 400), "{broken:?}: {answer}");
            assert_in_step(&door).await;
        }
    });
}

/// What a backend that answers so is to the client: the status, or none if the answer is cut off.
async fn answered(answer: &'static [u8], closes: bool, method: &str) -> Result<(u16, String), hyper::Error> {
    let backend = Scripted::start(move |mut line| async move {
        while line.head().await.is_some() {
            line.say(answer).await;
            if closes {
                return;
            }
        }
    })
    .await;
    let door = door(&backend.url(), "timeout: 2s, retries: 0");
    let answer = Client::connect(door.address).await.send(request(method, "/ruler/a", b"")).await;
    // Whatever it was, the gateway goes on.
    let own = crate::support::http::get(&format!("{}/-/healthy", door.server.url)).expect("an answer");
    assert_eq!(own.status, 200);
    answer.map(|answer| (answer.status.as_u16(), answer.text()))
}

#[test]
fn a_backend_that_answers_nonsense_or_nothing_is_told_by_the_status() {
    RUNTIME.block_on(async {
        for (answer, closes, expected) in [
            (&b""[..], true, 502),
            (b"SSH-2.0-OpenSSH_9.2\r\n", true, 502),
            (b"HTTP/1.1 ", true, 502),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false, 502),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, 502),
            (b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n", false, 502),
            // Whoever takes the codings away has to have undone them.
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, 502),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", true, 502),
            (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: nonsense\r\n\r\n", false, 502),
            (b"", false, 504),
            (b"HTTP/1.1 200 OK\r\nContent-Le", false, 504),
        ] {
            let outcome = answered(answer, closes, "GET").await.expect("an answer");
            assert_eq!(outcome.0, expected, "{:?}: {}", String::from_utf8_lossy(answer), outcome.1);
        }
        let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
        let many = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok").into_bytes().leak();
        let (status, text) = answered(many, false, "GET").await.expect("an answer");
        assert_eq!((status, text.contains("no answer: its head")), (502, true), "{text}");
    });
}

#[test]
fn the_answer_of_an_old_backend_goes_out_such_that_its_end_can_be_told() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(|mut line| async move {
            line.head().await;
            line.say(b"HTTP/1.0 200 OK\r\n\r\nabc").await;
        })
        .await;
        let door = door(&backend.url(), "");
        let answer = say(door.address, b"GET /ruler/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{answer}");
        let old = say(door.address, b"GET /ruler/a HTTP/1.0\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200 ") && old.ends_with("\r\n\r\nabc"), "{old}");
    });
}

#[test]
fn a_backend_that_lies_about_its_length_or_closes_amid_a_body_is_not_taken_for_a_whole_answer() {
    RUNTIME.block_on(async {
        for (answer, closes) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"[..], true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", false),
            // It never says the rest.
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", false),
        ] {
            let outcome = answered(answer, closes, "GET").await;
            let cut = matches!(&outcome, Err(_) | Ok((502, _)));
            assert!(cut, "{:?}: {outcome:?}", String::from_utf8_lossy(answer));
        }
        // An end without a length is one by closing; both framings at once are none.
        let by_close = answered(b"HTTP/1.1 200 OK\r\n\r\nabc", true, "GET").await.expect("an answer");
        assert_eq!(by_close, (200, "abc".to_owned()));
        let both = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(answered(both, false, "GET").await.expect("an answer").0, 502);
    });
}

#[test]
fn bytes_after_an_answer_are_nobodys() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(|mut line| async move {
            while let Some(head) = line.head().await {
                let path = head.split(' ').nth(1).unwrap_or_default();
                let stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}{stray}", path.len());
                line.say(answer.as_bytes()).await;
            }
        })
        .await;
        let door = door(&backend.url(), "");
        for n in 0..50 {
            let path = format!("/ruler/{n}");
            let answer = Client::connect(door.address).await.send(request("GET", &path, b"")).await.expect("an answer");
            assert_eq!((answer.status.as_u16(), answer.text()), (200, path));
        }
    });
}

#[test]
fn requests_that_no_door_passes_on_are_refused() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(well_behaved).await;
        let door = door(&format!("{}/below", backend.url()), "");
        let long = format!("DELETE /ruler/{} HTTP/1.1\r\nHost: x", "a".repeat(65_527));
        for (head, expected) in [
            ("CONNECT /ruler/a HTTP/1.1\r\nHost: x", 501),
            ("CONNECT elsewhere:80 HTTP/1.1\r\nHost: x", 501),
            ("GET /ruler/a HTTP/1.1", 400),
            ("GET /ruler/a HTTP/1.1\r\nHost: x\r\nHost: y", 400),
            // Below the path of the backend's URL it would be longer than a path can be.
            (long.as_str(), 414),
        ] {
            let answer = say(door.address, format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await;
            assert_eq!(status(&answer), expected, "{head:.60}: {answer}");
        }
        assert!(backend.came().is_empty(), "{:?}", backend.came());
        let old = say(door.address, b"GET /ruler/a HTTP/1.0\r\n\r\n").await;
        assert_eq!(status(&old), 200, "{old}");
    });
}

#[test]
fn who_goes_away_takes_its_request_with_it() {
    RUNTIME.block_on(async {
        let (asked, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told_asked, told_left) = (asked.clone(), left.clone());
        let backend = Scripted::start(move |mut line| {
            let (asked, left) = (told_asked.clone(), told_left.clone());
            async move {
                line.head().await;
                asked.store(true, Ordering::SeqCst);
                // Nothing else comes, so this ends with the connection.
                while line.read().await {}
                left.store(true, Ordering::SeqCst);
            }
        })
        .await;
        let door = door(&backend.url(), "");
        let mut stream = TcpStream::connect(door.address).await.expect("open");
        stream.write_all(b"GET /ruler/a HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        until("the request", || asked.load(Ordering::SeqCst)).await;
        assert!(!left.load(Ordering::SeqCst));
        assert_eq!(door.metric(r#"watershed_gateway_requests_in_flight{component="ruler"}"#), 1.0);
        drop(stream);
        until("the request to be given up", || left.load(Ordering::SeqCst)).await;
        let series = r#"watershed_gateway_requests_total{component="ruler",code="499"}"#;
        until("its count", || door.metric(series) == 1.0).await;
        assert_eq!(door.metric(r#"watershed_gateway_requests_in_flight{component="ruler"}"#), 0.0);
    });
}

#[test]
fn who_goes_away_takes_its_call_with_it() {
    RUNTIME.block_on(async {
        let told = Told { pause: Duration::from_secs(3600), ..Told::default() };
        let backend = Start { told, ..Start::new(Kind::Grpc) }.start().await;
        let door = door(&backend.url(Kind::Grpc), "");
        let mut stream = TcpStream::connect(door.address).await.expect("open");
        stream.write_all(b"GET /ruler/a HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
        until("the call", || backend.count() == 1).await;
        assert_eq!(backend.abandoned(), 0);
        drop(stream);
        until("the call to be given up", || backend.abandoned() == 1).await;
    });
}

#[test]
fn a_grpc_backend_that_answers_nonsense_or_nothing_is_told_by_the_status() {
    RUNTIME.block_on(async {
        let framed = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
        for (answer, expected) in [
            (framed(b""), 502),
            (framed(b"\0"), 502),
            (framed(b"\0\0\0\0\x05ab"), 502),
            (framed(b"\0\0\0\0\x01abc"), 502),
            (framed(b"\0\xff\xff\xff\xff"), 502),
            (framed(b"\x01\0\0\0\x01a"), 502),
            (framed(b"\0\0\0\0\x02\xff\xff"), 502),
            // No status code at all.
            (framed(b"\0\0\0\0\0"), 502),
        ] {
            let backend = Start { framed: answer.clone(), ..Start::new(Kind::Grpc) }.start().await;
            let door = door(&backend.url(Kind::Grpc), "");
            let told =
                Client::connect(door.address).await.send(request("GET", "/ruler/a", b"")).await.expect("an answer");
            assert_eq!(told.status.as_u16(), expected, "{answer:?}: {}", told.text());
        }
        let told = Told { pause: Duration::from_secs(3600), ..Told::default() };
        let silent = Start { told, ..Start::new(Kind::Grpc) }.start().await;
        let late = door(&silent.url(Kind::Grpc), "timeout: 1s");
        let told = Client::connect(late.address).await.send(request("GET", "/ruler/a", b"")).await.expect("an answer");
        assert_eq!(told.status.as_u16(), 504);
        // One that does not speak HTTP/2 cannot be connected to, or breaks off.
        let plain = Scripted::start(well_behaved).await;
        let wrong = door(&format!("dns:///{}", plain.address), "");
        let told = Client::connect(wrong.address).await.send(request("GET", "/ruler/a", b"")).await.expect("an answer");
        assert_eq!(told.status.as_u16(), 502, "{}", told.text());
        let nobody = door("dns:///127.0.0.1:9", "");
        let told =
            Client::connect(nobody.address).await.send(request("GET", "/ruler/a", b"")).await.expect("an answer");
        assert_eq!(told.status.as_u16(), 502, "{}", told.text());
    });
}
