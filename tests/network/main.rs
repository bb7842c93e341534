//! Every part of osimg that speaks to a server, against servers that are trusted by a private
//! authority, that fall silent, or that are reached through a proxy. The servers are Python's and
//! ones of a few lines.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by a panic, and runs the programs that judge")]

mod clients;
mod proxies;
mod signals;
mod silence;
mod trust;

#[path = "../support/mod.rs"]
mod support;
