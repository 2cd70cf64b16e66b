//! Rules, prepared to run.

use md5::{Digest, Md5};

use super::case::{push_lower, push_upper};
use super::config::{Action, RuleConfig};
use crate::model::regex::{Regex, Template};
use crate::model::{Labels, LabelsBuilder, NameValidation};

/// How many labels a `labelmap` rule sets one after the other; a target with more may be up to no good.
const SET_ONE_BY_ONE_MAX: usize = 64;

/// What a program says of a target or series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// It stays, with the labels as they are now.
    Keep,
    /// It goes; its labels mean nothing any more.
    Drop,
}

/// What one rule did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which rule, counted from 0.
    pub rule: usize,
    /// What the rule does.
    pub action: Action,
    /// The labels that it saw.
    pub before: Labels,
    /// The labels that it left; the same where it dropped.
    pub after: Labels,
    /// What it said.
    pub verdict: Verdict,
}

/// A list of rules, prepared to run. It holds no state, so one program serves any number of threads.
#[derive(Clone, Debug, Default)]
pub struct Program {
    rules: Box<[Rule]>,
}

impl Program {
    /// Prepares rules that have been checked.
    pub fn new(rules: Vec<RuleConfig>) -> Program {
        Program { rules: rules.into_iter().map(Rule::new).collect() }
    }

    /// Whether there are no rules, so that everything is kept as it is.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Runs the rules in order until one drops.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> Verdict {
        let mut scratch = Scratch::default();
        for rule in &self.rules {
            if rule.apply(labels, &mut scratch) == Verdict::Drop {
                return Verdict::Drop;
            }
        }
        Verdict::Keep
    }

    /// Runs the rules as [`Program::apply`] does and tells what each one did; the last step is the one that dropped.
    pub fn trace(&self, labels: &Labels) -> Vec<Step> {
        let mut builder = LabelsBuilder::new();
        builder.reset(labels);
        let (mut scratch, mut before, mut steps) = (Scratch::default(), labels.clone(), Vec::new());
        for (index, rule) in self.rules.iter().enumerate() {
            let verdict = rule.apply(&mut builder, &mut scratch);
            let after = builder.labels();
            let step = Step { rule: index, action: rule.action, before, after: after.clone(), verdict };
            steps.push(step);
            if verdict == Verdict::Drop {
                break;
            }
            before = after;
        }
        steps
    }
}

/// Texts that rules build, kept from rule to rule.
#[derive(Default)]
struct Scratch {
    source: String,
    target: String,
    value: String,
}

#[derive(Clone, Debug)]
struct Rule {
    action: Action,
    source: Source,
    op: Op,
}

/// The joined values of some labels.
#[derive(Clone, Debug)]
struct Source {
    names: Box<[Box<str>]>,
    separator: Box<str>,
}

#[derive(Clone, Debug)]
enum Op {
    /// The verdict where the source matches; the other one where not.
    Match { regex: Regex, matching: Verdict },
    /// The verdict where source and target are equal; the other one where not.
    Equal { target: Box<str>, equal: Verdict },
    /// Sets a fixed label to a fixed value.
    SetConstant { regex: Regex, target: Box<str>, value: Box<str> },
    /// Sets a fixed label.
    Set { regex: Regex, target: Box<str>, value: Template },
    /// Sets a label whose name depends on the source.
    SetAny { regex: Regex, target: Template, value: Template, validation: NameValidation },
    /// Sets the target to the source's hash.
    HashMod { target: Box<str>, modulus: u64 },
    /// Sets the target to the source in another case.
    Case { target: Box<str>, push: fn(&mut String, &str) },
    /// Copies labels to other names.
    LabelMap { regex: Regex, name: Template },
    /// Keeps labels whose names match, or those whose names do not.
    Labels { regex: Regex, keep_matching: bool },
    /// Can do nothing: the rule's fixed target is no valid name.
    Nothing,
}

impl Source {
    /// The joined values; `buffer` is used only if there are several.
    fn value<'a>(&self, labels: &'a LabelsBuilder, buffer: &'a mut String) -> &'a str {
        match &*self.names {
            [] => "",
            [only] => labels.get(only),
            [first, others @ ..] => {
                buffer.clear();
                buffer.push_str(labels.get(first));
                for name in others {
                    buffer.push_str(&self.separator);
                    buffer.push_str(labels.get(name));
                }
                buffer
            }
        }
    }
}

impl Rule {
    fn new(config: RuleConfig) -> Rule {
        let source = Source {
            names: config.source_labels.iter().map(|name| name.as_str().into()).collect(),
            separator: config.separator.as_str().into(),
        };
        Rule { action: config.action, source, op: Op::new(config) }
    }

    fn apply(&self, labels: &mut LabelsBuilder, scratch: &mut Scratch) -> Verdict {
        let Scratch { source: buffer, target: built_target, value: built } = scratch;
        built.clear();
        let source = self.source.value(labels, buffer);
        match &self.op {
            Op::Match { regex, matching } => return choose(regex.is_match(source), *matching),
            Op::Equal { target, equal } => return choose(source == labels.get(target), *equal),
            Op::SetConstant { regex, target, value } => {
                if regex.is_match(source) {
                    labels.set(target, value);
                }
            }
            Op::Set { regex, target, value } => {
                if regex.expand_template(source, value, built) {
                    labels.set(target, built);
                }
            }
            Op::SetAny { regex, target, value, validation } => {
                built_target.clear();
                if let Some(captures) = regex.captures(source) {
                    captures.expand(target, built_target);
                    captures.expand(value, built);
                }
                // Without a match the target is empty, and no scheme takes that for a name.
                if validation.is_label_name(built_target) {
                    labels.set(built_target, built);
                }
            }
            Op::HashMod { target, modulus } => {
                let remainder = hash(source).checked_rem(*modulus).unwrap_or(0);
                labels.set(target, itoa::Buffer::new().format(remainder));
            }
            Op::Case { target, push } => {
                push(built, source);
                labels.set(target, built);
            }
            Op::LabelMap { regex, name } => map_labels(labels, regex, name),
            Op::Labels { regex, keep_matching } => labels.retain(|name, _| regex.is_match(name) == *keep_matching),
            Op::Nothing => {}
        }
        Verdict::Keep
    }
}

impl Op {
    fn new(config: RuleConfig) -> Op {
        let RuleConfig { action, regex, modulus, target_label, replacement, name_validation, .. } = config;
        let target: Box<str> = target_label.as_str().into();
        match action {
            Action::Replace => {
                let (name, value) = (Template::new(&target_label), Template::new(&replacement));
                match (name.constant(), value.constant()) {
                    (Some(target), _) if !name_validation.is_label_name(target) => Op::Nothing,
                    (Some(target), Some(value)) => {
                        Op::SetConstant { regex, target: target.into(), value: value.into() }
                    }
                    (Some(target), None) => Op::Set { regex, target: target.into(), value },
                    (None, _) => Op::SetAny { regex, target: name, value, validation: name_validation },
                }
            }
            Action::Keep => Op::Match { regex, matching: Verdict::Keep },
            Action::Drop => Op::Match { regex, matching: Verdict::Drop },
            Action::KeepEqual => Op::Equal { target, equal: Verdict::Keep },
            Action::DropEqual => Op::Equal { target, equal: Verdict::Drop },
            Action::HashMod => Op::HashMod { target, modulus },
            Action::LabelMap => Op::LabelMap { regex, name: Template::new(&replacement) },
            Action::LabelDrop => Op::Labels { regex, keep_matching: false },
            Action::LabelKeep => Op::Labels { regex, keep_matching: true },
            Action::Lowercase => Op::Case { target, push: push_lower },
            Action::Uppercase => Op::Case { target, push: push_upper },
        }
    }
}

fn choose(applies: bool, verdict: Verdict) -> Verdict {
    match (applies, verdict) {
        (true, verdict) => verdict,
        (false, Verdict::Keep) => Verdict::Drop,
        (false, Verdict::Drop) => Verdict::Keep,
    }
}

/// The last 8 bytes of the MD5, big endian.
fn hash(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().skip(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Copies the labels that were there before the rule, in order of name: where two are copied to one name, the last wins.
fn map_labels(labels: &mut LabelsBuilder, regex: &Regex, name: &Template) {
    let mut mapped: Vec<(String, String, String)> = Vec::new();
    for (old, value) in labels.iter() {
        let mut new = String::new();
        if regex.expand_template(old, name, &mut new) {
            mapped.push((old.to_owned(), new, value.to_owned()));
        }
    }
    mapped.sort_unstable();
    if mapped.len() <= SET_ONE_BY_ONE_MAX {
        return mapped.iter().for_each(|(_, new, value)| labels.set(new, value));
    }
    // Setting one label looks at all others, so many are merged by sorting. Where names are equal, what comes later wins.
    let before: Vec<(String, String)> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut all: Vec<(String, String)> = before;
    all.extend(mapped.into_iter().map(|(_, new, value)| (new, value)));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    labels.clear();
    for (name, value) in all.chunk_by(|a, b| a.0 == b.0).filter_map(|same| same.last()) {
        labels.push_new(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action) -> RuleConfig {
        RuleConfig {
            action,
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: Regex::new("(.*)").unwrap(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            name_validation: NameValidation::Utf8,
        }
    }

    impl RuleConfig {
        fn from(mut self, names: &str) -> RuleConfig {
            self.source_labels = names.split(',').map(str::to_owned).collect();
            self
        }
        fn regex(mut self, regex: &str) -> RuleConfig {
            self.regex = Regex::new(regex).unwrap();
            self
        }
        fn to(mut self, target: &str) -> RuleConfig {
            self.target_label = target.to_owned();
            self
        }
        fn with(mut self, replacement: &str) -> RuleConfig {
            self.replacement = replacement.to_owned();
            self
        }
        fn modulus(mut self, modulus: u64) -> RuleConfig {
            self.modulus = modulus;
            self
        }
        fn legacy(mut self) -> RuleConfig {
            self.name_validation = NameValidation::Legacy;
            self
        }
    }

    fn labels(text: &str) -> Labels {
        Labels::from_pairs(text.split(' ').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap()))
    }

    /// Runs the rules on `a=1 b=2` and expects the same form, or `None` for dropped.
    #[track_caller]
    fn check(before: &str, rules: Vec<RuleConfig>, after: Option<&str>) {
        let program = Program::new(rules);
        let mut builder = LabelsBuilder::new();
        builder.reset(&labels(before));
        let kept = (program.apply(&mut builder) == Verdict::Keep).then(|| builder.labels());
        assert_eq!(kept, after.map(labels));
        let steps = program.trace(&labels(before));
        let traced = steps
            .last()
            .is_none_or(|s| s.verdict == Verdict::Keep)
            .then(|| steps.last().map_or_else(|| labels(before), |s| s.after.clone()));
        assert_eq!(traced, kept, "the trace must come to the same end");
    }

    fn replace() -> RuleConfig {
        rule(Action::Replace)
    }

    #[test]
    fn replace_expands_groups_into_the_target() {
        let one = || replace().from("a").regex("f(.*)").to("d").with("ch${1}-ch${1}");
        check("a=foo b=bar", vec![one()], Some("a=foo b=bar d=choo-choo"));
        let two = vec![
            replace().from("a,b").regex("f(.*);(.*)r").to("a").with("b${1}${2}m"),
            replace().from("c,a").regex("(b).*b(.*)ba(.*)").to("d").with("$1$2$2$3"),
        ];
        check("a=foo b=bar c=baz", two, Some("a=boobam b=bar c=baz d=boooom"));
        check("a=boo", vec![replace().from("a").regex("f").to("b").with("bar")], Some("a=boo"));
        check("a=x\ny", vec![replace().from("a").regex("x.*y").to("b").with("match${1}")], Some("a=x\ny b=match"));
    }

    #[test]
    fn replace_with_an_empty_result_removes_the_target() {
        check("a=foo f=baz", vec![replace().from("a").regex("(f).*").to("$1").with("$2")], Some("a=foo"));
        check("a=foo d=x", vec![replace().from("absent").to("d")], Some("a=foo"));
        check("a=foo d=x", vec![replace().to("d").with("")], Some("a=foo"));
    }

    #[test]
    fn replace_without_sources_sets_a_constant() {
        check("a=1", vec![replace().to("site").with("cabin")], Some("a=1 site=cabin"));
        check("a=1", vec![replace().from("a,b").regex("1;").to("c").with("yes")], Some("a=1 c=yes"));
    }

    #[test]
    fn replace_leaves_invalid_target_names_alone() {
        let by_group = || replace().from("a").regex("some-([^-]+)-([^,]+)").with("${1}");
        check("a=some-name-0", vec![by_group().to("${3}")], Some("a=some-name-0"));
        check("a=some-name-0", vec![by_group().to("${2}").legacy()], Some("a=some-name-0"));
        check("a=some-name-0", vec![by_group().to("${2}")], Some("a=some-name-0 0=name"));
        check("a=some-name-value", vec![by_group().to("${2}").legacy()], Some("a=some-name-value value=name"));
        check("a=1", vec![replace().to("x.y").with("1").legacy()], Some("a=1"));
        check("a=1", vec![replace().to("x.y").with("1")], Some("a=1 x.y=1"));
    }

    #[test]
    fn replace_takes_apart_tag_lists() {
        let tag = |name: &str| replace().from("tags").regex(&format!("(?:.+,|^){name}:([^,]+).*"));
        let rules = vec![
            tag("path").to("__metrics_path__"),
            tag("job").to("job"),
            replace().from("tags").regex("(?:.+,|^)label:([^=]+)=([^,]+).*").to("${1}").with("${2}"),
        ];
        let program = Program::new(rules);
        let mut builder = LabelsBuilder::new();
        builder.set("tags", "path:/secret,job:some-job,label:foo=bar");
        assert_eq!(program.apply(&mut builder), Verdict::Keep);
        assert_eq!(builder.get("__metrics_path__"), "/secret");
        assert_eq!((builder.get("job"), builder.get("foo")), ("some-job", "bar"));
    }

    #[test]
    fn keep_and_drop_match_the_whole_joined_value() {
        let keep = |re: &str| vec![rule(Action::Keep).from("a").regex(re)];
        let drop = |re: &str| vec![rule(Action::Drop).from("a").regex(re)];
        check("a=foo", keep("f.*"), Some("a=foo"));
        check("a=foo", keep("no-match"), None);
        check("a=foo", keep("f|o"), None);
        check("a=foo", drop(".*o.*"), None);
        check("a=foo", drop("f|o"), Some("a=foo"));
        check("a=1 b=2", vec![rule(Action::Keep).from("a,b,c").regex("1;2;")], Some("a=1 b=2"));
        check("a=foo", vec![rule(Action::Drop).from("a"), replace().to("never").with("x")], None);
    }

    #[test]
    fn equality_actions_compare_with_the_target() {
        let both = "tmp=1234 p1=1234 p2=5678";
        check(both, vec![rule(Action::KeepEqual).from("tmp").to("p1")], Some(both));
        check(both, vec![rule(Action::KeepEqual).from("tmp").to("p2")], None);
        check(both, vec![rule(Action::DropEqual).from("tmp").to("p1")], None);
        check(both, vec![rule(Action::DropEqual).from("tmp").to("p2")], Some(both));
        check("a=1", vec![rule(Action::DropEqual).from("x").to("y")], None);
    }

    #[test]
    fn hashmod_is_the_end_of_the_md5() {
        let hash = |modulus| vec![rule(Action::HashMod).from("c").to("d").modulus(modulus)];
        check("c=baz", hash(1000), Some("c=baz d=976"));
        check("c=foo\nbar", hash(1000), Some("c=foo\nbar d=734"));
        check("a=1", hash(1), Some("a=1 d=0"));
    }

    #[test]
    fn labelmap_copies_what_was_there_before() {
        let map = |re: &str, to: &str| vec![rule(Action::LabelMap).regex(re).with(to)];
        check("a=1 b1=x b2=y", map("(b.*)", "bar_${1}"), Some("a=1 b1=x b2=y bar_b1=x bar_b2=y"));
        check("m_a=1 m_b=2", map("m_(.*)", "$1"), Some("m_a=1 m_b=2 a=1 b=2"));
        check("a=1 aa=2", map("(a+)", "a$1"), Some("a=1 aa=1 aaa=2"));
        check("x_b=2 x_a=1", map("x_.", "y"), Some("x_a=1 x_b=2 y=2"));
        // So many that they are merged by sorting: all old labels stay unless a copy replaces them.
        let old: String = (100..300).map(|i| format!("m_{i}=v{i} ")).collect();
        let copies: String = (100..300).map(|i| format!("{i}=v{i} ")).collect();
        check(&format!("{old}150=gone z=1"), map("m_(.*)", "$1"), Some(&format!("{old}{copies}z=1")));
        check(&old, map("m_.*", "y"), Some(&format!("{old}y=v299")));
    }

    #[test]
    fn labeldrop_and_labelkeep_look_at_names() {
        check("a=1 b1=2 b2=3", vec![rule(Action::LabelKeep).regex("(b.*)")], Some("b1=2 b2=3"));
        check("a=1 b1=2 b2=3", vec![rule(Action::LabelDrop).regex("(b.*)")], Some("a=1"));
        let reused = vec![
            rule(Action::LabelDrop).regex("^port_name$"),
            replace().from("port").regex("(.+)").to("port_name").with("metrics"),
            rule(Action::Keep).from("port_name").regex("^metrics$"),
        ];
        check("port=9091 port_name=foo", reused, Some("port=9091 port_name=metrics"));
    }

    #[test]
    fn case_actions_write_to_the_target() {
        let rules = vec![rule(Action::Uppercase).from("a").to("u"), rule(Action::Lowercase).from("a,u").to("l")];
        check("a=bAr1", rules, Some("a=bAr1 u=BAR1 l=bar1;bar1"));
        check("u=x", vec![rule(Action::Uppercase).from("absent").to("u")], Some(""));
    }

    #[test]
    fn a_trace_tells_what_each_step_did() {
        let program = Program::new(vec![
            replace().from("a").to("b"),
            rule(Action::LabelDrop).regex("a"),
            rule(Action::Drop).from("b").regex("1"),
            replace().to("never").with("x"),
        ]);
        let steps = program.trace(&labels("a=1"));
        let seen: Vec<_> = steps.iter().map(|s| (s.rule, s.action, s.after.to_string(), s.verdict)).collect();
        assert_eq!(
            seen,
            [
                (0, Action::Replace, r#"{a="1", b="1"}"#.to_owned(), Verdict::Keep),
                (1, Action::LabelDrop, r#"{b="1"}"#.to_owned(), Verdict::Keep),
                (2, Action::Drop, r#"{b="1"}"#.to_owned(), Verdict::Drop),
            ]
        );
        assert_eq!(steps[1].before, steps[0].after);
        assert!(Program::default().trace(&labels("a=1")).is_empty());
    }
}
