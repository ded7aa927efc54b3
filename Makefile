# demo, test and bench set up what they need; see scripts/setup.sh.
CARGO ?= cargo
GUESTS := $(patsubst examples/rust/%/Cargo.toml,-p %,$(wildcard examples/rust/*/Cargo.toml))
FIXTURES := $(patsubst tests/fixtures/%/Cargo.toml,-p fixture-%,$(wildcard tests/fixtures/*/Cargo.toml))
# Guests are programs.
NOT_DOCUMENTED := $(subst -p ,--exclude ,$(GUESTS) $(FIXTURES))
BUILD_GUESTS := $(CARGO) build --profile processor --target wasm32-wasip2

.PHONY: demo test bench lint help

help:
	@echo "make demo   real jobs through a real host, with a private Redis"
	@echo "make test   all tests: host, SDK, and Node's BullMQ as producer, inspector and oracle"
	@echo "make bench  all figures of the README, beside BullMQ's own workers; writes bench/results.json"
	@echo "            BEFORE=/path/to/toril make bench: beside an older build, in the same rounds"
	@echo "make lint   formatting, which crate may know which, Lua, clippy, documentation"

demo:
	@scripts/setup.sh wasm redis
	$(BUILD_GUESTS) $(GUESTS)
	$(CARGO) build --release --bin toril --example demo
	@"$${CARGO_TARGET_DIR:-target}/release/examples/demo"

test:
	@scripts/setup.sh wasm redis node
	$(BUILD_GUESTS) $(GUESTS) $(FIXTURES)
	cd tests/interop && npm ci --no-audit --no-fund
	$(CARGO) build --release --bin toril
	$(CARGO) test --release
	cd tests/interop && npm test

# Incremental builds are up to a fifth slower when they run.
bench: export CARGO_INCREMENTAL = 0
bench:
	@scripts/setup.sh wasm redis node
	$(BUILD_GUESTS) -p fixture-noop -p fixture-version
	$(CARGO) build --release --bin toril
	$(CARGO) build --release --manifest-path bench/official/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}"
	cd tests/interop && npm ci --no-audit --no-fund
	node bench/bench.mjs

lint:
	@scripts/setup.sh wasm lua
	$(CARGO) fmt --all --check
	scripts/walls.sh
	luacheck --quiet $$(find host -name '*.lua' -not -path '*/target/*')
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps --workspace $(NOT_DOCUMENTED)
