//! Images of another architecture. An emulator runs their scriptlets; it is registered in a
//! separate namespace of the test.

use crate::machines::make;
use crate::stage::{OSIMG, Stage};
use crate::support::repo::{Package, When, index};
use crate::support::{require_root, skip};
use std::fs;
use std::path::Path;

/// The configuration of Debian's qemu-user-static for aarch64; see binfmt.d(5).
const EMULATOR: &str = "/usr/lib/binfmt.d/qemu-aarch64.conf";

/// Since Linux 6.7 a user namespace has its own handlers: those of this machine do not change.
const REGISTER: &str = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc\nsed '/^#/d' \
                        /usr/lib/binfmt.d/qemu-aarch64.conf > \
                        /proc/sys/fs/binfmt_misc/register\nexec \"$@\"";

#[test]
fn the_scriptlets_of_an_aarch64_image_run_on_another_machine() {
    if !require_root() {
        return;
    }
    if !Path::new(EMULATOR).exists() {
        return skip("qemu-user-static is not installed");
    }
    let tree = match make(
        "bookworm-arm64",
        &["--variant=extract", "--architectures=arm64", "--skip=check/qemu"],
        "bookworm",
        "busybox-static",
    ) {
        Ok(tree) => tree,
        Err(why) => return skip(&why),
    };
    let stage = Stage::new(|repo| {
        repo.package(Package::named("app").scriptlet(When::Post, "busybox uname -m > /etc/machine"))
    });
    let busybox = fs::read(tree.join("bin/busybox")).unwrap();
    let shell = Package::named("shell").provides("/bin/sh").requires_first("base").file(
        "/usr/bin/busybox",
        busybox,
        0o755,
        "root:root",
    );
    shell.link("/usr/bin/sh", "busybox").write_into(&stage.repo());
    index(&stage.repo());
    let build = |arch: &str| {
        let run = stage.osimg(
            "unshare",
            &["--user", "--mount", "--map-root-user", "sh", "-ec", REGISTER, "sh", OSIMG, "build"],
        );
        let run = run
            .arg(stage.recipe("install app\nts run\n"))
            .arg("--settings")
            .arg(stage.repo().join("settings.toml"));
        run.args(&["--arch", arch, "--cache"])
            .arg(stage.cache())
            .arg("--workdir")
            .arg(stage.work())
            .arg("--output")
            .arg(stage.image())
    };
    build("aarch64").succeeds();
    assert_eq!(stage.content("./etc/machine"), "aarch64\n");
    build("s390x").fails(4).reports(&["s390x", "qemu-s390x", "hint: "]);
}
