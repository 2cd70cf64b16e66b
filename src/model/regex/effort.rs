//! How much work compiling an expression is, told from its tree.
//!
//! The `regex` crate limits the size of what it builds, and notices that only while it builds. An expression of a megabyte
//! can keep it busy for many seconds before. A unit here is some hundred nanoseconds there.

use super::ast::{Class, ClassItem, Node};

/// The most that is compiled: a second or so. The longest alternations that fit a pattern need a quarter of it.
pub(super) const MAX_EFFORT: u64 = 4 << 20;

/// A range of characters that are written in one byte.
const ASCII_RANGE: u64 = 4;
/// One beyond, for the sequences of bytes that it stands for.
const WIDE_RANGE: u64 = 16;
/// The ranges of the larger categories and scripts.
const PROPERTY: u64 = 650;
/// Looking up which letters differ in case alone.
const FOLD: u64 = 4;

/// The units for a part of an expression; at least one.
pub(super) fn effort(node: &Node) -> u64 {
    match node {
        Node::Empty | Node::Look(_) => 1,
        Node::Literal { text, fold } => (text.len() as u64).max(1).saturating_mul(folding(*fold)),
        Node::Any | Node::AnyNotNewline => WIDE_RANGE,
        Node::Class(class) => of_class(class),
        Node::Capture(node) => effort(node).saturating_add(1),
        Node::Repeat { node, min, max, .. } => {
            let copies = u64::from(max.unwrap_or(*min).max(*min).max(1));
            effort(node).saturating_add(1).saturating_mul(copies)
        }
        Node::Concat(nodes) | Node::Alternate(nodes) => {
            nodes.iter().fold(1, |sum, node| u64::saturating_add(sum, effort(node)))
        }
    }
}

fn of_class(class: &Class) -> u64 {
    let items = class.items.iter().map(|item| match item {
        ClassItem::Range(_, hi) if *hi < 0x80 => ASCII_RANGE,
        ClassItem::Range(..) | ClassItem::Not(_) => WIDE_RANGE,
        ClassItem::Property { .. } => PROPERTY,
    });
    let complement = if class.negated { WIDE_RANGE } else { 1 };
    items.fold(complement, u64::saturating_add).saturating_mul(folding(class.fold))
}

fn folding(fold: bool) -> u64 {
    if fold { FOLD } else { 1 }
}
