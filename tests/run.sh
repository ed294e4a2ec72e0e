#!/usr/bin/env bash
# Runs all tests, from unit tests to foreign clients. Installs what they need
# besides the Rust toolchain: Node with npm, Python, a C compiler, redis-server and
# openssl by apt (as root), the clients that the server is tried with into tests/.tools.
#
#     tests/run.sh [arguments for cargo test]
#
# On a host without io_uring, SHARDCAST_TESTS_SKIP_URING=1 leaves the server's tests on
# it out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly tools=tests/.tools

say() { printf 'tests/run.sh: %s\n' "$*"; }
die() {
  printf 'tests/run.sh: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

install_packages() {
  local missing=()
  have cc || missing+=(gcc libc6-dev)
  have node || missing+=(nodejs)
  have npm || missing+=(npm)
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
  have redis-server || missing+=(redis-server)
  have openssl || missing+=(openssl)
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
    die "missing: ${missing[*]}. Install these packages, or run this script as root on Debian."
  fi
  say "installing ${missing[*]}"
  apt-get update -qq
  without_starting env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# Runs a command during which no package may start its service: the tests start their
# own servers.
without_starting() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  "$@" || status=$?
  rm -f "$policy"
  return "$status"
}

# Whether what $1 lists is what was installed into $2 last.
is_current() { cmp -s "$1" "$2/.installed"; }

install_node_client() {
  local list=tests/interop/package-lock.json into=$tools/node
  is_current "$list" "$into" && return 0
  say "installing the npm package ws"
  mkdir -p "$into"
  cp tests/interop/package.json "$list" "$into/"
  (cd "$into" && npm ci --no-audit --no-fund --loglevel=error)
  cp "$list" "$into/.installed"
}

install_python_client() {
  local list=tests/interop/requirements.txt into=$tools/venv
  is_current "$list" "$into" && [ -x "$into/bin/python" ] && return 0
  say "installing the Python package websockets"
  rm -rf "$into"
  python3 -m venv "$into"
  "$into/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list"
  cp "$list" "$into/.installed"
}

have cargo || die "cargo is missing: install the Rust toolchain (https://rustup.rs)."
install_packages
install_node_client
install_python_client

# One profile for all: what the wire tests start is what the unit tests tested.
cargo test --workspace --locked "$@"
[ -z "${SHARDCAST_TESTS_SKIP_URING+set}" ] || say "NOT TESTED: the server on io_uring"
say "all tests passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
