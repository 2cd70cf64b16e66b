//! The effective config as text, laid out as the reference's YAML library lays it out: dashboards and people compare it.
//!
//! [`Out`] is what to show, [`render`] how. Secrets are shown as `<secret>`; [`fingerprint`] also covers what they hide.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{LazyLock, OnceLock};

use super::scalar::{self, Resolved};
use crate::net::Secret;

/// Lines are folded at the first space behind this column.
const BEST_WIDTH: usize = 80;

/// A value to show.
#[derive(Clone, Debug, Default)]
pub(super) enum Out {
    /// Nothing, not even the key.
    #[default]
    Omit,
    /// A text, quoted where it would otherwise be read as something else.
    Text(String),
    /// A number, a boolean or `null`.
    Word(String),
    /// A secret, or a text that holds one.
    Hidden {
        shown: String,
        secret: Secret,
    },
    /// Texts in one line.
    Flow(Vec<String>),
    Seq(Vec<Out>),
    Map(Vec<(String, Out)>),
}

impl Out {
    /// A secret by its usual mark.
    pub(super) fn secret(secret: &Secret) -> Out {
        Out::Hidden { shown: "<secret>".into(), secret: secret.clone() }
    }

    fn is_omitted(&self) -> bool {
        matches!(self, Out::Omit)
    }
}

/// The whole text of a mapping.
pub(super) fn render(root: &Out) -> String {
    let mut writer = Writer::default();
    match root {
        Out::Map(entries) => writer.mapping(entries, 0),
        other => writer.value(other, 0),
    }
    writer.text
}

/// The text and what it hides, such that equal values have equal fingerprints within this process. What is hidden goes
/// through a hash whose key is forgotten with the process, so that a printed fingerprint gives nothing away.
pub(super) fn fingerprint(root: &Out) -> String {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let mut hasher = KEY.get_or_init(RandomState::new).build_hasher();
    let mut count = 0;
    hash_hidden(root, &mut hasher, &mut count);
    let mut text = render(root);
    if count > 0 {
        let _infallible = writeln!(text, "# hidden: {:016x}", hasher.finish());
    }
    text
}

fn hash_hidden(out: &Out, hasher: &mut impl Hasher, count: &mut usize) {
    match out {
        Out::Hidden { secret, .. } => {
            *count += 1;
            hasher.write_usize(secret.reveal().len());
            hasher.write(secret.reveal().as_bytes());
        }
        Out::Seq(items) => items.iter().for_each(|i| hash_hidden(i, hasher, count)),
        Out::Map(entries) => entries.iter().for_each(|(_, v)| hash_hidden(v, hasher, count)),
        Out::Omit | Out::Text(_) | Out::Word(_) | Out::Flow(_) => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Key,
    Block,
    Flow,
}

#[derive(Default)]
struct Writer {
    text: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, c: char) {
        self.text.push(c);
        self.column = if c == '\n' { 0 } else { self.column + 1 };
    }

    fn puts(&mut self, s: &str) {
        s.chars().for_each(|c| self.put(c));
    }

    fn new_line(&mut self, indent: usize) {
        self.put('\n');
        (0..indent).for_each(|_| self.put(' '));
    }

    /// Entries at `indent`; the cursor stands where the first one goes.
    fn mapping(&mut self, entries: &[(String, Out)], indent: usize) {
        for (key, value) in entries.iter().filter(|(_, v)| !v.is_omitted()) {
            (self.column..indent).for_each(|_| self.put(' '));
            self.scalar(key, Place::Key, indent);
            self.put(':');
            match value {
                Out::Map(inner) if inner.iter().any(|(_, v)| !v.is_omitted()) => {
                    self.put('\n');
                    self.mapping(inner, indent + 2);
                }
                Out::Seq(items) if !items.is_empty() => {
                    self.put('\n');
                    self.sequence(items, indent);
                }
                other => {
                    self.put(' ');
                    self.value(other, indent);
                }
            }
        }
    }

    fn sequence(&mut self, items: &[Out], indent: usize) {
        for item in items {
            (self.column..indent).for_each(|_| self.put(' '));
            self.puts("- ");
            match item {
                Out::Map(inner) if inner.iter().any(|(_, v)| !v.is_omitted()) => self.mapping(inner, indent + 2),
                Out::Seq(inner) if !inner.is_empty() => self.sequence(inner, indent + 2),
                other => self.value(other, indent),
            }
        }
    }

    /// What fits behind a key or a dash, and the end of the line.
    fn value(&mut self, value: &Out, indent: usize) {
        match value {
            Out::Text(text) | Out::Hidden { shown: text, .. } => self.scalar(text, Place::Block, indent + 2),
            Out::Word(word) => self.puts(word),
            Out::Flow(items) => self.flow(items, indent + 2),
            Out::Map(_) => self.puts("{}"),
            Out::Seq(_) => self.puts("[]"),
            Out::Omit => self.puts("null"),
        }
        if !self.text.ends_with('\n') {
            self.put('\n');
        }
    }

    fn flow(&mut self, items: &[String], indent: usize) {
        self.put('[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.put(',');
            }
            if self.column > BEST_WIDTH {
                self.new_line(indent);
            } else if i > 0 {
                self.put(' ');
            }
            self.scalar(item, Place::Flow, indent);
        }
        self.put(']');
    }

    fn scalar(&mut self, text: &str, place: Place, indent: usize) {
        let facts = Facts::of(text);
        match facts.style(text, place) {
            Style::Plain => self.folded(text, place, indent, |w, c| w.put(c)),
            Style::Single => {
                self.put('\'');
                self.folded(text, place, indent, |w, c| {
                    if c == '\'' {
                        w.put('\'');
                    }
                    w.put(c);
                });
                self.put('\'');
            }
            Style::Double => self.double_quoted(text, place, indent),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Characters with line breaks in place of single spaces behind the best width.
    fn folded(&mut self, text: &str, place: Place, indent: usize, put: impl Fn(&mut Writer, char)) {
        let chars: Vec<char> = text.chars().collect();
        for (i, c) in chars.iter().enumerate() {
            let alone = *c == ' ' && i > 0 && chars[i - 1] != ' ' && chars.get(i + 1).is_some_and(|n| *n != ' ');
            if alone && place != Place::Key && self.column > BEST_WIDTH {
                self.new_line(indent);
            } else {
                put(self, *c);
            }
        }
    }

    fn double_quoted(&mut self, text: &str, place: Place, indent: usize) {
        self.put('"');
        let chars: Vec<char> = text.chars().collect();
        for (i, c) in chars.iter().enumerate() {
            let foldable = *c == ' ' && i > 0 && chars[i - 1] != ' ' && i + 1 < chars.len();
            if !is_printable(*c) || is_break(*c) || matches!(c, '"' | '\\') {
                let escaped = escape(*c);
                self.puts(&escaped);
            } else if foldable && place != Place::Key && self.column > BEST_WIDTH {
                self.new_line(indent);
                if chars[i + 1] == ' ' {
                    self.put('\\');
                }
            } else {
                self.put(*c);
            }
        }
        self.put('"');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put('|');
        if text.starts_with([' ', '\n']) {
            self.put('2');
        }
        match text.strip_suffix('\n') {
            None => self.put('-'),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put('+'),
            Some(_) => {}
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.new_line(if line.is_empty() { 0 } else { indent });
            self.puts(line);
        }
        self.put('\n');
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// What the characters of a text allow.
struct Facts {
    multi_line: bool,
    plain_in_flow: bool,
    plain_in_block: bool,
    single: bool,
    literal: bool,
}

impl Facts {
    fn of(text: &str) -> Facts {
        let chars: Vec<char> = text.chars().collect();
        let (mut in_block, mut in_flow) = (false, false);
        if text.starts_with("---") || text.starts_with("...") {
            (in_block, in_flow) = (true, true);
        }
        let (mut special, mut breaks, mut break_space, mut space_break) = (false, false, false, false);
        for (i, &c) in chars.iter().enumerate() {
            let before = i.checked_sub(1).map(|p| chars[p]);
            let blank_after = chars.get(i + 1).is_none_or(|n| matches!(n, ' ' | '\t') || is_break(*n));
            match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if i == 0 =>
                {
                    (in_flow, in_block) = (true, true);
                }
                '-' if i == 0 && blank_after => (in_flow, in_block) = (true, true),
                '?' if i == 0 => (in_flow, in_block) = (true, in_block || blank_after),
                ':' => (in_flow, in_block) = (true, in_block || blank_after),
                ',' | '?' | '[' | ']' | '{' | '}' => in_flow = true,
                '#' if before.is_some_and(|b| matches!(b, ' ' | '\t') || is_break(b)) => {
                    (in_flow, in_block) = (true, true);
                }
                _ => {}
            }
            special |= !is_printable(c);
            breaks |= is_break(c);
            break_space |= c == ' ' && before.is_some_and(is_break);
            space_break |= is_break(c) && before == Some(' ');
        }
        let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
        let ragged = edge(chars.first()) || edge(chars.last());
        let hard = space_break || special;
        let plain = !(ragged || break_space || hard || breaks);
        Facts {
            multi_line: breaks,
            plain_in_flow: plain && !in_flow,
            plain_in_block: plain && !in_block,
            single: !(break_space || hard),
            literal: !(chars.last() == Some(&' ') || hard),
        }
    }

    fn style(&self, text: &str, place: Place) -> Style {
        let wanted = if text.contains('\n') {
            Style::Literal
        } else if scalar::resolve(text) == Resolved::Text && !is_sexagesimal(text) && text != "<<" {
            Style::Plain
        } else {
            Style::Double
        };
        let plain_allowed = if place == Place::Flow { self.plain_in_flow } else { self.plain_in_block };
        match wanted {
            _ if place == Place::Key && self.multi_line => Style::Double,
            Style::Plain if plain_allowed => Style::Plain,
            Style::Plain if self.single => Style::Single,
            Style::Literal if self.literal && place == Place::Block => Style::Literal,
            _ => Style::Double,
        }
    }
}

/// Numbers to base 60 of YAML 1.1, such as `12:30`.
fn is_sexagesimal(text: &str) -> bool {
    #[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
    static PATTERN: LazyLock<regex::Regex> = LazyLock::new(|| {
        regex::Regex::new(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$").expect("constant pattern")
    });
    text.contains(':') && PATTERN.is_match(text)
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn escape(c: char) -> String {
    let letter = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = u32::from(c);
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        render(&Out::Map(vec![("k".into(), Out::Text(text.into()))]))
    }

    /// The right side was printed by the reference.
    #[test]
    fn texts_are_quoted_as_the_reference_quotes_them() {
        for (text, shown) in [
            ("up", "up"),
            ("yes", "\"yes\""),
            ("1.5", "\"1.5\""),
            ("a: b", "'a: b'"),
            ("", "\"\""),
            ("~", "\"~\""),
            (" lead", "' lead'"),
            ("x #y", "'x #y'"),
            ("a#b", "a#b"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("12:30:45", "\"12:30:45\""),
            ("2001-01-01", "\"2001-01-01\""),
            ("a'b", "a'b"),
            ("{job=\"a\"}", "'{job=\"a\"}'"),
            ("tab\tx", "\"tab\\tx\""),
            (":", "':'"),
            ("?", "'?'"),
            ("---", "'---'"),
            ("NaN", "NaN"),
            (".inf", "\".inf\""),
            ("0o7", "\"0o7\""),
            ("a, b", "a, b"),
            ("é", "é"),
            ("=", "="),
            ("multi\nline\n", "|\n  multi\n  line"),
        ] {
            assert_eq!(line(text), format!("k: {shown}\n"), "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_folded_as_the_reference_folds_them() {
        let long = format!("very long text that goes{} until 80 columns are exceeded", " on and".repeat(9) + " on");
        let shown = render(&Out::Map(vec![(
            "params".into(),
            Out::Map(vec![("match[]".into(), Out::Seq(vec![Out::Text(long)]))]),
        )]));
        assert!(shown.starts_with("params:\n  match[]:\n  - very long text that goes on and on and"), "{shown}");
        assert!(shown.lines().nth(3).unwrap().starts_with("    "), "{shown}");
    }

    #[test]
    fn a_fingerprint_sees_what_is_hidden_and_does_not_show_it() {
        let with = |secret: &str| fingerprint(&Out::Map(vec![("p".into(), Out::secret(&Secret::new(secret)))]));
        assert_ne!(with("hunter2"), with("hunter3"));
        assert_eq!(with("hunter2"), with("hunter2"));
        assert!(!with("hunter2").contains("hunter2"));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["a\n\nb", "\nlead", " x\ny", "end \n", "é\u{1F600}", "a\u{85}b", "x\\y\"z", "a  b", "\r", "\u{7f}"]
        {
            let shown = line(text);
            let doc = super::super::yaml::parse(&shown).unwrap();
            let super::super::yaml::Content::Map(entries) = &doc.root.content else { panic!("{shown}") };
            assert_eq!(entries[0].value.scalar().map(|s| s.text.as_str()), Some(text), "{shown}");
        }
    }
}
