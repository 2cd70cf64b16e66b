//! Text to tokens.
//!
//! The language has three modes: outside of braces, where operators, numbers and keywords live; inside of braces, where
//! every word is a name; and within the brackets of a range, where words are those of duration expressions. The last one
//! has two spellings, as in the reference: up to the first number of a range, and behind it. They differ in whether
//! comments may stand there and in how they name what is wrong.

use std::borrow::Cow;

use super::ast::{AggregateOp, BinaryOp, Position};
use super::error::{ParseError, describe_char, quote_char};
use crate::model::GoQuoted;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The end of the text.
    End,
    /// A word without colons that is no keyword; inside of braces any word.
    Identifier,
    /// A word with colons.
    MetricIdentifier,
    /// A quoted string, with its quotes.
    String,
    Number,
    Duration,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    Comma,
    /// `:` within brackets
    Colon,
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    /// `@`
    At,
    /// `+`, `and`; `!=` also stands in braces
    Operator(BinaryOp),
    /// `sum`
    Aggregator(AggregateOp),
    /// `by`, `offset`
    Modifier(Modifier),
    /// `start`, `step`
    Preprocessor(Preprocessor),
}

/// A word that changes what stands before or behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Modifier {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

/// A word that stands for an instant or a duration of the query, or computes one; also a function's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// Keywords, in any case.
const KEYWORDS: [(&str, Kind); 37] = [
    ("and", Kind::Operator(BinaryOp::And)),
    ("or", Kind::Operator(BinaryOp::Or)),
    ("unless", Kind::Operator(BinaryOp::Unless)),
    ("atan2", Kind::Operator(BinaryOp::Atan2)),
    ("sum", Kind::Aggregator(AggregateOp::Sum)),
    ("avg", Kind::Aggregator(AggregateOp::Avg)),
    ("count", Kind::Aggregator(AggregateOp::Count)),
    ("min", Kind::Aggregator(AggregateOp::Min)),
    ("max", Kind::Aggregator(AggregateOp::Max)),
    ("group", Kind::Aggregator(AggregateOp::Group)),
    ("stddev", Kind::Aggregator(AggregateOp::Stddev)),
    ("stdvar", Kind::Aggregator(AggregateOp::Stdvar)),
    ("topk", Kind::Aggregator(AggregateOp::Topk)),
    ("bottomk", Kind::Aggregator(AggregateOp::Bottomk)),
    ("count_values", Kind::Aggregator(AggregateOp::CountValues)),
    ("quantile", Kind::Aggregator(AggregateOp::Quantile)),
    ("limitk", Kind::Aggregator(AggregateOp::Limitk)),
    ("limit_ratio", Kind::Aggregator(AggregateOp::LimitRatio)),
    ("offset", Kind::Modifier(Modifier::Offset)),
    ("smoothed", Kind::Modifier(Modifier::Smoothed)),
    ("anchored", Kind::Modifier(Modifier::Anchored)),
    ("by", Kind::Modifier(Modifier::By)),
    ("without", Kind::Modifier(Modifier::Without)),
    ("on", Kind::Modifier(Modifier::On)),
    ("ignoring", Kind::Modifier(Modifier::Ignoring)),
    ("group_left", Kind::Modifier(Modifier::GroupLeft)),
    ("group_right", Kind::Modifier(Modifier::GroupRight)),
    ("fill", Kind::Modifier(Modifier::Fill)),
    ("fill_left", Kind::Modifier(Modifier::FillLeft)),
    ("fill_right", Kind::Modifier(Modifier::FillRight)),
    ("bool", Kind::Modifier(Modifier::Bool)),
    ("start", Kind::Preprocessor(Preprocessor::Start)),
    ("end", Kind::Preprocessor(Preprocessor::End)),
    ("step", Kind::Preprocessor(Preprocessor::Step)),
    ("range", Kind::Preprocessor(Preprocessor::Range)),
    ("max_of", Kind::Preprocessor(Preprocessor::MaxOf)),
    ("min_of", Kind::Preprocessor(Preprocessor::MinOf)),
];

/// A token: what it is and which bytes it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub position: Position,
}

impl Token {
    /// The token's text in `text`.
    pub(super) fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.position.start as usize..self.position.end as usize]
    }

    /// Whether it may stand before braces as a metric's name: most keywords may.
    pub(super) fn is_metric_name(&self) -> bool {
        use Modifier::*;
        match self.kind {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) | Kind::Preprocessor(_) => true,
            Kind::Operator(op) => op.is_set(),
            Kind::Modifier(modifier) => !matches!(modifier, Bool | On | Ignoring | GroupLeft | GroupRight),
            _ => false,
        }
    }

    /// Whether it may stand in a list of labels to group by: all keywords but one may.
    pub(super) fn is_label_name(&self) -> bool {
        match self.kind {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) | Kind::Preprocessor(_) => true,
            Kind::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
            Kind::Modifier(modifier) => modifier != Modifier::Without,
            _ => false,
        }
    }

    /// Whether an expression may start with it.
    pub(super) fn starts_expression(&self) -> bool {
        use Kind::*;
        matches!(self.kind, Number | Duration | String | LeftBrace | LeftParen)
            || matches!(self.kind, Operator(BinaryOp::Add | BinaryOp::Sub))
            || self.is_metric_name()
    }

    /// How an error speaks of it.
    pub(super) fn describe(&self, text: &str) -> String {
        let own = self.of(text);
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", GoQuoted(own)),
            Kind::MetricIdentifier => format!("metric identifier {}", GoQuoted(own)),
            Kind::String => format!("string {}", quote_short(own)),
            Kind::Number => format!("number {}", quote_short(own)),
            Kind::Duration => format!("duration {}", quote_short(own)),
            Kind::Aggregator(_) => format!("<aggr:{own}>"),
            Kind::Modifier(_) => format!("<{own}>"),
            Kind::Operator(_) | Kind::At | Kind::EqualRegex | Kind::NotEqualRegex => format!("<op:{own}>"),
            _ => quote_short(own),
        }
    }
}

/// At most ten characters of a text that is longer than ten bytes.
fn quote_short(text: &str) -> String {
    if text.len() <= 10 {
        return GoQuoted(text).to_string();
    }
    let end = text.char_indices().nth(10).map_or(text.len(), |(at, _)| at);
    format!("{}...", GoQuoted(&text[..end]))
}

fn keyword(word: &str) -> Option<Kind> {
    KEYWORDS.iter().find(|(k, _)| k.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
}

/// Longest text that is read. URLs and forms that carry one are bounded by the server; this is the last line.
pub(super) const MAX_LEN: usize = 4 << 20;

/// Walks over a text and hands out its tokens; comments and spaces are passed over.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    in_braces: bool,
    /// Within brackets and before their first number, or behind its sign or operator.
    in_duration: bool,
    in_brackets: bool,
    /// Whether the brackets had a colon.
    had_colon: bool,
    /// Whether any brackets had a number. The reference asks no more of a colon.
    had_duration: bool,
    open_parens: usize,
}

impl<'a> Lexer<'a> {
    /// Refuses what is too long to be counted in.
    pub(super) fn new(text: &'a str) -> Result<Lexer<'a>, ParseError> {
        if text.len() > MAX_LEN {
            let message = format!("the text is longer than {MAX_LEN} bytes");
            return Err(ParseError::new(text, Position::default(), message));
        }
        Ok(Lexer {
            text,
            at: 0,
            start: 0,
            in_braces: false,
            in_duration: false,
            in_brackets: false,
            had_colon: false,
            had_duration: false,
            open_parens: 0,
        })
    }

    /// The next token. After the end, the end again; after an error, nothing sensible.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_space_and_comments();
        self.start = self.at;
        let kind = match (self.in_duration, self.in_braces) {
            (true, _) => self.inside_brackets(),
            (false, true) => self.inside_braces(),
            (false, false) => self.outside_braces(),
        }?;
        // The text is shorter than 4 GiB.
        Ok(Token { kind, position: Position { start: self.start as u32, end: self.at as u32 } })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.at += if found { expected.len_utf8() } else { 0 };
        found
    }

    fn accept_while(&mut self, mut belongs: impl FnMut(u8) -> bool) {
        self.at += self.rest().bytes().take_while(|b| belongs(*b)).count();
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        let position = Position { start: self.start as u32, end: self.text.len() as u32 };
        Err(ParseError::new(self.text, position, message))
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.accept_while(is_space);
            if self.in_duration || self.peek() != Some('#') {
                return;
            }
            self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
        }
    }

    fn inside_braces(&mut self) -> Result<Kind, ParseError> {
        let Some(c) = self.bump() else { return self.fail("unexpected end of input inside braces") };
        match c {
            c if is_alpha(c) => {
                self.accept_while(is_alphanumeric);
                Ok(Kind::Identifier)
            }
            ',' => Ok(Kind::Comma),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' if self.accept('~') => Ok(Kind::EqualRegex),
            '=' => Ok(Kind::Equal),
            '!' if self.accept('~') => Ok(Kind::NotEqualRegex),
            '!' if self.accept('=') => Ok(Kind::Operator(BinaryOp::NotEqual)),
            '!' => {
                let next = quote_char(self.peek());
                self.fail(format!("unexpected character after '!' inside braces: {next}"))
            }
            '{' => self.fail("unexpected left brace '{'"),
            '}' => {
                self.in_braces = false;
                Ok(Kind::RightBrace)
            }
            c => self.fail(format!("unexpected character inside braces: {}", quote_char(Some(c)))),
        }
    }

    fn outside_braces(&mut self) -> Result<Kind, ParseError> {
        let Some(c) = self.bump() else { return self.end() };
        match c {
            ',' => Ok(Kind::Comma),
            '@' => Ok(Kind::At),
            '=' if self.accept('=') => Ok(Kind::Operator(BinaryOp::Equal)),
            '=' if self.peek() == Some('~') => self.fail("unexpected character after '=': '~'"),
            '=' => Ok(Kind::Equal),
            '!' if self.accept('=') => Ok(Kind::Operator(BinaryOp::NotEqual)),
            '!' => {
                let next = quote_char(self.peek());
                self.fail(format!("unexpected character after '!': {next}"))
            }
            '<' if self.accept('=') => Ok(Kind::Operator(BinaryOp::LessEqual)),
            '<' if self.accept('/') => Ok(Kind::Operator(BinaryOp::TrimUpper)),
            '<' => Ok(Kind::Operator(BinaryOp::Less)),
            '>' if self.accept('=') => Ok(Kind::Operator(BinaryOp::GreaterEqual)),
            '>' if self.accept('/') => Ok(Kind::Operator(BinaryOp::TrimLower)),
            '>' => Ok(Kind::Operator(BinaryOp::Greater)),
            c if self.starts_number(c) => self.number_or_duration(),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            c if self.in_brackets && (is_alpha(c) || c == ':') => self.colon_or_word(c),
            c if is_alpha(c) || c == ':' => Ok(self.word()),
            '(' | ')' => self.parenthesis(c),
            '{' => {
                self.in_braces = true;
                Ok(Kind::LeftBrace)
            }
            '[' if self.in_brackets => self.fail("unexpected left bracket '['"),
            '[' => {
                (self.in_brackets, self.in_duration, self.had_colon) = (true, true, false);
                Ok(Kind::LeftBracket)
            }
            ']' if self.in_brackets => {
                self.in_brackets = false;
                Ok(Kind::RightBracket)
            }
            ']' => self.fail("unexpected right bracket ']'"),
            c => match arithmetic(c) {
                Some(op) => Ok(Kind::Operator(op)),
                None => self.fail(format!("unexpected character: {}", quote_char(Some(c)))),
            },
        }
    }

    fn end(&self) -> Result<Kind, ParseError> {
        match (self.open_parens, self.in_brackets) {
            (0, false) => Ok(Kind::End),
            (0, true) => self.fail("unclosed left bracket"),
            _ => self.fail("unclosed left parenthesis"),
        }
    }

    fn parenthesis(&mut self, c: char) -> Result<Kind, ParseError> {
        if c == '(' {
            self.open_parens += 1;
            return Ok(Kind::LeftParen);
        }
        let Some(open) = self.open_parens.checked_sub(1) else {
            // The reference complains of the place behind it.
            self.start = self.at;
            return self.fail("unexpected right parenthesis ')'");
        };
        self.open_parens = open;
        Ok(Kind::RightParen)
    }

    /// Within brackets, up to their first number and behind each operator.
    fn inside_brackets(&mut self) -> Result<Kind, ParseError> {
        let Some(c) = self.bump() else { return self.fail("unexpected end of input in duration expression") };
        match c {
            ']' => {
                (self.in_brackets, self.in_duration) = (false, false);
                Ok(Kind::RightBracket)
            }
            ':' => self.colon(),
            '(' | ')' => self.parenthesis(c),
            ',' => Ok(Kind::Comma),
            c if self.starts_number(c) => {
                (self.in_duration, self.had_duration) = (false, true);
                self.number_or_duration()
            }
            c => match arithmetic(c).map(Kind::Operator).or_else(|| self.duration_word(c)) {
                Some(kind) => Ok(kind),
                None => self.fail(format!("unexpected character in duration expression: {}", quote_char(Some(c)))),
            },
        }
    }

    /// The colon before a number. The reference complains of the place behind it.
    fn colon(&mut self) -> Result<Kind, ParseError> {
        let message = match (self.had_duration, self.had_colon) {
            (false, _) => "unexpected colon before duration in duration expression",
            (true, true) => "unexpected repeated colon in duration expression",
            (true, false) => {
                self.had_colon = true;
                return Ok(Kind::Colon);
            }
        };
        self.start = self.at;
        self.fail(message)
    }

    /// Within brackets, behind a number.
    fn colon_or_word(&mut self, c: char) -> Result<Kind, ParseError> {
        match c {
            ':' if self.had_colon => self.fail("unexpected colon ':'"),
            ':' => {
                self.had_colon = true;
                Ok(Kind::Colon)
            }
            c => match self.duration_word(c) {
                Some(kind) => Ok(kind),
                None => self.fail(format!("unexpected character: {}, expected ':'", quote_char(Some(c)))),
            },
        }
    }

    /// A word of duration expressions that starts with `c`, if it is one.
    fn duration_word(&mut self, c: char) -> Option<Kind> {
        use Preprocessor::*;
        if !is_alpha(c) {
            return None;
        }
        self.accept_while(|b| is_alpha(char::from(b)));
        match keyword(&self.text[self.start..self.at]) {
            Some(kind @ Kind::Preprocessor(Step | Range | MaxOf | MinOf)) => Some(kind),
            _ => None,
        }
    }

    fn starts_number(&self, c: char) -> bool {
        c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit()))
    }

    fn word(&mut self) -> Kind {
        self.accept_while(|b| is_alphanumeric(b) || b == b':');
        let word = &self.text[self.start..self.at];
        if ["inf", "nan"].iter().any(|n| n.eq_ignore_ascii_case(word)) {
            return Kind::Number;
        }
        match keyword(word) {
            // These became keywords late; where no parenthesis follows, they stay names.
            Some(Kind::Modifier(Modifier::Fill | Modifier::FillLeft | Modifier::FillRight))
                if !self.parenthesis_follows() =>
            {
                Kind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        }
    }

    fn parenthesis_follows(&self) -> bool {
        self.rest().trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(')
    }

    /// A number whose first character has been passed over.
    fn number_or_duration(&mut self) -> Result<Kind, ParseError> {
        self.at = self.start;
        if self.number() {
            return Ok(Kind::Number);
        }
        if self.rest_of_duration() {
            return Ok(Kind::Duration);
        }
        let read = GoQuoted(&self.text[self.start..self.at]);
        self.fail(format!("bad number or duration syntax: {read}"))
    }

    /// Passes over a number, or over what looks like one as far as it does. Whether its value can be represented is
    /// for the parser to find out.
    fn number(&mut self) -> bool {
        let is_hex = self.accept('0') && (self.accept('x') || self.accept('X'));
        let is_digit = |b: u8| if is_hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
        if is_hex {
            self.accept('_');
        }
        // The reference does not count a dot at the very start; the parser refuses the number later.
        self.accept('.');
        let (mut dot, mut exponent) = (false, false);
        while let Some(b) = self.rest().bytes().next() {
            match b {
                b if is_digit(b) => self.accept_while(is_digit),
                b'.' => {
                    self.at += 1;
                    if dot || self.accept_one(b"_.") || is_hex {
                        return false;
                    }
                    dot = true;
                }
                b'e' | b'E' => {
                    self.at += 1;
                    if exponent {
                        return false;
                    }
                    exponent = true;
                    let _ = self.accept('+') || self.accept('-');
                    if self.accept_one(b"._eE") || self.rest().is_empty() {
                        return false;
                    }
                }
                b'_' => {
                    self.at += 1;
                    if self.accept_one(b"._eE") || self.rest().is_empty() {
                        return false;
                    }
                }
                _ => break,
            }
        }
        !self.rest().bytes().next().is_some_and(is_alphanumeric)
    }

    fn next_is(&self, any_of: &[u8]) -> bool {
        self.rest().bytes().next().is_some_and(|b| any_of.contains(&b))
    }

    fn accept_one(&mut self, any_of: &[u8]) -> bool {
        let found = self.next_is(any_of);
        self.at += usize::from(found);
        found
    }

    /// Passes over the first unit and what follows it; whether the units are in order is for the parser to find out.
    fn rest_of_duration(&mut self) -> bool {
        if !self.unit(b"smhdwy") {
            return false;
        }
        while self.next_is(b"0123456789") {
            self.accept_while(|b| b.is_ascii_digit());
            if !self.unit(b"smhdw") {
                return false;
            }
        }
        // What is wrong belongs to what the error quotes.
        let goes_on = self.rest().bytes().next().is_some_and(is_alphanumeric);
        self.at += usize::from(goes_on);
        !goes_on
    }

    fn unit(&mut self, letters: &[u8]) -> bool {
        let found = self.accept_one(letters);
        if found {
            self.accept('s');
        }
        found
    }

    fn string(&mut self, quote: char) -> Result<Kind, ParseError> {
        loop {
            match self.bump() {
                Some('\\') => self.escape(quote)?,
                Some('\u{fffd}') => return self.fail("invalid UTF-8 rune"),
                None | Some('\n') => return self.fail("unterminated quoted string"),
                Some(c) if c == quote => return Ok(Kind::String),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Result<Kind, ParseError> {
        loop {
            match self.bump() {
                Some('\u{fffd}') => return self.fail("invalid UTF-8 rune"),
                None => return self.fail("unterminated raw string"),
                Some('`') => return Ok(Kind::String),
                Some(_) => {}
            }
        }
    }

    /// Passes over what follows a backslash.
    fn escape(&mut self, quote: char) -> Result<(), ParseError> {
        let (digits, radix, max) = match self.peek() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => {
                self.at += 1;
                return Ok(());
            }
            Some(c) if c == quote => {
                self.at += 1;
                return Ok(());
            }
            Some('0'..='7') => (3, 8, 0xff),
            Some('x') => (2, 16, 0xff),
            Some('u') => (4, 16, char::MAX as u32),
            Some('U') => (8, 16, char::MAX as u32),
            None => return self.fail("escape sequence not terminated"),
            Some(c) => return self.fail(format!("unknown escape sequence {}", describe_char(c))),
        };
        self.at += usize::from(radix == 16);
        let mut value: u32 = 0;
        for _ in 0..digits {
            match self.bump() {
                None => return self.fail("escape sequence not terminated"),
                Some(c) => match c.to_digit(radix) {
                    Some(digit) => value = value.wrapping_mul(radix) | digit,
                    None => return self.fail(format!("illegal character {} in escape sequence", describe_char(c))),
                },
            }
        }
        if value > max || (0xD800..0xE000).contains(&value) {
            return self.fail("escape sequence is an invalid Unicode code point");
        }
        Ok(())
    }
}

/// The value of a string token, which the lexer has found well-formed. Its escapes may make what is not UTF-8.
pub(super) fn unquote(token: &str) -> Cow<'_, [u8]> {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') || !inner.contains('\\') {
        return Cow::Borrowed(inner.as_bytes());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        rest = unescape(after, &mut out).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    Cow::Owned(out)
}

/// Appends what the escape at the start of `text` stands for and returns what follows it.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let number = |from: usize, to: usize, radix| u32::from_str_radix(text.get(from..to)?, radix).ok();
    let (byte, len) = match text.bytes().next()? {
        b'a' => (0x07, 1),
        b'b' => (0x08, 1),
        b'f' => (0x0c, 1),
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'v' => (0x0b, 1),
        b'0'..=b'7' => (u8::try_from(number(0, 3, 8)?).ok()?, 3),
        b'x' => (u8::try_from(number(1, 3, 16)?).ok()?, 3),
        wide @ (b'u' | b'U') => {
            let end = if wide == b'u' { 5 } else { 9 };
            let c = char::from_u32(number(1, end, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return text.get(end..);
        }
        c => (c, 1),
    };
    out.push(byte);
    text.get(len..)
}

fn arithmetic(c: char) -> Option<BinaryOp> {
    match c {
        '+' => Some(BinaryOp::Add),
        '-' => Some(BinaryOp::Sub),
        '*' => Some(BinaryOp::Mul),
        '/' => Some(BinaryOp::Div),
        '%' => Some(BinaryOp::Mod),
        '^' => Some(BinaryOp::Pow),
        _ => None,
    }
}

pub(super) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(b: u8) -> bool {
    b == b'_' || b.is_ascii_alphanumeric()
}
