//! Torture tests for a builder that runs as root, with faults of users and machines: the table of
//! all cases, and the cases that no other tier covers.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

#[path = "../e2e/server.rs"]
#[allow(dead_code, reason = "other tiers use the rest of it")]
mod server;
#[path = "../e2e/stage.rs"]
#[allow(dead_code, reason = "other tiers use the rest of it")]
mod stage;
#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod damage;
mod faults;
mod fuzz;
mod links;
mod mirrors;
mod odd;
mod reproducible;
mod secrets;
mod soak;
mod stops;
mod table;

use support::repo::{Package, Repo, When};

/// The number of repetitions: `full` in `make torture`, `reduced` in `make test`.
pub fn rounds(reduced: usize, full: usize) -> usize {
    if std::env::var("OSIMG_TORTURE").as_deref() == Ok("full") { full } else { reduced }
}

/// An even selection of `all`: everything in `make torture`.
pub fn some<T: Clone>(all: &[T], reduced: usize) -> Vec<T> {
    let wanted = rounds(reduced, all.len()).min(all.len());
    (0..wanted).map(|n| all[n * all.len() / wanted].clone()).collect()
}

/// Two small packages with a scriptlet and files with owners other than root.
pub fn small(repo: Repo) -> Repo {
    let one =
        Package::named("one").requires("base").file("/usr/share/one", "one", 0o640, "app:app");
    repo.package(one)
        .package(Package::named("two").requires("one").scriptlet(When::Post, "echo two > /etc/two"))
}

/// Installs both packages of [`small`].
pub const RECIPE: &str = "install one two\nts run\n";
