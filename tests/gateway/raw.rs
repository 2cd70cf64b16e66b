//! Both ends of a connection by hand, for what no library would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::RUNTIME;

/// What only a broken gateway needs.
const LIMIT: Duration = Duration::from_secs(30);

/// What came by one connection.
type Came = Arc<Mutex<Vec<u8>>>;

/// A backend that a script plays; it remembers what came by each connection.
pub struct Scripted {
    pub address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

/// One of its connections.
pub struct Line {
    pub stream: TcpStream,
    came: Came,
    /// How much of it was read as heads and bodies.
    taken: usize,
}

impl Scripted {
    pub async fn start<F>(script: impl Fn(Line) -> F + Send + Sync + 'static) -> Scripted
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let came: Arc<Mutex<Vec<Came>>> = Arc::default();
        let lines = came.clone();
        RUNTIME.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let came = Arc::new(Mutex::default());
                lines.lock().push(came.clone());
                RUNTIME.spawn(script(Line { stream, came, taken: 0 }));
            }
        });
        Scripted { address, came }
    }

    /// Everything that came, by connection.
    pub fn came(&self) -> Vec<String> {
        self.came.lock().iter().map(|line| String::from_utf8_lossy(&line.lock()).into_owned()).collect()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Line {
    /// Reads on; false at the end.
    pub async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        match self.stream.read(&mut buffer).await {
            Ok(n) if n > 0 => {
                self.came.lock().extend_from_slice(&buffer[..n]);
                true
            }
            _ => false,
        }
    }

    /// The next head that came, once it is whole; `None` at the end.
    pub async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    /// What comes next up to a mark, with it; `None` at the end.
    pub async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            let end = self.came.lock()[self.taken..].windows(mark.len()).position(|w| w == mark.as_bytes());
            if let Some(end) = end {
                return self.exactly(end + mark.len()).await;
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next so many bytes; `None` at the end.
    pub async fn exactly(&mut self, bytes: usize) -> Option<String> {
        while self.came.lock().len() < self.taken + bytes {
            if !self.read().await {
                return None;
            }
        }
        let from = self.taken;
        self.taken += bytes;
        Some(String::from_utf8_lossy(&self.came.lock()[from..self.taken]).into_owned())
    }

    /// Sends bytes; who has gone away needs none.
    pub async fn say(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }
}

/// Everything that a server says to these bytes until it closes.
pub async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the door is open");
    drop(stream.write_all(bytes).await);
    hear(&mut stream).await
}

/// The same, from a client that says nothing more and shows it.
pub async fn say_and_end(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the door is open");
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    hear(&mut stream).await
}

/// What comes until the end.
pub async fn hear(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let reading = stream.read_to_end(&mut all);
    let ended = tokio::time::timeout(LIMIT, reading).await;
    assert!(ended.is_ok(), "the connection stays open after {}", String::from_utf8_lossy(&all));
    String::from_utf8_lossy(&all).into_owned()
}

/// The status of the one answer in a text, 0 if there is none.
pub fn status(text: &str) -> u16 {
    let rest = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "));
    rest.and_then(|rest| rest.get(..3)).map_or(0, |code| code.parse().expect("a status"))
}
