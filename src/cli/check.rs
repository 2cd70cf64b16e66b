//! `watershed check`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;

use super::families::{self, Family, Value};
use super::{http, lint, say};
use crate::config;
use crate::net::{Request, StatusCode, printable};

/// Good, but with warnings, and warnings were to be fatal; the number that promtool uses.
const LINT_FAILURE: u8 = 3;
/// How long a server may take to say how it is.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Spaces between the columns of a table, as promtool's.
const PADDING: usize = 4;

/// Which remarks are made about metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum MetricLint {
    /// All that are known.
    All,
    /// None.
    None,
}

/// Checks config files; prints every mistake of every file.
pub(super) fn config(files: &[PathBuf], lint_fatal: bool) -> ExitCode {
    let (mut bad, mut warned) = (false, false);
    for file in files {
        say(format_args!("Checking {}", file.display()));
        match config::load(file) {
            Ok(config) => {
                for warning in &config.warnings {
                    say(format_args!("  WARNING: {warning}"));
                }
                warned |= !config.warnings.is_empty();
                say(format_args!("  SUCCESS: {} is valid; {} scrape jobs", file.display(), config.jobs.len()));
            }
            Err(errors) => {
                for error in errors.iter() {
                    eprintln!("  FAILED: {error}");
                }
                bad = true;
            }
        }
    }
    match (bad, warned && lint_fatal) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(LINT_FAILURE),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// Asks a server whether it is healthy or ready; `path` is where it says so.
pub(super) fn server(url: &str, path: &str, http_config: Option<&Path>) -> ExitCode {
    match ask(url, path, http_config) {
        Ok(told) => {
            eprintln!("  SUCCESS:  {told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("  FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(url: &str, path: &str, http_config: Option<&Path>) -> Result<String, String> {
    let client = http::client(http_config)?;
    let (server, url) = (http::below(url, "")?, http::below(url, path)?);
    let runtime = http::runtime().map_err(|e| e.to_string())?;
    let (status, body) = runtime.block_on(http::ask(&client, Request::get(url).timeout(TIMEOUT)))?;
    match status {
        StatusCode::OK => Ok(String::from_utf8_lossy(&body).into_owned()),
        status => Err(format!("check failed: URL={}, status={}", printable(&server), status.as_u16())),
    }
}

/// Reads metrics from standard input and says what is unusual about them.
pub(super) fn metrics(extended: bool, linting: MetricLint) -> ExitCode {
    if !extended && linting == MetricLint::None {
        eprintln!("error: at least one of --extended or linting must be enabled");
        eprintln!("Use --extended for cardinality analysis, or remove --lint=none to enable linting");
        return ExitCode::FAILURE;
    }
    let mut text = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut text) {
        eprintln!("error while reading: {error}");
        return ExitCode::FAILURE;
    }
    let families = match families::read(&text) {
        Ok(families) => families,
        Err(error) => {
            eprintln!("error while linting: {error}");
            return ExitCode::FAILURE;
        }
    };
    let problems = if linting == MetricLint::All { lint::lint(&families) } else { Vec::new() };
    problems.iter().for_each(|(metric, text)| eprintln!("{metric} {text}"));
    if extended {
        cardinality(&families).iter().for_each(say);
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(LINT_FAILURE) }
}

/// A table of families by their number of series.
fn cardinality(families: &[Family]) -> Vec<String> {
    let mut counts: Vec<(&str, usize)> = families.iter().map(|family| (family.name.as_str(), series(family))).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let mut rows = vec![["Metric", "Cardinality", "Percentage"].map(str::to_owned)];
    rows.extend(counts.iter().map(|(name, count)| {
        [(*name).to_owned(), count.to_string(), format!("{:.2}%", *count as f64 / total as f64 * 100.0)]
    }));
    rows.push(["Total".to_owned(), total.to_string(), "100%".to_owned()]);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + PADDING;
    let widths = [width(0), width(1), width(2)];
    let line =
        |row: &[String; 3]| -> String { row.iter().zip(widths).map(|(cell, w)| format!("{cell:<w$}")).collect() };
    rows.iter().map(line).collect()
}

/// Of a histogram or summary every metric is taken to have as many series as the first.
fn series(family: &Family) -> usize {
    let of_one = match family.metrics.first().map(|metric| &metric.value) {
        Some(Value::Parts(parts)) => parts.bounds.len() + 2,
        _ => 1,
    };
    family.metrics.len() * of_one
}

/// Checks web config files; prints every mistake of every file.
pub(super) fn web_config(files: &[PathBuf]) -> ExitCode {
    let mut bad = false;
    for file in files {
        match config::load_web(file).outcome {
            Ok((_, warnings)) => {
                for warning in &warnings {
                    say(format_args!("{} WARNING: {warning}", file.display()));
                }
                say(format_args!("{} SUCCESS", file.display()));
            }
            Err(errors) => {
                for error in errors.iter() {
                    eprintln!("{} FAILED: {error}", file.display());
                }
                bad = true;
            }
        }
    }
    if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
