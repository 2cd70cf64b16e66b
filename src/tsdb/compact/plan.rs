//! Choosing which blocks to compact next. Nothing here touches a disk.

use crate::model::DurationMs;
use crate::tsdb::block::{BlockMeta, Ulid};
use crate::tsdb::blocks::{FROM_SELECTED_SERIES, FROM_STALE_SERIES};

/// Blocks become longer by this factor.
const STEP: i64 = 3;
/// No more levels than the reference has.
const MAX_RANGES: usize = 10;
/// Blocks are rewritten when more than this part of their series has a deleted interval.
const MAX_DELETED: f64 = 0.05;

/// Which blocks to make one of, ascending by their first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Their names.
    pub blocks: Vec<Ulid>,
    /// Why.
    pub reason: Reason,
}

/// Why blocks are compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Their times overlap.
    Overlap,
    /// They fill a longer range, or nothing will be added to it any more.
    Range,
    /// So much of it is deleted that writing it again pays.
    Deleted,
}

/// The lengths that blocks grow through in milliseconds: `min`, three times that, and so on up to `max`. The shortest is
/// always among them.
pub fn block_ranges(min: DurationMs, max: DurationMs) -> Vec<i64> {
    let min = min.0.max(1);
    std::iter::successors(Some(min), |range| range.checked_mul(STEP))
        .take(MAX_RANGES)
        .take_while(|range| *range <= max.0.max(min))
        .collect()
}

/// What to compact next; `None` if everything is as it should be. The order of `metas` does not matter; `ranges` are
/// those of [`block_ranges`].
///
/// It decides as the reference does, except that blocks which failed to be compacted are not tried again when they
/// overlap others or have much deleted: the attempt would fail again, each time after much work, and keep the healthy
/// blocks waiting.
pub fn plan(metas: &[&BlockMeta], ranges: &[i64]) -> Option<Plan> {
    // Blocks of a partial view of the head (the reference can cut such ones) must stay recognisable, so they are
    // compacted only with their like; those without such a mark come first.
    let mut classes: [Vec<&BlockMeta>; 3] = Default::default();
    metas.iter().for_each(|meta| classes[class(meta)].push(meta));
    classes.into_iter().find_map(|class| plan_class(class, ranges))
}

fn class(meta: &BlockMeta) -> usize {
    let has = |hint: &str| meta.compaction.hints.iter().any(|h| h == hint);
    match () {
        () if has(FROM_STALE_SERIES) => 1,
        () if has(FROM_SELECTED_SERIES) => 2,
        () => 0,
    }
}

fn plan_class(mut metas: Vec<&BlockMeta>, ranges: &[i64]) -> Option<Plan> {
    metas.sort_by_key(|m| (m.min_time, m.ulid));
    if let Some(group) = overlapping(&metas) {
        return Some(made(group, Reason::Overlap));
    }
    // The newest block stays as it is for a while, so that a backup can take each piece once.
    metas.pop()?;
    if let Some(group) = fill_range(&metas, ranges) {
        return Some(made(group, Reason::Range));
    }
    much_deleted(&metas, ranges).map(|meta| made(&[meta], Reason::Deleted))
}

fn made(group: &[&BlockMeta], reason: Reason) -> Plan {
    Plan { blocks: group.iter().map(|m| m.ulid).collect(), reason }
}

/// The first blocks that overlap each other, directly or through others.
fn overlapping<'a, 'm>(metas: &'a [&'m BlockMeta]) -> Option<&'a [&'m BlockMeta]> {
    let mut rest = metas;
    while let Some(first) = rest.first() {
        let mut end = first.max_time;
        let chained = rest[1..].iter().take_while(|m| {
            let overlaps = m.min_time < end;
            end = end.max(m.max_time);
            overlaps
        });
        let (group, after) = rest.split_at(1 + chained.count());
        if group.len() > 1 && !group.iter().any(|m| m.compaction.failed) {
            return Some(group);
        }
        rest = after;
    }
    None
}

/// Blocks that together become one of the next length.
fn fill_range<'a, 'm>(metas: &'a [&'m BlockMeta], ranges: &[i64]) -> Option<&'a [&'m BlockMeta]> {
    let newest = metas.last()?.min_time;
    ranges.iter().skip(1).find_map(|range| {
        groups(metas, *range).into_iter().find(|group| {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { return false };
            let is_full = last.max_time.saturating_sub(first.min_time) == *range;
            // Before the newest block nothing will be added.
            let is_past = last.max_time <= newest;
            group.len() > 1 && (is_full || is_past) && !group.iter().any(|m| m.compaction.failed)
        })
    })
}

/// The blocks that lie wholly within the same multiple of `range`; those that lie within none are in no group.
fn groups<'a, 'm>(metas: &'a [&'m BlockMeta], range: i64) -> Vec<&'a [&'m BlockMeta]> {
    let mut groups = Vec::new();
    let mut rest = metas;
    while let Some(first) = rest.first() {
        let end = first.min_time.div_euclid(range).saturating_mul(range).saturating_add(range);
        let fitting = rest.iter().take_while(|m| m.max_time <= end).count();
        if fitting > 0 {
            groups.push(&rest[..fitting]);
        }
        rest = &rest[fitting.max(1)..];
    }
    groups
}

/// The newest of the long blocks that has much deleted, or a shorter newest block that has nothing left.
fn much_deleted<'m>(metas: &[&'m BlockMeta], ranges: &[i64]) -> Option<&'m BlockMeta> {
    let long = *ranges.get(ranges.len() / 2)?;
    let mut candidates = metas.iter().rev();
    let found = candidates.find_map(|meta| {
        let (deleted, series) = (meta.stats.num_tombstones, meta.stats.num_series);
        if meta.max_time.saturating_sub(meta.min_time) < long {
            // As the reference: an interval counts as a series, and the shorter ones before it are not looked at.
            return Some((deleted > 0 && deleted >= series).then_some(*meta));
        }
        (deleted as f64 / (series + 1) as f64 > MAX_DELETED).then_some(Some(*meta))
    });
    found.flatten().filter(|meta| !meta.compaction.failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::fixtures::ulid;

    /// Number, first time, end; deleted intervals and series.
    type Given = (u64, i64, i64, (u64, u64));

    fn metas(given: &[Given]) -> Vec<BlockMeta> {
        let meta = |(n, min, max, (tombstones, series)): &Given| {
            let mut meta = BlockMeta::new(ulid(*n), *min, *max);
            (meta.stats.num_tombstones, meta.stats.num_series) = (*tombstones, *series);
            meta
        };
        given.iter().map(meta).collect()
    }

    fn planned(metas: &[BlockMeta], ranges: &[i64]) -> Option<Plan> {
        plan(&metas.iter().collect::<Vec<_>>(), ranges)
    }

    /// What it is about, the blocks, and those expected with the reason.
    type Case = (&'static str, &'static [Given], Option<(&'static [u64], Reason)>);

    const RANGES: [i64; 5] = [20, 60, 180, 540, 1620];
    const WHOLE: (u64, u64) = (0, 10);

    #[test]
    fn blocks_are_chosen_as_the_reference_chooses_them() {
        use Reason::{Deleted, Overlap, Range};
        let cases: &[Case] = &[
            ("nothing", &[], None),
            ("one block", &[(1, 0, 20, WHOLE)], None),
            ("the range is not full", &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE)], None),
            ("the newest is left out", &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 40, 60, WHOLE)], None),
            (
                "full, and a newer one is there",
                &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 40, 60, WHOLE), (4, 60, 80, WHOLE)],
                Some((&[1, 2, 3], Range)),
            ),
            (
                "a gap, and only the newest behind it",
                &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 60, 80, WHOLE)],
                None,
            ),
            (
                "a gap that will not be filled",
                &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 60, 80, WHOLE), (4, 80, 100, WHOLE)],
                Some((&[1, 2], Range)),
            ),
            (
                "the shortest first",
                &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 40, 60, WHOLE), (4, 60, 120, WHOLE), (5, 120, 180, WHOLE)],
                Some((&[1, 2, 3], Range)),
            ),
            (
                "different lengths, names not in the order of time",
                &[
                    (2, 20, 40, WHOLE),
                    (4, 60, 120, WHOLE),
                    (5, 960, 980, WHOLE),
                    (6, 120, 180, WHOLE),
                    (7, 720, 960, WHOLE),
                ],
                Some((&[2, 4, 6], Range)),
            ),
            (
                "the newest by time is not the newest by name",
                &[(5, 0, 360, WHOLE), (6, 540, 560, WHOLE), (7, 360, 420, WHOLE), (8, 420, 540, WHOLE)],
                Some((&[7, 8], Range)),
            ),
            (
                "a block across the edge of a range",
                &[(1, 50, 70, WHOLE), (2, 70, 80, WHOLE), (3, 600, 620, WHOLE)],
                None,
            ),
            (
                "before 1970",
                &[(1, -60, -50, WHOLE), (2, -10, -5, WHOLE), (3, 0, 15, WHOLE), (4, 60, 80, WHOLE)],
                Some((&[1, 2], Range)),
            ),
            ("much deleted of the newest", &[(1, 0, 540, (3, 10))], None),
            ("much deleted of a long one", &[(1, 0, 540, (3, 10)), (2, 540, 560, WHOLE)], Some((&[1], Deleted))),
            ("5 % are not much", &[(1, 0, 540, (1, 19)), (2, 540, 560, WHOLE)], None),
            ("much deleted of a short one", &[(1, 0, 60, (3, 10)), (2, 60, 80, WHOLE)], None),
            ("all deleted of a short one", &[(1, 0, 60, (10, 10)), (2, 60, 80, WHOLE)], Some((&[1], Deleted))),
            ("nothing there and nothing deleted", &[(1, 0, 540, (0, 0)), (2, 540, 560, WHOLE)], None),
            ("short ones hide long ones", &[(1, 0, 540, (9, 10)), (2, 540, 560, WHOLE), (3, 560, 580, WHOLE)], None),
            ("an overlap", &[(1, 0, 20, WHOLE), (2, 19, 40, WHOLE), (3, 40, 60, WHOLE)], Some((&[1, 2], Overlap))),
            (
                "the newest overlaps",
                &[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 30, 50, WHOLE)],
                Some((&[2, 3], Overlap)),
            ),
            ("a chain", &[(1, 0, 20, WHOLE), (2, 10, 40, WHOLE), (3, 30, 50, WHOLE)], Some((&[1, 2, 3], Overlap))),
            (
                "one overlaps all the others",
                &[(5, 0, 360, WHOLE), (6, 340, 560, WHOLE), (7, 360, 420, WHOLE), (8, 420, 540, WHOLE)],
                Some((&[5, 6, 7, 8], Overlap)),
            ),
            (
                "the first of two overlaps",
                &[(1, 0, 10, WHOLE), (2, 9, 20, WHOLE), (3, 30, 40, WHOLE), (4, 39, 50, WHOLE)],
                Some((&[1, 2], Overlap)),
            ),
        ];
        for (name, given, expected) in cases {
            let expected =
                expected.map(|(blocks, reason)| Plan { blocks: blocks.iter().map(|n| ulid(*n)).collect(), reason });
            assert_eq!(planned(&metas(given), &RANGES), expected, "{name}");
        }
    }

    #[test]
    fn a_single_range_compacts_overlaps_only() {
        let mut two = metas(&[(1, 0, 100, WHOLE), (2, 101, 200, WHOLE), (3, 200, 300, WHOLE)]);
        assert_eq!(planned(&two, &[50]), None);
        assert_eq!(planned(&two, &[]), None);
        two[1].min_time = 99;
        assert_eq!(planned(&two, &[50]).unwrap().reason, Reason::Overlap);
    }

    #[test]
    fn what_failed_is_not_tried_again_and_does_not_hold_up_others() {
        let ranges = [20, 60, 240, 720, 2160];
        let mut cases = [
            metas(&[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 40, 60, WHOLE), (4, 60, 80, WHOLE)]),
            metas(&[(1, 0, 20, WHOLE), (2, 20, 40, WHOLE), (3, 60, 80, WHOLE), (4, 80, 100, WHOLE)]),
            metas(&[(1, 0, 20, WHOLE), (2, 10, 30, WHOLE)]),
            metas(&[(1, 0, 240, WHOLE), (2, 240, 480, (9, 10)), (3, 480, 500, WHOLE)]),
        ];
        for metas in &mut cases {
            assert!(planned(metas, &ranges).is_some());
            metas[1].compaction.failed = true;
            assert_eq!(planned(metas, &ranges), None);
        }
        let mut two = metas(&[(1, 0, 20, WHOLE), (2, 10, 30, WHOLE), (3, 40, 50, WHOLE), (4, 45, 60, WHOLE)]);
        two[0].compaction.failed = true;
        assert_eq!(planned(&two, &ranges).unwrap().blocks, [ulid(3), ulid(4)]);
    }

    #[test]
    fn blocks_of_a_partial_view_are_compacted_with_their_like_only() {
        let ranges = [20, 60, 180];
        let mut all = metas(&[
            (1, 0, 20, WHOLE),
            (2, 0, 20, WHOLE),
            (3, 20, 40, WHOLE),
            (4, 40, 60, WHOLE),
            (5, 60, 80, WHOLE),
            (6, 20, 40, WHOLE),
        ]);
        for i in [1, 5] {
            all[i].compaction.hints = vec!["from-stale-series".to_owned()];
        }
        assert_eq!(planned(&all, &ranges).unwrap().blocks, [ulid(1), ulid(3), ulid(4)]);
        all[5].min_time = 10;
        all.retain(|m| m.ulid == ulid(1) || !m.compaction.hints.is_empty());
        assert_eq!(planned(&all, &ranges).unwrap().blocks, [ulid(2), ulid(6)]);
        all[2].compaction.hints = vec!["from-selected-series".to_owned()];
        assert_eq!(planned(&all, &ranges), None);
    }

    #[test]
    fn blocks_grow_threefold_up_to_the_longest() {
        let hours = |h: i64| DurationMs::from_secs(h * 3600);
        let ranges = |max| block_ranges(hours(2), hours(max)).iter().map(|r| r / 3_600_000).collect::<Vec<_>>();
        assert_eq!(ranges(36), [2, 6, 18]);
        assert_eq!(ranges(31 * 24), [2, 6, 18, 54, 162, 486]);
        assert_eq!(ranges(18), [2, 6, 18]);
        assert_eq!(ranges(1), [2]);
        assert_eq!(block_ranges(DurationMs(1), DurationMs(i64::MAX)).len(), 10);
    }

    #[test]
    fn times_at_the_ends_of_time_are_no_trouble() {
        let all = metas(&[
            (1, i64::MIN, i64::MIN + 5, WHOLE),
            (2, i64::MIN + 5, 0, WHOLE),
            (3, i64::MAX - 5, i64::MAX, WHOLE),
        ]);
        assert_eq!(planned(&all, &RANGES), None);
        assert_eq!(
            planned(&metas(&[(1, i64::MIN, i64::MAX, WHOLE), (2, 0, i64::MAX, WHOLE)]), &RANGES).unwrap().reason,
            Reason::Overlap
        );
    }
}
