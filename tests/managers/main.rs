//! The same recipes with every package manager: dnf 4 of this machine, dnf 5 and a later dnf 4 of
//! other Debian releases.
//!
//! mmdebstrap makes the trees of the other releases. They are kept in /var/cache/osimg-tests, or in
//! the directory in OSIMG_TEST_CACHE.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]
#![allow(dead_code, reason = "each tier uses a part of the shared modules")]

#[path = "../e2e/server.rs"]
mod server;
#[path = "../e2e/stage.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;

mod bootstrap;
mod demo;
mod el9;
mod failures;
mod faults;
mod foreign;
mod hostile;
mod locks;
mod machines;
mod metadata;
mod requests;
mod scenarios;
mod sets;
mod signatures;
