//! Publishing to real registries: Keystone and Glance are started, and stopped again, by the tests themselves.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by a panic, and runs the programs that judge")]

#[path = "../support/openstack.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod contract;
mod faults;
mod glance;
mod memory;
mod proxy;
mod refusals;
mod sets;
mod tokens;
