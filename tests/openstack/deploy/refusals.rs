//! Failures: each message names the cause and a fix, and no node is started by mistake.

use serde_json::{Value, json};
use std::process::Command;

use super::lab::{Files, Lab, TestNode, messages, start};
use crate::servers::Api;

/// Runs `osimg deploy` on the node. It must fail with all these parts in its message.
fn refused(
    lab: &Lab,
    node: Option<&TestNode>,
    arguments: &[&str],
    code: i32,
    parts: &[&str],
) -> String {
    let mut all = vec!["deploy"];
    all.extend(arguments);
    if let Some(node) = node {
        all.extend(["--node", &node.name, "--apply", "--start", "--timeout", "2s"]);
    }
    let output = lab.osimg(&all);
    let text = messages(&output);
    assert_eq!(output.status.code(), Some(code), "{all:?}\n{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in\n{text}");
    }
    if let Some(node) = node {
        assert_eq!(node.show()["provision_state"], "available", "{text}");
    }
    text
}

fn id(references: &Value) -> String {
    references["tarball"]["id"].as_str().unwrap().to_owned()
}

/// Changes an image without osimg.
fn patch_image(lab: &Lab, image: &str, patch: &Value) {
    let api = Api::login(lab.servers, "osimg");
    for attempt in 1.. {
        let (status, response) =
            api.call("PATCH", "image", &format!("/v2/images/{image}"), Some(patch));
        // Glance on SQLite fails with two concurrent writers.
        if status == 500 && attempt < 8 {
            std::thread::sleep(std::time::Duration::from_millis(250));
            continue;
        }
        assert_eq!(status, 200, "{patch}: {response}");
        return;
    }
}

#[test]
fn missing_permissions_and_missing_objects_are_reported() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let image = id(&lab.publish("osimg", &files, "refusals", &[]));
    let node = lab.node("osimg");
    refused(
        &lab,
        Some(&node),
        &["no-such-image", "--cloud", "osimg"],
        9,
        &["no-such-image", "osimg publish"],
    );
    let missing = "00000000-0000-4000-8000-000000000000";
    refused(
        &lab,
        Some(&node),
        &[missing, "--cloud", "osimg"],
        9,
        &[missing, "user admin in project admin"],
    );
    refused(&lab, Some(&node), &[&image, "--cloud", "nowhere"], 3, &["nowhere", "it has osimg"]);
    refused(
        &lab,
        None,
        &[&image, "--cloud", "osimg", "--node", "nobody", "--apply"],
        9,
        &["nobody", "could not be found", "system_scope"],
    );
    // A member of this project does not see the node of another project.
    refused(
        &lab,
        Some(&node),
        &[&image, "--cloud", "osimg-other"],
        9,
        &["looking up the node", "--owner"],
    );
    let clouds = std::fs::read_to_string(lab.servers.clouds_yaml())
        .unwrap()
        .replace("password: osimg-admin", "password: wrong-password");
    std::fs::write(files.path("clouds.yaml"), clouds).unwrap();
    let mut command =
        lab.servers.osimg(&["deploy", &image, "--cloud", "osimg", "--node", &node.name, "--apply"]);
    let output = command.env("OS_CLIENT_CONFIG_FILE", files.path("clouds.yaml")).output().unwrap();
    let text = messages(&output);
    assert!(
        output.status.code() == Some(9)
            && text.contains("401")
            && text.contains("username, password"),
        "{text}"
    );
}

#[test]
fn a_node_that_is_not_ready_is_not_touched() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let image = id(&lab.publish("osimg", &files, "unready", &[]));
    let node = lab.node("osimg");
    let api = Api::login(lab.servers, "osimg-system");
    let maintenance = format!("/v1/nodes/{}/maintenance", node.uuid);
    assert_eq!(
        api.call("PUT", "baremetal", &maintenance, Some(&json!({ "reason": "new disks" }))).0,
        202
    );
    refused(
        &lab,
        Some(&node),
        &[&image, "--cloud", "osimg"],
        9,
        &["in maintenance: new disks", "maintenance unset"],
    );
    assert_eq!(api.call("DELETE", "baremetal", &maintenance, None).0, 202);
    // As a conductor that was killed in the middle leaves it.
    let lock = |by: &str| {
        let database = lab.servers.data().join("db/ironic.sqlite");
        let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], \
                      timeout=30)\nc.execute('update nodes set reservation = ? where uuid = ?', \
                      (sys.argv[3] or None, sys.argv[2]))\nc.commit()\n";
        let status = Command::new("python3")
            .args(["-c", script])
            .arg(database)
            .args([&node.uuid, by])
            .status()
            .unwrap();
        assert!(status.success());
    };
    lock("some-conductor");
    refused(
        &lab,
        Some(&node),
        &[&image, "--cloud", "osimg"],
        9,
        &["is locked by host some-conductor", "reservation", "(request req-"],
    );
    lock("");
    let output = lab.osimg(&[
        "deploy",
        &image,
        "--cloud",
        "osimg",
        "--node",
        &node.name,
        "--apply",
        "--boot-interface",
        "redfish-virtual-media",
    ]);
    let text = messages(&output);
    assert!(
        output.status.code() == Some(9)
            && text.contains("no such interface")
            && text.contains("--boot-interface"),
        "{text}"
    );
    let output = lab.osimg(&[
        "deploy",
        &image,
        "--cloud",
        "osimg",
        "--node",
        &node.name,
        "--apply",
        "--root-gb",
        "0",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let port =
        api.call("GET", "baremetal", &format!("/v1/nodes/{}/ports", node.uuid), None).1["ports"][0]
            ["uuid"]
            .as_str()
            .unwrap()
            .to_owned();
    assert_eq!(api.call("DELETE", "baremetal", &format!("/v1/ports/{port}"), None).0, 204);
    refused(
        &lab,
        Some(&node),
        &[&image, "--cloud", "osimg"],
        9,
        &["does not have any port", "baremetal port create", "nothing was started"],
    );
}

#[test]
fn an_image_that_ironic_cannot_deploy_is_refused_before_any_node_is_touched() {
    let Some(lab) = Lab::open() else { return };
    let node = lab.node("osimg");
    let files = Files::new(".tgz");
    let references = lab.publish("osimg", &files, "stumbling", &[]);
    let image = id(&references);
    let piece = |role: &str| references[role]["id"].as_str().unwrap().to_owned();
    let other = lab.publish("osimg", &Files::new(".tgz"), "other", &[]);
    let foreign = other["kickstart"]["id"].as_str().unwrap().to_owned();
    let before = node.show();
    let set = |property: &str, value: &str| {
        json!([{ "op": "replace",
        "path": format!("/{property}"), "value": value }])
    };
    let cases = [
        (
            set("disk_file_extension", ".TGZ"),
            vec!["disk_file_extension '.TGZ'", "would mount"],
            set("disk_file_extension", ".tgz"),
        ),
        (
            json!([{ "op": "remove", "path": "/disk_file_extension" }]),
            vec!["no property disk_file_extension"],
            json!([{ "op": "add", "path": "/disk_file_extension", "value": ".tgz" }]),
        ),
        (
            json!([{ "op": "add", "path": "/img_type", "value": "whole-disk" }]),
            vec!["img_type 'whole-disk'"],
            json!([{ "op": "remove", "path": "/img_type" }]),
        ),
        // Kernel and second stage are swapped.
        (
            json!([{ "op": "replace", "path": "/kernel_id", "value": piece("stage2") },
                { "op": "replace", "path": "/stage2_id", "value": piece("kernel") }]),
            vec!["the kernel", "is the wrong file", "the stage2", "in the right order"],
            json!([{ "op": "replace", "path": "/kernel_id", "value": piece("kernel") },
                { "op": "replace", "path": "/stage2_id", "value": piece("stage2") }]),
        ),
        (
            json!([{ "op": "remove", "path": "/stage2_id" }]),
            vec!["no property stage2_id"],
            json!([{ "op": "add", "path": "/stage2_id", "value": piece("stage2") }]),
        ),
        (
            set("ks_template", &piece("ramdisk")),
            vec!["the kickstart", "not UTF-8"],
            set("ks_template", &piece("kickstart")),
        ),
        (
            set("ks_template", &foreign),
            vec!["checksum of another tarball"],
            set("ks_template", &piece("kickstart")),
        ),
        (
            set("visibility", "private"),
            vec!["is private", "project service"],
            set("visibility", "community"),
        ),
        (
            set("visibility", "shared"),
            vec!["is not shared with the conductor's project service", "add project"],
            set("visibility", "public"),
        ),
    ];
    for (damage, parts, repair) in cases {
        patch_image(&lab, &image, &damage);
        let text = refused(&lab, Some(&node), &[&image, "--cloud", "osimg"], 9, &parts);
        assert!(text.contains("no node was touched"), "{text}");
        patch_image(&lab, &image, &repair);
    }
    node.is_untouched_since(&before);
    // After the fix it is accepted.
    let output =
        lab.osimg(&["deploy", &image, "--cloud", "osimg", "--node", &node.name, "--apply"]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
}

#[test]
fn an_unsuitable_web_server_is_reported() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let tarball = files.tarball();
    let names =
        [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img"), ("install.img", "install.img")];
    let paths: Vec<_> = names.iter().map(|(to, from)| (*to, files.path(from))).collect();
    let mut laid: Vec<(&str, &std::path::Path)> =
        paths.iter().map(|(to, from)| (*to, from.as_path())).collect();
    laid.push(("os.tgz", &tarball));
    laid.push(("os.TGZ", &tarball));
    let base = lab.serve("plain", &laid);
    let url = |name: &str| format!("{base}/{name}");
    let (kernel, ramdisk, stage2) = (url("vmlinuz"), url("initrd.img"), url("install.img"));
    let pieces = ["--kernel", &kernel, "--ramdisk", &ramdisk, "--stage2", &stage2];
    let with = |image: &str, more: &[&str]| {
        let mut all: Vec<String> = vec![image.to_owned()];
        all.extend(more.iter().map(|s| (*s).to_owned()));
        all
    };
    let cases: Vec<(Vec<String>, i32, Vec<&str>)> = vec![
        (
            with(&url("os.tgz"), &[]),
            2,
            vec!["kernel and ramdisk are not known", "second stage is not known", "--kernel"],
        ),
        (with(&url("os.tgz"), &pieces[..4]), 2, vec!["second stage is not known"]),
        (with(&url("os.TGZ"), &pieces), 2, vec!["does not end as a tarball"]),
        (with(&url("missing.tgz"), &pieces), 9, vec!["no such file (404"]),
        (with(&format!("{base}/"), &[]), 2, vec!["kernel and ramdisk are not known"]),
        (
            with(
                &url("os.tgz"),
                &["--kernel", &ramdisk, "--ramdisk", &kernel, "--stage2", &stage2],
            ),
            9,
            vec!["the ramdisk", "it is a kernel", "right order"],
        ),
        (
            with(
                &url("os.tgz"),
                &["--kernel", &url("none"), "--ramdisk", &ramdisk, "--stage2", &stage2],
            ),
            9,
            vec!["cannot be read", "404"],
        ),
        (with("http://me:wrong-password@127.0.0.1/os.tgz", &pieces), 2, vec!["user name"]),
        (with("http://127.0.0.1:9/os.tgz", &pieces), 9, vec!["the connection was refused"]),
    ];
    for (arguments, code, parts) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&lab, None, &arguments, code, &parts);
    }
    // Correct, but with Ironic's own template: possible, with a warning.
    let whole = with(&url("os.tgz"), &pieces);
    let mut arguments = vec!["deploy"];
    arguments.extend(whole.iter().map(String::as_str));
    let output = lab.osimg(&arguments);
    let text = messages(&output);
    assert!(
        output.status.success() && text.contains("warning: no kickstart template is named"),
        "{text}"
    );
}

#[test]
fn a_deployment_that_fails_on_the_node_is_reported_with_its_cause() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let image = id(&lab.publish("osimg", &files, "failing", &[]));
    let node = lab.node("osimg");
    let (mut program, exclusive) = start(&lab, &node, &[&image, "--cloud", "osimg"]);
    node.wait_for(&["wait call-back"], Some(&mut program));
    node.anaconda().fail();
    let output = program.wait_with_output().unwrap();
    let text = messages(&output);
    assert_eq!(output.status.code(), Some(9), "{text}");
    for part in ["deploy failed", "Anaconda failed", "/tmp/anaconda.log"] {
        assert!(text.contains(part), "'{part}' is missing in\n{text}");
    }
    drop(exclusive);
    // A second attempt succeeds.
    let (output, _) = super::lab::deploy(&lab, &node, &[&image, "--cloud", "osimg"]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    // An active node is not erased by mistake.
    let output = lab
        .osimg(&["deploy", &image, "--cloud", "osimg", "--node", &node.name, "--apply", "--start"]);
    let text = messages(&output);
    assert!(
        output.status.code() == Some(9)
            && text.contains("something is installed on it")
            && text.contains("undeploy"),
        "{text}"
    );
}

#[test]
fn error_messages_of_ironic_are_explained() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let references = lab.publish("osimg", &files, "unaided", &[]);
    let image = id(&references);
    // As a user would set it by hand, without the fields that Ironic requires.
    let cases = [
        (json!({ "image_source": image }), "root_gb"),
        (
            json!({ "image_source": image, "root_gb": 10, "kernel_append_params": "a b; $(x)" }),
            "kernel_append_params",
        ),
        (
            json!({ "image_source": image, "root_gb": 10,
                "ks_template": references["tarball"]["id"] }),
            "template",
        ),
    ];
    for (info, expected) in cases {
        let node = lab.node("osimg");
        let kernel = references["kernel"]["id"].clone();
        node.patch(&json!([
            { "op": "add", "path": "/deploy_interface", "value": "anaconda" },
            { "op": "add", "path": "/driver_info",
                "value": { "deploy_kernel": kernel,
                    "deploy_ramdisk": references["ramdisk"]["id"] } },
            { "op": "add", "path": "/instance_info", "value": info },
        ]));
        let _alone = node.start_without_osimg();
        let failed = node.wait_for(&["deploy failed", "wait call-back"], None);
        let error = failed["last_error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(failed["provision_state"], "deploy failed", "{error}");
        if expected == "template" {
            // A tarball as template: whatever Ironic answers, there must be a message.
            assert!(!error.is_empty());
            continue;
        }
        let explanation = osimg::deploy::explain(&error, &node.name)
            .unwrap_or_else(|| panic!("not explained: {error}"));
        assert!(explanation.fix.contains(expected), "{error}\n{explanation}");
    }
}
