//! `osimg diff`: packages in rpm's order of versions, files with their kinds of difference, gates
//! with their exit codes.

use crate::stage::{Done, OSIMG, Stage, run, sh};
use crate::support::repo::{Package, index};
use crate::support::require_root;
use crate::{RECIPE, json, odd, plain, stage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

fn diff(words: &[&str]) -> Done {
    let output = Command::new(OSIMG).arg("-q").arg("diff").args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        took: std::time::Duration::ZERO,
    }
}

/// The path of every file that differs, with the kinds of difference.
fn files(difference: &Value) -> BTreeMap<String, Vec<String>> {
    let files = difference.pointer("/difference/files/files").unwrap().as_array().unwrap();
    files
        .iter()
        .map(|file| {
            let aspects: Vec<String> = file["differences"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["aspect"].as_str().unwrap().to_owned())
                .collect();
            let aspects = if aspects.is_empty() {
                vec![file["presence"].as_str().unwrap().to_owned()]
            } else {
                aspects
            };
            (file["path"].as_str().unwrap().to_owned(), aspects)
        })
        .collect()
}

#[test]
fn every_kind_of_difference_of_a_file_is_reported_by_its_name_and_nothing_else() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let root = stage.extract();
    // Anaconda's tar restores labels only if the kernel has SELinux; the tree must have the same
    // labels.
    let image = stage.image();
    let (image, tree) = (image.to_str().unwrap(), root.to_str().unwrap());
    let same = json(&["diff", image, tree]);
    assert_eq!(files(&same), BTreeMap::new());
    assert_eq!(
        diff(&[
            image,
            tree,
            "--fail-on",
            "files",
            "--fail-on",
            "packages",
            "--fail-on",
            "size:+0%"
        ])
        .code,
        Some(0)
    );

    sh(
        &root,
        "cd usr/share; printf y > owned; chmod 0644 owned; chown 0:0 plain/a; rm ../bin/setgid; \
         mkdir new; printf n > new/file;
         setcap cap_net_raw=ep ../bin/capable; ln -sfn elsewhere \
         ../lib/systemd/system/basic.target.wants/odd.service;
         setfacl -m u:7:r ../bin/setuid; setfattr -n user.note -v 1 \
         ../lib/systemd/system/odd.service; chown 1:1 plain/a
         rm -r plain && mkdir plain && ln -s /nowhere plain/a",
    );
    let difference = json(&["diff", image, tree]);
    let expected: BTreeMap<String, Vec<String>> = [
        ("/usr/bin/capable", vec!["capability"]),
        ("/usr/bin/setgid", vec!["removed"]),
        ("/usr/bin/setuid", vec!["acl"]),
        ("/usr/lib/systemd/system/basic.target.wants/odd.service", vec!["link"]),
        ("/usr/lib/systemd/system/odd.service", vec!["attributes"]),
        ("/usr/share/new", vec!["added"]),
        ("/usr/share/new/file", vec!["added"]),
        ("/usr/share/owned", vec!["content", "mode"]),
        ("/usr/share/plain/a", vec!["kind"]),
    ]
    .into_iter()
    .map(|(path, aspects)| (path.to_owned(), aspects.into_iter().map(str::to_owned).collect()))
    .collect();
    assert_eq!(files(&difference), expected);
    let owner = |path: &str| {
        sh(&root, &format!("chown 0:0 .{path}"));
        files(&json(&["diff", image, tree]))[path].clone()
    };
    assert_eq!(owner("/usr/share/owned"), ["content", "mode", "owner"]);

    let text = diff(&[image, tree]).stdout;
    for line in [
        "odd (",
        "~ mode        /usr/share/owned  0640 → 0644",
        "cap_net_bind_service,cap_net_raw=ep → cap_net_raw=ep",
        "+             /usr/share/new/file",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
}

/// The first version of the repository is in `one`, the second in `two`.
fn versions(stage: &Stage) {
    stage.build("install odd\ninstall plain\ninstall gone\ninstall back\nts run\n").succeeds();
    sh(&stage.out(), "mkdir one && cp image.* one/");
    sh(&stage.repo(), "rm Packages/odd-* Packages/gone-* Packages/back-*");
    let newer =
        odd().version("1.0.10").file("/usr/share/doc/odd/NEWS", "new", 0o644, "root:root").change(
            "Bob <bob@example.invalid> - 2:1.0.10-1",
            "- a hole fixed (CVE-2026-0001)\n- more",
            1_650_000_000,
        );
    newer.write_into(&stage.repo());
    Package::named("back").version("1.9").requires_first("base").write_into(&stage.repo());
    Package::named("come")
        .requires_first("base")
        .file("/usr/share/come", "c".repeat(100_000), 0o644, "root:root")
        .write_into(&stage.repo());
    index(&stage.repo());
    stage.build("install odd\ninstall plain\ninstall come\ninstall back\nts run\n").succeeds();
    sh(&stage.out(), "mkdir two && cp image.* two/");
}

fn two_versions() -> Stage {
    let stage = Stage::new(|repo| {
        let gone = Package::named("gone").requires_first("base").file(
            "/usr/share/gone",
            "g",
            0o644,
            "root:root",
        );
        repo.package(odd())
            .package(plain())
            .package(gone)
            .package(Package::named("back").version("1.10").requires_first("base"))
    });
    versions(&stage);
    stage
}

#[test]
fn package_changes_are_listed_with_changelogs_and_gates_pass_or_fail() {
    if !require_root() {
        return;
    }
    let stage = two_versions();
    let path = |name: &str| stage.out().join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one/image.tgz"), path("two/image.tgz"));
    let difference = json(&["diff", &one, &two]);
    let packages = &difference["difference"]["packages"];
    let names = |kind: &str| -> Vec<&str> {
        packages[kind].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect()
    };
    assert_eq!(
        (names("added"), names("removed"), names("changed")),
        (vec!["come"], vec!["gone"], vec!["back", "odd"])
    );
    // rpm itself decides which version is newer.
    for change in packages["changed"].as_array().unwrap() {
        let expression = format!(
            "%{{lua:print(rpm.vercmp('{}', '{}'))}}",
            change["before"].as_str().unwrap(),
            change["after"].as_str().unwrap()
        );
        let order =
            String::from_utf8(run(Command::new("rpm").args(["--eval", &expression]))).unwrap();
        let expected = if order.trim() == "-1" { "upgrade" } else { "downgrade" };
        assert_eq!(change["direction"], expected, "{change}");
    }
    let odd = &packages["changed"][1];
    assert_eq!(
        (odd["before"].as_str(), odd["after"].as_str()),
        (Some("2:1.0-1"), Some("2:1.0.10-1"))
    );
    assert_eq!(odd["changelog"].as_array().unwrap().len(), 1, "{odd}");
    assert!(odd["changelog"][0]["text"].as_str().unwrap().contains("CVE-2026-0001"));

    let text = diff(&[&one, &two]).stdout;
    for line in [
        "+ come 1.0-1.noarch",
        "- gone 1.0-1.noarch",
        "^ odd.noarch  2:1.0-1 → 2:1.0.10-1",
        "v back.noarch  1.10-1 → 1.9-1",
        "CVE-2026-0001",
        "/usr/share/doc/odd/NEWS",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    let code = |gates: &[&str]| {
        let words: Vec<&str> = [one.as_str(), &two]
            .into_iter()
            .chain(gates.iter().flat_map(|gate| ["--fail-on", gate]))
            .collect();
        let done = diff(&words);
        assert_eq!(done.code == Some(10), done.stderr.contains("--fail-on"), "{}", done.stderr);
        done.code
    };
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["packages"]), Some(10));
    assert_eq!(code(&["files"]), Some(10));
    assert_eq!(code(&["size:+1K"]), Some(10));
    assert_eq!(code(&["size:+0.001%"]), Some(10));
    assert_eq!(code(&["size:+1G", "tarball:+500%"]), Some(0));
    assert_eq!(diff(&[&one, &two, "--fail-on", "size:5%"]).code, Some(2));
}

#[test]
fn a_manifest_replaces_its_tarball_in_a_comparison_of_packages() {
    if !require_root() {
        return;
    }
    let stage = two_versions();
    let path = |name: &str| stage.out().join(name).to_str().unwrap().to_owned();
    let packages = |a: &str, b: &str| {
        let difference = json(&["diff", &path(a), &path(b)]);
        let of = |kind: &str| -> Vec<String> {
            let list = difference["difference"]["packages"][kind].as_array().unwrap().clone();
            list.iter().map(|p| format!("{} {} {}", p["name"], p["before"], p["after"])).collect()
        };
        [of("added"), of("removed"), of("changed")]
    };
    let expected = packages("one/image.tgz", "two/image.tgz");
    for (a, b) in [
        ("one/image.json", "two/image.json"),
        ("one/image.json", "two/image.tgz"),
        ("one/image.tgz", "two/image.json"),
    ] {
        assert_eq!(packages(a, b), expected, "{a} {b}");
    }
    // The manifest of a tarball does not differ from the tarball.
    assert!(packages("one/image.json", "one/image.tgz").iter().all(Vec::is_empty));
    assert_eq!(
        diff(&[
            &path("one/image.json"),
            &path("one/image.tgz"),
            "--fail-on",
            "packages",
            "--fail-on",
            "size:+0%"
        ])
        .code,
        Some(0)
    );
    let done = diff(&[&path("one/image.json"), &path("two/image.json"), "--fail-on", "files"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    done.reports(&["does not list files"]);
}

#[test]
fn control_characters_in_names_are_escaped() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = |name: &str| {
        let tree = directory.path().join(name);
        fs::create_dir(&tree).unwrap();
        tree
    };
    let (one, two) = (tree("one"), tree("two"));
    fs::write(two.join("a\x1b[31mred\nline"), "x").unwrap();
    fs::write(
        two.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9")),
        "x",
    )
    .unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let done = diff(&[&text(&one), &text(&two)]);
    assert!(
        done.stdout.contains("/a\\u{1b}[31mred\\nline") && done.stdout.contains("/caf\u{fffd}"),
        "{}",
        done.stdout
    );
    assert!(!done.stdout.contains('\x1b'));
}
