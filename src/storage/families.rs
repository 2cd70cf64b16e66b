//! Rows of newest samples brought together by metric family.
//!
//! Rows come by metric name, but a classic histogram has three names, others may sort between them, and within each name
//! the bounds of one histogram lie apart. The formats want all of one metric in a row. Only numbers are sorted here: whoever
//! holds the rows says which of them belong to one metric by a hash of the labels that they have in common.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::Metadata;

/// Which part of a metric family the series of one name are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FamilyPart {
    /// The family, by a number of the caller's. All of it comes where its first series would.
    pub family: u32,
    /// Among the series of one metric; lower ranks come first.
    pub rank: u8,
    /// The label that tells apart the series of one metric and of this name; they come in the order of its number.
    pub by: Option<&'static str>,
}

/// Most histograms have no more buckets, with their count and sum.
const METRIC_ROWS: usize = 16;

/// Says for each metric name, in ascending order and with what is stored about the first of its series, which part of a family
/// it is. `None`: the name stays where it is.
pub type PartOf<'f> = dyn FnMut(&str, Option<&Metadata>) -> Option<FamilyPart> + 'f;

/// Rows in ascending order of metric name.
pub(crate) trait FamilyRows {
    fn len(&self) -> usize;

    fn is_same_name(&self, a: usize, b: usize) -> bool;

    /// Empty without one.
    fn name(&self, row: usize) -> &str;

    /// What is stored about a series.
    fn stored(&self, row: usize) -> Option<Arc<Metadata>>;

    /// Tells of each row of a run, in their order, a hash of the labels without the metric name and the label `by`, and the
    /// number that `by` is.
    fn metrics(&self, run: Range<usize>, by: Option<&str>, tell: &mut dyn FnMut(u64, Option<f64>));
}

/// All rows of one name.
pub(crate) struct NameRun {
    rows: Range<usize>,
    name: String,
    stored: Option<Arc<Metadata>>,
}

/// The rows of a name that is a part of a family.
pub(crate) type RunPart = (Range<usize>, FamilyPart);

/// Where the rows of each name begin and end.
pub(crate) fn name_runs(rows: &dyn FamilyRows) -> Vec<NameRun> {
    let (mut runs, mut start) = (Vec::new(), 0);
    while start < rows.len() {
        let end = run_end(rows, start);
        runs.push(NameRun { rows: start..end, name: rows.name(start).to_owned(), stored: rows.stored(start) });
        start = end;
    }
    runs
}

/// Where the rows of a name end. Doubling steps and then halves: runs are long, and looking at a row costs.
fn run_end(rows: &dyn FamilyRows, start: usize) -> usize {
    let is_same = |row: usize| row < rows.len() && rows.is_same_name(start, row);
    let mut step = 1;
    while is_same(start + step) {
        step *= 2;
    }
    let (mut same, mut other) = (start + step / 2, start + step);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if is_same(middle) {
            same = middle;
        } else {
            other = middle;
        }
    }
    other
}

/// Asks which part each name is. This may wait for whoever knows, so nothing that others wait for may be held meanwhile.
pub(crate) fn parts_of(runs: Vec<NameRun>, part_of: &mut PartOf<'_>) -> Vec<RunPart> {
    let part = |run: NameRun| Some((run.rows, part_of(&run.name, run.stored.as_deref())?));
    runs.into_iter().filter_map(part).collect()
}

/// The rows in the order in which they are to come.
pub(crate) fn family_order(rows: &dyn FamilyRows, parts: &[RunPart]) -> Vec<u32> {
    let mut families: BTreeMap<u32, Vec<&RunPart>> = BTreeMap::new();
    for run in parts {
        families.entry(run.1.family).or_default().push(run);
    }
    let (mut order, mut done) = (Vec::with_capacity(rows.len()), 0);
    for (run, part) in parts {
        order.extend(done..run.start as u32);
        done = run.end as u32;
        if let Some(family) = families.remove(&part.family) {
            push_metrics(rows, &family, &mut order);
        }
    }
    order.extend(done..rows.len() as u32);
    order
}

/// Appends the rows of one family: metric by metric as they are first met, then by rank, then by bound.
fn push_metrics(rows: &dyn FamilyRows, parts: &[&RunPart], order: &mut Vec<u32>) {
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    let mut metrics: Vec<Vec<(u8, i64, u32)>> = Vec::new();
    for (run, part) in parts {
        let mut row = run.start as u32;
        rows.metrics(run.clone(), part.by, &mut |metric, bound| {
            let number = *numbers.entry(metric).or_insert(metrics.len());
            if number == metrics.len() {
                metrics.push(Vec::with_capacity(METRIC_ROWS));
            }
            metrics[number].push((part.rank, bound.map_or(i64::MIN, ascending), row));
            row += 1;
        });
    }
    for metric in &mut metrics {
        metric.sort_unstable();
        order.extend(metric.iter().map(|(.., row)| *row));
    }
}

/// A number whose order is that of the floats.
fn ascending(v: f64) -> i64 {
    let bits = v.to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Annotations, Labels, TimestampMs, Value};
    use crate::storage::chunk::TimedValue;
    use crate::storage::newest::NewestRows;
    use crate::storage::{LatestBatch, LatestStream, Scope, StreamStep};

    fn ordered(rows: &[&[(&str, &str)]], part_of: &mut PartOf<'_>) -> Vec<String> {
        let row = |pairs: &&[(&str, &str)]| {
            let sample = TimedValue { t: TimestampMs(1), start: TimestampMs(0), value: Value::Float(1.0) };
            (Labels::from_pairs(pairs.iter().copied()), sample)
        };
        let rows = rows.iter().map(row).collect();
        let mut stream = NewestRows::new(&Scope::unbounded(), rows, Annotations::none(), None).unwrap();
        assert!(stream.by_family(part_of));
        let (mut batch, mut out) = (LatestBatch::default(), Vec::new());
        while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
            out.extend(batch.rows.iter().map(|row| Labels::from_encoded(batch.labels(row)).to_string()));
        }
        out
    }

    fn histogram(name: &str) -> Option<FamilyPart> {
        let (rank, by) = match name.strip_prefix("h_")? {
            "bucket" => (0, Some("le")),
            "count" => (1, None),
            "sum" => (2, None),
            _ => return None,
        };
        Some(FamilyPart { family: 7, rank, by })
    }

    #[test]
    fn each_metric_of_a_family_comes_whole_and_in_order_where_its_first_series_was() {
        let n = |name| ("__name__", name);
        let rows: &[&[(&str, &str)]] = &[
            &[n("a")],
            &[n("h_bucket"), ("le", "+Inf"), ("x", "1")],
            &[n("h_bucket"), ("le", "10.0"), ("x", "1")],
            &[n("h_bucket"), ("le", "2.0"), ("x", "1")],
            &[n("h_bucket"), ("le", "+Inf"), ("a", "0")],
            &[n("h_bytes"), ("x", "1")],
            &[n("h_count"), ("x", "1")],
            &[n("h_count"), ("a", "0")],
            &[n("h_sum"), ("x", "1")],
            &[n("h_sum"), ("x", "2")],
            &[n("z")],
        ];
        let expected = [
            r#"a"#,
            r#"h_bucket{a="0", le="+Inf"}"#,
            r#"h_count{a="0"}"#,
            r#"h_bucket{le="2.0", x="1"}"#,
            r#"h_bucket{le="10.0", x="1"}"#,
            r#"h_bucket{le="+Inf", x="1"}"#,
            r#"h_count{x="1"}"#,
            r#"h_sum{x="1"}"#,
            r#"h_sum{x="2"}"#,
            r#"h_bytes{x="1"}"#,
            r#"z"#,
        ];
        assert_eq!(ordered(rows, &mut |name, _| histogram(name)), expected);
    }

    #[test]
    fn every_name_is_asked_for_once_and_without_families_the_order_stays() {
        let rows: Vec<Vec<(&str, String)>> =
            (0..1000).map(|i| vec![("__name__", format!("m{:03}", i * i / 2500)), ("i", format!("{i:04}"))]).collect();
        let rows: Vec<Vec<(&str, &str)>> =
            rows.iter().map(|row| row.iter().map(|(n, v)| (*n, v.as_str())).collect()).collect();
        let rows: Vec<&[(&str, &str)]> = rows.iter().map(|row| &row[..]).collect();
        let mut asked = Vec::new();
        let order = ordered(&rows, &mut |name, _| {
            asked.push(name.to_owned());
            None
        });
        let expected: Vec<_> = rows.iter().map(|row| Labels::from_pairs(row.iter().copied()).to_string()).collect();
        assert_eq!(order, expected);
        asked.dedup();
        let mut names: Vec<_> = rows.iter().map(|row| row[0].1.to_owned()).collect();
        names.dedup();
        assert_eq!(asked, names);
    }

    #[test]
    fn floats_keep_their_order_as_integers() {
        let sorted = [f64::NEG_INFINITY, -2.5, -0.0, 0.0, 1e-300, 1.0, 10.0, f64::INFINITY];
        assert!(sorted.is_sorted_by(|a, b| ascending(*a) < ascending(*b)));
    }
}
