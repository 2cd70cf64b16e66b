//! `watershed tsdb dump` and `dump-openmetrics`.

use std::io::Write;

use super::Failure;
use super::text::{full_labels, openmetrics_series};
use crate::model::number::General;
use crate::model::{AnnotationKind, TimestampMs, Value};
use crate::storage::chunk::{TimedValue, decode_values};
use crate::storage::{
    Chunk, QueryError, Queryable, Scope, SelectRequest, Selector, SeriesBatch, SeriesChunks, StreamEnd, StreamStep,
    TimeRange,
};
use crate::tsdb::read_only::ReadOnly;

/// `{labels} value time` for each sample.
pub(super) fn samples(
    out: &mut impl Write,
    dir: &ReadOnly,
    selectors: &[Selector],
    range: TimeRange,
) -> Result<(), Failure> {
    each_series(dir, selectors, range, &mut |series| {
        let labels = full_labels(&series.labels);
        each_sample(series, range, &mut |t, value| {
            match value {
                Value::Float(v) => writeln!(out, "{labels} {} {}", General(*v), t.0)?,
                Value::Histogram(h) => writeln!(out, "{labels} {h} {}", t.0)?,
                Value::FloatHistogram(h) => writeln!(out, "{labels} {h} {}", t.0)?,
            }
            Ok(Next::Go)
        })
    })
}

/// `name{labels} value seconds` for each float; of a series with histograms what comes before the first of them.
pub(super) fn openmetrics(
    out: &mut impl Write,
    dir: &ReadOnly,
    selectors: &[Selector],
    range: TimeRange,
) -> Result<(), Failure> {
    each_series(dir, selectors, range, &mut |series| {
        let labels = openmetrics_series(&series.labels);
        each_sample(series, range, &mut |t, value| {
            let Value::Float(v) = value else { return Ok(Next::Stop) };
            writeln!(out, "{labels} {} {:.3}", General(*v), t.0 as f64 / 1000.0)?;
            Ok(Next::Go)
        })
    })?;
    Ok(writeln!(out, "# EOF")?)
}

/// Sorted by labels, unless everything comes from the head and by one selector: then as series were created, as promtool
/// gives them.
fn each_series(
    dir: &ReadOnly,
    selectors: &[Selector],
    range: TimeRange,
    f: &mut dyn FnMut(&SeriesChunks) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (blocks, broken) = dir.blocks()?;
    for block in &broken {
        eprintln!("block {} cannot be read: {}", block.ulid, block.error);
    }
    let overlaps = |min, max: i64| range.overlaps(TimestampMs(min), TimestampMs(max.saturating_sub(1)));
    let has_blocks = blocks.iter().any(|b| overlaps(b.meta().min_time, b.meta().max_time));
    drop(blocks);
    let (store, report) = dir.store()?;
    for damage in &report.damage {
        eprintln!("{}: damaged at byte {}: {}", damage.path.display(), damage.offset, damage.reason);
    }
    let request = SelectRequest { selectors, range, sorted: has_blocks || selectors.len() > 1, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request)?;
    let mut batch = SeriesBatch::default();
    loop {
        match stream.next(&mut batch)? {
            StreamStep::Batch => batch.series.iter().try_for_each(&mut *f)?,
            StreamStep::End(StreamEnd { annotations, .. }) => {
                annotations.of(AnnotationKind::Warning).for_each(|a| eprintln!("{a}"));
                break;
            }
        }
    }
    match broken.len() {
        0 => Ok(()),
        n => Err(Failure::Other(format!("the dump is not complete: {n} blocks cannot be read"))),
    }
}

enum Next {
    Go,
    Stop,
}

fn each_sample(
    series: &SeriesChunks,
    range: TimeRange,
    f: &mut dyn FnMut(TimestampMs, &Value) -> Result<Next, Failure>,
) -> Result<(), Failure> {
    let mut samples: Vec<TimedValue> = Vec::new();
    for chunk in &series.chunks {
        samples.clear();
        decode_values(chunk, &mut samples).map_err(|error| damaged(series, chunk, &error.to_string()))?;
        for sample in samples.iter().filter(|s| range.contains(s.t)) {
            if let Next::Stop = f(sample.t, &sample.value)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn damaged(series: &SeriesChunks, chunk: &Chunk, reason: &str) -> QueryError {
    let path = format!("a chunk of {} from {} to {}", series.labels, chunk.min.0, chunk.max.0);
    QueryError::Corrupt { path, offset: 0, reason: reason.to_owned() }
}
