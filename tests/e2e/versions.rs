//! A version of an image never changes its bytes. Its files are one set: all its tarballs come from
//! one tree.

use crate::stage::{Done, OSIMG, Stage, sh};
use crate::support::repo::Package;
use crate::support::require_root;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// 2026-11-30, so that a test does not cross midnight.
const EPOCH: &str = "1796000000";
const DAY: &str = "20261130";

const FIRST: &str = "install base\nts run\n";
const SECOND: &str = "install base odd\nts run\n";

fn stage() -> Stage {
    Stage::new(|repo| {
        repo.package(Package::named("odd").file("/usr/share/odd", "x", 0o644, "root:root"))
    })
}

fn build(stage: &Stage, recipe: &str, more: &[&str]) -> Done {
    let recipe = stage.recipe(recipe);
    let registry = format!("dir:{}", stage.out().display());
    let run = stage.build_without_output(&recipe).args(&[
        "--registry",
        &registry,
        "--source-date-epoch",
        EPOCH,
    ]);
    let run = if more.contains(&"--name") { run } else { run.args(&["--name", "os"]) };
    run.args(more).run()
}

#[track_caller]
fn succeeds(done: &Done) {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// The tarballs, and the targets of the links to the newest one.
fn tarballs(stage: &Stage) -> BTreeMap<String, Vec<u8>> {
    let files = stage.files(&stage.out()).into_iter();
    files
        .filter(|(name, _)| {
            name.contains(".t") && !name.contains(".sha") || name.ends_with("latest.json")
        })
        .collect()
}

fn manifest(stage: &Stage, stem: &str) -> Value {
    serde_json::from_slice(&fs::read(stage.out().join(format!("{stem}.json"))).unwrap()).unwrap()
}

/// All checksum files, checked by their own tools.
fn checked(stage: &Stage) {
    sh(
        &stage.out(),
        "for f in *.sha256; do sha256sum -c $f; done; for f in *.sha512; do sha512sum -c $f; done",
    );
}

#[test]
fn a_second_build_of_a_day_gets_a_number_and_equal_bytes_are_one_artifact() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let first = build(&stage, FIRST, &[]);
    succeeds(&first);
    let before = fs::read(stage.out().join(format!("os-{DAY}.tgz"))).unwrap();
    let files = stage.files(&stage.out());
    let same = build(&stage, FIRST, &[]);
    succeeds(&same);
    assert_eq!(same.stdout, first.stdout);
    same.reports(&["exists already with the same bytes"]);
    assert_eq!(stage.files(&stage.out()), files);

    let second = build(&stage, SECOND, &[]);
    succeeds(&second);
    assert_eq!(second.stdout, format!("{}/os-{DAY}.1.tgz\n", stage.out().display()));
    second.reports(&[&format!("os-{DAY}.tgz"), &format!("this build is version {DAY}.1")]);
    assert_eq!(fs::read(stage.out().join(format!("os-{DAY}.tgz"))).unwrap(), before);
    assert_eq!(manifest(&stage, &format!("os-{DAY}.1"))["version"], format!("{DAY}.1"));
    assert_eq!(tarballs(&stage)["os-latest.tgz"], format!("os-{DAY}.1.tgz").as_bytes());
    // A rebuilt image is compared with the newest one of the day.
    succeeds(&build(&stage, FIRST, &[]));
    let third = build(&stage, FIRST, &[]);
    assert_eq!(third.stdout, format!("{}/os-{DAY}.2.tgz\n", stage.out().display()));
    assert_eq!(tarballs(&stage).keys().filter(|name| name.ends_with(".tgz")).count(), 4);
    checked(&stage);
}

#[test]
fn a_given_version_changes_its_bytes_only_with_replace() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let version = ["--image-version", "7"];
    succeeds(&build(
        &stage,
        FIRST,
        &["--image-version", "7", "--format", "tgz", "--format", "txz"],
    ));
    let before = stage.files(&stage.out());
    let refused = build(&stage, SECOND, &version);
    assert_eq!(refused.code, Some(9), "{}", refused.stderr);
    let digest = manifest(&stage, "os-7")["tarballs"][0]["sha256"].as_str().unwrap().to_owned();
    let place = stage.out().join("os-7.tgz").display().to_string();
    refused.reports(&[
        "os-7 exists with other bytes",
        &place,
        &digest,
        "--image-version",
        "--replace",
    ]);
    assert_eq!(stage.files(&stage.out()), before);

    let replaced = build(&stage, SECOND, &["--image-version", "7", "--replace"]);
    succeeds(&replaced);
    replaced.reports(&["replacing", &place, &digest]);
    let names: Vec<String> = stage.files(&stage.out()).into_keys().collect();
    assert!(!names.iter().any(|name| name.contains(".txz")), "of the old tree: {names:?}");
    assert_eq!(manifest(&stage, "os-7")["tarballs"].as_array().unwrap().len(), 1);
    checked(&stage);
}

#[test]
fn another_format_is_added_to_a_version_only_from_the_same_tree() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let with = |recipe: &str, format: &str| {
        build(&stage, recipe, &["--image-version", "1", "--format", format])
    };
    succeeds(&with(FIRST, "tgz"));
    succeeds(&with(FIRST, "txz"));
    let manifest_of_version = manifest(&stage, "os-1");
    let names: Vec<&str> = manifest_of_version["tarballs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tarball| tarball["file"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["os-1.tgz", "os-1.txz"]);
    assert_eq!(manifest_of_version["archive"]["compression"].as_array().unwrap().len(), 2);
    let sums = sh(&stage.out(), "gzip -dc os-1.tgz | sha256sum; xz -dc os-1.txz | sha256sum");
    for sum in sums.lines() {
        assert_eq!(sum.split(' ').next(), manifest_of_version["archive"]["sha256"].as_str());
    }
    let listed = stage
        .osimg(crate::stage::OSIMG, &["images", "--registry"])
        .arg(format!("dir:{}", stage.out().display()))
        .run();
    for name in stage.files(&stage.out()).keys().filter(|name| !name.contains("latest")) {
        assert!(
            listed.stdout.contains(&format!("  {name}\n")),
            "{name} is missing in:\n{}",
            listed.stdout
        );
    }

    let before = stage.files(&stage.out());
    let refused = with(SECOND, "tar");
    assert_eq!(refused.code, Some(9), "{}", refused.stderr);
    refused.reports(&["exists with other content", "os-1.tgz"]);
    assert_eq!(stage.files(&stage.out()), before);
    // Another version in one format: no link points to the older one any more.
    succeeds(&build(&stage, SECOND, &["--image-version", "2", "--format", "txz"]));
    let links = tarballs(&stage);
    assert_eq!(
        (&links["os-latest.txz"], &links["os-latest.json"]),
        (&b"os-2.txz".to_vec(), &b"os-2.json".to_vec())
    );
    assert!(!links.contains_key("os-latest.tgz"), "{:?}", links.keys());
    checked(&stage);
}

#[test]
fn names_and_versions_with_a_variable_are_refused() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for (option, code) in [("--name", 2), ("--image-version", 2)] {
        let done = build(&stage, FIRST, &[option, "os-$VERSION"]);
        assert_eq!(done.code, Some(code), "{}", done.stderr);
        done.reports(&["variable"]);
    }
    stage.settings(|settings| settings.image = "version = \"$BUILD\"".into());
    let done = build(&stage, FIRST, &[]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    done.reports(&["`$BUILD` cannot be the `version`", "variable"]);
    assert_eq!(stage.files(&stage.out()).len(), 0);
}

#[test]
fn the_last_line_of_a_build_is_its_summary() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let done = build(&stage, FIRST, &["--image-version", "1"]);
    succeeds(&done);
    let last = done.stderr.lines().last().unwrap().to_owned();
    let errors = manifest(&stage, "os-1")["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "error")
        .count();
    assert!(errors > 1);
    assert!(last.contains(&stage.out().join("os-1.tgz").display().to_string()), "{last}");
    assert!(last.ends_with(&format!(", 1 package, NOT FIT: {errors} errors")), "{last}");
}

#[test]
fn a_strict_build_of_an_unfit_image_publishes_nothing_and_keeps_the_tarball() {
    if !require_root() {
        return;
    }
    let stage = stage();
    succeeds(&build(&stage, FIRST, &["--image-version", "1"]));
    let before = stage.files(&stage.out());
    for strict in ["--strict", ""] {
        stage.settings(|settings| settings.image = format!("strict = {}", strict.is_empty()));
        let mut words = vec!["--image-version", "2"];
        words.extend(Some(strict).filter(|word| !word.is_empty()));
        let done = build(&stage, SECOND, &words);
        assert_eq!(done.code, Some(10), "{}", done.stderr);
        let kept = stage.out().join("os-2.unfit.tgz");
        done.reports(&["not fit", "errors", &kept.display().to_string(), "--allow "]);
        let mut after = stage.files(&stage.out());
        assert!(after.remove("os-2.unfit.tgz").is_some());
        assert_eq!(after, before);
        sh(&stage.out(), "tar -tf os-2.unfit.tgz ./usr/share/odd");
    }
    // With all errors allowed by name it is published.
    let findings = manifest(&stage, "os-1")["findings"].clone();
    let errors =
        findings.as_array().unwrap().iter().filter(|finding| finding["severity"] == "error");
    let names: Vec<String> =
        errors.map(|finding| finding["name"].as_str().unwrap().to_owned()).collect();
    let mut words = vec!["--image-version", "2", "--strict"];
    words.extend(names.iter().flat_map(|name| ["--allow", name.as_str()]));
    let done = build(&stage, SECOND, &words);
    succeeds(&done);
    assert!(done.stderr.trim_end().ends_with(", 2 packages, fit"), "{}", done.stderr);
}

#[test]
fn an_unfit_image_is_built_but_published_to_a_web_tree_only_if_allowed() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let recipe = stage.recipe(FIRST);
    let www = stage.path().join("www");
    let registry = format!("tree:{}", www.display());
    let build = |more: &[&str]| {
        let words = ["--registry", &registry, "--name", "os", "--image-version", "1"];
        stage.build_without_output(&recipe).args(&words).args(more).run()
    };
    let done = build(&[]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    done.reports(&["not fit", "--allow ", "out/os-1.tgz"]);
    assert_eq!(fs::read_dir(&www).unwrap().count(), 0);
    let errors = manifest(&stage, "os-1")["findings"].clone();
    let names = errors
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "error")
        .map(|f| f["name"].as_str().unwrap().to_owned());
    let words: Vec<String> = names.flat_map(|name| ["--allow".to_owned(), name]).collect();
    succeeds(&build(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(www.join("os-1/os-1.tgz").is_file());
}

#[test]
fn a_file_that_no_manifest_lists_is_not_replaced_and_nothing_is_mixed() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let version = ["--image-version", "v", "--format", "tgz"];
    succeeds(&build(
        &stage,
        FIRST,
        &["--image-version", "v", "--format", "tgz", "--format", "txz"],
    ));
    let before = tarballs(&stage);
    for spoil in ["rm os-v.json", "echo '{' > os-v.json"] {
        sh(&stage.out(), spoil);
        let done = build(&stage, SECOND, &version);
        assert_eq!(done.code, Some(9), "{spoil}: {}", done.stderr);
        done.reports(&[
            "os-v.tgz",
            "os-v.txz",
            "no manifest lists them",
            "--replace",
            "--image-version",
        ]);
        assert_eq!(tarballs(&stage), before, "{spoil}");
    }
    // An interrupted publication may have left files with the same bytes.
    sh(&stage.out(), "rm os-v.json");
    succeeds(&build(
        &stage,
        FIRST,
        &["--image-version", "v", "--format", "tgz", "--format", "txz"],
    ));
    assert_eq!(tarballs(&stage), before);
    sh(&stage.out(), "rm os-v.json");
    succeeds(&build(&stage, SECOND, &["--image-version", "v", "--format", "tgz", "--replace"]));
    assert!(!stage.out().join("os-v.txz").exists());
    checked(&stage);
    // A file of another kind, and another image with the same file names.
    sh(&stage.out(), "mkfifo os-w.tgz");
    assert_eq!(build(&stage, FIRST, &["--image-version", "w"]).code, Some(9));
    let fifo = stage.out().join("os-w.tgz").display().to_string();
    let done = stage.build_without_output(&stage.recipe(FIRST)).args(&["-o", &fifo]).run();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    done.reports(&["os-w.tgz: it is a FIFO, not a file"]);
    succeeds(&build(&stage, FIRST, &["--name", "a-b", "--image-version", "1"]));
    let other = build(&stage, FIRST, &["--name", "a", "--image-version", "b-1"]);
    assert_eq!(other.code, Some(9), "{}", other.stderr);
    other.reports(&["belong to the image a-b version 1"]);
}

#[test]
fn files_of_others_next_to_an_artifact_are_not_replaced() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let recipe = stage.recipe(FIRST);
    let output = stage.image().display().to_string();
    let named = || stage.build_without_output(&recipe).args(&["-o", &output]).run();
    for suffix in ["json", "spdx.json", "tgz.sha256", "tgz.asc", "intoto.json.minisig"] {
        for (file, version) in [(format!("image.{suffix}"), ""), (format!("os-1.{suffix}"), "1")] {
            fs::write(stage.out().join(&file), "{\"mine\": true}").unwrap();
            let before = stage.files(&stage.out());
            let done = match version {
                "" => named(),
                version => build(&stage, FIRST, &["--image-version", version]),
            };
            assert_eq!(done.code, Some(9), "{file}: {}", done.stderr);
            done.reports(&[&file, "hint: move"]);
            assert_eq!(stage.files(&stage.out()), before, "{file}");
            fs::remove_file(stage.out().join(&file)).unwrap();
        }
    }
    fs::write(stage.out().join("os-latest.tgz"), "mine").unwrap();
    let done = build(&stage, FIRST, &["--image-version", "1"]);
    assert_eq!(done.code, Some(9), "{}", done.stderr);
    done.reports(&["os-latest.tgz", "not a link to a version"]);
    assert_eq!(stage.files(&stage.out()).len(), 1);
    // The files of an earlier build to the same output are its own.
    succeeds(&named());
    succeeds(&named());
    fs::remove_file(stage.out().join("image.json")).unwrap();
    assert_eq!(named().code, Some(9));
}

#[test]
fn a_file_of_a_published_version_is_not_replaced_by_its_name() {
    if !require_root() {
        return;
    }
    let stage = stage();
    succeeds(&build(&stage, FIRST, &["--image-version", "v"]));
    let before = tarballs(&stage);
    let file = stage.out().join("os-v.tgz").display().to_string();
    let recipe = stage.recipe(SECOND);
    let done = stage.build_without_output(&recipe).args(&["-o", &file]).run();
    assert_eq!(done.code, Some(9), "{}", done.stderr);
    done.reports(&["belongs to the published image os version v"]);
    let packed = stage
        .osimg(
            OSIMG,
            &["pack", &stage.work().display().to_string(), "--selinux", "none", "-o", &file],
        )
        .run();
    assert_eq!(packed.code, Some(9), "{}", packed.stderr);
    assert_eq!(tarballs(&stage), before);
    checked(&stage);
}

#[test]
fn names_with_another_meaning_and_names_that_are_too_long_are_refused_at_once() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let long = "x".repeat(101);
    for (option, word) in
        [("--image-version", "latest"), ("--image-version", "v.unfit"), ("--name", &*long)]
    {
        let done = build(&stage, FIRST, &[option, word]);
        assert_eq!(done.code, Some(2), "{word}: {}", done.stderr);
        assert!(tarballs(&stage).is_empty());
    }
    let recipe = stage.recipe(FIRST);
    for file in ["os-latest.tgz", "os-1.unfit.tgz", "os-1.spdx.tgz"] {
        let output = stage.out().join(file).display().to_string();
        let done = stage.build_without_output(&recipe).args(&["-o", &output]).fails(2);
        done.reports(&[file, "reserved", "hint: give the file another name"]);
    }
    for version in ["latest", "v.unfit", "v.cdx"] {
        stage.settings(|settings| settings.image = format!("version = \"{version}\""));
        let done = build(&stage, FIRST, &[]);
        assert_eq!(done.code, Some(3), "{version}: {}", done.stderr);
        done.reports(&["cannot be the `version`", "reserved"]);
    }
}
