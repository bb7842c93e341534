//! Paths that lead to the host: links in every place, directories that become links, mounts in a
//! directory that is removed.

use crate::stage::{Stage, run, sh};
use crate::support::repo::{Package, When};
use crate::support::require_root;
use crate::{rounds, some};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Everything in a directory that a build could change.
fn snapshot(directory: &Path) -> String {
    sh(
        directory,
        "find . -printf '%p %m %U %G %s %T@ %C@ %l\\n' | sort; find . -type f | sort | xargs \
         sha256sum",
    )
}

/// A directory of the host. It contains files with names that builds write, truncate or remove.
fn victim(stage: &Stage) -> std::path::PathBuf {
    let directory = stage.path().join("victim");
    for name in ["dnf", "yum", "log", "lib/rpm", "etc", "boot", "null", "kernel"] {
        fs::create_dir_all(directory.join(name)).unwrap();
    }
    for name in [
        "machine-id",
        "hostname",
        "dnf.log",
        "rpmdb.sqlite",
        ".rpm.lock",
        "random-seed",
        "etc/machine-id",
        "boot/vmlinuz",
    ] {
        fs::write(directory.join(name), "intact").unwrap();
    }
    directory
}

/// Places where packages and scriptlets put links.
const PLACES: [&str; 20] = [
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/tmp",
    "/boot/efi",
    "/var/cache",
    "/var/log",
    "/var/lib",
    "/var/lib/rpm",
    "/var/lib/dnf",
    "/var/tmp",
    "/etc/machine-id",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/pki",
    "/root",
    "/var/lib/systemd",
    "/etc/dnf",
    "/usr/lib/sysimage",
];

#[test]
fn links_in_any_place_never_lead_a_build_to_the_host() {
    if !require_root() {
        return;
    }
    let mut cases = Vec::new();
    for place in PLACES {
        cases.extend(["absolute", "upwards", "by a scriptlet"].map(|how| (place, how)));
    }
    for (place, how) in some(&cases, 9) {
        let stage = Stage::empty();
        let victim = victim(&stage);
        let target = victim.display().to_string();
        let package = Package::named("odd").requires("base");
        let package = match how {
            "absolute" => package.link(place, &target),
            "upwards" => package.link(place, format!("{}{target}", "../".repeat(20))),
            _ => package.scriptlet(
                When::Post,
                &format!("rm -rf {place} 2>/dev/null; ln -sfn {target} {place} 2>/dev/null; true"),
            ),
        };
        crate::support::repo::Repo::new(&stage.repo()).package(package).write();
        let before = snapshot(&victim);
        let done = stage.build("install odd\nts run\n").run();
        let case = format!("{place}, {how}");
        assert!(matches!(done.code, Some(0 | 4 | 7)), "{case}: {:?} {}", done.code, done.stderr);
        done.does_not_report(&["panicked"]);
        assert_eq!(snapshot(&victim), before, "{case}");
        stage.nothing_is_left();
        if done.code == Some(0) {
            let names = stage.members();
            assert!(
                !names.iter().any(|name| name.contains("vmlinuz") || name.ends_with("dnf.log")),
                "{case}: {names:#?}"
            );
        }
    }
}

#[test]
fn package_paths_that_lead_upwards_stay_in_the_image() {
    if !require_root() {
        return;
    }
    let mark = format!("osimg-escape-{}", std::process::id());
    let (plain, deep) = (format!("/usr/share/{mark}"), "x/".repeat(1500));
    let odd =
        |path: &str| Package::named("odd").requires("base").file(path, "x", 0o644, "root:root");
    // Each would end up at a path on the host. The image may contain it or not: like dnf's rpm,
    // osimg may refuse or contain it.
    let cases: Vec<(&str, Package)> = vec![
        ("upwards", odd(&format!("/usr/share/../../../../../../../../var/tmp/{mark}"))),
        // Directories and names that no builder writes, replaced byte for byte.
        (
            "upwards in the header",
            odd(&format!("/usr/share/aa/bb/cc/dd/ee/{mark}"))
                .edited(b"/aa/bb/cc/dd/ee/", b"/../../../../../"),
        ),
        (
            "a name upwards",
            odd("/usr/share/aa").edited(b"share/aa", b"share/..").edited(b"aa\0", b"..\0"),
        ),
        ("a dot", odd(&format!("/usr/share/a/b/{mark}")).edited(b"/share/a/b/", b"/share/././")),
        ("a new line", odd(&format!("/usr/share/a\nb/{mark}"))),
        ("5000 characters", odd(&format!("/usr/share/{deep}{mark}"))),
        ("no text", odd("/usr/share/notext").edited(b"notext", b"\xff\xfe\x1b[2J")),
        ("cases", odd("/usr/share/Same").file("/usr/share/same", "y", 0o644, "root:root")),
        (
            "a file through the package's own link",
            odd(&format!("/usr/share/link/{mark}")).link("/usr/share/link", "/var/tmp"),
        ),
    ];
    for (what, package) in cases {
        let stage = Stage::empty();
        crate::support::repo::Repo::new(&stage.repo()).package(package).write();
        let done = stage.build("install odd\nts run\n").run();
        println!(
            "{what}: {:?} {}",
            done.code,
            done.stderr.lines().rev().find(|l| l.starts_with("error")).unwrap_or_default()
        );
        assert!(matches!(done.code, Some(0 | 5..=7)), "{what}: {done:?}");
        done.does_not_report(&["panicked", "\u{1b}[2J"]);
        assert!(
            !Path::new("/var/tmp").join(&mark).exists() && !Path::new(&plain).exists(),
            "{what}"
        );
        stage.nothing_is_left();
        if done.code == Some(0) {
            // GNU tar checks the names and the result.
            assert!(!stage.members().iter().any(|name| name.contains("..")), "{what}");
            let target = stage.extract();
            let found = sh(
                &target,
                "find . -mindepth 3 -path './usr/share/*' -printf '%P\n' | LC_ALL=C sort | head -3",
            );
            assert!(!found.is_empty() || what.contains("upwards"), "{what}: {found}");
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

#[test]
fn a_directory_that_becomes_a_link_while_it_is_packed_adds_nothing_from_outside() {
    if !require_root() {
        return;
    }
    const CANARY: &str = "canary-from-outside";
    let stage = Stage::empty();
    let (tree, outside) = (stage.path().join("tree"), stage.path().join("outside"));
    for directory in [tree.join("a/inner"), tree.join("z"), outside.join("inner")] {
        fs::create_dir_all(directory).unwrap();
    }
    for number in 0..40 {
        fs::write(tree.join(format!("a/inner/{number}")), "inside").unwrap();
        fs::write(outside.join(format!("inner/{number}")), CANARY).unwrap();
    }
    let (place, link) = (tree.join("a"), stage.path().join("link"));
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let stop = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        // Even if the rest of this fails: the scope waits for the swapper.
        let stopper = StopOnDrop(&stop);
        let swapper = scope.spawn(|| {
            let mut swaps = 0u64;
            while !stop.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &place, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        for _ in 0..rounds(40, 5000) {
            let image = stage.out().join("x.tar");
            let done = stage
                .osimg(crate::stage::OSIMG, &["pack", "--selinux", "none"])
                .arg(&tree)
                .arg("--output")
                .arg(&image)
                .run();
            assert!(matches!(done.code, Some(0 | 1)), "{:?} {}", done.code, done.stderr);
            if image.exists() {
                let bytes = fs::read(&image).unwrap();
                assert!(
                    !bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()),
                    "bytes from outside are in the archive"
                );
                fs::remove_file(&image).unwrap();
            }
        }
        drop(stopper);
        swapper.join().unwrap()
    });
    println!("{swaps} swaps");
    assert!(swaps > 1000, "{swaps}");
}

#[test]
fn cleanup_stops_at_a_mount_and_removes_only_directories_of_osimg() {
    if !require_root() {
        return;
    }
    let stage = Stage::empty();
    let work = stage.work();
    let victim = victim(&stage);
    for name in ["osimg-dead", "osimg-mounted", "osimg-kept", "osimg-foreign", "other"] {
        fs::create_dir_all(work.join(name).join("root/etc")).unwrap();
        fs::create_dir_all(work.join(name).join("scratch")).unwrap();
        mark(&work.join(name));
    }
    // Its name is that of a workdir, but it contains the mark of another directory.
    fs::create_dir_all(work.join("osimg-copied/root/etc")).unwrap();
    fs::copy(work.join("osimg-dead/.osimg-workdir"), work.join("osimg-copied/.osimg-workdir"))
        .unwrap();
    fs::write(work.join("osimg-kept/kept"), "").unwrap();
    fs::create_dir(work.join("osimg-no-workdir")).unwrap();
    std::os::unix::fs::symlink(&victim, work.join("osimg-link")).unwrap();
    run(Command::new("chown").args(["-R", "12345"]).arg(work.join("osimg-foreign")));
    for entry in
        fs::read_dir(&work).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir())
    {
        fs::File::open(entry.path())
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
    }
    let before = snapshot(&victim);
    let line = format!(
        "mount --bind {} {}/osimg-mounted/root/etc; exec \"$@\"",
        victim.display(),
        work.display()
    );
    let clean = |words: &[&str]| {
        stage.osimg(crate::stage::OSIMG, &["doctor", "--clean", "--workdir"]).arg(&work).args(words)
    };
    let done = clean(&[]).behind(&["unshare", "-m", "sh", "-ec", &line, "sh"]).run();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    done.reports(&[
        "osimg-mounted/root/etc is still mounted",
        "hint: unmount it first",
        "osimg-kept: it was kept",
    ]);
    assert_eq!(snapshot(&victim), before);
    let left = |stage: &Stage| stage.files(&stage.work()).into_keys().collect::<Vec<_>>();
    assert_eq!(
        left(&stage),
        [
            "osimg-copied",
            "osimg-foreign",
            "osimg-kept",
            "osimg-link",
            "osimg-mounted",
            "osimg-no-workdir",
            "other"
        ]
    );
    clean(&["--kept"]).run();
    assert_eq!(
        left(&stage),
        ["osimg-copied", "osimg-foreign", "osimg-link", "osimg-no-workdir", "other"]
    );
    assert_eq!(snapshot(&victim), before);
}

/// Gives a directory the mark by which osimg recognizes its own workdirs.
pub fn mark(workdir: &Path) {
    fs::write(workdir.join(".osimg-workdir"), workdir.metadata().unwrap().ino().to_string())
        .unwrap();
}
