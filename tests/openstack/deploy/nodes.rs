//! Several nodes, and nodes that osimg must not use: those of another consumer or another
//! architecture, and nodes in use.

use serde_json::{Value, json};
use std::process::{Output, Stdio};

use super::lab::{Files, Lab, TestNode, deploy, messages, only_deployment};
use super::templates::config_drive;
use crate::proxy::{Fault, Proxy};
use crate::servers::Api;

/// An instance UUID as Nova would set it.
const FOREIGN: &str = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";

/// Publishes an image for an architecture.
fn image(lab: &Lab, name: &str, arch: &str) -> String {
    let references = lab.publish(
        "osimg",
        &Files::new(".tgz"),
        name,
        &["--property", &format!("architecture={arch}")],
    );
    references["tarball"]["id"].as_str().unwrap().to_owned()
}

/// Runs `osimg deploy IMAGE --cloud osimg … --apply --json` on the nodes.
fn apply(lab: &Lab, image: &str, nodes: &[&TestNode], more: &[&str]) -> Output {
    let mut arguments =
        vec!["deploy", image, "--cloud", "osimg", "--apply", "--json", "--timeout", "5s"];
    arguments.extend(nodes.iter().flat_map(|node| ["--node", node.name.as_str()]));
    arguments.extend(more);
    lab.osimg(&arguments)
}

/// The progress of each node, as in `--json`.
fn progress(output: &Output) -> Vec<(String, String)> {
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", messages(output)));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (text(&node["node"]), text(&node["progress"])))
        .collect()
}

#[track_caller]
fn ends(output: &Output, code: i32, expected: &[(&TestNode, &str)], parts: &[&str]) {
    let text = messages(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let expected: Vec<(String, String)> =
        expected.iter().map(|(node, word)| (node.name.clone(), (*word).to_owned())).collect();
    assert_eq!(progress(output), expected, "{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in\n{text}");
    }
}

#[test]
fn only_a_node_of_the_image_s_architecture_accepts_the_image() {
    let Some(lab) = Lab::open() else { return };
    let (intel, arm) = (lab.node_of("osimg", "x86_64"), lab.node_of("osimg", "aarch64"));
    let (for_intel, for_arm) = (image(&lab, "intel", "x86_64"), image(&lab, "arm", "aarch64"));
    let before = [intel.show(), arm.show()];
    let output = apply(&lab, &for_intel, &[&intel, &arm], &[]);
    let why = "its architecture is aarch64, and the image is for x86_64";
    ends(&output, 9, &[(&intel, "untouched"), (&arm, "refused")], &[why, "--property cpu_arch"]);
    intel.is_untouched_since(&before[0]);
    arm.is_untouched_since(&before[1]);
    for (node, image) in [(&intel, &for_intel), (&arm, &for_arm)] {
        ends(&apply(&lab, image, &[node], &[]), 0, &[(node, "valid")], &[]);
        assert_eq!(node.show()["instance_info"]["image_source"], json!(image));
    }
    ends(
        &apply(&lab, &for_arm, &[&intel], &[]),
        9,
        &[(&intel, "refused")],
        &["its architecture is x86_64"],
    );
    assert_eq!(intel.show()["instance_info"]["image_source"], json!(for_intel));
}

#[test]
fn a_node_of_another_consumer_or_lessee_is_refused_and_an_own_node_is_accepted_again() {
    let Some(lab) = Lab::open() else { return };
    let image = image(&lab, "consumers", "x86_64");
    let set = |field: &str, value: &str| {
        json!([{ "op": "add", "path": format!("/{field}"),
        "value": value }])
    };
    let other = Api::login(lab.servers, "osimg-other").project;
    for (field, value, parts) in [
        ("instance_uuid", FOREIGN, vec![FOREIGN, "of another consumer", "--instance-uuid"]),
        ("lessee", other.as_str(), vec![&other, "leased to the project", "--lessee"]),
    ] {
        let (free, taken) = (lab.node("osimg"), lab.node("osimg"));
        taken.patch(&set(field, value));
        let before = [free.show(), taken.show()];
        for more in [&[][..], &["--start"]] {
            let output = apply(&lab, &image, &[&taken, &free], more);
            ends(&output, 9, &[(&taken, "refused"), (&free, "untouched")], &parts);
        }
        free.is_untouched_since(&before[0]);
        taken.is_untouched_since(&before[1]);
    }
    // osimg recognizes its own node, and no other consumer can take it: Ironic itself refuses.
    let node = lab.node("osimg-demo");
    node.prepare();
    for _ in 0..2 {
        let output = lab.osimg(&[
            "deploy",
            &image,
            "--cloud",
            "osimg-demo",
            "--node",
            &node.name,
            "--apply",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    }
    let instance = node.show()["instance_uuid"].as_str().unwrap().to_owned();
    assert_ne!(instance, node.uuid);
    let path = format!("/v1/nodes/{}", node.uuid);
    let refused = Api::login(lab.servers, "osimg-system").call(
        "PATCH",
        "baremetal",
        &path,
        Some(&set("instance_uuid", FOREIGN)),
    );
    assert_eq!(refused.0, 409, "{}", refused.1);
}

#[test]
fn an_attempt_keeps_nothing_of_an_earlier_one_and_an_active_node_is_not_touched() {
    let Some(lab) = Lab::open() else { return };
    let node = lab.node("osimg");
    let (first, second) = (image(&lab, "first", "x86_64"), image(&lab, "second-attempt", "x86_64"));
    let arguments = ["--boot-interface", "http-ipxe", "--kernel-append-params", "console=ttyS7"];
    ends(&apply(&lab, &first, &[&node], &arguments), 0, &[(&node, "valid")], &[]);
    let driver = node.show()["driver_info"].clone();
    assert!(
        driver["deploy_kernel"].is_string() && driver["deploy_ramdisk"].is_string(),
        "{driver}"
    );
    // As a failed deployment leaves it: Ironic stores a config drive in instance_info.
    let left = [
        "configdrive",
        "image_pull_secret",
        "image_request_authorization_secret",
        "image_url",
        "stage2",
        "deploy_key",
    ];
    let patch: Vec<Value> = left
        .iter()
        .map(|key| {
            json!({ "op": "add", "path": format!("/instance_info/{key}"),
            "value": "H4sIleft" })
        })
        .collect();
    node.patch(&json!(patch));
    ends(&apply(&lab, &second, &[&node], &[]), 0, &[(&node, "valid")], &[]);
    let after = node.show();
    let keys: Vec<&str> =
        after["instance_info"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["image_source", "root_gb"], "{after}");
    assert_eq!(after["boot_interface"], "ipxe", "it belongs to the node");
    for key in ["deploy_kernel", "deploy_ramdisk"] {
        assert_ne!(after["driver_info"][key], driver[key], "{key} must come from the second image");
    }
    let (output, _) = deploy(&lab, &node, &[&second, "--cloud", "osimg"]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    let active = node.show();
    ends(
        &apply(&lab, &first, &[&node], &[]),
        9,
        &[(&node, "refused")],
        &["something is installed on it", "undeploy"],
    );
    node.is_untouched_since(&active);
}

#[test]
fn a_template_with_the_checksum_of_another_tarball_is_an_error() {
    let Some(lab) = Lab::open() else { return };
    let (ours, other) = (Files::new(".tgz"), Files::new(".tgz"));
    let template = |files: &Files, name: &str| {
        let output =
            lab.osimg(&["-q", "deploy", files.tarball().to_str().unwrap(), "--print-kickstart"]);
        assert!(output.status.success(), "{}", messages(&output));
        std::fs::write(files.path("own.ks"), &output.stdout).unwrap();
        format!(
            "{}/{name}.ks",
            lab.serve("checksums", &[(&format!("{name}.ks"), &files.path("own.ks"))])
        )
    };
    let (right, wrong) = (template(&ours, "right"), template(&other, "wrong"));
    let in_glance = lab.publish("osimg", &ours, "checksums", &[]);
    let foreign = lab.publish("osimg", &other, "checksums-other", &[])["kickstart"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let directory = lab.servers.data().join("www/checksums-set");
    lab.publish_to(&format!("dir:{}", directory.display()), &ours, "os", &["--image-version", "1"]);
    let url = format!("http://127.0.0.1:{}/checksums-set/os-1.tgz", lab.servers.port(7));
    for image in [in_glance["tarball"]["id"].as_str().unwrap(), &url] {
        for (template, code) in [(&right, 0), (&wrong, 9), (&foreign, 9)] {
            let output =
                lab.osimg(&["deploy", image, "--cloud", "osimg", "--ks-template", template]);
            let text = messages(&output);
            assert_eq!(output.status.code(), Some(code), "{image} {template}: {text}");
            assert!(code == 0 || text.contains("has the checksum of another tarball"), "{text}");
        }
    }
}

#[test]
fn every_node_has_a_result_and_started_nodes_are_followed_even_if_a_later_one_fails() {
    let Some(lab) = Lab::open() else { return };
    let image = image(&lab, "outcomes", "x86_64");
    let (good, bad, lost) = (lab.node("osimg"), lab.node("osimg"), lab.node("osimg"));
    let output = apply(&lab, &image, &[&good], &["--node", "no-such-node", "--start"]);
    let report: Vec<String> = progress(&output).into_iter().map(|(_, word)| word).collect();
    assert_eq!(
        (output.status.code(), report),
        (Some(9), vec!["untouched".to_owned(), "refused".to_owned()]),
        "{}",
        messages(&output)
    );
    // Ironic refuses to start the second node, and the installer of the third one fails.
    let path = format!("/v1/nodes/{}/states/provision", bad.uuid);
    let refuse = move |method: &str, asked: &str| {
        if method == "PUT" && asked == path { Fault::Answer(400) } else { Fault::Pass }
    };
    let proxy = Proxy::start(lab.servers.port(5), refuse);
    let files = Files::new(".tgz");
    let clouds = crate::sets::clouds(lab.servers, files.directory.path(), "osimg", |cloud| {
        cloud["baremetal_endpoint_override"] = json!(proxy.url);
    });
    let exclusive = only_deployment();
    let mut command = lab
        .servers
        .osimg(&["deploy", &image, "--cloud", "osimg", "--apply", "--start", "--wait", "--json"]);
    command
        .env("OS_CLIENT_CONFIG_FILE", clouds)
        .args([&good, &bad, &lost].iter().flat_map(|node| ["--node", node.name.as_str()]));
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    good.wait_for(&["wait call-back"], Some(&mut program));
    lost.wait_for(&["wait call-back"], Some(&mut program));
    lost.anaconda().fail();
    lost.wait_for(&["deploy failed"], Some(&mut program));
    good.anaconda().install();
    let output = program.wait_with_output().unwrap();
    drop(exclusive);
    let expected = [(&good, "active"), (&bad, "start-failed"), (&lost, "failed")];
    ends(
        &output,
        9,
        &expected,
        &["starting the deployment of the node", "deploy failed", "Anaconda failed"],
    );
    assert_eq!(
        (good.show()["provision_state"].as_str(), bad.show()["provision_state"].as_str()),
        (Some("active"), Some("available"))
    );
}

#[test]
fn a_config_drive_is_given_only_to_its_own_node() {
    let Some(lab) = Lab::open() else { return };
    let image = image(&lab, "drives", "x86_64");
    let (one, two) = (lab.node("osimg"), lab.node("osimg"));
    let files = Files::new(".tgz");
    let drive = files.path("drive.iso");
    config_drive(&drive, "#cloud-config\nhostname: one\n");
    let path = drive.to_str().unwrap();
    let both = [format!("{}={path}", one.name), format!("{}={path}", two.name)];
    for (drives, part) in [
        (vec!["--config-drive", path], "names no node"),
        (vec!["--config-drive", &both[0], "--config-drive", &both[1]], "same one"),
    ] {
        let mut more = vec!["--start"];
        more.extend(drives);
        let output = apply(&lab, &image, &[&one, &two], &more);
        let text = messages(&output);
        assert!(
            output.status.code() == Some(2)
                && text.contains(part)
                && text.contains("one host's identity"),
            "{text}"
        );
    }
    let exclusive = only_deployment();
    let output = apply(&lab, &image, &[&one, &two], &["--start", "--config-drive", &both[0]]);
    ends(&output, 0, &[(&one, "started"), (&two, "started")], &[]);
    for (node, has) in [(&one, true), (&two, false)] {
        node.wait_for(&["wait call-back"], None);
        let mut anaconda = node.anaconda();
        anaconda.install();
        assert_eq!(
            anaconda
                .installed("/var/lib/cloud/seed/config_drive/openstack/latest/user_data")
                .exists(),
            has,
            "{}",
            node.name
        );
        node.wait_for(&["active"], None);
    }
    drop(exclusive);
}
