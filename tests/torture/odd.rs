//! Very many hard links, and immutable files.

use crate::rounds;
use crate::stage::{OSIMG, Stage, sh};
use crate::support::require_root;
use std::fs;
use std::time::{Duration, SystemTime};

#[test]
fn a_file_with_very_many_hard_links_is_packed_once_with_little_memory() {
    if !require_root() {
        return;
    }
    let stage = Stage::empty();
    let tree = stage.path().join("tree");
    let names = rounds(10_000, 1_000_000);
    // ext4 allows 65,000 names per file, hence several files, in directories of a thousand names.
    let script = "
import os, sys
root, names = sys.argv[1], int(sys.argv[2])
for n in range(names):
    directory = f'{root}/{n // 1000:04}'
    if n % 1000 == 0: os.makedirs(directory)
    path = f'{directory}/{n:07}'
    if n % 60000 == 0:
        first = path
        with open(path, 'w') as file: file.write(f'content {n}' * 100)
    else: os.link(first, path)
";
    crate::stage::run(
        std::process::Command::new("/usr/bin/python3")
            .args(["-I", "-c", script])
            .arg(&tree)
            .arg(names.to_string()),
    );
    let image = stage.out().join("x.tar");
    let time = [
        "/usr/bin/python3",
        "-I",
        "-c",
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); \
         print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)",
    ];
    let done = stage
        .osimg(OSIMG, &["pack", "--selinux", "none"])
        .arg(&tree)
        .arg("-o")
        .arg(&image)
        .behind(&time)
        .run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let most: u64 = done.stdout.lines().last().unwrap().parse().unwrap();
    println!("{names} names, {most} KiB");
    assert!(most < 200 << 10, "{most} KiB");
    let listed = sh(
        &stage.out(),
        "tar -tvf x.tar | awk '/^h/ { links++ } /^-/ { files++ } END { print files, links }'",
    );
    let files = names.div_ceil(60_000);
    assert_eq!(listed.trim(), format!("{files} {}", names - files));
}

/// Always removes the attribute again: otherwise the stage's directory could not be removed.
struct Immutable(std::path::PathBuf);

impl Drop for Immutable {
    fn drop(&mut self) {
        sh(&self.0, "chattr -R -ia . 2>/dev/null || true");
    }
}

#[test]
fn immutable_files_are_packed_and_reported_if_they_cannot_be_removed() {
    if !require_root() {
        return;
    }
    let stage = Stage::empty();
    let dead = stage.work().join("osimg-dead");
    for name in ["root/etc", "scratch"] {
        fs::create_dir_all(dead.join(name)).unwrap();
    }
    fs::write(dead.join("root/etc/fixed"), "content").unwrap();
    crate::links::mark(&dead);
    let marked = Immutable(dead.clone());
    let supported = std::process::Command::new("chattr")
        .args(["+i", "root/etc/fixed"])
        .current_dir(&dead)
        .output()
        .unwrap();
    if !supported.status.success() {
        println!(
            "NOT RUN: this file system has no such attribute: {}",
            String::from_utf8_lossy(&supported.stderr)
        );
        return;
    }
    fs::File::open(&dead)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    let pack = stage
        .osimg(OSIMG, &["pack", "--selinux", "none"])
        .arg(dead.join("root"))
        .arg("-o")
        .arg(stage.out().join("x.tar"))
        .run();
    assert_eq!(pack.code, Some(0), "{}", pack.stderr);
    let clean = || stage.osimg(OSIMG, &["doctor", "--clean", "--workdir"]).arg(stage.work()).run();
    let done = clean();
    assert_ne!(done.code, Some(0), "{}", done.stderr);
    done.reports(&["marked as immutable", "fixed", "chattr -R -ia"]);
    // The command in the hint fixes it.
    drop(marked);
    fs::File::open(&dead)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    assert_eq!(clean().code, Some(0));
    assert!(!dead.exists());
}
