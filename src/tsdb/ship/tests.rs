//! Shipping on disks in memory.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::{Disk, MemDisk};
use crate::model::{Labels, TimestampMs};
use crate::runtime::Clock;
use crate::telemetry::Registry;
use crate::tsdb::block::{Block, BlockMeta, BlockWriter, Tombstones, Ulid};
use crate::tsdb::blocks::{BlockList, Blocks};
use crate::tsdb::compact::Compactor;
use crate::tsdb::fixtures::{dump, root, series, ulid, write_small};

const BUCKET: &str = "/mnt/bucket";

/// What was asked of a bucket, and when it fails.
#[derive(Debug, Default)]
struct Script {
    operations: usize,
    fail_at: Option<usize>,
    /// The operation that fails does its work before.
    too_late: bool,
    puts: Vec<String>,
}

/// A directory that counts, and fails as told.
#[derive(Debug)]
struct Scripted {
    inner: DirBucket,
    script: Arc<Mutex<Script>>,
}

impl Scripted {
    fn step<T>(&self, object: &str, work: impl FnOnce() -> Result<T, BucketError>) -> Result<T, BucketError> {
        let (fails, too_late) = {
            let mut script = self.script.lock();
            script.operations += 1;
            (script.fail_at == Some(script.operations), script.too_late)
        };
        let refuse = || Err(BucketError::failed("reaching", object, "the link is down"));
        match (fails, too_late) {
            (true, false) => refuse(),
            (true, true) => work().and_then(|_| refuse()),
            (false, _) => work(),
        }
    }
}

impl Bucket for Scripted {
    fn size(&self, object: &str) -> Result<Option<u64>, BucketError> {
        self.step(object, || self.inner.size(object))
    }
    fn list(&self) -> Result<Vec<String>, BucketError> {
        self.step("/", || self.inner.list())
    }
    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, BucketError> {
        self.step(object, || self.inner.get(object))
    }
    fn put(&self, object: &str, content: &mut Content<'_>) -> Result<(), BucketError> {
        self.step(object, || {
            self.script.lock().puts.push(object.to_owned());
            self.inner.put(object, content)
        })
    }
}

/// A data directory, a bucket and a shipper between them.
struct Site {
    data: MemDisk,
    remote: MemDisk,
    script: Arc<Mutex<Script>>,
    blocks: Blocks,
    gate: Gate,
    registry: Registry,
    stop: CancellationToken,
    upload_compacted: bool,
    shipper: Shipper,
}

impl Site {
    fn new(data: &MemDisk) -> Site {
        Site::start(data, &MemDisk::new(), false)
    }

    fn start(data: &MemDisk, remote: &MemDisk, upload_compacted: bool) -> Site {
        Site::start_gated(data, remote, upload_compacted, Gate::open())
    }

    fn start_gated(data: &MemDisk, remote: &MemDisk, upload_compacted: bool, gate: Gate) -> Site {
        let (script, registry) = (Arc::default(), Registry::new());
        let bucket = Scripted { inner: DirBucket::new(shared(remote), Path::new(BUCKET)), script: Arc::clone(&script) };
        let stop = CancellationToken::new();
        let deps = Deps {
            disk: shared(data),
            dir: "/data".into(),
            clock: Clock::manual(TimestampMs(1_700_000_000_000)),
            registry: registry.clone(),
            gate: gate.clone(),
            stop: stop.clone(),
        };
        let blocks = Blocks::open(shared(data), Path::new("/data"), &Registry::new()).unwrap().0;
        let shipper = Shipper::new(Arc::new(bucket), upload_compacted, None, deps);
        Site {
            data: data.clone(),
            remote: remote.clone(),
            script,
            blocks,
            gate,
            registry,
            stop,
            upload_compacted,
            shipper,
        }
    }

    /// The same disks after the process has died.
    fn restart(self) -> Site {
        Site::start(&self.data, &self.remote, self.upload_compacted)
    }

    fn ship(&self) -> ShipReport {
        self.shipper.ship(&|| -> BlockList { self.blocks.snapshot() }, &site_labels())
    }

    fn puts(&self) -> Vec<String> {
        std::mem::take(&mut self.script.lock().puts)
    }

    /// Every object with its content.
    fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for block in
            self.remote.list(Path::new(BUCKET)).unwrap_or_default().iter().filter(|n| n.parse::<Ulid>().is_ok())
        {
            for file in ["chunks/000001", "chunks/000002", "chunks/000003", "index", "meta.json", "tombstones"] {
                let name = format!("{block}/{file}");
                found.extend(self.remote.read(&Path::new(BUCKET).join(&name)).map(|content| (name, content)));
            }
        }
        found
    }

    fn counted(&self, name: &str) -> String {
        let mut text = String::new();
        self.registry.write_text(&mut text);
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }
}

fn shared(disk: &MemDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn site_labels() -> Labels {
    Labels::from_pairs([("site", "garage")])
}

/// A block with three chunk segments.
fn write_segments(data: &MemDisk, n: u64, min: i64) -> Ulid {
    let meta = BlockMeta::new(ulid(n), min, min + 100);
    let mut writer = BlockWriter::with_segment_size(shared(data), Path::new("/data"), meta, 40).unwrap();
    for i in 0..3 {
        writer.push(&series(i, &[&[(min, 1.5), (min + 7, 0.25), (min + 99, i as f64)]])).unwrap();
    }
    writer.finish().unwrap().unwrap().ulid
}

fn compacted(data: &MemDisk, n: u64, of: &[u64], parents: &[u64]) -> Ulid {
    let written = write_small(&shared(data), n, 0, 200, parents);
    let dir = Path::new("/data").join(written.to_string());
    let mut meta = BlockMeta::read(data, &dir).unwrap();
    meta.compaction.level = 2;
    meta.compaction.sources = of.iter().map(|n| ulid(*n)).collect();
    meta.write(data, &dir).unwrap();
    written
}

#[test]
fn a_block_comes_to_the_bucket_whole_and_its_description_last() {
    let data = root();
    let first = write_segments(&data, 1, 0);
    let site = Site::new(&data);
    let report = site.ship();
    assert!(report.failed.is_none(), "{report:?}");
    assert_eq!((report.shipped, report.waiting), (vec![first], 0));
    let order = ["chunks/000001", "chunks/000002", "chunks/000003", "index", "meta.json"];
    assert_eq!(site.puts(), order.map(|file| format!("{first}/{file}")));

    let there = Block::open(&site.remote, &Path::new(BUCKET).join(first.to_string())).unwrap();
    there.verify().unwrap();
    let here = &site.blocks.snapshot()[0];
    assert_eq!(dump(&there), dump(here));
    let section = &there.meta().extra["thanos"];
    assert_eq!(section["labels"], json!({"site": "garage"}));
    let sizes: u64 = section["files"].as_array().unwrap().iter().filter_map(|f| f["size_bytes"].as_u64()).sum();
    let objects = site.objects();
    let described = objects.iter().filter(|(name, _)| !name.ends_with("meta.json"));
    assert_eq!(sizes, described.map(|(_, content)| content.len() as u64).sum::<u64>());
    assert!(here.meta().extra.is_empty(), "the block here is not touched");
    assert_eq!(site.counted("watershed_ship_blocks_total"), "1");
    assert_eq!(site.counted("watershed_ship_last_success_timestamp_seconds"), "1700000000");
}

#[test]
fn a_block_is_shipped_once_whatever_is_forgotten() {
    let data = root();
    write_segments(&data, 1, 0);
    let site = Site::new(&data);
    site.ship();
    site.puts();
    let before = site.objects();
    assert_eq!(site.ship().shipped, []);
    let site = site.restart();
    assert_eq!(site.script.lock().operations, 0, "the memory is enough");
    site.ship();
    assert_eq!(site.script.lock().operations, 0, "the memory is enough");
    // The description in the bucket tells the same.
    site.data.remove_file(Path::new("/data/thanos.shipper.json")).unwrap();
    let site = site.restart();
    assert!(site.ship().failed.is_none());
    assert_eq!(site.puts(), [""; 0]);
    assert!(site.gate.may_compact(ulid(1)));
    // The bucket's compactor has put it into another block.
    let dir = Path::new(BUCKET).join(ulid(1).to_string());
    let mut meta = BlockMeta::read(&site.remote, &dir).unwrap();
    site.remote.remove_dir_all(&dir).unwrap();
    meta.ulid = ulid(50);
    let dir = Path::new(BUCKET).join(ulid(50).to_string());
    site.remote.create_dir_all(&dir).unwrap();
    meta.write(&site.remote, &dir).unwrap();
    site.data.write(Path::new("/data/thanos.shipper.json"), b"\0\0\0");
    let site = site.restart();
    assert!(site.ship().failed.is_none());
    assert_eq!(site.puts(), [""; 0]);
    assert_eq!(before.len(), 5);
}

/// Two runs at each operation: one where it never came to the bucket, one where only the answer was lost.
#[test]
fn after_a_fault_at_any_operation_the_next_attempt_sends_only_what_is_missing() {
    let data = root();
    (1..=2).for_each(|n| assert_eq!(ulid(n), write_segments(&data, n, n as i64 * 100)));
    let whole = Site::new(&data.fork());
    whole.ship();
    let (expected, operations) = (whole.objects(), whole.script.lock().operations);
    assert_eq!(expected.len(), 10);
    for (fail_at, too_late) in (1..=operations).flat_map(|n| [(n, false), (n, true)]) {
        let site = Site::new(&data.fork());
        *site.script.lock() = Script { fail_at: Some(fail_at), too_late, ..Script::default() };
        let report = site.ship();
        let error = report.failed.expect("a fault").to_string();
        assert!(error.contains(": reaching ") && error.ends_with("the link is down"), "{error}");
        // What readers take for complete is complete.
        for block in site.objects().iter().filter_map(|(name, _)| name.strip_suffix("/meta.json")) {
            Block::open(&site.remote, &Path::new(BUCKET).join(block)).unwrap().verify().unwrap();
        }
        assert_eq!(site.counted("watershed_ship_failures_total"), "1");
        let mut puts = site.puts();
        let site = if fail_at % 2 == 0 { site } else { site.restart() };
        let again = site.ship();
        assert!(again.failed.is_none(), "{again:?}");
        assert_eq!(site.objects(), expected, "a fault at operation {fail_at}");
        puts.extend(site.puts());
        puts.sort();
        let sent = puts.len();
        puts.dedup();
        assert_eq!(puts.len(), sent, "sent twice after a fault at operation {fail_at}");
        assert_eq!(site.counted("watershed_ship_blocks_waiting"), "0");
    }
}

#[test]
fn compaction_waits_for_the_shipping_and_its_result_is_not_shipped() {
    let data = root();
    (1..=2).for_each(|n| assert_eq!(ulid(n), write_small(&shared(&data), n, n as i64 * 10, n as i64 * 10 + 10, &[])));
    let site = Site::new(&data);
    assert!(!site.gate.may_compact(ulid(1)), "closed from the start");
    site.script.lock().fail_at = Some(8);
    site.ship();
    assert!(site.gate.may_compact(ulid(1)) && !site.gate.may_compact(ulid(2)));
    site.ship();
    assert!(site.gate.may_compact(ulid(2)));
    assert!(!site.gate.may_compact(ulid(3)), "not even known");

    compacted(&data, 3, &[1, 2], &[1, 2]);
    site.blocks.reload().unwrap();
    site.puts();
    let report = site.ship();
    assert!(report.failed.is_none() && report.shipped.is_empty(), "{report:?}");
    // Compacted again, when the first blocks are long gone.
    compacted(&data, 4, &[1, 2], &[3]);
    site.blocks.reload().unwrap();
    let site = site.restart();
    site.ship();
    assert_eq!(site.puts(), [""; 0]);
    assert!(site.gate.may_compact(ulid(4)));
    assert_eq!(site.counted("watershed_ship_blocks_missed_total"), "0");
}

#[test]
fn a_block_without_its_deleted_samples_is_not_shipped_beside_the_one_that_has_them() {
    let data = root();
    write_small(&shared(&data), 1, 0, 10, &[]);
    let site = Site::new(&data);
    site.ship();
    write_small(&shared(&data), 2, 0, 10, &[1]);
    site.blocks.reload().unwrap();
    site.puts();
    site.ship();
    assert_eq!(site.puts(), [""; 0]);
    // That one in a compaction, too.
    compacted(&data, 3, &[2], &[2]);
    site.blocks.reload().unwrap();
    assert!(site.ship().shipped.is_empty());
}

#[test]
fn blocks_compacted_before_stay_here_unless_they_are_wanted() {
    let data = root();
    compacted(&data, 9, &[1, 2], &[]);
    let site = Site::new(&data);
    assert_eq!(site.ship().shipped, []);
    assert!(site.gate.may_compact(ulid(9)));

    let site = Site::start(&data, &MemDisk::new(), true);
    assert!(!site.gate.may_compact(ulid(9)));
    assert_eq!(site.ship().shipped, [ulid(9)]);
    assert!(site.gate.may_compact(ulid(9)));

    // Another one of the same time, which the bucket's block was not made of, and one of other labels.
    compacted(&data, 10, &[3], &[]);
    site.blocks.reload().unwrap();
    let report = site.ship();
    let [refused] = &report.refused[..] else { panic!("{report:?}") };
    let why = format!("block {} is not shipped: it is compacted and overlaps block {}", ulid(10), ulid(9));
    assert!(refused.to_string().starts_with(&why), "{refused}");
    let before = site.script.lock().operations;
    let report = site.ship();
    assert!(report.refused.is_empty() && report.failed.is_none(), "told once");
    assert_eq!(site.script.lock().operations, before);
    assert_eq!(site.counted("watershed_ship_blocks_refused"), "1");
    assert!(site.gate.may_compact(ulid(10)));
    let report = site.shipper.ship(&|| site.blocks.snapshot(), &Labels::from_pairs([("site", "other")]));
    assert!(report.shipped.is_empty(), "refused until the process is started again");
}

#[test]
fn a_damaged_block_stays_here_and_the_others_go() {
    let data = root();
    let damaged = write_segments(&data, 1, 0);
    let whole = write_segments(&data, 2, 100);
    let path = Path::new("/data").join(damaged.to_string()).join("chunks/000002");
    let mut bytes = data.read(&path).unwrap();
    bytes[12] ^= 1;
    data.write(&path, &bytes);
    let site = Site::new(&data);
    let report = site.ship();
    assert_eq!(report.shipped, [whole]);
    let told = report.refused[0].to_string();
    assert!(told.contains(&damaged.to_string()) && told.contains("chunks/000002: damaged at byte"), "{told}");
    assert_eq!(site.remote.list(Path::new(BUCKET)).unwrap().iter().filter(|n| n.parse::<Ulid>().is_ok()).count(), 1);
}

#[test]
fn without_external_labels_nothing_is_shipped() {
    let data = root();
    write_small(&shared(&data), 1, 0, 10, &[]);
    let site = Site::new(&data);
    let report = site.shipper.ship(&|| site.blocks.snapshot(), &Labels::empty());
    assert!(matches!(report.failed, Some(ShipError::NoLabels)));
    assert_eq!((report.waiting, site.script.lock().operations), (1, 0));
    assert_eq!(site.ship().shipped, [ulid(1)]);
}

#[test]
fn a_block_that_went_before_it_was_shipped_is_counted() {
    let data = root();
    (1..=2).for_each(|n| assert_eq!(ulid(n), write_small(&shared(&data), n, n as i64 * 10, n as i64 * 10 + 10, &[])));
    let site = Site::new(&data);
    site.script.lock().fail_at = Some(1);
    assert_eq!(site.ship().waiting, 2);
    site.blocks.replace(&[], &[ulid(1)]).unwrap();
    let report = site.ship();
    assert!(report.failed.is_none(), "{report:?}");
    assert_eq!(report.shipped, [ulid(2)]);
    assert_eq!(site.counted("watershed_ship_blocks_missed_total"), "1");
}

#[test]
fn a_stop_ends_the_round_and_is_no_failure() {
    let data = root();
    write_small(&shared(&data), 1, 0, 10, &[]);
    let site = Site::new(&data);
    site.stop.cancel();
    let report = site.ship();
    assert!(report.failed.is_some_and(|error| error.is_stop()));
    assert_eq!(site.puts(), [""; 0]);
    assert_eq!(site.counted("watershed_ship_failures_total"), "0");
}

#[test]
fn a_memory_that_cannot_be_written_does_not_stop_the_shipping() {
    let data = root();
    write_small(&shared(&data), 1, 0, 10, &[]);
    let site = Site::new(&data);
    data.set_room(Some(0));
    let report = site.ship();
    assert!(report.failed.is_none(), "{report:?}");
    assert_eq!(report.shipped, [ulid(1)]);
    assert!(!data.exists(Path::new("/data/thanos.shipper.json")).unwrap());
    data.set_room(None);
    site.ship();
    assert!(data.exists(Path::new("/data/thanos.shipper.json")).unwrap());
}

#[test]
fn tombstones_do_not_go_to_the_bucket() {
    let data = root();
    write_small(&shared(&data), 1, 0, 10, &[]);
    let site = Site::new(&data);
    let mut tombstones = Tombstones::default();
    tombstones.add(2, crate::storage::TimeRange { min: TimestampMs(0), max: TimestampMs(5) });
    site.blocks.set_tombstones(ulid(1), &tombstones).unwrap();
    assert_eq!(site.ship().shipped, [ulid(1)]);
    let names: Vec<String> = site.objects().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["chunks/000001", "index", "meta.json"].map(|file| format!("{}/{file}", ulid(1))));
}

#[test]
fn the_compaction_takes_no_block_that_waits_nor_one_behind_it() {
    let data = root();
    for n in 1..=5 {
        write_small(&shared(&data), n, (n as i64 - 1) * 100, n as i64 * 100, &[]);
    }
    let compactor = Compactor::new(vec![100, 300], &Registry::new());
    let site = Site::start_gated(&data, &MemDisk::new(), false, compactor.gate());
    assert_eq!(compactor.next(&site.blocks), None);
    // Two blocks are sent; the third is not, so three cannot become one.
    site.script.lock().fail_at = Some(2 + 6 + 6 + 1);
    assert_eq!(site.ship().shipped, [ulid(1), ulid(2)]);
    assert_eq!(compactor.next(&site.blocks), None);
    assert_eq!(site.ship().shipped, [ulid(3), ulid(4), ulid(5)]);
    let plan = compactor.next(&site.blocks).unwrap();
    assert_eq!(plan.blocks, [ulid(1), ulid(2), ulid(3)]);
    let made =
        compactor.run(&site.blocks, &plan, TimestampMs(5), &crate::storage::Scope::unbounded()).unwrap().unwrap();
    let report = site.ship();
    assert!(report.failed.is_none() && report.shipped.is_empty(), "{report:?}");
    assert!(site.gate.may_compact(made.ulid));
}
