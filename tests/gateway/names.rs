//! A name server of our own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::RUNTIME;

/// Answers every name with the same addresses.
pub struct Names {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    ttl: u32,
    zone: Mutex<Zone>,
    asked: AtomicU64,
    asked_by_tcp: AtomicU64,
}

#[derive(Clone)]
struct Zone {
    addresses: Vec<Ipv4Addr>,
    code: ResponseCode,
    /// Whether they are too many for a packet.
    is_long: bool,
}

/// How a query came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Udp,
    Tcp,
}

impl Names {
    /// With a time to live in seconds.
    pub async fn start(ttl: u32, addresses: &[Ipv4Addr]) -> Names {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let socket = UdpSocket::bind(address).await.expect("a free port");
        let zone = Zone { addresses: addresses.to_vec(), code: ResponseCode::NoError, is_long: false };
        let zero = AtomicU64::default;
        let state = Arc::new(State { ttl, zone: Mutex::new(zone), asked: zero(), asked_by_tcp: zero() });
        let (of_udp, of_tcp) = (state.clone(), state.clone());
        RUNTIME.spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                if let Some(answer) = of_udp.answer(&buffer[..length], By::Udp) {
                    drop(socket.send_to(&answer, from).await);
                }
            }
        });
        RUNTIME.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let state = of_tcp.clone();
                RUNTIME.spawn(async move { state.answer_all(stream).await });
            }
        });
        Names { address, state }
    }

    /// Other addresses from now on.
    pub fn set(&self, addresses: &[Ipv4Addr]) {
        self.state.zone.lock().addresses = addresses.to_vec();
    }

    /// Fails from now on, or does no more.
    pub fn set_code(&self, code: ResponseCode) {
        self.state.zone.lock().code = code;
    }

    /// Says from now on that only TCP can carry the answer.
    pub fn set_long(&self) {
        self.state.zone.lock().is_long = true;
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// How often by TCP.
    pub fn asked_by_tcp(&self) -> u64 {
        self.state.asked_by_tcp.load(Ordering::SeqCst)
    }
}

impl State {
    fn answer(&self, query: &[u8], by: By) -> Option<Vec<u8>> {
        let request = Message::from_vec(query).ok()?;
        let query = request.queries[0].clone();
        let Zone { addresses, code, is_long } = self.zone.lock().clone();
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.metadata.response_code = code;
        response.metadata.recursion_available = true;
        response.metadata.truncation = is_long && by == By::Udp;
        response.add_query(query.clone());
        if query.query_type() == RecordType::A {
            if code == ResponseCode::NoError && !response.metadata.truncation {
                for address in addresses {
                    response.add_answer(Record::from_rdata(query.name().clone(), self.ttl, RData::A(A(address))));
                }
            }
            let count = if by == By::Udp { &self.asked } else { &self.asked_by_tcp };
            count.fetch_add(1, Ordering::SeqCst);
        }
        Some(response.to_vec().expect("a message"))
    }

    /// Everything that is asked by one connection; lengths stand before messages.
    async fn answer_all(&self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut query = vec![0; usize::from(length)];
            let Ok(_) = stream.read_exact(&mut query).await else { return };
            let Some(answer) = self.answer(&query, By::Tcp) else { return };
            let length = u16::try_from(answer.len()).expect("a short answer");
            drop(stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await);
        }
    }
}
