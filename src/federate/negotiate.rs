//! What the client can read.

use crate::model::EscapingScheme;

/// How an answer is written: the text format 0.0.4, with names escaped by a scheme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// How names are written that are no legacy names.
    pub escaping: EscapingScheme,
}

impl Format {
    /// The answer's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self.escaping {
            EscapingScheme::AllowUtf8 => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
            EscapingScheme::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            EscapingScheme::Dots => "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
            EscapingScheme::Values => "text/plain; version=0.0.4; charset=utf-8; escaping=values",
        }
    }
}

/// Most clauses of an `Accept` header that are looked at.
const MAX_CLAUSES: usize = 64;

/// Reads an `Accept` header; an empty one, or one that asks for something else, gets text with underscores.
///
/// As in the reference, clauses are gone through from the most to the least wanted, up to the first that this format
/// satisfies, and the last `escaping` seen on the way counts, also if it stands at a clause that is not satisfied.
pub fn negotiate(accept: &str) -> Format {
    let mut clauses: Vec<Clause> = accept.split(',').filter_map(Clause::parse).take(MAX_CLAUSES).collect();
    // Stable, so that clauses that are wanted alike keep their order.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.wildcards.cmp(&b.wildcards)));
    let mut escaping = EscapingScheme::Underscores;
    for clause in clauses {
        escaping = clause.escaping.unwrap_or(escaping);
        if clause.is_this_text {
            break;
        }
    }
    Format { escaping }
}

struct Clause {
    quality: f32,
    /// Which of type and subtype are `*`; fewer come first.
    wildcards: (bool, bool),
    is_this_text: bool,
    escaping: Option<EscapingScheme>,
}

impl Clause {
    fn parse(text: &str) -> Option<Clause> {
        let mut parts = text.split(';');
        let (kind, subtype) = match parts.next()?.trim() {
            "*" => ("*", "*"),
            media => media.split_once('/').filter(|(_, subtype)| !subtype.contains('/'))?,
        };
        let (kind, subtype) = (kind.trim(), subtype.trim());
        let (mut quality, mut version, mut escaping) = (1.0, "", None);
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            match (name.trim(), value.trim()) {
                ("q", q) => quality = q.parse().unwrap_or(0.0),
                ("version", v) => version = v,
                ("escaping", name) => escaping = EscapingScheme::from_name(name),
                _ => {}
            }
        }
        Some(Clause {
            quality,
            wildcards: (kind == "*", subtype == "*"),
            is_this_text: (kind, subtype) == ("text", "plain") && matches!(version, "" | "0.0.4"),
            escaping,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escaping_is_the_one_that_the_reference_chooses() {
        use EscapingScheme::{AllowUtf8, Dots, Underscores, Values};
        for (accept, escaping) in [
            ("", Underscores),
            ("text/plain", Underscores),
            ("*/*", Underscores),
            ("text/plain; escaping=values", Values),
            ("text/plain; escaping=bogus", Underscores),
            ("text/plain;escaping=dots;q=0.1, text/plain;escaping=values;q=0.9", Values),
            ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8", AllowUtf8),
            ("text/html,foo;escaping=dots", Underscores),
            ("text/plain;version=0.0.5;escaping=dots", Dots),
            ("*;escaping=dots", Dots),
            ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", AllowUtf8),
            (",;=/;escaping,text / plain ; escaping = dots", Dots),
        ] {
            let format = negotiate(accept);
            assert_eq!(format, Format { escaping }, "{accept}");
            assert!(format.content_type().ends_with(&format!("; escaping={}", escaping.as_str())));
        }
    }
}
