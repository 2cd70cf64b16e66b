//! The text format 0.0.4.

use std::io;

use memchr::memchr3;

use super::negotiate::Format;
use crate::model::labels::{RawPairs, is_legacy_metric_name};
use crate::model::number::{write_float, write_int};
use crate::model::{EscapingScheme, Labels, METRIC_NAME};
use crate::storage::{LatestBatch, LatestRow, LatestStream, QueryError, StreamEnd, StreamStep};

/// The buffer is handed on once it holds so many bytes; large enough for compression to work well.
const FLUSH_BYTES: usize = 128 << 10;
/// The label that every series is given, if empty, so that a scraper's own does not take its place.
const INSTANCE: &str = "instance";

/// What an answer took.
#[derive(Debug)]
#[must_use = "the end of a stream carries its warnings"]
pub struct Written {
    /// Series written.
    pub series: u64,
    /// Series left out because they have no name.
    pub nameless: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The end of the stream.
    pub end: StreamEnd,
}

/// Why an answer broke off. What has been handed on before stays.
#[derive(Debug, thiserror::Error)]
pub enum FederateError {
    /// Storage failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The answer could not be handed on; mostly the client went away.
    #[error("writing the answer: {0}")]
    Sink(#[source] io::Error),
}

/// Writes all rows of `stream`, each with those of the external labels that it lacks behind its own.
///
/// `sink` is given the buffer whenever it is full and at the end; it takes the bytes out, or leaves them to be thrown
/// away. Nothing is handed on before the first 128 KiB, so that an early failure can still become a status.
pub fn write_text(
    stream: &mut dyn LatestStream,
    external: &Labels,
    format: Format,
    sink: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> Result<Written, FederateError> {
    let mut writer = Writer::new(external, format.escaping);
    let mut batch = LatestBatch::default();
    let (mut series, mut nameless, mut bytes) = (0, 0, 0);
    loop {
        let step = stream.next(&mut batch)?;
        for row in &batch.rows {
            match writer.row(batch.labels(row), row) {
                Row::Written => series += 1,
                Row::Nameless => nameless += 1,
            }
            if writer.out.len() >= FLUSH_BYTES {
                bytes += hand_on(&mut writer.out, sink)?;
            }
        }
        if let StreamStep::End(end) = step {
            bytes += hand_on(&mut writer.out, sink)?;
            return Ok(Written { series, nameless, bytes, end });
        }
    }
}

fn hand_on(buffer: &mut Vec<u8>, sink: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>) -> Result<u64, FederateError> {
    let bytes = buffer.len() as u64;
    if bytes > 0 {
        sink(buffer).map_err(FederateError::Sink)?;
        buffer.clear();
    }
    Ok(bytes)
}

enum Row {
    Written,
    Nameless,
}

/// A label that series without it are given.
struct External {
    name: Vec<u8>,
    /// `name="value"` as it is written.
    written: Vec<u8>,
}

struct Writer {
    out: Vec<u8>,
    escaping: EscapingScheme,
    /// In ascending order of name.
    external: Vec<External>,
    /// Whether the row that is being written has each of them.
    present: Vec<bool>,
    /// The family that is being written; empty before the first.
    family: Vec<u8>,
    /// What each of its lines begins with: `name` and a brace, or a brace and the quoted name and a comma.
    head: Vec<u8>,
}

impl Writer {
    fn new(external: &Labels, escaping: EscapingScheme) -> Writer {
        let mut pairs: Vec<(&str, &str)> = external.iter().collect();
        if external.get(INSTANCE).is_none() {
            pairs.push((INSTANCE, ""));
        }
        pairs.sort_unstable();
        let external: Vec<External> = pairs
            .into_iter()
            .map(|(name, value)| {
                let mut written = Vec::new();
                push_name(&mut written, name.as_bytes(), escaping);
                push_value(&mut written, value.as_bytes());
                External { name: name.into(), written }
            })
            .collect();
        let present = vec![false; external.len()];
        let out = Vec::with_capacity(FLUSH_BYTES + (FLUSH_BYTES >> 2));
        Writer { out, escaping, external, present, family: Vec::new(), head: Vec::new() }
    }

    fn row(&mut self, labels: &[u8], row: &LatestRow) -> Row {
        let Some((_, name)) = RawPairs::over(labels).find(|(name, _)| *name == METRIC_NAME.as_bytes()) else {
            return Row::Nameless;
        };
        if name != self.family {
            self.begin_family(name);
        }
        self.out.extend_from_slice(&self.head);
        self.own_labels(labels);
        self.absent_external_labels();
        // Every label wrote a comma behind itself, and there is always one: `instance`.
        self.out.pop();
        self.out.extend_from_slice(b"} ");
        write_float(&mut self.out, row.v);
        self.out.push(b' ');
        write_int(&mut self.out, row.t.0);
        self.out.push(b'\n');
        Row::Written
    }

    fn begin_family(&mut self, name: &[u8]) {
        self.family.clear();
        self.family.extend_from_slice(name);
        let mut written = Vec::new();
        push_name(&mut written, name, self.escaping);
        self.out.extend_from_slice(b"# TYPE ");
        self.out.extend_from_slice(&written);
        self.out.extend_from_slice(b" untyped\n");
        self.head.clear();
        if written.first() == Some(&b'"') {
            self.head.push(b'{');
            self.head.append(&mut written);
            self.head.push(b',');
        } else {
            self.head.append(&mut written);
            self.head.push(b'{');
        }
    }

    /// Writes the row's labels and notes which of the external ones are among them. Both are in order of name.
    fn own_labels(&mut self, labels: &[u8]) {
        self.present.fill(false);
        let mut next = 0;
        for (name, value) in RawPairs::over(labels) {
            if name == METRIC_NAME.as_bytes() {
                continue;
            }
            while let Some(external) = self.external.get(next)
                && *external.name <= *name
            {
                self.present[next] = *external.name == *name;
                next += 1;
            }
            push_name(&mut self.out, name, self.escaping);
            push_value(&mut self.out, value);
            self.out.push(b',');
        }
    }

    fn absent_external_labels(&mut self) {
        for (external, present) in self.external.iter().zip(&self.present) {
            if !present {
                self.out.extend_from_slice(&external.written);
                self.out.push(b',');
            }
        }
    }
}

/// Writes a metric's or label's name: as it is, escaped, or in quotes. A label's name may hold colons, as in the reference.
fn push_name(out: &mut Vec<u8>, name: &[u8], escaping: EscapingScheme) {
    if is_plain(name) {
        out.extend_from_slice(name);
    } else {
        push_special_name(out, name, escaping);
    }
}

#[cold]
fn push_special_name(out: &mut Vec<u8>, name: &[u8], escaping: EscapingScheme) {
    let name = String::from_utf8_lossy(name);
    let mut escaped = String::new();
    escaping.write_name(&mut escaped, &name);
    if is_legacy_metric_name(&escaped) {
        out.extend_from_slice(escaped.as_bytes());
    } else {
        out.push(b'"');
        push_escaped(out, escaped.as_bytes());
        out.push(b'"');
    }
}

/// `="value"`
fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b"=\"");
    push_escaped(out, value);
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = memchr3(b'\\', b'\n', b'"', text) {
        out.extend_from_slice(&text[..at]);
        out.push(b'\\');
        out.push(if text[at] == b'\n' { b'n' } else { text[at] });
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// What a byte may be in a plain name.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric() || b == b'_' as usize || b == b':' as usize;
        b += 1;
    }
    table
};

/// [`is_legacy_metric_name`] on bytes.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(|b| PLAIN[usize::from(*b)])
}

#[cfg(test)]
mod tests;
