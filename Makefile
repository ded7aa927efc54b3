# demo, test and bench set up what they need; see scripts/setup.sh.
CARGO ?= cargo
GUESTS := $(patsubst examples/rust/%/Cargo.toml,-p %,$(wildcard examples/rust/*/Cargo.toml))
DEMO_GUESTS := -p renovate-interior -p step-job -p delayed-step-job -p flaky -p upload-batch
FIXTURES := $(patsubst tests/fixtures/%/Cargo.toml,-p fixture-%,$(wildcard tests/fixtures/*/Cargo.toml))
# What is installed for Node: the package first, since others link to it.
NODE_DIRS := sdk/js examples/typescript tests/packages tests/interop
# Guests are programs.
NOT_DOCUMENTED := $(subst -p ,--exclude ,$(GUESTS) $(FIXTURES))
BUILD_GUESTS := $(CARGO) build --profile processor --target wasm32-wasip2

.PHONY: demo engine test bench lint npm book help

help:
	@echo "make demo   real jobs through a real host, with a private Redis"
	@echo "make test   all tests: host, SDK, and Node's BullMQ as producer, inspector and oracle"
	@echo "make bench  all figures of the README, beside BullMQ's own workers; writes bench/results.json"
	@echo "            BEFORE=/path/to/toril make bench: beside an older build (dist), in the same rounds"
	@echo "make engine the JavaScript engine: sdk/js/engine.wasm, and engine-alone.wasm without HTTP and key-value"
	@echo "make lint   formatting, which crate may know which, spelling, citations, Lua, clippy, documentation, image and workflows"
	@echo "make npm    the npm packages, with the binary that is shipped: scripts/pack-npm.mjs"
	@echo "make book   the book, target/book/index.html"

# What is built for a look takes least time to compile; `release` takes what `make test` built.
demo: DEMO_PROFILE ?= demo
demo:
	@scripts/setup.sh wasm redis
	$(BUILD_GUESTS) $(DEMO_GUESTS)
	$(CARGO) build --profile $(DEMO_PROFILE) --bin toril --bin demo
	@"$${CARGO_TARGET_DIR:-target}/$(DEMO_PROFILE)/demo"

# $(1): cargo's options, $(2): the file's name.
define build_engine
cd sdk/js/engine && $(CARGO) build --release $(1) --target-dir "$${CARGO_TARGET_DIR:-target}"
cp "$$(cd sdk/js/engine && realpath "$${CARGO_TARGET_DIR:-target}")/wasm32-wasip2/release/engine.wasm" sdk/js/$(2).wasm
endef

# Cargo looks for its config from the folder in which it runs. It does not look at the changes of QuickJS: when they differ,
# so does a flag of the compiler.
engine lint: export CFLAGS_wasm32_wasip2 = --target=wasm32-wasi -DCHANGES=$(firstword $(shell cat sdk/js/engine/quickjs/* | cksum))
# Panics carry the names of source files, which would say where cargo keeps them on the machine that builds.
engine: export RUSTFLAGS := $(RUSTFLAGS) --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=/crates --remap-path-prefix=$(CURDIR)=/toril
engine:
	@scripts/setup.sh wasm engine
	$(call build_engine,--no-default-features,engine-alone)
	$(call build_engine,,engine)

test: engine
	@scripts/setup.sh wasm redis postgres node python go c
	$(BUILD_GUESTS) $(GUESTS) $(FIXTURES)
	for dir in $(NODE_DIRS); do (cd $$dir && npm ci --no-audit --no-fund) || exit 1; done
	$(CARGO) build --release --bin toril
	$(CARGO) test --release
	cd sdk/js && npm test
	cd examples/typescript && npm run check
	cd tests/interop && npm test

# Incremental builds are up to a fifth slower when they run.
bench: export CARGO_INCREMENTAL = 0
bench: engine
	@scripts/setup.sh wasm redis node postgres python go c
	$(BUILD_GUESTS) -p fixture-noop -p fixture-version -p fixture-work -p fixture-requests -p fixture-kv -p fixture-postgres -p fixture-socket
	$(CARGO) build --profile dist --bin toril
	$(CARGO) build --release --manifest-path bench/official/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}"
	$(CARGO) build --release --manifest-path bench/server/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}"
	for dir in sdk/js bench/typescript bench/work tests/interop; do (cd $$dir && npm ci --no-audit --no-fund) || exit 1; done
	node bench/bench.mjs

npm: engine
	@scripts/setup.sh node
	$(CARGO) build --profile dist --bin toril
	node scripts/pack-npm.mjs

lint:
	@scripts/setup.sh wasm lua engine linters
	scripts/lint-packaging.sh
	"$${CARGO_TARGET_DIR:-target}/lint-venv/bin/typos"
	$(CARGO) fmt --all --check
	cd sdk/js/engine && $(CARGO) fmt --check
	scripts/walls.sh
	scripts/prose.sh
	node scripts/cited.mjs
	luacheck --quiet $$(find host -name '*.lua' -not -path '*/target/*')
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	cd sdk/js/engine && $(CARGO) clippy --release -- -D warnings
	cd sdk/js/engine && $(CARGO) clippy --release --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps --workspace $(NOT_DOCUMENTED)

book:
	@scripts/setup.sh mdbook
	mdbook build docs
