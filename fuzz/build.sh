#!/bin/sh
# Builds the fuzzer with the coverage that libFuzzer steers by, as cargo-fuzz does, without needing it. The target is named so
# that build scripts do without.
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=16" \
    RUSTUP_TOOLCHAIN="${RUSTUP_TOOLCHAIN:-nightly}" cargo build --release --target "$host" --target-dir target
