//! Scripts: all evaluations of the reference's, and of our own.
//!
//! `WATERSHED_CONFORMANCE` is the folder of the reference's suites; `WATERSHED_SCRIPT` runs only what has this in its
//! place, such as `functions.test` or `functions.test:120`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::run::{Outcome, run, scripts};
use super::stores::{Open, memory, on_disk};

/// Lines `script:line reason`; a difference that heals fails until its line is removed.
const KNOWN_DIFFERENCES: &str = include_str!("known_differences.txt");

/// The reference's scripts, or `None` outside of CI where they are missing.
pub fn reference() -> Option<PathBuf> {
    let root = std::env::var_os("WATERSHED_CONFORMANCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"), PathBuf::from);
    let dir = root.join("promqltest");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var_os("CI").is_none(), "the conformance suite is missing: {}", dir.display());
    eprintln!("skipped: no conformance suite at {}", dir.display());
    None
}

/// Our own scripts.
pub fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql")
}

fn known() -> BTreeMap<&'static str, &'static str> {
    // What expressions at random may show stands in the same file.
    let is_of_a_script = |line: &&str| !line.is_empty() && !line.starts_with(['#', ' ']) && !line.starts_with("fuzz ");
    let lines = KNOWN_DIFFERENCES.lines().filter(is_of_a_script);
    lines.map(|line| line.split_once(' ').expect("a place and a reason")).collect()
}

/// Runs the scripts of a folder, says how many evaluations pass, and gives those that do not as they should.
fn run_all(what: &str, dir: &Path, engine: &Engine, open: &Open) -> Vec<String> {
    let wanted = std::env::var("WATERSHED_SCRIPT").unwrap_or_default();
    let known = known();
    let mut wrong = Vec::new();
    let (mut all, mut passed, mut exact) = (0, 0, 0);
    for script in scripts(dir) {
        for Outcome { place, expr, result } in run(&script, engine, open) {
            if !place.contains(&wanted) {
                continue;
            }
            all += 1;
            match (&result, known.get(place.as_str())) {
                (Ok(is_exact), reason) => {
                    passed += 1;
                    exact += u64::from(*is_exact);
                    wrong.extend(reason.map(|_| format!("{place} passes: remove it from the known differences")));
                }
                (Err(error), None) => wrong.push(format!("{place} {expr}\n    {error}")),
                (Err(_), Some(_)) => {}
            }
        }
    }
    // Past the capture of output: the count is to be seen.
    let said = format!("{what}: {passed} of {all} evaluations pass, {exact} of them to the bit\n");
    let _ = std::io::stdout().write_all(said.as_bytes());
    wrong
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} evaluations:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_evaluation_of_the_references_scripts_passes() {
    let Some(dir) = reference() else { return };
    assert_none(&run_all("the reference's scripts", &dir, &Engine::of_scripts(), &memory));
}

#[test]
fn every_evaluation_of_our_own_scripts_passes() {
    assert_none(&run_all("our own scripts", &own(), &Engine::of_scripts(), &memory));
}

#[test]
fn every_evaluation_passes_over_the_store_that_a_server_has() {
    let folders = [Some(own()), reference()];
    for dir in folders.iter().flatten() {
        assert_none(&run_all("scripts over the store that a server has", dir, &Engine::of_scripts(), &on_disk));
    }
}
