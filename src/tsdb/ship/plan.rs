//! What is to become of each block, by what is known here.

use std::collections::BTreeMap;

use super::memory::{Memory, origins};
use crate::tsdb::block::{BlockMeta, Ulid};

/// A decision about one block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Everything in it is in the bucket, under its own name or those of the blocks that it was made of.
    Done,
    /// It has no samples.
    Empty,
    /// It was compacted before it could be shipped, and compacted blocks are not wanted.
    Compacted,
    /// It must not be shipped.
    Refused(Refusal),
    /// It is to be shipped.
    Due,
}

/// Why a block must not be shipped although it holds samples that are not in the bucket.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Shipping it would double samples.
    #[error(
        "{shipped} of the {of} blocks that it was made of are in the bucket already; shipping it would double them"
    )]
    PartlyShipped {
        /// How many.
        shipped: usize,
        /// Of how many.
        of: usize,
    },
    /// A compacted block overlaps one in the bucket that it was not made of.
    #[error("it is compacted and overlaps block {with} in the bucket, which has the same external labels")]
    Overlaps {
        /// The block in the bucket.
        with: Ulid,
    },
}

/// Judges by the memory alone.
pub(super) fn judge(meta: &BlockMeta, memory: &Memory, upload_compacted: bool) -> Verdict {
    if memory.has(meta.ulid) {
        return Verdict::Done;
    }
    let (of, shipped) = origins(meta).fold((0, 0), |(of, n), o| (of + 1, n + usize::from(memory.has(o))));
    if of > 0 && of == shipped {
        return Verdict::Done;
    }
    if meta.stats.num_samples == 0 {
        return Verdict::Empty;
    }
    if meta.compaction.level > 1 && !upload_compacted {
        return Verdict::Compacted;
    }
    if shipped > 0 { Verdict::Refused(Refusal::PartlyShipped { shipped, of }) } else { Verdict::Due }
}

/// What a bucket holds of this server's series.
#[derive(Debug, Default)]
pub(super) struct Catalogue(BTreeMap<Ulid, BlockMeta>);

impl Catalogue {
    pub(super) fn add(&mut self, meta: BlockMeta) {
        self.0.insert(meta.ulid, meta);
    }

    /// Judges a block that is due by what is in the bucket.
    pub(super) fn judge(&self, meta: &BlockMeta) -> Verdict {
        let (sources, parents) = (&meta.compaction.sources, &meta.compaction.parents);
        let holds = |source: &Ulid| self.0.values().any(|b| b.ulid == *source || b.compaction.sources.contains(source));
        let shipped = sources.iter().filter(|s| holds(s)).count();
        let all_parents = !parents.is_empty() && parents.iter().all(|p| holds(&p.ulid));
        if all_parents || (!sources.is_empty() && shipped == sources.len()) {
            return Verdict::Done;
        }
        if shipped > 0 {
            return Verdict::Refused(Refusal::PartlyShipped { shipped, of: sources.len() });
        }
        let overlaps = |b: &&BlockMeta| b.min_time < meta.max_time && meta.min_time < b.max_time;
        match self.0.values().find(overlaps) {
            Some(with) if meta.compaction.level > 1 => Verdict::Refused(Refusal::Overlaps { with: with.ulid }),
            _ => Verdict::Due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::block::BlockDesc;
    use crate::tsdb::fixtures::ulid;

    fn block(n: u64, level: u32, sources: &[u64], parents: &[u64]) -> BlockMeta {
        let mut meta = BlockMeta::new(ulid(n), 0, 10);
        meta.stats.num_samples = 1;
        meta.compaction.level = level;
        meta.compaction.sources = sources.iter().map(|n| ulid(*n)).collect();
        let desc = |n: &u64| BlockDesc { ulid: ulid(*n), min_time: 0, max_time: 10 };
        meta.compaction.parents = parents.iter().map(desc).collect();
        meta
    }

    fn memory(of: &[u64]) -> Memory {
        let mut memory = Memory::default();
        of.iter().for_each(|n| assert!(memory.note(ulid(*n))));
        memory
    }

    #[test]
    fn a_block_is_due_once_and_not_again_in_another_shape() {
        let new = block(1, 1, &[1], &[]);
        assert_eq!(judge(&new, &memory(&[]), false), Verdict::Due);
        assert_eq!(judge(&new, &memory(&[1]), false), Verdict::Done);
        // Deleted samples were taken out of a shipped block.
        assert_eq!(judge(&block(2, 1, &[2], &[1]), &memory(&[1]), false), Verdict::Done);
        let compacted = block(9, 2, &[1, 2], &[1, 2]);
        for wanted in [false, true] {
            assert_eq!(judge(&compacted, &memory(&[1, 2]), wanted), Verdict::Done);
        }
        assert_eq!(judge(&compacted, &memory(&[]), false), Verdict::Compacted);
        assert_eq!(judge(&compacted, &memory(&[]), true), Verdict::Due);
        assert_eq!(judge(&compacted, &memory(&[1]), false), Verdict::Compacted);
        let partly = Verdict::Refused(Refusal::PartlyShipped { shipped: 2, of: 4 });
        assert_eq!(judge(&compacted, &memory(&[1]), true), partly);
        let empty = BlockMeta::new(ulid(1), 0, 10);
        assert_eq!(judge(&empty, &memory(&[]), true), Verdict::Empty);
    }

    #[test]
    fn what_the_bucket_has_in_a_block_of_another_name_is_not_sent_to_it() {
        let mut catalogue = Catalogue::default();
        // Thanos has compacted 1 and 2 and deleted them.
        catalogue.add(block(20, 2, &[1, 2], &[1, 2]));
        assert_eq!(catalogue.judge(&block(1, 1, &[1], &[])), Verdict::Done);
        assert_eq!(catalogue.judge(&block(9, 3, &[1, 2], &[])), Verdict::Done);
        assert_eq!(catalogue.judge(&block(5, 1, &[5], &[1])), Verdict::Done);
        assert_eq!(catalogue.judge(&block(20, 2, &[1, 2], &[])), Verdict::Done);
        let partly = Verdict::Refused(Refusal::PartlyShipped { shipped: 1, of: 2 });
        assert_eq!(catalogue.judge(&block(9, 2, &[2, 3], &[])), partly);
        // Blocks of late samples overlap others: only of compacted ones that is a sign of doubled samples.
        assert_eq!(catalogue.judge(&block(3, 1, &[3], &[])), Verdict::Due);
        let overlaps = Verdict::Refused(Refusal::Overlaps { with: ulid(20) });
        assert_eq!(catalogue.judge(&block(9, 2, &[3, 4], &[])), overlaps);
        let mut later = block(9, 2, &[3, 4], &[]);
        (later.min_time, later.max_time) = (10, 20);
        assert_eq!(catalogue.judge(&later), Verdict::Due);
    }
}
