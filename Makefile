# Two commands do everything on a fresh Debian 12 with Rust, git and make: `make image` and `make test`.
.PHONY: image test torture fuzz check lint demo build deps-image deps-test bench clean

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEMO := .demo/repo
# No tier takes nearly as long; one that hangs is to fail, not to keep a machine.
LIMIT := --config 'target."cfg(unix)".runner = ["timeout", "--foreground", "--kill-after=10", "20m"]'
OSIMG := target/release/osimg

# A real image, from the recipe to a tarball under out/.
image: demo
	$(SUDO) $(OSIMG) build baremetal.yum --settings $(DEMO)/osimg-demo.toml --registry dir:out

# Every tier: unit, command line, archive, labels, and the privileged and end-to-end ones for real.
test: deps-test demo
	$(SUDO) env OSIMG_REQUIRE_PRIVILEGED=1 PATH="$$PATH" CARGO_HOME="$${CARGO_HOME:-$$HOME/.cargo}" RUSTUP_HOME="$${RUSTUP_HOME:-$$HOME/.rustup}" \
		cargo test --release --all-targets --no-fail-fast $(LIMIT) -- --test-threads=2

# Everything that people and machines do to a builder, at full counts; an hour and a half on two cores, fuzzing with it.
torture: deps-test demo fuzz
	$(SUDO) env OSIMG_REQUIRE_PRIVILEGED=1 OSIMG_TORTURE=full OSIMG_TEST_KILLS=100 PATH="$$PATH" CARGO_HOME="$${CARGO_HOME:-$$HOME/.cargo}" \
		RUSTUP_HOME="$${RUSTUP_HOME:-$$HOME/.rustup}" tests/support/torture-report cargo test --release --no-fail-fast \
		--test torture --test e2e --test privileged --test archive --test rootless -- --test-threads=2 --nocapture

# The parsers before what coverage of their code leads to, each for so many seconds; as whoever is asked.
FUZZ_SECONDS := 600
fuzz: demo
	fuzz/run $(FUZZ_SECONDS) $(CURDIR)/$(DEMO)

# What a change must pass before it is committed; needs no root.
check: lint
	cargo test --lib

lint:
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --all-targets -- -D warnings

# The demo distribution: Debian's packages as a signed RPM distribution, for machines without an RPM mirror.
demo: build
	target/release/demo-distribution $(DEMO)

# One call, so that nothing is compiled twice.
# The machine's missing tools come while the compiler works.
build:
	@$(SUDO) true; $(MAKE) --no-print-directory deps-image & cargo build --release && wait $$!

deps-image:
	@tests/support/install-packages $(SUDO) -- python3-dnf rpm createrepo-c policycoreutils semodule-utils debian-archive-keyring

deps-test: deps-image
	@tests/support/install-packages $(SUDO) -- libarchive-tools attr acl libcap2-bin selinux-utils xfsprogs e2fsprogs \
		xz-utils bzip2 lbzip2 pbzip2 file strace python3 python3-venv curl gnupg openssl busybox-static util-linux mmdebstrap qemu-system-x86 qemu-user-static zstd docker-registry skopeo nginx-light apache2-utils xorriso genisoimage python3-pip chromium minisign python3-jsonschema uidmap faketime

# osimg beside the shell pipeline of Ironic's documentation, alternating.
bench: demo
	$(SUDO) benches/build $(DEMO)

clean:
	rm -rf out .demo
	cargo clean
