//! The fuzz targets over what fuzzing has kept: each input showed something new once, or a mistake.
//!
//! With `WATERSHED_FUZZ_SECONDS` each target (or the one that `WATERSHED_FUZZ_TARGET` names) runs so long over mutations of its
//! corpus, too, by `WATERSHED_FUZZ_SEED`; an input that breaks a law is left in the temporary directory.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../../fuzz/fuzz_targets/mod.rs"]
mod fuzz_targets;
mod mutate;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs that are kept for a target, by path.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(corpora().join(name)).unwrap_or_else(|e| panic!("the corpus of {name}: {e}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a corpus can be read").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("an input can be read"));
    paths.into_iter().map(read).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn every_target_holds_its_laws_for_what_fuzzing_has_kept() {
    for (name, target) in fuzz_targets::ALL {
        for (path, input) in corpus(name) {
            // Shown if the target panics.
            println!("{}", path.display());
            target(&input);
        }
    }
}

#[test]
fn every_target_holds_its_laws_for_mutations() {
    let Some(seconds) = number("WATERSHED_FUZZ_SECONDS") else { return };
    let seed = number("WATERSHED_FUZZ_SEED").unwrap_or(1);
    let wanted = std::env::var("WATERSHED_FUZZ_TARGET").ok();
    for (name, target) in
        fuzz_targets::ALL.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name))
    {
        let inputs: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, input)| input).collect();
        let (mut random, mut last) = (mutate::Random(seed), Vec::new());
        let run = || mutate::run(*target, &inputs, seconds, &mut random, &mut last);
        let count = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            let path = std::env::temp_dir().join(format!("fuzz-{name}-{seed}"));
            std::fs::write(&path, &last).expect("the input can be written");
            panic!("{name}, seed {seed}: see {}", path.display());
        });
        // Past the capture of output: the count is to be seen.
        let _ = writeln!(std::io::stdout(), "{name}, seed {seed}: {count} mutations");
    }
}

#[test]
fn no_corpus_is_without_a_target() {
    for entry in std::fs::read_dir(corpora()).expect("the corpora can be listed") {
        let name = entry.expect("the corpora can be listed").file_name();
        assert!(fuzz_targets::ALL.iter().any(|(known, _)| name == *known), "{name:?} belongs to no target");
    }
}
