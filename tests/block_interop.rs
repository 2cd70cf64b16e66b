//! Blocks are Prometheus's: its own tool reads what we wrote, and we read what it wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use support::peers::Peers;
use watershed::disk::RealDisk;
use watershed::model::{Labels, TimestampMs};
use watershed::storage::chunk::xor::XorState;
use watershed::storage::{Chunk, Columns, Encoding, SeriesChunks, decode_into};
use watershed::tsdb::block::{Block, BlockMeta, BlockWriter, Ulid};

/// Samples by series as promtool prints it: time in milliseconds and value bits.
type Dump = BTreeMap<String, Vec<(i64, u64)>>;

const START: i64 = 1_700_000_000_000;

/// Values that a text must keep: one NaN stands for all.
const VALUES: [f64; 8] = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e300, 0.1];

fn bits(v: f64) -> u64 {
    if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() }
}

fn promtool(peers: &Peers, args: &[&str], dir: &Path) -> String {
    let out = Command::new(peers.path("promtool")).args(args).arg(dir).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

/// `{labels} value time` on each line.
fn theirs(peers: &Peers, dir: &Path) -> Dump {
    // The tool opens the directory as a server's, and misses a log where there is none.
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    let mut dump = Dump::new();
    for line in promtool(peers, &["tsdb", "dump"], dir).lines() {
        let mut parts = line.rsplitn(3, ' ');
        let (t, v) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse::<f64>().unwrap());
        dump.entry(parts.next().unwrap().to_owned()).or_default().push((t, bits(v)));
    }
    dump
}

/// Labels as promtool prints them.
fn printed(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn blocks(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> = paths.filter(|p| p.join("meta.json").exists()).collect();
    found.sort();
    found
}

fn all_series(block: &Block) -> Vec<SeriesChunks> {
    block.index().all().unwrap().iter().map(|r| block.series_chunks(r).unwrap()).collect()
}

fn ours(blocks: &[PathBuf]) -> Dump {
    let mut dump = Dump::new();
    for dir in blocks {
        let block = Block::open(&RealDisk, dir).unwrap();
        block.verify().unwrap();
        for series in all_series(&block) {
            let mut columns = Columns::default();
            series.chunks.iter().for_each(|c| decode_into(c, &mut columns).unwrap());
            let samples = columns.iter().map(|s| (s.t.0, bits(s.v)));
            dump.entry(printed(&series.labels)).or_default().extend(samples);
        }
    }
    dump
}

fn value(series: i64, sample: i64) -> f64 {
    if series % 10 == 3 { VALUES[sample as usize % VALUES.len()] } else { (series * sample) as f64 * 0.1 }
}

fn chunk(series: i64, samples: impl Iterator<Item = i64>) -> Chunk {
    let (mut state, mut data, mut times) = (XorState::new(), Vec::new(), Vec::new());
    for sample in samples {
        let t = START + sample * 15_000 + series % 7;
        state.append(&mut data, t, value(series, sample));
        times.push(TimestampMs(t));
    }
    Chunk { min: times[0], max: times[times.len() - 1], encoding: Encoding::Xor, data: data.into() }
}

/// Labels short and long, in and beyond ASCII, some on every series and some on few.
fn labels(i: i64) -> Labels {
    let (number, long) = (i.to_string(), "ü".repeat(i as usize));
    let name = ["requests_total", "up", "a"][i as usize % 3];
    Labels::from_pairs([
        ("__name__", name),
        ("instance", &number),
        ("long", &long),
        ("A", if i % 5 == 0 { "1" } else { "" }),
    ])
}

fn write(dir: &Path, meta: BlockMeta, series: &[SeriesChunks], segment_size: u64) -> BlockMeta {
    let mut writer = BlockWriter::with_segment_size(Arc::new(RealDisk), dir, meta, segment_size).unwrap();
    series.iter().for_each(|s| writer.push(s).unwrap());
    writer.finish().unwrap().unwrap()
}

#[test]
fn promtool_lists_analyses_and_dumps_a_block_of_ours() {
    let Some(peers) = Peers::find(&["promtool"]) else { return };
    let home = tempfile::tempdir().unwrap();
    let one =
        |i| SeriesChunks { labels: labels(i), chunks: (0..4).map(|c| chunk(i, c * 120..(c + 1) * 120)).collect() };
    let mut series: Vec<SeriesChunks> = (0..200).map(one).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let meta = BlockMeta::new(Ulid::generate(TimestampMs(START)), START, START + 7_200_000);
    let meta = write(home.path(), meta, &series, 100_000);
    let dir = home.path().join(meta.ulid.to_string());
    assert!(std::fs::read_dir(dir.join("chunks")).unwrap().count() > 1, "several segments");

    let expected = ours(&[dir]);
    assert_eq!((expected.len(), expected.values().map(Vec::len).sum::<usize>()), (200, 200 * 480));
    let found = theirs(&peers, home.path());
    assert!(found.keys().eq(expected.keys()), "the series differ");
    for (labels, samples) in &expected {
        assert_eq!(&found[labels], samples, "{labels}");
    }

    let list = promtool(&peers, &["tsdb", "list"], home.path());
    let line = list.lines().find(|l| l.starts_with(&meta.ulid.to_string())).expect("the block in the list");
    let fields: Vec<&str> = line.split_whitespace().collect();
    let times = [meta.min_time.to_string(), meta.max_time.to_string()];
    assert_eq!(&fields[1..3], &times[..]);
    assert_eq!(&fields[4..7], ["96000", "800", "200"], "{line}");
    let analysis = promtool(&peers, &["tsdb", "analyze", "--extended"], home.path());
    for expected in ["Total Series: 200", "Label names: 4", "200 instance"] {
        assert!(analysis.contains(expected), "{expected} is not in: {analysis}");
    }
}

#[test]
fn we_read_what_promtool_made_and_write_it_again_byte_for_byte() {
    let Some(peers) = Peers::find(&["promtool"]) else { return };
    let home = tempfile::tempdir().unwrap();
    let (text, made, again) = (home.path().join("in.om"), home.path().join("made"), home.path().join("again"));
    let mut lines = String::new();
    for i in 0..60 {
        for sample in 0..500 {
            let v = value(i, sample);
            let v = if v.is_infinite() { format!("{v:+}").replace("inf", "Inf") } else { format!("{v:e}") };
            let at = (START / 1000 + sample * 30) as f64 + 0.25;
            let long = "ü".repeat(i as usize);
            writeln!(lines, "m{}{{instance=\"{i}\",long=\"x{long}\"}} {v} {at}", i % 3).unwrap();
        }
    }
    // The format wants families together.
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_by_key(|l| &l[..2]);
    std::fs::write(&text, format!("{}\n# EOF\n", lines.join("\n"))).unwrap();
    promtool(&peers, &["tsdb", "create-blocks-from", "openmetrics", text.to_str().unwrap()], &made);

    let found = blocks(&made);
    assert!(found.len() >= 2, "several blocks: {found:?}");
    let (expected, read) = (theirs(&peers, &made), ours(&found));
    assert_eq!(read.values().map(Vec::len).sum::<usize>(), 60 * 500);
    assert!(read.keys().eq(expected.keys()), "the series differ");
    for (labels, samples) in &expected {
        assert_eq!(&read[labels], samples, "{labels}");
    }

    std::fs::create_dir_all(&again).unwrap();
    for dir in &found {
        let block = Block::open(&RealDisk, dir).unwrap();
        let meta = write(&again, block.meta().clone(), &all_series(&block), 512 << 20);
        let copy = again.join(meta.ulid.to_string());
        for name in ["chunks/000001", "tombstones"] {
            assert_eq!(std::fs::read(copy.join(name)).unwrap(), std::fs::read(dir.join(name)).unwrap(), "{name}");
        }
        let (a, b) = (std::fs::read(copy.join("index")).unwrap(), std::fs::read(dir.join("index")).unwrap());
        // Symbols and series; the tool's release still writes the label indices that newer ones leave out behind them.
        let place = |bytes: &[u8]| u64::from_be_bytes(bytes[bytes.len() - 36..][..8].try_into().unwrap()) as usize;
        assert_eq!(place(&a), place(&b));
        assert!(a[..place(&a)] == b[..place(&b)], "symbols or series differ in {}", dir.display());
    }
    assert_eq!(theirs(&peers, &again), expected);
}
