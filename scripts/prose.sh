#!/usr/bin/env bash
# Fails where a text for readers has a phrase that they stumble over: one without an actor, or one that standard English does
# not have. Each pattern comes with what to write instead. `typos` checks the spelling.
set -euo pipefail
cd "$(dirname "$0")/.."

# README, the book, the pages beside the code; and of the code, the comments that users read: help texts, the admin API, the SDKs.
# The reference pages are made from the code.
mapfile -t texts < <(
  git ls-files README.md SECURITY.md ARCHITECTURE.md docs/src host/templates '*/README.md' | grep -E '\.md$' | grep -v '^docs/src/reference/\(cli\|api\|wit\)\.md$'
)
mapfile -t commented < <(
  git ls-files 'host/src/cli.rs' 'host/src/cli/*.rs' 'sdk/rust/src/*.rs' 'sdk/go/*.go' 'sdk/c/*.h' 'sdk/js/types/*.ts' 'wit/*.wit'
  git grep -lE '(ToSchema|utoipa::path)' -- 'host/src/*.rs'
)

failed=0
# avoid PATTERN INSTEAD
avoid() {
  local found
  found="$(
    grep -nwE "$1" "${texts[@]}" || true
    grep -nE '^\s*(//[/!]?|/?\*+) ' "${commented[@]}" | grep -wE "$1" || true
  )"
  [ -n "$found" ] || return 0
  printf '%s\nhint: write %s\n' "$found" "$2" >&2
  failed=1
}

avoid 'as ever' '"as before"'
avoid 'back in line' '"waits again"'
avoid 'at hand' 'what it is that is there'
avoid '(begins?|began) anew' '"starts again"'
avoid 'gives? (it|them) back' '"returns it to the queue"'
avoid '(comes?|came) to something else' '"differs"'
avoid 'cannot be understood' '"is invalid"'
avoid '[Rr]edis is away' '"Redis is unreachable"'
avoid '(goes?|go) by (it|what)' '"reads it" or "applies it"'
avoid 'goes? over it' '"overrides it"'
avoid 'no more jobs and let' '"stops fetching and waits for running jobs"'
avoid 'takes? (it|a deployment) away' '"removes"'
avoid 'likewise' '"also"'
avoid '(can|could|cannot|to) be had' '"available"'
avoid 'the data (stay|have|are)' '"the data stays", "has", "is"'
avoid 'whatever was there' '"and replaces an earlier one"'
avoid 'comes between' 'what happens then'
avoid 'where there is none' '"if there is none"'
avoid 'is no (error|JSON|success)' '"is not an error", "is not JSON"'
avoid '(returns?|return) (itself|themselves)' '"directly"'
avoid '(works?|worked) (a|the|this|no) queue|is worked by' '"serves": a host serves a queue'
avoid '(come|came|comes) to (its|an|their) end' '"ends"'
avoid 'puts? (it|the job) to wait' '"makes the job wait"'
avoid 'bit by bit' '"in parts"'
exit "$failed"
