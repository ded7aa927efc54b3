#!/usr/bin/env bash
# Checks what is released but not built by `make test`: the image, the Compose file, the unit of systemd, the workflows, and
# that all of them name the same versions. scripts/setup.sh linters installs the linters.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${CARGO_TARGET_DIR:-target}/lint-venv"
compose=packaging/compose/compose.yaml
unit=packaging/toril.service

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

check_versions() {
  local workspace sdk toolchain
  workspace="$(node scripts/pack-npm.mjs --print-version)"
  sdk="$(node --print 'require("./sdk/js/package.json").version')"
  [ "$sdk" = "$workspace" ] || fail "sdk/js/package.json has version $sdk, Cargo.toml $workspace"
  toolchain="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
  grep -q "^FROM rust:$toolchain-" packaging/Dockerfile ||
    fail "packaging/Dockerfile builds with another Rust than rust-toolchain.toml, which has $toolchain"
}

# The unit names a path at which this machine has nothing: the check gets a program that there is.
check_unit() {
  if ! command -v systemd-analyze >/dev/null; then
    echo "lint-packaging: $unit is not checked: there is no systemd-analyze"
    return
  fi
  local dir
  dir="$(mktemp -d)"
  sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$unit" >"$dir/toril.service"
  # It only says what it does not know.
  systemd-analyze verify --man=no "$dir/toril.service" &>"$dir/verified" || true
  [ ! -s "$dir/verified" ] || { cat "$dir/verified" && fail "$unit has a mistake"; }
  # 1.5 of 10; more is less safe.
  systemd-analyze security --offline=yes --threshold=15 --no-pager "$dir/toril.service" >"$dir/security" ||
    { cat "$dir/security" && fail "$unit leaves more open than it should"; }
  rm -r "$dir"
}

check_versions
"$venv/bin/hadolint" packaging/Dockerfile
# With shellcheck in the path it checks the scripts in them, too.
"$venv/bin/actionlint" -oneline .github/workflows/*.yml
shellcheck --severity=warning scripts/*.sh .ci/run
npm exec --yes --package dclint@3.1.0 -- dclint "$compose" --quiet --disable-rule no-build-and-image
check_unit
echo "lint-packaging: image, Compose file, unit and workflows are fine"
