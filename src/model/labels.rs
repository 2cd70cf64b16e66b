//! Label sets: one shared allocation of length-prefixed, name-sorted pairs.
//!
//! The encoding of one string is its length (one byte below 255, else `0xFF` and four bytes little endian) and
//! its bytes; a pair is name then value; a set is its pairs in ascending order of name. Comparing, hashing and
//! cloning a set never walk a `Vec<String>`, and a set's bytes can be copied into any buffer and read back.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";
/// The longest label name or value that a set can hold; longer input is refused by the callers' own limits.
pub const MAX_STRING_LEN: usize = u32::MAX as usize;

/// An immutable, name-sorted label set without empty values. Cloning is a reference count.
///
/// ```
/// use watershed::model::Labels;
/// let labels = Labels::from_pairs([("job", "node"), ("__name__", "up")]);
/// assert_eq!(labels.metric_name(), Some("up"));
/// assert_eq!(labels.to_string(), r#"up{job="node"}"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Labels {
        static EMPTY: OnceLock<Arc<[u8]>> = OnceLock::new();
        Labels(EMPTY.get_or_init(|| Arc::from([])).clone())
    }

    /// Builds a set from pairs in any order. A later pair of the same name wins; an empty value means absence.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.labels()
    }

    /// Takes pairs already encoded by [`push_pair`], sorted by name, without empty values.
    pub fn from_encoded(bytes: &[u8]) -> Labels {
        debug_assert!(LabelsIter(bytes).is_sorted_by(|a, b| a.0 < b.0), "encoded labels must be sorted by name");
        if bytes.is_empty() { Labels::empty() } else { Labels(Arc::from(bytes)) }
    }

    /// The encoded pairs.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value of `name`, or `None`; empty values are never stored.
    pub fn get(&self, name: &str) -> Option<&str> {
        get_encoded(&self.0, name)
    }

    /// The value of [`METRIC_NAME`].
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The pairs in ascending order of name.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter(&self.0)
    }

    /// True if the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash that is the same in every process and version (xxh64 over the encoding).
    pub fn stable_hash(&self) -> u64 {
        xxhash_rust::xxh64::xxh64(&self.0, 0)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;
    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Default for Labels {
    fn default() -> Labels {
        Labels::empty()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prometheus's order of series: pair by pair, name before value, a shorter set before a longer one.
impl Ord for Labels {
    fn cmp(&self, other: &Labels) -> Ordering {
        cmp_encoded(&self.0, &other.0)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let plain_name = name.filter(|n| is_legacy_metric_name(n));
        f.write_str(plain_name.unwrap_or(""))?;
        let mut first = true;
        for (n, v) in self.iter().filter(|(n, _)| !(plain_name.is_some() && *n == METRIC_NAME)) {
            f.write_str(if first { "{" } else { ", " })?;
            first = false;
            if is_legacy_label_name(n) {
                f.write_str(n)?
            } else {
                write!(f, "{n:?}")?
            }
            write!(f, "={}", Quoted(v))?;
        }
        match (first, plain_name) {
            (false, _) => f.write_str("}"),
            (true, None) => f.write_str("{}"),
            (true, Some(_)) => Ok(()),
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Iterates over the pairs of an encoded set.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a>(&'a [u8]);

impl<'a> LabelsIter<'a> {
    /// Reads pairs from bytes that [`push_pair`] wrote.
    pub fn over(encoded: &'a [u8]) -> LabelsIter<'a> {
        LabelsIter(encoded)
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        if self.0.is_empty() {
            return None;
        }
        let (name, rest) = take_str(self.0);
        let (value, rest) = take_str(rest);
        self.0 = rest;
        Some((name, value))
    }
}

/// Iterates over the pairs of an encoded set as bytes, for those who only compare and copy them.
#[derive(Clone, Debug)]
pub struct RawPairs<'a>(&'a [u8]);

impl<'a> RawPairs<'a> {
    /// Reads pairs from bytes that [`push_pair`] wrote.
    pub fn over(encoded: &'a [u8]) -> RawPairs<'a> {
        RawPairs(encoded)
    }

    /// The encoding of the pairs that are still to come, for those who copy whole pairs.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for RawPairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        if self.0.is_empty() {
            return None;
        }
        let (name, rest) = take_bytes(self.0);
        let (value, rest) = take_bytes(rest);
        self.0 = rest;
        Some((name, value))
    }
}

/// Appends one pair in the encoding of [`Labels`].
pub fn push_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    push_str(out, name);
    push_str(out, value);
}

/// Looks up a value in encoded pairs.
pub fn get_encoded<'a>(encoded: &'a [u8], name: &str) -> Option<&'a str> {
    LabelsIter(encoded).find_map(|(n, v)| (n == name).then_some(v))
}

/// Compares two encoded sets in Prometheus's order of series.
pub fn cmp_encoded(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (LabelsIter(a), LabelsIter(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => match x.cmp(&y) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

fn push_str(out: &mut Vec<u8>, s: &str) {
    match u8::try_from(s.len()) {
        Ok(len) if len < u8::MAX => out.push(len),
        _ => {
            out.push(u8::MAX);
            // Callers cap bodies far below 4 GiB, so the length always fits.
            out.extend_from_slice(&u32::try_from(s.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    out.extend_from_slice(s.as_bytes());
}

#[inline]
fn take_bytes(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = match bytes[0] {
        u8::MAX => {
            let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            (len as usize, &bytes[5..])
        }
        len => (usize::from(len), &bytes[1..]),
    };
    rest.split_at(len)
}

fn take_str(bytes: &[u8]) -> (&str, &[u8]) {
    let (s, rest) = take_bytes(bytes);
    // Only `push_str` writes this encoding and it takes `&str`; the check costs less than a cache miss.
    (std::str::from_utf8(s).unwrap_or_default(), rest)
}

/// Collects and edits labels before they become a [`Labels`]; reusable, without an allocation per label.
///
/// An empty value is the same as absence, as everywhere in Prometheus.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    text: String,
    pairs: Vec<Pair>,
    encoded: Vec<u8>,
    /// The bits of all names that have been set, so that most names that are absent are not searched for.
    names: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    start: u32,
    name_len: u32,
    value_len: u32,
}

impl Pair {
    fn name(self, text: &str) -> &str {
        &text[self.start as usize..][..self.name_len as usize]
    }
    fn value(self, text: &str) -> &str {
        &text[self.start as usize + self.name_len as usize..][..self.value_len as usize]
    }
}

impl LabelsBuilder {
    /// An empty builder.
    pub fn new() -> LabelsBuilder {
        LabelsBuilder::default()
    }

    /// Forgets all labels and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
        self.names = 0;
    }

    /// Starts again from `labels`.
    pub fn reset(&mut self, labels: &Labels) {
        self.clear();
        for (name, value) in labels {
            self.push(name, value);
        }
    }

    /// Sets `name` to `value`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        if self.names & name_bit(name) != 0 {
            self.pairs.retain(|p| p.name(&self.text) != name);
        }
        if !value.is_empty() {
            self.push(name, value);
        }
    }

    /// Adds a label whose name is known to be absent, without looking for it. The value must not be empty.
    pub fn push_new(&mut self, name: &str, value: &str) {
        debug_assert!(!value.is_empty(), "an empty value is no label");
        self.push(name, value);
    }

    /// Removes `name`.
    pub fn del(&mut self, name: &str) {
        self.set(name, "");
    }

    /// The value of `name`; the empty string where it is absent.
    pub fn get(&self, name: &str) -> &str {
        if self.names & name_bit(name) == 0 {
            return "";
        }
        self.pairs.iter().find(|p| p.name(&self.text) == name).map_or("", |p| p.value(&self.text))
    }

    /// True if `name` has a value.
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// The pairs in the order in which they were last set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|p| (p.name(&self.text), p.value(&self.text)))
    }

    /// Keeps only the pairs for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let text = &self.text;
        self.pairs.retain(|p| keep(p.name(text), p.value(text)));
    }

    /// True if there is no label.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The finished set.
    pub fn labels(&mut self) -> Labels {
        Labels::from_encoded(self.encode())
    }

    /// The encoding of the finished set, borrowed until the next change.
    pub fn encode(&mut self) -> &[u8] {
        let text = &self.text;
        self.pairs.sort_unstable_by(|a, b| a.name(text).cmp(b.name(text)));
        self.encoded.clear();
        for p in &self.pairs {
            push_pair(&mut self.encoded, p.name(text), p.value(text));
        }
        &self.encoded
    }

    fn push(&mut self, name: &str, value: &str) {
        let fit = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pair = Pair { start: fit(self.text.len()), name_len: fit(name.len()), value_len: fit(value.len()) };
        self.text.push_str(name);
        self.text.push_str(value);
        self.pairs.push(pair);
        self.names |= name_bit(name);
    }
}

/// One of 64 bits, by length and the last two bytes: names of one series mostly differ in these.
fn name_bit(name: &str) -> u64 {
    let (last, before) = match name.as_bytes() {
        [.., before, last] => (*last, *before),
        [only] => (*only, 0),
        [] => (0, 0),
    };
    let mix = name.len() as u32 ^ u32::from(last) << 8 ^ u32::from(before) << 16;
    1 << (mix.wrapping_mul(0x9e37_79b9) >> 26)
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, the label names of before UTF-8 support.
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`, the metric names of before UTF-8 support.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_and_the_last_of_a_name_wins() {
        let l = Labels::from_pairs([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
        assert_eq!(l.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(l.get("c"), None);
    }

    #[test]
    fn a_builder_finds_exactly_the_names_that_are_set() {
        let names: Vec<String> = (0..200).map(|i| format!("name_{}", i * 7919 % 1000)).collect();
        let mut builder = LabelsBuilder::new();
        for (i, name) in names.iter().enumerate() {
            assert!(!builder.has(name), "{name} is not there yet");
            builder.set(name, "first");
            builder.set(name, "second");
            assert_eq!((builder.get(name), builder.len()), ("second", i + 1));
        }
        names.iter().for_each(|name| builder.del(name));
        assert!(builder.is_empty());
    }

    #[test]
    fn long_strings_survive_the_encoding() {
        for len in [0, 1, 254, 255, 256, 70_000] {
            let value = "x".repeat(len);
            let l = Labels::from_pairs([("a", value.as_str()), ("z", "end")]);
            assert_eq!(l.get("a").unwrap_or(""), value);
            assert_eq!(l.get("z"), Some("end"));
        }
    }

    #[test]
    fn raw_pairs_are_the_bytes_of_the_pairs() {
        let value = "é".repeat(200);
        let l = Labels::from_pairs([("a", value.as_str()), ("z", "end")]);
        let raw: Vec<_> = RawPairs::over(l.as_bytes()).collect();
        assert_eq!(raw, l.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect::<Vec<_>>());
    }

    #[test]
    fn order_is_by_pairs_not_by_encoded_bytes() {
        let short = Labels::from_pairs([("a", "zz")]);
        let long = Labels::from_pairs([("a", "bbbb")]);
        assert!(long < short, "b sorts before z although its encoding is longer");
        assert!(Labels::from_pairs([("a", "1")]) < Labels::from_pairs([("a", "1"), ("b", "1")]));
        assert!(Labels::empty() < short);
    }

    #[test]
    fn display_quotes_what_a_plain_name_cannot_hold() {
        let l = Labels::from_pairs([(METRIC_NAME, "my.metric"), ("a", "q\"\\\n")]);
        assert_eq!(l.to_string(), r#"{__name__="my.metric", a="q\"\\\n"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
    }
}
