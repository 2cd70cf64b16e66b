//! One thread and several make the same of any log.

use std::fmt::Write as _;

use super::batch::{Batch, SeriesRow, Step, What};
use super::read::{HandOn, Read};
use super::*;
use crate::disk::MemDisk;
use crate::model::{
    BucketLayout, DurationMs, FloatHistogram, Histogram, Labels, Metadata, MetricType, STALE_NAN, Span,
};
use crate::storage::chunk::xor::XorState;
use crate::storage::{Encoding, HistogramRef, TimeRange};
use crate::telemetry::Registry;
use crate::tsdb::head_chunks::{HeadChunks, Options};
use crate::tsdb::metrics::ExemplarMetrics;
use crate::tsdb::wal::record::{
    ExemplarsEncoder, HistogramsEncoder, Kind, SamplesEncoder, WalExemplar, WalHistogram, WalSample, push_metadata,
    push_series, push_tombstone,
};
use crate::tsdb::wal::{Compression, Writer, checkpoint_path, segment_path, segments};

const WAL: &str = "/data/wal";
const CHUNKS: &str = "/data/chunks_head";
const START: i64 = 1_700_000_000_000;
/// Some of the times are later.
const NOW: i64 = START + 9_000_000;
/// References that the log may name.
const REFS: u64 = 400;

/// A small generator, so that a failing run is told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Whoever writes a random log: it goes on in time, and everything that can be in a log comes in some order.
struct Logger {
    random: Random,
    t: i64,
}

impl Logger {
    fn wal_ref(&mut self) -> u64 {
        // Some are named by nobody, few do not lie with the others.
        1 + self.random.below(REFS) + if self.random.one_in(300) { 1 << 33 } else { 0 }
    }

    fn time(&mut self) -> i64 {
        match self.random.below(3000) {
            0 => self.t + 100_000_000,
            1..50 => self.t - self.random.below(3_000_000) as i64,
            _ => self.t - self.random.below(3) as i64 * 1000,
        }
    }

    /// Few have one, so that most records have none.
    fn start(&mut self) -> i64 {
        if self.random.one_in(200) { self.t - 1_000_000 } else { 0 }
    }

    fn value(&mut self) -> f64 {
        if self.random.one_in(40) { STALE_NAN } else { self.random.below(5) as f64 }
    }

    /// A record of a kind that is read, or not quite.
    fn record(&mut self) -> Vec<u8> {
        let mut record = match self.random.below(20) {
            0..4 => self.series(),
            4..12 => self.samples(),
            12..15 => self.histograms(),
            15 => self.tombstones(),
            16 => self.exemplars(),
            17 => self.metadata(),
            18 => vec![Kind::MmapMarkers as u8],
            _ => vec![99, 1, 2, 3],
        };
        if self.random.one_in(25) && !record.is_empty() {
            record.truncate(1 + self.random.below(record.len() as u64) as usize);
        }
        record
    }

    /// Few sets of labels for many references: some series get several.
    fn series(&mut self) -> Vec<u8> {
        let mut record = Vec::new();
        for _ in 0..=self.random.below(40) {
            let (wal_ref, i) = (self.wal_ref(), self.random.below(300));
            let (path, zone) = (format!("/p{i}"), format!("z{}", i % 3));
            let labels = [("__name__", "requests_total"), ("path", &*path), ("zone", &*zone)];
            push_series(&mut record, wal_ref, labels[..if i % 5 == 0 { 2 } else { 3 }].iter().copied());
        }
        record
    }

    fn samples(&mut self) -> Vec<u8> {
        self.t += self.random.below(60_000) as i64;
        let mut record = SamplesEncoder::default();
        let most = if self.random.one_in(15) { 4000 } else { 120 };
        for _ in 0..self.random.below(most) {
            let (series, t, start, v) = (self.wal_ref(), self.time(), self.start(), self.value());
            let sample = WalSample { series, t, start, v };
            if record.takes(sample) {
                record.push(sample);
            }
        }
        record.record().to_vec()
    }

    fn histograms(&mut self) -> Vec<u8> {
        let mut record = HistogramsEncoder::default();
        let is_float = self.random.one_in(2);
        for _ in 0..self.random.below(60) {
            let (series, t, n) = (self.wal_ref() % 200, self.time(), self.random.below(4));
            let sum = if self.random.one_in(40) { STALE_NAN } else { n as f64 };
            let length = 1 + self.random.below(3) as u32;
            let layout = BucketLayout { positive_spans: vec![Span { offset: 0, length }], ..BucketLayout::default() };
            let (integer, float);
            let value = if is_float {
                let positive_buckets = vec![1.0; length as usize];
                float = FloatHistogram { layout, sum, count: 9.0, positive_buckets, ..FloatHistogram::default() };
                HistogramRef::Float(&float)
            } else {
                let positive_buckets = vec![n as i64 + 1; length as usize];
                integer = Histogram { layout, sum, count: 9 + n, positive_buckets, ..Histogram::default() };
                HistogramRef::Integer(&integer)
            };
            let start = self.start();
            if record.takes(start, value) {
                record.push(WalHistogram { series, t, start, value });
            }
        }
        record.record().to_vec()
    }

    fn tombstones(&mut self) -> Vec<u8> {
        let mut record = Vec::new();
        for _ in 0..=self.random.below(4) {
            let (min, max) = if self.random.one_in(2) {
                (i64::MIN, i64::MAX)
            } else {
                let t = self.time();
                (t - 100_000, t)
            };
            push_tombstone(&mut record, self.wal_ref(), min, max);
        }
        record
    }

    fn exemplars(&mut self) -> Vec<u8> {
        let mut record = ExemplarsEncoder::default();
        for _ in 0..=self.random.below(10) {
            let own = Labels::from_pairs([("trace_id", &*self.random.below(50).to_string())]);
            let (series, t, v) = (self.wal_ref(), self.time(), self.value());
            record.push(WalExemplar { series, t, v, labels: own.as_bytes() });
        }
        record.record().to_vec()
    }

    fn metadata(&mut self) -> Vec<u8> {
        let mut record = Vec::new();
        for _ in 0..=self.random.below(10) {
            let help = format!("Help {}.", self.random.below(5));
            let metadata = Metadata { metric_type: MetricType::Counter, unit: String::new(), help };
            push_metadata(&mut record, self.wal_ref(), &metadata);
        }
        record
    }

    fn log(&mut self, disk: &MemDisk, dir: &Path, first: u32, records: u64) {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.create_dir_all(dir).unwrap();
        let mut writer = Writer::create(disk, dir, first, 2 << 15, Compression::Snappy).unwrap();
        for number in 0..records {
            writer.push(&if number < 25 { self.series() } else { self.record() }).unwrap();
            writer.flush().unwrap();
        }
    }

    /// Chunks of some references, as upkeep writes them while the log goes on.
    fn chunks(&mut self, disk: &MemDisk) {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let (files, ..) = HeadChunks::open(disk, Path::new(CHUNKS), Options::default()).unwrap();
        for _ in 0..300 {
            let min = START + self.random.below(2_000_000) as i64;
            let max = min + 1000 * self.random.below(200) as i64;
            let (mut state, mut data) = (XorState::new(), Vec::new());
            [min, max].iter().for_each(|t| state.append(&mut data, *t, 1.0));
            files.append(self.wal_ref() % 300, min, max, Encoding::Xor, self.random.one_in(4), &data).unwrap();
        }
        files.flush().unwrap();
    }

    /// Flips bytes of segments and cuts them off.
    fn damage(&mut self, disk: &MemDisk, dir: &Path) {
        let found = segments(disk, dir).unwrap();
        for _ in 0..self.random.below(4) {
            let path = segment_path(dir, found[self.random.below(found.len() as u64) as usize]);
            let mut bytes = disk.read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = self.random.below(bytes.len() as u64) as usize;
            if self.random.one_in(3) {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1 << self.random.below(8)
            }
            disk.write(&path, &bytes);
        }
        if found.len() > 3 && self.random.one_in(3) {
            disk.remove_file(&segment_path(dir, found[1])).unwrap();
        }
    }
}

/// A log with a checkpoint or without, damaged or not, and chunks in files.
fn written(seed: u64) -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new(WAL)).unwrap();
    let mut logger = Logger { random: Random(seed), t: START };
    let mut first = 0;
    if logger.random.one_in(2) {
        let dir = checkpoint_path(Path::new(WAL), 5);
        logger.log(&disk, &dir, 0, 40);
        logger.damage(&disk, &dir);
        // One may be left of those that the checkpoint stands for.
        first = 5 + logger.random.below(2) as u32;
    }
    logger.log(&disk, Path::new(WAL), first, 250);
    logger.damage(&disk, Path::new(WAL));
    logger.chunks(&disk);
    disk
}

/// Everything that a start has brought and what it has left on disk, as text, and its report.
fn start(disk: &MemDisk, threads: Threads) -> (String, OpenReport) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (files, found, _) = HeadChunks::open(shared.clone(), Path::new(CHUNKS), Options::default()).unwrap();
    let head = Head::new(3_600_000, Arc::new(files));
    head.raise_min_valid(START + 1_000_000);
    let exemplars = Exemplars::new(ExemplarMetrics::new(&Registry::new()));
    exemplars.configure(40, DurationMs(0));
    let metadata = SeriesMetadata::default();
    let progress = ReplayProgress::default();
    let into = Into { head: &head, exemplars: &exemplars, metadata: &metadata, progress: &progress };
    let (found, _) = FoundChunks::split(found);
    let replayed = replay(&shared, Path::new(WAL), into, &found, NOW, threads).unwrap();
    let text = text(&head, &exemplars, &metadata, &replayed) + &on_disk(disk, Path::new(WAL));
    (text, replayed.report)
}

fn text(head: &Head, exemplars: &Exemplars, metadata: &SeriesMetadata, replayed: &Replayed) -> String {
    let mut out = String::new();
    let index = head.ordered_index();
    for slot in index.live() {
        let mut labels = Vec::new();
        index.write_labels(slot, &mut labels);
        let (labels, wal_ref) = (Labels::from_encoded(&labels), head.wal_ref(slot));
        let _ = writeln!(out, "{slot} {labels} {wal_ref} {} rank {}", index.low_ref(slot), index.rank(slot));
        let _ = writeln!(out, "{:?} deleted {:?}", metadata.get(wal_ref), head.tombstones().get(wal_ref));
    }
    for page in head.pages().iter() {
        let _ = writeln!(out, "{:?}", page.lock());
    }
    let _ = writeln!(out, "{:?}", exemplars.select(&[Vec::new()], TimeRange::ALL));
    let (max_t, chunks) = (head.max_t(), head.chunks.load(Ordering::Relaxed));
    let Replayed { report, times, expired, next_segment, refs } = replayed;
    let slots: Vec<_> = (0..REFS + 9).map(|wal_ref| (refs.get(wal_ref), refs.get(wal_ref + (1 << 33)))).collect();
    let expired: BTreeMap<_, _> = expired.iter().collect();
    let _ = writeln!(out, "{max_t} {chunks} {times:?} {expired:?} {next_segment} {slots:?} {report:?}");
    out
}

fn on_disk(disk: &MemDisk, dir: &Path) -> String {
    let mut out = String::new();
    for name in disk.list(dir).unwrap() {
        let path = dir.join(name);
        match disk.read(&path) {
            Some(bytes) => _ = writeln!(out, "{} {}", path.display(), crc32c::crc32c(&bytes)),
            None => out += &on_disk(disk, &path),
        }
    }
    out
}

#[test]
fn any_number_of_threads_makes_the_same_of_a_log() {
    let mut seen = OpenReport::default();
    for seed in 1..60 {
        let disk = written(seed);
        let (expected, report) = start(&disk.fork(), Threads::Inline);
        for takers in [1, 2, 4] {
            let (found, _) = start(&disk.fork(), Threads::Takers(takers));
            if let Some((a, b)) = expected.lines().zip(found.lines()).find(|(a, b)| a != b) {
                panic!("seed {seed}, {takers} takers:\n{a}\n{b}");
            }
            assert_eq!(expected.len(), found.len(), "seed {seed}, {takers} takers");
        }
        seen.damage.extend(report.damage);
        seen.checkpoint = seen.checkpoint.or(report.checkpoint);
        for (sum, more) in [
            (&mut seen.segments, report.segments),
            (&mut seen.samples, report.samples),
            (&mut seen.exemplars, report.exemplars),
            (&mut seen.chunks, report.chunks),
            (&mut seen.out_of_order, report.out_of_order),
            (&mut seen.unknown_series, report.unknown_series),
        ] {
            *sum += more;
        }
    }
    // Logs in which nothing of interest happens prove nothing.
    let damages = std::mem::take(&mut seen.damage).len();
    assert!(seen.checkpoint.is_some() && damages > 200 && seen.segments > 100, "{damages} {seen:?}");
    assert!(seen.samples > 100_000 && seen.chunks > 1000 && seen.exemplars > 500, "{seen:?}");
    assert!(seen.out_of_order > 1000 && seen.unknown_series > 1000, "{seen:?}");
}

/// What comes of a thousand batches, each of which `make` fills.
fn pass(threads: Threads, make: impl Fn(&mut Batch) + Sync) -> io::Result<Read> {
    let (files, ..) = HeadChunks::open(Arc::new(MemDisk::new()), Path::new(CHUNKS), Options::default()).unwrap();
    let (head, found) = (Head::new(1000, Arc::new(files)), FoundChunks::default());
    let exemplars = Exemplars::new(ExemplarMetrics::new(&Registry::new()));
    let progress = ReplayProgress::default();
    let into = Into { head: &head, exemplars: &exemplars, metadata: &SeriesMetadata::default(), progress: &progress };
    let (mut names, mut takers) = (Names::new(into, &found), Taker::all(&head, &found, threads.takers()));
    let read = |hand_on: HandOn<'_>| {
        for _ in 0..1000 {
            let mut batch = Batch::default();
            let labels = Labels::from_pairs([("__name__", "up")]);
            batch.labels.extend_from_slice(labels.as_bytes());
            batch.series.push(SeriesRow { wal_ref: 1, labels_end: labels.as_bytes().len() });
            batch.ran(What::Series, 0);
            make(&mut batch);
            hand_on(&mut batch)?;
            assert!(batch.is_empty());
        }
        Ok(Read { next_segment: 7, ..Read::default() })
    };
    pipeline::run(threads, read, &mut names, &mut takers)
}

#[test]
fn a_thread_that_panics_ends_the_others_and_is_an_error() {
    for takers in [1, 2, 4] {
        let threads = Threads::Takers(takers);
        assert_eq!(pass(threads, |_| {}).unwrap().next_segment, 7);
        // There is no such chunk.
        let error = pass(threads, |batch| batch.steps.push(Step::Attach(0, 3..5))).unwrap_err();
        assert!(error.to_string().contains("failed unexpectedly"), "{error}");
        let error = pass(threads, |_| panic!("on purpose")).unwrap_err();
        assert!(error.to_string().contains("failed unexpectedly"), "{error}");
    }
}
