//! What a person is told about a config: mistakes, which refuse it, and warnings, which do not.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::yaml::Pos;

/// One mistake in one place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mistake {
    /// The file as it was named by whoever asked for it.
    pub file: PathBuf,
    /// Line, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// The way to the key, such as `scrape_configs[0].scrape_interval`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and where possible what would be right.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.why)
    }
}

/// Every mistake of a config, in the order of files and lines; never empty. Displays one a line.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    pub(super) fn new(main: &Path, mut mistakes: Vec<Mistake>) -> ConfigErrors {
        // The main file first, then the included ones by name.
        mistakes.sort_by(|a, b| (a.file != main, a).cmp(&(b.file != main, b)));
        mistakes.dedup();
        ConfigErrors { mistakes }
    }

    /// The mistakes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.mistakes.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that is accepted but not, or not quite, acted upon. Shaped and displayed like a [`Mistake`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigWarning {
    /// What, and where.
    pub mistake: Mistake,
    /// Whether it is of concern only where everybody who can reach this server may query it.
    pub is_of_open_listener: bool,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.mistake, f)
    }
}

/// As many warnings that say the same of different places stay as they are; more become one.
const SAME_MAX: usize = 3;
/// So many lines of the others are named by the one that remains.
const LINES_SHOWN: usize = 20;

/// Makes one of many warnings that say the same of the same key of other list items: a file of hundreds of jobs must not
/// bury what is said once. The first remains and names the lines of the others.
pub(super) fn fold(warnings: Vec<ConfigWarning>) -> Vec<ConfigWarning> {
    let shape = |w: &ConfigWarning| (w.mistake.file.clone(), without_indices(&w.mistake.key), w.mistake.why.clone());
    let mut lines: HashMap<_, Vec<usize>> = HashMap::new();
    for warning in &warnings {
        lines.entry(shape(warning)).or_default().push(warning.mistake.line);
    }
    let mut folded = Vec::new();
    for mut warning in warnings {
        match lines.get_mut(&shape(&warning)) {
            Some(same) if same.len() > SAME_MAX => {
                // Left empty, the list marks what has been told.
                let others = std::mem::take(same).split_off(1);
                let shown: Vec<String> = others.iter().take(LINES_SHOWN).map(ToString::to_string).collect();
                let more = if others.len() > LINES_SHOWN { ", ..." } else { "" };
                let why = &mut warning.mistake.why;
                *why = format!("{why} (the same in {} more places, lines {}{more})", others.len(), shown.join(", "));
                folded.push(warning);
            }
            Some(same) if same.is_empty() => {}
            _ => folded.push(warning),
        }
    }
    folded
}

/// `scrape_configs[7].x` as `scrape_configs[].x`.
fn without_indices(key: &str) -> String {
    let mut inside = false;
    let outside = |c: &char| {
        inside = (inside || *c == '[') && *c != ']';
        !inside || *c == '['
    };
    key.chars().filter(outside).collect()
}

/// What a [`Mistake`] is made of before its file is known.
pub(super) fn mistake(file: &Path, pos: Pos, key: &str, why: String) -> Mistake {
    Mistake { file: file.to_owned(), line: pos.line, column: pos.column, key: key.to_owned(), why }
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_ascii_lowercase().replace('-', "_");
    // Long names may differ in more letters; short ones would otherwise resemble everything.
    let most = (word.chars().count() / 3).clamp(1, 4);
    let distance = |c: &str| edit_distance(&folded, &c.to_ascii_lowercase().replace('-', "_"));
    candidates.into_iter().map(|c| (distance(c), c)).filter(|(d, _)| *d <= most).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    /// Longer words are not typing mistakes of any key.
    const LONGEST: usize = 80;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > LONGEST {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found_and_strangers_are_not() {
        let keys = ["scrape_interval", "scrape_timeout", "job_name", "params"];
        assert_eq!(nearest("scrape_intervall", keys), Some("scrape_interval"));
        assert_eq!(nearest("scrape-timeout", keys), Some("scrape_timeout"));
        assert_eq!(nearest("parmas", keys), Some("params"));
        assert_eq!(nearest("Job_Name", keys), Some("job_name"));
        assert_eq!(nearest("password", keys), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn mistakes_of_the_main_file_come_first_and_one_a_line() {
        let at = |file: &str, line| mistake(Path::new(file), Pos { line, column: 5 }, "a.b", "is wrong".into());
        let errors = ConfigErrors::new(Path::new("z.yml"), vec![at("a.yml", 1), at("z.yml", 7), at("z.yml", 2)]);
        assert_eq!(errors.to_string(), "z.yml:2:5: a.b: is wrong\nz.yml:7:5: a.b: is wrong\na.yml:1:5: a.b: is wrong");
    }

    #[test]
    fn many_warnings_of_one_kind_become_one_and_few_stay() {
        let at = |line, key: &str| {
            let mistake = mistake(Path::new("f.yml"), Pos { line, column: 5 }, key, "is absent".into());
            ConfigWarning { mistake, is_of_open_listener: false }
        };
        let many = (0..30).map(|i| at(10 + i, &format!("jobs[{i}].consul")));
        let few = (0..3).map(|i| at(50 + i, &format!("jobs[{i}].docker")));
        let folded = fold(std::iter::once(at(1, "rules")).chain(many).chain(few).collect());
        let told: Vec<String> = folded.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 5, "{told:#?}");
        assert_eq!(told[0], "f.yml:1:5: rules: is absent");
        assert!(
            told[1].starts_with("f.yml:10:5: jobs[0].consul: is absent (the same in 29 more places, lines 11, 12, 13")
        );
        assert!(told[1].ends_with("29, 30, ...)"), "{}", told[1]);
        assert_eq!(told[4], "f.yml:52:5: jobs[2].docker: is absent");
    }
}
