//! Publishing to real registries. The tests start and stop Keystone and Glance themselves.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]

#[path = "../pieces/servers.rs"]
#[allow(dead_code, reason = "only the registry of the loopback servers is used here")]
mod loopback;
#[path = "../support/openstack.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod contract;
mod deploy;
mod faults;
mod glance;
mod memory;
mod oci;
mod projects;
mod proxy;
mod refusals;
mod sets;
mod tokens;

use support::skip;

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("openstack-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
