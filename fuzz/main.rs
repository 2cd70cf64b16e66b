//! Runs the fuzz target that `WATERSHED_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

#[path = "fuzz_targets/mod.rs"]
mod fuzz_targets;

static TARGET: LazyLock<fuzz_targets::Target> = LazyLock::new(|| {
    let name = std::env::var("WATERSHED_FUZZ_TARGET").unwrap_or_default();
    let found = fuzz_targets::ALL.iter().find(|(known, _)| *known == name);
    let names = || fuzz_targets::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    found.unwrap_or_else(|| panic!("WATERSHED_FUZZ_TARGET={name:?} is none of {}", names())).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
