//! `watershed tsdb create-blocks-from rules`.
//!
//! A server evaluates each rule over the past, block by block; what comes back is written under the rule's name. A rule that
//! reads another new one finds nothing of it: import the first one's blocks before the second one's.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use url::Url;

use super::growing::Growing;
use super::{DEFAULT_DIR, Failure, import, printer};
use crate::cli::query::{self, Source};
use crate::config::{RecordingGroup, RecordingRule, recording_groups};
use crate::disk::Disk;
use crate::model::{DurationMs, Labels, LabelsBuilder, METRIC_NAME};
use crate::runtime::Clock;
use crate::tsdb::block::BlockError;

/// Samples of the last hours are still to come; they are left to the server itself.
const BEFORE_NOW: i64 = 3 * 3600 * 1000;

/// Which rules, when, and who evaluates them.
#[derive(Args, Debug)]
pub(in crate::cli) struct FromRules {
    /// Print times and sizes for people.
    #[arg(short = 'r', long)]
    human_readable: bool,
    /// Do not print the blocks that were made.
    #[arg(short, long)]
    quiet: bool,
    /// The server that has the data.
    #[arg(long, default_value = "http://localhost:9090", value_parser = query::server)]
    url: Url,
    /// A header that is sent along; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = query::header)]
    headers: Vec<(String, String)>,
    /// From when (Unix seconds or RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = query::time)]
    start: Timestamp,
    /// Until when (Unix seconds or RFC 3339); three hours ago by default.
    #[arg(long, value_name = "TIME", value_parser = query::time)]
    end: Option<Timestamp>,
    /// Where the blocks go.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    output_dir: PathBuf,
    /// How often rules are evaluated whose group does not tell.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    eval_interval: DurationMs,
    /// Longest time a block may span; less than 2h is ignored.
    #[arg(long, value_name = "DURATION", default_value = "2h", hide = true)]
    max_block_duration: DurationMs,
    /// Files of rules. Alerting rules are left out.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Makes the blocks.
pub(super) fn run(out: &mut impl Write, disk: Arc<dyn Disk>, from: &FromRules) -> Result<(), Failure> {
    let mut groups = Vec::new();
    for file in &from.files {
        let of_file = recording_groups(file).map_err(Failure::other)?;
        groups.extend(of_file.into_iter().map(|group| Group::new(group, file, from.eval_interval)));
    }
    let end = from.end.map_or(Clock::system().now().0 - BEFORE_NOW, |end| end.as_second() * 1000);
    let start = from.start.as_second() * 1000;
    if start >= end {
        return Err(Failure::other("the start is not before the end"));
    }
    let source = Source::new(from.url.clone(), &from.headers).map_err(Failure::Other)?;
    let output = &from.output_dir;
    disk.create_dir_all(output).map_err(|source| BlockError::Disk { path: output.clone(), source })?;
    let mut made = printer(out, output, from.human_readable, from.quiet);
    let duration = import::block_duration(from.max_block_duration);
    let mut block = start.div_euclid(duration) * duration;
    while block <= end {
        let span = [block.max(start), (block + duration - 1000).min(end)];
        let series = evaluated(&source, &groups, span, duration)?;
        import::write_block(&disk, output, series.into_iter(), &mut made)?;
        block += duration;
    }
    Ok(())
}

/// A group whose interval is known.
struct Group {
    group: RecordingGroup,
    interval: i64,
    /// Milliseconds after multiples of the interval at which it is evaluated, as the reference spreads groups.
    offset: i64,
}

impl Group {
    fn new(group: RecordingGroup, file: &std::path::Path, default: DurationMs) -> Group {
        let interval = group.interval.unwrap_or(default).0.max(1);
        let identity = Labels::from_pairs([("name", &*group.name), ("file", &*file.to_string_lossy())]);
        // The reference counts nanoseconds; the server that it asks rounds them.
        let nanos = identity.stable_hash() % (interval as u64 * 1_000_000);
        Group { group, interval, offset: ((nanos + 500_000) / 1_000_000) as i64 }
    }

    /// The first evaluation at `t` or later.
    fn first_from(&self, t: i64) -> i64 {
        let before = (t - self.offset).div_euclid(self.interval) * self.interval + self.offset;
        if before < t { before + self.interval } else { before }
    }
}

/// What all rules give over the span of a block.
fn evaluated(
    source: &Source,
    groups: &[Group],
    [start, end]: [i64; 2],
    duration: i64,
) -> Result<HashMap<Labels, Growing>, Failure> {
    let mut all: HashMap<Labels, Growing> = HashMap::new();
    for group in groups {
        let first = group.first_from(start);
        for rule in group.group.rules.iter().filter(|_| first <= end) {
            let told = |why: &dyn std::fmt::Display| {
                Failure::Other(format!("group {:?}, rule {:?}: {why}", group.group.name, rule.record))
            };
            let found = source.floats(&rule.expr, [first, end, group.interval]).map_err(|why| told(&why))?;
            for (labels, samples) in found {
                let series = all.entry(labelled(rule, &labels)).or_default();
                for (t, v) in samples {
                    // The reference makes its head believe that blocks are twice as long, and spreads chunks over that.
                    series.push(t, v, 2 * duration).map_err(|why| told(&why))?;
                }
            }
        }
    }
    Ok(all)
}

/// The labels of what a rule records.
fn labelled(rule: &RecordingRule, labels: &[(String, String)]) -> Labels {
    let mut builder = LabelsBuilder::new();
    labels.iter().for_each(|(name, value)| builder.set(name, value));
    rule.labels.iter().for_each(|(name, value)| builder.set(name, value));
    builder.set(METRIC_NAME, &rule.record);
    builder.labels()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_evaluated_at_times_of_their_own() {
        let group = RecordingGroup { name: "g".to_owned(), interval: None, rules: Vec::new() };
        let group = Group::new(group, std::path::Path::new("f.yml"), DurationMs(60_000));
        assert!((0..=60_000).contains(&group.offset));
        for t in [0, 1, 59_999, 60_000, 1_700_000_000_123, -5] {
            let first = group.first_from(t);
            assert!(first >= t && first < t + 60_000 && (first - group.offset) % 60_000 == 0, "{t}: {first}");
        }
    }

    #[test]
    fn a_rules_labels_win_and_its_name_stands_for_the_metrics() {
        let labels = [("a", "rule")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let rule = RecordingRule { record: "r:sum".to_owned(), expr: "x".to_owned(), labels: labels.into() };
        let found = [("__name__", "x"), ("a", "1"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(labelled(&rule, &found).to_string(), "r:sum{a=\"rule\", b=\"2\"}");
    }
}
