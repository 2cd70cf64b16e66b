//! What is wrong with a body, and where.

use std::fmt;

/// How much of the offending line an error repeats.
const SNIPPET_MAX: usize = 60;
/// How many bytes of a token an error repeats.
const QUOTED_MAX: usize = 100;

/// A body does not follow its format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, byte {offset}: {problem}, found {found} in {snippet}")]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// Offset of the offending byte in the body, from 0.
    pub offset: usize,
    /// What was expected, or what is wrong.
    pub problem: String,
    /// The offending byte, quoted, or `end of input`.
    pub found: String,
    /// The line up to the offending byte, quoted and cut short.
    pub snippet: String,
}

/// A problem before it is known in which line it lies: parsing is fast, locating happens once.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Problem {
    Static(&'static str),
    Text(String),
}

impl Fault {
    pub(super) fn new(at: usize, problem: &'static str) -> Fault {
        Fault { at, problem: Problem::Static(problem) }
    }

    pub(super) fn text(at: usize, problem: String) -> Fault {
        Fault { at, problem: Problem::Text(problem) }
    }

    #[cold]
    pub(super) fn locate(self, body: &[u8], line_start: usize) -> ParseError {
        let at = self.at.min(body.len());
        let line_start = line_start.min(at);
        let line = 1 + memchr::memchr_iter(b'\n', &body[..line_start]).count();
        let problem = match self.problem {
            Problem::Static(text) => text.to_owned(),
            Problem::Text(text) => text,
        };
        let found = match body.get(at) {
            Some(&byte) => Quoted(&[byte]).to_string(),
            None => "the end of the input".to_owned(),
        };
        // The part nearest to the fault tells most.
        let shown_from = line_start.max(at.saturating_sub(SNIPPET_MAX));
        let snippet = Quoted(&body[shown_from..(at + 1).min(body.len())]).to_string();
        ParseError { line, offset: at, problem, found, snippet }
    }
}

/// The beginning of some bytes as Go's `%q` would show them, near enough for people. Cut short, because a token can be as
/// long as the body.
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(QUOTED_MAX)];
        write!(f, "\"{}\"{}", shown.escape_ascii(), if shown.len() < self.0.len() { "..." } else { "" })
    }
}
