# demo and test set up what they need; see scripts/setup.sh.
CARGO ?= cargo
GUESTS := $(patsubst examples/%/Cargo.toml,-p %,$(wildcard examples/*/Cargo.toml))
FIXTURES := $(patsubst tests/fixtures/%/Cargo.toml,-p fixture-%,$(wildcard tests/fixtures/*/Cargo.toml))
BUILD_GUESTS := $(CARGO) build --profile processor --target wasm32-wasip2

.PHONY: demo test lint help

help:
	@echo "make demo   real jobs through a real host, with a private Redis"
	@echo "make test   all tests: host, SDK, and Node's BullMQ as producer, inspector and oracle"
	@echo "make lint   formatting, clippy, documentation, licences"

demo:
	@scripts/setup.sh wasm redis
	$(BUILD_GUESTS) $(GUESTS)
	$(CARGO) build --release --bin toril --example demo
	@"$${CARGO_TARGET_DIR:-target}/release/examples/demo"

test:
	@scripts/setup.sh wasm redis node
	$(BUILD_GUESTS) $(GUESTS) $(FIXTURES)
	$(CARGO) build --release --bin toril
	$(CARGO) test --release
	cd tests/interop && npm ci --no-audit --no-fund && npm test

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps -p toril -p toril-sdk -p toril-sdk-macros
