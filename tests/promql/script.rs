//! Scripts: what they command.

use std::collections::BTreeMap;

use regex::Regex;
use watershed::model::Labels;

use super::notation::{Item, labels, series};
use super::text::{duration, number, quoted};

/// A line of a script that does something, with what stands below it.
#[derive(Debug)]
pub enum Command {
    /// Forget everything.
    Clear,
    /// Store samples.
    Load(Load),
    /// Evaluate and compare.
    Eval(Box<Eval>),
}

/// Samples by series.
#[derive(Debug, Default)]
pub struct Load {
    /// Whether native histograms are made of classic ones.
    pub with_custom_buckets: bool,
    /// The last line of a series holds.
    pub series: BTreeMap<Labels, Vec<Loaded>>,
}

/// A sample.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Milliseconds.
    pub t: i64,
    /// Milliseconds; 0 is none.
    pub start: i64,
    /// Not a gap.
    pub value: Item,
}

/// An evaluation.
#[derive(Debug)]
pub struct Eval {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// The expression.
    pub expr: String,
    /// The times.
    pub when: When,
    /// What must come out.
    pub expected: Expected,
}

/// The times of a query, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// One.
    Instant(i64),
    /// Some.
    Range {
        /// The first.
        start: i64,
        /// Not behind it.
        end: i64,
        /// Above 0.
        step: i64,
    },
}

/// What must come out.
#[derive(Debug, Default)]
pub struct Expected {
    /// The order of an instant result counts.
    pub is_ordered: bool,
    /// The query must fail, and so.
    pub failure: Option<Pattern>,
    /// If there is any: each must match a warning, each warning one of them.
    pub warnings: Vec<Pattern>,
    /// As with warnings.
    pub infos: Vec<Pattern>,
    /// No warning may come.
    pub no_warnings: bool,
    /// No info may come.
    pub no_infos: bool,
    /// The text.
    pub text: Option<String>,
    /// First time, last time and step of a window that an instant query gives.
    pub window: Option<(i64, i64, i64)>,
    /// The scalar.
    pub scalar: Option<f64>,
    /// Place, from 1, and values of each series.
    pub series: BTreeMap<Labels, (usize, Vec<Item>)>,
}

/// What a message must be.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Anything.
    Any,
    /// Exactly this.
    Text(String),
    /// Something in which this is found.
    Regex(Regex),
}

impl Pattern {
    /// Whether a message is so.
    pub fn matches(&self, message: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Text(text) => text == message,
            Pattern::Regex(regex) => regex.is_match(message),
        }
    }
}

/// Reads a script. An error names the line.
pub fn parse(text: &str) -> Result<Vec<Command>, String> {
    let line = |line: &'_ str| match line.trim() {
        comment if comment.starts_with('#') => String::new(),
        line => line.to_owned(),
    };
    let all: Vec<String> = text.lines().map(line).collect();
    let mut lines = Lines { all: &all, next: 0 };
    let mut commands = Vec::new();
    while let Some(line) = lines.command() {
        let command = match line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "clear" => Ok(Command::Clear),
            word if word.starts_with("load") => load(line, &mut lines).map(Command::Load),
            word if word.starts_with("eval") => eval(line, &mut lines).map(|eval| Command::Eval(Box::new(eval))),
            _ => Err(format!("{line:?} is no command")),
        };
        commands.push(command.map_err(|e| format!("line {}: {e}", lines.next))?);
    }
    Ok(commands)
}

struct Lines<'a> {
    all: &'a [String],
    next: usize,
}

impl<'a> Lines<'a> {
    /// The next line that is not empty.
    fn command(&mut self) -> Option<&'a str> {
        while let Some(line) = self.all.get(self.next) {
            self.next += 1;
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }

    /// The next line, unless it is empty.
    fn below(&mut self) -> Option<&'a str> {
        let line = self.all.get(self.next).filter(|line| !line.is_empty())?;
        self.next += 1;
        Some(line)
    }
}

fn load(line: &str, lines: &mut Lines<'_>) -> Result<Load, String> {
    let (word, step) = line.split_once(char::is_whitespace).ok_or("load has no step")?;
    let with_custom_buckets = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err(format!("{word:?} is no command")),
    };
    let step = duration(step.trim())?;
    let mut load = Load { with_custom_buckets, ..Load::default() };
    let mut starts = None;
    while let Some(line) = lines.below() {
        if let Some((head, offsets)) = line.split_once(char::is_whitespace)
            && let Some(head) = head.strip_suffix("@st")
        {
            let offsets: Result<Vec<_>, String> = offsets.split_whitespace().map(start_offsets).collect();
            starts = Some((labels(head)?.0, offsets?.concat()));
            continue;
        }
        let (labels, items) = series(line)?;
        let offsets = match starts.take() {
            Some((of, offsets)) if of == labels && offsets.len() == items.len() => offsets,
            Some(_) => return Err("start timestamps do not fit the series below them".to_owned()),
            None => vec![None; items.len()],
        };
        let times = (0..).map(|n| n * step);
        let samples = times.zip(items).zip(offsets).filter(|((_, item), _)| !matches!(item, Item::Gap));
        let samples = samples.map(|((t, value), offset)| Loaded { t, start: offset.map_or(0, |o| t + o), value });
        load.series.insert(labels, samples.collect());
    }
    match starts {
        Some(_) => Err("start timestamps have no series below them".to_owned()),
        None => Ok(load),
    }
}

/// Start timestamps by their distance from the sample: `_`, `_x3`, `-1m`, `-1mx3`, `-30s-1mx3`.
fn start_offsets(word: &str) -> Result<Vec<Option<i64>>, String> {
    let (word, times) = match word.split_once('x') {
        Some((word, times)) => (word, times.parse::<usize>().map_err(|e| e.to_string())?),
        None => (word, 0),
    };
    if word == "_" {
        return Ok(vec![None; times.max(1)]);
    }
    let signed = |text: &str| match text.strip_prefix('-') {
        Some(text) => duration(text).map(|d| -d),
        None => duration(text.strip_prefix('+').unwrap_or(text)),
    };
    let second = word.get(1..).and_then(|rest| rest.find(['+', '-']).map(|at| at + 1));
    let (first, increment) = match second {
        Some(at) => (signed(&word[..at])?, signed(&word[at..])?),
        None => (signed(word)?, 0),
    };
    Ok((0..).take(times + 1).map(|n: i64| Some(first + n * increment)).collect())
}

fn eval(line: &str, lines: &mut Lines<'_>) -> Result<Eval, String> {
    let at = lines.next;
    let mut words = Words { rest: line };
    let mut expected = Expected::default();
    match words.next() {
        "eval" => {}
        "eval_fail" => expected.failure = Some(Pattern::Any),
        "eval_warn" => expected.warnings.push(Pattern::Any),
        "eval_info" => expected.infos.push(Pattern::Any),
        "eval_ordered" => expected.is_ordered = true,
        other => return Err(format!("{other:?} is no command")),
    }
    let when = match words.next() {
        "instant" => When::Instant(words.duration_after("at")?),
        "range" => {
            let (start, end) = (words.duration_after("from")?, words.duration_after("to")?);
            When::Range { start, end, step: words.duration_after("step")? }
        }
        other => return Err(format!("{other:?} is neither instant nor range")),
    };
    while let Some(line) = lines.below() {
        if !expectation(line, when, &mut expected)? {
            break;
        }
    }
    Ok(Eval { line: at, expr: words.rest.trim().to_owned(), when, expected })
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        let rest = self.rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        self.rest = &rest[end..];
        &rest[..end]
    }

    fn duration_after(&mut self, word: &str) -> Result<i64, String> {
        match self.next() {
            found if found == word => duration(self.next()),
            found => Err(format!("{found:?} instead of {word:?}")),
        }
    }
}

/// Reads a line below an evaluation. False if nothing may follow it.
fn expectation(line: &str, when: When, expected: &mut Expected) -> Result<bool, String> {
    if expected.failure.is_some() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            expected.failure = Some(Pattern::Text(text.trim().to_owned()));
            return Ok(false);
        }
        if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            expected.failure = Some(regex(pattern)?);
            return Ok(false);
        }
    }
    if let Some(text) = line.strip_prefix("expect string ") {
        expected.text = Some(quoted(text)?.0);
    } else if let Some(window) = line.strip_prefix("expect range vector") {
        let mut words = Words { rest: window };
        let window = (words.duration_after("from")?, words.duration_after("to")?, words.duration_after("step")?);
        expected.window = Some(window);
    } else if let Some(remark) = line.strip_prefix("expect ") {
        remark_expectation(remark.trim(), expected)?;
    } else if let Ok(v) = number(line) {
        expected.scalar = Some(v);
        return Ok(false);
    } else {
        let (labels, items) = series(line)?;
        if items.len() > 1 && matches!(when, When::Instant(_)) && expected.window.is_none() {
            return Err("an instant query cannot give several values".to_owned());
        }
        let place = expected.series.len() + 1;
        if expected.series.insert(labels, (place, items)).is_some() {
            return Err(format!("{line:?} is expected twice"));
        }
    }
    Ok(true)
}

fn remark_expectation(line: &str, expected: &mut Expected) -> Result<(), String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let pattern = match rest.split_once(':') {
        Some(("msg", text)) => Pattern::Text(text.trim().to_owned()),
        Some(("regex", pattern)) => regex(pattern)?,
        None if rest.is_empty() => Pattern::Any,
        _ => return Err(format!("{rest:?} is neither msg nor regex")),
    };
    match word {
        "fail" if expected.failure.is_none() => expected.failure = Some(pattern),
        "fail" => return Err("two failures are expected".to_owned()),
        "warn" => expected.warnings.push(pattern),
        "info" => expected.infos.push(pattern),
        "no_warn" => expected.no_warnings = true,
        "no_info" => expected.no_infos = true,
        "ordered" => expected.is_ordered = true,
        _ => return Err(format!("nobody can expect {word:?}")),
    }
    Ok(())
}

fn regex(pattern: &str) -> Result<Pattern, String> {
    Regex::new(pattern.trim()).map(Pattern::Regex).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
        # A comment.\n\
        load 30s\n  m@st _ -1m-1sx1 -5s\n  m 1 2 3 4\n  n _ 5\n\n\
        clear\n\
        eval instant at 1m sum (m)  \n  # Comments end it? They do.\n\n\
        eval range from 0 to 1m step 30s m\n  expect no_warn\n  expect info regex:a.c\n  expect warn msg: x y\n  m 1 2\n  n 3\n\n\
        eval_fail instant at 0 m\n  expected_fail_message no way\n";

    #[test]
    fn commands_are_told_apart() {
        let commands = parse(SCRIPT).expect("a good script");
        let [Command::Load(load), Command::Clear, Command::Eval(sum), Command::Eval(range), Command::Eval(fail)] =
            &commands[..]
        else {
            panic!("{commands:?}")
        };
        let samples: Vec<Vec<_>> =
            load.series.values().map(|all| all.iter().map(|s| (s.t, s.start)).collect()).collect();
        let starts = vec![(0, 0), (30_000, -30_000), (60_000, -1_000), (90_000, 85_000)];
        assert_eq!(samples, [starts, vec![(30_000, 0)]]);
        assert_eq!((sum.line, sum.expr.as_str(), sum.when), (8, "sum (m)", When::Instant(60_000)));
        assert_eq!(range.when, When::Range { start: 0, end: 60_000, step: 30_000 });
        let places: Vec<usize> = range.expected.series.values().map(|(place, _)| *place).collect();
        assert_eq!(places, [1, 2]);
        assert!(range.expected.infos[0].matches("is abc") && !range.expected.warnings[0].matches("x y z"));
        assert!(fail.expected.failure.as_ref().is_some_and(|p| p.matches("no way") && !p.matches("no")));
    }

    #[test]
    fn mistakes_are_refused_with_their_line() {
        for (script, line) in [
            ("\nload 5x\n", "line 2:"),
            ("load 5m\n  m@st 0s\n  n 1\n", "line 3:"),
            ("eval instant at 5 m\n", "line 1:"),
            ("eval range from 0 to 1m m\n", "line 1:"),
            ("nonsense\n", "line 1:"),
            ("eval instant at 5m m\n  m 1 2\n", "line 2:"),
            ("eval instant at 5m m\n  expect joy\n", "line 2:"),
        ] {
            let error = parse(script).expect_err(script);
            assert!(error.starts_with(line), "{error}");
        }
    }
}
