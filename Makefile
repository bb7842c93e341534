# Two commands do everything on a new Debian 12 with Rust, git and make: `make image` and `make
# test`.
.PHONY: image test torture fuzz check lint deny demo build deps-image deps-test bench clean

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEMO := .demo/repo
# No tier needs nearly as long. A test that hangs fails instead of blocking a machine.
LIMIT := --config 'target."cfg(unix)".runner = ["timeout", "--foreground", "--kill-after=10", "20m"]'
OSIMG := target/release/osimg

# A real image, from the recipe to a tarball under out/.
image: demo
	$(SUDO) $(OSIMG) build baremetal.yum --settings $(DEMO)/osimg-demo.toml --registry dir:out

# Every tier, the fast ones first: unit tests and tests that need nothing, then the privileged and
# end-to-end tests.
FAST := --lib --bins --test cli --test language --test layers --test ready_recipes --test recipe_language --test recipe_properties \
	--test recipe_settings --test recipe_transactions
ROOT := $(SUDO) env OSIMG_REQUIRE_PRIVILEGED=1 PATH="$$PATH" CARGO_HOME="$${CARGO_HOME:-$$HOME/.cargo}" RUSTUP_HOME="$${RUSTUP_HOME:-$$HOME/.rustup}"
test: deps-test demo
	$(ROOT) cargo test --release $(FAST) $(LIMIT)
	$(ROOT) cargo test --release --workspace --doc
	$(ROOT) cargo test --release --all-targets --no-fail-fast $(LIMIT) -- --test-threads=2

# All faults of users and machines, at full counts. This takes an hour and a half on two cores,
# including fuzzing.
torture: deps-test demo fuzz
	$(SUDO) env OSIMG_REQUIRE_PRIVILEGED=1 OSIMG_TORTURE=full OSIMG_TEST_KILLS=100 PATH="$$PATH" CARGO_HOME="$${CARGO_HOME:-$$HOME/.cargo}" \
		RUSTUP_HOME="$${RUSTUP_HOME:-$$HOME/.rustup}" tests/support/torture-report cargo test --release --no-fail-fast \
		--test torture --test e2e --test privileged --test archive --test rootless -- --test-threads=2 --nocapture

# Fuzzes the parsers, guided by coverage, each for this many seconds; as the calling user.
FUZZ_SECONDS := 600
fuzz: demo
	fuzz/run $(FUZZ_SECONDS) $(CURDIR)/$(DEMO)

# The checks that a change must pass before a commit; no root needed.
check: lint
	cargo test --workspace --lib --bins

# Formatting, lints, documentation, the minimum Rust version and the dependencies. Warnings are
# errors.
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
lint: deny
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings -D clippy::incompatible_msrv
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked
	if rustup toolchain list 2>/dev/null | grep -q "^$(RUST_VERSION)"; then cargo +$(RUST_VERSION) check --workspace --all-targets --locked; fi

# Licences, bans and sources of all dependencies; also advisories if their database can be fetched.
# See deny.toml. The speed of the checker does not matter, and it compiles in a third of the time
# without optimization.
deny:
	cargo deny --version >/dev/null 2>&1 || cargo install --locked --debug cargo-deny
	cargo deny --locked --workspace check bans licenses sources
	if cargo deny fetch db; then cargo deny --locked --workspace check advisories; \
		else echo "advisories are not checked: their database cannot be fetched" >&2; fi

# The demo distribution: Debian's packages as a signed RPM distribution, for machines without an RPM
# mirror.
demo: build
	target/release/demo-distribution $(DEMO)

# One call of cargo, so that nothing is compiled twice. Missing tools are installed during the
# compilation.
build:
	@$(SUDO) true; $(MAKE) --no-print-directory deps-image & cargo build --release && wait $$!

deps-image:
	@tests/support/install-packages $(SUDO) -- python3-dnf rpm createrepo-c policycoreutils semodule-utils debian-archive-keyring

deps-test: deps-image
	@tests/support/install-packages $(SUDO) -- libarchive-tools squashfs-tools squashfs-tools-ng attr acl libcap2-bin selinux-utils xfsprogs e2fsprogs \
		xz-utils bzip2 lbzip2 pbzip2 file strace python3 python3-venv curl gnupg openssl busybox-static openscap-scanner util-linux mmdebstrap qemu-system-x86 qemu-user-static zstd docker-registry skopeo nginx-light apache2-utils xorriso genisoimage python3-pip chromium minisign python3-jsonschema uidmap faketime \
		crun podman bubblewrap db5.3-util buildah systemd-container

# osimg compared with the shell pipeline of Ironic's documentation, alternating.
bench: demo
	$(SUDO) benches/build $(DEMO)

clean:
	rm -rf out .demo
	cargo clean
