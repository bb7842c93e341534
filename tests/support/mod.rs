//! Shared parts of the tiers that run the real program: skipping, directories, signing keys, tiny
//! repositories.
#![allow(dead_code, reason = "each tier uses a part of it")]

pub mod breakout;
pub mod keys;
pub mod repo;
pub mod terminal;

use std::time::Duration;

/// Prints why a test cannot run here. Where the tests are required, this fails the test.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(
        std::env::var("OSIMG_REQUIRE_PRIVILEGED").as_deref(),
        Ok("1"),
        "a required test cannot run: {why}"
    );
}

/// The time after which everything of an ended build must be gone: two seconds at full counts, on
/// an otherwise idle machine; more if other work runs.
#[must_use]
pub fn soon() -> Duration {
    Duration::from_secs(if std::env::var("OSIMG_TORTURE").as_deref() == Ok("full") {
        2
    } else {
        20
    })
}

/// Whether the test can run. It requires root.
#[must_use]
pub fn require_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("it requires root");
    }
    root
}
