//! The store as a whole, on a disk in memory.

use std::collections::BTreeMap;

use super::*;
use crate::disk::MemDisk;
use crate::model::{Labels, MatchOp, Matcher, STALE_NAN, Sample};
use crate::storage::memory::MemoryStore;
use crate::storage::{
    AppendReport, Appendable, Columns, FloatSample, LabelRequest, LatestBatch, Queryable, Scope, SelectRequest,
    Selector, SeriesBatch, SeriesRef, SeriesStream, StreamStep, TimeRange, UnknownSeries, decode_into,
};

const DIR: &str = "/data";
const START: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn open_with(disk: &MemDisk, clock: &Clock, options: Options) -> (Tsdb, OpenReport) {
    let deps = Deps { disk: Arc::new(disk.clone()), clock: clock.clone(), registry: Registry::new() };
    Tsdb::open(Path::new(DIR), options, deps).unwrap()
}

fn open(disk: &MemDisk) -> (Tsdb, OpenReport) {
    open_with(disk, &Clock::manual(TimestampMs(START + 24 * HOUR)), Options::default())
}

fn labels(i: usize) -> Labels {
    let (instance, path) = (format!("host-{}", i % 5), format!("/p{i}"));
    let name = if i.is_multiple_of(7) { "http_requests_total" } else { "up" };
    let zone = if i.is_multiple_of(3) { "" } else { "eu" };
    Labels::from_pairs([("__name__", name), ("instance", &instance), ("path", &path), ("zone", zone)])
}

fn append(store: &dyn Appendable, samples: &[(Labels, i64, f64)]) -> Result<AppendReport, AppendError> {
    let mut appender = store.appender();
    let mut batch = Vec::new();
    for (labels, t, v) in samples {
        batch.push(FloatSample { series: appender.series(labels)?, t: TimestampMs(*t), v: *v });
    }
    assert_eq!(appender.append(&batch)?, UnknownSeries::default());
    appender.commit()
}

fn select(store: &dyn Queryable, selectors: &[Selector], range: TimeRange, sorted: bool) -> Vec<(Labels, Vec<Sample>)> {
    let request = SelectRequest { selectors, range, sorted, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut out) = (SeriesBatch::default(), Vec::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        for series in &batch.series {
            let mut columns = Columns::default();
            series.chunks.iter().for_each(|c| decode_into(c, &mut columns).unwrap());
            let inside: Vec<_> = columns.iter().filter(|s| range.contains(s.t)).collect();
            if !inside.is_empty() {
                out.push((series.labels.clone(), inside));
            }
        }
    }
    out
}

fn latest(store: &dyn Queryable, selectors: &[Selector], range: TimeRange) -> Vec<(Labels, i64, u64)> {
    let request = SelectRequest { selectors, range, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut out) = (LatestBatch::default(), Vec::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        let row = |row| (Labels::from_encoded(batch.labels(row)), row.t.0, row.v.to_bits());
        out.extend(batch.rows.iter().map(row));
    }
    out
}

fn everything(store: &dyn Queryable) -> BTreeMap<Labels, Vec<Sample>> {
    select(store, &[Vec::new()], TimeRange::ALL, false).into_iter().collect()
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

/// A small generator, so that a failing run is told by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn selectors() -> Vec<Vec<Selector>> {
    let m = |op, name, value| Matcher::new(op, name, value).unwrap();
    vec![
        vec![vec![]],
        vec![vec![m(MatchOp::Equal, "__name__", "up")]],
        vec![vec![m(MatchOp::Regex, "instance", "host-[12]"), m(MatchOp::NotEqual, "zone", "eu")]],
        vec![vec![m(MatchOp::Equal, "zone", "")], vec![m(MatchOp::Regex, "path", "/p1.*")]],
        vec![vec![m(MatchOp::NotRegex, "path", "/p[0-4]")], vec![m(MatchOp::Equal, "path", "/p2")]],
    ]
}

/// The store and the model must be one in everything that can be asked. `cut`: what the store may have dropped.
fn compare(store: &Tsdb, model: &MemoryStore, cut: i64, now: i64, what: &str) {
    let ranges = [range(cut, i64::MAX), range(now - 40_000, now), range(cut, now - 90_000)];
    for (selectors, range) in selectors().iter().flat_map(|s| ranges.map(|r| (s, r))) {
        let expected = select(model, selectors, range, true);
        assert_eq!(select(store, selectors, range, true), expected, "{what}: sorted");
        let mut unsorted = select(store, selectors, range, false);
        unsorted.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(unsorted, expected, "{what}: unsorted");
        assert_eq!(latest(store, selectors, range), latest(model, selectors, range), "{what}: latest");
    }
    let scope = Scope::unbounded();
    for selectors in selectors() {
        let all = LabelRequest { selectors: &selectors, range: range(cut, i64::MAX), limit: None };
        let three = LabelRequest { limit: Some(3), ..all };
        let names = |s: &dyn Queryable| s.label_names(&scope, &three).unwrap().0;
        assert_eq!(names(store), names(model), "{what}: label names");
        for name in ["path", "zone", "nothing"] {
            let values = |s: &dyn Queryable| s.label_values(&scope, name, &all).unwrap().0;
            assert_eq!(values(store), values(model), "{what}: label values");
        }
    }
}

#[test]
fn random_appends_restarts_and_upkeep_leave_what_the_model_holds() {
    let seed = std::env::var("WATERSHED_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_0001);
    for seed in seed..seed + 3 {
        eprintln!("seed {seed}; repeat with WATERSHED_SEED={seed}");
        model_run(seed, 2500);
    }
}

fn model_run(seed: u64, steps: usize) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // Small segments, so that segments, checkpoints and their removal happen all the time.
    let options = Options { segment_size: 1 << 16, chunk_range: DurationMs(HOUR), ..Options::default() };
    let (disk, clock, model) = (MemDisk::new(), Clock::manual(TimestampMs(START)), MemoryStore::new());
    let (mut store, _) = open_with(&disk, &clock, options.clone());
    let (mut now, mut checkpoints) = (START, 0);
    // Every series is appended to in phases, so that series come, go and come back.
    for step in 0..steps {
        match random.below(100) {
            0..=1 => {
                drop(store);
                let report;
                (store, report) = open_with(&disk, &clock, options.clone());
                assert_eq!((report.damage, report.unknown_series), (vec![], 0), "seed {seed}");
            }
            2..=6 => {
                checkpoints += usize::from(store.maintain().unwrap().checkpoint.is_some());
            }
            7..=9 => compare(&store, &model, i64::MIN, now, &format!("seed {seed} step {step}")),
            10 => drop_a_batch(&store, now),
            _ => {
                now += random.below(30_000) as i64;
                clock.set(TimestampMs(now));
                let phase = (step / 200) as u64 * 17;
                let batch: Vec<_> = (0..random.below(30))
                    .map(|_| {
                        let t = now - if random.below(10) == 0 { random.below(60_000) as i64 } else { 0 };
                        let v = match random.below(12) {
                            0 => STALE_NAN,
                            1 => f64::NAN,
                            _ => random.below(5) as f64,
                        };
                        (labels((phase + random.below(40)) as usize), t, v)
                    })
                    .collect();
                model.refuse_before(TimestampMs(store.min_valid()));
                assert_eq!(append(&store, &batch).unwrap(), append(&model, &batch).unwrap(), "seed {seed} step {step}");
            }
        }
    }
    compare(&store, &model, i64::MIN, now, "at the end");
    assert!(checkpoints > 2, "the run never wrote a checkpoint");
    drop(store);
    let (store, _) = open_with(&disk, &clock, options);
    compare(&store, &model, i64::MIN, now, "after the last restart");
}

fn drop_a_batch(store: &Tsdb, now: i64) {
    let mut appender = store.appender();
    let series = appender.series(&labels(9999)).unwrap();
    let _ = appender.append(&[FloatSample { series, t: TimestampMs(now), v: 1.0 }]).unwrap();
}

#[test]
fn a_sample_is_judged_against_its_series_and_against_its_own_batch() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let l = labels(1);
    let report = append(&store, &[(l.clone(), START, 1.0), (l.clone(), START, 1.0), (l.clone(), START, 2.0)]).unwrap();
    assert_eq!((report.appended, report.refused.duplicate_timestamp), (2, 1));
    let report =
        append(&store, &[(l.clone(), START - 1, 1.0), (l.clone(), START + 1, 3.0), (l.clone(), START - 4 * HOUR, 1.0)]);
    let report = report.unwrap();
    assert_eq!((report.appended, report.refused.out_of_order, report.refused.too_old), (1, 1, 1));
    assert_eq!(everything(&store)[&l].len(), 2);
}

#[test]
fn an_appender_says_at_once_which_samples_of_its_last_batch_are_refused() {
    let (store, _) = open(&MemDisk::new());
    append(&store, &[(labels(1), START, 1.0)]).unwrap();
    let mut appender = store.appender();
    let series = appender.series(&labels(1)).unwrap();
    let sample = |ms, v| FloatSample { series, t: TimestampMs(START + ms), v };
    let _ = appender.append(&[sample(0, 1.0), sample(0, 2.0), sample(1, 3.0), sample(-1, 1.0)]).unwrap();
    assert_eq!(appender.refused(), [1, 3], "what is there already is not refused");
    let _ = appender.append(&[sample(2, 4.0)]).unwrap();
    assert_eq!(appender.refused(), [0u32; 0]);
}

#[test]
fn references_of_collected_series_are_unknown_and_never_come_back() {
    let disk = MemDisk::new();
    let clock = Clock::manual(TimestampMs(START + 24 * HOUR));
    let (store, _) = open_with(&disk, &clock, Options::default());
    let mut seen = std::collections::HashSet::new();
    let mut last = SeriesRef(0);
    for round in 0..5 {
        let t = START + round * 4 * HOUR;
        append(&store, &[(labels(round as usize), t, 1.0)]).unwrap();
        append(&store, &[(labels(100), t, 1.0)]).unwrap();
        store.maintain().unwrap();
        let mut appender = store.appender();
        let unknown = appender.append(&[FloatSample { series: last, t: TimestampMs(t), v: 2.0 }]).unwrap();
        assert_eq!(unknown, UnknownSeries(vec![0]), "round {round}");
        last = appender.series(&labels(round as usize)).unwrap();
        assert!(seen.insert(last), "round {round}: {last:?} was given away before");
    }
    assert_eq!(store.series_count(), 2);
}

#[test]
fn churn_leaves_no_pairs_behind() {
    let disk = MemDisk::new();
    let (store, _) = open_with(&disk, &Clock::manual(TimestampMs(START + 2400 * HOUR)), Options::default());
    for round in 0..40i64 {
        let batch: Vec<_> =
            (0..200).map(|i| (labels(round as usize * 200 + i), START + round * 4 * HOUR, 1.0)).collect();
        append(&store, &batch).unwrap();
        store.maintain().unwrap();
        assert_eq!(store.series_count(), 200, "round {round}");
        assert_eq!(select(&store, &[vec![]], range(START + round * 4 * HOUR, i64::MAX), true).len(), 200);
    }
    let scope = Scope::unbounded();
    let newest = LabelRequest { range: range(START + 39 * 4 * HOUR, i64::MAX), ..LabelRequest::ALL };
    assert_eq!(store.label_values(&scope, "path", &newest).unwrap().0.len(), 200);
    assert_eq!(store.label_values(&scope, "path", &LabelRequest::ALL).unwrap().0.len(), 40 * 200);
    assert!(store.head.index().pair_slots() < 700, "{} pair slots for 200 series", store.head.index().pair_slots());
}

#[test]
fn after_a_failed_write_the_store_refuses_and_still_answers_until_it_is_opened_again() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    append(&store, &[(labels(1), START, 1.0)]).unwrap();
    disk.set_room(Some(10));
    assert!(matches!(append(&store, &[(labels(1), START + 1, 2.0)]), Err(AppendError::Disk { .. })));
    disk.set_room(None);
    assert!(matches!(append(&store, &[(labels(1), START + 2, 3.0)]), Err(AppendError::Latched(_))));
    assert_eq!(everything(&store)[&labels(1)], [Sample { t: TimestampMs(START), v: 1.0 }]);
    drop(store);

    let (store, report) = open(&disk);
    assert_eq!((report.samples, report.damage.len()), (1, 1));
    append(&store, &[(labels(1), START + 2, 3.0)]).unwrap();
    drop(store);
    let (store, report) = open(&disk);
    assert_eq!((report.samples, report.damage), (2, vec![]));
    assert_eq!(everything(&store)[&labels(1)].len(), 2);
}

/// What other tests cannot see: which series a log names, and that nothing of the failed commit stays behind.
#[test]
fn a_failed_commit_leaves_nothing_in_the_log_and_its_series_are_named_by_the_next() {
    // Within a segment, and over the ends of several.
    for (others, room) in [(3, 10), (3000, 10), (3000, 70_000), (3000, 190_000)] {
        for buffer_bytes in [0, 4000] {
            let disk = MemDisk::new();
            let low_write = LowWrite { flush_interval: DurationMs(HOUR), buffer_bytes };
            let (low_write, compression) = (Some(low_write), Compression::None);
            let options = Options { segment_size: 1, low_write, compression, ..Options::default() };
            let (store, _) = open_with(&disk, &Clock::manual(TimestampMs(START)), options.clone());
            append(&store, &[(labels(0), START, 1.0)]).unwrap();
            disk.set_room(Some(room));
            let failing: Vec<_> = (0..others).map(|i| (labels(i), START + 1, 2.0)).collect();
            let failed = append(&store, &failing).and_then(|_| store.flush().map(|()| AppendReport::default()));
            assert!(matches!(failed, Err(AppendError::Disk { .. })), "{others} {room} {buffer_bytes}");
            let kept = if select(&store, &[vec![]], range(START + 1, START + 1), false).is_empty() { 3.0 } else { 2.0 };
            assert!(matches!(store.maintain(), Err(UpkeepError::Log(AppendError::Disk { .. }))));
            disk.set_room(None);
            store.maintain().unwrap();
            assert_eq!(store.metrics.latched.get(), 0.0);
            let again: Vec<_> = (0..others).map(|i| (labels(i), START + 1, kept)).collect();
            append(&store, &again).unwrap();
            store.flush().unwrap();
            let before = everything(&store);
            drop(store);
            let (store, report) = open_with(&disk, &Clock::manual(TimestampMs(START)), options);
            assert_eq!((report.damage, report.unknown_series), (vec![], 0), "{others} {room} {buffer_bytes}");
            assert_eq!(report.samples, others as u64 + 1, "{others} {room} {buffer_bytes}");
            assert!(everything(&store) == before, "{others} {room} {buffer_bytes}");
        }
    }
}

#[test]
fn a_full_disk_at_start_is_told_and_what_is_there_can_be_read() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    append(&store, &[(labels(1), START, 1.0)]).unwrap();
    drop(store);
    disk.set_room(Some(0));
    let (store, _) = open(&disk);
    assert_eq!(everything(&store).len(), 1);
    assert!(matches!(append(&store, &[(labels(1), START + 1, 2.0)]), Err(AppendError::Latched(_))));
}

#[test]
fn a_second_store_on_the_directory_is_refused() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let deps = Deps { disk: Arc::new(disk.clone()), clock: Clock::system(), registry: Registry::new() };
    assert!(matches!(Tsdb::open(Path::new(DIR), Options::default(), deps), Err(OpenError::Locked(_))));
    store.close().unwrap();
    open(&disk);
}

/// A log of one segment and what each of its commits added.
fn written(commits: i64, compression: Compression) -> (Vec<u8>, Vec<(Labels, Sample)>) {
    let disk = MemDisk::new();
    let options = Options { compression, ..Options::default() };
    let (store, _) = open_with(&disk, &Clock::manual(TimestampMs(START + 24 * HOUR)), options);
    let mut all = Vec::new();
    for i in 0..commits {
        let batch: Vec<_> = (0..60).map(|s| (labels(s), START + i * 1000, (i * s as i64) as f64 / 7.0)).collect();
        append(&store, &batch).unwrap();
        all.extend(batch.into_iter().map(|(l, t, v)| (l, Sample { t: TimestampMs(t), v })));
    }
    (disk.read(Path::new("/data/wal/00000000")).unwrap(), all)
}

fn reopened(segment: &[u8]) -> (MemDisk, Tsdb, OpenReport) {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/data/wal")).unwrap();
    disk.write(Path::new("/data/wal/00000000"), segment);
    let (store, report) = open(&disk);
    (disk, store, report)
}

#[test]
fn a_log_cut_anywhere_in_its_last_two_pages_keeps_whole_commits_and_is_sound_again() {
    let (bytes, all) = written(200, Compression::None);
    assert!(bytes.len() > 3 * wal::PAGE);
    for cut in (bytes.len() - 2 * wal::PAGE..bytes.len()).step_by(131) {
        let (disk, store, report) = reopened(&bytes[..cut]);
        assert_eq!(report.samples % 60, 0, "cut at {cut}: half a commit");
        assert!(report.samples > 0 && report.unknown_series == 0);
        let mut expected: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        for (labels, sample) in &all[..usize::try_from(report.samples).unwrap()] {
            expected.entry(labels.clone()).or_default().push(*sample);
        }
        assert_eq!(everything(&store), expected, "cut at {cut}");
        append(&store, &[(labels(0), START + HOUR, 1.0)]).unwrap();
        drop(store);
        let (_store, again) = open(&disk);
        assert_eq!((again.samples, again.damage), (report.samples + 1, vec![]), "cut at {cut}");
    }
}

#[test]
fn flipped_bits_never_panic_never_give_wrong_samples_and_are_always_told() {
    for compression in [Compression::None, Compression::Snappy] {
        let (bytes, all) = written(150, compression);
        let mut expected: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        for (labels, sample) in &all {
            expected.entry(labels.clone()).or_default().push(*sample);
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 150) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let (disk, store, report) = reopened(&flipped);
            let found = everything(&store);
            for (labels, samples) in &found {
                let right = &expected[labels];
                assert!(samples.iter().all(|s| right.contains(s)), "flip at {at}: wrong samples of {labels}");
            }
            // Three bits of a fragment's type are reserved, and nobody reads them.
            assert!(!report.damage.is_empty() || found == expected, "flip at {at} was not told");
            drop(store);
            let (store, again) = open(&disk);
            assert_eq!(again.damage, [], "flip at {at}: the repair did not last");
            assert_eq!(everything(&store), found, "flip at {at}: the repair lost or found something");
        }
    }
}

#[test]
fn what_is_quarantined_is_kept_and_segments_behind_damage_are_read() {
    let disk = MemDisk::new();
    let clock = Clock::manual(TimestampMs(START + 24 * HOUR));
    for i in 0..3 {
        let (store, _) = open_with(&disk, &clock, Options::default());
        append(&store, &[(labels(1), START + i, 1.0), (labels(2), START + i, 1.0)]).unwrap();
    }
    let path = Path::new("/data/wal/00000001");
    let mut bytes = disk.read(path).unwrap();
    bytes[10] ^= 1;
    disk.write(path, &bytes);
    let (store, report) = open_with(&disk, &clock, Options::default());
    assert_eq!(report.samples, 4);
    assert_eq!(disk.read(Path::new("/data/wal/quarantine-00000001")).unwrap(), bytes);
    assert!(matches!(&report.repairs[..], [(at, Repair::Rewritten { .. })] if at == path));
    assert_eq!(everything(&store).len(), 2);
}

#[test]
fn a_crash_around_a_checkpoint_leaves_the_old_files_or_the_new_ones_in_charge() {
    let disk = MemDisk::new();
    let clock = Clock::manual(TimestampMs(START));
    let (store, _) = open_with(&disk, &clock, Options::default());
    let mut before = None;
    for i in 0..60i64 {
        let now = START + i * HOUR / 6;
        clock.set(TimestampMs(now));
        append(&store, &(0..50).map(|s| (labels(s), now, i as f64)).collect::<Vec<_>>()).unwrap();
        let fork = disk.fork();
        if store.maintain().unwrap().checkpoint.is_some() {
            before = Some(fork);
        }
    }
    let cut = TimeRange::ALL;
    let expected = select(&store, &[vec![]], cut, true);
    let names = disk.list(Path::new("/data/wal")).unwrap();
    let checkpoint = names.iter().find(|n| n.starts_with("checkpoint.")).unwrap().clone();
    assert!(names.len() <= 6, "{names:?}");

    // Half-written: it still has its temporary name. Not yet cleaned up: old segments stand beside it.
    let torn = disk.fork();
    let temporary = Path::new("/data/wal/checkpoint.00000099.tmp");
    torn.create_dir_all(temporary).unwrap();
    torn.write(&temporary.join("00000000"), b"half");
    let dirty = disk.fork();
    let old = before.unwrap();
    for name in old.list(Path::new("/data/wal")).unwrap() {
        let path = Path::new("/data/wal").join(&name);
        if let Some(content) = old.read(&path).filter(|_| dirty.read(&path).is_none()) {
            dirty.write(&path, &content);
        }
    }
    for (disk, what) in [(disk.fork(), "clean"), (torn, "torn"), (dirty, "dirty")] {
        let (store, report) = open_with(&disk, &clock, Options::default());
        assert_eq!(select(&store, &[vec![]], cut, true), expected, "{what}");
        assert_eq!((report.damage, report.unknown_series), (vec![], 0), "{what}");
        let left = disk.list(Path::new("/data/wal")).unwrap();
        assert!(left.contains(&checkpoint) && !left.iter().any(|n| n.ends_with(".tmp")), "{what}: {left:?}");
        assert!(!left.contains(&"00000000".to_owned()), "{what}: {left:?}");
    }
}

#[test]
fn a_sample_from_the_future_neither_pushes_others_out_nor_keeps_the_log_from_shrinking() {
    let disk = MemDisk::new();
    let clock = Clock::manual(TimestampMs(START));
    let (store, _) = open_with(&disk, &clock, Options::default());
    append(&store, &[(labels(1), START + 10_000 * HOUR, 1.0)]).unwrap();
    let mut checkpoints = 0;
    for i in 0..60i64 {
        let now = START + i * HOUR / 6;
        clock.set(TimestampMs(now));
        assert_eq!(append(&store, &[(labels(2), now, 1.0)]).unwrap().appended, 1);
        checkpoints += usize::from(store.maintain().unwrap().checkpoint.is_some());
    }
    assert!(checkpoints > 0);
    drop(store);
    let (store, _) = open_with(&disk, &clock, Options::default());
    assert_eq!(everything(&store)[&labels(1)], [Sample { t: TimestampMs(START + 10_000 * HOUR), v: 1.0 }]);
}

#[test]
fn appenders_on_many_threads_and_upkeep_do_not_disturb_each_other() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let store = &store;
            scope.spawn(move || {
                for i in 0..200i64 {
                    let batch: Vec<_> = (0..20).map(|s| (labels(s * 4 + thread), START + i * 1000, i as f64)).collect();
                    assert_eq!(append(store, &batch).unwrap().appended, 20);
                }
            });
        }
        for _ in 0..50 {
            store.maintain().unwrap();
            let found = select(&store, &[vec![]], TimeRange::ALL, true);
            assert!(found.is_sorted_by(|a, b| a.0 < b.0));
        }
    });
    let expected = everything(&store);
    assert!(expected.len() == 80 && expected.values().all(|s| s.len() == 200));
    drop(store);
    let (store, report) = open(&disk);
    assert_eq!((report.unknown_series, everything(&store)), (0, expected));
}

#[test]
fn a_limit_and_a_budget_end_a_stream() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    append(&store, &(0..600).map(|s| (labels(s), START, 1.0)).collect::<Vec<_>>()).unwrap();
    let selectors = [vec![]];
    let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: Some(300) };
    let (mut batch, mut n) = (SeriesBatch::default(), 0);
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        n += batch.series.len();
    }
    assert_eq!(n, 300);
    let mut stream = store.select(&Scope::new(None, 100, u64::MAX), &request).unwrap();
    assert!(stream.next(&mut batch).is_err());
}

#[test]
fn newest_samples_come_by_metric_name_even_where_labels_sort_before_it() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    let sets = [
        set(&[("A", "2"), ("__name__", "b")]),
        set(&[("A", "9"), ("__name__", "a")]),
        set(&[("__name__", "a"), ("z", "1")]),
        set(&[("only", "label")]),
    ];
    append(&store, &sets.clone().map(|l| (l, START, 1.0))).unwrap();
    let model = MemoryStore::new();
    append(&model, &sets.map(|l| (l, START, 1.0))).unwrap();
    assert_eq!(latest(&store, &[vec![]], TimeRange::ALL), latest(&model, &[vec![]], TimeRange::ALL));
    let sorted = |s: &dyn Queryable| select(s, &[vec![]], TimeRange::ALL, true);
    assert_eq!(sorted(&store), sorted(&model));
}

/// Samples of four hours in blocks and of the present in the head.
fn with_blocks(disk: &MemDisk) -> Tsdb {
    let clock = Clock::manual(TimestampMs(START + 5 * HOUR));
    let (store, _) = open_with(disk, &clock, Options::default());
    for minute in 0..300 {
        let t = START + minute * 60_000;
        append(&store, &[(labels(1), t, minute as f64), (labels(2 + minute as usize / 100), t, 1.0)]).unwrap();
    }
    assert!(!store.maintain().unwrap().blocks_created.is_empty());
    store
}

#[test]
fn head_and_blocks_answer_together_sorted_and_within_the_limit() {
    let disk = MemDisk::new();
    let store = with_blocks(&disk);
    assert!(store.time_range().unwrap().0.0 > START, "the head still has everything");
    let all = select(&store, &[vec![]], TimeRange::ALL, false);
    let expected: Vec<Labels> = std::collections::BTreeSet::from_iter((1..5).map(labels)).into_iter().collect();
    assert_eq!(all.iter().map(|(l, _)| l.clone()).collect::<Vec<_>>(), expected);
    let of_first = &all.iter().find(|(l, _)| *l == labels(1)).unwrap().1;
    assert_eq!(of_first.iter().map(|s| s.v).collect::<Vec<_>>(), (0..300).map(f64::from).collect::<Vec<_>>());
    let request = |selectors, limit| SelectRequest { selectors, range: TimeRange::ALL, sorted: true, limit };
    let (everyone, scope) = ([vec![]], Scope::unbounded());
    for limit in 0..6 {
        let mut stream = store.select(&scope, &request(&everyone, Some(limit))).unwrap();
        let (mut batch, mut found) = (SeriesBatch::default(), 0);
        while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
            found += batch.series.len();
        }
        assert_eq!(found, limit.min(4));
        let mut rows = store.select_latest(&scope, &request(&everyone, Some(limit))).unwrap();
        let mut batch = LatestBatch::default();
        let _ = rows.next(&mut batch).unwrap();
        assert_eq!(batch.rows.len(), limit.min(4));
    }
    let latest = latest(&store, &everyone, range(START, START + HOUR + 1));
    assert_eq!(
        latest.iter().map(|(_, t, v)| (*t, f64::from_bits(*v))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap(),
        (START + HOUR, 60.0)
    );
}

#[test]
fn upkeep_does_not_take_from_under_a_reader_what_he_began_to_read() {
    let disk = MemDisk::new();
    let clock = Clock::manual(TimestampMs(START + 5 * HOUR));
    let (store, _) = open_with(&disk, &clock, Options::default());
    // More series than a batch holds, so that the stream has to come back to the head.
    for t in [START, START + HOUR, START + 5 * HOUR] {
        let batch: Vec<_> = (0..600).map(|i| (labels(i), t, i as f64)).collect();
        append(&store, &batch).unwrap();
    }
    let (everyone, scope) = ([vec![]], Scope::unbounded());
    let request = SelectRequest { selectors: &everyone, range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select(&scope, &request).unwrap();
    let (mut batch, mut columns) = (SeriesBatch::default(), Columns::default());
    let mut read = |stream: &mut dyn SeriesStream| {
        let step = stream.next(&mut batch).unwrap();
        batch.series.iter().flat_map(|s| &s.chunks).for_each(|c| decode_into(c, &mut columns).unwrap());
        matches!(step, StreamStep::Batch)
    };
    assert!(read(&mut *stream));
    assert_eq!(store.maintain().unwrap().blocks_created.len(), 1);
    while read(&mut *stream) {}
    assert_eq!(columns.times.len(), 3 * 600);
    drop(stream);
    store.maintain().unwrap();
    assert_eq!(everything(&store).values().map(Vec::len).sum::<usize>(), 3 * 600);
}

#[test]
fn in_low_write_mode_the_log_is_written_when_enough_has_come_or_time_is_up() {
    let disk = MemDisk::new();
    let clock = Clock::manual(TimestampMs(START));
    let low_write = LowWrite { flush_interval: DurationMs(5 * 60_000), buffer_bytes: 4000 };
    let options = Options { low_write: Some(low_write), compression: Compression::None, ..Options::default() };
    let (store, _) = open_with(&disk, &clock, options);
    let written = || disk.read(Path::new("/data/wal/00000000")).unwrap().len();
    let mut minute = 0;
    let mut append_some = |series: usize| {
        minute += 1;
        let now = START + minute * 60_000;
        clock.set(TimestampMs(now));
        append(&store, &(0..series).map(|s| (labels(s), now, 1.0)).collect::<Vec<_>>()).unwrap();
        assert_eq!(select(&store, &[vec![]], range(now, now), false).len(), series, "it can be read at once");
        store.maintain().unwrap();
    };
    (0..5).for_each(|_| append_some(1));
    assert_eq!(written(), 0);
    append_some(1);
    let after_interval = written();
    assert!(after_interval > 0);
    append_some(1);
    assert_eq!(written(), after_interval);
    append_some(200);
    let after_many = written();
    assert!(after_many > after_interval + 4000);
    append_some(1);
    assert_eq!(written(), after_many);
    store.close().unwrap();
    assert!(written() > after_many);
    let (store, report) = open(&disk);
    assert_eq!((report.samples, report.damage), (208, vec![]));
    assert_eq!(everything(&store).values().map(Vec::len).sum::<usize>(), 208);
}

#[test]
fn a_series_is_found_once_it_is_there_and_a_new_one_is_judged_as_it_will_be() {
    for window in [0, HOUR] {
        let settings = Settings { out_of_order_window: DurationMs(window), ..Settings::default() };
        let clock = Clock::manual(TimestampMs(START + 24 * HOUR));
        let (tsdb, _) = open_with(&MemDisk::new(), &clock, Options { settings, ..Options::default() });
        let memory = MemoryStore::with_window(DurationMs(window));
        for store in [&tsdb as &dyn Appendable, &memory] {
            append(store, &[(labels(0), START + 12 * HOUR, 1.0)]).unwrap();
            memory.refuse_before(TimestampMs(START + 11 * HOUR));
            for (i, hours) in (1..).zip([0, 10, 11, 12, 13]) {
                let (mut appender, labels, t) = (store.appender(), labels(i), TimestampMs(START + hours * HOUR));
                let judged = appender.judge_new(t);
                assert_eq!(appender.find(&labels).unwrap(), None);
                let series = appender.series(&labels).unwrap();
                assert_eq!(appender.find(&labels).unwrap(), Some(series));
                appender.append(&[FloatSample { series, t, v: 1.0 }]).unwrap();
                assert_eq!(judged.is_err(), !appender.refused().is_empty(), "at {hours} h with a window of {window}");
                assert_eq!(judged.is_err(), hours < 11);
            }
        }
    }
}
