//! What of an expression can be decided without an automaton.
//!
//! Most expressions that people write on labels are a few strings, or strings with gaps: `a|b`, `(api|web)-[12]`,
//! `.*foo.*`, `node_.+_total`. Such an expression is multiplied out into alternatives, each a sequence of strings and
//! gaps. What cannot be multiplied out within small limits is left to the automaton, after a check of the prefix that
//! every match must have.

use hashbrown::HashSet;
use memchr::memmem::Finder;

use super::ast::{Look, Node};

/// How many strings a product may grow to. A list that is written out may be longer, see [`MAX_GROWTH`].
const MAX_PRODUCT: usize = 256;
/// By how much the strings together may be longer than the expression, where there are more of them.
const MAX_GROWTH: usize = 4;
/// How many alternatives with gaps are tried one after the other; beyond, an automaton is faster.
const MAX_GLOBS: usize = 16;
/// Up to how many strings are compared one by one; beyond, hashing the text is faster.
const MAX_LINEAR: usize = 8;
/// How many parts an alternative has.
const MAX_PARTS: usize = 64;
/// How many members of a bracket expression count as strings.
const MAX_CLASS: usize = 64;

/// How a text is decided.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// It matches if it is one of these few.
    Few(Box<[Box<str>]>),
    /// It matches if it is one of these many, which are also listed in their order.
    Many { set: HashSet<Box<str>, rapidhash::fast::RandomState>, list: Box<[Box<str>]> },
    /// It matches if it is one of these ASCII strings but for the case of letters. A text that is not ASCII is left to
    /// the automaton, because some letters beyond ASCII fold to `k` and `s`.
    FewFolded(Box<[Box<str>]>),
    /// It matches if it fits one of these.
    Globs(Box<[Glob]>),
    /// Only the automaton can tell.
    Automaton,
}

impl Shape {
    /// Works out the shape of an expression of `len` bytes that is anchored at both ends.
    pub(super) fn of(root: &Node, len: usize) -> Shape {
        let max_bytes = MAX_GROWTH * len;
        if !Extent::of(root, max_bytes).is_some_and(|extent| extent.is_allowed(max_bytes)) {
            return Shape::Automaton;
        }
        let Some(alternatives) = multiply_out(root) else { return Shape::Automaton };
        let Some(alternatives) = alternatives.into_iter().map(strip_anchors).collect::<Option<Vec<_>>>() else {
            return Shape::Automaton;
        };
        let parts = || alternatives.iter().flatten();
        if parts().any(|p| matches!(p, Part::Text { fold: true, .. })) {
            return folded(&alternatives).unwrap_or(Shape::Automaton);
        }
        if parts().any(|p| matches!(p, Part::Gap { .. })) {
            return Shape::Globs(alternatives.iter().map(|a| Glob::new(a)).collect());
        }
        literals(&alternatives)
    }

    /// Whether `text` matches; `None` if the automaton must tell.
    #[inline]
    pub(super) fn decide(&self, text: &str) -> Option<bool> {
        match self {
            Shape::Few(list) => Some(list.iter().any(|l| **l == *text)),
            Shape::Many { set, .. } => Some(set.contains(text)),
            Shape::FewFolded(list) => {
                if list.iter().any(|l| l.eq_ignore_ascii_case(text)) {
                    Some(true)
                } else {
                    text.is_ascii().then_some(false)
                }
            }
            Shape::Globs(globs) => Some(globs.iter().any(|g| g.matches(text))),
            Shape::Automaton => None,
        }
    }

    /// The strings that match, if they are all there is.
    pub(super) fn literals(&self) -> Option<&[Box<str>]> {
        match self {
            Shape::Few(list) | Shape::Many { list, .. } => Some(list),
            _ => None,
        }
    }

    /// Whether the automaton is never asked.
    pub(super) fn is_exact(&self) -> bool {
        !matches!(self, Shape::Automaton | Shape::FewFolded(_))
    }
}

/// A piece of an alternative.
#[derive(Clone, PartialEq, Debug)]
enum Part {
    Text {
        text: String,
        fold: bool,
    },
    /// Any text of at least so many characters.
    Gap {
        min: usize,
    },
    /// The text's beginning or end, which may turn out to be where it is anyway.
    Start,
    End,
}

type Alternative = Vec<Part>;

/// How much an expression comes to when it is multiplied out.
#[derive(Clone, Copy)]
struct Extent {
    alternatives: usize,
    /// Of all alternatives together.
    bytes: usize,
    has_gaps: bool,
}

impl Extent {
    const NOTHING: Extent = Extent { alternatives: 0, bytes: 0, has_gaps: false };
    const EMPTY: Extent = Extent { alternatives: 1, bytes: 0, has_gaps: false };

    /// `None` for what cannot be multiplied out, or is found to be too much on the way.
    fn of(node: &Node, max_bytes: usize) -> Option<Extent> {
        match node {
            Node::Empty | Node::Look(Look::TextStart | Look::TextEnd) => Some(Extent::EMPTY),
            Node::Literal { text, .. } => Some(Extent { bytes: text.len(), ..Extent::EMPTY }),
            Node::Class(class) => {
                let alternatives = class.members(MAX_CLASS)?.len();
                Some(Extent { alternatives, bytes: alternatives, has_gaps: false })
            }
            Node::Look(_) | Node::Any | Node::AnyNotNewline => None,
            Node::Capture(node) => Extent::of(node, max_bytes),
            Node::Repeat { node, max: None, .. } => is_any(node).then_some(Extent { has_gaps: true, ..Extent::EMPTY }),
            Node::Repeat { node, min, max: Some(max), .. } => {
                let unit = Extent::of(node, max_bytes)?;
                let mut copies = Extent::EMPTY;
                let mut all = if *min == 0 { Extent::EMPTY } else { Extent::NOTHING };
                for n in 1..=*max {
                    copies = copies.times(unit).filter(|e| e.is_allowed(max_bytes))?;
                    all = if n >= *min { all.plus(copies) } else { all };
                }
                Some(all)
            }
            Node::Concat(nodes) => nodes.iter().try_fold(Extent::EMPTY, |all, node| {
                all.times(Extent::of(node, max_bytes)?).filter(|e| e.is_allowed(max_bytes))
            }),
            Node::Alternate(nodes) => {
                nodes.iter().try_fold(Extent::NOTHING, |all, node| Some(all.plus(Extent::of(node, max_bytes)?)))
            }
        }
    }

    fn plus(self, other: Extent) -> Extent {
        Extent {
            alternatives: self.alternatives.saturating_add(other.alternatives),
            bytes: self.bytes.saturating_add(other.bytes),
            has_gaps: self.has_gaps || other.has_gaps,
        }
    }

    fn times(self, other: Extent) -> Option<Extent> {
        let own = self.bytes.checked_mul(other.alternatives)?;
        Some(Extent {
            alternatives: self.alternatives.checked_mul(other.alternatives)?,
            bytes: own.checked_add(other.bytes.checked_mul(self.alternatives)?)?,
            has_gaps: self.has_gaps || other.has_gaps,
        })
    }

    fn is_allowed(self, max_bytes: usize) -> bool {
        match self.has_gaps {
            true => self.alternatives <= MAX_GLOBS,
            false => self.alternatives <= MAX_PRODUCT || self.bytes <= max_bytes,
        }
    }
}

/// All alternatives of an expression whose extent has been found small enough.
fn multiply_out(node: &Node) -> Option<Vec<Alternative>> {
    let one = |part| Some(vec![vec![part]]);
    match node {
        Node::Empty => Some(vec![Vec::new()]),
        Node::Literal { text, fold } => one(Part::Text { text: text.clone(), fold: *fold }),
        Node::Class(class) => {
            let members = class.members(MAX_CLASS)?;
            Some(members.into_iter().map(|c| vec![Part::Text { text: c.into(), fold: false }]).collect())
        }
        Node::Look(Look::TextStart) => one(Part::Start),
        Node::Look(Look::TextEnd) => one(Part::End),
        Node::Look(_) | Node::Any | Node::AnyNotNewline => None,
        Node::Capture(node) => multiply_out(node),
        Node::Repeat { node, min, max: None, .. } => is_any(node).then(|| vec![vec![Part::Gap { min: *min as usize }]]),
        Node::Repeat { node, min, max: Some(max), .. } => {
            let unit = multiply_out(node)?;
            let mut copies = vec![Vec::new()];
            let mut all = if *min == 0 { copies.clone() } else { Vec::new() };
            for n in 1..=*max {
                copies = product(copies, &unit)?;
                if n >= *min {
                    all.extend_from_slice(&copies);
                }
            }
            Some(all)
        }
        Node::Concat(nodes) => nodes.iter().try_fold(vec![Vec::new()], |all, node| product(all, &multiply_out(node)?)),
        Node::Alternate(nodes) => {
            let mut all = Vec::new();
            for node in nodes {
                all.append(&mut multiply_out(node)?);
            }
            Some(all)
        }
    }
}

fn is_any(node: &Node) -> bool {
    match node {
        Node::Any => true,
        Node::Capture(node) => is_any(node),
        _ => false,
    }
}

/// Appends each of the alternatives of `right` to each of those of `left`.
fn product(mut left: Vec<Alternative>, right: &[Alternative]) -> Option<Vec<Alternative>> {
    let append = |l: &mut Alternative, r: &Alternative| r.iter().for_each(|part| push_part(l, part));
    let all = match right {
        [only] if only.is_empty() => return Some(left),
        // In place, so that a long concatenation costs no copy per part.
        [only] => {
            left.iter_mut().for_each(|l| append(l, only));
            left
        }
        _ => {
            let pairs = left.iter().flat_map(|l| right.iter().map(move |r| (l, r)));
            let joined = pairs.map(|(l, r)| {
                let mut joined = l.clone();
                append(&mut joined, r);
                joined
            });
            joined.collect()
        }
    };
    all.iter().all(|a| a.len() <= MAX_PARTS).then_some(all)
}

/// Adds a part, to the last one if both are of a kind.
fn push_part(alternative: &mut Alternative, part: &Part) {
    match (alternative.last_mut(), part) {
        (Some(Part::Text { text, fold }), Part::Text { text: more, fold: f }) if *fold == *f => text.push_str(more),
        (Some(Part::Gap { min }), Part::Gap { min: more }) => *min += more,
        _ => alternative.push(part.clone()),
    }
}

/// Takes away anchors that stand where the whole expression is anchored; with any other one, `None`.
fn strip_anchors(mut alternative: Alternative) -> Option<Alternative> {
    let leading = alternative.iter().take_while(|p| **p == Part::Start).count();
    alternative.drain(..leading);
    while alternative.last() == Some(&Part::End) {
        alternative.pop();
    }
    (!alternative.iter().any(|p| matches!(p, Part::Start | Part::End))).then_some(alternative)
}

fn literals(alternatives: &[Alternative]) -> Shape {
    let mut list: Vec<Box<str>> = Vec::with_capacity(alternatives.len());
    let mut set = HashSet::default();
    for alternative in alternatives {
        let text: String = alternative.iter().map(text_of).collect();
        if set.insert(text.clone().into_boxed_str()) {
            list.push(text.into());
        }
    }
    match list.len() {
        0..=MAX_LINEAR => Shape::Few(list.into()),
        _ => Shape::Many { set, list: list.into() },
    }
}

fn text_of(part: &Part) -> &str {
    if let Part::Text { text, .. } = part { text } else { "" }
}

/// Alternatives that are ASCII text in which every letter's case is ignored.
fn folded(alternatives: &[Alternative]) -> Option<Shape> {
    let foldable = |part: &Part| match part {
        Part::Text { text, fold } => text.is_ascii() && (*fold || !text.bytes().any(|b| b.is_ascii_alphabetic())),
        _ => false,
    };
    if alternatives.len() > MAX_GLOBS || !alternatives.iter().flatten().all(foldable) {
        return None;
    }
    let texts = alternatives.iter().map(|a| a.iter().map(text_of).collect::<String>().into_boxed_str());
    Some(Shape::FewFolded(texts.collect()))
}

/// Strings in their order with gaps before, between or behind them.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    prefix: Box<str>,
    /// What follows the prefix: a gap of at least so many characters, then a string.
    middle: Box<[(usize, Finder<'static>)]>,
    /// The last gap and the string at the very end; `None` if there is no gap at all.
    tail: Option<(usize, Box<str>)>,
}

impl Glob {
    fn new(parts: &[Part]) -> Glob {
        let mut texts = vec![String::new()];
        let mut gaps = Vec::new();
        for part in parts {
            match part {
                Part::Gap { min } => {
                    gaps.push(*min);
                    texts.push(String::new());
                }
                part => texts.last_mut().into_iter().for_each(|t| t.push_str(text_of(part))),
            }
        }
        let prefix = texts.remove(0).into_boxed_str();
        let tail = gaps.pop().zip(texts.pop()).map(|(gap, text)| (gap, text.into_boxed_str()));
        let finders = texts.iter().map(|text| Finder::new(text.as_bytes()).into_owned());
        Glob { prefix, middle: gaps.into_iter().zip(finders).collect(), tail }
    }

    /// Taking each string where it first occurs never spoils a later one.
    fn matches(&self, text: &str) -> bool {
        let Some(mut rest) = text.strip_prefix(&*self.prefix) else { return false };
        let Some((last_gap, end)) = &self.tail else { return rest.is_empty() };
        for (gap, finder) in &self.middle {
            let Some(after_gap) = skip_chars(rest, *gap) else { return false };
            let Some(at) = find(finder, after_gap.as_bytes()) else { return false };
            rest = &after_gap[at + finder.needle().len()..];
        }
        match rest.strip_suffix(&**end) {
            Some(gap) => skip_chars(gap, *last_gap).is_some(),
            None => false,
        }
    }
}

/// Finds a string. In a short text, looking for its first byte is several times faster than the searcher that finds long
/// texts' strings in linear time.
fn find(finder: &Finder<'_>, text: &[u8]) -> Option<usize> {
    const SHORT: usize = 64;
    match finder.needle() {
        [first, ..] if text.len() < SHORT => {
            let needle = finder.needle();
            let starts = text.get(..=text.len().checked_sub(needle.len())?)?;
            memchr::memchr_iter(*first, starts).find(|at| text[*at..].starts_with(needle))
        }
        _ => finder.find(text),
    }
}

fn skip_chars(text: &str, count: usize) -> Option<&str> {
    match count {
        0 => Some(text),
        n => text.char_indices().nth(n - 1).map(|(at, c)| &text[at + c.len_utf8()..]),
    }
}

/// A prefix that every match has.
pub(super) fn prefix(root: &Node) -> String {
    let mut out = String::new();
    append_prefix(root, &mut out);
    out
}

/// Appends what every match of `node` begins with; true if that is all that `node` matches.
fn append_prefix(node: &Node, out: &mut String) -> bool {
    match node {
        Node::Empty | Node::Look(Look::TextStart) => true,
        Node::Literal { text, fold: false } => {
            out.push_str(text);
            true
        }
        Node::Capture(node) => append_prefix(node, out),
        Node::Concat(nodes) => nodes.iter().all(|n| append_prefix(n, out)),
        Node::Repeat { node, min, max, .. } if *min > 0 => append_prefix(node, out) && *min == 1 && *max == Some(1),
        Node::Alternate(nodes) => {
            let mut prefixes = nodes.iter().map(prefix);
            let mut common = prefixes.next().unwrap_or_default();
            for other in prefixes {
                let len =
                    common.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
                common.truncate(len);
            }
            out.push_str(&common);
            false
        }
        _ => false,
    }
}
