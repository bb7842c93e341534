//! Mistakes of users and refusals of clouds: the message names cause and fix, and nothing is left.

use crate::servers::{Api, IMAGES, Servers};
use crate::sets::{Files, SIZE, clouds, fails, messages};
use serde_json::{Value, json};

/// A password that must not appear anywhere.
const CANARY: &str = "canary-hunter2-canary";

#[test]
fn problems_of_a_cloud_are_reported_with_a_fix_and_without_secrets() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("wrong");
    let port = |offset: u16| servers.port(offset);
    type Change = Box<dyn FnOnce(&mut Value)>;
    let cases: Vec<(&str, &str, Change, i32, Vec<&str>)> = vec![
        (
            "a password",
            "osimg-demo",
            Box::new(|c| c["auth"]["password"] = json!(CANARY)),
            9,
            vec!["logging in", "401", "password"],
        ),
        (
            "a project",
            "osimg-demo",
            Box::new(|c| c["auth"]["project_name"] = json!("nowhere")),
            9,
            vec!["401", "project_name"],
        ),
        (
            "no project",
            "osimg-demo",
            Box::new(|c| drop(c["auth"].as_object_mut().unwrap().remove("project_name"))),
            3,
            vec!["no project"],
        ),
        (
            "a region",
            "osimg-demo",
            Box::new(|c| c["region_name"] = json!("RegionTen")),
            9,
            vec!["RegionTen", "RegionOne"],
        ),
        (
            "no region",
            "osimg-demo",
            Box::new(|c| drop(c.as_object_mut().unwrap().remove("region_name"))),
            3,
            vec!["several regions"],
        ),
        (
            "no authority",
            "osimg-tls",
            Box::new(|c| drop(c.as_object_mut().unwrap().remove("cacert"))),
            6,
            vec!["not trusted", "cacert"],
        ),
        (
            "a missing authority",
            "osimg-tls",
            Box::new(|c| c["cacert"] = json!("/nonexistent.pem")),
            3,
            vec!["/nonexistent.pem"],
        ),
        (
            "no certificate",
            "osimg-tls",
            Box::new(|c| c["cacert"] = json!("/etc/hostname")),
            3,
            vec!["no certificate"],
        ),
        (
            "https to a server without TLS",
            "osimg-demo",
            Box::new(move |c| {
                c["auth"]["auth_url"] = json!(format!("https://127.0.0.1:{}/v3", port(0)))
            }),
            9,
            vec!["does not use TLS", "plain HTTP"],
        ),
        (
            "http to a server with TLS",
            "osimg-demo",
            Box::new(move |c| {
                c["auth"]["auth_url"] = json!(format!("http://127.0.0.1:{}/v3", port(1)))
            }),
            9,
            vec!["https://"],
        ),
        (
            "an unencrypted token",
            "osimg-tls",
            Box::new(|c| c["region_name"] = json!("RegionOne")),
            6,
            vec!["in the clear", "_endpoint_override"],
        ),
        (
            "another service",
            "osimg-demo",
            Box::new(move |c| {
                c["auth"]["auth_url"] = json!(format!("http://127.0.0.1:{}", port(7)))
            }),
            9,
            vec!["logging in"],
        ),
        (
            "no server",
            "osimg-demo",
            Box::new(move |c| c["image_endpoint_override"] = json!("http://127.0.0.1:1")),
            9,
            vec!["the connection was refused"],
        ),
        (
            "no token",
            "osimg-demo",
            Box::new(|c| {
                c["auth_type"] = json!("token");
                c["auth"]["token"] = json!(CANARY);
            }),
            9,
            vec!["token", "take a new one"],
        ),
    ];
    for (what, cloud, change, code, parts) in cases {
        let clouds = clouds(servers, files.dir.path(), cloud, change);
        let output = files.publish(servers, &clouds, cloud, &["-v"]);
        println!("{what}: {}", messages(&output));
        // Not every cause has a fix in a hint, but the exit code and the words are required.
        let text = messages(&output);
        assert_eq!(output.status.code(), Some(code), "{what}: {text}");
        for part in parts {
            assert!(text.contains(part), "{what}: '{part}' is missing in:\n{text}");
        }
        assert!(!text.contains(CANARY), "{what}: {text}");
    }
    assert_eq!(files.left(&Api::login(servers, "osimg-demo")), []);
}

#[test]
fn an_unknown_cloud_is_reported_with_the_known_ones() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("unknown");
    fails(
        &files.publish(servers, &servers.clouds_yaml(), "nope", &[]),
        3,
        &["'nope'", "osimg-demo"],
    );
}

#[test]
fn values_that_glance_would_refuse_are_refused_before_the_upload() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("words");
    for (more, part) in [
        (vec!["--name", "bell\u{7}"], "naming the image"),
        (vec!["--name", "esc\u{1b}[31m"], "naming the image"),
        (vec!["--property", "kernel_id=x"], "kernel_id"),
        (vec!["--property", "os_glance_x=y"], "os_glance_x"),
        (vec!["--tag", "smile😀"], "😀"),
        (
            vec!["--visibility", "public", "--share-with", "0123456789abcdef0123456789abcdef"],
            "no members",
        ),
    ] {
        fails(&files.publish(servers, &servers.clouds_yaml(), "osimg-demo", &more), 2, &[part]);
    }
    let output =
        files.publish(servers, &servers.clouds_yaml(), "osimg-demo", &["--visibility", "public"]);
    fails(&output, 9, &["403"]);
    assert_eq!(files.left(&Api::login(servers, "osimg-demo")), []);
}

#[test]
fn a_tarball_that_looks_like_a_disk_is_not_sent() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("sector");
    let path = files.tarball("1");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    std::fs::write(&path, bytes).unwrap();
    fails(
        &files.publish(servers, &servers.clouds_yaml(), "osimg-demo", &[]),
        9,
        &["55 AA", "osimg pack"],
    );
    assert_eq!(files.left(&Api::login(servers, "osimg-demo")), []);
}

#[test]
fn a_quota_that_is_reached_removes_the_images_created_before() {
    let limit = format!("image_size_cap = {}", SIZE / 2);
    let Some(servers) = Servers::separate("glance-noauth", &[("OSIMG_OS_GLANCE_DEFAULT", &limit)])
    else {
        return;
    };
    let files = Files::new("quota");
    fails(
        &files.publish(&servers, &servers.clouds_yaml(), "osimg-noauth", &[]),
        9,
        &["413", "quota", "--prune"],
    );
    assert_eq!(files.left(&Api::login(&servers, "osimg-noauth")), []);
}
