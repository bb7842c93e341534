//! Two builds of one recipe: the same bytes, or the first difference and its cause.

use crate::stage::Stage;
use crate::support::repo::{Package, When};
use crate::support::require_root;
use crate::{RECIPE, small};

#[test]
fn two_builds_in_different_environments_are_identical() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let plain = stage.build(RECIPE).succeeds();
    let digest = stage.digest();
    let done = stage.build(RECIPE).args(&["--verify-reproducible", "--jobs", "2"]).succeeds();
    done.reports(&["both builds came out the same", &digest]);
    assert_eq!(done.stdout, plain.stdout);
    assert_eq!(stage.digest(), digest);
    crate::stage::sh(&stage.out(), "test $(stat -c %a image.tgz) = 644");
}

#[test]
fn the_format_of_the_output_is_the_one_that_is_compared() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let recipe = stage.recipe(RECIPE);
    let output = stage.out().join("image.tar").display().to_string();
    let words = ["--verify-reproducible", "-o", &output];
    let done = stage.build_without_output(&recipe).args(&words).succeeds();
    done.reports(&["both builds came out the same"]);
}

#[test]
fn a_scriptlet_that_writes_the_time_is_found_with_file_byte_and_package() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        small(repo).package(
            Package::named("dater")
                .requires("two")
                .scriptlet(When::Post, "echo \"built $(busybox date +%s)\" > /etc/stamp"),
        )
    });
    // The time has a resolution of seconds, and these builds are faster: wait for the next second.
    let done = stage.build("install dater\nts run\n").arg("--verify-reproducible").fails(10);
    done.reports(&[
        "first in /etc/stamp at byte ",
        "\"",
        "none, so a scriptlet made it",
        "scriptlets name it: dater-1.0-1.noarch",
        "nothing was published",
    ]);
}

#[test]
fn a_scriptlet_that_writes_the_year_is_found_because_the_clocks_differ() {
    if !require_root() {
        return;
    }
    // Done by rpm itself, in Lua: the image's shell is statically linked and asks the kernel.
    let year = "local file = io.open('/etc/year', 'w'); file:write(os.date('%Y')); file:close()";
    let stage = Stage::new(|repo| {
        small(repo).package(Package::named("annual").requires_first("base").lua(When::Post, year))
    });
    let done = stage.build("install annual\nts run\n").arg("--verify-reproducible").fails(10);
    done.reports(&["first in /etc/year at byte ", "scriptlets name it: annual-1.0-1.noarch"])
        .does_not_report(&["libfaketime"]);
}

#[test]
fn a_scriptlet_that_writes_its_user_is_found_because_the_users_differ() {
    if !require_root() {
        return;
    }
    let whose = "busybox readlink /proc/self/ns/user > /etc/whose";
    let stage = Stage::new(|repo| {
        small(repo).package(Package::named("personal").requires("two").scriptlet(When::Post, whose))
    });
    let done = stage.build("install personal\nts run\n").arg("--verify-reproducible").fails(10);
    done.reports(&["first in /etc/whose at byte ", "scriptlets name it: personal-1.0-1.noarch"])
        .does_not_report(&["as the same user"]);
}

#[test]
fn a_failing_comparison_build_fails_the_command_with_its_exit_code() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let done = stage.build("install no-such\nts run\n").arg("--verify-reproducible").fails(7);
    done.reports(&["image.yum:1", "no-such", "building once for the comparison"]);
    stage.nothing_is_left();
}

#[test]
fn a_packaged_file_that_its_scriptlet_changes_is_reported_with_its_package() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("changer")
                .file("/etc/changer/id", "none", 0o644, "root:root")
                .scriptlet(
                    When::Post,
                    "cd /etc/changer; busybox od -An -tx1 -N8 /dev/urandom > id",
                ),
        )
    });
    let done = stage.build("install changer\nts run\n").arg("--verify-reproducible").fails(10);
    done.reports(&[
        "first in /etc/changer/id at byte ",
        "packages that own it: changer-1.0-1.noarch",
        "name it: changer-1.0-1.noarch",
    ]);
}

#[test]
fn a_scriptlet_does_not_see_the_name_of_the_host() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("namer").scriptlet(When::Post, "busybox hostname > /etc/built-on"),
        )
    });
    stage.build("install namer\nts run\n").succeeds();
    let first = stage.digest();
    let renamed = ["unshare", "--uts", "sh", "-ec", "hostname elsewhere; exec \"$@\"", "sh"];
    let done =
        stage.build("install namer\nts run\n").arg("--verify-reproducible").behind(&renamed).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(stage.digest(), first);
    assert_eq!(stage.content("./etc/built-on"), "localhost\n");
}
