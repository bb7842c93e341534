//! Output files: nothing else is replaced by them, and no link of another user is followed.
#![expect(clippy::disallowed_methods, reason = "tests run the program")]

use crate::support::{can_run, directory};
use nix::sys::stat::Mode;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

fn osimg(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osimg"));
    command.args(words).current_dir(directory).output().unwrap()
}

/// A directory with a small tree and a recipe.
fn inputs() -> tempfile::TempDir {
    let directory = directory();
    fs::create_dir_all(directory.path().join("tree/etc")).unwrap();
    fs::write(directory.path().join("tree/etc/hostname"), "host").unwrap();
    fs::write(directory.path().join("image.yum"), "install a\nts run\n").unwrap();
    directory
}

/// Replaces every new name in `out` by a link to a victim until `stop` is set; returns how many.
fn replace_names(out: &Path, victims: [&Path; 2], stop: &AtomicBool) -> usize {
    let mut replaced = 0;
    while !stop.load(Ordering::Relaxed) {
        for entry in fs::read_dir(out).unwrap().flatten() {
            let kept = out.join(format!("moved-{replaced}"));
            if entry.file_name().to_string_lossy().starts_with("moved-")
                || entry.file_type().is_ok_and(|kind| kind.is_symlink())
                || fs::rename(entry.path(), kept).is_err()
            {
                continue;
            }
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = symlink(victims[usize::from(is_directory)], entry.path());
            replaced += 1;
        }
    }
    replaced
}

#[test]
fn links_that_replace_temporary_names_are_not_followed() {
    if !can_run(&["tar2sqfs"]) {
        return;
    }
    let directory = inputs();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("victims")).unwrap();
    fs::write(at("file"), "precious").unwrap();
    osimg(directory.path(), &["-q", "pack", "--selinux", "none", "tree", "-o", "tree.tgz"]);
    let mut replaced = 0;
    for round in 0..10 {
        for name in ["x.img", "x.oci", "x.tgz", "x.html"] {
            let out = at(&format!("out-{round}-{name}"));
            fs::create_dir(&out).unwrap();
            let output = out.join(name).display().to_string();
            let words = match name {
                "x.html" => vec!["-q", "inspect", "tree.tgz", "--html", &output],
                _ => vec!["-q", "pack", "--selinux", "none", "tree", "-o", &output],
            };
            let stop = AtomicBool::new(false);
            let (file, victims) = (at("file"), at("victims"));
            replaced += std::thread::scope(|scope| {
                let attacker = scope.spawn(|| replace_names(&out, [&file, &victims], &stop));
                osimg(directory.path(), &words);
                stop.store(true, Ordering::Relaxed);
                attacker.join().unwrap()
            });
            assert_eq!(fs::read_to_string(&file).unwrap(), "precious", "{name}");
            assert_eq!(fs::read_dir(&victims).unwrap().count(), 0, "{name}");
        }
    }
    assert!(replaced > 10, "{replaced} replaced names are not an attack");
}

#[test]
fn only_a_file_is_replaced() {
    let directory = inputs();
    let at = |name: &str| directory.path().join(name);
    osimg(directory.path(), &["-q", "pack", "--selinux", "none", "tree", "-o", "tree.tgz"]);
    nix::unistd::mkfifo(&at("fifo.tgz"), Mode::S_IRWXU).unwrap();
    let _bound = UnixListener::bind(at("socket.tgz")).unwrap();
    symlink("/dev/null", at("link.tgz")).unwrap();
    fs::create_dir(at("directory.tgz")).unwrap();
    for kind in ["FIFO", "socket", "link", "directory"] {
        let name = format!("{}.tgz", kind.to_lowercase());
        let before = at(&name).symlink_metadata().unwrap().file_type();
        for words in [
            ["inspect", "tree.tgz", "--html", &name].as_slice(),
            &["lock", "image.yum", "-o", &name],
            &["pack", "--selinux", "none", "tree", "-o", &name],
        ] {
            // A tarball replaces a link, and never what it points to.
            if kind == "link" && words[0] == "pack" {
                continue;
            }
            let done = osimg(directory.path(), words);
            let text = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(2), "{words:?}: {text}");
            let reason = format!("{name}: it is a {kind}, not a file");
            assert!(text.contains("writing ") && text.contains(&reason), "{words:?}: {text}");
            assert!(text.contains("hint"), "{words:?}: {text}");
            assert_eq!(at(&name).symlink_metadata().unwrap().file_type(), before, "{words:?}");
        }
    }
}

#[test]
fn reports_and_locks_do_not_replace_the_files_of_an_image() {
    let directory = inputs();
    let path = directory.path();
    let packed = osimg(path, &["pack", "tree", "-o", "os-1.tgz", "--selinux", "none"]);
    assert_eq!(packed.status.code(), Some(0), "{packed:?}");
    for name in ["os-1.tgz", "os-1.tgz.sha256", "os-1.json", "os-1.vmlinuz", "os-1.tgz.ks.cfg"] {
        fs::write(path.join(name), fs::read(path.join(name)).unwrap_or_default()).unwrap();
        let before = fs::read(path.join(name)).unwrap();
        let done = osimg(path, &["inspect", "tree", "--html", name]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(9), "{name}: {said}");
        assert!(said.contains("a file of an image exists with this name"), "{said}");
        assert_eq!(fs::read(path.join(name)).unwrap(), before, "{name}");
    }
}
