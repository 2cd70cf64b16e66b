//! Regular expressions that mean what RE2 means.
//!
//! Prometheus's configuration and queries are written in RE2's syntax, and the `regex` crate's is another one: it knows
//! set operations inside of brackets, Unicode `\d` and `\w`, and it refuses a literal `{`. So an expression goes
//! through its own parser ([`parse`](self), RE2's grammar, limits and error texts), is held as a tree, and is written
//! anew in the crate's syntax. An expression is always anchored at both ends, `.` matches newlines.
//!
//! The law: whatever a fast path answers, the automaton would answer the same. Strings, sets of strings and strings
//! with gaps are decided by comparing bytes; the automaton is built only where it is needed. What building one takes is
//! bounded, in memory by the crate and in time by [`effort`](self); a search keeps a place for every group in every
//! state, so there are two: one that only matches and knows no groups, and one for [`Regex::captures`].
//!
//! Not here: searching inside of a text, and replacing parts of it. Nothing in Prometheus does that.

mod ast;
mod effort;
mod parse;
mod shape;
mod template;
mod translate;
mod unicode;

use std::sync::{Arc, OnceLock};

use self::ast::Node;
use self::effort::{MAX_EFFORT, effort};
use self::shape::Shape;
pub use self::template::Template;
use self::translate::Groups;

/// Most memory that a compiled expression may take. Ten times what the longest alternations of people's rules need.
const MAX_COMPILED_BYTES: usize = 64 << 20;
/// Most memory that the groups of a search may take: one thread has one such at a time.
const MAX_GROUP_BYTES: usize = 32 << 20;
/// Up to this length an expression without automaton puts off building one; anything it can hold is sure to compile.
const MAX_LAZY_LEN: usize = 4096;

/// An expression anchored at both ends, in RE2's syntax, `.` matching newlines. Cloning is a reference count.
///
/// ```
/// use watershed::model::regex::Regex;
/// let regex = Regex::new("node_(cpu|memory)_.+")?;
/// assert!(regex.is_match("node_cpu_seconds_total"));
/// assert!(!regex.is_match("a node_cpu_seconds_total"));
/// assert_eq!(regex.prefix(), "node_");
/// # Ok::<(), watershed::model::regex::RegexError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Regex(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pattern: Box<str>,
    shape: Shape,
    prefix: Box<str>,
    /// The names of the capturing groups from 1 on; empty for unnamed ones.
    group_names: Vec<String>,
    /// Whether each group holds the whole of every match, so that no automaton is needed to expand a template.
    groups_hold_all: bool,
    translated: Box<str>,
    automaton: OnceLock<Option<regex::Regex>>,
    /// The expression with its groups, if a search is needed to find them.
    with_groups: Option<Box<str>>,
    searcher: OnceLock<Option<regex::Regex>>,
}

/// Why an expression was refused, in the words of the reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}")]
pub struct RegexError {
    /// The expression as written.
    pub pattern: String,
    /// What is wrong with it, and in which part.
    pub reason: String,
}

impl Regex {
    /// Compiles `pattern`; fails for what RE2 refuses, for nesting deeper than 1000, and for what is too large.
    pub fn new(pattern: &str) -> Result<Regex, RegexError> {
        let parsed = parse::parse(pattern).map_err(|reason| refuse(pattern, reason))?;
        if effort(&parsed.root) > MAX_EFFORT {
            return Err(too_large(pattern));
        }
        let shape = Shape::of(&parsed.root, pattern.len());
        let put_off = shape.is_exact() || matches!(shape, Shape::FewFolded(_));
        let groups_hold_all = shape.is_exact() && groups_hold_all(&parsed.root, parsed.group_names.len());
        let inner = Inner {
            prefix: prefix(&shape, &parsed.root).into(),
            groups_hold_all,
            translated: translate::anchored(&parsed.root, Groups::Dropped).into(),
            with_groups: (!groups_hold_all && !parsed.group_names.is_empty())
                .then(|| translate::anchored(&parsed.root, Groups::Kept).into()),
            pattern: pattern.into(),
            shape,
            group_names: parsed.group_names,
            automaton: OnceLock::new(),
            searcher: OnceLock::new(),
        };
        if !(put_off && (pattern.len() <= MAX_LAZY_LEN || inner.groups_hold_all)) && inner.automaton().is_none() {
            return Err(too_large(pattern));
        }
        Ok(Regex(Arc::new(inner)))
    }

    /// As [`Regex::new`], for one whose groups will be asked for: fails also where there are too many of them.
    pub fn with_groups(pattern: &str) -> Result<Regex, RegexError> {
        let regex = Regex::new(pattern)?;
        if !regex.0.groups_hold_all && regex.0.searcher().is_none() {
            return Err(too_large(pattern));
        }
        Ok(regex)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.0.pattern
    }

    /// Whether the whole of `text` matches.
    #[inline]
    pub fn is_match(&self, text: &str) -> bool {
        match self.0.shape.decide(text) {
            Some(matches) => matches,
            None => text.starts_with(&*self.0.prefix) && self.0.automaton().is_some_and(|a| a.is_match(text)),
        }
    }

    /// The complete set of strings that match, each once, where it is finite and either has at most some
    /// hundred members or is written out as a list.
    pub fn literals(&self) -> Option<&[Box<str>]> {
        self.0.shape.literals()
    }

    /// A prefix that every match has; empty if there is none.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// If the whole of `text` matches, appends `template` with `$1`, `${name}` and `$$` expanded as Go does, and says true.
    pub fn expand(&self, text: &str, template: &str, out: &mut String) -> bool {
        self.expand_template(text, &Template::new(template), out)
    }

    /// As [`Regex::expand`], with a template that has been read before.
    pub fn expand_template(&self, text: &str, template: &Template, out: &mut String) -> bool {
        let matched = self.captures(text);
        if let Some(captures) = &matched {
            captures.expand(template, out);
        }
        matched.is_some()
    }

    /// The groups of a match of the whole of `text`. There are none for an expression that [`Regex::with_groups`]
    /// refuses.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'_, 't>> {
        let inner = &*self.0;
        let groups = if inner.groups_hold_all {
            self.is_match(text).then_some(Found::AllHold(text))?
        } else {
            if inner.shape.decide(text) == Some(false) || !text.starts_with(&*inner.prefix) {
                return None;
            }
            Found::Each(inner.searcher()?.captures(text)?)
        };
        Some(Captures { groups, names: &inner.group_names })
    }
}

impl Inner {
    /// The automaton; `None` if it would be too large, which `Regex::new` has found out where that is possible at all.
    fn automaton(&self) -> Option<&regex::Regex> {
        self.automaton.get_or_init(|| build(&self.translated, MAX_COMPILED_BYTES)).as_ref()
    }

    /// The automaton that finds groups; `None` if it would be too large.
    fn searcher(&self) -> Option<&regex::Regex> {
        let Some(translated) = &self.with_groups else { return self.automaton() };
        // A state takes at least 32 bytes, and two places of 8 bytes for each group in a search.
        let fits = MAX_GROUP_BYTES * 2 / (self.group_names.len() + 1);
        self.searcher.get_or_init(|| build(translated, fits.min(MAX_COMPILED_BYTES))).as_ref()
    }
}

fn build(translated: &str, max_bytes: usize) -> Option<regex::Regex> {
    let mut builder = regex::RegexBuilder::new(translated);
    builder.size_limit(max_bytes).nest_limit(8 * parse::MAX_DEPTH).build().ok()
}

fn refuse(pattern: &str, reason: String) -> RegexError {
    RegexError { pattern: pattern.to_owned(), reason }
}

fn too_large(pattern: &str) -> RegexError {
    refuse(pattern, parse::error("expression too large", pattern))
}

/// What the groups of an expression hold after a match.
#[derive(Debug)]
pub struct Captures<'r, 't> {
    groups: Found<'t>,
    names: &'r [String],
}

#[derive(Debug)]
enum Found<'t> {
    /// Group 0, and every other one that exists, holds the whole text.
    AllHold(&'t str),
    Each(regex::Captures<'t>),
}

impl<'t> Captures<'_, 't> {
    /// What group `number` holds; `None` if it does not exist or took no part.
    pub fn group(&self, number: usize) -> Option<&'t str> {
        match &self.groups {
            Found::AllHold(text) => (number <= self.names.len()).then_some(*text),
            Found::Each(captures) => captures.get(number).map(|m| m.as_str()),
        }
    }

    /// What the first group of that name that took part holds.
    pub fn named(&self, name: &str) -> Option<&'t str> {
        let numbers = self.names.iter().enumerate().filter(|(_, n)| *n == name).map(|(i, _)| i + 1);
        numbers.filter_map(|number| self.group(number)).next()
    }

    /// Appends `template` with its variables replaced; a group that does not exist or took no part leaves nothing.
    pub fn expand(&self, template: &Template, out: &mut String) {
        template.expand(self, out);
    }
}

/// Whether every capturing group encloses the whole expression, as in `(.*)`.
fn groups_hold_all(root: &Node, groups: usize) -> bool {
    let (mut node, mut found) = (root, 0);
    while let Node::Capture(inner) = node {
        (node, found) = (inner, found + 1);
    }
    found == groups
}

/// The longest prefix that is known.
fn prefix(shape: &Shape, root: &Node) -> String {
    match shape.literals() {
        Some([only]) => only.to_string(),
        _ => shape::prefix(root),
    }
}

#[cfg(test)]
mod tests;
