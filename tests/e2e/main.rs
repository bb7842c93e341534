//! The whole program as a user runs it. A recipe gives an artifact or a clear failure, and the host
//! does not change.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

#[path = "../support/mod.rs"]
mod support;

mod artifacts;
mod bounds;
mod cache;
mod clones;
mod customizations;
mod demo;
mod hardening;
mod hostile;
mod images;
mod inputs;
mod kills;
mod locks;
mod network;
mod package_files;
mod paths;
mod recipes;
mod scriptlets;
mod server;
mod settings;
mod shell;
mod signals;
mod signatures;
mod site;
mod space;
mod stage;
mod terminal;
mod trust;
mod versions;
mod waits;
