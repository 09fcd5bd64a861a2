# `make demo` shows the main job, `make test` runs all tests; both install what they need first.

# What a Debian or Ubuntu with Rust lacks for a build: Kea's headers, and what the shim and TLS are built with.
BUILD_PACKAGES := kea-dev libboost-dev g++ libssl-dev pkg-config
# And for the demo and the tests: Kea, and the web server of the demo.
PACKAGES := $(BUILD_PACKAGES) kea-dhcp4-server nginx-light
# And for the benchmark: perfdhcp, callgrind, and what draws the plots.
BENCH_PACKAGES := kea-admin valgrind gnuplot-nox
# What only `make lint` needs.
LINT_PACKAGES := clang-format

CARGO ?= cargo
CXX_FILES = $(wildcard shim/*.h shim/*.cc test/support/*.cc)

# The Debian release, and with it the Kea, of the targets that run in Docker: trixie (2.6) or forky (3.0).
DEBIAN ?= trixie

# How long `make fuzz` is at each of its targets.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS := answer parameters

# What a benchmark is to do besides, for instance --rounds 5; and where its findings go.
BENCH ?=
BENCHMARKS := docs/benchmark
# What is measured: the commit, with a + where the library or the benchmark is not as committed.
COMMIT = $(shell git rev-parse --short HEAD)$(shell git diff --quiet HEAD -- src shim messages test build.rs Cargo.toml Cargo.lock || echo +)

.PHONY: all build deps demo test test-docker rig foreign-version fuzz bench bench-quick bench-docker bench-report lint

all: build

# The library that Kea loads: target/release/libremote_opts.so. With the examples, as `make demo` builds it: without,
# Cargo would choose other features of its dependencies, and the two be different files.
build:
	@$(call install,$(BUILD_PACKAGES))
	@$(check_cargo)
	$(CARGO) build --locked --release --lib --examples

# A real nginx and a real kea-dhcp4 with the hook, and a client that asks for an address.
demo: deps
	@$(CARGO) build --locked --release --lib --examples
	@target/release/examples/demo

# Unit tests, and every test against a real kea-dhcp4.
test: deps
	$(CARGO) test --locked --lib --tests --example dhcp-client --example bench

# All tests, against the Kea of another Debian release.
test-docker:
	docker build --file test/Dockerfile --build-arg DEBIAN=$(DEBIAN) --target test .

# Kea with the hook, nginx and clients in containers of their own.
rig:
	DEBIAN=$(DEBIAN) test/rig

# The library of this machine's Kea (`make build`), put before the Kea of the image that `make rig` made.
foreign-version:
	test/foreign-version target/release/libremote_opts.so kea-remote-opts:$(DEBIAN)

# Random answers and parameters, begun with those of fuzz/corpus; what is found on the way stays in fuzz/target, a failure
# in fuzz/artifacts. Needs a nightly Rust.
fuzz:
	@$(call install,$(BUILD_PACKAGES))
	@$(check_cargo)
	@$(CARGO) +nightly --version >/dev/null 2>&1 || \
	    { echo 'fuzzing needs a nightly Rust too: rustup toolchain install nightly' >&2; exit 1; }
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	@set -e; for target in $(FUZZ_TARGETS); do \
	    mkdir -p fuzz/target/corpus/$$target; \
	    $(CARGO) +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
	        -dict=fuzz/$$target.dict -max_len=65536 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1; \
	done

# The hook beside Kea alone, with the Kea of this machine: the whole, and the ratios alone in two minutes or three.
bench bench-quick: deps
	@$(call install,$(BENCH_PACKAGES))
	@$(CARGO) build --quiet --locked --release --lib --examples
	@target/release/examples/bench run --commit $(COMMIT) $(if $(filter bench-quick,$@),--quick,\
	    --json $(BENCHMARKS)/kea-$$(PATH=$$PATH:/usr/sbin kea-dhcp4 -v).json) $(BENCH)

# The same with the Kea of another Debian release.
bench-docker:
	docker build --quiet --file test/Dockerfile --build-arg DEBIAN=$(DEBIAN) --target build --tag remote-opts-build:$(DEBIAN) .
	docker build --quiet --file test/bench/Dockerfile --build-arg BUILD=remote-opts-build:$(DEBIAN) \
	    --tag remote-opts-bench:$(DEBIAN) .
	mkdir -p $(BENCHMARKS)
	docker run --rm --init --network none --volume "$(CURDIR)/$(BENCHMARKS):/src/$(BENCHMARKS)" \
	    remote-opts-bench:$(DEBIAN) --commit $(COMMIT) $(BENCH)

# Puts the findings into README.md: tables, and a plot.
bench-report:
	@$(call install,$(BUILD_PACKAGES) gnuplot-nox)
	@$(CARGO) build --quiet --locked --release --lib --examples
	@target/release/examples/bench report $(sort $(wildcard $(BENCHMARKS)/kea-*.json))

lint: deps
	@$(call install,$(LINT_PACKAGES))
	$(CARGO) fmt --check
	clang-format --dry-run -Werror $(CXX_FILES)
	$(CARGO) clippy --locked --all-targets -- -D warnings

deps:
	@$(call install,$(PACKAGES))
	@$(check_cargo)

check_cargo = command -v $(CARGO) >/dev/null || \
	{ echo 'Rust 1.85 or later is needed, with cargo in the PATH' >&2; exit 1; }

# Installs those of the packages $(1) that are missing; through sudo when not root. What apt-get says is shown only if
# it fails.
install = missing=; \
	for package in $(1); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    command -v apt-get >/dev/null || { echo "install the counterparts of these Debian packages:$$missing" >&2; exit 1; }; \
	    sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    echo "installing$$missing"; \
	    log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	    { $$sudo apt-get update -q && \
	      $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	    } >"$$log" 2>&1 || { cat "$$log" >&2; exit 1; }; \
	fi
