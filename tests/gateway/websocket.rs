//! Connections that change their protocol.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::RUNTIME;
use crate::door::Door;
use crate::raw::{Line, Scripted, hear, say, status};

fn door(url: &str) -> Door {
    Door::with_file(&format!("target: gateway\ngateway: {{proxy: {{ruler: {{url: '{url}'}}}}}}\n"))
}

/// Agrees to whatever it is asked to go over to, and says in capitals what it hears.
async fn agreeable(mut line: Line) {
    let head = line.head().await.expect("a request").to_ascii_lowercase();
    let Some(protocol) = head.lines().find_map(|l| l.strip_prefix("upgrade: ")) else {
        return line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    };
    assert!(head.contains("connection: upgrade"), "{head}");
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n");
    line.say(answer.as_bytes()).await;
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = line.stream.read(&mut buffer).await {
        line.say(&buffer[..n].to_ascii_uppercase()).await;
    }
}

/// A connection that has asked to go over to WebSocket, and what it was answered.
async fn asked(door: &Door) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(door.address).await.expect("open");
    let asked = "GET /ruler/tail HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.expect("open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn a_connection_that_goes_over_to_websocket_is_passed_on_both_ways() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(agreeable).await;
        let door = door(&backend.url());
        let (mut stream, head) = asked(&door).await;
        assert_eq!(status(&head), 101);
        for word in [&b"hello"[..], b"again"] {
            stream.write_all(word).await.expect("open");
            let mut heard = vec![0; word.len()];
            stream.read_exact(&mut heard).await.expect("an echo");
            assert_eq!(heard, word.to_ascii_uppercase());
        }
        stream.shutdown().await.expect("open");
        assert_eq!(hear(&mut stream).await, "");
    });
}

/// Over HTTP/2 a client would ask the backend itself, for what the routes and the passwords keep from it.
#[test]
fn nobody_gets_past_the_routes_by_going_over_to_another_protocol() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(agreeable).await;
        let door = door(&backend.url());
        for protocol in ["h2c", "TLS/1.2", "h2c, websocket"] {
            let text = format!(
                "GET /ruler/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {protocol}\r\n\
                 HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
            );
            assert_eq!(status(&say(door.address, text.as_bytes()).await), 200, "{protocol}");
        }
        for head in backend.came() {
            assert!(!head.to_ascii_lowercase().contains("upgrade") && !head.contains("http2-settings"), "{head}");
        }
    });
}

#[test]
fn there_are_so_many_places_for_websockets_and_who_leaves_makes_room() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(agreeable).await;
        let door = door(&backend.url());
        let mut tunnels = Vec::new();
        for _ in 0..256 {
            let (stream, head) = asked(&door).await;
            assert_eq!(status(&head), 101);
            tunnels.push(stream);
        }
        let (_refused, head) = asked(&door).await;
        assert_eq!(status(&head), 503, "{head}");
        assert_eq!(door.metric(r#"watershed_gateway_requests_total{component="ruler",code="503"}"#), 1.0);
        assert_eq!(door.metric(r#"watershed_gateway_requests_in_flight{component="ruler"}"#), 256.0);
        tunnels.clear();
        let start = std::time::Instant::now();
        while door.metric(r#"watershed_gateway_requests_in_flight{component="ruler"}"#) > 0.0 {
            assert!(start.elapsed().as_secs() < 30, "tunnels stay after both ends have gone");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(status(&asked(&door).await.1), 101);
    });
}
