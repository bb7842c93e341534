//! The contents of tarballs and trees, and the checks on them, compared with rpm, GNU tar and
//! bsdtar.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

mod checks;
mod damage;
mod fixture;
mod formats;
mod program;
mod rpmdb;
mod server;
mod writers;

#[path = "../support/mod.rs"]
mod support;
