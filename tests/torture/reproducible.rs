//! Two builds of one recipe: the same bytes, or the first difference and who made it.

use crate::stage::Stage;
use crate::support::repo::{Package, When};
use crate::support::require_root;
use crate::{RECIPE, small};

#[test]
fn two_builds_under_differing_circumstances_come_out_the_same() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let plain = stage.build(RECIPE).succeeds();
    let digest = crate::stage::sh(&stage.out(), "sha256sum < image.tgz");
    let done = stage.build(RECIPE).args(&["--verify-reproducible", "--jobs", "2"]).succeeds();
    done.says(&["both builds came out the same", digest.split(' ').next().unwrap()]);
    assert_eq!(done.stdout, plain.stdout);
    assert_eq!(crate::stage::sh(&stage.out(), "sha256sum < image.tgz; test $(stat -c %a image.tgz) = 644"), digest);
}

#[test]
fn a_scriptlet_that_writes_the_time_is_found_with_file_byte_and_package() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        small(repo)
            .package(Package::named("dater").requires("two").scriptlet(When::Post, "echo \"built $(busybox date +%s)\" > /etc/stamp"))
    });
    // In seconds, and builds of less than one: neither may come before the clock has gone on.
    let done = stage.build("install dater\nts run\n").arg("--verify-reproducible").fails(10);
    done.says(&[
        "first in /etc/stamp at byte ",
        "\"",
        "none, so a scriptlet made it",
        "scriptlets name it: dater-1.0-1.noarch",
        "nothing was published",
    ]);
}

#[test]
fn a_packaged_file_that_its_scriptlet_changes_is_told_with_its_package() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("changer")
                .file("/etc/changer/id", "none", 0o644, "root:root")
                .scriptlet(When::Post, "cd /etc/changer; busybox od -An -tx1 -N8 /dev/urandom > id"),
        )
    });
    let done = stage.build("install changer\nts run\n").arg("--verify-reproducible").fails(10);
    done.says(&["first in /etc/changer/id at byte ", "packages that own it: changer-1.0-1.noarch", "name it: changer-1.0-1.noarch"]);
}

#[test]
fn the_host_s_name_does_not_reach_a_scriptlet_that_writes_it_down() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(Package::named("namer").scriptlet(When::Post, "busybox hostname > /etc/built-on")));
    stage.build("install namer\nts run\n").succeeds();
    let first = crate::stage::sh(&stage.out(), "sha256sum < image.tgz");
    let renamed = ["unshare", "--uts", "sh", "-ec", "hostname elsewhere; exec \"$@\"", "sh"];
    let done = stage.build("install namer\nts run\n").arg("--verify-reproducible").behind(&renamed).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(crate::stage::sh(&stage.out(), "sha256sum < image.tgz"), first);
    assert_eq!(stage.content("./etc/built-on"), "localhost\n");
}
