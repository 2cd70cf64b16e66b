//! Regular expressions that mean what RE2 means.

/// An expression anchored at both ends, in RE2's syntax, `.` matching newlines.
#[derive(Clone, Debug)]
pub struct Regex {
    pattern: Box<str>,
    compiled: regex::Regex,
}

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {pattern:?}: {reason}")]
pub struct RegexError {
    /// The expression as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Regex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Regex, RegexError> {
        let compiled = regex::Regex::new(&format!("^(?s:{pattern})$"))
            .map_err(|e| RegexError { pattern: pattern.to_owned(), reason: e.to_string() })?;
        Ok(Regex { pattern: pattern.into(), compiled })
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The complete set of strings that match, where it is finite and small.
    pub fn literals(&self) -> Option<&[Box<str>]> {
        None
    }

    /// A prefix that every match has; empty if there is none.
    pub fn prefix(&self) -> &str {
        ""
    }

    /// If the whole of `text` matches, appends `template` with `$1`, `${name}` and `$$` expanded as Go does, and says true.
    pub fn expand(&self, text: &str, template: &str, out: &mut String) -> bool {
        match self.compiled.captures(text) {
            Some(captures) => {
                captures.expand(template, out);
                true
            }
            None => false,
        }
    }
}
