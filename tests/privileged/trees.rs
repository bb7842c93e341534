//! Removing trees and writing into roots while an attacker replaces directories by links, and with
//! mounts, deep paths and unusual names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::support::*;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::MsFlags;
use osimg::sandbox::{InstallRoot, mount_below, remove_tree};

/// A victim on the host, with the same names of files and directories as in the attacked trees.
fn victim(dir: &Path) -> PathBuf {
    let victim = dir.join("victim");
    for below in ["etc", "sub/etc"] {
        fs::create_dir_all(victim.join(below)).expect("victim");
        fs::write(victim.join(below).join("machine-id"), "precious").expect("victim");
    }
    victim
}

/// Swaps `path` (a directory) with a link to the victim until `stop` is set. Counts the swaps.
fn swap_until(stop: &AtomicBool, swaps: &AtomicU64, path: &Path, link: &Path) {
    while !stop.load(Ordering::Relaxed) {
        // One atomic exchange, so that one of the two always exists.
        if renameat2(AT_FDCWD, path, AT_FDCWD, link, RenameFlags::RENAME_EXCHANGE).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
        } else {
            std::thread::yield_now();
        }
    }
}

/// Sets the flag when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` repeatedly during an attack: for a second and a half, and on a slow machine until
/// there were that many rounds and swaps and `work` returns true.
fn run_under_attack(
    path: &Path,
    link: &Path,
    (rounds, swaps): (u64, u64),
    mut work: impl FnMut() -> bool,
) {
    let (stop, swapped) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Even if `work` fails: the scope waits for the attacker.
        let _stopper = StopOnDrop(&stop);
        scope.spawn(|| swap_until(&stop, &swapped, path, link));
        let began = Instant::now();
        for round in 1.. {
            let content = work();
            let swapped = swapped.load(Ordering::Relaxed);
            if content
                && round >= rounds
                && swapped >= swaps
                && began.elapsed() > Duration::from_millis(1500)
            {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{round} rounds against {swapped} swaps are not an attack"
            );
        }
    });
}

#[test]
fn removal_stays_in_the_tree_while_directories_become_links() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let victim = victim(workdir.path());
    let before = fingerprint(&victim, 9);
    let (tree, link) = (workdir.path().join("tree"), workdir.path().join("link"));
    symlink(&victim, &link).expect("link");
    run_under_attack(&tree.join("sub"), &link, (50, 50), || {
        // Fill whichever of the two exists by name; the target of the link must not be filled.
        let _ = fs::create_dir(&tree);
        if fs::symlink_metadata(tree.join("sub")).is_err() {
            let _ = fs::create_dir_all(tree.join("sub/etc"));
        }
        for number in 0..8 {
            let _ = fs::create_dir(tree.join(format!("directory-{number}")));
        }
        // It may fail, but it must not reach the victim.
        let _ = remove_tree(&tree);
        // A directory that survived on the other side is still there. The victim's directory of
        // that name is not empty and stays.
        let _ = fs::remove_dir(link.join("etc")).and_then(|()| fs::remove_dir(&link));
        if fs::symlink_metadata(&link).is_err() {
            let _ = symlink(&victim, &link);
        }
        assert_eq!(fs::read_to_string(victim.join("etc/machine-id")).expect("victim"), "precious");
        true
    });
    let mut after = fingerprint(&victim, 9);
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(before, after);
}

#[test]
fn writing_and_removing_stay_in_the_root_while_directories_become_links() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let victim = victim(workdir.path());
    let before = fingerprint(&victim, 9);
    fs::create_dir_all(workdir.root().join("sub/etc")).expect("sub");
    let link = workdir.path().join("link");
    symlink(&victim, &link).expect("link");
    let root = InstallRoot::open(&workdir.root()).expect("root");
    let (mut written, mut refused) = (0u64, 0u64);
    run_under_attack(&workdir.root().join("sub"), &link, (1_000, 10_000), || {
        let results = [
            root.write(Path::new("sub/etc/machine-id"), b"ours", 0o444).is_ok(),
            root.link(Path::new("sub/etc/link"), Path::new("/nowhere")).is_ok(),
            root.directory(Path::new("sub/etc/new"), 0o755).is_ok(),
            root.remove(Path::new("sub/etc/new")).is_ok_and(|there| there),
        ];
        written += results.iter().filter(|done| **done).count() as u64;
        refused += results.iter().filter(|done| !**done).count() as u64;
        if let Ok(Some(bytes)) = root.read(Path::new("sub/etc/machine-id"), 100) {
            assert_eq!(bytes, b"ours", "a file of the host was read");
        }
        // Both results occurred.
        written > 100 && refused > 100
    });
    assert_eq!(before, fingerprint(&victim, 9));
}

#[test]
fn a_mount_in_the_tree_stops_removal_and_keeps_its_content() {
    if !require_root() {
        return;
    }
    in_mount_namespace(MsFlags::MS_PRIVATE, || {
        for same_file_system in [true, false] {
            let workdir = Workdir::new();
            let victim = victim(workdir.path());
            let at = workdir.path().join("tree/a/mount point\nwith a line");
            fs::create_dir_all(&at).expect("tree");
            fs::write(workdir.path().join("tree/a/file"), "x").expect("file");
            let (source, kind, flags) = if same_file_system {
                (victim.to_str().expect("path"), "none", MsFlags::MS_BIND)
            } else {
                ("tmpfs", "tmpfs", MsFlags::empty())
            };
            mount(source, &at, kind, flags);
            fs::write(at.join("file"), "precious").expect("file");
            let tree = workdir.path().join("tree");
            assert_eq!(mount_below(&tree).expect("mounts"), Some(at.clone()));
            let error = remove_tree(&tree).expect_err("a mount is below");
            assert!(error.to_string().contains("is still mounted"), "{error:#}");
            assert_eq!(
                fs::read_to_string(workdir.path().join("tree/a/file")).expect("untouched"),
                "x"
            );
            // The second protection, which needs no mount table: opening a directory does not cross
            // a mount.
            let root = InstallRoot::open(workdir.path()).expect("root");
            let error = root.remove(Path::new("tree")).expect_err("a mount is below");
            assert!(format!("{error:#}").contains("is a mount: it is left alone"), "{error:#}");
            assert_eq!(fs::read_to_string(at.join("file")).expect("the mount's file"), "precious");
            assert_eq!(
                fs::read_to_string(victim.join("etc/machine-id")).expect("victim"),
                "precious"
            );
            #[expect(clippy::disallowed_methods, reason = "the thread's own namespace")]
            nix::mount::umount(&at).expect("unmounted");
            remove_tree(&tree).expect("nothing is mounted any more");
        }
    });
}

#[test]
fn deep_trees_and_odd_names_are_removed_whole() {
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("tree");
    // Deeper than the longest path, the usual limit on descriptors and a former limit of osimg.
    let script = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(5000):\n  \
                  os.mkdir('directory'); os.chdir('directory')\nopen('file', 'w').close()";
    assert!(
        program("/usr/bin/python3")
            .args(["-c", script])
            .arg(&tree)
            .status()
            .expect("python")
            .success()
    );
    for name in ["new\nline", "\u{1b}[31m", "-rf", " ", "*", "\\", &"x".repeat(255)] {
        fs::create_dir(tree.join(name)).expect(name);
        fs::write(tree.join(name).join(name), "").expect(name);
    }
    use std::os::unix::ffi::OsStrExt;
    fs::write(tree.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "").expect("no text");
    nix::unistd::mkfifo(&tree.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600))
        .expect("fifo");
    fs::set_permissions(
        tree.join("new\nline"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .expect("mode");
    remove_tree(&tree).expect("removed");
    assert!(!tree.exists());
}
