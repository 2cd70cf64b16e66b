//! Connections that have changed their protocol, such as to WebSocket: bytes both ways until either side ends.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;

use super::metrics::Exchange;
use crate::runtime::Tasks;

/// Tunnels at the same time to one component; each holds two connections and two buffers of 8 KiB.
const TUNNELS_MAX: usize = 256;

/// The tunnels to one component.
pub(super) struct Tunnels {
    places: Arc<Semaphore>,
    tasks: Tasks,
}

impl Tunnels {
    pub(super) fn new(tasks: &Tasks) -> Tunnels {
        Tunnels { places: Arc::new(Semaphore::new(TUNNELS_MAX)), tasks: tasks.clone() }
    }

    /// Joins two connections once both have changed their protocol; false if there is no place left.
    pub(super) fn join(&self, client: OnUpgrade, backend: OnUpgrade, exchange: Exchange) -> bool {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return false };
        let stop = self.tasks.stopping();
        let tunnel = async move {
            let (_place, _exchange) = (place, exchange);
            let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else { return };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            // How it ended is known to the two ends.
            drop(tokio::io::copy_bidirectional(&mut client, &mut backend).await);
        };
        self.tasks.spawn("gateway-tunnel", async move {
            stop.run_until_cancelled(tunnel).await;
        });
        true
    }
}
