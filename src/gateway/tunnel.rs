//! Connections that have changed their protocol to WebSocket: bytes both ways until either side ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Exchange;
use crate::runtime::Tasks;

/// Tunnels at the same time to one component; each holds two connections and two buffers.
const TUNNELS_MAX: usize = 256;
const BUFFER: usize = 8 << 10;
/// A tunnel through which nothing has passed for so long, or for up to twice as long, is one of which an end is gone: those who
/// mean to be silent send pings.
const IDLE: Duration = Duration::from_secs(300);

/// The tunnels to one component.
pub(super) struct Tunnels {
    places: Arc<Semaphore>,
    tasks: Tasks,
}

/// One of them.
pub(super) struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Tunnels {
    pub(super) fn new(tasks: &Tasks) -> Tunnels {
        Tunnels { places: Arc::new(Semaphore::new(TUNNELS_MAX)), tasks: tasks.clone() }
    }

    /// A place for one more, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok().map(Place)
    }

    /// Joins two connections once both have changed their protocol.
    pub(super) fn join(&self, place: Place, client: OnUpgrade, backend: OnUpgrade, exchange: Exchange) {
        let stop = self.tasks.stopping();
        let tunnel = async move {
            let (_place, _exchange) = (place, exchange);
            let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else { return };
            pass(TokioIo::new(client), TokioIo::new(backend)).await;
        };
        self.tasks.spawn("gateway-tunnel", async move {
            stop.run_until_cancelled(tunnel).await;
        });
    }
}

/// Passes bytes on until both sides have ended, one is broken, or nothing has passed for long.
async fn pass(client: impl AsyncRead + AsyncWrite, backend: impl AsyncRead + AsyncWrite) {
    let has_moved = AtomicBool::new(true);
    let ((from_client, to_client), (from_backend, to_backend)) = (tokio::io::split(client), tokio::io::split(backend));
    let both = async {
        tokio::try_join!(pump(from_client, to_backend, &has_moved), pump(from_backend, to_client, &has_moved))
    };
    let idle = async {
        while has_moved.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(IDLE).await;
        }
    };
    // How it ended is known to the two ends.
    tokio::select! { ended = both => drop(ended), () = idle => {} }
}

/// Passes bytes one way until their end, which it passes on too.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    has_moved: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(bytes @ [_, ..]) = buffer.get(..count) else { return to.shutdown().await };
        to.write_all(bytes).await?;
        has_moved.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_lives_while_either_side_speaks_and_ends_when_both_are_silent() {
        let ((mut client, near), (far, mut backend)) = (duplex(64), duplex(64));
        let speaking = async {
            for _ in 0..10 {
                tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
                backend.write_all(b"ping").await.expect("the tunnel is there");
                let mut heard = [0; 4];
                client.read_exact(&mut heard).await.expect("the tunnel is there");
            }
            Instant::now()
        };
        let ((), last) = tokio::join!(pass(near, far), speaking);
        let silent = last.elapsed();
        assert!(IDLE <= silent && silent <= 2 * IDLE, "{silent:?}");
        assert_eq!(client.read(&mut [0; 4]).await.expect("an end"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_passed_on_and_the_other_side_may_go_on() {
        let ((mut client, near), (far, mut backend)) = (duplex(64), duplex(64));
        let speaking = async {
            client.write_all(b"last").await.expect("the tunnel is there");
            client.shutdown().await.expect("the tunnel is there");
            let mut heard = Vec::new();
            backend.read_to_end(&mut heard).await.expect("an end");
            assert_eq!(heard, b"last");
            backend.write_all(b"still").await.expect("the tunnel is there");
            drop(backend);
            heard.clear();
            client.read_to_end(&mut heard).await.expect("an end");
            assert_eq!(heard, b"still");
        };
        tokio::join!(pass(near, far), speaking);
    }
}
