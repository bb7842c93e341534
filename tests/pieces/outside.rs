//! Registries that another user, or an accident, has changed: nothing outside of them, and no
//! version of another image or user, is touched.

use osimg::error::{ExitCode, exit_code, render};
use osimg::registry::{Existing, PublishOptions, Registry, open};
use osimg::report::Report;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::set::set;
use crate::{directory, skip};

fn registry(kind: &str, place: &Path, existing: Existing) -> Box<dyn Registry> {
    let address = format!("{kind}:{}", place.display()).parse().unwrap();
    let options = PublishOptions { existing, ..PublishOptions::default() };
    open(&address, &options, &Report::silent()).unwrap()
}

/// Inode and content of all that is below; links are not followed.
fn content(place: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let found = walkdir::WalkDir::new(place).into_iter().map(Result::unwrap);
    found
        .map(|entry| {
            let bytes =
                if entry.file_type().is_file() { fs::read(entry.path()) } else { Ok(vec![]) };
            (entry.path().to_owned(), (entry.metadata().unwrap().ino(), bytes.unwrap()))
        })
        .collect()
}

/// Everything that reads, replaces or removes versions.
fn every_operation(kind: &str, place: &Path, files: &Path) {
    let _ = registry(kind, place, Existing::Keep).list();
    for (existing, text) in
        [(Existing::Keep, "one"), (Existing::Keep, "two"), (Existing::Replace, "two")]
    {
        let _ =
            registry(kind, place, existing).publish(&set(files, "web-1", text), &Report::silent());
    }
    let keep = registry(kind, place, Existing::Keep);
    for count in [1, 0] {
        let _ = keep.prune(None, count);
    }
}

/// The paths of all files and directories of a version, below the registry.
fn paths(place: &Path) -> Vec<PathBuf> {
    let own = |path: &Path| path.strip_prefix(place).unwrap().to_owned();
    content(place).into_keys().map(|path| own(&path)).filter(|path| path != Path::new("")).collect()
}

fn published(kind: &str, files: &Path) -> tempfile::TempDir {
    let out = directory();
    let registry = registry(kind, out.path(), Existing::Keep);
    registry.publish(&set(files, "web-1", "one"), &Report::silent()).unwrap();
    out
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn no_link_in_a_registry_leads_out_of_it() {
    let files = directory();
    for kind in ["dir", "tree"] {
        for path in paths(published(kind, files.path()).path()) {
            let (out, outside) = (published(kind, files.path()), directory());
            let victim = outside.path().join("victim");
            copy(out.path(), &victim);
            let before = content(&victim);
            let link = out.path().join(&path);
            if link.is_dir() && !link.is_symlink() {
                fs::remove_dir_all(&link).unwrap();
            } else {
                fs::remove_file(&link).unwrap();
            }
            symlink(victim.join(&path), &link).unwrap();
            every_operation(kind, out.path(), files.path());
            assert_eq!(content(&victim), before, "{kind}: {}", path.display());
        }
    }
}

#[test]
fn no_name_in_a_manifest_leads_out_of_the_version() {
    let files = directory();
    for kind in ["dir", "tree"] {
        for name in ["l/shadow", "images/l/shadow", "../victim/shadow", "shadow"] {
            let (out, victim) = (published(kind, files.path()), directory());
            fs::write(victim.path().join("shadow"), "precious").unwrap();
            let home =
                if kind == "tree" { out.path().join("web-1") } else { out.path().to_owned() };
            fs::create_dir_all(home.join("images")).unwrap();
            fs::write(home.join("shadow"), "precious").unwrap();
            symlink(victim.path(), home.join("l")).unwrap();
            symlink(victim.path(), home.join("images/l")).unwrap();
            let manifest = home.join("web-1.json");
            let text = fs::read_to_string(&manifest).unwrap();
            for role in ["tarball", "kernel", "ramdisk", "stage2", "kickstart"] {
                let mut forged: serde_json::Value = serde_json::from_str(&text).unwrap();
                for set in forged["published"].as_array_mut().unwrap() {
                    set[role]["id"] = name.into();
                }
                fs::write(&manifest, forged.to_string()).unwrap();
                let _ = registry(kind, out.path(), Existing::Keep).prune(None, 0);
                for place in [victim.path(), &home] {
                    let left = fs::read_to_string(place.join("shadow")).unwrap_or_default();
                    assert_eq!(left, "precious", "{kind}: {role} = {name}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_removed_through_a_mount_and_the_version_stays_complete() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a mount needs root");
    }
    let files = directory();
    for kind in ["dir", "tree"] {
        for path in paths(published(kind, files.path()).path()) {
            let (out, outside) = (published(kind, files.path()), directory());
            let place = out.path().join(&path);
            if place.is_symlink() {
                continue;
            }
            let victim = outside.path().join("victim");
            copy(out.path(), &victim);
            let mount = |words: &[&Path]| {
                assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
            };
            let source = victim.join(&path);
            mount(&["mount".as_ref(), "--bind".as_ref(), &source, &place]);
            let before = (content(&victim), content(out.path()));
            let all = registry(kind, out.path(), Existing::Keep);
            let removal = all.prune(None, 0);
            let after = (content(&victim), content(out.path()));
            every_operation(kind, out.path(), files.path());
            let last = content(&victim);
            mount(&["umount".as_ref(), &place]);
            assert!(after == before && last == before.0, "{kind}: {}", path.display());
            let failure = removal.unwrap().failure().map(|failure| render(&failure.into()));
            // A version whose directory is another file system may be unknown.
            if let Some(text) = failure {
                assert!(text.contains("something is mounted on"), "{text}");
                assert!(text.contains("umount "), "{text}");
            }
        }
    }
}

#[test]
fn in_a_shared_directory_the_versions_of_other_users_stay() {
    if !nix::unistd::geteuid().is_root() {
        return skip("giving a file to another user needs root");
    }
    let files = directory();
    for kind in ["dir", "tree"] {
        let out = published(kind, files.path());
        fs::set_permissions(out.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        for path in paths(out.path()).iter().map(|path| out.path().join(path)) {
            if !path.is_symlink() {
                chown(path, Some(65534), Some(65534)).unwrap();
            }
        }
        let before = content(out.path());
        let keep = registry(kind, out.path(), Existing::Keep);
        assert!(keep.list().unwrap().iter().all(|entry| !entry.own), "{kind}");
        assert!(keep.prune(None, 0).unwrap().removed.is_empty(), "{kind}");
        assert_eq!(content(out.path()), before, "{kind}");
    }
}

#[test]
fn two_images_with_the_same_file_names_are_refused_even_to_replace() {
    for kind in ["dir", "tree"] {
        let (out, files) = (directory(), directory());
        let named = |text: &str, name: &str, version: &str| {
            let mut set = set(files.path(), "web-1", text);
            (set.name, set.version) = (name.to_owned(), version.to_owned());
            (set.documents, set.manifest) = (Vec::new(), None);
            set
        };
        let publish =
            |existing, set| registry(kind, out.path(), existing).publish(&set, &Report::silent());
        publish(Existing::Keep, named("one", "os", "1-2")).unwrap();
        let before = content(out.path());
        for (existing, text) in
            [(Existing::Keep, "one"), (Existing::Keep, "two"), (Existing::Replace, "two")]
        {
            let error = publish(existing, named(text, "os-1", "2")).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::Registry, "{kind}: {error:#}");
            assert!(render(&error).contains("belong to the image os version 1-2"), "{error:#}");
            assert_eq!(content(out.path()), before, "{kind}");
        }
        let keep = registry(kind, out.path(), Existing::Keep);
        assert!(keep.prune(Some("os-1"), 0).unwrap().removed.is_empty());
        assert_eq!(content(out.path()), before, "{kind}");
    }
}
