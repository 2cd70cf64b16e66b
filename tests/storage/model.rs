//! The durable store against the reference store: whatever is done to both, they answer the same.
//!
//! A run is a sequence of random steps: batches in order, late, duplicated, stale, of floats and native histograms, with
//! and without start timestamps;
//! deletions, compactions, reloads of settings, restarts and deaths. `WATERSHED_SEED` repeats a run, `WATERSHED_STEPS`
//! makes it longer.

use std::path::Path;
use std::sync::Arc;

use watershed::disk::MemDisk;
use watershed::model::{DurationMs, MatchOp, Matcher, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::memory::MemoryStore;
use watershed::storage::{Administrable as _, Appendable as _, FloatSample, Selector, TimeRange, UnknownSeries};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Settings, Tsdb};

use crate::samples::{MINUTE, Random, START, append, latest, select, series};

const SPAN: i64 = 30 * MINUTE;
const WINDOW: i64 = 2 * SPAN;

struct Run {
    name: String,
    random: Random,
    disk: MemDisk,
    clock: Clock,
    options: Options,
    store: Option<Tsdb>,
    model: MemoryStore,
    now: i64,
    /// Nothing at or before this time has been left by a deletion, so nothing late may come there.
    deleted_until: i64,
    blocks: usize,
    compactions: usize,
}

impl Run {
    fn new(seed: u64, window: i64) -> Run {
        let settings = Settings { out_of_order_window: DurationMs(window), ..Settings::default() };
        let options = Options {
            chunk_range: DurationMs(SPAN),
            // Small, so that segments and their removal happen all the time.
            segment_size: 1 << 16,
            settings,
            ..Options::default()
        };
        let model = if window > 0 { MemoryStore::with_window(DurationMs(window)) } else { MemoryStore::new() };
        let mut run = Run {
            name: format!("WATERSHED_SEED={seed} (window {window})"),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            disk: MemDisk::new(),
            clock: Clock::manual(TimestampMs(START)),
            options,
            store: None,
            model,
            now: START,
            deleted_until: i64::MIN,
            blocks: 0,
            compactions: 0,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let deps = Deps { disk: Arc::new(self.disk.clone()), clock: self.clock.clone(), registry: Registry::new() };
        let (store, report) = Tsdb::open(Path::new("/data"), self.options.clone(), deps).expect("opens");
        assert_eq!((report.damage, report.unknown_series), (vec![], 0), "{}", self.name);
        self.store = Some(store);
    }

    fn store(&self) -> &Tsdb {
        self.store.as_ref().expect("an open store")
    }

    fn window(&self) -> i64 {
        self.options.settings.out_of_order_window.0
    }

    /// Time goes on, and some series get a sample; some of them late, some twice.
    fn append(&mut self) {
        self.now += self.random.signed(40_000);
        self.clock.set(TimestampMs(self.now));
        // Every series is appended to in phases, so that series come, go and come back.
        let phase = (self.now - START) / (2 * SPAN) * 5;
        let mut batch = Vec::new();
        for _ in 0..self.random.below(20) {
            let i = phase.cast_unsigned() % 24 + self.random.below(16);
            let late = match self.random.below(20) {
                0 if self.window() > 0 => self.random.signed(self.window() - 2 * MINUTE),
                1..=3 if self.window() > 0 => self.random.signed(5 * MINUTE),
                0 => self.random.signed(MINUTE),
                _ => 0,
            };
            if self.now - late > self.deleted_until {
                batch.push((i, self.now - late));
            }
        }
        if self.random.below(4) == 0 {
            batch.extend_from_within(..batch.len() / 2);
        }
        let (ours, theirs) = (append(self.store(), &batch), append(&self.model, &batch));
        let (ours, theirs) = (ours.expect("committed"), theirs.expect("committed"));
        // Whether a late sample that is there already counts as kept depends on where it is.
        assert_eq!(ours.refused, theirs.refused, "{}: {batch:?}", self.name);
        if self.window() == 0 {
            assert_eq!(ours, theirs, "{}: {batch:?}", self.name);
        }
    }

    fn selector(&mut self) -> Selector {
        match self.random.below(5) {
            0 => vec![],
            1 => vec![Matcher::equal("job", "job1")],
            2 => vec![Matcher::equal("__name__", "latency"), Matcher::equal("job", "job0")],
            3 => vec![Matcher::new(MatchOp::Regex, "path", "/p/(1|2|3).*").expect("a regex")],
            _ => vec![Matcher::equal("path", &format!("/p/{}", self.random.below(40)))],
        }
    }

    fn delete(&mut self) {
        let selector = self.selector();
        if selector.is_empty() {
            return;
        }
        let max = self.now - self.random.signed(6 * SPAN);
        let range = TimeRange { min: TimestampMs(max - self.random.signed(3 * SPAN)), max: TimestampMs(max) };
        self.store().delete(std::slice::from_ref(&selector), range).expect("deleted");
        self.model.delete(&[selector], range).expect("deleted");
        self.deleted_until = self.deleted_until.max(max);
    }

    fn maintain(&mut self) {
        let report = self.store().maintain().expect("upkeep");
        self.blocks += report.blocks_created.len();
        self.compactions += report.blocks.compactions;
    }

    fn compare(&mut self, everything: bool) {
        let (selectors, range) = if everything {
            (vec![vec![]], TimeRange::ALL)
        } else {
            let max = self.now - self.random.signed(8 * SPAN);
            let range = TimeRange { min: TimestampMs(max - self.random.signed(2 * SPAN)), max: TimestampMs(max) };
            ((0..=self.random.below(2)).map(|_| self.selector()).collect(), range)
        };
        let what = format!("{} at {} asked {selectors:?} in {range:?}", self.name, self.now);
        let (ours, theirs) = (select(self.store(), &selectors, range), select(&self.model, &selectors, range));
        for (labels, samples) in &theirs {
            let ours = ours.get(labels).map_or(&[][..], |ours| ours);
            let differs = (0..samples.len().max(ours.len())).find(|i| ours.get(*i) != samples.get(*i));
            if let Some(i) = differs {
                let (ours, theirs) = (ours.get(i), samples.get(i));
                panic!("{what}: {labels}: sample {i} of {}: {ours:?}, not {theirs:?}", samples.len());
            }
        }
        let more: Vec<_> = ours.iter().filter(|(labels, _)| !theirs.contains_key(*labels)).collect();
        assert!(more.is_empty(), "{what}: {more:?}");
        assert_eq!(latest(self.store(), &selectors, range), latest(&self.model, &selectors, range), "{what}");
    }

    fn step(&mut self) {
        let action = self.random.below(1000);
        match action {
            0..=2 => {
                // Every commit is written at once, so that a process that dies loses nothing.
                self.store = None;
                self.open();
            }
            3..=20 => self.maintain(),
            21..=24 => self.delete(),
            25 => self.store().clean_tombstones().expect("cleaned"),
            26..=45 => self.compare(false),
            46 => self.compare(true),
            47 => {
                // How chunks are opened changes nothing that can be seen.
                self.options.settings.xor2 = self.random.below(2) == 0;
                self.options.settings.histogram_starts = self.random.below(2) == 0;
                self.store().apply(self.options.settings.clone());
            }
            48 => {
                // What is not committed leaves nothing.
                let mut appender = self.store().appender();
                let reference = appender.series(&series(999)).expect("a series");
                let sample = FloatSample { series: reference, t: TimestampMs(self.now), v: 1.0 };
                assert_eq!(appender.append(&[sample]).expect("taken"), UnknownSeries::default());
            }
            _ => self.append(),
        }
    }
}

fn run(window: i64) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let steps = setting("WATERSHED_STEPS").unwrap_or(10_000);
    let seed = setting("WATERSHED_SEED").unwrap_or(0x5eed_0003);
    let mut run = Run::new(seed, window);
    eprintln!("{}: {steps} steps", run.name);
    for _ in 0..steps {
        run.step();
    }
    run.compare(true);
    run.store = None;
    run.open();
    run.compare(true);
    let hours = (run.now - START) / (60 * MINUTE);
    eprintln!("{}: {hours} h, {} blocks cut, {} compactions", run.name, run.blocks, run.compactions);
    assert!(run.blocks > 20 && run.compactions > 3, "the run has not come far");
}

#[test]
fn in_order_samples_deletions_compactions_and_restarts_leave_what_the_model_holds() {
    run(0);
}

#[test]
fn so_do_late_samples() {
    run(WINDOW);
}
