//! Rounds of shipping, one after the other, for as long as the process lives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{Bucket, BucketError};
use super::dir::DirBucket;
use super::shipper::{Deps, ShipReport, Shipper};
use super::{Config, Target};
use crate::disk::RealDisk;
use crate::model::Labels;
use crate::runtime::{CpuPool, Tasks};
use crate::tsdb::blocks::BlockList;

/// How often is looked for new blocks; that costs nothing where there are none.
const PERIOD: Duration = Duration::from_secs(30);
/// The pause after a first failure; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// No pause is longer: blocks come every two hours, and somebody may wait for the bucket to be back.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Gives the open blocks as they are now.
pub type Snapshot = Arc<dyn Fn() -> BlockList + Send + Sync>;
/// Gives the external labels as they are now.
pub type ExternalLabels = Arc<dyn Fn() -> Arc<Labels> + Send + Sync>;

/// Starts shipping; must be called within an async runtime. It ends when `tasks` are told to stop, what it is just
/// sending is then sent anew later; the gate is open afterwards. The error is one of the configuration.
pub fn spawn(
    config: &Config,
    mut deps: Deps,
    blocks: Snapshot,
    labels: ExternalLabels,
    tasks: &Tasks,
) -> Result<(), BucketError> {
    let stop = tasks.stopping();
    deps.stop = stop.clone();
    let bucket = open(config, &deps)?;
    // A thread of its own: it waits for the network, and the others compute.
    let pool =
        CpuPool::new("ship", 1).map_err(|error| BucketError::failed("starting a thread for", "blocks", error))?;
    let gate = deps.gate.clone();
    let shipper = Arc::new(Shipper::new(bucket, config.upload_compacted, config.bytes_per_second, deps));
    tasks.spawn("ship", async move {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let (shipper, blocks, labels) = (shipper.clone(), blocks.clone(), labels.clone());
            let round = pool.run(move || shipper.ship(&*blocks, &labels())).await;
            failures = match round.map(|report| told(&report)) {
                Ok(true) => 0,
                Ok(false) | Err(_) => failures + 1,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause(failures)) => {}
            }
        }
        gate.reopen();
    });
    Ok(())
}

/// Logs what went wrong; true if nothing did.
fn told(report: &ShipReport) -> bool {
    match &report.failed {
        None => true,
        Some(error) if error.is_stop() => true,
        Some(error) => {
            tracing::warn!(%error, waiting = report.waiting, "shipping failed; it goes on where it was");
            false
        }
    }
}

fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => PERIOD,
        Some(again) => PAUSE_MIN.saturating_mul(2u32.saturating_pow(again)).min(PAUSE_MAX),
    }
}

fn open(config: &Config, deps: &Deps) -> Result<Arc<dyn Bucket>, BucketError> {
    match &config.target {
        Target::Dir(root) => Ok(Arc::new(DirBucket::new(Arc::new(RealDisk), Path::new(root)))),
        #[cfg(feature = "ship")]
        _ => super::cloud::open(config, deps.stop.clone()),
        #[cfg(not(feature = "ship"))]
        _ => {
            let _ = deps;
            let why = "this build can only ship to directories; object stores need one with the feature ship";
            Err(BucketError::failed("opening", "objects", why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 7, 40, u32::MAX].map(|n| pause(n).as_secs()).to_vec();
        assert_eq!(pauses, [30, 5, 10, 20, 300, 300, 300]);
    }
}
