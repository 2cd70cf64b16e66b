//! `targets/relabel_steps`: what each rule of a job does to given labels.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Call;
use super::json::LabelMap;
use super::reply::{Answer, ApiError, ErrorKind};
use super::targets::job;
use crate::model::Labels;
use crate::relabel::{Program, RuleConfig, Verdict};

#[derive(Serialize)]
struct Steps<'a> {
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    rule: Rule<'a>,
    output: LabelMap<'a>,
    keep: bool,
}

#[derive(Serialize)]
struct Rule<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    source_labels: &'a [String],
    separator: &'a str,
    regex: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    modulus: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    target_label: &'a str,
    replacement: &'a str,
    action: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl<'a> Rule<'a> {
    fn of(rule: &'a RuleConfig) -> Rule<'a> {
        Rule {
            source_labels: &rule.source_labels,
            separator: &rule.separator,
            regex: rule.regex.as_str(),
            modulus: rule.modulus,
            target_label: &rule.target_label,
            replacement: &rule.replacement,
            action: rule.action.as_str(),
        }
    }
}

/// All rules of the job `scrapePool` with what they make of `labels`, a JSON object; those behind one that drops see nothing.
pub(super) fn steps(call: &Call) -> Result<Answer, ApiError> {
    let refused = |why: String| ApiError::new(ErrorKind::BadData, why);
    if call.form.first("scrapePool").is_empty() {
        return Err(refused("no scrapePool parameter provided".to_owned()));
    }
    let given = match call.form.first("labels") {
        "" => return Err(refused("no labels parameter provided".to_owned())),
        json => json,
    };
    let given: Option<BTreeMap<String, String>> =
        serde_json::from_str(given).map_err(|e| refused(format!("error parsing labels: {e}")))?;
    let given = given.unwrap_or_default();
    let labels = Labels::from_pairs(given.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let rules = job(call)?.relabel;
    let trace = Program::new(rules.clone()).trace(&labels);
    let empty = Labels::empty();
    let steps = rules.iter().enumerate().map(|(index, rule)| {
        let kept = trace.get(index).filter(|step| step.verdict == Verdict::Keep);
        let output = LabelMap(kept.map_or(&empty, |step| &step.after).as_bytes());
        Step { rule: Rule::of(rule), output, keep: kept.is_some() }
    });
    Ok(Answer::of(&Steps { steps: steps.collect() }))
}
