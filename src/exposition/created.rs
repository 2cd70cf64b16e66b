//! `_created` lines of OpenMetrics: since when the series before them have been counted.

use super::grammar::{Piece, walk_pieces};
use super::{Event, Format, Parser};
use crate::model::{MetricType, TimestampMs};

const SUFFIX: &[u8] = b"_created";

/// Finds the start timestamps of a body's series, in the order of the body.
///
/// A `_created` line comes after the series that it is about, so it is looked for ahead. The line that was found, or the
/// place up to which there is none, is remembered: each line is looked at once however many series there are before it.
#[derive(Clone, Debug, Default)]
pub struct CreatedLines {
    /// Length of the family's name as the last comment line wrote it.
    family_len: usize,
    /// What lies ahead is known up to here.
    known_until: usize,
    /// The line there, if it is one.
    ahead: Option<Created>,
    /// The line that was last found to be about a series; the series after it may still be of the same.
    matched: Option<Created>,
    identity: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Created {
    /// Labels and family name.
    identity: Vec<u8>,
    start: TimestampMs,
}

fn has_starts(family: MetricType) -> bool {
    matches!(family, MetricType::Counter | MetricType::Summary | MetricType::Histogram)
}

impl CreatedLines {
    /// Notes the family that a comment line was about, by the length of its name as written.
    pub fn set_family(&mut self, name_len: usize) {
        self.family_len = name_len;
    }

    /// Whether a line of a family only says since when others have been counted.
    pub fn is_one(&self, series: &[u8], family: MetricType) -> bool {
        // Names hold no blanks; a suffix within a label's value is found again below.
        has_starts(family) && memchr::memmem::find(series, SUFFIX).is_some() && metric_name(series).ends_with(SUFFIX)
    }

    /// Whether of a line of such a family there is anything to say.
    pub fn concerns(&mut self, family: MetricType) -> bool {
        let concerned = has_starts(family);
        if !concerned {
            self.matched = None;
        }
        concerned
    }

    /// Since when the parser's last series has been counted; 0 if nobody says.
    pub fn start_of(&mut self, series: &[u8], parser: &Parser<'_>) -> TimestampMs {
        let family = parser.family_type();
        if !self.concerns(family) {
            return TimestampMs(0);
        }
        if parser.line_start() >= self.known_until {
            self.look_ahead(parser.clone(), family);
        }
        if self.ahead.is_none() && self.matched.is_none() {
            return TimestampMs(0);
        }
        self.identity.clear();
        let family_len = self.family_len;
        push_identity(&mut self.identity, series, family, |name| &name[..name.len().min(family_len)]);
        let is_it = |line: &&Created| line.identity == self.identity;
        if let Some(line) = self.matched.as_ref().filter(|line| line.start.0 > 0).filter(is_it) {
            return line.start;
        }
        self.matched = self.ahead.as_ref().filter(is_it).cloned();
        self.matched.as_ref().map_or(TimestampMs(0), |line| line.start)
    }

    fn look_ahead(&mut self, mut parser: Parser<'_>, family: MetricType) {
        self.ahead = None;
        loop {
            // An error ahead is told when the walk itself gets there.
            let event = parser.next();
            self.known_until = parser.line_start();
            let Ok(Some(Event::Series(sample))) = event else { return };
            if !metric_name(sample.series).ends_with(SUFFIX) {
                continue;
            }
            let mut identity = Vec::new();
            push_identity(&mut identity, sample.series, family, |name| &name[..name.len() - SUFFIX.len()]);
            // As the reference converts it: towards zero, and what does not fit to the end of the range.
            self.ahead = Some(Created { identity, start: TimestampMs((sample.value * 1000.0) as i64) });
            return;
        }
    }
}

fn metric_name(series: &[u8]) -> &[u8] {
    let mut metric: &[u8] = b"";
    // A series part that a parser has yielded has no faults.
    let _ = walk_pieces(series, 0, Format::OpenMetrics, |piece| {
        if let Piece::Name(name) = piece {
            metric = name;
        }
    });
    metric
}

/// Labels as they are written, without the one that tells parts of one metric apart, and a part of the name.
fn push_identity(out: &mut Vec<u8>, series: &[u8], family: MetricType, part: impl Fn(&[u8]) -> &[u8]) {
    let mut metric: &[u8] = b"";
    let _ = walk_pieces(series, 0, Format::OpenMetrics, |piece| match piece {
        Piece::Name(name) => metric = name,
        Piece::Label(name, value) => {
            let is_part = matches!((family, name), (MetricType::Summary, b"quantile") | (MetricType::Histogram, b"le"));
            if !is_part {
                // Escaped text holds no line breaks.
                [name, b"\n", value, b"\n"].into_iter().for_each(|text| out.extend_from_slice(text));
            }
        }
    });
    out.extend_from_slice(part(metric));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each series that is not a `_created` line with its start.
    fn starts(body: &str) -> Vec<(String, i64)> {
        let (mut parser, mut created, mut out) =
            (Parser::new(body.as_bytes(), Format::OpenMetrics), CreatedLines::default(), Vec::new());
        while let Some(event) = parser.next().expect("a good body") {
            match event {
                Event::Series(sample) if created.is_one(sample.series, parser.family_type()) => {}
                Event::Series(sample) => {
                    let start = created.start_of(sample.series, &parser);
                    out.push((String::from_utf8_lossy(sample.series).into_owned(), start.0));
                }
                Event::Type(name, _) | Event::Help(name, _) | Event::Unit(name, _) => created.set_family(name.len()),
                Event::Comment => {}
            }
        }
        out
    }

    #[test]
    fn starts_are_found_behind_the_series_that_they_are_about() {
        let body = "# TYPE c counter\nc_total{a=\"1\"} 1\nc_created{a=\"1\"} 1.5\nc_total{a=\"2\"} 1\nc_total{a=\"3\"} 1\n\
                    c_created{a=\"3\"} 3\n# TYPE h histogram\nh_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 1\n\
                    h_count{a=\"1\"} 1\nh_sum{a=\"1\"} 1\nh_created{a=\"1\"} 7\n# TYPE s summary\ns{quantile=\"0\"} 1\ns_count 1\n\
                    s_created 8\ns_sum 1\n# TYPE g gauge\ng 1\ng_created 9\n# TYPE d counter\nd_total 1\n# EOF\n";
        let expected = [
            ("c_total{a=\"1\"}", 1500),
            ("c_total{a=\"2\"}", 0),
            ("c_total{a=\"3\"}", 3000),
            ("h_bucket{a=\"1\",le=\"1\"}", 7000),
            ("h_bucket{a=\"1\",le=\"+Inf\"}", 7000),
            ("h_count{a=\"1\"}", 7000),
            ("h_sum{a=\"1\"}", 7000),
            ("s{quantile=\"0\"}", 8000),
            ("s_count", 8000),
            ("s_sum", 8000),
            ("g", 0),
            ("g_created", 0),
            ("d_total", 0),
        ];
        assert_eq!(starts(body), expected.map(|(series, start)| (series.to_owned(), start)));
    }

    #[test]
    fn quoted_names_have_starts_too() {
        let body =
            "# TYPE \"c.d\" counter\n{\"c.d_total\",a=\"_created\"} 1\n{\"c.d_created\",a=\"_created\"} 2\n# EOF\n";
        assert_eq!(starts(body), [("{\"c.d_total\",a=\"_created\"}".to_owned(), 2000)]);
    }
}
