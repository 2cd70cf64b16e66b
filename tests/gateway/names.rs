//! A name server of our own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

use crate::RUNTIME;

/// Answers every name with the same addresses.
pub struct Names {
    pub address: SocketAddr,
    zone: Arc<Mutex<Vec<Ipv4Addr>>>,
    asked: Arc<AtomicU64>,
}

impl Names {
    /// With a time to live in seconds.
    pub async fn start(ttl: u32, zone: &[Ipv4Addr]) -> Names {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let names = Names { address, zone: Arc::new(Mutex::new(zone.to_vec())), asked: Arc::default() };
        let (zone, asked) = (names.zone.clone(), names.asked.clone());
        RUNTIME.spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                let Ok(request) = Message::from_vec(&buffer[..length]) else { continue };
                let query = request.queries[0].clone();
                let mut response = Message::response(request.metadata.id, request.metadata.op_code);
                response.metadata.response_code = ResponseCode::NoError;
                response.metadata.recursion_available = true;
                response.add_query(query.clone());
                if query.query_type() == RecordType::A {
                    for address in zone.lock().iter() {
                        response.add_answer(Record::from_rdata(query.name().clone(), ttl, RData::A(A(*address))));
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                drop(socket.send_to(&response.to_vec().expect("a message"), from).await);
            }
        });
        names
    }

    /// Other addresses from now on.
    pub fn set(&self, zone: &[Ipv4Addr]) {
        *self.zone.lock() = zone.to_vec();
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}
