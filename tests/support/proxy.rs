//! A TCP proxy before a server: it counts what goes through, and can be told to be slow.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A running proxy. Dropping it ends it; connections end with their ends.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    server: String,
    bytes: AtomicU64,
    delay_ms: AtomicU64,
    is_ended: AtomicBool,
}

impl Proxy {
    /// A proxy before the server at this address.
    pub fn start(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared { server: server.to_owned(), ..Shared::default() });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_thread.is_ended.load(Ordering::Relaxed) {
                    break;
                }
                of_thread.clone().join(client);
            }
        });
        Proxy { address, shared }
    }

    /// Bytes so far, both ways together, without what the kernel adds.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// From now on what clients send waits so long.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::Relaxed);
        // One more connection, so that the thread looks.
        drop(TcpStream::connect(&self.address));
    }
}

impl Shared {
    /// Joins a client to the server. Who cannot be joined is hung up on.
    fn join(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        for stream in [&client, &server] {
            // Without it small writes would wait for each other; nothing is lost but time if it fails.
            let _ = stream.set_nodelay(true);
        }
        let back = self.clone();
        std::thread::spawn(move || self.copy(client, to_server, true));
        std::thread::spawn(move || back.copy(server, to_client, false));
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, is_delayed: bool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let delay = if is_delayed { self.delay_ms.load(Ordering::Relaxed) } else { 0 };
            std::thread::sleep(Duration::from_millis(delay));
            self.bytes.fetch_add(n as u64, Ordering::SeqCst);
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        // Either may be closed already.
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }
}
