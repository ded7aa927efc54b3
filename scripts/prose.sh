#!/usr/bin/env bash
# Fails where a text for readers has a phrase that they stumble over: one without an actor, or one that standard English does
# not have. Each pattern comes with what to write instead. `typos` checks the spelling.
set -euo pipefail
cd "$(dirname "$0")/.."

# README, the book, the pages beside the code, and the doc comments that are the help texts. The reference pages are made from
# the code.
mapfile -t texts < <(
  git ls-files README.md SECURITY.md docs/src host/templates '*/README.md' | grep -E '\.md$' | grep -v '^docs/src/reference/\(cli\|api\|wit\)\.md$'
)
mapfile -t helps < <(git ls-files 'host/src/cli.rs' 'host/src/cli/*.rs')

failed=0
# avoid PATTERN INSTEAD
avoid() {
  local found
  found="$(
    grep -nwE "$1" "${texts[@]}" || true
    grep -nE '^ *///' "${helps[@]}" | grep -wE "$1" || true
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
exit "$failed"
