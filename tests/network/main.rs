//! Every part of osimg that connects to a server, with servers that a private authority has signed,
//! that fall silent, or that are reached through a proxy. The servers are Python's, or a few lines
//! of Rust.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

mod clients;
mod proxies;
mod signals;
mod silence;
mod trust;

#[path = "../support/mod.rs"]
mod support;
