#!/usr/bin/env bash
# Fetches the real servers that the tests and benchmarks compare against, and unpacks them into a folder of its own.
#
# The system is not touched: package lists, downloads and the unpacked trees all live in the cache folder, nothing is
# installed and no root is needed. Debian's unstable suite is tried first, because it carries the newest builds; then
# whatever suites this system already uses. The mirror is the one the system is configured with.
#
#   tests/peers.sh            fetch what is missing, print the versions
#   tests/peers.sh --check    fetch nothing, only say what is there
#
#   WATERSHED_PEERS=DIR       the cache folder (default: target/peers); executables end up in DIR/root/usr/bin
#
# The exit code is 0 if everything is there, else the sum of what is missing:
#   1 prometheus   2 promtool   4 prometheus-node-exporter   8 prometheus-alertmanager   16 victoria-metrics, vmauth, vmagent
#   32 nginx
# or 64 if the arguments are wrong.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${WATERSHED_PEERS:-$top/target/peers}
case $cache in /*) ;; *) cache=$top/$cache ;; esac
bin=$cache/root/usr/bin

# executable : package that carries it : bit of the exit code
peers='prometheus:prometheus:1
promtool:promtool:2
prometheus-node-exporter:prometheus-node-exporter:4
prometheus-alertmanager:prometheus-alertmanager:8
victoria-metrics:victoria-metrics:16
vmauth:victoria-metrics:16
vmagent:victoria-metrics:16
nginx:nginx:32'

# A build of a newer suite may want a newer C library than this system has: only one that starts counts as present.
runs() { [ -x "$bin/$1" ] && version_of "$1" >/dev/null 2>&1; }

version_of() {
  case $1 in
    nginx) timeout 20 "$bin/$1" -v ;;
    *) timeout 20 "$bin/$1" --version ;;
  esac
}

missing_packages() {
  local exe package _
  while IFS=: read -r exe package _; do
    runs "$exe" || echo "$package"
  done <<<"$peers" | sort -u
}

missing_bits() {
  local exe _ bit sum=0
  while IFS=: read -r exe _ bit; do
    runs "$exe" || sum=$((sum | bit))
  done <<<"$peers"
  echo "$sum"
}

print_versions() {
  local exe package version
  while IFS=: read -r exe package _; do
    if runs "$exe"; then
      version=$(version_of "$exe" 2>&1 | grep -m 1 . || true)
      # Debian's VictoriaMetrics was built without its version; the package's file name has it.
      [ -n "$version" ] || version=$(find "$cache/debs" -name "${package}_*.deb" -printf '%f\n' 2>/dev/null | tail -n 1)
      printf '  %-26s %s\n' "$exe" "$version"
    else
      printf '  %-26s missing\n' "$exe"
    fi
  done <<<"$peers"
}

# The main archive of the system's own sources, in either format; security archives have no unstable suite.
mirror() {
  {
    awk 'tolower($1) == "uris:" { for (i = 2; i <= NF; i++) print $i }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true
    awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z+]+:\//) { print $i; break } }' \
      /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true
  } | grep -E '/debian/?$' | head -n 1
}

# apt reads the system's configuration (proxies, credentials), then this file, which moves all state into the cache.
write_apt_conf() {
  local conf=$1 state=$2
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  cat >"$conf" <<END
Dir::State::lists "$state/lists";
Dir::Cache "$state/cache";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "$(id -un)";
Acquire::Retries "3";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
END
}

# Downloads and unpacks, one by one, so that a package that this suite does not have leaves the others whole.
fetch_packages() {
  local conf=$1 package deb
  if ! APT_CONFIG=$conf apt-get -qq update >"$conf.log" 2>&1; then
    echo "  the package lists could not be read:" >&2
    tail -n 3 "$conf.log" | sed 's/^/    /' >&2
  fi
  mkdir -p "$cache/debs" "$bin"
  for package in $(missing_packages); do
    (
      cd "$cache/debs"
      rm -f "${package}"_*.deb
      APT_CONFIG=$conf apt-get -qq download "$package" >>"$conf.log" 2>&1
    ) || { echo "  $package: not to be had here" >&2; continue; }
    for deb in "$cache/debs/${package}"_*.deb; do
      dpkg-deb -x "$deb" "$cache/root"
    done
    # All are looked for in one place.
    if [ -x "$cache/root/usr/sbin/nginx" ]; then ln -sf ../sbin/nginx "$bin/nginx"; fi
  done
}

from_unstable() {
  local uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg state=$cache/apt/unstable
  uri=$(mirror || true)
  [ -n "$uri" ] || { echo "  this system has no Debian mirror configured" >&2; return 0; }
  [ -r "$keyring" ] || { echo "  no Debian archive keyring ($keyring)" >&2; return 0; }
  mkdir -p "$state"
  echo "deb [signed-by=$keyring] $uri sid main" >"$state/sources.list"
  write_apt_conf "$state/apt.conf" "$state"
  cat >>"$state/apt.conf" <<END
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "-";
END
  fetch_packages "$state/apt.conf"
}

from_system_suites() {
  local state=$cache/apt/system
  write_apt_conf "$state.conf" "$state"
  fetch_packages "$state.conf"
}

case ${1:-} in
  --check | '') ;;
  *) echo "usage: tests/peers.sh [--check]" >&2; exit 64 ;;
esac

if [ -z "${1:-}" ] && [ "$(missing_bits)" != 0 ]; then
  if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    mkdir -p "$cache/apt"
    echo "fetching peers from Debian's unstable suite"
    from_unstable
    if [ "$(missing_bits)" != 0 ]; then
      echo "fetching what is left from this system's own suites"
      from_system_suites
    fi
  else
    echo "apt-get and dpkg-deb are needed to fetch peers" >&2
  fi
fi

left=$(missing_bits)
echo "peers in ${cache#"$top"/}:"
print_versions
exit "$left"
