//! A directory of images: a version's files are lost or replaced only by name, whatever else is
//! there.

use osimg::error::{ExitCode, exit_code, render};
use osimg::registry::{Existing, PublishOptions, Registry, State, open};
use osimg::report::Report;
use osimg::set::Set;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::directory;
use crate::set::set;

fn registry(place: &Path, existing: Existing) -> Box<dyn Registry> {
    let address = format!("dir:{}", place.display()).parse().unwrap();
    let options = PublishOptions { existing, ..PublishOptions::default() };
    open(&address, &options, &Report::silent()).unwrap()
}

fn publish(place: &Path, set: &Set, existing: Existing) -> Result<(), anyhow::Error> {
    registry(place, existing).publish(set, &Report::silent()).map(|_| ())
}

/// Every name with the content of its file or the target of its link.
fn content(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(place).unwrap().map(Result::unwrap);
    let content = |path: &Path| match fs::read_link(path) {
        Ok(target) => target.display().to_string().into_bytes(),
        Err(_) if path.is_file() => fs::read(path).unwrap(),
        Err(_) => Vec::new(),
    };
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), content(&entry.path())))
        .collect()
}

#[track_caller]
fn refused(place: &Path, set: &Set, existing: Existing, name: &str) {
    let before = content(place);
    let error = publish(place, set, existing).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Registry, "{name}: {error:#}");
    let text = render(&error);
    assert!(text.contains(name) && text.contains("hint: "), "{name}: {text}");
    assert_eq!(content(place), before, "{name}");
}

#[test]
fn a_manifest_describes_only_files_of_its_own_name() {
    let (out, files) = (directory(), directory());
    for version in ["web-1", "web-2"] {
        publish(out.path(), &set(files.path(), version, version), Existing::Keep).unwrap();
    }
    let before = content(out.path());
    fs::copy(out.path().join("web-2.json"), out.path().join("web-9.json")).unwrap();
    let forged = String::from_utf8(before["web-1.json"].clone())
        .unwrap()
        .replace("\"version\": \"1\"", "\"version\": \"8\"");
    fs::write(out.path().join("web-8.json"), &forged).unwrap();
    fs::write(out.path().join("a.json"), &forged).unwrap();
    let registry = registry(out.path(), Existing::Keep);
    let ids: Vec<String> = registry.list().unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["web-2.tgz", "web-1.tgz"]);
    assert!(registry.prune(None, 2).unwrap().removed.is_empty());
    registry.prune(None, 1).unwrap();
    let after = content(out.path());
    for (name, bytes) in &before {
        let stays = name.starts_with("web-2") || name.starts_with("web-latest");
        assert_eq!(after.get(name), stays.then_some(bytes), "{name}");
    }
}

#[test]
fn a_file_that_no_readable_manifest_lists_is_replaced_only_on_request() {
    let files = directory();
    let (first, second) =
        (set(files.path(), "web-1", "one"), set(directory().keep().as_path(), "web-1", "two"));
    for spoil in ["", "{", "{\"name\": \"web\"", "\u{fffd}"] {
        let out = directory();
        publish(out.path(), &first, Existing::Keep).unwrap();
        let manifest = out.path().join("web-1.json");
        fs::write(&manifest, spoil).unwrap();
        refused(out.path(), &second, Existing::Keep, "web-1.tgz");
        // The manifest itself cannot be proven the same.
        refused(out.path(), &first, Existing::Keep, "web-1.json");
        publish(out.path(), &second, Existing::Replace).unwrap();
        fs::remove_file(&manifest).unwrap();
        refused(out.path(), &first, Existing::Keep, "web-1.tgz");
        // An interrupted publication has left the same files.
        publish(out.path(), &second, Existing::Keep).unwrap();
        assert!(manifest.is_file());
    }
    // A version without the file: the manifest lists another one.
    let out = directory();
    publish(out.path(), &first, Existing::Keep).unwrap();
    fs::write(out.path().join("web-1.tar"), "foreign").unwrap();
    refused(out.path(), &first, Existing::Keep, "web-1.tar");
}

#[test]
fn documents_and_signatures_go_along_with_their_set() {
    let (source, www) = (directory(), directory());
    let first = directory();
    publish(source.path(), &set(first.path(), "web-1", "one"), Existing::Keep).unwrap();
    let documents = ["web-1.spdx.json", "web-1.intoto.json.asc", "web-1.tgz.minisig"];
    for name in documents {
        fs::write(source.path().join(name), name).unwrap();
    }
    let mut built = Set::from_tarball(&source.path().join("web-latest.tgz"), |_, _| {}).unwrap();
    for address in
        [format!("dir:{}/dir", www.path().display()), format!("tree:{}", www.path().display())]
    {
        let registry =
            open(&address.parse().unwrap(), &PublishOptions::default(), &Report::silent()).unwrap();
        let place = if address.starts_with("dir") { "dir" } else { "web-1" };
        registry.publish(&built, &Report::silent()).unwrap();
        for name in documents {
            assert_eq!(
                fs::read_to_string(www.path().join(place).join(name)).unwrap(),
                name,
                "{address}"
            );
        }
        // One that is missing is put back, and all of them are removed with the version.
        fs::remove_file(www.path().join(place).join(documents[0])).unwrap();
        registry.publish(&built, &Report::silent()).unwrap();
        assert!(www.path().join(place).join(documents[0]).is_file());
        registry.prune(None, 0).unwrap();
        assert!(!www.path().join(place).join(documents[0]).exists());
    }
    // They name their tarball.
    built.version = "2".into();
    publish(&www.path().join("dir"), &built, Existing::Keep).unwrap();
    assert!(!content(&www.path().join("dir")).keys().any(|name| name.contains("spdx")));
}

#[test]
fn what_is_not_a_file_is_refused_before_anything_is_written() {
    let files = directory();
    let set = set(files.path(), "web-1", "one");
    for suffix in [
        "json",
        "tgz",
        "tgz.sha256",
        "tgz.sha512",
        "tgz.asc",
        "spdx.json",
        "vmlinuz",
        "vmlinuz.sha256",
    ] {
        for kind in ["directory", "FIFO", "link"] {
            let out = directory();
            let path = out.path().join(format!("web-1.{suffix}"));
            match kind {
                "directory" => fs::create_dir(&path).unwrap(),
                "FIFO" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                _ => symlink("/etc/passwd", &path).unwrap(),
            }
            let name = path.display().to_string();
            for existing in [Existing::Keep, Existing::Replace] {
                refused(out.path(), &set, existing, &name);
            }
        }
    }
}

#[test]
fn only_own_links_to_the_newest_version_are_replaced() {
    let files = directory();
    let set = set(files.path(), "web-1", "one");
    for target in [None, Some("/srv/web-1.tgz"), Some("other-1.tgz")] {
        let out = directory();
        let path = out.path().join("web-latest.tgz");
        match target {
            None => fs::write(&path, "mine").unwrap(),
            Some(target) => symlink(target, &path).unwrap(),
        }
        refused(out.path(), &set, Existing::Replace, "web-latest.tgz");
    }
}

#[test]
fn lists_removals_and_links_agree_on_the_newest() {
    let (out, files) = (directory(), directory());
    for version in ["1.10", "1.9", "20261130.10", "20261130", "20261130.1"] {
        let name = format!("web-{version}");
        publish(out.path(), &set(files.path(), &name, version), Existing::Keep).unwrap();
        let newest = registry(out.path(), Existing::Keep).list().unwrap().remove(0);
        assert_eq!(newest.state, State::Current);
        let link = || fs::read_link(out.path().join("web-latest.tgz")).unwrap();
        assert_eq!(link(), Path::new(&newest.id));
    }
    let registry = registry(out.path(), Existing::Keep);
    while let Some(newest) = registry.list().unwrap().first() {
        let link = fs::read_link(out.path().join("web-latest.tgz")).unwrap();
        assert_eq!(link, Path::new(&newest.id));
        registry.remove(newest).unwrap();
    }
    assert!(content(out.path()).is_empty());
}
