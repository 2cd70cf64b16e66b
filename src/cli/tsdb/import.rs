//! `watershed tsdb create-blocks-from openmetrics`.
//!
//! The text is read once to see how many samples fall into which block, and then once for as many blocks as fit the
//! budget of samples in memory; a block that does not fit alone is made alone. So memory does not grow with the text.
//! Blocks are cut at multiples of their duration, and their chunks as the head cuts them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Failure;
use super::growing::Growing;
use super::input::Input;
use crate::disk::Disk;
use crate::exposition::{Format, Sample, SeriesLabels};
use crate::model::{DurationMs, Labels, LabelsBuilder, MetricType, TimestampMs};
use crate::runtime::Clock;
use crate::storage::SeriesChunks;
use crate::tsdb::block::{BlockError, BlockMeta, BlockWriter, Ulid};

/// Shortest duration of a block.
const BLOCK_MS: i64 = 2 * 3600 * 1000;
/// Longer ones are this many times longer, step by step.
const STEP: i64 = 3;
const STEPS: u32 = 9;
/// Samples held in memory, a few bytes each.
const BUDGET: u64 = 4_000_000;

/// Why no more blocks can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {error}")]
    Parse { path: PathBuf, error: crate::exposition::ParseError },
    #[error("{path}: line {line}: {problem}")]
    Line { path: PathBuf, line: usize, problem: String },
}

/// What to make of the text.
pub(super) struct Plan {
    /// Labels that every series gets.
    pub(super) labels: Vec<(String, String)>,
    /// Longest time a block may span.
    pub(super) max_block_duration: DurationMs,
    /// Where the blocks go.
    pub(super) output: PathBuf,
}

/// Makes the blocks; each is told to `made` when it is in place.
pub(super) fn run(
    disk: Arc<dyn Disk>,
    input: &Path,
    plan: &Plan,
    made: &mut dyn FnMut(&BlockMeta) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut input = Input::open(input)?;
    let duration = block_duration(plan.max_block_duration);
    let samples = samples_by_block(&mut input, duration)?;
    disk.create_dir_all(&plan.output).map_err(|source| BlockError::Disk { path: plan.output.clone(), source })?;
    for blocks in batches(&samples, BUDGET) {
        let mut batch = Batch::new(blocks, duration, &plan.labels);
        input.each_sample(&mut |sample, family| batch.push(sample, family))?;
        batch.write(&disk, &plan.output, made)?;
    }
    Ok(())
}

/// The longest of the usual durations that is not longer than `max`.
pub(super) fn block_duration(max: DurationMs) -> i64 {
    let usual = (0..=STEPS).map(|n| BLOCK_MS * STEP.pow(n));
    usual.take_while(|d| *d <= max.0).last().unwrap_or(BLOCK_MS)
}

/// Samples by block, blocks being counted from 1970.
fn samples_by_block(input: &mut Input, duration: i64) -> Result<BTreeMap<i64, u64>, ImportError> {
    let mut samples = BTreeMap::new();
    input.each_sample(&mut |sample, family| {
        let Some(t) = sample.timestamp else {
            let series = decoded(sample, family)?;
            return Err(format!("expected a timestamp for the series {series}, got none"));
        };
        if t.0 == i64::MAX {
            return Err("a timestamp behind the end of time".to_owned());
        }
        *samples.entry(t.0.div_euclid(duration)).or_default() += 1;
        Ok(())
    })?;
    Ok(samples)
}

fn decoded(sample: &Sample<'_>, family: MetricType) -> Result<Labels, String> {
    let mut labels = SeriesLabels::new();
    labels.decode(sample.series, Format::OpenMetrics, family).map_err(|error| error.to_string())?;
    Ok(Labels::from_pairs(labels.iter()))
}

/// Neighbouring blocks to be made together.
fn batches(samples: &BTreeMap<i64, u64>, budget: u64) -> Vec<Vec<i64>> {
    let (mut batches, mut held) = (Vec::<Vec<i64>>::new(), 0);
    for (block, n) in samples {
        match batches.last_mut() {
            Some(batch) if held + n <= budget => {
                batch.push(*block);
                held += n;
            }
            _ => {
                batches.push(vec![*block]);
                held = *n;
            }
        }
    }
    batches
}

/// Blocks in the making.
struct Batch<'a> {
    duration: i64,
    added: &'a [(String, String)],
    blocks: BTreeMap<i64, BlockSeries>,
    /// Series by how they are written and the type of their family, which changes what that means.
    written: HashMap<Vec<u8>, usize>,
    numbers: HashMap<Labels, usize>,
    labels: Vec<Labels>,
    key: Vec<u8>,
    scratch: SeriesLabels,
}

/// The series of one block by their numbers.
type BlockSeries = HashMap<usize, Growing>;

impl<'a> Batch<'a> {
    fn new(blocks: Vec<i64>, duration: i64, added: &'a [(String, String)]) -> Batch<'a> {
        Batch {
            duration,
            added,
            blocks: blocks.into_iter().map(|block| (block, BlockSeries::default())).collect(),
            written: HashMap::new(),
            numbers: HashMap::new(),
            labels: Vec::new(),
            key: Vec::new(),
            scratch: SeriesLabels::new(),
        }
    }

    fn push(&mut self, sample: &Sample<'_>, family: MetricType) -> Result<(), String> {
        let Some(TimestampMs(t)) = sample.timestamp else { return Err("expected a timestamp, got none".to_owned()) };
        let block = t.div_euclid(self.duration);
        if !self.blocks.contains_key(&block) {
            return Ok(());
        }
        let number = self.number(sample, family)?;
        let series = self.blocks.entry(block).or_default().entry(number).or_default();
        // The reference makes its head believe that blocks are twice as long, and spreads chunks over that.
        series.push(t, sample.value, 2 * self.duration).map_err(|why| format!("{}: {why}", self.labels[number]))
    }

    fn number(&mut self, sample: &Sample<'_>, family: MetricType) -> Result<usize, String> {
        self.key.clear();
        self.key.extend_from_slice(sample.series);
        self.key.push(family as u8);
        if let Some(number) = self.written.get(&self.key) {
            return Ok(*number);
        }
        self.scratch.decode(sample.series, Format::OpenMetrics, family).map_err(|error| error.to_string())?;
        let mut builder = LabelsBuilder::new();
        for (name, value) in self.scratch.iter() {
            if builder.has(name) {
                return Err(format!("the label {name:?} stands twice in one series"));
            }
            builder.set(name, value);
        }
        self.added.iter().for_each(|(name, value)| builder.set(name, value));
        let labels = builder.labels();
        let next = self.labels.len();
        let number = *self.numbers.entry(labels.clone()).or_insert(next);
        if number == next {
            self.labels.push(labels);
        }
        self.written.insert(self.key.clone(), number);
        Ok(number)
    }

    fn write(
        self,
        disk: &Arc<dyn Disk>,
        output: &Path,
        made: &mut dyn FnMut(&BlockMeta) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for series in self.blocks.into_values() {
            let series = series.into_iter().map(|(number, growing)| (self.labels[number].clone(), growing));
            write_block(disk, output, series, made)?;
        }
        Ok(())
    }
}

/// Makes one block; nothing if there are no samples.
pub(super) fn write_block(
    disk: &Arc<dyn Disk>,
    output: &Path,
    series: impl Iterator<Item = (Labels, Growing)>,
    made: &mut dyn FnMut(&BlockMeta) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut series: Vec<SeriesChunks> =
        series.map(|(labels, growing)| SeriesChunks { labels, chunks: growing.finish() }).collect();
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    let chunks = || series.iter().flat_map(|s| &s.chunks);
    let (Some(min), Some(max)) = (chunks().map(|c| c.min.0).min(), chunks().map(|c| c.max.0).max()) else {
        return Ok(());
    };
    let meta = BlockMeta::new(Ulid::generate(Clock::system().now()), min, max + 1);
    let mut writer = BlockWriter::create(disk.clone(), output, meta)?;
    series.iter().try_for_each(|s| writer.push(s))?;
    if let Some(meta) = writer.finish()? {
        made(&meta)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::model::Value;
    use crate::storage::chunk::{TimedValue, decode_values};
    use crate::tsdb::block::Block;

    fn import(text: &str, labels: &[(&str, &str)], max: &str) -> (MemDisk, Result<Vec<BlockMeta>, String>) {
        let home = tempfile::tempdir().unwrap();
        let input = home.path().join("in");
        std::fs::write(&input, text).unwrap();
        let disk = MemDisk::new();
        let plan = Plan {
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            max_block_duration: max.parse().unwrap(),
            output: "/out".into(),
        };
        let mut metas = Vec::new();
        let done = run(Arc::new(disk.clone()), &input, &plan, &mut |meta| {
            metas.push(meta.clone());
            Ok(())
        });
        let error = |e: Failure| e.to_string().replace(&format!("{}/", home.path().display()), "");
        (disk, done.map(|()| metas).map_err(error))
    }

    fn content(disk: &MemDisk, meta: &BlockMeta) -> Vec<(String, Vec<(i64, f64)>)> {
        let block = Block::open(disk, &Path::new("/out").join(meta.ulid.to_string())).unwrap();
        block.verify().unwrap();
        let series = |reference| {
            let series = block.series_chunks(reference).unwrap();
            let mut samples = Vec::new();
            series.chunks.iter().for_each(|c| decode_values(c, &mut samples).unwrap());
            let float = |s: TimedValue| match s.value {
                Value::Float(v) => (s.t.0, v),
                other => panic!("{other:?}"),
            };
            (series.labels.to_string(), samples.into_iter().map(float).collect())
        };
        block.index().all().unwrap().iter().map(series).collect()
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn each_block_gets_its_samples_also_before_1970() {
        let text = "a 1 -1\na 2 0\na 3 7199.999\nb 9 7200\na 4 7200\na 5 99999\n# EOF\n";
        let (disk, made) = import(text, &[("site", "x"), ("gone", "")], "2h");
        let made = made.unwrap();
        let found: Vec<_> = made.iter().map(|m| (m.min_time, m.max_time, m.compaction.level)).collect();
        let expected = [(-1000, -999, 1), (0, 2 * HOUR, 1), (2 * HOUR, 2 * HOUR + 1, 1), (99_999_000, 99_999_001, 1)];
        assert_eq!(found, expected);
        let a = "a{site=\"x\"}".to_owned();
        assert_eq!(content(&disk, &made[1]), [(a.clone(), vec![(0, 2.0), (7_199_999, 3.0)])]);
        assert_eq!(
            content(&disk, &made[2]),
            [(a, vec![(7_200_000, 4.0)]), ("b{site=\"x\"}".to_owned(), vec![(7_200_000, 9.0)])]
        );
    }

    #[test]
    fn one_series_written_in_several_ways_is_one() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1\",a=\"b\"} 1 1\nh_bucket{a=\"b\",le=\"1.0\"} 2 2\n{\"h_bucket\",a=\"b\",le=\"1\"} 3 3\n# EOF\n";
        let (disk, made) = import(text, &[], "2h");
        let samples = vec![(1000, 1.0), (2000, 2.0), (3000, 3.0)];
        assert_eq!(content(&disk, &made.unwrap()[0]), [("h_bucket{a=\"b\", le=\"1.0\"}".to_owned(), samples)]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_line() {
        for (text, expected) in [
            ("a 1 1\na{x=\"y\"} 1\n# EOF\n", "in: line 2: expected a timestamp for the series a{x=\"y\"}, got none"),
            ("a 1 5\na 2 4\n# EOF\n", "in: line 2: a: the sample at 4000 comes after the one at 5000"),
            ("a 1 5\na 1 5\na 2 5\n# EOF\n", "in: line 3: a: another value for the time 5000"),
            ("a 1 5\na{b=\"1\",b=\"2\"} 1 5\n# EOF\n", "in: line 2: the label \"b\" stands twice in one series"),
            ("a 1 5\n", "in: line 2, byte 6: data does not end with # EOF"),
        ] {
            let (_, made) = import(text, &[], "2h");
            let error = made.unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let (disk, made) = import("# EOF\n", &[], "2h");
        assert_eq!((made, disk.list(Path::new("/out")).unwrap().len()), (Ok(vec![]), 0));
    }

    #[test]
    fn durations_grow_by_three_and_batches_keep_within_their_budget() {
        let hours = |max: &str| block_duration(max.parse().unwrap()) / HOUR;
        let found: Vec<_> = ["0s", "2h", "5h", "6h", "2048h", "10y"].map(hours).to_vec();
        assert_eq!(found, [2, 2, 2, 6, 1458, 39_366]);
        let samples = BTreeMap::from([(0, 5), (1, 5), (2, 1), (7, 20), (8, 1), (9, 9)]);
        assert_eq!(batches(&samples, 10), [vec![0, 1], vec![2], vec![7], vec![8, 9]]);
    }
}
