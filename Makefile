# SPDX-License-Identifier: MPL-2.0
# `make demo` shows the main job, `make demo-boot` shows real firmware that boots, `make test` runs
# all tests. Each installs what it needs first.

# What a Debian or Ubuntu with Rust lacks for a build: Kea's headers, and what the shim and TLS
# need.
BUILD_PACKAGES := kea-dev libboost-dev g++ libssl-dev pkg-config
# What the demo and the tests need too: Kea and its HTTP control channel, a web server, what runs the
# services of examples/services, and what checks an answer (docs/service.md).
PACKAGES := $(BUILD_PACKAGES) kea-dhcp4-server kea-ctrl-agent nginx-light php-cli python3 \
    python3-flask python3-jsonschema sqlite3
# What the demo with real firmware needs too: machines, their firmware, a relay agent, and the
# program that makes networks.
BOOT_PACKAGES := qemu-system-x86 seabios ipxe-qemu ovmf isc-dhcp-relay iproute2
# What the benchmark needs too: perfdhcp and callgrind.
BENCH_PACKAGES := kea-admin valgrind
# What `make lint` needs too.
LINT_PACKAGES := clang-format
# What `make deb` needs too: the tools that find a binary's packages and strip it; cargo-deb; and
# cargo-cyclonedx and jq, which list the crates in the binaries. cargo-deb 3.7.0 and later need a
# later Rust than 1.85, though they say otherwise.
DEB_PACKAGES := binutils dpkg-dev jq
CARGO_DEB := 3.6.3
CARGO_CYCLONEDX := 0.5.9
# What `make check-supply` needs: it needs Rust 1.88 itself.
CARGO_DENY := 0.20.2
# What `make fuzz` needs.
CARGO_FUZZ := 0.13.2

CARGO ?= cargo
# Where the programs are that the targets below run, whatever the environment says.
export CARGO_TARGET_DIR := $(CURDIR)/target
CXX_FILES = $(wildcard shim/*.h shim/*.cc test/*.cc test/kea/*.cc tools/demo-boot/src/*.c \
    fuzz/kea/src/*.h fuzz/kea/src/*.cc)

# This command alone builds the library: for an operator, for the demo, for the tests, for the
# benchmark and for the images. Built together with other packages, the library would be another
# file: Cargo unites the features that packages of one build ask of a dependency.
#
# The folders of this machine stay out of it: a build in another folder makes the same file.
# build.rs sees to the shim, CXXFLAGS to the C++ of cxx. Where RUSTFLAGS or CXXFLAGS is set, its
# flags count instead of these.
CARGO_HOME ?= $(HOME)/.cargo
BUILD = $(CARGO) build --locked --release \
    --config 'build.rustflags = ["--remap-path-prefix=$(CARGO_HOME)=/cargo", \
        "--remap-path-prefix=$(CURDIR)=/build"]' \
    --config 'env.CXXFLAGS = "-ffile-prefix-map=$(CARGO_HOME)=/cargo"'

# The Debian release, and with it the Kea, of targets that run in Docker: trixie (2.6), forky (3.0).
DEBIAN ?= trixie

# Where `make install` puts files: the library into Kea's hooks folder, from which alone Kea 2.6.3 and
# later load libraries; the test client, manual pages and documents below PREFIX; all of it below
# DESTDIR.
DESTDIR ?=
PREFIX ?= /usr/local
HOOKS_DIR ?= /usr/lib/$(shell $(CXX) -print-multiarch)/kea/hooks
DOC_DIR := $(PREFIX)/share/doc/kea-hook-remote-opts
DROP_IN := $(PREFIX)/lib/systemd/system/kea-dhcp4-server.service.d/remote-opts.conf
APPARMOR := /etc/apparmor.d/abstractions/kea-hook-remote-opts
DOCUMENTS = README.md SECURITY.md CHANGELOG.md $(wildcard docs/*.md docs/*.json docs/decisions/*.md) \
    $(shell find examples -type f ! -name '*.db' ! -name '*.pyc')

# The images with the sources built, and with the package made of them.
BUILD_IMAGE ?= remote-opts-build:$(DEBIAN)
DEB_IMAGE ?= remote-opts-deb:$(DEBIAN)
# The image with the library built and all that its tests run.
TOOLS_IMAGE ?= remote-opts-tools:$(DEBIAN)
# The image with the sources built in which the tests have run.
TEST_IMAGE ?= remote-opts-test:$(DEBIAN)
# The package of the Debian release $(DEBIAN).
DEB = target/debian/$(DEBIAN)

# How many seconds `make fuzz` spends on each of its targets.
FUZZ_SECONDS ?= 600
# Some of them: answer, cache_file, http, parameters, and, with this machine's Kea, packet and
# commands. Default: all.
FUZZ_TARGETS ?=

# How many seconds `make soak` takes, without its reloads. How many reloads in a row it ends with, for
# each version of HTTP. More arguments, for instance --seed 7.
SOAK_SECONDS ?= 1200
SOAK_RELOADS ?= 1000
SOAK ?=

# The tools of `make sanitize`: some of address, thread and memcheck, or none for all. Other tests
# than those of CI, for instance TESTS='parking:: tls::'.
TOOLS ?=
TESTS ?=

# More arguments for the benchmark, for instance --rounds 5; more for the storm, for instance
# --machines 1000; and the folder of the benchmark's results.
BENCH ?=
STORM ?=
BENCHMARKS := docs/benchmark
# Another hook library that `make bench` measures beside this one: radius, which is Kea's own. The
# packages of its server.
PEER ?=
PEER_PACKAGES_radius := freeradius
# The commit that the benchmark measures. A + follows where the tree has changes.
MEASURED := core src shim messages test/support tools/bench build.rs Cargo.toml Cargo.lock
COMMIT = $(shell git rev-parse --short HEAD)$(shell git diff --quiet HEAD -- $(MEASURED) || echo +)

.PHONY: all build library client install uninstall deb check-deb deb-docker test-package deps demo \
    demo-boot test test-core model test-docker test-kea tools-image check-rust core-docker rig \
    foreign-version fuzz bench bench-quick bench-docker bench-image bench-report storm storm-docker \
    soak soak-docker sanitize lint check-house check-install check-supply check-advisories \
    check-reproducible cargo-deb cargo-deny cargo-cyclonedx cargo-fuzz docs

all: build

# The library that Kea loads: target/release/libremote_opts.so.
build:
	@$(call install,$(BUILD_PACKAGES))
	@$(MAKE) --no-print-directory library

# The same, where all packages are there: the tests that need the library build it by this target.
library:
	@$(check_cargo)
	$(BUILD)

# The test client, as it is installed: target/release/remote-opts-client.
client:
	@$(check_cargo)
	$(BUILD) --package remote-opts-client

# Installs what `make build client` has built. install(1) takes an earlier library away before it
# writes the new one, so that a Kea which has the earlier one loaded keeps it. (cp would write into
# the loaded library, and kill Kea.)
install:
	@for file in libremote_opts.so remote-opts-client; do \
	    [ -f target/release/$$file ] || { echo 'first: make build client' >&2; exit 1; }; \
	done
	install -D -m 644 target/release/libremote_opts.so $(DESTDIR)$(HOOKS_DIR)/libremote_opts.so
	install -D -m 755 target/release/remote-opts-client $(DESTDIR)$(PREFIX)/bin/remote-opts-client
	install -D -m 644 packaging/limits.conf $(DESTDIR)$(DROP_IN)
	install -D -m 644 packaging/apparmor $(DESTDIR)$(APPARMOR)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 packaging/remote-opts-client.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 packaging/libremote_opts.8
	@for file in $(DOCUMENTS); do \
	    install -D -m 644 $$file $(DESTDIR)$(DOC_DIR)/$$file || exit 1; \
	done
	sed -i 's|/usr/lib/[^/]*/kea/hooks|$(HOOKS_DIR)|' \
	    $(DESTDIR)$(PREFIX)/share/man/man8/libremote_opts.8 \
	    $(DESTDIR)$(DOC_DIR)/examples/*/kea-dhcp4.conf
	sed -i 's|/usr/share/doc|$(PREFIX)/share/doc|; s|/usr/lib/systemd|$(PREFIX)/lib/systemd|' \
	    $(DESTDIR)$(PREFIX)/share/man/man8/libremote_opts.8
	@if [ -z "$(DESTDIR)" ]; then \
	    if id _kea >/dev/null 2>&1; then packaging/debian/postinst configure; \
	    else echo 'no user _kea is here: for "cache-file", make a folder that Kea may write'; fi; \
	fi

# Takes away what `make install` has made. The Debian package has files at the same places.
uninstall:
	@! dpkg-query -W -f '$${db:Status-Status}' kea-hook-remote-opts 2>/dev/null | \
	    grep -qx installed || [ -n "$(DESTDIR)" ] || \
	    { echo 'the Debian package kea-hook-remote-opts is installed: take it away first' >&2; exit 1; }
	rm -f $(DESTDIR)$(HOOKS_DIR)/libremote_opts.so $(DESTDIR)$(PREFIX)/bin/remote-opts-client \
	    $(DESTDIR)$(DROP_IN) $(DESTDIR)$(APPARMOR) \
	    $(DESTDIR)$(PREFIX)/share/man/man1/remote-opts-client.1 \
	    $(DESTDIR)$(PREFIX)/share/man/man8/libremote_opts.8
	rmdir $(DESTDIR)$(dir $(DROP_IN)) 2>/dev/null || true
	rm -rf $(DESTDIR)$(DOC_DIR)
	[ -n "$(DESTDIR)" ] || packaging/debian/postrm purge

check-install: build client
	test/install

# The Debian package for the Kea of this machine, in target/debian.
deb: build client cargo-deb cargo-cyclonedx
	@$(call install,$(DEB_PACKAGES))
	@rm -rf target/package
	@$(MAKE) --silent install DESTDIR=$(CURDIR)/target/package/root PREFIX=/usr
	@packaging/deb

# Tries the package of `make deb` in a container with this machine's Debian.
check-deb: deb
	DEBIAN=$$(. /etc/os-release && echo "$$VERSION_CODENAME") test/package target/debian/*.deb

cargo-deb:
	@$(call install_tool,deb,$(CARGO_DEB))
cargo-cyclonedx:
	@$(call install_tool,cyclonedx,$(CARGO_CYCLONEDX))
cargo-deny:
	@$(call install_tool,deny,$(CARGO_DENY))
cargo-fuzz:
	@$(call install_tool,fuzz,$(CARGO_FUZZ))

# The Debian package for the Kea of another Debian release, in target/debian/$(DEBIAN). lintian must
# find no error in it.
deb-docker: cargo-deb cargo-cyclonedx
	@mkdir -p target/tools
	@PATH="$(CARGO_HOME)/bin:$$PATH"; \
	    cp "$$(command -v cargo-deb)" "$$(command -v cargo-cyclonedx)" target/tools/
	docker build --file test/Dockerfile --build-arg DEBIAN=$(DEBIAN) --target build \
	    --tag $(BUILD_IMAGE) .
	docker build --file packaging/Dockerfile --build-arg BUILD=$(BUILD_IMAGE) --tag $(DEB_IMAGE) .
	rm -rf $(DEB)
	mkdir -p $(DEB)
	docker run --rm $(DEB_IMAGE) tar -c -C target/debian . | tar -x --no-same-owner -C $(DEB)

# Installs the package of `make deb-docker` in a container with the Kea of this release, tries it, and
# takes it away.
test-package: deb-docker
	DEBIAN=$(DEBIAN) test/package $(DEB)/*.deb

# A real nginx and a real kea-dhcp4 with the hook, and a client that asks for an address.
demo: deps
	@$(BUILD)
	@$(CARGO) build --locked --package remote-opts-demo --package remote-opts-client
	@target/debug/demo

# Real firmware boots what the service says: iPXE, and UEFI HTTP boot. The program makes network
# namespaces and tap devices, so root runs it. Cargo has built the library for it.
demo-boot: deps
	@$(call install,$(BOOT_PACKAGES))
	@$(BUILD)
	@$(CARGO) build --locked --package remote-opts-demo-boot
	@sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    $$sudo env REMOPTS_LIBRARY="$(CURDIR)/target/release/libremote_opts.so" target/debug/demo-boot

# Unit tests, and every test against a real kea-dhcp4 that has the library of `make build`.
test: deps
	$(BUILD)
	$(CARGO) test --locked --workspace

# The tests of the crate that needs no Kea.
test-core:
	$(CARGO) test --locked --package remote-opts-core

# The engine, the parking places and the main thread's work in one order of steps after the other:
# docs/decisions/model.md. MODEL_SECONDS is the time, MODEL_SEED the first seed. When an order fails,
# the last line says with which MODEL_REPLAY the same orders are tried again.
model:
	@$(check_cargo)
	@RUSTFLAGS='--cfg shuttle' CARGO_TARGET_DIR=target/model \
	    $(CARGO) test --quiet --locked --package remote-opts-core --profile model --test model

# All tests, against the Kea of another Debian release.
test-docker:
	docker build --file test/Dockerfile --build-arg DEBIAN=$(DEBIAN) --target test \
	    --tag $(TEST_IMAGE) .

# The tests with Kea, built on this machine, against the Kea of another Debian release: in less time
# than test-docker, whose image builds the tests, too.
test-kea: tools-image
	@programs=$$(CARGO='$(CARGO)' test/test-programs) && \
	    echo "$$programs" | test/other-kea $(TOOLS_IMAGE)

# The image in which `make test-kea` and `make soak-docker` run programs of this machine.
tools-image:
	@$(check_cargo)
	docker build --file test/Dockerfile --build-arg DEBIAN=$(DEBIAN) --target tools \
	    --tag $(TOOLS_IMAGE) .

# Whether all packages, tests and tools too, compile with the Rust of another Debian release. trixie
# has the oldest Rust that serves.
check-rust: tools-image
	docker run --rm --init --volume "$(CURDIR):/tree:ro" --workdir /tree \
	    --env CARGO_TARGET_DIR=/tmp/target $(TOOLS_IMAGE) \
	    cargo check --quiet --locked --workspace --all-targets

# The tests of the crate that needs no Kea, in a container without Kea and without a C++ compiler.
core-docker:
	docker build --file test/Dockerfile.core --build-arg DEBIAN=$(DEBIAN) .

# Tests with Kea under AddressSanitizer, LeakSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer
# and valgrind: docs/decisions/sanitizers.md. What is built stays in target/sanitize.
#
# On some kernels ThreadSanitizer asks for addresses that are not random, and LeakSanitizer asks for
# ptrace. Docker's usual filter may forbid both.
sanitize:
	@$(check_cargo)
	docker build --quiet --tag remote-opts-sanitize - < test/Dockerfile.sanitize
	@mkdir -p target/sanitize target/tmp
	@programs=$$(CARGO='$(CARGO)' test/test-programs) && \
	docker run --rm --init --user "$$(id -u):$$(id -g)" --security-opt seccomp=unconfined \
	    --env TESTS='$(TESTS)' --env PROGRAMS="$$programs" \
	    --volume "$(CURDIR):/src:ro" --volume "$(CURDIR)/target/sanitize:/target" \
	    --volume "$(CURDIR):$(CURDIR):ro" --tmpfs "$(CURDIR)/target/tmp:exec,mode=1777" \
	    --tmpfs /tmp:exec,mode=1777 \
	    remote-opts-sanitize test/sanitize $(TOOLS)

# Kea with the hook, nginx and clients, each in a container of its own.
rig:
	DEBIAN=$(DEBIAN) test/rig

# Gives the library of this machine's Kea (`make build`) to the Kea of the image that `make rig`
# made.
foreign-version:
	test/foreign-version target/release/libremote_opts.so kea-remote-opts:$(DEBIAN)

# Random input for whatever reads bytes from outside: docs/decisions/fuzzing.md. No nightly Rust is
# needed.
fuzz: cargo-fuzz
	@$(call install,$(BUILD_PACKAGES))
	@CARGO='$(CARGO)' test/fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# The hook beside an empty library, with the Kea of this machine. bench-quick: the main cases alone,
# in some minutes. With a PEER, in Docker: Kea has its own radius library from 3.0 on.
ifdef PEER
bench: DEBIAN := forky
bench: bench-docker
else
bench bench-quick: deps
	@$(call install,$(BENCH_PACKAGES))
	@$(build_bench)
	@target/release/bench run --commit $(COMMIT) $(if $(filter bench-quick,$@),--quick,\
	    --json $(BENCHMARKS)/kea-$$(PATH=$$PATH:/usr/sbin kea-dhcp4 -v).json) $(BENCH)
endif

# 5,000 machines power on within a second: each must get its own answer, for one request.
storm: deps
	@$(build_bench)
	@target/release/bench storm --commit $(COMMIT) $(STORM)

# Kea under load while an adversary works: each packet must be answered as the manual says, and memory
# must stay level. Then many reloads in a row.
soak: deps
	@$(BUILD) --quiet
	@$(CARGO) build --quiet --locked --package remote-opts-soak
	@target/debug/soak run --seconds $(SOAK_SECONDS) $(SOAK)
	@target/debug/soak reloads --times $(SOAK_RELOADS)

# The soak with the Kea of another Debian release.
soak-docker: tools-image
	$(CARGO) build --quiet --locked --package remote-opts-soak
	@printf '$(CURDIR) target/debug/soak %s\n' 'run --seconds $(SOAK_SECONDS) $(SOAK)' \
	    'reloads --times $(SOAK_RELOADS)' | test/other-kea $(TOOLS_IMAGE)

# The image of the benchmark, with the Kea of another Debian release.
bench-image:
	docker build --quiet --file test/Dockerfile --build-arg DEBIAN=$(DEBIAN) --target build \
	    --tag remote-opts-build:$(DEBIAN) .
	docker build --quiet --file tools/bench/Dockerfile --build-arg BUILD=remote-opts-build:$(DEBIAN) \
	    --build-arg PEER_PACKAGES="$(PEER_PACKAGES_$(PEER))" \
	    --tag remote-opts-bench:$(DEBIAN) .

# The benchmark with the Kea of another Debian release.
bench-docker: bench-image
	mkdir -p $(BENCHMARKS)
	docker run --rm --init --network none --volume "$(CURDIR)/$(BENCHMARKS):/src/$(BENCHMARKS)" \
	    --env PEER=$(PEER) \
	    remote-opts-bench:$(DEBIAN) --commit $(COMMIT) $(BENCH)

# The storm with the Kea of another Debian release.
storm-docker: bench-image
	docker run --rm --init --network none --entrypoint target/release/bench \
	    remote-opts-bench:$(DEBIAN) storm --commit $(COMMIT) $(STORM)

# Writes the results into the documents: tables, and a plot.
bench-report:
	@$(call install,$(BUILD_PACKAGES) gnuplot-nox)
	@$(build_bench)
	@target/release/bench report $(sort $(wildcard $(BENCHMARKS)/kea-*.json))

# Writes the documents that come from the table of parameters and from the message file.
docs:
	$(CARGO) run --quiet --locked --package remote-opts-core --example documents

# A warning about C++ is an error here and in CI.
lint: export REMOPTS_WERROR := 1
lint: deps check-house
	@$(call install,$(LINT_PACKAGES))
	$(CARGO) fmt --all --check
	clang-format --dry-run -Werror $(CXX_FILES)
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTFLAGS='--cfg shuttle' CARGO_TARGET_DIR=target/model \
	    $(CARGO) clippy --locked --package remote-opts-core --test model -- -D warnings

# The border between the adapter and core.
check-house:
	test/house

# Where the crates come from, their licences, and which of them are there twice: deny.toml.
check-supply: cargo-deny
	$(DENY) -D unmatched-skip -D unnecessary-skip bans licenses sources

# Which crates have known faults or were taken back. Needs RustSec's database from the internet, and
# fails without it. CI does not run it: a new advisory is no fault of the change that CI tries.
check-advisories: cargo-deny
	$(DENY) advisories

DENY = $(CARGO) deny --locked --workspace check --hide-inclusion-graph

# The library once more, elsewhere: it must be the same file.
check-reproducible: build
	test/reproducible

deps:
	@$(call install,$(PACKAGES))
	@$(check_cargo)

check_cargo = command -v $(CARGO) >/dev/null || \
	{ echo 'Rust 1.85 or later is needed, with cargo in the PATH' >&2; exit 1; }

# Installs version $(2) of the program cargo-$(1). It runs for seconds: the profile dev spares minutes
# of optimising it.
install_tool = $(check_cargo); \
	$(CARGO) $(1) --version 2>/dev/null | grep -q ' $(2)$$' || \
	    $(CARGO) install --locked --debug --config 'profile.dev.debug = false' \
	        --version $(2) cargo-$(1)

build_bench = $(BUILD) --quiet && $(BUILD) --quiet --package remote-opts-bench

# Installs the missing ones of the packages $(1), through sudo when the user is not root. The output
# of apt-get is shown only when apt-get fails.
install = missing=; \
	for package in $(1); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || \
	        missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	    command -v apt-get >/dev/null || \
	        { echo "install the counterparts of these Debian packages:$$missing" >&2; exit 1; }; \
	    sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	    echo "installing$$missing"; \
	    log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	    { $$sudo apt-get update -q && \
	      $$sudo env DEBIAN_FRONTEND=noninteractive \
	          apt-get install -q -y --no-install-recommends $$missing; \
	    } >"$$log" 2>&1 || { cat "$$log" >&2; exit 1; }; \
	fi
