//! Making one block of several, and putting it in their place.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::plan::{Plan, Reason, plan};
use super::write::{CompactError, write_block};
use crate::disk::Disk;
use crate::model::TimestampMs;
use crate::storage::merge::MergedStream;
use crate::storage::{QueryError, Scope, SeriesStream, TimeRange};
use crate::telemetry::{Counter, Gauge, Registry};
use crate::tsdb::block::{Block, BlockDesc, BlockMeta, Ulid};
use crate::tsdb::blocks::{BlockList, Blocks, FROM_OUT_OF_ORDER, FROM_SELECTED_SERIES, FROM_STALE_SERIES};

/// Compacts the blocks of a data directory by [`plan`].
#[derive(Clone, Debug)]
pub struct Compactor {
    ranges: Vec<i64>,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
struct Metrics {
    done: Counter,
    failed: Counter,
    overlapping: Counter,
    last_seconds: Gauge,
}

impl Compactor {
    /// `ranges` are those of [`block_ranges`](super::block_ranges).
    pub fn new(ranges: Vec<i64>, registry: &Registry) -> Compactor {
        let counter = |name, help| registry.counter(name, help, &[]);
        let metrics = Metrics {
            done: counter("watershed_tsdb_compactions_total", "Compactions of blocks that came to their end."),
            failed: counter("watershed_tsdb_compactions_failed_total", "Compactions of blocks that failed."),
            overlapping: counter(
                "watershed_tsdb_vertical_compactions_total",
                "Compactions of blocks whose times overlapped.",
            ),
            last_seconds: registry.gauge(
                "watershed_tsdb_compaction_last_duration_seconds",
                "How long the last compaction of blocks took.",
                &[],
            ),
        };
        Compactor { ranges, metrics }
    }

    /// What is to be compacted next.
    pub fn next(&self, blocks: &Blocks) -> Option<Plan> {
        let list = blocks.snapshot();
        let gate = blocks.gate();
        // Blocks are shipped in the same order as they are compacted. What lies behind one that waits is left alone, too:
        // compacting around it would leave it as a gap.
        let free = list.iter().map(|b| b.meta()).take_while(|meta| gate.may_compact(meta.ulid));
        let metas: Vec<_> = free.filter(|meta| !blocks.is_ahead(meta)).collect();
        plan(&metas, &self.ranges)
    }

    /// Compacts until nothing is left to do or `go_on` says no between two compactions (the head's own block is more
    /// urgent). Says how many compactions there were.
    pub fn run_all(
        &self,
        blocks: &Blocks,
        now: impl Fn() -> TimestampMs,
        scope: &Scope,
        go_on: impl Fn() -> bool,
    ) -> Result<usize, CompactError> {
        let mut done = 0;
        while go_on()
            && let Some(plan) = self.next(blocks)
        {
            self.run(blocks, &plan, now(), scope)?;
            done += 1;
        }
        Ok(done)
    }

    /// Makes one block of those planned and puts it in their place. `None` if nothing was left of them: they are deleted.
    ///
    /// If they could not be read, they are marked as failed and not chosen again. If the new one could not be written,
    /// or `scope` ended the work, all stays as it was and the next attempt may do better.
    pub fn run(
        &self,
        blocks: &Blocks,
        plan: &Plan,
        now: TimestampMs,
        scope: &Scope,
    ) -> Result<Option<BlockMeta>, CompactError> {
        let began = Instant::now();
        let chosen: BlockList =
            blocks.snapshot().iter().filter(|b| plan.blocks.contains(&b.meta().ulid)).cloned().collect();
        if plan.reason == Reason::Overlap {
            self.metrics.overlapping.inc();
        }
        let made = match compact(blocks.disk(), blocks.dir(), blocks.new_ulid(now), &chosen, scope) {
            Ok(made) => made,
            Err(error) => {
                if !matches!(error, CompactError::Cancelled(_)) {
                    self.metrics.failed.inc();
                }
                mark_failed(blocks, &chosen, &error);
                return Err(error);
            }
        };
        drop(chosen);
        supersede(blocks, &plan.blocks, made.as_ref())?;
        let seconds = began.elapsed().as_secs_f64();
        self.metrics.done.inc();
        self.metrics.last_seconds.set(seconds);
        let (reason, sources) = (plan.reason, plan.blocks.len());
        match &made {
            Some(BlockMeta { ulid, min_time, max_time, stats, .. }) => {
                tracing::info!(%ulid, sources, ?reason, min_time, max_time, series = stats.num_series, seconds, "compacted blocks");
            }
            None => tracing::info!(sources, ?reason, seconds, "nothing was left of compacted blocks"),
        }
        Ok(made)
    }
}

/// Puts the block made of others in their place. If there is none, the others are first marked as deletable: a crash
/// before their deletion must not bring them back.
///
/// The block whose end says how far the head's samples have become blocks stays then, empty to readers: without it a
/// restart would take from the log what had been deleted from the block.
pub(super) fn supersede(blocks: &Blocks, old: &[Ulid], made: Option<&BlockMeta>) -> Result<(), CompactError> {
    match made {
        Some(meta) => blocks.replace(&[meta.ulid], old)?,
        None => {
            let boundary = blocks.boundary();
            let old: Vec<Ulid> = old.iter().copied().filter(|ulid| Some(*ulid) != boundary).collect();
            for ulid in &old {
                blocks.amend(*ulid, |meta| meta.compaction.deletable = true)?;
            }
            blocks.replace(&[], &old)?;
        }
    }
    Ok(())
}

/// Marks the block that the error speaks of; all of them if it names none.
fn mark_failed(blocks: &Blocks, chosen: &[Arc<Block>], error: &CompactError) {
    let CompactError::Read { source, .. } = error else { return };
    let place = match source {
        QueryError::Disk { path, .. } | QueryError::Corrupt { path, .. } => Path::new(path),
        QueryError::Cancelled(_) | QueryError::NotReady(_) | QueryError::Peer { .. } => return,
    };
    let guilty = |block: &&Arc<Block>| place.starts_with(block.dir());
    let is_named = chosen.iter().any(|block| guilty(&block));
    for block in chosen.iter().filter(|block| !is_named || guilty(block)) {
        let ulid = block.meta().ulid;
        tracing::error!(%ulid, %error, "a block could not be compacted and will be left as it is");
        if let Err(error) = blocks.amend(ulid, |meta| meta.compaction.failed = true) {
            tracing::warn!(%ulid, %error, "this could not be noted in its description");
        }
    }
}

/// Makes the block `ulid` below `dir` of `blocks`, ascending by their first time, without what is deleted in them. Where
/// they disagree about a timestamp, the first has it. `None` if nothing is left. The sources stay as they are.
pub fn compact(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    ulid: Ulid,
    blocks: &[Arc<Block>],
    scope: &Scope,
) -> Result<Option<BlockMeta>, CompactError> {
    let metas: Vec<&BlockMeta> = blocks.iter().map(|b| b.meta()).collect();
    let Some(meta) = merged_meta(ulid, &metas) else { return Ok(None) };
    write_merged(disk, dir, meta, blocks, scope)
}

/// Writes what is left of `blocks` as the block that `meta` describes.
pub(super) fn write_merged(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    meta: BlockMeta,
    blocks: &[Arc<Block>],
    scope: &Scope,
) -> Result<Option<BlockMeta>, CompactError> {
    let source = |block: &Arc<Block>| -> Result<Box<dyn SeriesStream>, QueryError> {
        Ok(Box::new(block.select(scope, &[Vec::new()], TimeRange::ALL, None)?))
    };
    let sources: Result<Vec<_>, _> = blocks.iter().map(source).collect();
    let sources = sources.map_err(|source| CompactError::reading(meta.ulid, source))?;
    write_block(disk, dir, &mut MergedStream::new(sources, scope, None), meta, scope)
}

/// The description of a block made of others; `None` of none.
fn merged_meta(ulid: Ulid, metas: &[&BlockMeta]) -> Option<BlockMeta> {
    let min = metas.iter().map(|m| m.min_time).min()?;
    let max = metas.iter().map(|m| m.max_time).max()?;
    let mut merged = BlockMeta::new(ulid, min, max);
    let sources: BTreeSet<Ulid> = metas.iter().flat_map(|m| m.compaction.sources.iter().copied()).collect();
    merged.compaction.sources = sources.into_iter().collect();
    merged.compaction.level = metas.iter().map(|m| m.compaction.level).max()?.saturating_add(1);
    merged.compaction.parents = metas.iter().map(|m| described(m)).collect();
    let has = |hint: &'static str| move |m: &&BlockMeta| m.compaction.hints.iter().any(|h| h == hint);
    let mut hint = |applies: bool, hint: &str| {
        if applies {
            merged.compaction.hints.push(hint.to_owned());
        }
    };
    // Late samples that were merged with others are no longer only late ones. Ascending, as the reference writes them.
    hint(metas.iter().all(has(FROM_OUT_OF_ORDER)), FROM_OUT_OF_ORDER);
    hint(metas.iter().any(has(FROM_SELECTED_SERIES)), FROM_SELECTED_SERIES);
    hint(metas.iter().any(has(FROM_STALE_SERIES)), FROM_STALE_SERIES);
    Some(merged)
}

pub(super) fn described(meta: &BlockMeta) -> BlockDesc {
    BlockDesc { ulid: meta.ulid, min_time: meta.min_time, max_time: meta.max_time }
}
