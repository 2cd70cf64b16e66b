//! From the labels of a line to the labels of a stored series.

use super::config::{JobConfig, NameValidation};
use super::rules::Rules;
use crate::exposition::SeriesLabels;
use crate::model::labels::{RawPairs, is_legacy_label_name, is_legacy_metric_name};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME};

const EXPORTED: &str = "exported_";
/// Lines with more labels are sorted instead of being compared label by label: no honest exporter writes them, and
/// another one could keep a thread busy for minutes with one line of some megabytes.
const COMPARED_MAX: usize = 64;

/// Everything of a job and a target that decides under which labels a line is stored.
pub(super) struct SampleRules {
    honor_labels: bool,
    target: Labels,
    rules: Rules,
    validation: NameValidation,
    label_limit: Option<u64>,
    name_length_limit: Option<u64>,
    value_length_limit: Option<u64>,
}

/// A line's labels fail the whole scrape.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum LabelError {
    #[error("missing metric name (__name__ label)")]
    NoName,
    #[error("invalid metric name or label names: {0}")]
    Invalid(String),
    #[error("label name {0:?} is not unique: invalid sample")]
    Repeated(String),
    #[error("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})")]
    Count { metric: String, count: usize, limit: u64 },
    #[error(
        "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {length}, limit: {limit})"
    )]
    NameLength { metric: String, name: String, length: usize, limit: u64 },
    #[error(
        "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {length}, limit: {limit})"
    )]
    ValueLength { metric: String, name: String, value: String, length: usize, limit: u64 },
}

impl LabelError {
    /// Whether one of the job's limits was exceeded.
    pub(super) fn is_limit(&self) -> bool {
        matches!(self, LabelError::Count { .. } | LabelError::NameLength { .. } | LabelError::ValueLength { .. })
    }
}

impl SampleRules {
    pub(super) fn new(job: &JobConfig, rules: Rules, target: Labels) -> SampleRules {
        SampleRules {
            honor_labels: job.honor_labels,
            target,
            rules,
            validation: job.name_validation,
            label_limit: job.label_limit,
            name_length_limit: job.label_name_length_limit,
            value_length_limit: job.label_value_length_limit,
        }
    }

    /// The labels under which a line is stored; `None` if the rules drop it.
    pub(super) fn apply(&self, line: &SeriesLabels, scratch: &mut LabelsBuilder) -> Result<Option<Labels>, LabelError> {
        let repeated = take_line(line, scratch);
        if self.honor_labels {
            self.add_missing_target_labels(line, scratch);
        } else {
            self.override_by_target_labels(line, scratch);
        }
        let keep = self.rules.apply(scratch);
        if !keep || scratch.is_empty() {
            return Ok(None);
        }
        if !scratch.has(METRIC_NAME) {
            return Err(LabelError::NoName);
        }
        let labels = scratch.labels();
        self.validate(&labels)?;
        self.check_limits(&labels)?;
        // A repeated name does no harm where the target's label or a rule has replaced it.
        if let Some(name) = repeated
            && labels.get(name).is_some()
            && labels.get(name) == line.get(name)
        {
            return Err(LabelError::Repeated(cut(name)));
        }
        Ok(Some(labels))
    }

    /// A label that the line mentions, even without a value, is the line's business.
    fn add_missing_target_labels(&self, line: &SeriesLabels, scratch: &mut LabelsBuilder) {
        for (name, value) in &self.target {
            if line.get(name).is_none() {
                scratch.set(name, value);
            }
        }
    }

    fn override_by_target_labels(&self, line: &SeriesLabels, scratch: &mut LabelsBuilder) {
        let mut conflicts: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &self.target {
            if (scratch.has(name) || line.has_empty_value())
                && let Some(exposed) = line.get(name).filter(|v| !v.is_empty())
            {
                conflicts.push((name, exposed));
            }
            scratch.set(name, value);
        }
        // Shorter names first, so that `job` becomes `exported_job` before an exposed `exported_job` has to move on.
        conflicts.sort_by_key(|(name, _)| name.len());
        for (name, value) in conflicts {
            let mut new_name = format!("{EXPORTED}{name}");
            while scratch.has(&new_name) {
                new_name.insert_str(0, EXPORTED);
            }
            scratch.set(&new_name, value);
        }
    }

    fn validate(&self, labels: &Labels) -> Result<(), LabelError> {
        let valid = match self.validation {
            NameValidation::Utf8 => RawPairs::over(labels.as_bytes()).all(|(name, _)| !name.is_empty()),
            NameValidation::Legacy => {
                labels.metric_name().is_some_and(is_legacy_metric_name)
                    && labels.iter().all(|(name, _)| is_legacy_label_name(name))
            }
        };
        if valid { Ok(()) } else { Err(LabelError::Invalid(cut_at(&labels.to_string(), 400))) }
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), LabelError> {
        let metric = || cut(labels.metric_name().unwrap_or_default());
        if let Some(limit) = self.label_limit {
            let count = labels.iter().count();
            if count as u64 > limit {
                return Err(LabelError::Count { metric: metric(), count, limit });
            }
        }
        if self.name_length_limit.is_none() && self.value_length_limit.is_none() {
            return Ok(());
        }
        for (name, value) in labels {
            if let Some(limit) = self.name_length_limit.filter(|&limit| name.len() as u64 > limit) {
                return Err(LabelError::NameLength { metric: metric(), name: cut(name), length: name.len(), limit });
            }
            if let Some(limit) = self.value_length_limit.filter(|&limit| value.len() as u64 > limit) {
                let (name, length) = (cut(name), value.len());
                return Err(LabelError::ValueLength { metric: metric(), name, value: cut(value), length, limit });
            }
        }
        Ok(())
    }

    /// The labels of a report series such as `up`.
    pub(super) fn report_labels(&self, name: &str) -> Labels {
        let mut builder = LabelsBuilder::new();
        builder.set(METRIC_NAME, name);
        for (label, value) in &self.target {
            // As in the reference: a target label takes the place of an earlier `exported_` namesake here.
            builder.del(&format!("{EXPORTED}{label}"));
            builder.set(label, value);
        }
        builder.labels()
    }
}

/// Sets `scratch` to the labels of a line: the first mention of a name counts, and one without value takes all of them
/// away. Returns a name that is mentioned more than once.
fn take_line<'a>(line: &'a SeriesLabels, scratch: &mut LabelsBuilder) -> Option<&'a str> {
    scratch.clear();
    if line.len() > COMPARED_MAX {
        return take_long_line(line, scratch);
    }
    let mut repeated = None;
    for (name, value) in line.iter() {
        if is_emptied(line, name) {
            continue;
        }
        if scratch.has(name) {
            repeated.get_or_insert(name);
        } else {
            scratch.push_new(name, value);
        }
    }
    repeated
}

/// The same in less than quadratic time.
fn take_long_line<'a>(line: &'a SeriesLabels, scratch: &mut LabelsBuilder) -> Option<&'a str> {
    let mut pairs: Vec<(&str, &str)> = line.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    let mut repeated = None;
    for mentions in pairs.chunk_by(|a, b| a.0 == b.0) {
        if mentions.iter().all(|(_, value)| !value.is_empty()) {
            let (name, value) = mentions[0];
            scratch.push_new(name, value);
            if mentions.len() > 1 {
                repeated = Some(name);
            }
        }
    }
    repeated
}

/// Whether some mention of `name` has no value; that takes all of them away.
fn is_emptied(line: &SeriesLabels, name: &str) -> bool {
    line.has_empty_value() && line.iter().any(|(n, v)| n == name && v.is_empty())
}

fn cut(text: &str) -> String {
    cut_at(text, 50)
}

fn cut_at(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Format;
    use crate::model::MetricType;

    #[test]
    fn long_lines_come_out_as_short_ones_do() {
        for mentions in [
            "z=\"1\",y=\"2\",x=\"3\"",
            "z=\"1\",y=\"2\",z=\"3\"",
            "z=\"1\",y=\"\",z=\"3\"",
            "z=\"1\",y=\"2\",z=\"\",z=\"4\"",
            "y=\"\",x=\"\"",
        ] {
            let mut line = SeriesLabels::new();
            line.decode(format!("m{{{mentions}}}").as_bytes(), Format::Text, MetricType::Unknown).expect("a good line");
            let (mut short, mut long) = (LabelsBuilder::new(), LabelsBuilder::new());
            assert_eq!(take_line(&line, &mut short), take_long_line(&line, &mut long), "{mentions}");
            assert_eq!(short.labels(), long.labels(), "{mentions}");
        }
    }
}
