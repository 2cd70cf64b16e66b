//! Whole blocks on a disk in memory.

use std::path::Path;
use std::sync::Arc;

use ::bytes::Bytes;

use super::*;
use crate::disk::MemDisk;
use crate::model::{Labels, TimestampMs};
use crate::storage::TimeRange;
use crate::storage::chunk::xor::XorState;

const MAX: i64 = 1_000_000;

fn chunk(samples: &[(i64, f64)]) -> Chunk {
    let (mut state, mut data) = (XorState::new(), Vec::new());
    samples.iter().for_each(|(t, v)| state.append(&mut data, *t, *v));
    let time = |sample: Option<&(i64, f64)>| TimestampMs(sample.unwrap().0);
    Chunk { min: time(samples.first()), max: time(samples.last()), encoding: Encoding::Xor, data: Bytes::from(data) }
}

fn series(i: i64, chunks: i64) -> SeriesChunks {
    let number = format!("{i:03}");
    let labels = Labels::from_pairs([("__name__", "up"), ("i", &number)]);
    let run = |c: i64| (0..20).map(|s| (c * 1000 + s * 15 + i, (i * s) as f64 * 0.7)).collect::<Vec<_>>();
    SeriesChunks { labels, chunks: (0..chunks).map(|c| chunk(&run(c))).collect() }
}

fn new_meta() -> BlockMeta {
    BlockMeta::new("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(), 0, MAX)
}

fn root() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk
}

fn dir() -> PathBuf {
    Path::new("/data").join(new_meta().ulid.to_string())
}

fn write(disk: &MemDisk, all: &[SeriesChunks]) -> Result<Option<BlockMeta>, BlockError> {
    let mut writer = BlockWriter::with_segment_size(Arc::new(disk.clone()), Path::new("/data"), new_meta(), 2000)?;
    all.iter().try_for_each(|s| writer.push(s))?;
    writer.finish()
}

type Samples = Vec<(Labels, Vec<(i64, u64)>)>;

fn samples_of(series: &SeriesChunks) -> (Labels, Vec<(i64, u64)>) {
    let mut columns = Columns::default();
    series.chunks.iter().for_each(|c| decode_into(c, &mut columns).unwrap());
    (series.labels.clone(), columns.iter().map(|s| (s.t.0, s.v.to_bits())).collect())
}

fn read(disk: &MemDisk) -> Result<Samples, BlockError> {
    let block = Block::open(disk, &dir())?;
    block.index().all()?.iter().map(|r| Ok(samples_of(&block.series_chunks(r)?))).collect()
}

#[test]
fn a_block_gives_back_what_was_put_into_it() {
    let disk = root();
    let all: Vec<_> = (0..50).map(|i| series(i, 1 + i % 4)).collect();
    let meta = write(&disk, &all).unwrap().unwrap();
    assert_eq!(disk.list(Path::new("/data")).unwrap(), [meta.ulid.to_string()]);
    assert_eq!(disk.list(&dir()).unwrap(), ["chunks", "index", "meta.json", "tombstones"]);
    assert!(disk.list(&dir().join("chunks")).unwrap().len() > 2, "several segments");
    let block = Block::open(&disk, &dir()).unwrap();
    assert_eq!(block.meta(), &meta);
    let on_disk = |dir: &Path| -> u64 {
        disk.list(dir).unwrap().iter().filter_map(|name| disk.read(&dir.join(name))).map(|f| f.len() as u64).sum()
    };
    assert_eq!(block.size(), on_disk(&dir()) + on_disk(&dir().join("chunks")));
    let chunks: u64 = all.iter().map(|s| s.chunks.len() as u64).sum();
    let stats = meta.stats;
    assert_eq!((stats.num_series, stats.num_chunks, stats.num_samples), (50, chunks, 20 * chunks));
    block.verify().unwrap();
    assert_eq!(block.tombstones(), &Tombstones::default());
    assert_eq!(read(&disk).unwrap(), all.iter().map(samples_of).collect::<Samples>());
}

#[test]
fn tombstones_put_beside_a_block_are_found_when_it_is_opened_again() {
    let disk = root();
    write(&disk, &[series(1, 1)]).unwrap();
    let mut tombstones = Tombstones::default();
    tombstones.add(2, TimeRange { min: TimestampMs(3), max: TimestampMs(4) });
    tombstones.write(&disk, &dir()).unwrap();
    assert_eq!(Block::open(&disk, &dir()).unwrap().tombstones(), &tombstones);
}

#[test]
fn what_a_block_cannot_hold_is_refused_and_the_rest_is_written() {
    let disk = root();
    let mut writer = BlockWriter::create(Arc::new(disk.clone()), Path::new("/data"), new_meta()).unwrap();
    writer.push(&series(5, 1)).unwrap();
    let backwards = SeriesChunks { chunks: vec![chunk(&[(9, 1.0)]), chunk(&[(9, 1.0)])], ..series(6, 0) };
    let outside = SeriesChunks { chunks: vec![chunk(&[(MAX, 1.0)])], ..series(6, 0) };
    let nameless = SeriesChunks { labels: Labels::empty(), ..series(6, 1) };
    let mut hollow = series(6, 1);
    hollow.chunks[0].data = Bytes::from_static(&[0, 0]);
    for wrong in [series(5, 1), series(4, 1), backwards, outside, nameless, hollow] {
        assert!(matches!(writer.push(&wrong), Err(BlockError::Refused(_))), "{wrong:?}");
    }
    writer.push(&series(6, 0)).unwrap();
    writer.push(&series(7, 2)).unwrap();
    assert_eq!(writer.finish().unwrap().unwrap().stats.num_series, 2);
    assert_eq!(read(&disk).unwrap(), [samples_of(&series(5, 1)), samples_of(&series(7, 2))]);
    assert!(matches!(write(&disk, &[series(1, 1)]), Err(BlockError::Refused(_))), "the name is taken");
}

#[test]
fn a_block_without_series_or_left_unfinished_leaves_nothing() {
    let disk = root();
    assert_eq!(write(&disk, &[series(1, 0)]).unwrap(), None);
    assert_eq!(disk.list(Path::new("/data")).unwrap(), [""; 0]);
    let mut writer = BlockWriter::create(Arc::new(disk.clone()), Path::new("/data"), new_meta()).unwrap();
    writer.push(&series(1, 1)).unwrap();
    assert_eq!(disk.list(Path::new("/data")).unwrap().len(), 1);
    drop(writer);
    assert_eq!(disk.list(Path::new("/data")).unwrap(), [""; 0]);
}

#[test]
fn a_disk_that_fills_up_at_any_byte_leaves_no_block() {
    let all: Vec<_> = (0..10).map(|i| series(i, 2)).collect();
    let mut room = 0;
    loop {
        let disk = root();
        disk.set_room(Some(room));
        match write(&disk, &all) {
            Ok(_) => break,
            Err(BlockError::Disk { .. }) => assert_eq!(disk.list(Path::new("/data")).unwrap(), [""; 0], "{room}"),
            Err(other) => panic!("{other}"),
        }
        room += 37;
    }
    assert!(room > 4000);
}

#[test]
fn no_cut_or_flip_in_any_file_of_a_block_gives_a_wrong_sample_or_a_panic() {
    let disk = root();
    let all: Vec<_> = (0..6).map(|i| series(i, 3)).collect();
    write(&disk, &all).unwrap();
    let expected = read(&disk).unwrap();
    let mut seen = 0;
    for name in ["index", "meta.json", "tombstones", "chunks/000001", "chunks/000002"] {
        let path = dir().join(name);
        let bytes = disk.read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            for damaged in [&bytes[..at], &flipped] {
                disk.write(&path, damaged);
                match read(&disk) {
                    Ok(samples) => assert_eq!(samples, expected, "{name} at {at}"),
                    Err(error) => {
                        seen += 1;
                        assert!(error.to_string().contains(name), "{name} at {at}: {error}");
                    }
                }
                if let Ok(block) = Block::open(&disk, &dir()) {
                    let _ = block.verify();
                }
            }
        }
        disk.write(&path, &bytes);
    }
    assert!(seen > 2000, "{seen}");
    // A flip in a chunk's bytes is always seen.
    let path = dir().join("chunks/000001");
    let bytes = disk.read(&path).unwrap();
    for at in 8..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        disk.write(&path, &flipped);
        assert!(read(&disk).is_err(), "byte {at}");
    }
}

#[test]
fn verify_sees_what_no_checksum_covers() {
    let disk = root();
    write(&disk, &[series(1, 1), series(2, 2)]).unwrap();
    let meta = BlockMeta::read(&disk, &dir()).unwrap();
    let tamper = |change: &dyn Fn(&mut BlockMeta)| {
        let mut changed = meta.clone();
        change(&mut changed);
        changed.write(&disk, &dir()).unwrap();
        Block::open(&disk, &dir()).and_then(|b| b.verify())
    };
    tamper(&|_| {}).unwrap();
    tamper(&|m| m.min_time = 2).unwrap_err();
    tamper(&|m| m.max_time = 1200).unwrap_err();
    tamper(&|m| m.stats.num_samples += 1).unwrap_err();
    tamper(&|m| m.stats.num_series = 0).unwrap_err();
    tamper(&|m| m.ulid = Ulid::generate(TimestampMs(1))).unwrap_err();
}
