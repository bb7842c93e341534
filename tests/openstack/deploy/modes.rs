//! Every way to an active node: Glance, web server, install tree; as admin and as a member; over
//! TLS with a private authority.

use serde_json::json;

use super::lab::{Files, Lab, deploy, messages, sha256, start};
use crate::servers::Api;

pub const TREEINFO: &str = "[header]\ntype = productmd.treeinfo\nversion = 1.2\n[release]\n\
    name = Demo\nshort = \
     Demo\nversion = 1\n[tree]\narch = x86_64\nbuild_timestamp = 1700000000\nplatforms = \
     x86_64\nvariants = OS\n[images-x86_64]\nkernel = images/pxeboot/vmlinuz\ninitrd = \
     images/pxeboot/initrd.img\n[stage2]\nmainimage = images/install.img\n[variant-OS]\nid = \
     OS\nuid = OS\nname = OS\ntype = variant\npackages = Packages\nrepository = .\n";

#[test]
fn an_image_in_glance_is_installed_by_an_admin_in_every_format() {
    let Some(lab) = Lab::open() else { return };
    for extension in [".tgz", ".tbz", ".txz"] {
        let files = Files::new(extension);
        let name = format!("admin{}", extension.replace('.', "-"));
        let references = lab.publish("osimg", &files, &name, &[]);
        let node = lab.node("osimg");
        let id = references["tarball"]["id"].as_str().unwrap();
        let (output, anaconda) = deploy(&lab, &node, &[id, "--cloud", "osimg", "--json"]);
        let text = messages(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&report["nodes"][0]["ending"]["state"], &report["settings"]["mode"]),
            (&json!("active"), &json!("glance"))
        );
        assert_eq!(node.show()["provision_state"], "active");
        let tarball = std::fs::read(files.tarball()).unwrap();
        let line = anaconda.command("liveimg").unwrap();
        assert!(
            line.contains(&format!("{}{extension}\"", node.uuid))
                && line.contains(&sha256(&tarball)),
            "{line}"
        );
        assert!(anaconda.tarball == Some(tarball), "the node got another tarball");
        assert_eq!(anaconda.kernel, files.bytes("vmlinuz"));
        assert_eq!(anaconda.ramdisk, files.bytes("initrd.img"));
        assert_eq!(anaconda.stage2, Some(files.bytes("install.img")));
    }
}

#[test]
fn a_member_of_a_project_deploys_to_the_node_it_owns_with_user_data_for_cloud_init() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    lab.publish("osimg-demo", &files, "member", &["--image-version", "7"]);
    let node = lab.node("osimg-demo");
    let user_data =
        "#cloud-config\nusers:\n- name: wei\u{df}\n  ssh_authorized_keys: ['ssh-ed25519 AAAA']\n";
    let drive = files.path("drive.iso");
    super::templates::config_drive(&drive, user_data);
    let output = lab.osimg(&[
        "deploy",
        "member-7",
        "--cloud",
        "osimg-demo",
        "--node",
        &node.name,
        "--apply",
    ]);
    let text = messages(&output);
    assert!(output.status.code() == Some(9) && text.contains("an operator sets it once"), "{text}");
    node.prepare();
    let (output, anaconda) = deploy(
        &lab,
        &node,
        &["member-7", "--cloud", "osimg-demo", "--config-drive", drive.to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{} active\n", node.name));
    // Ironic writes it in Python's notation of bytes. cloud-init must find the original.
    let found = std::fs::read_to_string(
        anaconda.installed("/var/lib/cloud/seed/config_drive/openstack/latest/user_data"),
    )
    .unwrap();
    assert_eq!(found, user_data);
    let meta = std::fs::read_to_string(
        anaconda.installed("/var/lib/cloud/seed/config_drive/openstack/latest/meta_data.json"),
    )
    .unwrap();
    assert_eq!(meta, "{\"uuid\": \"7\"}");
}

#[test]
fn admin_and_member_deploy_over_tls_with_a_private_authority() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let references = lab.publish("osimg-tls", &files, "tls", &[]);
    let id = references["tarball"]["id"].as_str().unwrap();
    for (cloud, owner) in [("osimg-tls", "osimg"), ("osimg-demo-tls", "osimg-demo")] {
        let node = lab.node(owner);
        node.prepare();
        let (output, _) = deploy(&lab, &node, &[id, "--cloud", cloud]);
        assert_eq!(output.status.code(), Some(0), "{cloud}: {}", messages(&output));
    }
    let node = lab.node("osimg");
    let output = lab.osimg(&[
        "deploy",
        id,
        "--cloud",
        "osimg-tls-nocacert",
        "--node",
        &node.name,
        "--apply",
    ]);
    let text = messages(&output);
    assert!(
        output.status.code() == Some(6) && text.contains("not trusted") && text.contains("cacert"),
        "{text}"
    );
}

#[test]
fn a_set_in_a_directory_of_a_web_server_is_installed_with_and_without_keystone() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let directory = lab.servers.data().join("www/set");
    lab.publish_to(
        &format!("dir:{}", directory.display()),
        &files,
        "os",
        &["--image-version", "1"],
    );
    let base = format!("http://127.0.0.1:{}/set", lab.servers.port(7));
    let tarball = std::fs::read(files.tarball()).unwrap();
    // By the URL of the tarball, and by that of the manifest.
    for (cloud, url) in
        [("osimg-noauth", format!("{base}/os-1.tgz")), ("osimg", format!("{base}/os-1.json"))]
    {
        let node = lab.node(cloud);
        let (output, anaconda) = deploy(&lab, &node, &[&url, "--cloud", cloud]);
        assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
        assert_eq!(node.show()["provision_state"], "active");
        let line = anaconda.command("liveimg").unwrap();
        assert!(
            line.contains(&format!("\"{base}/os-1.tgz\"")) && line.contains(&sha256(&tarball)),
            "{line}"
        );
        assert!(anaconda.tarball.as_ref() == Some(&tarball));
        assert_eq!(anaconda.stage2, Some(files.bytes("install.img")));
    }
}

#[test]
fn an_install_tree_provides_the_tarball_and_the_boot_pieces() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    std::fs::write(files.path("treeinfo"), TREEINFO).unwrap();
    let output = lab.osimg(&["-q", "deploy", "http://127.0.0.1/tree/", "--print-kickstart"]);
    // Without the server only the template is available. It needs no checksum for a tree.
    assert!(!output.status.success());
    let tree = [
        (".treeinfo", files.path("treeinfo")),
        ("images/pxeboot/vmlinuz", files.path("vmlinuz")),
        ("images/pxeboot/initrd.img", files.path("initrd.img")),
        ("images/install.img", files.path("install.img")),
    ];
    let laid: Vec<(&str, &std::path::Path)> =
        tree.iter().map(|(to, from)| (*to, from.as_path())).collect();
    let url = format!("{}/", lab.serve("tree", &laid));
    let output = lab.osimg(&["-q", "deploy", &url, "--print-kickstart"]);
    assert!(output.status.success(), "{}", messages(&output));
    std::fs::write(files.path("tree.ks"), &output.stdout).unwrap();
    let template =
        format!("{}/tree.ks", lab.serve("templates", &[("tree.ks", &files.path("tree.ks"))]));
    let node = lab.node("osimg");
    let (output, anaconda) =
        deploy(&lab, &node, &[&url, "--cloud", "osimg", "--ks-template", &template]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    assert_eq!(node.show()["provision_state"], "active");
    assert_eq!(anaconda.command("url"), Some(format!("url --url=\"{url}\"").as_str()));
    assert!(anaconda.boot_script.contains(&format!("inst.repo={url}")), "{}", anaconda.boot_script);
    assert_eq!((anaconda.kernel, anaconda.stage2), (files.bytes("vmlinuz"), None));
    assert!(node.show()["instance_info"].get("root_gb").is_none());
}

#[test]
fn without_apply_baremetal_commands_are_printed_and_no_node_is_touched() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let references = lab.publish("osimg", &files, "lines", &[]);
    let id = references["tarball"]["id"].as_str().unwrap();
    let node = lab.node("osimg");
    let before = node.show();
    let output = lab.osimg(&["-q", "deploy", id, "--cloud", "osimg", "--node", &node.name]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    node.is_untouched_since(&before);
    let lines = String::from_utf8(output.stdout).unwrap();
    // The real client accepts the commands unchanged.
    let script = lines
        .lines()
        .filter(|line| !line.ends_with(&format!("deploy {}", node.name)))
        .collect::<Vec<_>>()
        .join("\n");
    let status = std::process::Command::new("bash")
        .args(["-euc", &script])
        .env("PATH", format!("{}:/usr/bin:/bin", super::templates::venv().join("bin").display()))
        .env("OS_CLIENT_CONFIG_FILE", lab.servers.clouds_yaml())
        .env("OS_CLOUD", "osimg")
        .output()
        .unwrap();
    assert!(status.status.success(), "{script}\n{}", String::from_utf8_lossy(&status.stderr));
    let after = node.show();
    assert_eq!(
        (&after["deploy_interface"], &after["instance_info"]["image_source"]),
        (&json!("anaconda"), &json!(id))
    );
    assert!(after["instance_info"]["root_gb"] == json!(10), "{}", after["instance_info"]);
}

#[test]
fn a_node_keeps_nothing_of_its_previous_image() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let references = lab.publish("osimg", &files, "second", &[]);
    let node = lab.node("osimg");
    node.patch(&json!([
        { "op": "add", "path": "/instance_info/kernel", "value": "http://old/vmlinuz" },
        { "op": "add", "path": "/instance_info/image_download_source", "value": "local" },
        { "op": "add", "path": "/instance_info/display_name", "value": "theirs" },
        { "op": "add", "path": "/driver_info/deploy_kernel", "value": "http://own/ipa-kernel" },
    ]));
    let id = references["tarball"]["id"].as_str().unwrap();
    let output = lab.osimg(&["deploy", id, "--cloud", "osimg", "--node", &node.name, "--apply"]);
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    let after = node.show();
    let info = after["instance_info"].as_object().unwrap();
    assert!(
        !info.contains_key("kernel") && !info.contains_key("image_download_source"),
        "{info:?}"
    );
    assert_eq!(
        (&info["display_name"], &after["driver_info"]["deploy_kernel"]),
        (&json!("theirs"), &json!("http://own/ipa-kernel"))
    );
}

#[test]
fn an_interrupted_osimg_reports_the_state_of_the_node_and_the_deployment_continues() {
    let Some(lab) = Lab::open() else { return };
    let files = Files::new(".tgz");
    let references = lab.publish("osimg", &files, "interrupted", &[]);
    let node = lab.node("osimg");
    let (mut program, _alone) =
        start(&lab, &node, &[references["tarball"]["id"].as_str().unwrap(), "--cloud", "osimg"]);
    node.wait_for(&["wait call-back"], Some(&mut program));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(program.id()).unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    let output = program.wait_with_output().unwrap();
    let text = messages(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("goes on")
            && text.contains(&format!("baremetal node undeploy {}", node.name)),
        "{text}"
    );
    node.anaconda().install();
    node.wait_for(&["active"], None);
}

#[test]
fn doctor_reports_what_a_cloud_allows_to_each_user() {
    let Some(lab) = Lab::open() else { return };
    for owner in ["osimg", "osimg-demo", "osimg-noauth"] {
        lab.node(owner);
    }
    let examine = |cloud: &str| {
        let output = lab.osimg(&["doctor", "--cloud", cloud, "--json"]);
        let text = messages(&output);
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
        (output.status.code(), report)
    };
    let finding = |report: &serde_json::Value, check: &str| {
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["check"] == check)
            .unwrap_or_else(|| panic!("{check}: {report}"))
            .clone()
    };
    for cloud in ["osimg", "osimg-tls", "osimg-demo", "osimg-noauth"] {
        let (code, report) = examine(cloud);
        assert_eq!((code, &report["healthy"]), (Some(0), &json!(true)), "{cloud}: {report}");
        assert_eq!(finding(&report, "bare metal service")["works"], true);
    }
    let (_, noauth) = examine("osimg-noauth");
    assert_eq!(finding(&noauth, "anaconda deploy interface")["works"], true, "{noauth}");
    let (_, admin) = examine("osimg");
    let service =
        finding(&admin, "conductor's access to images")["found"].as_str().unwrap().to_owned();
    assert!(service.contains("ironic"), "{service}");
    // Facts that require the scope of the whole system are unknown, or known from a node of another
    // test, but not missing.
    assert_ne!(finding(&admin, "anaconda deploy interface")["works"], json!(false), "{admin}");
    let (_, member) = examine("osimg-demo");
    assert_eq!(finding(&member, "conductor's access to images")["works"], json!(null), "{member}");
    let (code, unprivileged) = examine("osimg-other");
    assert_eq!(code, Some(10));
    assert_eq!(finding(&unprivileged, "nodes")["works"], false, "{unprivileged}");
    let (code, untrusted) = examine("osimg-tls-nocacert");
    assert_eq!(code, Some(10));
    assert!(
        finding(&untrusted, "login")["fix"].as_str().unwrap().contains("cacert"),
        "{untrusted}"
    );
    // An ordinary admin does not see facts that only a reader of the whole system can see.
    let api = Api::login(lab.servers, "osimg-system");
    assert_eq!(api.call("GET", "baremetal", "/v1/drivers", None).0, 200);
}
