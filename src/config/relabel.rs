//! Relabel rules.

use super::fields::{At, Fields, unknown_word};
use super::render::Out;
use crate::model::labels::is_legacy_label_name;
use crate::model::regex::Regex;
use crate::relabel::{Action, RuleConfig};
use crate::scrape::NameValidation;

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];
const SEPARATOR: &str = ";";
const ANYTHING: &str = "(.*)";
const FIRST_GROUP: &str = "$1";

/// Takes the rules under `key`; an empty list item is refused with the sentence `empty`.
pub(super) fn read(f: &mut Fields<'_>, key: &'static str, names: NameValidation, empty: &str) -> Vec<RuleConfig> {
    let mut rules = Vec::new();
    let mut shown = Vec::new();
    for at in f.items(key) {
        if at.node.is_null() {
            at.mistake(empty);
            continue;
        }
        let (rule, out) = read_rule(&at, names);
        shown.push(out);
        rules.extend(rule);
    }
    if !shown.is_empty() {
        f.put(key, Out::Seq(shown));
    }
    rules
}

/// A rule as it was written, before its combinations are checked.
struct Raw {
    source_labels: Option<Vec<String>>,
    separator: String,
    /// `None` where it is not given; the default differs from the same text written out.
    regex: Option<String>,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: &'static str,
}

fn read_rule(at: &At<'_>, names: NameValidation) -> (Option<RuleConfig>, Out) {
    let mut f = at.fields();
    let source_labels = read_source_labels(&mut f);
    let separator = f.always("separator", SEPARATOR.to_owned());
    let regex_given = f.given("regex").is_some();
    let regex_text: String = f.always("regex", ANYTHING.to_owned());
    if !regex_given {
        f.put("regex", Out::Omit);
    }
    let modulus = f.take("modulus", 0);
    let target_label = f.take("target_label", String::new());
    let replacement = f.always("replacement", FIRST_GROUP.to_owned());
    let action = read_action(&mut f);
    let compiled = Regex::with_groups(&regex_text);
    if let Err(e) = &compiled {
        f.mistake("regex", format!("error parsing regexp: {}", one_line(&e.reason)));
    }
    let regex = regex_given.then_some(regex_text);
    let raw = Raw { source_labels, separator, regex, modulus, target_label, replacement, action: action.unwrap_or("") };
    if action.is_some() && !f.has_faulty() {
        for (key, why) in check(&raw, names) {
            f.mistake(key, why);
        }
    }
    let action = ACTIONS.iter().find(|(name, _)| *name == raw.action).map(|(_, a)| *a);
    let rule = action.zip(compiled.ok()).map(|(action, regex)| RuleConfig {
        action,
        source_labels: raw.source_labels.unwrap_or_default(),
        separator: raw.separator,
        regex,
        modulus: raw.modulus,
        target_label: raw.target_label,
        replacement: raw.replacement,
        name_validation: names,
    });
    (rule, f.finish().into_out())
}

/// The last line of a reason with a picture is the reason itself.
fn one_line(reason: &str) -> &str {
    let last = reason.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or(reason);
    last.strip_prefix("error: ").unwrap_or(last)
}

fn read_source_labels(f: &mut Fields<'_>) -> Option<Vec<String>> {
    let at = f.section("source_labels")?;
    let mut labels = Vec::new();
    for item in at.items() {
        match item.node.scalar().map(|s| s.text.as_str()) {
            Some(name) if !name.is_empty() && !item.node.is_null() => labels.push(name.to_owned()),
            _ => item.mistake(format!("{} is not a valid label name", super::labels::quoted(item.node))),
        }
    }
    if !labels.is_empty() {
        f.put("source_labels", Out::Flow(labels.clone()));
    }
    Some(labels)
}

fn read_action(f: &mut Fields<'_>) -> Option<&'static str> {
    let Some(at) = f.given("action") else {
        f.put("action", Out::Text("replace".into()));
        return Some("replace");
    };
    if at.node.is_null() {
        at.mistake(format!("relabel action cannot be empty; allowed: {}", ACTIONS.map(|(n, _)| n).join(", ")));
        return None;
    }
    let text = at.text()?;
    let found = ACTIONS.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(text));
    match found {
        Some(name) => f.put("action", Out::Text(name.to_owned())),
        None => at.mistake(unknown_word("relabel action", text, ACTIONS.iter().map(|(n, _)| *n))),
    }
    found
}

/// What is wrong with the combination of keys, and at which of them.
fn check(rule: &Raw, names: NameValidation) -> Vec<(&'static str, String)> {
    let action = rule.action;
    let mut wrong = Vec::new();
    let needs_target = matches!(action, "replace" | "hashmod" | "lowercase" | "uppercase" | "keepequal" | "dropequal");
    let plain_target = matches!(action, "hashmod" | "lowercase" | "uppercase" | "keepequal" | "dropequal");
    if action == "hashmod" && rule.modulus == 0 {
        wrong.push(("modulus", "relabel configuration for hashmod requires non-zero modulus".to_owned()));
    }
    let target = rule.target_label.as_str();
    if needs_target && target.is_empty() {
        wrong
            .push(("target_label", format!("relabel configuration for {action} action requires 'target_label' value")));
    } else if plain_target && !is_label_name(target, names) || action == "replace" && !is_label_template(target, names)
    {
        wrong.push(("target_label", format!("{target:?} is invalid 'target_label' for {action} action")));
    }
    if matches!(action, "lowercase" | "uppercase" | "keepequal" | "dropequal") && rule.replacement != FIRST_GROUP {
        wrong.push(("replacement", format!("'replacement' can not be set for {action} action")));
    }
    if action == "labelmap" && !is_template(&rule.replacement, names) {
        wrong.push(("replacement", format!("{:?} is invalid 'replacement' for {action} action", rule.replacement)));
    }
    wrong.extend(superfluous(rule));
    wrong
}

/// Keys that an action has no use for.
fn superfluous(rule: &Raw) -> Option<(&'static str, String)> {
    let action = rule.action;
    let equal = matches!(action, "dropequal" | "keepequal");
    let label = matches!(action, "labeldrop" | "labelkeep");
    let key = [
        ("source_labels", label && rule.source_labels.is_some()),
        ("target_label", label && !rule.target_label.is_empty()),
        ("regex", equal && rule.regex.is_some()),
        ("modulus", (equal || label) && rule.modulus != 0),
        ("separator", (equal || label) && rule.separator != SEPARATOR),
        // The other actions on equality have said so already.
        ("replacement", label && rule.replacement != FIRST_GROUP),
    ];
    let (key, _) = key.into_iter().find(|(_, given)| *given)?;
    let why = if equal {
        format!("{action} action requires only 'source_labels' and `target_label`, and no other fields")
    } else {
        format!("{action} action requires only 'regex', and no other fields")
    };
    Some((key, why))
}

/// Whether `name` is a label name under `names`.
pub(super) fn is_label_name(name: &str, names: NameValidation) -> bool {
    match names {
        NameValidation::Utf8 => !name.is_empty(),
        NameValidation::Legacy => is_legacy_label_name(name),
    }
}

/// A label name, or one with `$1` or `${name}` in it.
fn is_label_template(text: &str, names: NameValidation) -> bool {
    if text.contains('$') { is_template(text, names) } else { is_label_name(text, names) }
}

fn is_template(text: &str, names: NameValidation) -> bool {
    match names {
        NameValidation::Utf8 => !text.is_empty(),
        NameValidation::Legacy => is_legacy_template(text),
    }
}

/// Letters, digits, underscores and `$1` or `${name}`; no digit first.
fn is_legacy_template(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    let starts_well = rest.starts_with(|c: char| c == '$' || c == '_' || c.is_ascii_alphabetic());
    while let Some(c) = rest.chars().next() {
        rest = if c == '$' {
            let braced = rest.strip_prefix("${").and_then(|r| r.split_once('}'));
            let plain = rest[1..].split_at(rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1));
            let (name, tail) = braced.unwrap_or(plain);
            if name.is_empty() || !name.chars().all(is_word) {
                return false;
            }
            tail
        } else if is_word(c) {
            &rest[1..]
        } else {
            return false;
        };
    }
    starts_well
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_templates_allow_variables_and_no_digit_first() {
        for good in ["a", "_", "$1", "${1}", "a_${name}_b", "$1$2", "a1", "${1}0"] {
            assert!(is_legacy_template(good), "{good}");
        }
        for bad in ["", "1a", "$", "${}", "${a", "a-b", "a$", "${a-b}", "é", "$é"] {
            assert!(!is_legacy_template(bad), "{bad}");
        }
    }
}
