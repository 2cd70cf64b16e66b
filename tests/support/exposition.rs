//! A plain reader of the text format's sample lines, made to be obviously right rather than fast.

use std::collections::BTreeMap;

/// A series' labels with `__name__`.
pub type Labels = BTreeMap<String, String>;

/// One sample line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// All labels.
    pub labels: Labels,
    /// The number as it was written.
    pub value: String,
    /// Milliseconds since 1970, if the line has one.
    pub timestamp: Option<i64>,
}

impl Sample {
    /// A label's value, empty if it is not there.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The metric's name.
    pub fn name(&self) -> &str {
        self.label("__name__")
    }

    /// The number.
    pub fn number(&self) -> f64 {
        match self.value.as_str() {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            other => other.parse().expect("a number"),
        }
    }
}

/// All sample lines in the order of the text; comments and empty lines are passed over.
///
/// # Panics
///
/// On a line that is not a sample.
pub fn samples(text: &str) -> Vec<Sample> {
    let lines = text.split('\n').filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|l| sample(l).unwrap_or_else(|| panic!("not a sample line: {l:?}"))).collect()
}

/// The value of the one sample with this name and these labels (others may be there too), if it is there.
pub fn value_of(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    samples(text).iter().find(|s| s.name() == name && labels.iter().all(|(k, v)| s.label(k) == *v)).map(Sample::number)
}

fn sample(line: &str) -> Option<Sample> {
    let mut labels = Labels::new();
    let brace = line.find('{');
    let rest = match brace {
        Some(at) if !line[..at].contains(' ') => {
            if at > 0 {
                labels.insert("__name__".into(), line[..at].into());
            }
            read_labels(&line[at + 1..], &mut labels)?
        }
        _ => {
            let (name, rest) = line.split_once(' ')?;
            labels.insert("__name__".into(), name.into());
            rest
        }
    };
    let mut words = rest.split_whitespace();
    let value = words.next()?.to_owned();
    let timestamp = words.next().map(str::parse).transpose().ok()?;
    words.next().is_none().then_some(Sample { labels, value, timestamp })
}

/// Reads up to the closing brace and gives what follows it. A quoted string without `=` is the metric's name.
fn read_labels<'a>(mut text: &'a str, labels: &mut Labels) -> Option<&'a str> {
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let name = if text.starts_with('"') {
            let (name, rest) = read_quoted(text)?;
            text = rest;
            name
        } else {
            let (name, rest) = text.split_at(text.find('=')?);
            text = rest;
            name.to_owned()
        };
        let Some(rest) = text.strip_prefix('=') else {
            labels.insert("__name__".into(), name);
            continue;
        };
        let (value, rest) = read_quoted(rest)?;
        labels.insert(name, value);
        text = rest;
    }
}

fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
