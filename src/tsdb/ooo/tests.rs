use std::path::Path;

use super::replay::{OooReplayed, replay};
use super::take::Taken;
use super::*;
use crate::disk::{Disk, MemDisk};
use crate::model::{CounterResetHint, FloatHistogram, Histogram, Span, Value};
use crate::storage::merge::merge_chunks;
use crate::storage::{TimedValue, decode_values};
use crate::tsdb::head_chunks::Options;
use crate::tsdb::wal::record::markers::each_marker;
use crate::tsdb::wal::record::{Kind, each_sample};
use crate::tsdb::wal::{Compression, read_segment, segment_path, segments};

/// Slot `s` has the reference `REF + s`.
const REF: u64 = 1000;

struct Store {
    disk: MemDisk,
    ooo: OutOfOrder,
    log: Wbl,
    replayed: OooReplayed,
}

impl Store {
    fn open(disk: &MemDisk, cap: usize) -> Store {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = Options { file_size: 4000 };
        let (chunks, found, damage) = HeadChunks::open(shared.clone(), Path::new("/d/chunks_head"), options).unwrap();
        assert!(damage.is_empty(), "{damage:?}");
        let ooo = OutOfOrder::new(cap, Arc::new(chunks));
        let dir = Path::new("/d/wbl");
        let slot_of = &mut |wal_ref: u64| u32::try_from(wal_ref.checked_sub(REF)?).ok();
        let replayed = replay(&shared, dir, &ooo, &found, slot_of).unwrap();
        let log = Wbl::new(shared, dir.to_owned(), replayed.next_segment, 1 << 20, Compression::Snappy);
        Store { disk: disk.clone(), ooo, log, replayed }
    }

    /// What is left when the process dies.
    fn reopen(self, cap: usize) -> Store {
        let disk = self.disk.fork();
        drop(self);
        Store::open(&disk, cap)
    }

    fn take(&self, samples: Vec<(u32, i64, Value)>) -> Taken {
        let late = |(slot, t, value)| Late { slot, wal_ref: REF + u64::from(slot), sample: timed(t, value) };
        self.ooo.take(&self.log, samples.into_iter().map(late).collect()).unwrap()
    }

    fn floats(&self, samples: &[(u32, i64, f64)]) -> Taken {
        self.take(samples.iter().map(|(slot, t, v)| (*slot, *t, Value::Float(*v))).collect())
    }

    fn read(&self, slot: u32, range: TimeRange) -> Vec<TimedValue> {
        let (mut chunks, mut out) = (Vec::new(), Vec::new());
        self.ooo.chunks(slot, None, range, &mut chunks).unwrap();
        merge_chunks(chunks).unwrap().iter().for_each(|chunk| decode_values(chunk, &mut out).unwrap());
        out
    }

    fn rotate(&self) -> Rotated {
        self.ooo.rotate(&self.log, &|slot| REF + u64::from(slot)).unwrap()
    }

    /// Every record of the log: kind, and for markers and samples what they say.
    fn records(&self) -> Vec<(Kind, Vec<(u64, i64)>)> {
        let mut seen = Vec::new();
        for index in segments(&self.disk, self.log.dir()).unwrap() {
            let path = segment_path(self.log.dir(), index);
            read_segment(&*self.disk.open(&path).unwrap(), &path, &mut |bytes| {
                let mut rows = Vec::new();
                match Kind::of(bytes) {
                    Kind::MmapMarkers => each_marker(bytes, &mut |m| rows.push((m.series, m.place.cast_signed())))?,
                    Kind::Samples => each_sample(bytes, &mut |s| rows.push((s.series, s.t)))?,
                    _ => {}
                }
                seen.push((Kind::of(bytes), rows));
                Ok(())
            });
        }
        seen
    }
}

fn timed(t: i64, value: Value) -> TimedValue {
    TimedValue { t: TimestampMs(t), start: TimestampMs(0), value }
}

fn disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk
}

/// Of three kinds and several layouts.
fn value(n: u64) -> Value {
    let mut integer = Histogram { count: n % 9, sum: n as f64, ..Histogram::default() };
    integer.layout.positive_spans = vec![Span { offset: (n % 3) as i32, length: 1 }];
    integer.positive_buckets = vec![(n % 9) as i64];
    integer.counter_reset_hint = if n.is_multiple_of(2) { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
    let float = FloatHistogram {
        count: n as f64,
        layout: integer.layout.clone(),
        positive_buckets: vec![n as f64],
        ..FloatHistogram::default()
    };
    match n % 7 {
        0 => Value::Histogram(Box::new(integer)),
        1 => Value::FloatHistogram(Box::new(float)),
        _ => Value::Float(n as f64),
    }
}

fn same(a: &[TimedValue], b: &[TimedValue]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.t == b.t && a.value.is_same(&b.value))
}

/// A small generator, so that a seed says all.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The map has the first sample of each time.
type Model = BTreeMap<u32, BTreeMap<i64, TimedValue>>;

#[test]
fn whatever_comes_late_and_however_often_the_process_dies_everything_can_be_read_once() {
    for seed in 0..12 {
        eprintln!("seed {seed}");
        let mut random = Random(seed);
        let cap = 1 + random.below(40) as usize;
        let (mut store, mut model) = (Store::open(&disk(), cap), Model::new());
        let (mut serial, mut rotated) = (0, false);
        for _ in 0..40 {
            let mut batch: Vec<_> = (0..random.below(60))
                .map(|_| {
                    serial += 1;
                    (300 * random.below(4) as u32, random.below(4000) as i64, value(serial))
                })
                .collect();
            for (slot, t, value) in &mut batch {
                let first = model.entry(*slot).or_default().entry(*t).or_insert_with(|| timed(*t, value.clone()));
                if rotated {
                    // A process that dies between rotation and the blocks reads these samples from the log again, behind
                    // the chunks that came after them: then either of two values may count.
                    value.clone_from(&first.value);
                }
            }
            store.take(batch);
            if random.below(8) == 0 {
                // Another size than before, as if it was configured anew.
                store = store.reopen(1 + random.below(40) as usize);
            }
            if random.below(10) == 0 {
                store.rotate();
                rotated = true;
            }
            let from = random.below(4000) as i64;
            let range = TimeRange { min: TimestampMs(from), max: TimestampMs(from + random.below(2000) as i64) };
            for (slot, samples) in &model {
                let all: Vec<TimedValue> = samples.values().cloned().collect();
                assert!(same(&store.read(*slot, TimeRange::ALL), &all), "seed {seed}, slot {slot}");
                let inside = |s: &TimedValue| range.contains(s.t);
                let wanted: Vec<TimedValue> = all.iter().filter(|s| inside(s)).cloned().collect();
                let mut found = store.read(*slot, range);
                found.retain(inside);
                assert!(same(&found, &wanted), "seed {seed}, slot {slot}, {range:?}");
                assert!(wanted.is_empty() || store.ooo.overlapping(range).contains(*slot) && store.ooo.is_in(range));
                let newest = store.ooo.newest_in(*slot, range);
                assert!(wanted.last().is_none_or(|last| newest.is_some_and(|t| t >= last.t && range.contains(t))));
            }
            let times = || model.values().flat_map(|samples| samples.keys());
            let range = times().min().zip(times().max()).map(|(min, max)| (TimestampMs(*min), TimestampMs(*max)));
            assert_eq!(store.ooo.time_range(), range);
        }
    }
}

#[test]
fn a_full_buffer_is_written_out_before_the_next_sample_and_the_log_says_so_in_that_order() {
    let store = Store::open(&disk(), 4);
    store.floats(&[(0, 1, 1.0), (0, 2, 2.0), (1, 1, 1.0)]);
    // Twice as much as the buffer holds, and another series in between.
    store.floats(&[
        (0, 30, 0.0),
        (0, 10, 0.0),
        (0, 20, 0.0),
        (1, 5, 0.0),
        (0, 25, 0.0),
        (0, 22, 0.0),
        (0, 21, 0.0),
        (0, 23, 0.0),
    ]);
    let records = store.records();
    let kinds: Vec<Kind> = records.iter().map(|(kind, _)| *kind).collect();
    let (samples, markers) = (Kind::Samples, Kind::MmapMarkers);
    assert_eq!(kinds, [samples, samples, markers, samples, markers, samples]);
    let times =
        |i: usize, slot: u64| records[i].1.iter().filter(|r| r.0 == REF + slot).map(|r| r.1).collect::<Vec<_>>();
    assert_eq!(
        (times(0, 0), times(1, 0), times(3, 0), times(5, 0)),
        (vec![1, 2], vec![30, 10], vec![20, 25, 22, 21], vec![23])
    );
    assert_eq!((times(0, 1), times(1, 1)), (vec![1], vec![5]));
    assert_ne!(records[2].1, records[4].1, "each chunk has a place of its own");

    let store = store.reopen(4);
    assert_eq!(store.ooo.shard(0)[&0].buffered(), 1, "the markers' chunks were found and emptied the buffer");
    assert_eq!(store.ooo.shard(0)[&0].written().len(), 2);
}

#[test]
fn a_sample_of_a_time_that_is_buffered_is_not_taken() {
    let store = Store::open(&disk(), 4);
    let taken = store.floats(&[(0, 1, 1.0), (0, 1, 1.0), (0, 1, 2.0), (0, 2, 1.0)]);
    assert_eq!((taken.new, taken.known), (2, 2));
    let taken = store.floats(&[(0, 1, 2.0), (0, 2, 1.0)]);
    assert_eq!((taken.new, taken.known, taken.bytes), (0, 2, 0));
    assert!(same(&store.read(0, TimeRange::ALL), &[timed(1, Value::Float(1.0)), timed(2, Value::Float(1.0))]));
}

#[test]
fn a_marker_whose_chunk_is_gone_or_is_another_loses_no_sample() {
    let store = Store::open(&disk(), 4);
    store.floats(&[(0, 1, 1.0), (0, 2, 2.0), (0, 3, 3.0), (0, 4, 4.0), (0, 5, 5.0)]);
    let without_chunks = store.disk.fork();
    without_chunks.remove_dir_all(Path::new("/d/chunks_head")).unwrap();
    let gone = Store::open(&without_chunks, 4);
    assert_eq!(gone.read(0, TimeRange::ALL).len(), 5);
    // The next chunk gets the place that the lost one had.
    gone.floats(&[(0, 6, 6.0)]);
    let markers: Vec<_> = gone.records().into_iter().filter(|(kind, _)| *kind == Kind::MmapMarkers).collect();
    assert!(markers.len() == 2 && markers[0] == markers[1], "{markers:?}");
    gone.ooo.chunks.flush().unwrap();
    let again = gone.reopen(4);
    let times: Vec<i64> = again.read(0, TimeRange::ALL).iter().map(|s| s.t.0).collect();
    assert_eq!(times, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn unknown_references_are_counted_and_a_torn_end_is_cut_off() {
    let store = Store::open(&disk(), 4);
    store.floats(&[(0, 1, 1.0)]);
    store.ooo.take(&store.log, vec![Late { slot: 1, wal_ref: 3, sample: timed(5, Value::Float(1.0)) }]).unwrap();
    store.floats(&[(0, 2, 2.0)]);
    let path = segment_path(store.log.dir(), 0);
    let bytes = store.disk.read(&path).unwrap();
    store.disk.write(&path, &bytes[..bytes.len() - 3]);
    let store = store.reopen(4);
    assert_eq!((store.replayed.samples, store.replayed.unknown_series, store.replayed.segments), (1, 1, 1));
    assert_eq!(store.replayed.damage.len(), 1);
    assert_eq!(store.replayed.next_segment, 1);
    store.floats(&[(0, 3, 3.0)]);
    let store = store.reopen(4);
    assert!(store.replayed.damage.is_empty());
    assert_eq!(store.read(0, TimeRange::ALL).len(), 2);
}

#[test]
fn nothing_late_writes_nothing() {
    let disk = disk();
    let store = Store::open(&disk, 4);
    store.take(Vec::new());
    let rotated = store.rotate();
    assert_eq!(rotated.starts(100).count(), 0);
    assert_eq!(store.ooo.forget(&rotated), 0);
    store.log.truncate(rotated.segment).unwrap();
    assert!(!disk.exists(Path::new("/d/wbl")).unwrap());
    assert!(store.ooo.is_empty() && store.ooo.first_file().is_none());
}

#[test]
fn a_round_of_compaction_leaves_what_came_after_its_beginning() {
    let store = Store::open(&disk(), 4);
    let first: Vec<_> = (0..9).map(|t| (0, t, t as f64)).collect();
    store.floats(&first);
    store.floats(&[(300, 250, 1.0)]);
    let rotated = store.rotate();
    assert_eq!(rotated.starts(100).collect::<Vec<_>>(), [0, 100, 200]);
    let second: Vec<_> = (10..19).map(|t| (0, t, t as f64)).collect();
    store.floats(&second);
    assert_eq!(store.ooo.forget(&rotated), 4);
    store.log.truncate(rotated.segment).unwrap();
    let times = |store: &Store| store.read(0, TimeRange::ALL).iter().map(|s| s.t.0).collect::<Vec<_>>();
    assert_eq!(times(&store), (10..19).collect::<Vec<_>>());
    assert!(!store.ooo.has(300));
    assert!(store.read(300, TimeRange::ALL).is_empty());
    // Chunk files go as whole files only, so what was forgotten may come back; what is needed always does.
    let store = store.reopen(4);
    assert!(times(&store).ends_with(&(10..19).collect::<Vec<_>>()));
}

#[test]
fn ranges_are_aligned_on_both_sides_of_the_epoch() {
    let store = Store::open(&disk(), 4);
    store.floats(&[(0, -101, 0.0), (0, 99, 0.0)]);
    assert_eq!(store.rotate().starts(100).collect::<Vec<_>>(), [-200, -100, 0]);
}
