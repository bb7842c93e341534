//! Foreign text in every input of each verb: no byte of it controls a terminal, in a pipe or in a
//! terminal.

use crate::stage::{OSIMG, Stage};
use crate::support::repo::{Package, When};
use crate::support::require_root;
use crate::support::terminal::{HOSTILE, in_terminal, is_harmless};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// Runs osimg with these arguments in a pipe, as JSON in a pipe, and in a terminal. Its output must
/// be harmless each time.
fn harmless(stage: &Stage, words: &[&str], codes: &[i32]) {
    let what = words.join(" ").escape_debug().to_string();
    let command = |more: &[&str]| {
        let mut command = Command::new(OSIMG);
        command
            .args(words)
            .args(more)
            .current_dir(stage.path())
            .env("HOME", stage.path())
            .env_remove("SOURCE_DATE_EPOCH");
        command.env("OS_CLIENT_CONFIG_FILE", stage.path().join("clouds.yaml"));
        command
    };
    let text = command(&[]).output().unwrap();
    assert!(codes.contains(&text.status.code().unwrap_or(-1)), "{what}: {text:?}");
    is_harmless(&text.stdout, false, &format!("{what}: stdout"));
    is_harmless(&text.stderr, false, &format!("{what}: stderr"));
    assert!(!text.stdout.is_empty() || !text.stderr.is_empty(), "{what} is silent");

    let json = command(&["--json"]).output().unwrap();
    is_harmless(&json.stdout, false, &format!("{what}: JSON"));
    is_harmless(&json.stderr, false, &format!("{what}: stderr with --json"));
    let document: serde_json::Value = serde_json::from_slice(&json.stdout)
        .unwrap_or_else(|error| panic!("{what}: {error}: {json:?}"));
    if json.status.code() != Some(0) {
        assert!(document["error"].is_string(), "{what}: {document}");
        assert_eq!(document["code"], json.status.code().unwrap(), "{what}: {document}");
    }

    let (code, bytes) = in_terminal(command(&[]));
    assert!(codes.contains(&code.unwrap_or(-1)), "{what}: {}", bytes.escape_ascii());
    is_harmless(&bytes, true, &format!("{what}: terminal"));
}

/// A tarball with hostile names, links, owners and documents. `more` makes a different one.
fn tarball(path: &Path, more: &str) {
    let name = format!("{HOSTILE}\nFORGED{more}");
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        fs::File::create(path).unwrap(),
        flate2::Compression::fast(),
    ));
    let mut file = |path: &str, content: &str, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    };
    file(
        "etc/os-release",
        &format!("ID=tiny\nVERSION_ID=9\nPRETTY_NAME=\"Tiny {HOSTILE}\"\n"),
        0o644,
    );
    file(
        "etc/passwd",
        &format!(
            "root:x:0:0:root:/root:/bin/sh\n{HOSTILE}:x:7:7:{HOSTILE}:/{HOSTILE}:/bin/{HOSTILE}\n"
        ),
        0o644,
    );
    file("etc/hostname", &format!("{HOSTILE}\n"), 0o644);
    file("etc/machine-id", &format!("{HOSTILE}\n"), 0o644);
    file(&format!("etc/systemd/system/{name}.service"), "[Service]\n", 0o644);
    file(&format!("usr/bin/{name}"), more, 0o4755);
    file(&format!("boot/vmlinuz-{name}"), "kernel", 0o644);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, format!("usr/{name}"), format!("/nowhere/{name}")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn texts_in_a_tarball_do_not_control_the_terminal() {
    let stage = Stage::empty();
    let (a, b) = (stage.path().join("a.tgz"), stage.path().join("b.tgz"));
    tarball(&a, "");
    tarball(&b, "b");
    harmless(&stage, &["verify", "a.tgz"], &[10]);
    harmless(&stage, &["inspect", "a.tgz", "--all"], &[0]);
    harmless(&stage, &["diff", "a.tgz", "b.tgz", "--all", "--fail-on", "files"], &[10]);
    harmless(&stage, &["publish", "a.tgz", "--registry", "dir:published"], &[10]);
    harmless(&stage, &["inspect", "a.tgz", "--html", "page.html"], &[0]);
    is_harmless(&fs::read(stage.path().join("page.html")).unwrap(), false, "the page");
    // A name on the command line can also be foreign text.
    let odd = format!("{HOSTILE}.tgz");
    for verb in ["verify", "inspect", "boot", "deploy"] {
        harmless(&stage, &[verb, &odd], &[2, 3, 4, 5, 8]);
    }
    harmless(&stage, &[HOSTILE], &[2]);
    harmless(&stage, &["verify", "a.tgz", "--profile", HOSTILE], &[2]);
}

#[test]
fn texts_in_packages_and_recipes_do_not_control_the_terminal() {
    if !require_root() {
        return;
    }
    // No package builder accepts such a name, and XML metadata cannot contain C0 characters.
    let soft: String = HOSTILE.chars().filter(|c| *c >= ' ').collect();
    let place = "Q".repeat(soft.len());
    let octal: String = HOSTILE.bytes().map(|byte| format!("\\{byte:03o}")).collect();
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("loud")
                .requires("base")
                .scriptlet(When::Post, &format!("printf '{octal}\\n{octal}\\n' >&2; exit 1")),
        )
        .package(
            Package::named("named")
                .requires("base")
                .change(&format!("{place} <a@b>"), &place, 1_700_000_000)
                .file(&format!("/usr/share/{place}"), "x", 0o644, "root:root")
                .edited(place.as_bytes(), soft.as_bytes()),
        )
    });
    let settings = stage.repo().join("settings.toml").display().to_string();
    let (cache, work) = (stage.cache().display().to_string(), stage.work().display().to_string());
    let build = |recipe: &str, codes: &[i32]| {
        let words = [
            "build",
            recipe,
            "--settings",
            &settings,
            "--cache",
            &cache,
            "--workdir",
            &work,
            "--output",
            "out/image.tgz",
            "-v",
        ];
        harmless(&stage, &words, codes);
    };
    stage.write("loud.yum", "install loud\nts run\n");
    build("loud.yum", &[7]);
    stage.write("named.yum", "install named\nts run\n");
    build("named.yum", &[0]);
    harmless(
        &stage,
        &["lock", "named.yum", "--settings", &settings, "--cache", &cache, "--workdir", &work],
        &[0],
    );
    harmless(&stage, &["inspect", "out/image.tgz", "--all"], &[0]);
    let recipes = [
        format!("install {HOSTILE}\nts run\n"),
        format!("{HOSTILE}\n"),
        "install 'named\u{202e}'\nts run\n".to_owned(),
        "install nothing-like-that\nts run\n".to_owned(),
    ];
    for (index, text) in recipes.iter().enumerate() {
        let name = format!("{index}.yum");
        stage.write(&name, text);
        harmless(&stage, &["plan", &name, "--settings", &settings], &[0, 3]);
        build(&name, &[3, 7]);
        harmless(
            &stage,
            &["lock", &name, "--settings", &settings, "--cache", &cache, "--workdir", &work],
            &[3, 7],
        );
    }
    let odd = stage.write(
        "odd.toml",
        format!("[image]\nname = \"{}\"\n\"{}\" = 1\n", "\\u001b[7m", HOSTILE.escape_default()),
    );
    harmless(&stage, &["plan", "named.yum", "--settings", odd.to_str().unwrap()], &[3]);
    harmless(&stage, &["cache", "--cache", &cache], &[0]);
}

/// A service that answers every request with this status and text.
fn service(status: &'static str, body: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The thread ends with the test process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            // It does not matter if the client disconnects.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: \
                 {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

#[test]
fn texts_of_servers_manifests_and_directories_do_not_control_the_terminal() {
    let stage = Stage::empty();
    let error = serde_json::json!({ "message": HOSTILE, "title": HOSTILE });
    let message = serde_json::json!({ "error": error, "message": HOSTILE }).to_string();
    let port = service("403 Forbidden", message);
    stage.write(
        "clouds.yaml",
        format!(
            "clouds:\n  odd:\n    auth: {{auth_url: 'http://127.0.0.1:{port}/v3', username: a, \
             password: b-c-d-e-f, project_name: p}}\n"
        ),
    );
    harmless(&stage, &["images", "--registry", "glance:odd"], &[3, 9]);
    harmless(&stage, &["deploy", "image", "--cloud", "odd"], &[2, 3, 9]);
    harmless(&stage, &["doctor", "--cloud", "odd"], &[10]);
    harmless(&stage, &["verify", &format!("http://127.0.0.1:{port}/os.tgz")], &[10]);
    harmless(&stage, &["images", "--registry", &format!("oci:127.0.0.1:{port}/os")], &[5, 9]);
    let manifest = serde_json::json!({
        "manifest_version": 1, "name": HOSTILE, "version": HOSTILE, "arch": HOSTILE,
        "source_date_epoch": 1,
        "tarballs": [{ "file": format!("{HOSTILE}.tgz"), "format": "tgz", "bytes": 1,
            "sha256": "0".repeat(64), "sha512": "0".repeat(128) }],
        "os_release": { "ID": HOSTILE, "PRETTY_NAME": HOSTILE, HOSTILE: HOSTILE },
        "warnings": [HOSTILE],
        "packages": [{ "nevra": format!("{HOSTILE}-0:1-1.noarch"), "size": 1, "license": HOSTILE,
            "source": HOSTILE, "summary": HOSTILE }],
    });
    let path = stage.write("out/os-1.json", manifest.to_string());
    harmless(&stage, &["images", "--registry", "dir:out"], &[0, 8, 9]);
    harmless(
        &stage,
        &["deploy", path.to_str().unwrap(), "--base-url", "http://127.0.0.1:9/"],
        &[2, 3, 5, 8, 9],
    );
    harmless(&stage, &["inspect", path.to_str().unwrap()], &[0, 2, 3, 8]);
    fs::create_dir_all(stage.cache().join(format!("{HOSTILE}-0123456789abcdef/packages"))).unwrap();
    let cache = stage.cache().display().to_string();
    harmless(&stage, &["cache", "--cache", &cache], &[0]);
    harmless(&stage, &["shell", HOSTILE], &[2, 4]);
}
