//! What the client can read.

use crate::model::EscapingScheme;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFormat {
    /// Prometheus text 0.0.4.
    Text004,
    /// Prometheus text 1.0.0.
    Text100,
    /// OpenMetrics 0.0.1.
    OpenMetrics001,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
    /// Delimited messages `io.prometheus.client.MetricFamily`.
    Protobuf,
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// The format of the body.
    pub body: BodyFormat,
    /// How names are written that are no legacy names.
    pub escaping: EscapingScheme,
}

impl Format {
    /// The answer's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        macro_rules! with_escaping {
            ($media:literal) => {
                match self.escaping {
                    EscapingScheme::AllowUtf8 => concat!($media, "; escaping=allow-utf-8"),
                    EscapingScheme::Underscores => concat!($media, "; escaping=underscores"),
                    EscapingScheme::Dots => concat!($media, "; escaping=dots"),
                    EscapingScheme::Values => concat!($media, "; escaping=values"),
                }
            };
        }
        match self.body {
            BodyFormat::Text004 => with_escaping!("text/plain; version=0.0.4; charset=utf-8"),
            BodyFormat::Text100 => with_escaping!("text/plain; version=1.0.0; charset=utf-8"),
            BodyFormat::OpenMetrics001 => {
                with_escaping!("application/openmetrics-text; version=0.0.1; charset=utf-8")
            }
            BodyFormat::OpenMetrics100 => {
                with_escaping!("application/openmetrics-text; version=1.0.0; charset=utf-8")
            }
            BodyFormat::Protobuf => with_escaping!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            ),
        }
    }
}

/// Most clauses of an `Accept` header that are looked at.
const MAX_CLAUSES: usize = 64;

/// Reads an `Accept` header; an empty one, or one that asks for something else, gets text 0.0.4 with underscores.
///
/// As in the reference, clauses are gone through from the most to the least wanted, up to the first that a format
/// satisfies, and the last `escaping` seen on the way counts, also if it stands at a clause that is not satisfied.
pub fn negotiate(accept: &str) -> Format {
    let mut clauses: Vec<Clause> = accept.split(',').filter_map(Clause::parse).take(MAX_CLAUSES).collect();
    // Stable, so that clauses that are wanted alike keep their order.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcards.cmp(&b.wildcards)));
    let mut escaping = EscapingScheme::Underscores;
    for clause in clauses {
        escaping = clause.escaping.unwrap_or(escaping);
        if let Some(body) = clause.body {
            return Format { body, escaping };
        }
    }
    Format { body: BodyFormat::Text004, escaping }
}

struct Clause {
    quality: f32,
    /// Which of type and subtype are `*`; fewer come first.
    wildcards: (bool, bool),
    body: Option<BodyFormat>,
    escaping: Option<EscapingScheme>,
}

/// The parameters of a clause that say which format is meant.
#[derive(Default)]
struct Parameters<'a> {
    version: &'a str,
    proto: &'a str,
    encoding: &'a str,
}

impl Clause {
    fn parse(text: &str) -> Option<Clause> {
        let mut parts = text.split(';');
        let (kind, subtype) = match parts.next()?.trim() {
            "*" => ("*", "*"),
            media => media.split_once('/').filter(|(_, subtype)| !subtype.contains('/'))?,
        };
        let (kind, subtype) = (kind.trim(), subtype.trim());
        let (mut quality, mut escaping, mut parameters) = (1.0, None, Parameters::default());
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            let value = value.trim();
            match name.trim() {
                "q" => quality = value.parse().unwrap_or(0.0),
                "version" => parameters.version = value,
                "proto" => parameters.proto = value,
                "encoding" => parameters.encoding = value,
                "escaping" => escaping = EscapingScheme::from_name(value),
                _ => {}
            }
        }
        let body = body_format(kind, subtype, &parameters).filter(|_| quality > 0.0);
        Some(Clause { quality, wildcards: (kind == "*", subtype == "*"), body, escaping })
    }
}

fn body_format(kind: &str, subtype: &str, parameters: &Parameters<'_>) -> Option<BodyFormat> {
    match (kind, subtype, parameters.version) {
        ("text", "plain", "" | "0.0.4") | ("text" | "*", "*", "") => Some(BodyFormat::Text004),
        ("text", "plain", "1.0.0") => Some(BodyFormat::Text100),
        // Those who do not say are those of before the first release.
        ("application", "openmetrics-text", "" | "0.0.1") => Some(BodyFormat::OpenMetrics001),
        ("application", "openmetrics-text", "1.0.0") => Some(BodyFormat::OpenMetrics100),
        ("application", "vnd.google.protobuf", _) => {
            let wanted = (parameters.proto, parameters.encoding);
            (wanted == ("io.prometheus.client.MetricFamily", "delimited")).then_some(BodyFormat::Protobuf)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::BodyFormat::{OpenMetrics001, OpenMetrics100, Protobuf, Text004, Text100};
    use super::*;
    use EscapingScheme::{AllowUtf8, Dots, Underscores, Values};

    #[test]
    fn the_escaping_is_the_one_that_the_reference_chooses() {
        for (accept, escaping) in [
            ("", Underscores),
            ("text/plain", Underscores),
            ("*/*", Underscores),
            ("text/plain; escaping=values", Values),
            ("text/plain; escaping=bogus", Underscores),
            ("text/plain;escaping=dots;q=0.1, text/plain;escaping=values;q=0.9", Values),
            ("text/html,foo;escaping=dots", Underscores),
            ("text/plain;version=0.0.5;escaping=dots", Dots),
            ("*;escaping=dots", Dots),
            (",;=/;escaping,text / plain ; escaping = dots", Dots),
        ] {
            let format = negotiate(accept);
            assert_eq!(format, Format { body: Text004, escaping }, "{accept}");
            assert!(format.content_type().ends_with(&format!("; escaping={}", escaping.as_str())));
        }
    }

    #[test]
    fn the_format_is_the_most_wanted_that_there_is() {
        let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let text = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text";
        let others = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                      application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, body, escaping) in [
            (format!("{proto};q=0.6,{others}"), Protobuf, Underscores),
            (format!("{proto};escaping=allow-utf-8;q=0.6,{others}"), Protobuf, AllowUtf8),
            (format!("{text};q=0.6,{others}"), OpenMetrics100, AllowUtf8),
            (format!("{proto};q=0,{others}"), OpenMetrics100, AllowUtf8),
            (format!("{proto};q=0.45,{others}"), OpenMetrics100, AllowUtf8),
            ("application/openmetrics-text".to_owned(), OpenMetrics001, Underscores),
            (
                "application/openmetrics-text;version=2.0.0,text/plain;version=1.0.0;q=0.1".to_owned(),
                Text100,
                Underscores,
            ),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4".to_owned(),
                Text100,
                AllowUtf8,
            ),
            ("application/json, text/*;q=0.5".to_owned(), Text004, Underscores),
            ("application/openmetrics-text;version=1.0.0;q=0".to_owned(), Text004, Underscores),
        ] {
            assert_eq!(negotiate(&accept), Format { body, escaping }, "{accept}");
        }
    }
}
