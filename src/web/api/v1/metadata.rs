//! `metadata` (by metric) and `targets/metadata` (by target).

use std::collections::BTreeMap;

use serde::Serialize;

use super::Call;
use super::json::LabelMap;
use super::reply::{Answer, ApiError};
use crate::model::Metadata;

#[derive(Serialize)]
struct Told<'a> {
    r#type: &'static str,
    unit: &'a str,
    help: &'a str,
}

#[derive(Serialize)]
struct ToldByTarget<'a> {
    target: LabelMap<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<&'a str>,
    r#type: &'static str,
    help: &'a str,
    unit: &'a str,
}

/// What was told about each metric, equal things once. `limit` limits metrics, `limit_per_metric` the things.
pub(super) fn of_metrics(call: &Call) -> Result<Answer, ApiError> {
    let limit = call.form.count("limit")?.unwrap_or(usize::MAX);
    // Unlike for `limit`, 0 means no limit here; so the reference has it.
    let per_metric = call.form.count("limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
    let told = call.web.deps.targets.metadata(wanted_metric(call));
    let mut by_metric: BTreeMap<&str, Vec<&Metadata>> = BTreeMap::new();
    for one in &told {
        let things = by_metric.entry(&one.metric).or_default();
        if things.len() < per_metric && !things.contains(&&one.metadata) {
            things.push(&one.metadata);
        }
    }
    let shown: BTreeMap<_, Vec<_>> = by_metric
        .into_iter()
        .take(limit)
        .map(|(metric, things)| (metric, things.into_iter().map(Told::of).collect()))
        .collect();
    Ok(Answer::of(&shown))
}

/// What each target that satisfies `match_target` told. `limit` is looked at between targets, as in the reference: one
/// target's metrics are never cut.
pub(super) fn of_targets(call: &Call) -> Result<Answer, ApiError> {
    let limit = call.form.count("limit")?.unwrap_or(usize::MAX);
    let selector = call.form.selector("match_target")?;
    let metric = wanted_metric(call);
    let told = call.web.deps.targets.metadata(metric);
    let mut shown: Vec<ToldByTarget<'_>> = Vec::new();
    for of_one_target in told.chunk_by(|a, b| a.target == b.target) {
        if shown.len() >= limit {
            break;
        }
        let target = &of_one_target[0].target;
        if !crate::model::Matcher::all_match(&selector, target.as_bytes()) {
            continue;
        }
        shown.extend(of_one_target.iter().map(|one| ToldByTarget {
            target: LabelMap(target.as_bytes()),
            metric: metric.is_none().then_some(one.metric.as_str()),
            r#type: one.metadata.metric_type.as_str(),
            help: &one.metadata.help,
            unit: &one.metadata.unit,
        }));
    }
    Ok(Answer::of(&shown))
}

fn wanted_metric(call: &Call) -> Option<&str> {
    Some(call.form.first("metric")).filter(|m| !m.is_empty())
}

impl<'a> Told<'a> {
    fn of(metadata: &'a Metadata) -> Told<'a> {
        Told { r#type: metadata.metric_type.as_str(), unit: &metadata.unit, help: &metadata.help }
    }
}
