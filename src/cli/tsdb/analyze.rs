//! `watershed tsdb analyze`: which labels cost how much.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use super::text::go_duration;
use super::{Failure, Matching, spread};
use crate::model::{Labels, Value};
use crate::storage::chunk::{TimedValue, decode_values};
use crate::storage::{Chunk, Encoding, Selector};
use crate::tsdb::block::{Block, BlockError, SeriesEntry};

pub(super) fn run(
    out: &mut impl Write,
    block: &Block,
    matching: Option<&Matching>,
    limit: usize,
    extended: bool,
) -> Result<(), Failure> {
    let meta = block.meta();
    writeln!(out, "Block ID: {}", meta.ulid)?;
    writeln!(out, "Duration: {}", go_duration(meta.max_time.wrapping_sub(meta.min_time)))?;
    writeln!(out, "Total Series: {}", meta.stats.num_series)?;
    let selector = matching.map(|m| &m.selector);
    if let Some(matching) = matching {
        writeln!(out, "Matcher: {}", matching.text)?;
    }
    let mut labels = LabelCounts::default();
    let mut fill = Fill::default();
    let mut matched = 0u64;
    each_series(block, selector, &mut |series| {
        matched += 1;
        labels.add(series, meta.max_time.wrapping_sub(meta.min_time).cast_unsigned());
        if extended { fill.add(block, series) } else { Ok(()) }
    })?;
    writeln!(out, "Label names: {}", labels.names.len())?;
    if matching.is_some() {
        writeln!(out, "Matched series: {matched}")?;
    }
    labels.print(out, limit, meta.max_time.wrapping_sub(meta.min_time))?;
    if extended { Ok(fill.print(out)?) } else { Ok(()) }
}

fn each_series(
    block: &Block,
    selector: Option<&Selector>,
    f: &mut dyn FnMut(&SeriesEntry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for reference in &block.index().all()? {
        let series = block.index().series(reference)?;
        if selector.is_none_or(|s| selects(s, &series.labels)) {
            f(&series)?;
        }
    }
    Ok(())
}

fn selects(selector: &Selector, labels: &Labels) -> bool {
    selector.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
}

/// What is counted of a label name or of a pair of name and value.
#[derive(Clone, Copy, Default)]
struct Count {
    /// Series.
    series: u64,
    /// Milliseconds of the block that these series do not cover.
    uncovered: u64,
}

impl Count {
    fn add(&mut self, uncovered: u64) {
        self.series += 1;
        self.uncovered = self.uncovered.wrapping_add(uncovered);
    }
}

#[derive(Default)]
struct LabelCounts {
    pairs: HashMap<String, Count>,
    names: BTreeMap<String, Count>,
    values: BTreeMap<String, BTreeSet<String>>,
    metrics: HashMap<String, u64>,
    entries: u64,
}

impl LabelCounts {
    fn add(&mut self, series: &SeriesEntry, block_ms: u64) {
        let (Some(first), Some(last)) = (series.chunks.first(), series.chunks.last()) else { return };
        let covered = last.max.0.wrapping_sub(first.min.0).cast_unsigned();
        let uncovered = block_ms.wrapping_sub(covered);
        for (name, value) in &series.labels {
            self.entries += 1;
            self.pairs.entry(format!("{name}={value}")).or_default().add(uncovered);
            entry(&mut self.names, name).add(uncovered);
            let values = entry(&mut self.values, name);
            if !values.contains(value) {
                values.insert(value.to_owned());
            }
        }
        if let Some(name) = series.labels.metric_name() {
            *self.metrics.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn print(&self, out: &mut impl Write, limit: usize, block_ms: i64) -> io::Result<()> {
        let share = |count: &Count| (count.uncovered as f64 / block_ms as f64) as u64;
        let values = |of: fn(&BTreeSet<String>) -> usize| {
            self.values.iter().map(move |(name, values)| (name.as_str(), of(values) as u64))
        };
        writeln!(out, "Postings (unique label pairs): {}", self.pairs.len())?;
        writeln!(out, "Postings entries (total label pairs): {}", self.entries)?;
        let mut list = |title: &str, items: &mut dyn Iterator<Item = (&str, u64)>| top(out, title, items, limit);
        list("Label pairs most involved in churning", &mut self.pairs.iter().map(|(k, c)| (k.as_str(), share(c))))?;
        list("Label names most involved in churning", &mut self.names.iter().map(|(k, c)| (k.as_str(), share(c))))?;
        list("Most common label pairs", &mut self.pairs.iter().map(|(k, c)| (k.as_str(), c.series)))?;
        let length = |values: &BTreeSet<String>| values.iter().map(String::len).sum();
        list("Label names with highest cumulative label value length", &mut values(length))?;
        list("Highest cardinality labels", &mut values(BTreeSet::len))?;
        list("Highest cardinality metric names", &mut self.metrics.iter().map(|(k, n)| (k.as_str(), *n)))
    }
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.entry(key.to_owned()).or_default()
}

/// The greatest first, equal ones by name.
fn top(
    out: &mut impl Write,
    title: &str,
    items: &mut dyn Iterator<Item = (&str, u64)>,
    limit: usize,
) -> io::Result<()> {
    let mut items: Vec<(&str, u64)> = items.collect();
    items.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    writeln!(out, "\n{title}:")?;
    items.iter().take(limit).try_for_each(|(name, n)| writeln!(out, "{n} {name}"))
}

/// How well chunks are filled.
#[derive(Default)]
struct Fill {
    chunks: usize,
    float_samples: Vec<u64>,
    float_bytes: Vec<u64>,
    histogram_samples: Vec<u64>,
    histogram_bytes: Vec<u64>,
    histogram_buckets: Vec<u64>,
}

impl Fill {
    fn add(&mut self, block: &Block, series: &SeriesEntry) -> Result<(), Failure> {
        for meta in &series.chunks {
            let chunk = block.chunk(meta)?;
            self.chunks += 1;
            let samples = u64::from(chunk.sample_count());
            let bytes = chunk.data.len() as u64;
            if matches!(chunk.encoding, Encoding::Xor | Encoding::Xor2) {
                self.float_samples.push(samples);
                self.float_bytes.push(bytes);
            } else {
                self.histogram_samples.push(samples);
                self.histogram_bytes.push(bytes);
                self.histogram_buckets.push(buckets(block, &chunk)?);
            }
        }
        Ok(())
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nCompaction analysis:\n")?;
        for (what, numbers) in [
            ("samples per float chunk", &self.float_samples),
            ("bytes per float chunk", &self.float_bytes),
            ("samples per histogram chunk", &self.histogram_samples),
            ("bytes per histogram chunk", &self.histogram_bytes),
            ("buckets per histogram chunk", &self.histogram_buckets),
        ] {
            spread::print(out, what, numbers, self.chunks)?;
        }
        Ok(())
    }
}

/// Buckets of all samples of a chunk of histograms.
fn buckets(block: &Block, chunk: &Chunk) -> Result<u64, Failure> {
    let mut samples: Vec<TimedValue> = Vec::new();
    decode_values(chunk, &mut samples).map_err(|error| BlockError::Damaged {
        path: block.dir().to_owned(),
        offset: 0,
        expected: format!("a chunk of histograms from {} to {} ({error})", chunk.min.0, chunk.max.0),
    })?;
    let count = |sample: &TimedValue| match &sample.value {
        Value::Float(_) => 0,
        Value::Histogram(h) => h.positive_buckets.len() + h.negative_buckets.len(),
        Value::FloatHistogram(h) => h.positive_buckets.len() + h.negative_buckets.len(),
    };
    Ok(samples.iter().map(count).sum::<usize>() as u64)
}
