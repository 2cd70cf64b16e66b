#!/bin/sh
# Runs the target that WATERSHED_FUZZ_TARGET names for so many seconds.
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
target=${WATERSHED_FUZZ_TARGET:?names a target}
mkdir -p "corpus/$target" artifacts
exec "target/$host/release/targets" "corpus/$target" -max_total_time="${1:-120}" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="artifacts/$target-" -print_final_stats=1
