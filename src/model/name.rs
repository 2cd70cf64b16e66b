//! Which names are valid, and how names that older readers do not know are written for them.

use std::fmt::Write;

use super::labels::{is_legacy_label_name, is_legacy_metric_name};

/// Which metric and label names are valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameValidation {
    /// Any UTF-8.
    Utf8,
    /// Letters, digits, underscores, colons.
    Legacy,
}

impl NameValidation {
    /// Whether a label may have this name.
    pub fn is_label_name(self, name: &str) -> bool {
        match self {
            NameValidation::Utf8 => !name.is_empty(),
            NameValidation::Legacy => is_legacy_label_name(name),
        }
    }

    /// Whether a metric may have this name.
    pub fn is_metric_name(self, name: &str) -> bool {
        match self {
            NameValidation::Utf8 => !name.is_empty(),
            NameValidation::Legacy => is_legacy_metric_name(name),
        }
    }
}

/// How names that are not legacy names are asked to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EscapingScheme {
    /// As they are.
    AllowUtf8,
    /// Every other character becomes an underscore.
    Underscores,
    /// Dots become `_dot_`, other characters and underscores become `__`.
    Dots,
    /// `U__`, then code points in hexadecimal between underscores.
    Values,
}

impl EscapingScheme {
    /// The scheme's name in `Accept` and `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            EscapingScheme::AllowUtf8 => "allow-utf-8",
            EscapingScheme::Underscores => "underscores",
            EscapingScheme::Dots => "dots",
            EscapingScheme::Values => "values",
        }
    }

    /// The scheme of that name.
    pub fn from_name(name: &str) -> Option<EscapingScheme> {
        use EscapingScheme::{AllowUtf8, Dots, Underscores, Values};
        [AllowUtf8, Underscores, Dots, Values].into_iter().find(|s| s.as_str() == name)
    }

    /// Appends a metric's or label's name. A legacy metric name is written as it is under every scheme.
    pub fn write_name(self, out: &mut String, name: &str) {
        if self == EscapingScheme::AllowUtf8 || is_legacy_metric_name(name) {
            out.push_str(name);
            return;
        }
        if self == EscapingScheme::Values {
            out.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            match (self, c) {
                (EscapingScheme::Dots | EscapingScheme::Values, '_') => out.push_str("__"),
                (EscapingScheme::Dots, '.') => out.push_str("_dot_"),
                (_, c) if is_legacy_char(c, at) => out.push(c),
                (EscapingScheme::Dots, _) => out.push_str("__"),
                (EscapingScheme::Values, c) => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "_{:x}_", c as u32);
                }
                _ => out.push('_'),
            }
        }
    }
}

fn is_legacy_char(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_the_reference_does() {
        for (name, underscores, dots, values) in [
            ("up", "up", "up", "up"),
            ("a:b_c", "a:b_c", "a:b_c", "a:b_c"),
            ("my.metric_x", "my_metric_x", "my_dot_metric__x", "U__my_2e_metric__x"),
            ("0a", "_a", "__a", "U___30_a"),
            ("é☺-", "___", "______", "U___e9__263a__2d_"),
        ] {
            for (scheme, expected) in [
                (EscapingScheme::AllowUtf8, name),
                (EscapingScheme::Underscores, underscores),
                (EscapingScheme::Dots, dots),
                (EscapingScheme::Values, values),
            ] {
                let mut out = String::new();
                scheme.write_name(&mut out, name);
                assert_eq!(out, expected, "{name} as {}", scheme.as_str());
                assert_eq!(EscapingScheme::from_name(scheme.as_str()), Some(scheme));
            }
        }
    }

    #[test]
    fn validity_depends_on_the_scheme() {
        assert!(NameValidation::Utf8.is_label_name("a.b") && !NameValidation::Utf8.is_label_name(""));
        assert!(!NameValidation::Legacy.is_label_name("a:b") && NameValidation::Legacy.is_metric_name("a:b"));
    }
}
