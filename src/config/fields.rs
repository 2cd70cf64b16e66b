//! Reading a tree into values while collecting every mistake.
//!
//! [`Fields`] reads one mapping. Each of its keys is named exactly once, in the order in which the effective config
//! shows them: taking a key also makes it known, so that [`Fields::finish`] can refuse the others, and shows its value.
//! A mistake never stops the reading; the reader goes on with a default that nobody will see, because a config with
//! mistakes is refused as a whole.
//!
//! A key whose value is null gets the zero of its type, not its default, as in the reference; a missing key its default.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::features::Features;
use super::mistake::{ConfigWarning, Mistake, mistake, nearest};
use super::render::Out;
use super::scalar::{ByteSize, Resolved, format_float};
use super::yaml::{self, Content, Entry, Node, Pos};
use crate::model::DurationMs;
use crate::net::Secret;

/// Of one file more mistakes than this help nobody.
const MAX_MISTAKES: usize = 1000;

/// What is collected while one file is read.
#[derive(Debug)]
pub(super) struct Reader {
    file: PathBuf,
    /// Relative paths of the file start here.
    dir: PathBuf,
    /// Some change defaults.
    features: Features,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<ConfigWarning>>,
}

impl Reader {
    /// A reader for `file`, whose relative paths start in `dir`.
    pub(super) fn new(file: &Path, dir: &Path) -> Reader {
        Reader {
            file: file.to_owned(),
            dir: dir.to_owned(),
            features: Features::default(),
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// A reader that knows what the command line enables.
    pub(super) fn with_features(self, features: &Features) -> Reader {
        Reader { features: *features, ..self }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn mistake(&self, pos: Pos, key: &str, why: impl Into<String>) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MAX_MISTAKES {
            mistakes.push(mistake(&self.file, pos, key, why.into()));
        }
    }

    pub(super) fn warn(&self, pos: Pos, key: &str, why: impl Into<String>) {
        let mistake = mistake(&self.file, pos, key, why.into());
        self.warnings.borrow_mut().push(ConfigWarning { mistake, is_of_open_listener: false });
    }

    fn warn_if_open(&self, pos: Pos, key: &str, why: &str) {
        let mistake = mistake(&self.file, pos, key, why.to_owned());
        self.warnings.borrow_mut().push(ConfigWarning { mistake, is_of_open_listener: true });
    }

    /// Everything that was collected.
    pub(super) fn finish(self) -> (Vec<Mistake>, Vec<ConfigWarning>) {
        (self.mistakes.into_inner(), self.warnings.into_inner())
    }

    /// Takes over what the reader of an included file has collected.
    pub(super) fn absorb(&self, other: Reader) {
        let (mistakes, warnings) = other.finish();
        self.mistakes.borrow_mut().extend(mistakes);
        self.warnings.borrow_mut().extend(warnings);
    }

    /// The tree of `text` if it is YAML at all.
    pub(super) fn parse(&self, text: &str) -> Option<std::sync::Arc<Node>> {
        match yaml::parse(text) {
            Err(e) => {
                self.mistake(e.pos, "", e.why);
                None
            }
            Ok(document) => {
                document.mistakes.into_iter().for_each(|e| self.mistake(e.pos, "", e.why));
                if let Some(pos) = document.ignored {
                    self.warn(pos, "", "only the first document of the file is read");
                }
                Some(document.root)
            }
        }
    }

    /// A path of this file, absolute or relative to the working directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        join(&self.dir, path)
    }
}

/// `path` as seen from `dir`, without `.` and without `..` where it can be resolved, as the reference joins paths.
pub(super) fn join(dir: &Path, path: &str) -> PathBuf {
    if path.is_empty() || Path::new(path).is_absolute() {
        return PathBuf::from(path);
    }
    let mut out = PathBuf::new();
    for part in dir.join(path).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir
                if matches!(out.components().next_back(), Some(std::path::Component::Normal(_))) =>
            {
                out.pop();
            }
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// A value and the way to it.
#[derive(Clone, Debug)]
pub(super) struct At<'c> {
    pub reader: &'c Reader,
    pub node: &'c Node,
    pub path: String,
}

impl<'c> At<'c> {
    /// The whole of a file.
    pub(super) fn root(reader: &'c Reader, node: &'c Node) -> At<'c> {
        At { reader, node, path: String::new() }
    }

    pub(super) fn mistake(&self, why: impl Into<String>) {
        self.reader.mistake(self.node.pos, &self.path, why);
    }

    pub(super) fn warn(&self, why: impl Into<String>) {
        self.reader.warn(self.node.pos, &self.path, why);
    }

    fn expected(&self, what: &str) {
        match &self.node.content {
            Content::Broken(why) => self.mistake(why.clone()),
            Content::Bytes(bytes) => self.mistake(format!("{} is not valid UTF-8", quote_bytes(bytes))),
            // Where a mapping or a list belongs, the text may be a secret that lacks its key.
            Content::Scalar(s) if !self.node.is_null() && !matches!(what, "a mapping" | "a list") => {
                self.mistake(format!("expected {what}, found {:?}", s.text));
            }
            _ => self.mistake(format!("expected {what}, found {}", self.node.kind_name())),
        }
    }

    /// The items of a list; a null is the empty list.
    pub(super) fn items(&self) -> Vec<At<'c>> {
        match &self.node.content {
            Content::Seq(items) => items
                .iter()
                .enumerate()
                .map(|(i, node)| At { reader: self.reader, node, path: format!("{}[{i}]", self.path) })
                .collect(),
            _ if self.node.is_null() => Vec::new(),
            _ => {
                self.expected("a list");
                Vec::new()
            }
        }
    }

    /// Keys and values of a mapping with free keys; a null is the empty one.
    pub(super) fn pairs(&self) -> Vec<(At<'c>, At<'c>)> {
        match &self.node.content {
            Content::Map(entries) => entries
                .iter()
                .map(|e| {
                    let name = e.key.scalar().map_or("?", |s| s.text.as_str());
                    let path = join_keys(&self.path, name);
                    let key = At { reader: self.reader, node: &e.key, path: path.clone() };
                    (key, At { reader: self.reader, node: &e.value, path })
                })
                .collect(),
            _ if self.node.is_null() => Vec::new(),
            _ => {
                self.expected("a mapping");
                Vec::new()
            }
        }
    }

    /// The fields of a mapping; a null is one without fields.
    pub(super) fn fields(&self) -> Fields<'c> {
        let entries = match &self.node.content {
            Content::Map(entries) => entries.as_slice(),
            _ if self.node.is_null() => &[],
            _ => {
                self.expected("a mapping");
                &[]
            }
        };
        Fields {
            at: self.clone(),
            entries,
            known: Vec::new(),
            refused: Vec::new(),
            shown: Vec::new(),
            faulty: Cell::default(),
        }
    }

    /// The value as `T`, or a mistake.
    pub(super) fn read<T: Field>(&self) -> Option<T> {
        if self.node.is_null() { Some(T::zero()) } else { T::read(self) }
    }

    /// Whether it is neither a mapping nor a sequence.
    pub(super) fn is_scalar(&self) -> bool {
        self.node.scalar().is_some()
    }

    /// The text of a scalar; numbers and booleans are texts as they are written.
    pub(super) fn text(&self) -> Option<&'c str> {
        let text = self.node.scalar().map(|s| s.text.as_str());
        if text.is_none() {
            self.expected("a text");
        }
        text
    }
}

/// The keys of one mapping.
#[derive(Debug)]
pub(super) struct Fields<'c> {
    at: At<'c>,
    entries: &'c [Entry],
    known: Vec<&'static str>,
    /// Those of the known keys that are refused wherever they are given.
    refused: Vec<&'static str>,
    shown: Vec<(&'static str, Out)>,
    faulty: Cell<bool>,
}

/// The shown fields of a mapping, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown(Vec<(&'static str, Out)>);

impl Shown {
    /// Replaces what is shown for a key that was taken before.
    pub(super) fn set(&mut self, key: &'static str, out: Out) {
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some(slot) => slot.1 = out,
            None => self.0.push((key, out)),
        }
    }

    /// The fields as a mapping.
    pub(super) fn into_out(self) -> Out {
        Out::Map(self.0.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    /// The same, but omitted where no field is shown.
    pub(super) fn into_out_or_omit(self) -> Out {
        if self.0.iter().all(|(_, v)| matches!(v, Out::Omit)) { Out::Omit } else { self.into_out() }
    }
}

impl<'c> Fields<'c> {
    /// The value of `key`, or `default` where the key is missing. Shown unless it is the zero of its type.
    pub(super) fn take<T: Field>(&mut self, key: &'static str, default: T) -> T {
        let value = self.value(key, default);
        self.put(key, if value.is_zero() { Out::Omit } else { value.out() });
        value
    }

    /// Like [`take`](Self::take), but always shown.
    pub(super) fn always<T: Field>(&mut self, key: &'static str, default: T) -> T {
        let value = self.value(key, default);
        self.put(key, value.out());
        value
    }

    /// The value of `key`, or `None` where the key is missing or null.
    pub(super) fn optional<T: Field>(&mut self, key: &'static str) -> Option<T> {
        let value = self.section(key).and_then(|at| self.noticing(|| at.read::<T>()));
        self.put(key, value.as_ref().map_or(Out::Omit, T::out));
        value
    }

    /// One of some words, or `default` where the key is missing or null.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&'static str, T)]) -> T {
        let Some(at) = self.section(key) else { return default };
        let Some(text) = at.text() else { return default };
        match words.iter().find(|(w, _)| *w == text) {
            Some((word, value)) => {
                self.put(key, Out::Text((*word).to_owned()));
                *value
            }
            None => {
                at.mistake(unknown_word("value", text, words.iter().map(|(w, _)| *w)));
                self.faulty.set(true);
                default
            }
        }
    }

    /// A path, resolved; `None` where it is missing or empty.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text: String = self.value(key, String::new());
        let path = (!text.is_empty()).then(|| self.at.reader.path(&text));
        self.put(key, path.as_deref().map_or(Out::Omit, show_path));
        path
    }

    /// The value of `key` to be read by somebody else, who also says what to show; `None` where it is missing or null.
    pub(super) fn section(&mut self, key: &'static str) -> Option<At<'c>> {
        self.given(key).filter(|at| !at.node.is_null())
    }

    /// Like [`section`](Self::section), but a null counts too.
    pub(super) fn given(&mut self, key: &'static str) -> Option<At<'c>> {
        if !self.known.contains(&key) {
            self.known.push(key);
            self.shown.push((key, Out::Omit));
        }
        self.find(key)
    }

    /// The items of the list under `key`.
    pub(super) fn items(&mut self, key: &'static str) -> Vec<At<'c>> {
        self.section(key).map_or_else(Vec::new, |at| at.items())
    }

    /// Says what is shown for `key`.
    pub(super) fn put(&mut self, key: &'static str, out: Out) {
        if let Some(slot) = self.shown.iter_mut().find(|(k, _)| *k == key) {
            slot.1 = out;
        }
    }

    /// A mistake at `key`, or at the mapping where the key is missing.
    pub(super) fn mistake(&self, key: &str, why: impl Into<String>) {
        let path = join_keys(&self.at.path, key);
        let pos = self.find(key).map_or(self.at.node.pos, |at| at.node.pos);
        self.at.reader.mistake(pos, &path, why);
    }

    /// Refuses `key` where it is given, with a sentence.
    pub(super) fn refuse(&mut self, key: &'static str, why: &str) {
        self.refused.push(key);
        if let Some(at) = self.given(key) {
            at.mistake(why);
        }
    }

    /// What the command line enables.
    pub(super) fn features(&self) -> Features {
        self.at.reader.features
    }

    /// Knows `key` and warns that it has no effect. It is not offered where a key is unknown.
    pub(super) fn without_effect(&mut self, key: &'static str, why: &str) {
        self.refused.push(key);
        if let Some(at) = self.given(key) {
            at.warn(why);
        }
    }

    /// Warns that `key` is accepted but not acted upon.
    pub(super) fn not_yet(&self, key: &str) {
        self.warn(key, "accepted and checked, but this version does not act on it yet");
    }

    /// A warning at `key`; none where the key is missing.
    pub(super) fn warn(&self, key: &str, why: &str) {
        if let Some(entry) = self.entry(key) {
            self.at.reader.warn(entry.key.pos, &join_keys(&self.at.path, key), why);
        }
    }

    /// As [`Fields::warn`], of what is of no concern where clients have to show who they are.
    pub(super) fn warn_if_open(&self, key: &str, why: &str) {
        if let Some(entry) = self.entry(key) {
            self.at.reader.warn_if_open(entry.key.pos, &join_keys(&self.at.path, key), why);
        }
    }

    /// True if a value of this mapping could not be read, so that comparing values with each other would mislead.
    pub(super) fn has_faulty(&self) -> bool {
        self.faulty.get()
    }

    /// True if `key` is there at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The reader of the file.
    pub(super) fn reader(&self) -> &'c Reader {
        self.at.reader
    }

    /// The mapping itself.
    pub(super) fn at(&self) -> &At<'c> {
        &self.at
    }

    /// Refuses the keys that nobody has taken, and gives what to show.
    pub(super) fn finish(self) -> Shown {
        for entry in self.entries {
            let name = entry.key.scalar().map(|s| s.text.as_str());
            if name.is_some_and(|n| self.known.contains(&n)) {
                continue;
            }
            let key = name.unwrap_or("?");
            let path = join_keys(&self.at.path, key);
            let hint = self.hint(key);
            self.at.reader.mistake(entry.key.pos, &path, format!("unknown key; {hint}"));
        }
        Shown(self.shown)
    }

    /// What to write instead of an unknown key.
    fn hint(&self, key: &str) -> String {
        /// More keys than this are a page, not a hint.
        const FEW: usize = 16;
        let valid: Vec<&str> = self.known.iter().filter(|k| !self.refused.contains(k)).copied().collect();
        match nearest(key, self.known.iter().copied()) {
            Some(k) if self.refused.contains(&k) => format!("did you mean {k}, which is not available?"),
            Some(k) => format!("did you mean {k}?"),
            None if valid.len() <= FEW => format!("the keys here are {}", valid.join(", ")),
            None => "nothing here has a similar name".to_owned(),
        }
    }

    fn value<T: Field>(&mut self, key: &'static str, default: T) -> T {
        match self.given(key) {
            None => default,
            Some(at) => self.noticing(|| at.read::<T>()).unwrap_or(default),
        }
    }

    fn noticing<T>(&self, read: impl FnOnce() -> Option<T>) -> Option<T> {
        let value = read();
        self.faulty.set(self.faulty.get() || value.is_none());
        value
    }

    fn entry(&self, key: &str) -> Option<&'c Entry> {
        self.entries.iter().find(|e| e.key.scalar().is_some_and(|s| s.text == key))
    }

    /// The value of `key`, without taking it.
    pub(super) fn find(&self, key: &str) -> Option<At<'c>> {
        let entry = self.entry(key)?;
        Some(At { reader: self.at.reader, node: &entry.value, path: join_keys(&self.at.path, key) })
    }
}

/// `unknown value "x"; did you mean y?` and what is allowed.
pub(super) fn unknown_word<'a>(what: &str, word: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = nearest(word, words.clone()).map_or(String::new(), |w| format!("did you mean {w}? "));
    let allowed: Vec<&str> = words.collect();
    format!("unknown {what} {word:?}; {hint}allowed: {}", allowed.join(", "))
}

fn join_keys(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A path to show.
pub(super) fn show_path(path: &Path) -> Out {
    Out::Text(path.to_string_lossy().into_owned())
}

/// Bytes in quotes, what is not ASCII as `\xff`.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// A type of value.
pub(super) trait Field: Sized {
    /// The value of something that is not null, or `None` after a mistake has been noted.
    fn read(at: &At<'_>) -> Option<Self>;
    /// What a null means.
    fn zero() -> Self;
    /// True for the value that is not shown.
    fn is_zero(&self) -> bool;
    /// How it is shown.
    fn out(&self) -> Out;
}

impl Field for bool {
    fn read(at: &At<'_>) -> Option<bool> {
        if let Some(Resolved::Bool(value)) = at.node.scalar().map(|s| s.resolve()) {
            return Some(value);
        }
        at.expected("true or false");
        None
    }
    fn zero() -> bool {
        false
    }
    fn is_zero(&self) -> bool {
        !*self
    }
    fn out(&self) -> Out {
        Out::Word(self.to_string())
    }
}

impl Field for String {
    fn read(at: &At<'_>) -> Option<String> {
        at.text().map(str::to_owned)
    }
    fn zero() -> String {
        String::new()
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
    fn out(&self) -> Out {
        Out::Text(self.clone())
    }
}

impl Field for Secret {
    fn read(at: &At<'_>) -> Option<Secret> {
        match at.node.scalar() {
            Some(s) => Some(Secret::new(s.text.as_str())),
            None => {
                // Not `expected`, which would repeat the value.
                at.mistake(format!("expected a text, found {}", at.node.kind_name()));
                None
            }
        }
    }
    fn zero() -> Secret {
        Secret::default()
    }
    fn is_zero(&self) -> bool {
        self.reveal().is_empty()
    }
    fn out(&self) -> Out {
        if self.is_zero() { Out::Word("null".into()) } else { Out::secret(self) }
    }
}

impl Field for u64 {
    fn read(at: &At<'_>) -> Option<u64> {
        let value = match at.node.scalar().map(|s| s.resolve()) {
            Some(Resolved::Int(n)) => u64::try_from(n).ok(),
            Some(Resolved::Uint(n)) => Some(n),
            Some(Resolved::Float(f)) => whole(f).and_then(|n| u64::try_from(n).ok()),
            _ => None,
        };
        if value.is_none() {
            at.expected("a whole number, zero or more");
        }
        value
    }
    fn zero() -> u64 {
        0
    }
    fn is_zero(&self) -> bool {
        *self == 0
    }
    fn out(&self) -> Out {
        Out::Word(self.to_string())
    }
}

impl Field for i64 {
    fn read(at: &At<'_>) -> Option<i64> {
        let value = match at.node.scalar().map(|s| s.resolve()) {
            Some(Resolved::Int(n)) => Some(n),
            Some(Resolved::Float(f)) => whole(f),
            _ => None,
        };
        if value.is_none() {
            at.expected("a whole number");
        }
        value
    }
    fn zero() -> i64 {
        0
    }
    fn is_zero(&self) -> bool {
        *self == 0
    }
    fn out(&self) -> Out {
        Out::Word(self.to_string())
    }
}

/// Floats without a fraction are whole numbers, such as `1e6`.
fn whole(f: f64) -> Option<i64> {
    /// Above 2^53 floats skip whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (f.fract() == 0.0 && f.abs() <= EXACT).then_some(f as i64)
}

impl Field for f64 {
    fn read(at: &At<'_>) -> Option<f64> {
        let value = match at.node.scalar().map(|s| s.resolve()) {
            Some(Resolved::Int(n)) => Some(n as f64),
            Some(Resolved::Uint(n)) => Some(n as f64),
            Some(Resolved::Float(f)) => Some(f),
            _ => None,
        };
        if value.is_none() {
            at.expected("a number");
        }
        value
    }
    fn zero() -> f64 {
        0.0
    }
    fn is_zero(&self) -> bool {
        *self == 0.0
    }
    fn out(&self) -> Out {
        Out::Word(format_float(*self))
    }
}

impl Field for DurationMs {
    fn read(at: &At<'_>) -> Option<DurationMs> {
        parsed(at)
    }
    fn zero() -> DurationMs {
        DurationMs(0)
    }
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
    fn out(&self) -> Out {
        Out::Text(self.to_string())
    }
}

impl Field for ByteSize {
    fn read(at: &At<'_>) -> Option<ByteSize> {
        parsed(at)
    }
    fn zero() -> ByteSize {
        ByteSize(0)
    }
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
    fn out(&self) -> Out {
        Out::Text(self.to_string())
    }
}

fn parsed<T: FromStr<Err: ToString>>(at: &At<'_>) -> Option<T> {
    at.text()?.parse().map_err(|e: T::Err| at.mistake(e.to_string())).ok()
}

impl<T: Field> Field for Vec<T> {
    fn read(at: &At<'_>) -> Option<Vec<T>> {
        let items: Vec<Option<T>> = at.items().iter().map(At::read).collect();
        let is_list = matches!(at.node.content, Content::Seq(_));
        is_list.then_some(items)?.into_iter().collect()
    }
    fn zero() -> Vec<T> {
        Vec::new()
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
    fn out(&self) -> Out {
        Out::Seq(self.iter().map(Field::out).collect())
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn read(at: &At<'_>) -> Option<BTreeMap<String, T>> {
        let pairs = at.pairs().into_iter().map(|(key, value)| Some((key.text()?.to_owned(), value.read::<T>()?)));
        let pairs: Vec<_> = pairs.collect();
        let is_map = matches!(at.node.content, Content::Map(_));
        is_map.then_some(pairs)?.into_iter().collect()
    }
    fn zero() -> BTreeMap<String, T> {
        BTreeMap::new()
    }
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
    fn out(&self) -> Out {
        let mut entries: Vec<(String, Out)> = self.iter().map(|(k, v)| (k.clone(), v.out())).collect();
        entries.sort_by(|a, b| natural_order(&a.0, &b.0));
        Out::Map(entries)
    }
}

/// The order of free keys in the reference's output: letters after other characters, numbers by value.
pub(super) fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[i], b[i]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return std::cmp::Ordering::Greater,
        (false, true) => return std::cmp::Ordering::Less,
        (false, false) => {}
    }
    // A zero inside of a number counts as a digit of it, one at its start does not.
    let inside = (x == '0' || y == '0') && a[..i].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let number = |s: &[char]| {
        let digits = s[i..].iter().take_while(|c| c.is_ascii_digit());
        digits.fold((u64::from(inside), 0usize), |(n, len), c| {
            (n.saturating_mul(10).saturating_add(u64::from(*c) - u64::from('0')), len + 1)
        })
    };
    number(&a).cmp(&number(&b)).then(x.cmp(&y))
}
