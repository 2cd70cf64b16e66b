//! One round of shipping.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::bucket::{Bucket, BucketError};
use super::gate::Gate;
use super::memory::{Memory, origins};
use super::metrics::Metrics;
use super::pace::Pace;
use super::plan::{Catalogue, Refusal, Verdict, judge};
use super::{thanos, upload};
use crate::disk::Disk;
use crate::model::{Labels, TimestampMs};
use crate::runtime::Clock;
use crate::telemetry::Registry;
use crate::tsdb::block::{Block, BlockError, BlockMeta, META_FILE, Ulid};
use crate::tsdb::blocks::BlockList;

/// What a shipper runs on.
#[derive(Clone)]
pub struct Deps {
    /// Where blocks are read and the memory is kept.
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub dir: PathBuf,
    /// The time that is written into `meta.json`.
    pub clock: Clock,
    /// Where its metrics go.
    pub registry: Registry,
    /// What it tells the compaction.
    pub gate: Gate,
    /// Ends a round early.
    pub stop: CancellationToken,
}

/// Copies blocks to a bucket, each once.
pub struct Shipper {
    bucket: Arc<dyn Bucket>,
    deps: Deps,
    upload_compacted: bool,
    bytes_per_second: Option<u64>,
    metrics: Metrics,
    /// Held for a whole round: rounds follow one another.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    memory: Memory,
    /// The memory has changed since it was written.
    unsaved: bool,
    /// The memory was lost, so the bucket must be asked about every block.
    ask_bucket: bool,
    /// Blocks that were due and will not be shipped; kept so that neither they nor the bucket are read every round.
    refused: BTreeSet<Ulid>,
    /// Blocks that were due at the end of the last round.
    waiting: BTreeSet<Ulid>,
}

/// What a round has done.
#[derive(Debug, Default)]
pub struct ShipReport {
    /// Blocks sent.
    pub shipped: Vec<Ulid>,
    /// Blocks that will not be sent, told once.
    pub refused: Vec<Refused>,
    /// Blocks that are still to be sent.
    pub waiting: usize,
    /// What ended the round early.
    pub failed: Option<ShipError>,
}

/// A block that will not be sent until the process is started again.
#[derive(Debug, thiserror::Error)]
#[error("block {ulid} is not shipped: {why}")]
pub struct Refused {
    /// The block.
    pub ulid: Ulid,
    /// Why.
    #[source]
    pub why: RefusedWhy,
}

/// Why a block will not be sent.
#[derive(Debug, thiserror::Error)]
pub enum RefusedWhy {
    /// It would double samples.
    #[error(transparent)]
    Doubled(#[from] Refusal),
    /// It is not whole.
    #[error(transparent)]
    Damaged(#[from] BlockError),
}

/// Why a round ended early; the next may succeed.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// Without labels of its own, this server's series could not be told from those of others.
    #[error("shipping needs global.external_labels, by which the bucket's readers tell servers from each other")]
    NoLabels,
    /// The bucket failed.
    #[error("shipping block {ulid}: {source}")]
    Bucket {
        /// The block.
        ulid: Ulid,
        /// What the bucket said.
        source: BucketError,
    },
    /// The block cannot be read now.
    #[error("shipping block {ulid}: {source}")]
    Block {
        /// The block.
        ulid: Ulid,
        /// What the disk said.
        source: BlockError,
    },
}

impl ShipError {
    /// True if nothing is wrong: the round was told to end.
    pub fn is_stop(&self) -> bool {
        matches!(self, ShipError::Bucket { source: BucketError::Stopped, .. })
    }
}

/// How one block fared.
enum Fate {
    Sent(u64),
    /// The bucket has had it all along.
    There,
    Refused(RefusedWhy),
}

impl Shipper {
    /// Reads what was shipped before and closes the gate for everything else.
    pub fn new(bucket: Arc<dyn Bucket>, upload_compacted: bool, bytes_per_second: Option<u64>, deps: Deps) -> Shipper {
        let memory = Memory::read(&*deps.disk, &deps.dir);
        let state = State {
            ask_bucket: memory.is_none(),
            memory: memory.unwrap_or_default(),
            unsaved: false,
            refused: BTreeSet::new(),
            waiting: BTreeSet::new(),
        };
        deps.gate.close_but_for(state.memory.all().collect());
        let metrics = Metrics::new(&deps.registry);
        Shipper { bucket, upload_compacted, bytes_per_second, metrics, state: Mutex::new(state), deps }
    }

    /// Sends what is due, oldest first, until all is sent or something fails. `blocks` gives the open blocks as they
    /// are now; only the one that is being sent is held. Waits for files and the bucket, perhaps for hours.
    pub fn ship(&self, blocks: &dyn Fn() -> BlockList, labels: &Labels) -> ShipReport {
        let mut state = self.state.lock();
        let mut report = ShipReport::default();
        let local: Vec<BlockMeta> = blocks().iter().map(|b| b.meta().clone()).collect();
        let due = self.sort_out(&mut state, &local);
        report.failed = match labels.is_empty() && !due.is_empty() {
            true => Some(ShipError::NoLabels),
            false => self.ship_all(&mut state, &due, blocks, labels, &mut report).err(),
        };
        if report.failed.is_none() {
            state.ask_bucket = false;
            self.metrics.last_success.set(self.deps.clock.now().as_seconds());
        } else if report.failed.as_ref().is_some_and(|error| !error.is_stop()) {
            self.metrics.failures.inc();
        }
        self.save(&mut state);
        report.waiting = state.waiting.len();
        self.metrics.waiting.set(report.waiting as f64);
        report
    }

    /// The blocks that are due. Everything else may be compacted.
    fn sort_out(&self, state: &mut State, local: &[BlockMeta]) -> Vec<Ulid> {
        state.unsaved |= state.memory.forget_all_but(local);
        let (mut due, mut free, mut refused) = (Vec::new(), BTreeSet::new(), 0);
        for meta in local {
            let ulid = meta.ulid;
            let verdict = judge(meta, &state.memory, self.upload_compacted);
            match verdict {
                // Remembered under its own name, so that a block which is made of it is done, too.
                Verdict::Done => state.unsaved |= state.memory.note(ulid),
                Verdict::Due if !state.refused.contains(&ulid) => due.push(ulid),
                Verdict::Due => refused += 1,
                Verdict::Refused(why) => {
                    refused += 1;
                    if state.refused.insert(ulid) {
                        tracing::warn!("{}", Refused { ulid, why: why.into() });
                    }
                }
                Verdict::Empty | Verdict::Compacted => {}
            }
            if due.last() != Some(&ulid) {
                free.insert(ulid);
            }
        }
        self.deps.gate.close_but_for(free);
        self.metrics.refused.set(f64::from(refused));
        self.count_missed(state, local);
        state.waiting = due.iter().copied().collect();
        due
    }

    fn count_missed(&self, state: &State, local: &[BlockMeta]) {
        let here = |ulid: Ulid| local.iter().any(|m| m.ulid == ulid || origins(m).any(|o| o == ulid));
        for ulid in state.waiting.iter().filter(|ulid| !here(**ulid)) {
            self.metrics.missed.inc();
            tracing::warn!(%ulid, "a block was deleted before it could be shipped; its samples will not be in the bucket");
        }
    }

    fn ship_all(
        &self,
        state: &mut State,
        due: &[Ulid],
        blocks: &dyn Fn() -> BlockList,
        labels: &Labels,
        report: &mut ShipReport,
    ) -> Result<(), ShipError> {
        let pace = Pace::new(self.bytes_per_second, self.deps.stop.clone());
        let mut catalogue = None;
        for ulid in due {
            // It may have been deleted while others were sent; the next round notices.
            let Some(block) = blocks().iter().find(|b| b.meta().ulid == *ulid).cloned() else { continue };
            match self.ship_one(&block, labels, &pace, state.ask_bucket, &mut catalogue)? {
                Fate::Sent(bytes) => {
                    self.note_sent(block.meta(), bytes);
                    report.shipped.push(*ulid);
                    state.memory.note(*ulid);
                }
                Fate::There => {
                    state.memory.note(*ulid);
                }
                Fate::Refused(why) => {
                    state.refused.insert(*ulid);
                    self.metrics.refused.set(self.metrics.refused.get() + 1.0);
                    let refused = Refused { ulid: *ulid, why };
                    tracing::error!("{refused}");
                    report.refused.push(refused);
                }
            }
            state.unsaved = true;
            state.waiting.remove(ulid);
            self.save(state);
            self.deps.gate.let_through(*ulid);
        }
        Ok(())
    }

    fn ship_one(
        &self,
        block: &Block,
        labels: &Labels,
        pace: &Pace,
        ask_bucket: bool,
        catalogue: &mut Option<Catalogue>,
    ) -> Result<Fate, ShipError> {
        let meta = block.meta();
        let ulid = meta.ulid;
        let failed = |source| ShipError::Bucket { ulid, source };
        if self.bucket.size(&upload::object(ulid, META_FILE)).map_err(failed)?.is_some() {
            return Ok(Fate::There);
        }
        if ask_bucket || meta.compaction.level > 1 {
            if catalogue.is_none() {
                *catalogue = Some(self.read_catalogue(labels, pace).map_err(failed)?);
            }
            match catalogue.as_ref().map(|c| c.judge(meta)) {
                Some(Verdict::Done) => return Ok(Fate::There),
                Some(Verdict::Refused(why)) => return Ok(Fate::Refused(why.into())),
                _ => {}
            }
        }
        match block.verify() {
            Ok(()) => {}
            Err(source @ BlockError::Disk { .. }) => return Err(ShipError::Block { ulid, source }),
            Err(damage) => return Ok(Fate::Refused(damage.into())),
        }
        if block.tombstones().count() > 0 {
            tracing::warn!(%ulid, "deleted samples of this block are shipped: tombstones were not cleaned before");
        }
        let files = upload::files(&*self.deps.disk, block.dir()).map_err(failed)?;
        let described = thanos::describe(meta, labels, &files, self.deps.clock.now());
        let sent = upload::upload(&*self.bucket, &*self.deps.disk, &files, &described, pace).map_err(failed)?;
        if let Some(catalogue) = catalogue {
            catalogue.add(described);
        }
        Ok(Fate::Sent(sent))
    }

    /// The blocks in the bucket that hold series of this server.
    fn read_catalogue(&self, labels: &Labels, pace: &Pace) -> Result<Catalogue, BucketError> {
        let mut catalogue = Catalogue::default();
        for ulid in self.bucket.list()?.iter().filter_map(|name| name.parse::<Ulid>().ok()) {
            pace.check()?;
            let object = upload::object(ulid, META_FILE);
            let Some(json) = self.bucket.get(&object)? else { continue };
            match serde_json::from_slice::<BlockMeta>(&json) {
                Ok(meta) if thanos::is_of(&meta, labels) => catalogue.add(meta),
                Ok(_) => {}
                Err(error) => tracing::warn!(%object, %error, "a block in the bucket cannot be understood"),
            }
        }
        Ok(catalogue)
    }

    fn note_sent(&self, meta: &BlockMeta, bytes: u64) {
        self.metrics.blocks.inc();
        self.metrics.bytes.add(bytes);
        let until = TimestampMs(meta.max_time).as_seconds();
        self.metrics.shipped_until.set(self.metrics.shipped_until.get().max(until));
        tracing::info!(ulid = %meta.ulid, bytes, "shipped a block");
    }

    /// A memory that cannot be written is no reason to stop: the bucket knows the same.
    fn save(&self, state: &mut State) {
        if !state.unsaved {
            return;
        }
        match state.memory.write(&*self.deps.disk, &self.deps.dir) {
            Ok(()) => state.unsaved = false,
            Err(error) => tracing::warn!(%error, "what was shipped could not be written down; trying again"),
        }
    }
}
