//! Answers of a block against a scan of what was written into it.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::MemDisk;
use crate::model::{MatchOp, Matcher, TimestampMs};
use crate::storage::{Cancelled, Columns, decode_into};
use crate::tsdb::block::{BlockMeta, BlockWriter, Tombstones};
use crate::tsdb::fixtures::{self, chunk};
use crate::tsdb::matching::tests::{check_every_pair_of_matchers, sets};

type Samples = Vec<(i64, u64)>;

/// A series by its labels and the samples of its chunks.
type Given = (Labels, Vec<Vec<(i64, f64)>>);

fn written(all: &[Given], tombstones: &Tombstones) -> (MemDisk, Arc<Block>) {
    let disk = fixtures::root();
    let meta = BlockMeta::new(fixtures::ulid(1), -1_000_000, 1_000_000);
    let dir = Path::new("/data").join(meta.ulid.to_string());
    let mut writer = BlockWriter::create(Arc::new(disk.clone()), Path::new("/data"), meta).unwrap();
    for (labels, chunks) in all {
        let chunks = chunks.iter().map(|samples| chunk(samples)).collect();
        writer.push(&SeriesChunks { labels: labels.clone(), chunks }).unwrap();
    }
    writer.finish().unwrap();
    tombstones.write(&disk, &dir).unwrap();
    let block = Block::open(&disk, &dir).unwrap();
    (disk, Arc::new(block))
}

fn plain(all: &[Labels]) -> Arc<Block> {
    let all: Vec<Given> = all.iter().map(|labels| (labels.clone(), vec![vec![(1, 1.0)]])).collect();
    written(&all, &Tombstones::default()).1
}

fn selector(text: &[(MatchOp, &str, &str)]) -> Selector {
    text.iter().map(|(op, name, value)| Matcher::new(*op, name, value).unwrap()).collect()
}

fn read(stream: &mut BlockStream) -> Result<(Vec<(Labels, Samples)>, StreamEnd), QueryError> {
    let (mut batch, mut found, mut columns) = (SeriesBatch::default(), Vec::new(), Columns::default());
    loop {
        match stream.next(&mut batch)? {
            StreamStep::End(end) => return Ok((found, end)),
            StreamStep::Batch => {
                for series in &batch.series {
                    assert!(!series.chunks.is_empty());
                    columns.clear();
                    series.chunks.iter().for_each(|c| decode_into(c, &mut columns).unwrap());
                    let samples = columns.iter().map(|s| (s.t.0, s.v.to_bits())).collect();
                    found.push((series.labels.clone(), samples));
                }
            }
        }
    }
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

#[test]
fn every_pair_of_matchers_selects_what_testing_each_series_selects() {
    let block = plain(&sets());
    let all: Vec<u32> = block.index().all().unwrap().into_iter().collect();
    let position = |series: u32| all.binary_search(&series).unwrap();
    check_every_pair_of_matchers(|selectors| {
        block.matching(selectors, &Scope::unbounded()).unwrap().into_iter().map(position).collect()
    });
}

#[test]
fn few_series_are_tested_by_their_labels_and_many_by_the_labels_values() {
    let set = |i: usize| {
        Labels::from_pairs([("__name__", "m"), ("part", &*format!("{}", i % 50)), ("id", &*format!("{i:04}"))])
    };
    let mut all: Vec<Labels> = (0..2000).map(set).collect();
    all.sort();
    let block = plain(&all);
    use MatchOp::*;
    for text in [
        vec![(Equal, "part", "7"), (Regex, "id", ".*7")],
        vec![(Equal, "part", "7"), (NotRegex, "id", "0.*|1.57")],
        vec![(Regex, "id", "00.*")],
        vec![(Regex, "id", "1.*9")],
        vec![(Regex, "id", "199[0-9]|2000")],
        vec![(Regex, "id", "9.*")],
        vec![(NotRegex, "id", "0.*")],
    ] {
        let selectors = [selector(&text)];
        let matching = all.iter().filter(|l| Matcher::all_match(&selectors[0], l.as_bytes()));
        let expected: BTreeSet<&str> = matching.filter_map(|l| l.get("id")).collect();
        assert_eq!(block.matching(&selectors, &Scope::unbounded()).unwrap().len(), expected.len() as u64, "{text:?}");
        assert_eq!(
            block.label_values("id", &selectors, &Scope::unbounded()).unwrap(),
            Vec::from_iter(expected),
            "{text:?}"
        );
    }
}

#[test]
fn label_names_and_values_are_those_of_the_selected_series() {
    let all = sets();
    let block = plain(&all);
    let selected = |selectors: &[Selector]| {
        let any = |l: &&Labels| selectors.is_empty() || selectors.iter().any(|s| Matcher::all_match(s, l.as_bytes()));
        all.iter().filter(any).cloned().collect::<Vec<_>>()
    };
    for selectors in [
        vec![],
        vec![selector(&[(MatchOp::Equal, "b", "w3")])],
        vec![selector(&[(MatchOp::Equal, "b", "w3")]), selector(&[(MatchOp::Regex, "a", "v[13]")])],
        vec![selector(&[(MatchOp::Equal, "__name__", "y"), (MatchOp::Equal, "a", "")])],
        vec![selector(&[(MatchOp::Equal, "__name__", "none")])],
    ] {
        let found = selected(&selectors);
        let names: BTreeSet<&str> = found.iter().flat_map(|l| l.iter().map(|(name, _)| name)).collect();
        assert_eq!(block.label_names(&selectors, &Scope::unbounded()).unwrap(), Vec::from_iter(names), "{selectors:?}");
        for name in ["__name__", "a", "b", "missing", ""] {
            let values: BTreeSet<&str> = found.iter().filter_map(|l| l.get(name)).collect();
            assert_eq!(
                block.label_values(name, &selectors, &Scope::unbounded()).unwrap(),
                Vec::from_iter(values),
                "{name} {selectors:?}"
            );
        }
    }
}

fn series() -> impl Strategy<Value = Vec<Vec<(i64, f64)>>> {
    let chunk = prop::collection::vec((1i64..50, any::<bool>()), 1..20);
    (prop::collection::vec(chunk, 1..6), -200i64..200).prop_map(|(chunks, start)| {
        let mut t = start;
        let mut sample = |(step, one): (i64, bool)| {
            t += step;
            (t, f64::from(u8::from(one)))
        };
        chunks.into_iter().map(|chunk| chunk.into_iter().map(&mut sample).collect()).collect()
    })
}

proptest! {
    #[test]
    fn a_stream_has_the_overlapping_chunks_without_what_is_deleted(
        all in prop::collection::vec(series(), 1..12),
        deleted in prop::collection::vec((0usize..12, -300i64..2000, 0i64..400), 0..8),
        (low, length) in (-300i64..1500, -1i64..800),
        limit in prop::option::of(0usize..12),
    ) {
        let all: Vec<Given> = all.into_iter().enumerate().map(|(i, s)| (fixtures::labels(i as i64), s)).collect();
        let (_, block) = written(&all, &Tombstones::default());
        let references: Vec<u32> = block.index().all().unwrap().into_iter().collect();
        let mut tombstones = Tombstones::default();
        for (series, min, length) in deleted {
            if let Some(reference) = references.get(series) {
                tombstones.add(u64::from(*reference), range(min, min + length));
            }
        }
        let wanted = range(low, low + length);
        let mut expected: Vec<(Labels, Samples)> = Vec::new();
        for ((labels, chunks), reference) in all.iter().zip(&references) {
            let gone = tombstones.get(u64::from(*reference));
            let overlapping = chunks.iter().filter(|c| wanted.overlaps(TimestampMs(c[0].0), TimestampMs(c[c.len() - 1].0)));
            let left = overlapping.flatten().filter(|(t, _)| !gone.iter().any(|g| g.contains(TimestampMs(*t))));
            let left: Samples = left.map(|(t, v)| (*t, v.to_bits())).collect();
            if !left.is_empty() {
                expected.push((labels.clone(), left));
            }
        }
        expected.truncate(limit.unwrap_or(usize::MAX));
        let (_disk, block) = written(&all, &tombstones);
        let selectors = [vec![Matcher::equal("__name__", "m")]];
        let mut stream = block.select(&Scope::unbounded(), &selectors, wanted, limit).unwrap();
        // The stream keeps what it needs.
        drop(block);
        let (found, end) = read(&mut stream).unwrap();
        prop_assert_eq!(end.stats.series, expected.len() as u64);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn batches_are_bounded_and_samples_are_charged() {
    let all: Vec<Given> = (0..600).map(|i| (fixtures::labels(i), vec![(0..10).map(|t| (t, 1.0)).collect()])).collect();
    let mut all = all;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let (_, block) = written(&all, &Tombstones::default());
    let selectors = [Vec::new()];
    let mut stream = block.select(&Scope::unbounded(), &selectors, TimeRange::ALL, None).unwrap();
    let mut batch = SeriesBatch::default();
    let mut sizes = Vec::new();
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        sizes.push(batch.series.len());
    }
    assert_eq!(sizes, [256, 256, 88]);
    let scope = Scope::new(None, 5000, u64::MAX);
    let error = read(&mut block.select(&scope, &selectors, TimeRange::ALL, None).unwrap()).unwrap_err();
    assert!(matches!(error, QueryError::Cancelled(Cancelled::Samples(5000))));
    let scope = Scope::unbounded();
    let mut stream = block.select(&scope, &selectors, TimeRange::ALL, None).unwrap();
    scope.cancel();
    assert!(matches!(read(&mut stream), Err(QueryError::Cancelled(Cancelled::Client))));
}

#[test]
fn a_damaged_chunk_is_an_error_that_names_its_file() {
    let all: Vec<Given> = vec![(fixtures::labels(1), vec![vec![(1, 1.0), (5, 2.0)]])];
    let (disk, block) = written(&all, &Tombstones::default());
    let path = block.dir().join("chunks/000001");
    let mut bytes = disk.read(&path).unwrap();
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    disk.write(&path, &bytes);
    let reopened = Arc::new(Block::open(&disk, block.dir()).unwrap());
    let stream = reopened.select(&Scope::unbounded(), &[Vec::new()], TimeRange::ALL, None);
    let error = read(&mut stream.unwrap()).unwrap_err().to_string();
    assert!(error.contains("chunks/000001: damaged"), "{error}");
}
