//! What is shipped can be taken over: Prometheus's own tool reads it as it reads ours, and its descriptions say what the
//! readers of buckets want to know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use support::peers::Peers;
use tokio_util::sync::CancellationToken;
use watershed::disk::RealDisk;
use watershed::model::{Labels, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::chunk::xor::XorState;
use watershed::storage::{Chunk, Encoding, SeriesChunks};
use watershed::telemetry::Registry;
use watershed::tsdb::block::{BlockMeta, BlockWriter, Ulid};
use watershed::tsdb::blocks::Blocks;
use watershed::tsdb::ship::{Deps, DirBucket, Gate, Shipper};

const START: i64 = 1_699_999_200_000;
const BLOCK: i64 = 7_200_000;

fn chunk(begin: i64, series: i64) -> Chunk {
    let (mut state, mut data) = (XorState::new(), Vec::new());
    let times: Vec<i64> = (0..120).map(|i| begin + i * 15_000).collect();
    times.iter().for_each(|t| state.append(&mut data, *t, (t * series % 1013) as f64 * 0.25));
    Chunk { min: TimestampMs(times[0]), max: TimestampMs(times[119]), encoding: Encoding::Xor, data: data.into() }
}

/// A block of two hours with several segments.
fn write(dir: &Path, n: i64) -> BlockMeta {
    let min = START + n * BLOCK;
    let meta = BlockMeta::new(Ulid::generate(TimestampMs(min + BLOCK)), min, min + BLOCK);
    let mut writer = BlockWriter::with_segment_size(Arc::new(RealDisk), dir, meta, 100_000).unwrap();
    for i in 0..300 {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", &format!("{i:04}"))]);
        let chunks = (0..4).map(|c| chunk(min + c * 1_800_000, i + 1)).collect();
        writer.push(&SeriesChunks { labels, chunks }).unwrap();
    }
    writer.finish().unwrap().unwrap()
}

fn promtool(peers: &Peers, args: &[&str], dir: &Path) -> String {
    let out = Command::new(peers.path("promtool")).args(args).arg(dir).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// The shipped blocks as a server would have them.
fn download(bucket: &Path, to: &Path) {
    for block in fs::read_dir(bucket).unwrap().map(|e| e.unwrap()) {
        let name = block.file_name().into_string().unwrap();
        if name.parse::<Ulid>().is_err() {
            continue;
        }
        let place = to.join(&name);
        fs::create_dir_all(place.join("chunks")).unwrap();
        for file in ["index", "meta.json"] {
            fs::copy(block.path().join(file), place.join(file)).unwrap();
        }
        for segment in fs::read_dir(block.path().join("chunks")).unwrap().map(|e| e.unwrap()) {
            fs::copy(segment.path(), place.join("chunks").join(segment.file_name())).unwrap();
        }
    }
    fs::create_dir_all(to.join("wal")).unwrap();
}

fn files_of(block: &Path) -> BTreeSet<String> {
    let names = |dir: PathBuf| fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let segments = names(block.join("chunks")).map(|name| format!("chunks/{name}"));
    segments.chain(names(block.to_owned()).filter(|name| name != "chunks")).collect()
}

#[test]
fn a_shipped_block_passes_promtool_and_is_described_as_thanos_wants() {
    let home = tempfile::tempdir().unwrap();
    let (data, bucket, again) = (home.path().join("data"), home.path().join("bucket"), home.path().join("again"));
    fs::create_dir_all(&data).unwrap();
    let metas: Vec<BlockMeta> = (0..3).map(|n| write(&data, n)).collect();
    let disk = Arc::new(RealDisk);
    let blocks = Blocks::open(disk.clone(), &data, &Registry::new()).unwrap().0;
    let deps = Deps {
        disk: disk.clone(),
        dir: data.clone(),
        clock: Clock::system(),
        registry: Registry::new(),
        gate: Gate::open(),
        stop: CancellationToken::new(),
    };
    let shipper = Shipper::new(Arc::new(DirBucket::new(disk, &bucket)), false, None, deps);
    let labels = Labels::from_pairs([("site", "garage"), ("replica", "a")]);
    let report = shipper.ship(&|| blocks.snapshot(), &labels);
    assert!(report.failed.is_none(), "{report:?}");
    assert_eq!(report.shipped, metas.iter().map(|m| m.ulid).collect::<Vec<_>>());

    for meta in &metas {
        let block = bucket.join(meta.ulid.to_string());
        let described: Value = serde_json::from_slice(&fs::read(block.join("meta.json")).unwrap()).unwrap();
        assert_eq!(described["version"], 1);
        assert_eq!(described["ulid"], meta.ulid.to_string());
        assert_eq!(described["compaction"]["sources"], json!([meta.ulid.to_string()]));
        let thanos = &described["thanos"];
        assert_eq!(thanos["version"], 1);
        assert_eq!(thanos["labels"], json!({"site": "garage", "replica": "a"}));
        assert_eq!(thanos["downsample"], json!({"resolution": 0}));
        let listed: BTreeSet<String> =
            thanos["files"].as_array().unwrap().iter().map(|f| f["rel_path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, files_of(&block), "what is listed is what is there");
        assert!(thanos["segment_files"].as_array().unwrap().len() > 1);
        for file in thanos["files"].as_array().unwrap().iter().filter(|f| f["rel_path"] != "meta.json") {
            let len = fs::metadata(block.join(file["rel_path"].as_str().unwrap())).unwrap().len();
            assert_eq!(file["size_bytes"], len, "{file}");
        }
    }

    let Some(peers) = Peers::find(&["promtool"]) else { return };
    download(&bucket, &again);
    fs::create_dir_all(data.join("wal")).unwrap();
    let dump = promtool(&peers, &["tsdb", "dump"], &again);
    assert_eq!(dump.lines().count(), 3 * 300 * 480);
    assert!(dump == promtool(&peers, &["tsdb", "dump"], &data), "the dumps differ");
    let list = promtool(&peers, &["tsdb", "list"], &again);
    for meta in &metas {
        let line = list.lines().find(|l| l.starts_with(&meta.ulid.to_string())).expect("the block in the list");
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(&fields[4..7], ["144000", "1200", "300"], "{line}");
    }
    let analysis = promtool(&peers, &["tsdb", "analyze", "--extended"], &again);
    assert!(analysis.contains("Total Series: 300"), "{analysis}");
}
