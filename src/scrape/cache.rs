//! The prediction cache: what one target's lines were last time.
//!
//! Of every line it keeps 32 bytes, not the text: length and seeded hash of the part that identifies it, what it stands
//! for, and which line came after it. A body that looks like the one before is then read by following these links;
//! only a line that is not the expected one is looked up in the table, and only one that is not there is parsed.
//!
//! Marks instead of sets tell which series have ended: every visit notes the number of the scrape. A hash is taken for
//! the text: with 64 seeded bits two lines of one target collide once in billions of targets, and never on purpose.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{HashSet, HashTable};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::families::{Families, Texts};
use super::ingest::Converter;
use crate::model::MetricType;
use crate::storage::SeriesRef;

const NONE: u32 = u32::MAX;

/// What a line stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A stored series.
    Series,
    /// A series that the label rules drop.
    Dropped,
    /// A comment without meaning.
    Comment,
    /// `# HELP` or `# UNIT`.
    Metadata,
    /// `# TYPE`.
    Type(MetricType),
}

/// One line of the last scrapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    hash: u64,
    /// The series' reference, or the family's number.
    pub(super) target: u64,
    /// Bytes of the series part or of the comment line.
    pub(super) len: u32,
    /// The entry of the line that came next.
    next: u32,
    /// The scrape that saw it last.
    seen: u32,
    pub(super) kind: Kind,
    /// Whether that scrape expects it again: its disappearance then ends the series.
    tracked: bool,
}

/// What a visit found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Visit {
    /// The line was there in the last scrapes.
    Known,
    /// The line was gone in between; it counts as new.
    Back,
    /// The line has been there in this scrape already.
    Again,
}

/// Whether an entry names no family, whose number may change.
fn is_sample(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Series | Kind::Dropped)
}

/// The lines of one target.
pub(super) struct Cache {
    entries: Vec<Entry>,
    table: HashTable<u32>,
    secrets: RapidSecrets,
    /// The number of the scrape under way.
    scrape: u32,
    /// Entries seen in no scrape since this one are forgotten as far as anybody can tell.
    kept_since: u32,
    /// The entry of the last line.
    last: u32,
    first: u32,
    /// Entries visited in this scrape.
    visited: usize,
    /// Entries tracked by the scrape before, and how many of these this one has tracked again.
    tracked_before: usize,
    tracked_now: usize,
    tracked_again: usize,
    /// Entries at the end of the last success, to notice growth by failing scrapes.
    at_success: usize,
    pub(super) families: Families,
    /// What is known of classic histograms' lines, if they are converted.
    pub(super) converter: Option<Box<Converter>>,
    /// The series `up` and so on, by position.
    pub(super) report: [SeriesRef; 8],
}

impl Cache {
    pub(super) fn new(texts: Arc<Texts>) -> Cache {
        // The standard library's hasher is the seed that an attacker cannot know.
        let seed = std::collections::hash_map::RandomState::new().hash_one(0u8);
        Cache {
            entries: Vec::new(),
            table: HashTable::new(),
            secrets: RapidSecrets::seed(seed),
            scrape: 1,
            kept_since: 1,
            last: NONE,
            first: NONE,
            visited: 0,
            tracked_before: 0,
            tracked_now: 0,
            tracked_again: 0,
            at_success: 0,
            families: Families::new(texts),
            converter: None,
            report: [SeriesRef(0); 8],
        }
    }

    /// The entry that should come next, if the start of `rest` is its text.
    #[inline]
    pub(super) fn expected(&self, rest: &[u8]) -> Option<(u32, Entry)> {
        let index = match self.entries.get(self.last as usize) {
            Some(last) => last.next,
            None => self.first,
        };
        let entry = self.entries.get(index as usize)?;
        let text = rest.get(..entry.len as usize)?;
        (rapidhash_v3_seeded(text, &self.secrets) == entry.hash).then_some((index, *entry))
    }

    /// The entry that should come next, if it is that of `text`.
    #[inline]
    pub(super) fn expected_whole(&self, text: &[u8]) -> Option<(u32, Entry)> {
        self.expected(text).filter(|(_, entry)| entry.len as usize == text.len())
    }

    /// The hash that stands for a text here, and that nobody outside can foresee.
    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        rapidhash_v3_seeded(text, &self.secrets)
    }

    /// The entry of a line that was not the expected one.
    pub(super) fn find(&self, text: &[u8]) -> Option<(u32, Entry)> {
        let hash = rapidhash_v3_seeded(text, &self.secrets);
        let is_it = |&index: &u32| {
            let entry = &self.entries[index as usize];
            entry.hash == hash && entry.len as usize == text.len()
        };
        let index = *self.table.find(hash, is_it)?;
        Some((index, self.entries[index as usize]))
    }

    /// Adds a line that is in no table. `None` if the cache is full, which it is at four billion lines.
    pub(super) fn add(&mut self, text: &[u8], kind: Kind, target: u64) -> Option<u32> {
        let index = u32::try_from(self.entries.len()).ok().filter(|&i| i < NONE)?;
        let len = u32::try_from(text.len()).ok()?;
        let hash = rapidhash_v3_seeded(text, &self.secrets);
        let entry = Entry { hash, target, len, next: NONE, seen: self.scrape, kind, tracked: false };
        self.entries.push(entry);
        let entries = &self.entries;
        self.table.insert_unique(hash, index, |&i| entries[i as usize].hash);
        self.visited += 1;
        self.follow(index);
        Some(index)
    }

    /// Notes that the line of an entry is there, and whether its series is expected in the next scrape.
    #[inline]
    pub(super) fn visit(&mut self, index: u32) -> Visit {
        self.follow(index);
        let entry = &mut self.entries[index as usize];
        let seen = std::mem::replace(&mut entry.seen, self.scrape);
        if seen == self.scrape {
            return Visit::Again;
        }
        self.visited += 1;
        // Whether the scrape before tracked it is kept for `track` in the counter below.
        let was_tracked = entry.tracked && seen == self.scrape - 1;
        entry.tracked = was_tracked;
        if seen >= self.kept_since { Visit::Known } else { Visit::Back }
    }

    /// Expects the series in the next scrape. Call it once for each entry in a scrape, after [`visit`](Cache::visit)
    /// or [`add`](Cache::add).
    #[inline]
    pub(super) fn track(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        self.tracked_again += usize::from(entry.tracked);
        self.tracked_now += 1;
        entry.tracked = true;
    }

    /// The opposite of [`track`](Cache::track): the line is there, but its absence will not end the series. Returns
    /// true if the scrape before expected it, so that it ends now.
    pub(super) fn untrack(&mut self, index: u32) -> bool {
        std::mem::replace(&mut self.entries[index as usize].tracked, false)
    }

    /// Takes the visit of a line back that the scrapes before did not show: the next one counts as new again.
    pub(super) fn forget(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        // No scrape has this number.
        entry.seen = 0;
        self.tracked_now -= usize::from(std::mem::replace(&mut entry.tracked, false));
        self.visited -= 1;
    }

    pub(super) fn entry(&self, index: u32) -> Entry {
        self.entries[index as usize]
    }

    /// Gives a series its new reference.
    pub(super) fn set_series(&mut self, index: u32, series: SeriesRef) {
        self.entries[index as usize].target = series.0;
    }

    pub(super) fn scrape_number(&self) -> u32 {
        self.scrape
    }

    /// The series that the scrape before expected and that this one has not tracked, each once. `untracked` are those
    /// whose entries were visited, but not tracked.
    pub(super) fn ended(&self, untracked: &[SeriesRef]) -> Vec<SeriesRef> {
        if self.tracked_again == self.tracked_before && untracked.is_empty() {
            return Vec::new();
        }
        let is_series = |e: &&Entry| e.kind == Kind::Series && e.tracked;
        let before = self.entries.iter().filter(is_series).filter(|e| e.seen == self.scrape.wrapping_sub(1));
        let mut ended: HashSet<u64> = before.map(|e| e.target).collect();
        ended.extend(untracked.iter().map(|s| s.0));
        // Two texts can be the same series, such as two orders of its labels; one of them suffices.
        for entry in self.entries.iter().filter(is_series).filter(|e| e.seen == self.scrape) {
            ended.remove(&entry.target);
        }
        let mut ended: Vec<SeriesRef> = ended.into_iter().map(SeriesRef).collect();
        ended.sort_unstable();
        ended
    }

    /// Ends a scrape that brought a whole body: lines that were not in it are forgotten.
    pub(super) fn end_success(&mut self) {
        self.kept_since = self.scrape;
        let renumbered = self.families.evict(self.scrape);
        let unseen = self.entries.len() - self.visited;
        // Forgotten entries may stay for a while: taking them out costs a walk over all.
        if renumbered || unseen > 64 + self.entries.len() / 4 {
            let scrape = self.scrape;
            self.retain(|e| e.seen == scrape && (!renumbered || is_sample(e)));
        }
        self.at_success = self.entries.len();
        self.next_scrape();
    }

    /// Ends a scrape that failed or brought nothing. The cache stays, unless failing scrapes make it grow.
    pub(super) fn end_failure(&mut self) {
        if self.entries.len() > self.at_success * 2 + 1000 {
            let scrape = self.scrape;
            let renumbered = self.families.evict(scrape);
            self.retain(|e| e.seen == scrape && (!renumbered || is_sample(e)));
            self.at_success = self.entries.len();
        }
        self.next_scrape();
    }

    fn next_scrape(&mut self) {
        self.scrape += 1;
        self.last = NONE;
        self.visited = 0;
        self.tracked_before = std::mem::take(&mut self.tracked_now);
        self.tracked_again = 0;
    }

    #[inline]
    fn follow(&mut self, index: u32) {
        match self.entries.get_mut(self.last as usize) {
            Some(last) => last.next = index,
            None => self.first = index,
        }
        self.last = index;
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let mut moved = vec![NONE; self.entries.len()];
        let mut kept = 0u32;
        for (entry, place) in self.entries.iter().zip(&mut moved) {
            if keep(entry) {
                *place = kept;
                kept += 1;
            }
        }
        let new_place = |old: u32| moved.get(old as usize).copied().unwrap_or(NONE);
        self.entries.retain(keep);
        self.entries.shrink_to(self.entries.len() + self.entries.len() / 4);
        for entry in &mut self.entries {
            entry.next = new_place(entry.next);
        }
        self.first = new_place(self.first);
        self.last = NONE;
        self.table = HashTable::with_capacity(self.entries.len());
        let entries = &self.entries;
        for (index, entry) in (0u32..).zip(entries) {
            self.table.insert_unique(entry.hash, index, |&i| entries[i as usize].hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(cache: &mut Cache, lines: &[(&str, u64)]) -> Vec<Visit> {
        let visits = lines.iter().map(|(text, series)| match cache.find(text.as_bytes()) {
            Some((index, _)) => {
                let visit = cache.visit(index);
                if visit != Visit::Again {
                    cache.track(index);
                }
                visit
            }
            None => {
                let index = cache.add(text.as_bytes(), Kind::Series, *series).expect("the cache is not full");
                cache.track(index);
                Visit::Back
            }
        });
        visits.collect()
    }

    #[test]
    fn an_entry_takes_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn a_repeated_body_is_predicted_line_by_line() {
        let mut cache = Cache::new(Arc::default());
        let lines = [("a", 1), ("bb", 2), ("ccc", 3)];
        scrape(&mut cache, &lines);
        cache.end_success();
        for (text, series) in lines {
            let (index, entry) = cache.expected(format!("{text} 1\n").as_bytes()).expect("the line is expected");
            assert_eq!(entry.target, series);
            cache.visit(index);
        }
        assert!(cache.expected(b"a 1\n").is_none(), "nothing is expected after the last line");
    }

    #[test]
    fn a_new_line_in_between_is_learnt() {
        let mut cache = Cache::new(Arc::default());
        scrape(&mut cache, &[("a", 1), ("c", 3)]);
        cache.end_success();
        scrape(&mut cache, &[("a", 1), ("b", 2), ("c", 3)]);
        cache.end_success();
        for text in ["a", "b", "c"] {
            let (index, _) = cache.expected(text.as_bytes()).expect("the order was learnt");
            cache.visit(index);
        }
    }

    #[test]
    fn only_the_series_that_no_text_shows_any_more_have_ended() {
        let mut cache = Cache::new(Arc::default());
        scrape(&mut cache, &[("a", 1), ("b", 2), ("b'", 2), ("c", 3)]);
        assert_eq!(cache.ended(&[]), []);
        cache.end_success();
        scrape(&mut cache, &[("a", 1), ("b'", 2)]);
        assert_eq!(cache.ended(&[]), [SeriesRef(3)]);
        cache.end_success();
        scrape(&mut cache, &[("a", 1), ("b'", 2)]);
        assert_eq!(cache.ended(&[]), [], "a series ends once");
        cache.end_success();
        assert_eq!(cache.ended(&[]), [SeriesRef(1), SeriesRef(2)], "an empty scrape ends all");
    }

    #[test]
    fn a_line_that_comes_back_counts_as_new() {
        let mut cache = Cache::new(Arc::default());
        scrape(&mut cache, &[("a", 1), ("b", 2)]);
        cache.end_success();
        scrape(&mut cache, &[("a", 1)]);
        cache.end_success();
        assert_eq!(scrape(&mut cache, &[("a", 1), ("b", 2), ("b", 2)]), [Visit::Known, Visit::Back, Visit::Again]);
        cache.end_success();
        cache.end_failure();
        assert_eq!(scrape(&mut cache, &[("b", 2)]), [Visit::Known], "a failed scrape forgets nothing");
    }

    #[test]
    fn churn_does_not_make_it_grow() {
        let mut cache = Cache::new(Arc::default());
        for round in 0..1000u64 {
            let text = format!("series-{round}");
            scrape(&mut cache, &[("constant", 1), (&text, 2 + round)]);
            assert_eq!(cache.ended(&[]).len(), usize::from(round > 0));
            cache.end_success();
        }
        assert!(cache.entries.len() < 200, "{} entries", cache.entries.len());
        for round in 0..100_000u64 {
            scrape(&mut cache, &[(&format!("other-{round}"), round)]);
            cache.end_failure();
        }
        assert!(cache.entries.len() < 3000, "{} entries", cache.entries.len());
    }

    #[test]
    fn families_of_scrapes_that_fail_do_not_make_it_grow() {
        let mut cache = Cache::new(Arc::default());
        for round in 0..300u32 {
            for line in 0..1000 {
                let name = format!("family_{round}_{line}");
                let number = cache.families.number(name.as_bytes());
                cache.families.see(number, cache.scrape_number());
                cache.add(name.as_bytes(), Kind::Metadata, u64::from(number));
            }
            cache.end_failure();
        }
        let kept = cache.families.list(None).len();
        assert!(kept < 20_000, "{kept} of 300000 families are kept");
    }
}
