//! Shipping: finished blocks are copied to an object store, from which Thanos or Mimir serve and compact them.
//!
//! What it is: a [`Shipper`] looks at the open blocks, decides which are due (`plan`), and copies them to a [`Bucket`]:
//! a directory ([`DirBucket`], always there) or, with the cargo feature `ship`, S3, Google Cloud Storage or Azure.
//! [`spawn`] does that every half minute. What lies in the bucket and in the data directory is drawn in `SHIP.md`.
//!
//! The laws:
//! * A block's `meta.json` is sent last. Where it is, the block is complete; where it is not, readers wait, and the
//!   next attempt sends what is missing and nothing else.
//! * No sample is shipped twice. A block is not sent if it, or all that it was made of, was: that is remembered in
//!   `thanos.shipper.json`, and the bucket is asked where that file is missing. What would double a part is refused.
//! * A damaged block is not sent: each is verified before.
//! * Shipping only reads the data directory, except for its one file there. If the bucket fails, the store goes on.
//!
//! **Compaction.** Blocks are sent as the head wrote them, level 1, and compacted by the bucket's own compactor. Two
//! compactors that do not know of each other would double data, so a block is compacted here only after it was
//! shipped: [`Gate::may_compact`] says so to the planner. Blocks that had been compacted before shipping began stay
//! here, unless `upload_compacted` is set from the start; then they are sent too if they overlap nothing of this server
//! in the bucket. Blocks of late samples overlap others by nature: the bucket's compactor must be one that merges
//! overlaps (Thanos: `--compact.enable-vertical-compaction`; Mimir always does).
//!
//! What it does not do: it deletes nothing in the bucket, applies no deletions to what was shipped (tombstones are not
//! sent), and does not hold back retention: a block that goes before it was shipped is counted and logged as missed.

mod bucket;
#[cfg(feature = "ship")]
mod cloud;
mod config;
mod dir;
mod gate;
mod memory;
mod metrics;
mod pace;
mod plan;
mod shipper;
mod task;
#[cfg(test)]
mod tests;
mod thanos;
mod upload;

use std::io;
use std::path::Path;

pub use bucket::{Bucket, BucketError, Content};
pub use config::{Config, Target};
pub use dir::DirBucket;
pub use gate::Gate;
pub use plan::Refusal;
pub use shipper::{Deps, Refused, RefusedWhy, ShipError, ShipReport, Shipper};
pub use task::spawn;

use crate::disk::Disk;

/// What is read whole is a list of names or a `meta.json`, which stay far below it.
const MAX_WHOLE: u64 = 16 << 20;

/// The content of a small file.
fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let len = file.len()?;
    if len > MAX_WHOLE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut content = vec![0; len as usize];
    let got = file.read_at(&mut content, 0)?;
    content.truncate(got);
    Ok(content)
}
