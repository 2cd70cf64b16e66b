//! Rule files.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::ConfigErrors;
use super::fields::{At, Fields, Reader};
use super::labels::quoted;
use super::relabel::is_label_name;
use crate::model::{DurationMs, METRIC_NAME, labels};
use crate::promql::{ParserOptions, parse};
use crate::scrape::NameValidation;

/// The recording rules of a group.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordingGroup {
    /// Its name.
    pub name: String,
    /// Between evaluations, if it tells.
    pub interval: Option<DurationMs>,
    /// Its recording rules; alerting rules are left out.
    pub rules: Vec<RecordingRule>,
}

/// A recording rule.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordingRule {
    /// The name of what it makes.
    pub record: String,
    /// What is evaluated.
    pub expr: String,
    /// What its series get: the group's labels and its own.
    pub labels: BTreeMap<String, String>,
}

/// Reads the recording rules of a file, or tells every mistake in it.
pub fn recording_groups(path: &Path) -> Result<Vec<RecordingGroup>, ConfigErrors> {
    let reader = Reader::new(path, path.parent().unwrap_or(Path::new("")));
    let text = super::read_file(&reader, path);
    let groups = text.map(|text| check_text(&reader, &text, NameValidation::Utf8)).unwrap_or_default();
    match reader.finish().0 {
        mistakes if mistakes.is_empty() => Ok(groups),
        mistakes => Err(ConfigErrors::new(path, mistakes)),
    }
}

/// As [`recording_groups`], of a text.
pub fn recording_groups_str(text: &str) -> Result<Vec<RecordingGroup>, ConfigErrors> {
    let path = Path::new("<rules>");
    let reader = Reader::new(path, Path::new(""));
    let groups = check_text(&reader, text, NameValidation::Utf8);
    match reader.finish().0 {
        mistakes if mistakes.is_empty() => Ok(groups),
        mistakes => Err(ConfigErrors::new(path, mistakes)),
    }
}

/// Checks that the file holds groups of well-formed rules and gives every mistake to `main`.
pub(super) fn check_file(main: &Reader, path: &Path, names: NameValidation) {
    let reader = Reader::new(path, path.parent().unwrap_or(Path::new("")));
    if let Some(text) = super::read_file(&reader, path) {
        check_text(&reader, &text, names);
    }
    main.absorb(reader);
}

fn check_text(reader: &Reader, text: &str, names: NameValidation) -> Vec<RecordingGroup> {
    let Some(root) = reader.parse(text) else { return Vec::new() };
    let mut f = At::root(reader, &root).fields();
    let (mut seen, mut groups) = (HashSet::new(), Vec::new());
    for at in f.items("groups") {
        let mut group = at.fields();
        let name: String = group.take("name", String::new());
        if name.is_empty() && !group.has_faulty() {
            group.mistake("name", "Groupname must not be empty");
        } else if !seen.insert(name.clone()) {
            group.mistake("name", format!("groupname: {name:?} is repeated in the same file"));
        }
        let interval: DurationMs = group.take("interval", DurationMs(0));
        group.optional::<DurationMs>("query_offset");
        group.take("limit", 0i64);
        let mut rules: Vec<_> = group.items("rules").iter().filter_map(|rule| check_rule(rule, names)).collect();
        let labels = check_labels(&mut group, names);
        for rule in &mut rules {
            labels.iter().for_each(|(name, value)| {
                rule.labels.entry(name.clone()).or_insert_with(|| value.clone());
            });
        }
        group.finish();
        groups.push(RecordingGroup { name, interval: Some(interval).filter(|interval| interval.0 > 0), rules });
    }
    f.finish();
    groups
}

/// Checks a rule; returns it if it is a recording rule.
fn check_rule(at: &At<'_>, names: NameValidation) -> Option<RecordingRule> {
    let mut rule = at.fields();
    let record: String = rule.take("record", String::new());
    let alert: String = rule.take("alert", String::new());
    let expr: String = rule.take("expr", String::new());
    let wait = rule.take("for", DurationMs(0));
    let keep = rule.take("keep_firing_for", DurationMs(0));
    let labels = check_labels(&mut rule, names);
    let annotations: BTreeMap<String, String> = rule.take("annotations", BTreeMap::new());
    match (record.is_empty(), alert.is_empty()) {
        (false, false) => rule.mistake("alert", "only one of 'record' and 'alert' must be set"),
        (true, true) if !rule.has_faulty() => rule.mistake("record", "one of 'record' or 'alert' must be set"),
        _ => {}
    }
    if expr.is_empty() && !rule.has_faulty() {
        rule.mistake("expr", "field 'expr' must be set in rule");
    } else if let Err(error) = parse(&expr, &ParserOptions::ALL) {
        // Whether experiments are switched on is known only where rules run.
        rule.mistake("expr", format!("could not parse expression: {error}"));
    }
    if !record.is_empty() {
        let superfluous =
            [("annotations", !annotations.is_empty()), ("for", wait.0 != 0), ("keep_firing_for", keep.0 != 0)];
        for (key, _) in superfluous.into_iter().filter(|(_, given)| *given) {
            rule.mistake(key, format!("invalid field '{key}' in recording rule"));
        }
        check_record(&rule, &record, names);
    }
    for name in annotations.keys().filter(|n| !is_label_name(n, names)) {
        rule.mistake("annotations", format!("invalid annotation name: {name}"));
    }
    rule.finish();
    (!record.is_empty()).then_some(RecordingRule { record, expr, labels })
}

fn check_record(rule: &Fields<'_>, record: &str, names: NameValidation) {
    if names == NameValidation::Legacy && !labels::is_legacy_metric_name(record) {
        rule.mistake("record", format!("invalid recording rule name: {record}"));
    }
    if record.contains(['{', '}']) {
        let why = "braces present in the recording rule name; should it be in expr?";
        rule.mistake("record", format!("{why}: {record}"));
    }
}

fn check_labels(f: &mut Fields<'_>, names: NameValidation) -> BTreeMap<String, String> {
    let Some(at) = f.section("labels") else { return BTreeMap::new() };
    let mut labels = BTreeMap::new();
    for (name_at, value_at) in at.pairs() {
        let name = name_at.node.scalar().map(|s| s.text.as_str());
        let value = value_at.read::<String>();
        labels.extend(name.map(str::to_owned).zip(value));
        if !name.is_some_and(|n| is_label_name(n, names) && n != METRIC_NAME) {
            name_at.mistake(format!("invalid label name: {}", quoted(name_at.node)));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let reader = Reader::new(Path::new("r.yml"), Path::new(""));
        check_text(&reader, text, NameValidation::Utf8);
        reader.finish().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_has_no_mistakes() {
        let text = "groups:\n- name: a\n  interval: 30s\n  query_offset: 0s\n  limit: 5\n  labels: {team: x}\n  rules:\n  - record: 'job:x:sum'\n    expr: sum(x)\n  - alert: Down\n    expr: up == 0\n    for: 2m\n    keep_firing_for: 1m\n    labels: {severity: page}\n    annotations: {summary: 'it is down'}\n";
        assert_eq!(mistakes(text), Vec::<String>::new());
        assert_eq!(mistakes(""), Vec::<String>::new());
    }

    #[test]
    fn recording_rules_have_their_groups_labels_unless_they_set_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("rules.yml");
        let text = "groups:\n- name: g\n  interval: 30s\n  labels: {team: x, site: y}\n  rules:\n  - {record: r, expr: up, labels: {site: z}}\n  - {alert: A, expr: up}\n";
        std::fs::write(&path, text).unwrap();
        let groups = recording_groups(&path).unwrap();
        let labels = [("site", "z"), ("team", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let rule = RecordingRule { record: "r".to_owned(), expr: "up".to_owned(), labels: labels.into() };
        let expected = RecordingGroup { name: "g".to_owned(), interval: Some(DurationMs(30_000)), rules: vec![rule] };
        assert_eq!(groups, [expected]);
        std::fs::write(&path, "groups:\n- rules: []\n").unwrap();
        assert!(recording_groups(&path).unwrap_err().to_string().contains("Groupname must not be empty"));
    }

    #[test]
    fn every_mistake_of_a_file_is_told_at_its_place() {
        let text = "groups:\n- name: a\n  rules:\n  - record: x\n    alert: y\n    expr: up\n  - expr: up\n  - record: z\n    for: 1m\n  - alert: q\n    exprr: up\n- name: a\n  intervall: 5s\n- name: c\n  rules: [{record: r,\n    expr: up )}]\n";
        let told = mistakes(text);
        for (line, words) in [
            ("r.yml:5:12: groups[0].rules[0].alert:", "only one of 'record' and 'alert'"),
            ("r.yml:7:5: groups[0].rules[1].record:", "one of 'record' or 'alert'"),
            ("r.yml:9:10: groups[0].rules[2].for:", "invalid field 'for' in recording rule"),
            ("r.yml:8:5: groups[0].rules[2].expr:", "field 'expr' must be set"),
            ("r.yml:11:5: groups[0].rules[3].exprr:", "did you mean expr?"),
            ("r.yml:16:11: groups[2].rules[0].expr:", "could not parse expression: 1:5: parse error: unexpected"),
            ("r.yml:12:9: groups[1].name:", "is repeated in the same file"),
            ("r.yml:13:3: groups[1].intervall:", "did you mean interval?"),
        ] {
            assert!(told.iter().any(|t| t.starts_with(line) && t.contains(words)), "{line} {words} in {told:#?}");
        }
    }
}
