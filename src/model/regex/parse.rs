//! Reads RE2's syntax with Perl's extensions, as Go's `regexp/syntax` defines it, and says what is wrong in its words.
//!
//! The parser keeps open groups on a heap stack, so hostile nesting costs no machine stack; depth, repetition and length
//! are limited before anything is built from them.

use super::ast::{Class, ClassItem, Look, Node, has_case};
use super::unicode::{Property, property};
use crate::model::Shortened;

/// Deepest nesting of the tree and of open groups, as in the reference. Walks over the tree may recurse this deep.
pub(super) const MAX_DEPTH: u32 = 1000;
/// Longest expression in bytes; the largest that people are known to generate (alternations of hosts) have some 100 kB.
pub(super) const MAX_LEN: usize = 1 << 20;
/// Most copies of anything, also through nested repetition.
const MAX_REPEAT: u32 = 1000;

/// A parsed expression.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The tree.
    pub root: Node,
    /// Names of the capturing groups from 1 on; empty for unnamed ones.
    pub group_names: Vec<String>,
}

/// Parses `pattern` with `.` matching newlines. The error is a sentence without the pattern's context.
pub(super) fn parse(pattern: &str) -> Result<Parsed, String> {
    if pattern.len() > MAX_LEN {
        return Err(error("expression too large", pattern));
    }
    let mut parser = Parser {
        pattern,
        at: 0,
        flags: Flags { dot_newline: true, ..Flags::default() },
        frames: vec![Frame::new(GroupKind::Plain, Flags::default())],
        group_names: Vec::new(),
        last_repeat: None,
        open_quotation: false,
    };
    parser.run()?;
    Ok(Parsed { root: parser.finish()?, group_names: parser.group_names })
}

/// A sentence about a part of an expression, of which only so much is repeated.
pub(super) fn error(what: &str, quoted: &str) -> String {
    format!("{what}: `{}`", Shortened(quoted))
}

fn too_deep(pattern: &str) -> String {
    error("expression nests too deeply", pattern)
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    ungreedy: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum GroupKind {
    Plain,
    Capturing,
}

/// The tree would be deeper than [`MAX_DEPTH`].
struct TooDeep;

/// A finished node with what the limits need to know of it.
struct Piece {
    node: Node,
    depth: u32,
    /// How many copies of its innermost part its repetitions make.
    copies: u32,
}

impl Piece {
    fn leaf(node: Node) -> Piece {
        Piece { node, depth: 1, copies: 1 }
    }
}

/// An open group.
struct Frame {
    kind: GroupKind,
    /// The flags to return to.
    flags: Flags,
    alternates: Vec<Piece>,
    concat: Vec<Piece>,
    /// Whether the last piece is a literal to which a further character may be added.
    open_literal: bool,
}

impl Frame {
    fn new(kind: GroupKind, flags: Flags) -> Frame {
        Frame { kind, flags, alternates: Vec::new(), concat: Vec::new(), open_literal: false }
    }

    fn end_branch(&mut self) -> Result<(), TooDeep> {
        self.open_literal = false;
        let branch = join(std::mem::take(&mut self.concat), Node::Concat)?;
        self.alternates.push(branch);
        Ok(())
    }
}

/// Joins pieces by `op`, which one piece does not need.
fn join(mut pieces: Vec<Piece>, op: fn(Vec<Node>) -> Node) -> Result<Piece, TooDeep> {
    match pieces.len() {
        0 => Ok(Piece::leaf(Node::Empty)),
        1 => pieces.pop().ok_or(TooDeep),
        _ => {
            let depth = 1 + pieces.iter().map(|p| p.depth).max().unwrap_or(0);
            let copies = pieces.iter().map(|p| p.copies).max().unwrap_or(1);
            let node = op(pieces.into_iter().map(|p| p.node).collect());
            if depth > MAX_DEPTH { Err(TooDeep) } else { Ok(Piece { node, depth, copies }) }
        }
    }
}

struct Parser<'a> {
    pattern: &'a str,
    at: usize,
    flags: Flags,
    /// Never empty: the first frame is the whole expression.
    frames: Vec<Frame>,
    group_names: Vec<String>,
    /// Where the repetition operator starts that ends at the current position.
    last_repeat: Option<usize>,
    /// Whether the expression ends inside of `\Q`.
    open_quotation: bool,
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(c) = self.peek() {
            let start = self.at;
            let before = self.last_repeat.take();
            match c {
                '(' if self.rest().starts_with("(?") => self.perl_group()?,
                '(' => {
                    self.at += 1;
                    self.open(GroupKind::Capturing, String::new(), self.flags)?;
                }
                '|' => {
                    self.at += 1;
                    self.end_branch()?;
                }
                ')' => self.close()?,
                '^' => self.look(1, if self.flags.multi_line { Look::LineStart } else { Look::TextStart }),
                '$' => self.look(1, if self.flags.multi_line { Look::LineEnd } else { Look::TextEnd }),
                '.' => {
                    self.at += 1;
                    self.push(if self.flags.dot_newline { Node::Any } else { Node::AnyNotNewline });
                }
                '[' => self.class()?,
                '*' => self.repeat(start, 1, (0, None), before)?,
                '+' => self.repeat(start, 1, (1, None), before)?,
                '?' => self.repeat(start, 1, (0, Some(1)), before)?,
                '{' => match counted(self.rest()) {
                    // What does not read as a count is ordinary text.
                    None => {
                        self.at += 1;
                        self.literal('{');
                    }
                    Some((len, count)) => {
                        let in_range = |n: u32| n <= MAX_REPEAT;
                        let valid = count
                            .filter(|(min, max)| in_range(*min) && max.is_none_or(|max| in_range(max) && *min <= max));
                        let Some(count) = valid else {
                            return Err(error("invalid repeat count", &self.rest()[..len]));
                        };
                        self.repeat(start, len, count, before)?;
                    }
                },
                '\\' => self.escape()?,
                c => {
                    self.at += c.len_utf8();
                    self.literal(c);
                }
            }
        }
        Ok(())
    }

    fn end_branch(&mut self) -> Result<(), String> {
        let pattern = self.pattern;
        self.top().end_branch().map_err(|TooDeep| too_deep(pattern))
    }

    fn finish(&mut self) -> Result<Node, String> {
        match self.frames.pop() {
            // RE2 lets the end of the expression close a quotation. The reference's anchors are part of its expression,
            // so there the quotation swallows them, and the expression is refused.
            Some(_) if self.frames.is_empty() && self.open_quotation => {
                Err(error("missing closing )", &format!("^(?s:{})$", self.pattern)))
            }
            Some(mut root) if self.frames.is_empty() => {
                root.end_branch().map_err(|TooDeep| too_deep(self.pattern))?;
                Ok(join(root.alternates, Node::Alternate).map_err(|TooDeep| too_deep(self.pattern))?.node)
            }
            _ => Err(error("missing closing )", self.pattern)),
        }
    }

    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes one character, if there is one.
    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn since(&self, start: usize) -> &'a str {
        &self.pattern[start..self.at]
    }

    #[expect(clippy::expect_used, reason = "the root frame is popped by `finish` only, after which nothing is pushed")]
    fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the root frame stays until the end")
    }

    fn push(&mut self, node: Node) {
        self.push_piece(Piece::leaf(node));
    }

    fn push_piece(&mut self, piece: Piece) {
        let top = self.top();
        top.open_literal = false;
        top.concat.push(piece);
    }

    fn look(&mut self, len: usize, look: Look) {
        self.at += len;
        self.push(Node::Look(look));
    }

    /// Adds a character, to the run of characters before it if there is one of the same kind.
    fn literal(&mut self, c: char) {
        let fold = self.flags.fold && has_case(c);
        let top = self.top();
        if top.open_literal
            && let Some(Piece { node: Node::Literal { text, fold: f }, .. }) = top.concat.last_mut()
            && *f == fold
        {
            text.push(c);
            return;
        }
        self.push(Node::Literal { text: c.into(), fold });
        self.top().open_literal = true;
    }

    fn open(&mut self, kind: GroupKind, name: String, outer: Flags) -> Result<(), String> {
        if self.frames.len() > MAX_DEPTH as usize {
            return Err(too_deep(self.pattern));
        }
        if kind == GroupKind::Capturing {
            self.group_names.push(name);
        }
        self.frames.push(Frame::new(kind, outer));
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.at += 1;
        if self.frames.len() == 1 {
            return Err(error("unexpected )", self.pattern));
        }
        let Some(mut frame) = self.frames.pop() else { return Ok(()) };
        frame.end_branch().map_err(|TooDeep| too_deep(self.pattern))?;
        let mut piece = join(frame.alternates, Node::Alternate).map_err(|TooDeep| too_deep(self.pattern))?;
        self.flags = frame.flags;
        if frame.kind == GroupKind::Capturing {
            piece.depth += 1;
            piece.node = Node::Capture(Box::new(piece.node));
            if piece.depth > MAX_DEPTH {
                return Err(too_deep(self.pattern));
            }
        }
        self.push_piece(piece);
        Ok(())
    }

    /// Applies the operator of `len` bytes at the current position to the piece before it.
    fn repeat(
        &mut self,
        start: usize,
        len: usize,
        (min, max): (u32, Option<u32>),
        before: Option<usize>,
    ) -> Result<(), String> {
        self.at += len;
        let mut greedy = !self.flags.ungreedy;
        if self.rest().starts_with('?') {
            self.at += 1;
            greedy = !greedy;
        }
        if let Some(before) = before {
            return Err(error("invalid nested repetition operator", self.since(before)));
        }
        let is_counted = self.pattern[start..].starts_with('{');
        let quoted = self.since(start);
        let pattern = self.pattern;
        let top = self.top();
        let Some(last) = top.concat.pop() else {
            return Err(error("missing argument to repetition operator", quoted));
        };
        let sub = if top.open_literal { split_last_char(&mut top.concat, last) } else { last };
        top.open_literal = false;
        let mut copies = sub.copies;
        if is_counted {
            // Nested counts multiply; `{0}` leaves no copy at all and `{0,}` does not count.
            copies = match max {
                Some(max) => copies * max,
                None => copies * min.max(1),
            };
            if (min >= 2 || max.is_some_and(|max| max >= 2)) && copies > MAX_REPEAT {
                return Err(error("invalid repeat count", quoted));
            }
        }
        let depth = sub.depth + 1;
        if depth > MAX_DEPTH {
            return Err(too_deep(pattern));
        }
        let node = Node::Repeat { node: Box::new(sub.node), min, max, greedy };
        top.concat.push(Piece { node, depth, copies });
        self.last_repeat = Some(start);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn perl_group(&mut self) -> Result<(), String> {
        let start = self.at;
        let rest = self.rest();
        let named =
            [("(?P<", 5), ("(?<", 4)].into_iter().find(|(p, least)| rest.starts_with(p) && rest.len() >= *least);
        if let Some((prefix, _)) = named {
            let Some(end) = rest.find('>') else { return Err(error("invalid named capture", rest)) };
            let name = &rest[prefix.len()..end];
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(error("invalid named capture", &rest[..=end]));
            }
            self.at += end + 1;
            return self.open(GroupKind::Capturing, name.to_owned(), self.flags);
        }
        self.at += 2;
        self.perl_flags(start)
    }

    fn perl_flags(&mut self, start: usize) -> Result<(), String> {
        let outer = self.flags;
        let mut flags = outer;
        let (mut value, mut saw_flag) = (true, false);
        while let Some(c) = self.bump() {
            match c {
                'i' => flags.fold = value,
                'm' => flags.multi_line = value,
                's' => flags.dot_newline = value,
                'U' => flags.ungreedy = value,
                '-' if value => {
                    value = false;
                    saw_flag = false;
                    continue;
                }
                ':' | ')' if value || saw_flag => {
                    self.flags = flags;
                    return if c == ':' { self.open(GroupKind::Plain, String::new(), outer) } else { Ok(()) };
                }
                _ => break,
            }
            saw_flag = true;
        }
        Err(error("invalid or unsupported Perl syntax", self.since(start)))
    }

    /// A backslash outside of brackets.
    fn escape(&mut self) -> Result<(), String> {
        match self.rest()[1..].chars().next() {
            Some('A') => self.look(2, Look::TextStart),
            Some('z') => self.look(2, Look::TextEnd),
            Some('b') => self.look(2, Look::WordBoundary),
            Some('B') => self.look(2, Look::NotWordBoundary),
            Some('C') => return Err(error("invalid escape sequence", r"\C")),
            Some('Q') => {
                let (quoted, len) = match self.rest()[2..].split_once(r"\E") {
                    Some((quoted, _)) => (quoted, quoted.len() + 4),
                    None => {
                        self.open_quotation = true;
                        (&self.rest()[2..], self.rest().len())
                    }
                };
                self.at += len;
                quoted.chars().for_each(|c| self.literal(c));
            }
            _ => {
                if let Some(item) = self.class_escape()? {
                    self.push_class(Class { negated: false, fold: self.flags.fold, items: item });
                } else {
                    match char::from_u32(self.char_escape()?) {
                        Some(c) => self.literal(c),
                        // A surrogate, which no text holds.
                        None => self.push(Node::Class(Class { negated: false, fold: false, items: Vec::new() })),
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a class, as a literal where it has one member.
    fn push_class(&mut self, class: Class) {
        match (class.negated, class.items.as_slice()) {
            (false, &[ClassItem::Range(lo, hi)]) if lo == hi && char::from_u32(lo).is_some() => {
                if let Some(c) = char::from_u32(lo) {
                    let fold = class.fold && has_case(c);
                    self.push(Node::Literal { text: c.into(), fold });
                }
            }
            _ => self.push(Node::Class(class)),
        }
    }

    /// `\d`, `\pL`, `\p{Greek}` and the like, in and outside of brackets.
    fn class_escape(&mut self) -> Result<Option<Vec<ClassItem>>, String> {
        let rest = self.rest();
        if !rest.starts_with('\\') {
            return Ok(None);
        }
        let (ranges, negated): (&'static [(u8, u8)], bool) = match rest[1..].bytes().next() {
            Some(b'd') => (DIGIT, false),
            Some(b'D') => (DIGIT, true),
            Some(b's') => (SPACE, false),
            Some(b'S') => (SPACE, true),
            Some(b'w') => (WORD, false),
            Some(b'W') => (WORD, true),
            Some(b'p' | b'P') => return self.unicode_class().map(Some),
            _ => return Ok(None),
        };
        self.at += 2;
        Ok(Some(ascii_items(ranges, negated)))
    }

    fn unicode_class(&mut self) -> Result<Vec<ClassItem>, String> {
        let start = self.at;
        let mut negated = self.rest().starts_with(r"\P");
        self.at += 2;
        let mut name = match self.peek() {
            Some('{') => match self.rest().find('}') {
                Some(end) => {
                    let name = &self.rest()[1..end];
                    self.at += end + 1;
                    name
                }
                None => return Err(error("invalid character class range", &self.pattern[start..])),
            },
            Some(c) => {
                self.at += c.len_utf8();
                &self.pattern[self.at - c.len_utf8()..self.at]
            }
            None => "",
        };
        if let Some(inner) = name.strip_prefix('^') {
            negated = !negated;
            name = inner;
        }
        let unknown = || error("invalid character class range", self.since(start));
        Ok(match property(name).ok_or_else(unknown)? {
            Property::Any if negated => Vec::new(),
            Property::Nothing if !negated => Vec::new(),
            Property::Any | Property::Nothing => vec![ClassItem::Range(0, char::MAX as u32)],
            Property::Ascii => ascii_items(ASCII, negated),
            Property::Assigned => vec![ClassItem::Property { name: "gc=Cn".to_owned(), negated: !negated }],
            Property::Named(name) => vec![ClassItem::Property { name, negated }],
        })
    }

    /// A bracket expression.
    fn class(&mut self) -> Result<(), String> {
        let start = self.at;
        self.at += 1;
        let mut class = Class { negated: false, fold: self.flags.fold, items: Vec::new() };
        if self.rest().starts_with('^') {
            self.at += 1;
            class.negated = true;
        }
        let mut first = true;
        while first || !self.rest().starts_with(']') {
            first = false;
            if self.rest().starts_with("[:")
                && let Some(items) = self.posix_class()?
            {
                class.items.extend(items);
            } else if let Some(items) = self.class_escape()? {
                class.items.extend(items);
            } else {
                class.items.push(self.class_range(start)?);
            }
        }
        self.at += 1;
        self.push_class(class);
        Ok(())
    }

    /// `[:alpha:]`; `None` where the brackets do not close, so that they are ordinary characters.
    fn posix_class(&mut self) -> Result<Option<Vec<ClassItem>>, String> {
        let rest = self.rest();
        let Some(end) = rest[2..].find(":]") else { return Ok(None) };
        let (whole, name) = (&rest[..end + 4], &rest[2..end + 2]);
        let (name, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let Some((_, ranges)) = POSIX.iter().find(|(n, _)| *n == name) else {
            return Err(error("invalid character class range", whole));
        };
        self.at += whole.len();
        Ok(Some(ascii_items(ranges, negated)))
    }

    fn class_range(&mut self, class_start: usize) -> Result<ClassItem, String> {
        let start = self.at;
        let lo = self.class_char(class_start)?;
        let mut hi = lo;
        // A hyphen before the closing bracket is a character.
        if self.rest().starts_with('-') && self.rest().len() >= 2 && !self.rest().starts_with("-]") {
            self.at += 1;
            hi = self.class_char(class_start)?;
            if hi < lo {
                return Err(error("invalid character class range", self.since(start)));
            }
        }
        Ok(ClassItem::Range(lo, hi))
    }

    fn class_char(&mut self, class_start: usize) -> Result<u32, String> {
        match self.peek() {
            None => Err(error("missing closing ]", &self.pattern[class_start..])),
            Some('\\') => self.char_escape(),
            Some(c) => {
                self.at += c.len_utf8();
                Ok(c as u32)
            }
        }
    }

    /// A backslash that stands for one code point.
    fn char_escape(&mut self) -> Result<u32, String> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.bump() else { return Err("trailing backslash at end of expression: ``".to_owned()) };
        let value = match c {
            '1'..='7' if !self.rest().starts_with(|c: char| ('0'..='7').contains(&c)) => None,
            '0'..='7' => {
                let mut value = c as u32 - '0' as u32;
                for _ in 0..2 {
                    match self.peek().and_then(|c| c.to_digit(8)) {
                        Some(digit) => {
                            value = value * 8 + digit;
                            self.at += 1;
                        }
                        None => break,
                    }
                }
                Some(value)
            }
            'x' => self.hex_escape(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c as u32),
            _ => None,
        };
        value.ok_or_else(|| error("invalid escape sequence", self.since(start)))
    }

    /// `FF` or `{10FFFF}` after `\x`.
    fn hex_escape(&mut self) -> Option<u32> {
        match self.bump()? {
            '{' => {
                let mut value = None;
                loop {
                    match self.bump()? {
                        '}' => return value,
                        c => {
                            let digit = c.to_digit(16)?;
                            let next = value.unwrap_or(0) * 16 + digit;
                            value = Some(next).filter(|v| *v <= char::MAX as u32);
                            value?;
                        }
                    }
                }
            }
            c => {
                let low = self.bump()?;
                Some(c.to_digit(16)? * 16 + low.to_digit(16)?)
            }
        }
    }
}

/// Takes the last character of an open run of characters out of it.
fn split_last_char(concat: &mut Vec<Piece>, last: Piece) -> Piece {
    let Node::Literal { mut text, fold } = last.node else { return last };
    match text.pop() {
        Some(c) if !text.is_empty() => {
            concat.push(Piece::leaf(Node::Literal { text, fold }));
            Piece::leaf(Node::Literal { text: c.into(), fold })
        }
        Some(c) => Piece::leaf(Node::Literal { text: c.into(), fold }),
        None => Piece::leaf(Node::Empty),
    }
}

/// The lower and the upper bound of a counted repetition.
type Count = (u32, Option<u32>);

/// Reads `{n}`, `{n,}` or `{n,m}`: its length and its numbers, `None` for numbers that are far too large.
fn counted(text: &str) -> Option<(usize, Option<Count>)> {
    let (min, rest) = integer(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = integer(rest)?;
            (Some(max), rest)
        }
    };
    let rest = rest.strip_prefix('}')?;
    let count = match (min, max) {
        (Some(min), None) => Some((min, None)),
        (Some(min), Some(Some(max))) => Some((min, Some(max))),
        _ => None,
    };
    Some((text.len() - rest.len(), count))
}

/// Reads a decimal without leading zeros; the inner `None` says that it is far too large.
fn integer(text: &str) -> Option<(Option<u32>, &str)> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    match digits {
        "" => None,
        d if d.len() > 1 && d.starts_with('0') => None,
        d => Some((d.parse().ok().filter(|n: &u32| *n < 100_000_000), rest)),
    }
}

fn ascii_items(ranges: &'static [(u8, u8)], negated: bool) -> Vec<ClassItem> {
    if negated {
        return vec![ClassItem::Not(ranges)];
    }
    ranges.iter().map(|&(lo, hi)| ClassItem::Range(lo.into(), hi.into())).collect()
}

const DIGIT: &[(u8, u8)] = &[(b'0', b'9')];
const SPACE: &[(u8, u8)] = &[(b'\t', b'\n'), (0x0c, b'\r'), (b' ', b' ')];
const WORD: &[(u8, u8)] = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];
const ASCII: &[(u8, u8)] = &[(0, 0x7f)];

const POSIX: [(&str, &[(u8, u8)]); 14] = [
    ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
    ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
    ("ascii", ASCII),
    ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
    ("cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    ("digit", DIGIT),
    ("graph", &[(b'!', b'~')]),
    ("lower", &[(b'a', b'z')]),
    ("print", &[(b' ', b'~')]),
    ("punct", &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
    ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
    ("upper", &[(b'A', b'Z')]),
    ("word", WORD),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];
