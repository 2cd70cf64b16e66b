//! How much time and memory clients and backends can take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::RUNTIME;
use crate::backends::{Kind, Start, Told};
use crate::client::{Client, request};
use crate::hostile::{LIMIT, assert_in_step, door, until, well_behaved};
use crate::raw::{Scripted, say, status};

#[test]
fn bodies_above_the_limit_are_answered_413_whether_they_tell_their_length_or_not() {
    RUNTIME.block_on(async {
        for kind in [Kind::Http, Kind::Grpc] {
            let backend = Start::new(kind).start().await;
            let door = door(&backend.url(kind), "max_body_bytes: 100000");
            let mut client = Client::connect(door.address).await;
            let fits = client.send(request("POST", "/ruler/a", &[7; 100_000])).await.expect("an answer");
            assert_eq!((fits.status.as_u16(), backend.take().len()), (200, 1));

            let told = "POST /ruler/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n";
            assert_eq!(status(&say(door.address, told.as_bytes()).await), 413, "{kind:?}");

            let mut untold =
                b"POST /ruler/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                    .to_vec();
            for _ in 0..11 {
                untold.extend(format!("{:x}\r\n", 10_000).bytes());
                untold.extend([7; 10_000]);
                untold.extend(b"\r\n");
            }
            untold.extend(b"0\r\n\r\n");
            assert_eq!(status(&say(door.address, &untold).await), 413, "{kind:?}");
            assert!(backend.take().is_empty(), "{kind:?}: no backend gets a body that is cut off");
        }
    });
}

#[test]
fn heads_above_the_limit_are_refused_and_bound_the_memory() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(well_behaved).await;
        let door = door(&backend.url(), "");
        let mut head = b"GET /ruler/a HTTP/1.1\r\nHost: x\r\nX-Large: ".to_vec();
        head.extend(vec![b'a'; 4 << 20]);
        let answer = say(door.address, &head).await;
        assert!(matches!(status(&answer), 0 | 431), "{answer}");
        let many: String = (0..2000).map(|n| format!("X-{n}: y\r\n")).collect();
        let answer = say(door.address, format!("GET /ruler/a HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).await;
        assert!(matches!(status(&answer), 0 | 431), "{answer}");
        assert!(backend.came().is_empty(), "{:?}", backend.came());
        assert_in_step(&door).await;
    });
}

#[test]
fn a_backend_that_trickles_is_given_up_in_time() {
    RUNTIME.block_on(async {
        for head in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"] {
            let backend = Scripted::start(move |mut line| async move {
                line.head().await;
                line.say(head).await;
                for byte in b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
                    if line.stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            let door = door(&backend.url(), "timeout: 1s");
            let answer = Client::connect(door.address).await.send(request("GET", "/ruler/a", b"")).await;
            match head.is_empty() {
                true => assert_eq!(answer.expect("an answer").status.as_u16(), 504),
                false => drop(answer.expect_err("it is cut off, so that nobody takes it for whole")),
            }
        }
    });
}

#[test]
fn a_client_that_trickles_its_body_is_told_and_is_no_fault_of_the_backend() {
    RUNTIME.block_on(async {
        for kind in [Kind::Http, Kind::Grpc] {
            let backend = Start::new(kind).start().await;
            let door = door(&backend.url(kind), "timeout: 500ms");
            // A body that may have to be sent again is waited for as a whole.
            for method in ["POST", "POST", "POST", "POST", "PUT"] {
                let mut stream = TcpStream::connect(door.address).await.expect("open");
                let start = format!("{method} /ruler/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
                stream.write_all(start.as_bytes()).await.expect("open");
                let mut answer = [0; 12];
                let heard = tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await;
                heard.expect("it is not waited for without end").expect("an answer");
                assert_eq!(status(&String::from_utf8_lossy(&answer)), 408, "{method} {kind:?}");
            }
            assert_eq!(door.metric(r#"watershed_gateway_ejections_total{component="ruler"}"#), 0.0, "{kind:?}");
            let answer = Client::connect(door.address).await.send(request("POST", "/ruler/a", b"x")).await;
            assert_eq!(answer.expect("an answer").status.as_u16(), 200, "{kind:?}");
        }
    });
}

#[test]
fn endless_heads_and_endless_bodies_bound_the_memory() {
    RUNTIME.block_on(async {
        let head = Scripted::start(|mut line| async move {
            line.head().await;
            line.say(b"HTTP/1.1 200 OK\r\nX: ").await;
            while line.stream.write_all(&[b'x'; 65536]).await.is_ok() {}
        })
        .await;
        let door_of_head = door(&head.url(), "");
        let answer = Client::connect(door_of_head.address).await.send(request("GET", "/ruler/a", b"")).await;
        assert_eq!(answer.expect("an answer").status.as_u16(), 502);

        // Sixteen clients that do not read, a backend that says as much as it can.
        let said = Arc::new(AtomicUsize::new(0));
        let count = said.clone();
        let body = Scripted::start(move |mut line| {
            let said = count.clone();
            async move {
                line.head().await;
                line.say(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while line.stream.write_all(&[b'x'; 65536]).await.is_ok() {
                    said.fetch_add(65536, Ordering::SeqCst);
                }
            }
        })
        .await;
        let door = door(&body.url(), "");
        let before = door.server.status_bytes("VmHWM");
        let mut clients = Vec::new();
        for _ in 0..16 {
            let mut stream = TcpStream::connect(door.address).await.expect("open");
            stream.write_all(b"GET /ruler/a HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
            clients.push(stream);
        }
        // Until nothing moves any more: everything between the two ends is full.
        let mut last = usize::MAX;
        until("everything to be full", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = said.load(Ordering::SeqCst);
            now > 0 && std::mem::replace(&mut last, now) == now
        })
        .await;
        let more = door.server.status_bytes("VmHWM") - before;
        println!("{more} bytes more for 16 clients that do not read, of {last} said");
        assert!(more < 32 << 20, "{more}");
    });
}

#[test]
fn a_client_that_reads_slowly_does_not_stretch_the_time_of_its_request() {
    RUNTIME.block_on(async {
        for kind in [Kind::Http, Kind::Grpc] {
            let told = Told { body: vec![7; 64 << 20].into(), ..Told::default() };
            let backend = Start { told, ..Start::new(kind) }.start().await;
            let door = door(&backend.url(kind), "timeout: 1s");
            let mut stream = TcpStream::connect(door.address).await.expect("open");
            stream.write_all(b"GET /ruler/a HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
            let (mut buffer, mut heard) = (vec![0; 64 << 10], 0);
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                heard += count;
                assert!(heard < 64 << 20, "{kind:?}: it has had all the time that it wanted");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
}

#[test]
fn answers_of_grpc_count_as_held_until_their_clients_have_read_them() {
    RUNTIME.block_on(async {
        let told = Told { body: vec![7; 90 << 20].into(), ..Told::default() };
        let backend = Start { told, ..Start::new(Kind::Grpc) }.start().await;
        let door = door(&backend.url(Kind::Grpc), "");
        let mut clients = Vec::new();
        // Of 256 MiB for all two times 90 are taken by those who do not read on.
        for expected in [200, 200, 503] {
            let mut stream = TcpStream::connect(door.address).await.expect("open");
            stream.write_all(b"GET /ruler/a HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(status(&String::from_utf8_lossy(&answer)), expected);
            clients.push(stream);
        }
        drop(clients);
        let start = Instant::now();
        loop {
            let asked = request("GET", "/ruler/a", b"");
            let answer = Client::connect(door.address).await.send(asked).await.expect("an answer");
            if answer.status.as_u16() == 200 {
                return assert_eq!(answer.body.len(), 90 << 20);
            }
            assert!(start.elapsed() < LIMIT, "what nobody reads any more is held");
        }
    });
}
