#!/usr/bin/env bash
# The one command that proves a change: format, lints, all tests, the packaging and the demo.
#
# Installs what it needs where it may (as root: Debian packages) and says plainly what it has to skip. With CI set
# nothing is skipped: what is missing there is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

# What cannot be done here: an answer for people, a failure for CI.
skip() {
  if [ -n "${CI:-}" ]; then
    echo "FAILED: $*, and CI skips nothing" >&2
    exit 1
  fi
  echo "SKIPPED: $*"
  skipped="${skipped:-}
  $*"
}

# A command and the Debian package that has it.
need() {
  command -v "$1" >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "$2"; } >/dev/null 2>&1 || true
  fi
  command -v "$1" >/dev/null
}

step "tools"
need cc gcc || { echo "a C compiler is needed (package gcc)" >&2; exit 1; }
for component in rustfmt clippy; do
  cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done
cargo --version

step "peers: real Prometheus, node exporter, Alertmanager, VictoriaMetrics"
missing=0
tests/peers.sh || missing=$?
case $missing in
  0) ;;
  32) echo "without nginx, which only a benchmark is compared with" ;;
  *) skip "tests against peers that could not be fetched" ;;
esac

step "format"
cargo fmt --check

step "lints"
cargo clippy --locked --all-targets -- -D warnings
# With object stores to ship blocks to, which the default build leaves out.
cargo clippy --locked --lib --tests --features ship -- -D warnings

step "tests"
cargo test --locked --no-fail-fast
cargo test --locked --features ship --lib ship

step "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

step "release build and demo"
cargo build --locked --release
target/release/watershed demo --for 30s

step "example configurations"
find configs packaging/compose -name '*.yml' -not -name 'compose.yml' -not -path '*/rules/*' -print0 2>/dev/null |
  xargs -0 --no-run-if-empty target/release/watershed check config

step "systemd unit"
if need systemd-analyze systemd; then
  # The executable is not installed here: the unit is verified with the one just built in its place.
  unit=$(mktemp -d)/watershed.service
  sed "s|/usr/bin/watershed|$PWD/target/release/watershed|" packaging/watershed.service >"$unit"
  complaints=$(systemd-analyze verify "$unit" 2>&1 | grep -F watershed.service || true)
  rm -r "$(dirname "$unit")"
  if [ -n "$complaints" ]; then
    echo "$complaints" >&2
    exit 1
  fi
  echo "verified"
else
  skip "the systemd unit, for which systemd-analyze is missing"
fi

if command -v cargo-deny >/dev/null; then
  # tests/licences.rs has judged licences and bans already, by the same file.
  step "dependencies"
  cargo deny --locked check bans licenses sources
fi

if [ -n "${skipped:-}" ]; then
  printf '\nAll that could be run here has passed. Skipped:%s\n' "$skipped"
else
  printf '\nAll passed.\n'
fi
