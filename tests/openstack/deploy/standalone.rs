//! Ironic without Keystone, with the clouds.yaml that installers of a standalone Ironic write.

use serde_json::{Value, json};
use std::path::Path;

use super::lab::messages;
use crate::servers::{EVERYTHING, Servers};
use crate::sets::clouds;

/// A finding of `osimg doctor --cloud`.
fn finding(servers: &Servers, clouds: &Path, cloud: &str, check: &str) -> Value {
    let mut command = servers.osimg(&["doctor", "--cloud", cloud, "--json"]);
    let output = command.env("OS_CLIENT_CONFIG_FILE", clouds).output().unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", messages(&output)));
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["check"] == check)
        .unwrap_or_else(|| panic!("{check}: {report}"))
        .clone()
}

#[test]
fn a_standalone_ironic_needs_only_its_address() {
    let Some(servers) = Servers::shared(EVERYTHING) else { return };
    let directory = crate::directory();
    let path = clouds(servers, directory.path(), "osimg-noauth", |cloud| {
        *cloud = json!({ "auth_type": "none",
            "auth": { "endpoint": cloud["baremetal_endpoint_override"] } });
    });
    assert_eq!(finding(servers, &path, "osimg-noauth", "bare metal service")["works"], true);
}

#[test]
fn a_standalone_ironic_with_users_accepts_an_http_basic_password() {
    let Some(servers) =
        Servers::separate("glance-noauth ironic-noauth", &[("OSIMG_OS_IRONIC_BASIC", "1")])
    else {
        return;
    };
    for check in ["login", "bare metal service", "anaconda deploy interface"] {
        assert_eq!(
            finding(&servers, &servers.clouds_yaml(), "osimg-basic", check)["works"],
            true,
            "{check}"
        );
    }
    let directory = crate::directory();
    let wrong = clouds(&servers, directory.path(), "osimg-basic", |cloud| {
        cloud["auth"]["password"] = json!("wrong-password")
    });
    // A URL that needs no Glance: the first request to Ironic is for the node.
    let deploy = |clouds: &Path| {
        let arguments = [
            "deploy",
            "http://127.0.0.1:9/os.tgz",
            "--cloud",
            "osimg-basic",
            "--no-check",
            "--node",
            "no-such-node",
            "--apply",
        ];
        let pieces =
            ["--kernel", "http://h/k", "--ramdisk", "http://h/r", "--stage2", "http://h/s"];
        let mut command = servers.osimg(&arguments);
        command.args(pieces).env("OS_CLIENT_CONFIG_FILE", clouds);
        messages(&command.output().unwrap())
    };
    let known = deploy(&servers.clouds_yaml());
    assert!(known.contains("no-such-node could not be found"), "{known}");
    let refused = deploy(&wrong);
    assert!(
        refused.contains("401") && refused.contains("look at username and password"),
        "{refused}"
    );
}
