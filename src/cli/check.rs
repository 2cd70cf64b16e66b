//! `watershed check`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::say;
use crate::config;

/// Good, but with warnings, and warnings were to be fatal; the number that promtool uses.
const LINT_FAILURE: u8 = 3;

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
