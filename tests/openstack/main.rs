//! Publishing to real registries: Keystone and Glance are started, and stopped again, by the tests themselves.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by a panic, and runs the programs that judge")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/openstack.rs"]
mod servers;

#[test]
fn the_servers_run_and_answer() {
    let Some(servers) = servers::Servers::shared(servers::IMAGES) else { return };
    for cloud in ["osimg", "osimg-demo", "osimg-noauth"] {
        let api = servers::Api::login(servers, cloud);
        assert_eq!(api.call("GET", "image", "/v2/images", None).0, 200, "{cloud}");
    }
}
