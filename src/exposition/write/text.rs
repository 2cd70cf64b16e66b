//! The text formats, piece by piece.

use memchr::memchr3;

use super::FamilyHead;
use crate::model::labels::{is_legacy_label_name, is_legacy_metric_name};
use crate::model::number::{write_float, write_int, write_seconds};
use crate::model::{EscapingScheme, Exemplar, MetricType, TimestampMs};

/// The last line of an OpenMetrics body.
pub const EOF: &[u8] = b"# EOF\n";

/// Which text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Prometheus text, 0.0.4 or 1.0.0.
    Prometheus,
    /// OpenMetrics, 0.0.1 or 1.0.0.
    OpenMetrics,
}

impl Dialect {
    /// The word for a type; Prometheus text knows only the first five.
    pub fn type_word(self, metric_type: MetricType) -> &'static str {
        match (metric_type, self) {
            (MetricType::Counter | MetricType::Gauge | MetricType::Histogram | MetricType::Summary, _)
            | (_, Dialect::OpenMetrics) => metric_type.as_str(),
            (_, Dialect::Prometheus) => "untyped",
        }
    }

    /// Appends a sample's time.
    #[inline]
    pub fn push_time(self, out: &mut Vec<u8>, t: TimestampMs) {
        match self {
            Dialect::Prometheus => write_int(out, t.0),
            Dialect::OpenMetrics => write_seconds(out, t),
        }
    }
}

/// Appends the comment lines of a family.
pub fn push_head(out: &mut Vec<u8>, dialect: Dialect, escaping: EscapingScheme, head: &FamilyHead<'_>) {
    let mut name = Vec::new();
    push_name(&mut name, head.name.as_bytes(), escaping);
    let mut line = |keyword: &str, text: &[u8]| {
        for piece in [b"# ", keyword.as_bytes(), b" ", &name, b" ", text, b"\n"] {
            out.extend_from_slice(piece);
        }
    };
    if !head.help.is_empty() {
        line("HELP", &escaped_help(head.help, dialect));
    }
    line("TYPE", dialect.type_word(head.metric_type).as_bytes());
    // A name that was written in another way may not end with the unit any more.
    let is_same_name = name == head.name.as_bytes();
    if let (Dialect::OpenMetrics, true, Some(unit)) = (dialect, is_same_name, head.named_unit()) {
        line("UNIT", unit.as_bytes());
    }
}

fn escaped_help(help: &str, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::with_capacity(help.len());
    for byte in help.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' if dialect == Dialect::OpenMetrics => out.extend_from_slice(b"\\\""),
            other => out.push(other),
        }
    }
    out
}

/// What each line of a series of that name begins with: `name` and a brace, or a brace and the quoted name and a comma. Labels
/// follow, each with a comma behind it.
pub fn line_head(name: &[u8], escaping: EscapingScheme) -> Vec<u8> {
    let mut head = Vec::new();
    push_name(&mut head, name, escaping);
    if head.first() == Some(&b'"') {
        head.insert(0, b'{');
        head.push(b',');
    } else {
        head.push(b'{');
    }
    head
}

/// Appends a metric's name: as it is, escaped, or in quotes.
pub fn push_name(out: &mut Vec<u8>, name: &[u8], escaping: EscapingScheme) {
    if is_plain(name) || name.contains(&b':') && is_legacy_metric_name(&String::from_utf8_lossy(name)) {
        out.extend_from_slice(name);
    } else {
        push_special_name(out, name, escaping, is_legacy_metric_name);
    }
}

/// Appends a label's name. One with a colon comes in quotes: the reference writes it as it is, which no parser takes.
#[inline]
fn push_label_name(out: &mut Vec<u8>, name: &[u8], escaping: EscapingScheme) {
    if is_plain(name) {
        out.extend_from_slice(name);
    } else {
        push_special_name(out, name, escaping, is_legacy_label_name);
    }
}

#[cold]
fn push_special_name(out: &mut Vec<u8>, name: &[u8], escaping: EscapingScheme, is_legacy: fn(&str) -> bool) {
    let name = String::from_utf8_lossy(name);
    let mut escaped = String::new();
    escaping.write_name(&mut escaped, &name);
    if is_legacy(&escaped) {
        out.extend_from_slice(escaped.as_bytes());
    } else {
        out.push(b'"');
        push_escaped(out, escaped.as_bytes());
        out.push(b'"');
    }
}

/// Appends `name="value",`.
#[inline]
pub fn push_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8], escaping: EscapingScheme) {
    push_label_name(out, name, escaping);
    out.extend_from_slice(b"=\"");
    push_escaped(out, value);
    out.extend_from_slice(b"\",");
}

/// Appends `name="value",` where neither needs escaping.
#[inline]
pub fn push_plain_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b"=\"");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\",");
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

/// Ends the labels of a line, of which there is at least one, and appends value and time.
#[inline]
pub fn push_sample(out: &mut Vec<u8>, dialect: Dialect, v: f64, t: TimestampMs) {
    push_value(out, v);
    out.push(b' ');
    dialect.push_time(out, t);
}

/// Ends the labels of a line, of which there is at least one, and appends the value.
#[inline]
pub fn push_value(out: &mut Vec<u8>, v: f64) {
    // Every label wrote a comma behind itself.
    out.pop();
    out.extend_from_slice(b"} ");
    write_float(out, v);
}

/// Appends an exemplar to a line of OpenMetrics.
pub fn push_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar, escaping: EscapingScheme) {
    out.extend_from_slice(b" # {");
    for (name, value) in &exemplar.labels {
        push_pair(out, name.as_bytes(), value.as_bytes(), escaping);
    }
    if !exemplar.labels.is_empty() {
        out.pop();
    }
    out.extend_from_slice(b"} ");
    write_float(out, exemplar.value);
    if let Some(t) = exemplar.t {
        out.push(b' ');
        write_seconds(out, t);
    }
}

/// What a byte may be in a plain name.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric() || b == b'_' as usize;
        b += 1;
    }
    table
};

/// [`is_legacy_label_name`] on bytes.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(|b| PLAIN[usize::from(*b)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Event, Format, Parser, SeriesLabels, unescape_help};
    use crate::model::Labels;

    fn head(name: &str, metric_type: MetricType, help: &str, unit: &str, dialect: Dialect) -> String {
        let mut out = Vec::new();
        push_head(&mut out, dialect, EscapingScheme::AllowUtf8, &FamilyHead { name, metric_type, help, unit });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_dialect_says_of_a_family_what_it_can() {
        use Dialect::{OpenMetrics, Prometheus};
        let help = "a \"b\" \\ c\nd";
        assert_eq!(
            head("x_seconds", MetricType::Gauge, help, "seconds", Prometheus),
            "# HELP x_seconds a \"b\" \\\\ c\\nd\n# TYPE x_seconds gauge\n"
        );
        assert_eq!(
            head("x_seconds", MetricType::Gauge, help, "seconds", OpenMetrics),
            "# HELP x_seconds a \\\"b\\\" \\\\ c\\nd\n# TYPE x_seconds gauge\n# UNIT x_seconds seconds\n"
        );
        for (name, unit) in [("x", "seconds"), ("xseconds", "seconds"), ("_s", "s"), ("s", "s"), ("x_", "")] {
            assert!(!head(name, MetricType::Gauge, "", unit, OpenMetrics).contains("UNIT"), "{name} {unit}");
        }
        for (metric_type, text, openmetrics) in [
            (MetricType::Unknown, "untyped", "unknown"),
            (MetricType::Info, "untyped", "info"),
            (MetricType::StateSet, "untyped", "stateset"),
            (MetricType::GaugeHistogram, "untyped", "gaugehistogram"),
            (MetricType::Summary, "summary", "summary"),
        ] {
            assert_eq!(head("m", metric_type, "", "", Prometheus), format!("# TYPE m {text}\n"));
            assert_eq!(head("m", metric_type, "", "", OpenMetrics), format!("# TYPE m {openmetrics}\n"));
        }
    }

    #[test]
    fn heads_and_lines_are_read_back_by_the_parser() {
        for (dialect, format) in [(Dialect::Prometheus, Format::Text), (Dialect::OpenMetrics, Format::OpenMetrics)] {
            let help = "a \"b\" \\ c\nd \\n";
            let mut body = head("m.x_s", MetricType::Counter, help, "s", dialect).into_bytes();
            body.extend_from_slice(&line_head(b"m.x_s", EscapingScheme::AllowUtf8));
            push_pair(&mut body, b"a.b", "ü\"\\\n".as_bytes(), EscapingScheme::AllowUtf8);
            push_plain_pair(&mut body, b"c", b"d");
            push_sample(&mut body, dialect, -1.5e-7, TimestampMs(1_700_000_000_098));
            if dialect == Dialect::OpenMetrics {
                let labels = Labels::from_pairs([("trace_id", "abc"), ("x", "y")]);
                let exemplar = Exemplar { labels, value: 0.5, t: Some(TimestampMs(1_699_999_999_999)) };
                push_exemplar(&mut body, &exemplar, EscapingScheme::AllowUtf8);
                let end = body.len();
                body.push(b'\n');
                body.extend_from_slice(EOF);
                let mut parser = Parser::new(&body, format);
                let found = loop {
                    if let Event::Series(sample) = parser.next().unwrap().unwrap() {
                        break sample.exemplar.unwrap().decode();
                    }
                };
                assert_eq!(found, exemplar, "{}", String::from_utf8_lossy(&body[..end]));
            } else {
                body.push(b'\n');
            }
            let mut parser = Parser::new(&body, format);
            let mut told = Vec::new();
            while let Some(event) = parser.next().unwrap() {
                told.push(match event {
                    Event::Help(name, text) => {
                        assert_eq!((name, &*unescape_help(text, format)), (&b"m.x_s"[..], help));
                        "help"
                    }
                    Event::Type(_, metric_type) => {
                        assert_eq!(metric_type, MetricType::Counter);
                        "type"
                    }
                    Event::Unit(_, unit) => {
                        assert_eq!(unit, b"s");
                        "unit"
                    }
                    Event::Comment => "comment",
                    Event::Series(sample) => {
                        assert_eq!((sample.value, sample.timestamp), (-1.5e-7, Some(TimestampMs(1_700_000_000_098))));
                        let mut labels = SeriesLabels::new();
                        labels.decode(sample.series, format, MetricType::Counter).unwrap();
                        let pairs: Vec<_> = labels.iter().collect();
                        assert_eq!(pairs, [("__name__", "m.x_s"), ("a.b", "ü\"\\\n"), ("c", "d")]);
                        "series"
                    }
                });
            }
            let expected: &[&str] = match dialect {
                // The unit stays away from a name in quotes.
                Dialect::Prometheus | Dialect::OpenMetrics => &["help", "type", "series"],
            };
            assert_eq!(told, expected);
        }
    }
}
