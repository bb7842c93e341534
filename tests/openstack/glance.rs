//! Published images have what Ironic and users need: properties, visibility, members, signatures;
//! and the ways to log in.

use crate::servers::{Api, IMAGES, Servers};
use crate::sets::{Files, clouds, fails, messages, succeeds};
use serde_json::{Value, json};
use std::process::Command;

fn published(servers: &Servers, files: &Files, cloud: &str, more: &[&str]) -> Value {
    let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    let output = files.publish(servers, &servers.clouds_yaml(), cloud, &more);
    succeeds(&output);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_os_image_has_every_property_that_ironic_reads() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("properties");
    let references =
        published(servers, &files, "osimg", &["--property", "team=metal", "--tag", "blue"]);
    let api = Api::login(servers, "osimg");
    let image = |role: &str| api.image(references[role]["id"].as_str().unwrap());
    let os = image("tarball");
    // The schema of this Glance accepts only UUIDs in kernel_id.
    let (status, response) = api.call(
        "POST",
        "image",
        "/v2/images",
        Some(&json!({ "name": files.name, "kernel_id": "a-kernel" })),
    );
    assert_eq!(status, 400, "{response}");
    for (property, role) in [
        ("kernel_id", "kernel"),
        ("ramdisk_id", "ramdisk"),
        ("stage2_id", "stage2"),
        ("ks_template", "kickstart"),
    ] {
        assert_eq!(os[property], references[role]["id"], "{property}");
    }
    for (property, value) in [
        ("disk_file_extension", ".tgz"),
        ("container_format", "bare"),
        ("disk_format", "raw"),
        ("visibility", "public"),
        ("team", "metal"),
    ] {
        assert_eq!(os[property], value, "{property}");
    }
    assert_eq!(os["tags"], json!(["blue"]));
    assert_eq!(os["os_hash_value"], references["tarball"]["sha512"]);
    for (role, format) in [("kernel", "aki"), ("ramdisk", "ari"), ("stage2", "ari")] {
        let piece = image(role);
        assert_eq!(
            (&piece["container_format"], &piece["disk_format"]),
            (&json!(format), &json!(format)),
            "{role}"
        );
        assert_eq!(piece["visibility"], "public");
    }
}

#[test]
fn the_three_compressed_formats_share_their_boot_pieces() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("formats");
    let tree = files.path("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    std::fs::write(tree.join("etc/motd"), crate::sets::noise(&files.name, 100_000)).unwrap();
    let mut kernels = Vec::new();
    for suffix in ["tgz", "tar.bz2", "txz"] {
        let tarball = files.path(&format!("{}-7.{suffix}", files.name));
        let packed = Command::new(env!("CARGO_BIN_EXE_osimg"))
            .arg("pack")
            .arg(&tree)
            .arg("-o")
            .arg(&tarball)
            .output()
            .unwrap();
        succeeds(&packed);
        let mut command = servers.osimg(&["publish", "--registry", "glance:osimg-demo", "--json"]);
        // It lacks nearly everything that a node needs. The failed checks are reported by name.
        command.arg(&tarball);
        let unfit = command.output().unwrap();
        assert_eq!(unfit.status.code(), Some(10), "{}", messages(&unfit));
        let text = messages(&unfit);
        let allowed: Vec<&str> = text
            .split("--allow ")
            .skip(1)
            .filter_map(|rest| rest.split_whitespace().next())
            .collect();
        assert!(!allowed.is_empty(), "{text}");
        let mut command = servers.osimg(&["publish", "--registry", "glance:osimg-demo", "--json"]);
        command.args(allowed.iter().flat_map(|name| ["--allow", name]));
        command.args(["--allow", "unrecognised-kernel", "--allow", "unrecognised-ramdisk"]);
        command
            .arg(&tarball)
            .arg("--kernel")
            .arg(files.path("kernel"))
            .arg("--ramdisk")
            .arg(files.path("ramdisk"));
        let output = command.output().unwrap();
        succeeds(&output);
        let references: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(references["extension"], format!(".{suffix}"));
        kernels.push(references["kernel"]["id"].clone());
    }
    assert!(kernels.iter().all(|id| *id == kernels[0]), "{kernels:?}");
    let output = servers
        .osimg(&["images", "--registry", "glance:osimg-demo", "--json", "--name", &files.name])
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let states: Vec<&Value> =
        listed["images"].as_array().unwrap().iter().map(|image| &image["state"]).collect();
    assert_eq!(states, ["current"; 3], "each format has a current version");
}

#[test]
fn a_member_publishes_for_the_community_and_shares_by_id() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("member");
    let references = published(servers, &files, "osimg-demo", &[]);
    assert_eq!(references["visibility"], "community");
    let other = Api::login(servers, "osimg-other");
    for role in ["kernel", "tarball"] {
        assert_eq!(
            other.image(references[role]["id"].as_str().unwrap())["status"],
            "active",
            "a conductor of another project finds it"
        );
    }
    let files = Files::new("shared");
    let private = published(servers, &files, "osimg-demo", &["--visibility", "private"]);
    assert_eq!(other.image(private["tarball"]["id"].as_str().unwrap()), Value::Null);
    let shared = published(servers, &files, "osimg-demo", &["--share-with", &other.project]);
    for role in ["kernel", "ramdisk", "stage2", "kickstart", "tarball"] {
        assert_eq!(
            other.image(shared[role]["id"].as_str().unwrap())["visibility"],
            "shared",
            "{role}"
        );
    }
    let output =
        files.publish(servers, &servers.clouds_yaml(), "osimg-demo", &["--share-with", "other"]);
    fails(&output, 9, &["may not list projects", "by its id"]);
    let output =
        files.publish(servers, &servers.clouds_yaml(), "osimg", &["--share-with", "nobody-there"]);
    fails(&output, 9, &["there is none"]);
    let by_name = published(servers, &Files::new("by-name"), "osimg", &["--share-with", "service"]);
    assert_eq!(by_name["visibility"], "shared");
}

#[test]
fn old_versions_are_hidden_or_removed_and_protected_ones_stay() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("older");
    let first = published(servers, &files, "osimg-demo", &["--protected"]);
    let second =
        published(servers, &files, "osimg-demo", &["--image-version", "2", "--older", "hide"]);
    assert_eq!(second["retired"], json!([first["tarball"]["id"]]));
    let api = Api::login(servers, "osimg-demo");
    let first_id = first["tarball"]["id"].as_str().unwrap();
    assert_eq!(api.image(first_id)["os_hidden"], true);
    let output = files.publish(
        servers,
        &servers.clouds_yaml(),
        "osimg-demo",
        &["--image-version", "3", "--older", "1"],
    );
    // The set is published, and the image that must stay is named.
    fails(&output, 9, &["1 image stays", "protected", "--unprotected"]);
    assert!(!output.stdout.is_empty());
    assert_eq!(api.image(second["tarball"]["id"].as_str().unwrap()), Value::Null);
    assert_eq!(api.image(first_id)["status"], "active");
    // Publishing the hidden version again makes it visible again.
    published(servers, &files, "osimg-demo", &[]);
    assert_eq!(api.image(first_id)["os_hidden"], false);
}

#[test]
fn signatures_are_checked_by_glance_itself() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("signed");
    let certificate = "0f0f0f0f-1111-4222-8333-444444444444";
    let key = files.path("key.pem");
    let directory = servers.data().join("certificates");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=osimg",
            "-days",
            "2",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(directory.join(format!("{certificate}.pem")))
        .output()
        .unwrap();
    succeeds(&made);
    let key = key.to_string_lossy().into_owned();
    let references = published(
        servers,
        &files,
        "osimg-demo",
        &["--sign-key", &key, "--sign-certificate", certificate],
    );
    let image =
        Api::login(servers, "osimg-demo").image(references["tarball"]["id"].as_str().unwrap());
    assert_eq!(
        (&image["status"], &image["img_signature_key_type"]),
        (&json!("active"), &json!("RSA-PSS"))
    );
    // With the key of another certificate Glance refuses, and nothing is left.
    let (files, other) = (Files::new("forged"), Files::new("other-key"));
    let wrong = other.path("wrong.pem");
    succeeds(
        &Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-out"])
            .arg(&wrong)
            .output()
            .unwrap(),
    );
    let wrong = wrong.to_string_lossy().into_owned();
    let output = files.publish(
        servers,
        &servers.clouds_yaml(),
        "osimg-demo",
        &["--sign-key", &wrong, "--sign-certificate", certificate],
    );
    assert_eq!(output.status.code(), Some(9), "{}", messages(&output));
    assert!(messages(&output).contains("ignature"), "{}", messages(&output));
    assert_eq!(files.left(&Api::login(servers, "osimg-demo")), []);
}

#[test]
fn glance_fetches_the_tarball_itself_from_a_given_address() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("fetched");
    let name = format!("{}-1.tgz", files.name);
    std::fs::copy(files.tarball("1"), servers.data().join("www").join(&name)).unwrap();
    let url = format!("http://127.0.0.1:{}/{name}", servers.port(7));
    let references = published(servers, &files, "osimg", &["--import-from", &url]);
    let image = Api::login(servers, "osimg").image(references["tarball"]["id"].as_str().unwrap());
    assert_eq!(image["os_hash_value"], references["tarball"]["sha512"]);
    // A missing file, and a file with other bytes.
    for (url, code, part) in [
        (format!("http://127.0.0.1:{}/missing.tgz", servers.port(7)), 9, "could not fetch"),
        ("http://192.0.2.1:1/x.tgz".to_owned(), 9, "does not want to"),
        (format!("http://127.0.0.1:{}/", servers.port(7)), 6, "not what was sent"),
    ] {
        let files = Files::new("unfetched");
        let output =
            files.publish(servers, &servers.clouds_yaml(), "osimg", &["--import-from", &url]);
        fails(&output, code, &[part]);
        assert_eq!(files.left(&Api::login(servers, "osimg")), []);
    }
}

#[test]
fn login_works_by_environment_application_credential_and_token() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("logins");
    let cloud = servers.cloud("osimg-demo");
    let auth = &cloud["auth"];
    let list = |command: &mut Command| {
        let output = command.output().unwrap();
        succeeds(&output);
        assert!(messages(&output).contains("project demo"), "{}", messages(&output));
    };
    let text = |key: &str| auth[key].as_str().unwrap().to_owned();
    let mut command = servers.osimg(&["images", "--registry", "glance:"]);
    command.env_remove("OS_CLIENT_CONFIG_FILE").current_dir(files.dir.path());
    for (name, key) in [
        ("OS_AUTH_URL", "auth_url"),
        ("OS_USERNAME", "username"),
        ("OS_PASSWORD", "password"),
        ("OS_PROJECT_NAME", "project_name"),
        ("OS_USER_DOMAIN_NAME", "user_domain_name"),
        ("OS_PROJECT_DOMAIN_NAME", "project_domain_name"),
    ] {
        command.env(name, text(key));
    }
    command.env("OS_REGION_NAME", "RegionOne");
    list(&mut command);
    list(servers.osimg(&["images", "--registry", "glance:"]).env("OS_CLOUD", "osimg-demo"));

    let mut api = Api::login(servers, "osimg-demo");
    api.endpoints.insert("identity".into(), text("auth_url"));
    let credentials = format!("/users/{}/application_credentials", api.user);
    // Creates one, and a clouds.yaml that logs in with it.
    let issue = |api: &mut Api, wanted: serde_json::Value| {
        let (status, made) = api.call(
            "POST",
            "identity",
            &credentials,
            Some(&json!({ "application_credential": wanted })),
        );
        assert_eq!(status, 201, "{made}");
        let credential = made["application_credential"].clone();
        let with = clouds(servers, files.dir.path(), "osimg-demo", |cloud| {
            cloud["auth_type"] = json!("v3applicationcredential");
            cloud["auth"] = json!({ "auth_url": text("auth_url"),
                "application_credential_id": credential["id"],
                "application_credential_secret": credential["secret"] });
        });
        (credential, with)
    };
    let (credential, with) = issue(&mut api, json!({ "name": files.name }));
    list(
        servers
            .osimg(&["images", "--registry", "glance:osimg-demo"])
            .env("OS_CLIENT_CONFIG_FILE", &with),
    );
    // After its removal it is refused by name, without showing a secret.
    let path = format!("{credentials}/{}", credential["id"].as_str().unwrap());
    assert_eq!(api.call("DELETE", "identity", &path, None).0, 204);
    let output = files.publish(servers, &with, "osimg-demo", &[]);
    fails(&output, 9, &["application credential", "make a new one"]);
    assert!(!messages(&output).contains(credential["secret"].as_str().unwrap()));

    // An expired one is reported in the same way.
    let soon =
        Command::new("date").args(["-u", "-d", "+2 seconds", "+%FT%TZ"]).output().unwrap().stdout;
    let wanted = json!({ "name": format!("{}-soon", files.name),
        "expires_at": String::from_utf8(soon).unwrap().trim() });
    let (credential, with) = issue(&mut api, wanted);
    let began = std::time::Instant::now();
    let expired = loop {
        let output = servers
            .osimg(&["images", "--registry", "glance:osimg-demo"])
            .env("OS_CLIENT_CONFIG_FILE", &with)
            .output()
            .unwrap();
        if !output.status.success() {
            break output;
        }
        assert!(began.elapsed().as_secs() < 60, "it does not expire");
    };
    fails(&expired, 9, &["application credential", "ran out", "make a new one"]);
    assert!(!messages(&expired).contains(credential["secret"].as_str().unwrap()));

    let with = clouds(servers, files.dir.path(), "osimg-demo", |cloud| {
        cloud["auth_type"] = json!("token");
        cloud["auth"] = json!({ "auth_url": text("auth_url"), "token": api.token(),
            "project_name": "demo", "project_domain_name": "Default" });
    });
    let output = files.publish(servers, &with, "osimg-demo", &["-v", "--json"]);
    succeeds(&output);
    let shown = messages(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(!shown.contains(api.token()), "a token must not be printed");
}
