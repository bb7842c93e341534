//! What the tiers share that run the real program: leave to run, directories, signing keys, tiny
//! repositories.
#![allow(dead_code, reason = "each tier uses a part of it")]

pub mod breakout;
pub mod keys;
pub mod repo;
pub mod terminal;

use std::time::Duration;

/// Prints why a test cannot run here; fails it where it has to.
pub fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert_ne!(std::env::var("OSIMG_REQUIRE_PRIVILEGED").as_deref(), Ok("1"), "a required test cannot run: {why}");
}

/// How soon all of an ended build must be gone: two seconds at full counts, on a machine of its
/// own; more beside other work.
#[must_use]
pub fn soon() -> Duration {
    Duration::from_secs(if std::env::var("OSIMG_TORTURE").as_deref() == Ok("full") { 2 } else { 20 })
}

/// Whether the test may go on, which takes root.
#[must_use]
pub fn require_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("it takes root");
    }
    root
}
