#!/usr/bin/env bash
# Fails where a crate has below it what it must know nothing of.
set -euo pipefail
cd "$(dirname "$0")/.."

# wall CRATE PATTERN: nothing that CRATE is built from may match.
wall() {
  local crates found
  crates="$("${CARGO:-cargo}" tree --locked --edges normal,build --prefix none --package "$1")"
  found="$(grep -E "^($2) " <<<"$crates" | sort -u || true)"
  [ -z "$found" ] && return
  printf 'error: `%s` must not depend on\n%s\n' "$1" "$found" >&2
  printf 'hint: cargo tree --package %s --invert NAME shows where it comes in\n' "$1" >&2
  exit 1
}

wall toril-options 'redis|tokio|wasmtime.*|toril|toril-queue|toril-sandbox'
wall toril-queue 'wasmtime.*|wasmparser|cranelift.*|toril|toril-sandbox'
wall toril-postgres 'wasmtime.*|wasmparser|redis|toril|toril-queue|toril-sandbox|toril-options'
wall toril-sandbox 'redis|toril|toril-queue'
wall toril-snapshot 'redis|toril|toril-queue'
wall toril-componentize 'redis|cranelift-codegen|toril|toril-queue|toril-sandbox|toril-snapshot'
