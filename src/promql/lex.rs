//! Text to tokens.
//!
//! The language has two modes: outside of braces, where operators, numbers and keywords live, and inside, where every
//! word is a name. The brackets of ranges are a third one, which selectors never enter.

use std::borrow::Cow;
use std::ops::Range;

use super::error::{ParseError, describe_char, quote, quote_char};

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The end of the text.
    End,
    /// A word without colons that is no keyword; inside of braces any word.
    Identifier,
    /// A word with colons.
    MetricIdentifier,
    /// A word that is a keyword outside of braces.
    Keyword(Keyword),
    /// A quoted string, with its quotes.
    String,
    Number,
    Duration,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    LeftBracket,
    Comma,
    /// `=`
    Equal,
    /// `!=`, also between expressions
    NotEqual,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    /// An operator that only expressions know.
    Operator,
}

/// What sort of word a keyword is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keyword {
    /// `and`, `atan2`
    Operator,
    /// `sum`, `topk`
    Aggregator,
    /// `by`, `offset`
    Modifier,
    /// `start`, `step`
    Preprocessor,
}

/// Keywords in any case, and whether each may be a metric's name all the same.
const KEYWORDS: [(&str, Keyword, bool); 37] = [
    ("and", Keyword::Operator, true),
    ("or", Keyword::Operator, true),
    ("unless", Keyword::Operator, true),
    ("atan2", Keyword::Operator, false),
    ("sum", Keyword::Aggregator, true),
    ("avg", Keyword::Aggregator, true),
    ("count", Keyword::Aggregator, true),
    ("min", Keyword::Aggregator, true),
    ("max", Keyword::Aggregator, true),
    ("group", Keyword::Aggregator, true),
    ("stddev", Keyword::Aggregator, true),
    ("stdvar", Keyword::Aggregator, true),
    ("topk", Keyword::Aggregator, true),
    ("bottomk", Keyword::Aggregator, true),
    ("count_values", Keyword::Aggregator, true),
    ("quantile", Keyword::Aggregator, true),
    ("limitk", Keyword::Aggregator, true),
    ("limit_ratio", Keyword::Aggregator, true),
    ("offset", Keyword::Modifier, true),
    ("smoothed", Keyword::Modifier, true),
    ("anchored", Keyword::Modifier, true),
    ("by", Keyword::Modifier, true),
    ("without", Keyword::Modifier, true),
    ("on", Keyword::Modifier, false),
    ("ignoring", Keyword::Modifier, false),
    ("group_left", Keyword::Modifier, false),
    ("group_right", Keyword::Modifier, false),
    ("fill", Keyword::Modifier, true),
    ("fill_left", Keyword::Modifier, true),
    ("fill_right", Keyword::Modifier, true),
    ("bool", Keyword::Modifier, false),
    ("start", Keyword::Preprocessor, true),
    ("end", Keyword::Preprocessor, true),
    ("step", Keyword::Preprocessor, true),
    ("range", Keyword::Preprocessor, true),
    ("max_of", Keyword::Preprocessor, true),
    ("min_of", Keyword::Preprocessor, true),
];

/// A token: what it is and which bytes it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub range: Range<usize>,
}

impl Token {
    /// The token's text in `text`.
    pub(super) fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.range.clone()]
    }

    /// Whether it may stand before braces as a metric's name.
    pub(super) fn is_metric_name(&self, text: &str) -> bool {
        match self.kind {
            Kind::Identifier | Kind::MetricIdentifier => true,
            Kind::Keyword(_) => keyword(self.of(text)).is_some_and(|(_, _, is_name)| *is_name),
            _ => false,
        }
    }

    /// How an error speaks of it.
    pub(super) fn describe(&self, text: &str) -> String {
        let own = self.of(text);
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quote(own)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(own)),
            Kind::String => format!("string {}", quote_short(own)),
            Kind::Number => format!("number {}", quote_short(own)),
            Kind::Duration => format!("duration {}", quote_short(own)),
            Kind::Keyword(Keyword::Aggregator) => format!("<aggr:{own}>"),
            Kind::Keyword(Keyword::Modifier) => format!("<{own}>"),
            Kind::Keyword(Keyword::Operator) | Kind::Operator => format!("<op:{own}>"),
            Kind::NotEqual | Kind::EqualRegex | Kind::NotEqualRegex => format!("<op:{own}>"),
            _ => quote_short(own),
        }
    }
}

/// At most ten characters of a text.
fn quote_short(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((end, _)) if text.len() > 10 => format!("{}...", quote(&text[..end])),
        _ => quote(text),
    }
}

fn keyword(word: &str) -> Option<&'static (&'static str, Keyword, bool)> {
    KEYWORDS.iter().find(|(k, _, _)| k.eq_ignore_ascii_case(word))
}

/// Walks over a text and hands out its tokens; comments and spaces are passed over.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    in_braces: bool,
    open_parens: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0, start: 0, in_braces: false, open_parens: 0 }
    }

    /// The next token. After the end, the end again; after an error, nothing sensible.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_space_and_comments();
        self.start = self.at;
        let kind = if self.in_braces { self.inside_braces() } else { self.outside_braces() }?;
        Ok(Token { kind, range: self.start..self.at })
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
        Err(ParseError::new(self.text, self.start..self.text.len(), message))
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.accept_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
            if self.peek() != Some('#') {
                return;
            }
            let line = self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
            self.at += line;
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
            '!' if self.accept('=') => Ok(Kind::NotEqual),
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
        let Some(c) = self.bump() else {
            return if self.open_parens > 0 { self.fail("unclosed left parenthesis") } else { Ok(Kind::End) };
        };
        match c {
            ',' => Ok(Kind::Comma),
            '*' | '/' | '%' | '+' | '-' | '^' | '@' => Ok(Kind::Operator),
            '=' if self.accept('=') => Ok(Kind::Operator),
            '=' if self.peek() == Some('~') => self.fail("unexpected character after '=': '~'"),
            '=' => Ok(Kind::Equal),
            '!' if self.accept('=') => Ok(Kind::NotEqual),
            '!' => {
                let next = quote_char(self.peek());
                self.fail(format!("unexpected character after '!': {next}"))
            }
            '<' | '>' => {
                let _ = self.accept('=') || self.accept('/');
                Ok(Kind::Operator)
            }
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.at = self.start;
                self.number_or_duration()
            }
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            c if is_alpha(c) || c == ':' => Ok(self.word()),
            '(' => {
                self.open_parens += 1;
                Ok(Kind::LeftParen)
            }
            ')' if self.open_parens > 0 => {
                self.open_parens -= 1;
                Ok(Kind::RightParen)
            }
            ')' => {
                // The reference complains of the place behind it.
                self.start = self.at;
                self.fail("unexpected right parenthesis ')'")
            }
            '{' => {
                self.in_braces = true;
                Ok(Kind::LeftBrace)
            }
            '[' => Ok(Kind::LeftBracket),
            ']' => self.fail("unexpected right bracket ']'"),
            c => self.fail(format!("unexpected character: {}", quote_char(Some(c)))),
        }
    }

    fn word(&mut self) -> Kind {
        self.accept_while(|b| is_alphanumeric(b) || b == b':');
        let word = &self.text[self.start..self.at];
        if ["inf", "nan"].iter().any(|n| n.eq_ignore_ascii_case(word)) {
            return Kind::Number;
        }
        match keyword(word) {
            // These became keywords late; where no parenthesis follows, they stay names.
            Some((k, ..)) if k.starts_with("fill") && !self.parenthesis_follows() => Kind::Identifier,
            Some((_, class, _)) => Kind::Keyword(*class),
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        }
    }

    fn parenthesis_follows(&self) -> bool {
        self.rest().trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(')
    }

    fn number_or_duration(&mut self) -> Result<Kind, ParseError> {
        if self.number() {
            return Ok(Kind::Number);
        }
        if self.rest_of_duration() {
            return Ok(Kind::Duration);
        }
        let read = quote(&self.text[self.start..self.at]);
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
        let (mut dot, mut exponent) = (self.accept('.'), false);
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

/// The value of a string token, which the lexer has found well-formed. `None` if its escapes make invalid UTF-8.
pub(super) fn unquote(token: &str) -> Option<Cow<'_, str>> {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') || !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        rest = unescape(after, &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).ok().map(Cow::Owned)
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

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(b: u8) -> bool {
    b == b'_' || b.is_ascii_alphanumeric()
}
