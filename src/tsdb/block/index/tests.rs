//! The index against plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, MemDisk};
use crate::model::{Labels, TimestampMs};
use crate::tsdb::block::chunks::{ChunkMeta, ChunkRef};

const PATH: &str = "/b/index";

type Model = BTreeMap<Labels, Vec<ChunkMeta>>;

fn written(model: &Model) -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/b")).unwrap();
    let mut builder = IndexBuilder::new();
    model.iter().for_each(|(labels, chunks)| builder.push(labels, chunks));
    builder.write(&disk, Path::new(PATH)).unwrap();
    disk
}

fn open(disk: &MemDisk) -> Result<IndexReader, BlockError> {
    IndexReader::open(disk, Path::new(PATH))
}

/// All that a reader says, or its first complaint.
fn read_all(disk: &MemDisk) -> Result<Model, BlockError> {
    let index = open(disk)?;
    let mut model = Model::new();
    for reference in &index.all()? {
        let series = index.series(reference)?;
        model.insert(series.labels, series.chunks);
    }
    Ok(model)
}

fn chunks_of(parts: &[(u32, u32, u32)], start: i64) -> Vec<ChunkMeta> {
    let (mut time, mut place) = (start, 8u64);
    let next = |(gap, length, size): &(u32, u32, u32)| {
        let min = time + 1 + i64::from(*gap);
        time = min + i64::from(*length);
        place += u64::from(*size) + 1;
        ChunkMeta { min: TimestampMs(min), max: TimestampMs(time), chunk: ChunkRef(place) }
    };
    parts.iter().map(next).collect()
}

fn model() -> impl Strategy<Value = Model> {
    let pair = ("[a-dA]{1,2}", "[a-c\u{e9}]{1,4}|[0-9]{1,3}");
    let labels = proptest::collection::btree_map(pair.0, pair.1, 1..6);
    let parts = proptest::collection::vec(any::<(u32, u32, u32)>(), 0..5);
    let series = (labels, parts, -(1i64 << 41)..1 << 41);
    proptest::collection::vec(series, 0..120).prop_map(|all| {
        let one = |(labels, parts, start): (BTreeMap<String, String>, Vec<_>, i64)| {
            (Labels::from_pairs(labels.iter().map(|(n, v)| (&**n, &**v))), chunks_of(&parts, start))
        };
        all.into_iter().map(one).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_index_answers_as_a_plain_map_does(model in model()) {
        let disk = written(&model);
        prop_assert_eq!(&read_all(&disk).unwrap(), &model);
        let index = open(&disk).unwrap();
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in model.keys().flat_map(Labels::iter) {
            values.entry(name).or_default().insert(value);
        }
        prop_assert!(index.label_names().eq(values.keys().copied()));
        for (name, values) in &values {
            prop_assert!(index.label_values(name).unwrap().iter().eq(values));
            for value in values.iter().copied().chain(["", "0", "nothing", "zz"]) {
                let found = index.postings(name, value).unwrap();
                let found: Vec<Labels> = found.iter().map(|r| index.series(r).unwrap().labels).collect();
                let has = |labels: &&Labels| labels.get(name) == Some(value);
                prop_assert_eq!(found, model.keys().filter(has).cloned().collect::<Vec<_>>());
            }
        }
        prop_assert!(index.label_values("").unwrap().is_empty());
        prop_assert!(index.label_values("nowhere").unwrap().is_empty());
        prop_assert!(index.postings("nowhere", "a").unwrap().is_empty());
    }

    #[test]
    fn any_bytes_with_right_checksums_are_no_panic(content in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..4) {
        // The same bytes as every kind of section, so that parsers meet nonsense behind a checksum that is right.
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/b")).unwrap();
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(VERSION);
        bytes.extend_from_slice(&(content.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&content);
        bytes.extend_from_slice(&crc32c::crc32c(&content).to_be_bytes());
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let series = bytes.len() as u64;
        bytes.push(content.len().min(127) as u8);
        let entry = &content[..content.len().min(127)];
        bytes.extend_from_slice(entry);
        bytes.extend_from_slice(&crc32c::crc32c(entry).to_be_bytes());
        let places = [(0, series), (5, 0), (5, series), (0, 0)][at];
        let toc = Toc { symbols: places.0, series, postings_offset_table: places.1, ..Toc::default() };
        bytes.extend(toc.encode());
        disk.write(Path::new(PATH), &bytes);
        if let Ok(index) = open(&disk) {
            let _ = (index.series((series / 16) as u32), index.all(), index.label_values("a"));
        }
        let _ = postings::parse_list(Cursor::new(&content, Path::new(PATH), 0));
        let _ = postings::PostingsTable::parse(content.clone().into(), Path::new(PATH), 0);
        let _ = symbols::Symbols::parse(content.into(), Path::new(PATH), 0);
    }
}

fn small() -> Model {
    let series = |i: i64| {
        let number = i.to_string();
        (Labels::from_pairs([("__name__", "up"), ("i", &number)]), chunks_of(&[(5, 100, 30), (0, 0, 40)], i * 1000))
    };
    (0..20).map(series).collect()
}

#[test]
fn no_cut_and_no_flipped_bit_of_an_index_goes_unseen_or_panics() {
    let model = small();
    let disk = written(&model);
    let bytes = disk.read(Path::new(PATH)).unwrap();
    let toc = Toc::read(&Source::open(&disk, Path::new(PATH)).unwrap()).unwrap();
    for at in 0..bytes.len() {
        disk.write(Path::new(PATH), &bytes[..at]);
        assert!(open(&disk).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            disk.write(Path::new(PATH), &flipped);
            // Padding and lists of single labels are not read here; whatever is read must be right.
            match read_all(&disk) {
                Ok(read) => {
                    assert_eq!(read, model, "bit {bit} of byte {at}");
                    assert!((toc.series..toc.postings_offset_table).contains(&(at as u64)), "byte {at} is covered");
                }
                Err(error) => assert!(error.to_string().starts_with("/b/index: "), "{error}"),
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_list_of_series_is_seen_when_the_list_is_read() {
    let disk = written(&small());
    let bytes = disk.read(Path::new(PATH)).unwrap();
    let place = open(&disk).unwrap().postings.find("i", "17").unwrap().unwrap() as usize;
    // Length, count, one reference, checksum.
    for at in place..place + 16 {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            disk.write(Path::new(PATH), &flipped);
            let index = open(&disk).unwrap();
            assert!(index.postings("i", "17").is_err(), "bit {bit} of byte {at}");
            assert_eq!(index.postings("i", "18").unwrap().len(), 1);
        }
    }
}

#[test]
fn references_that_no_postings_gave_are_refused() {
    let disk = written(&small());
    let index = open(&disk).unwrap();
    let known = index.all().unwrap();
    for reference in (0..200).chain([u32::MAX]).filter(|r| !known.contains(*r)) {
        assert!(index.series(reference).is_err(), "{reference}");
    }
}

#[test]
fn an_index_of_another_version_is_told_as_such() {
    let disk = written(&small());
    let mut bytes = disk.read(Path::new(PATH)).unwrap();
    bytes[4] = 1;
    disk.write(Path::new(PATH), &bytes);
    assert_eq!(open(&disk).unwrap_err().to_string(), "/b/index: byte 4: index version 1 is not supported");
}
