//! Writes a tree in the syntax of the `regex` crate, leaving nothing to that crate's own defaults.

use std::fmt::Write;

use super::ast::{Class, ClassItem, Look, Node};

/// What becomes of groups that capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Groups {
    /// Each is written as a plain, numbered one.
    Kept,
    /// They only hold together what they enclose. Matching is much cheaper without.
    Dropped,
}

/// The expression for the whole of a text.
pub(super) fn anchored(root: &Node, groups: Groups) -> String {
    let mut writer = Writer { out: String::from(r"\A(?:"), groups };
    writer.node(root);
    writer.out.push_str(r")\z");
    writer.out
}

struct Writer {
    out: String,
    groups: Groups,
}

impl Writer {
    fn node(&mut self, node: &Node) {
        match node {
            Node::Empty => self.out.push_str("(?:)"),
            Node::Literal { text, fold: false } => self.out.push_str(&regex::escape(text)),
            Node::Literal { text, fold: true } => put(&mut self.out, format_args!("(?i:{})", regex::escape(text))),
            Node::Any => self.out.push_str("(?s:.)"),
            Node::AnyNotNewline => self.out.push_str(r"[^\n]"),
            Node::Class(class) => write_class(&mut self.out, class),
            Node::Look(look) => self.out.push_str(match look {
                Look::TextStart => r"\A",
                Look::TextEnd => r"\z",
                Look::LineStart => "(?m:^)",
                Look::LineEnd => "(?m:$)",
                // Without Unicode, because RE2's words are ASCII words.
                Look::WordBoundary => r"(?-u:\b)",
                Look::NotWordBoundary => r"(?-u:\B)",
            }),
            Node::Capture(node) => self.group(if self.groups == Groups::Kept { "(" } else { "(?:" }, node),
            Node::Repeat { node, min, max, greedy } => {
                self.group("(?:", node);
                write_count(&mut self.out, *min, *max);
                if !greedy {
                    self.out.push('?');
                }
            }
            Node::Concat(nodes) => nodes.iter().for_each(|n| self.branch(n)),
            Node::Alternate(nodes) => {
                for (i, node) in nodes.iter().enumerate() {
                    if i > 0 {
                        self.out.push('|');
                    }
                    self.node(node);
                }
            }
        }
    }

    /// Writes a part of a concatenation, which an alternation must be fenced off from.
    fn branch(&mut self, node: &Node) {
        if matches!(node, Node::Alternate(_)) { self.group("(?:", node) } else { self.node(node) }
    }

    fn group(&mut self, open: &str, node: &Node) {
        self.out.push_str(open);
        self.node(node);
        self.out.push(')');
    }
}

fn write_count(out: &mut String, min: u32, max: Option<u32>) {
    match (min, max) {
        (0, None) => out.push('*'),
        (1, None) => out.push('+'),
        (0, Some(1)) => out.push('?'),
        (min, None) => put(out, format_args!("{{{min},}}")),
        (min, Some(max)) => put(out, format_args!("{{{min},{max}}}")),
    }
}

/// Writing to a string cannot fail.
fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

fn write_class(out: &mut String, class: &Class) {
    if class.fold {
        out.push_str("(?i:");
    }
    write_bracket(out, class);
    if class.fold {
        out.push(')');
    }
}

fn write_bracket(out: &mut String, class: &Class) {
    let mut items = String::new();
    class.items.iter().for_each(|item| write_item(&mut items, item));
    match (items.is_empty(), class.negated) {
        (true, false) => out.push_str(r"[^\x{0}-\x{10FFFF}]"),
        (true, true) => out.push_str(r"[\x{0}-\x{10FFFF}]"),
        (false, negated) => {
            out.push_str(if negated { "[^" } else { "[" });
            out.push_str(&items);
            out.push(']');
        }
    }
}

fn write_item(out: &mut String, item: &ClassItem) {
    match item {
        ClassItem::Range(lo, hi) => {
            // Text holds no surrogates, and the other syntax has no way to name them.
            let (lo, hi) = (char_from(*lo, 0xE000), char_from(*hi, 0xD7FF));
            if lo <= hi {
                put(out, format_args!(r"\x{{{lo:X}}}-\x{{{hi:X}}}"));
            }
        }
        ClassItem::Not(ranges) => {
            out.push_str("[^");
            ranges.iter().for_each(|(lo, hi)| put(out, format_args!(r"\x{{{lo:X}}}-\x{{{hi:X}}}")));
            out.push(']');
        }
        ClassItem::Property { name, negated } => {
            put(out, format_args!(r"\{}{{{name}}}", if *negated { 'P' } else { 'p' }));
        }
    }
}

fn char_from(code: u32, instead_of_surrogate: u32) -> u32 {
    if (0xD800..0xE000).contains(&code) { instead_of_surrogate } else { code }
}
