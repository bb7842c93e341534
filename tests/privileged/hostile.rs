//! Install roots with traps of packages in the places where the sandbox mounts, and hosts with
//! propagating mounts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::support::*;
use nix::mount::MsFlags;
use osimg::error::{ExitCode, exit_code};
use osimg::sandbox::View;

/// Makes a hostile file at the path. The second path is the victim directory on the host.
type Trap = fn(&Path, &Path);

const TRAPS: [(&str, Trap); 6] = [
    ("an absolute link", |at, victim| symlink(victim, at).expect("link")),
    ("a relative link out of the root", |at, _| symlink("../victim", at).expect("link")),
    ("a link to a directory of the root", |at, _| symlink("etc", at).expect("link")),
    ("a magic link", |at, _| symlink("/proc/self/root", at).expect("link")),
    ("a file", |at, _| fs::write(at, "a file").expect("file")),
    ("a fifo", |at, _| {
        nix::unistd::mkfifo(at, nix::sys::stat::Mode::from_bits_truncate(0o644)).expect("fifo")
    }),
];

#[test]
fn a_hostile_file_instead_of_an_api_directory_is_named_and_the_host_is_untouched() {
    if !require_root() {
        return;
    }
    for name in ["proc", "sys", "dev", "run"] {
        for (what, trap) in TRAPS {
            for view in [View::Tools, View::Image] {
                let workdir = Workdir::new();
                let victim = workdir.path().join("victim");
                fs::create_dir(&victim).expect("victim");
                fs::write(victim.join("file"), "precious").expect("file");
                fs::create_dir(workdir.root().join("etc")).expect("etc");
                trap(&workdir.root().join(name), &victim);
                let before = (mount_table(), fingerprint(workdir.path(), 8));
                let mut plan = workdir.plan(&["/usr/bin/true"]);
                plan.view = view;
                let error =
                    run(&plan, seconds(30)).outcome.expect_err(&format!("{name} is {what}"));
                let text = format!("{error:#}");
                assert!(
                    text.contains(&format!("{name} in the image is not a plain directory")),
                    "{name} is {what}: {text}"
                );
                assert_ne!(exit_code(&error), ExitCode::Done);
                let mut after = (mount_table(), fingerprint(workdir.path(), 8));
                // The directories before the trap were created, and belong in the image.
                after.1.retain(|path, _| before.1.contains_key(path));
                assert_eq!(before, after, "{name} is {what}");
                assert_eq!(fs::read_to_string(victim.join("file")).expect("victim"), "precious");
            }
        }
    }
}

#[test]
fn a_host_with_propagating_mounts_keeps_its_mount_table() {
    if !require_root() {
        return;
    }
    let before_all = mount_table();
    in_mount_namespace(MsFlags::MS_SHARED, || {
        assert!(
            mount_table().contains("shared:"),
            "the namespace around the run shares its mounts"
        );
        let before = mount_table();
        let workdir = Workdir::with_programs(&["sleep"]);
        for view in [View::Tools, View::Image] {
            let mut plan = workdir.plan(&["/bin/sh", "-c", "echo running; sleep 0.1; echo ending"]);
            plan.view = view;
            if matches!(view, View::Image) {
                // The image has its own programs; the host's are mounted only for the tools.
                plan.mounts.clear();
            }
            let mut during = Vec::new();
            let outcome = osimg::sandbox::Sandbox::with_program(OSIMG).run::<anyhow::Error>(
                &plan,
                seconds(30),
                &mut |_, _| {
                    during.push(mount_table());
                    Ok(())
                },
            );
            assert!(outcome.expect("the sandbox runs").success());
            assert_eq!(during.len(), 2);
            assert!(
                during.iter().all(|table| *table == before),
                "a mount of the sandbox appeared outside"
            );
            assert_eq!(before, mount_table());
        }
    });
    assert_eq!(before_all, mount_table());
}

#[test]
fn a_build_whose_workdir_is_in_a_shared_mount_leaves_no_mount_behind() {
    if !require_root() {
        return;
    }
    in_mount_namespace(MsFlags::MS_SHARED, || {
        let place = tempfile::tempdir_in("/var/tmp").expect("a directory");
        mount("tmpfs", place.path(), "tmpfs", MsFlags::empty());
        let before = mount_table();
        let (root, scratch) = (place.path().join("root"), place.path().join("scratch"));
        for directory in [&root, &scratch] {
            fs::create_dir(directory).expect("directory");
        }
        let mut plan = Workdir::new().plan(&["/usr/bin/true"]);
        (plan.root, plan.scratch) = (root, scratch);
        assert!(run(&plan, seconds(30)).outcome.expect("the sandbox runs").success());
        assert_eq!(before, mount_table());
        #[expect(clippy::disallowed_methods, reason = "the thread's own namespace")]
        nix::mount::umount(place.path()).expect("not busy");
    });
}
