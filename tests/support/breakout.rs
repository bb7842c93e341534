//! A package with a scriptlet that leaves the chroot and tries to change everything that it sees,
//! and the evaluation of its report.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::repo::{Package, When};

/// The program's report in the image.
pub const REPORT: &str = "./var/breakout";

/// The number of files that the program tries in each mount.
fn count() -> u32 {
    if std::env::var("OSIMG_TORTURE").as_deref() == Ok("full") { 2000 } else { 40 }
}

/// The package `breakout`. Its scriptlet fails the build if the program cannot leave the chroot.
pub fn package() -> Package {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("breakout");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/breakout.c");
    let output = Command::new("gcc")
        .args(["-static", "-O1", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = format!("/usr/libexec/breakout /var/breakout {}\n", count());
    Package::named("breakout")
        .file("/usr/libexec/breakout", fs::read(&program).unwrap(), 0o755, "root:root")
        .scriptlet(When::Post, &script)
}

/// The mounts in which a build may write: the image, the package manager's data of this build, and
/// file systems in memory that end with the sandbox.
fn is_private(point: &str, root: &str, kind: &str) -> bool {
    if ["/buildroot", "/osimg/state"].contains(&point) {
        return true;
    }
    let name = point.strip_prefix("/buildroot").unwrap_or(point);
    let ours = match kind {
        "tmpfs" => ["/tmp", "/var", "/osimg/cache", "/osimg/scratch", "/run", "/dev", "/dev/shm"]
            .contains(&name),
        "devpts" => name == "/dev/pts",
        _ => false,
    };
    ours && root == "/"
}

/// Fails if the program changed a mount that does not belong to this build, or if a mount lacks a
/// required option.
pub fn judge(report: &str) {
    let lines: Vec<Vec<&str>> = report.lines().map(|line| line.split(' ').collect()).collect();
    // If several mounts have the same mount point, the last one hides the others.
    let mounts = lines.iter().filter_map(|words| match words[..] {
        ["mount", point, root, kind, options] => {
            Some((point, (is_private(point, root, kind), kind, options)))
        }
        _ => None,
    });
    let mounts: BTreeMap<&str, (bool, &str, &str)> = mounts.collect();
    let mut wrong = Vec::new();
    for (point, (_, kind, options)) in &mounts {
        let has = |option: &str| options.split(',').any(|word| word == option);
        // An image may have set-user-ID programs. Device nodes are single files of the host's
        // /dev.
        let devices = point.contains("/dev") || *kind == "devtmpfs";
        if *point != "/buildroot" && (!has("nosuid") || !(has("nodev") || devices)) {
            wrong.push(format!("{point} is mounted {options}"));
        }
    }
    let (mut attempts, mut image) = (0, 0);
    for words in lines.iter().filter(|words| words[0] != "mount") {
        let [operation, point, path, result] = words[..] else { panic!("{words:?}") };
        attempts += 1;
        // The top directory of a proc belongs to its mount; nothing below it does.
        let allowed = mounts.get(point).is_some_and(|(private, ..)| *private)
            || path == "/proc"
            || path == "/buildroot/proc";
        if result == "DONE" && !allowed {
            wrong.push(words.join(" "));
        }
        image += usize::from(result == "DONE" && point == "/buildroot" && operation == "chmod");
    }
    assert!(mounts.len() > 20 && attempts > 500, "{} mounts, {attempts} attempts", mounts.len());
    assert!(image > 3, "the program did not even change the image, so it proves nothing: {report}");
    assert!(wrong.is_empty(), "changed, or not restricted:\n{}", wrong.join("\n"));
}

/// Modes, owners, content and extended attributes by path. Times do not count: builds change the
/// times of files that they use.
pub fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap) {
        let path = entry.path();
        if path.components().any(|part| part.as_os_str() == "views") {
            continue;
        }
        let meta = entry.metadata().unwrap();
        let mut text = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        if meta.is_file() {
            // librepo records there when it checked a file's checksum.
            let names = xattr::list(path)
                .unwrap()
                .filter(|name| !name.to_string_lossy().starts_with("user.Librepo."));
            let attributes: Vec<_> =
                names.map(|name| (xattr::get(path, &name).unwrap(), name)).collect();
            text.push_str(&format!(
                " {} {attributes:?}",
                hex::encode(Sha256::digest(fs::read(path).unwrap()))
            ));
        }
        found.insert(path.to_owned(), text);
    }
    found
}

/// Fails if anything in the snapshot has changed.
pub fn unchanged(before: &BTreeMap<PathBuf, String>, directory: &Path) {
    let after = snapshot(directory);
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, was)| after.get(*path) != Some(was))
        .map(|(path, was)| (path, was, after.get(path)))
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");
    let special: Vec<_> = after
        .iter()
        .filter(|(_, state)| {
            u32::from_str_radix(state.split(' ').next().unwrap(), 8).unwrap() & 0o7000 != 0
        })
        .collect();
    assert!(special.is_empty(), "{special:#?}");
}
