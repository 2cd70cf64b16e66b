//! Scrape targets that do what a test's script says, including what no honest server does.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// A request's first line and headers.
pub struct Request {
    /// Path with query, such as `/metrics?a=b`.
    pub target: String,
    /// Header lines.
    pub head: String,
}

impl Request {
    /// A header's value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        let line = |l: &'_ str| -> Option<(usize, usize)> {
            let colon = l.find(':')?;
            l[..colon].eq_ignore_ascii_case(name).then_some((colon + 1, l.len()))
        };
        self.head.lines().find_map(|l| line(l).map(|(a, b)| l[a..b].trim())).unwrap_or("")
    }
}

/// A server on a free loopback port that gives each request to a handler, which owns the connection from there on.
///
/// Its threads live as long as the test process; each waits for one connection and costs nothing.
pub struct Target {
    address: SocketAddr,
}

impl Target {
    /// Starts it.
    pub fn start(handler: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let handler = Arc::clone(&handler);
                std::thread::spawn(move || serve(stream, &*handler));
            }
        });
        Target { address }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

fn serve(mut stream: TcpStream, handler: &(dyn Fn(&Request, &mut TcpStream) + Send + Sync)) {
    if let Some(request) = read_request(&stream) {
        handler(&request, &mut stream);
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let target = first.split(' ').nth(1)?.to_owned();
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[start..].trim().is_empty() {
            return Some(Request { target, head });
        }
    }
}

/// Writes a whole answer and ends the connection. A client that went away is not the target's business.
pub fn reply(stream: &mut TcpStream, status: u16, content_type: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// The content type of the classic text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
