//! The syntax tree of an expression, with every flag already resolved into the nodes that it affects.

/// A part of an expression.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node {
    /// Matches the empty string.
    Empty,
    /// A run of characters; `fold` ignores case.
    Literal { text: String, fold: bool },
    /// Any one character.
    Any,
    /// Any one character but a newline.
    AnyNotNewline,
    /// One character out of a class.
    Class(Class),
    /// A condition on the position.
    Look(Look),
    /// A capturing group; its number is its place among the opening parentheses.
    Capture(Box<Node>),
    /// `min` to `max` copies; `None` is without end.
    Repeat { node: Box<Node>, min: u32, max: Option<u32>, greedy: bool },
    /// One after the other.
    Concat(Vec<Node>),
    /// The first of these that leads to a match.
    Alternate(Vec<Node>),
}

/// A condition on the position in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// Where the text begins.
    TextStart,
    /// Where the text ends.
    TextEnd,
    /// Where a line begins.
    LineStart,
    /// Where a line ends.
    LineEnd,
    /// Between an ASCII word character and something else.
    WordBoundary,
    /// Anywhere else.
    NotWordBoundary,
}

/// A set of characters: the union of its items, or the complement of that.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Class {
    /// Whether the complement is meant.
    pub negated: bool,
    /// Whether case is ignored.
    pub fold: bool,
    /// What is united.
    pub items: Vec<ClassItem>,
}

/// A part of a class.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum ClassItem {
    /// Code points from the first to the second. Surrogates may occur and match nothing.
    Range(u32, u32),
    /// Everything but these ASCII ranges: `\D`, `[:^alpha:]`.
    Not(&'static [(u8, u8)]),
    /// A Unicode category or script, by a name that the `regex` crate knows.
    Property { name: String, negated: bool },
}

impl Class {
    /// The members in ascending order, if they are no more than `limit` and can be listed without folding tables.
    pub(super) fn members(&self, limit: usize) -> Option<Vec<char>> {
        if self.negated {
            return None;
        }
        let mut members = Vec::new();
        for item in &self.items {
            let &ClassItem::Range(lo, hi) = item else { return None };
            if (hi - lo) as usize >= limit {
                return None;
            }
            members.extend((lo..=hi).filter_map(char::from_u32));
        }
        members.sort_unstable();
        members.dedup();
        let listable = members.len() <= limit && !(self.fold && members.iter().copied().any(has_case));
        listable.then_some(members)
    }
}

/// Whether ignoring case may make a difference to `c`. May say yes where it makes none.
pub(super) fn has_case(c: char) -> bool {
    !c.is_ascii() || c.is_ascii_alphabetic()
}
