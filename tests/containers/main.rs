//! Builds inside containers, as CI runners start them by default: the same bytes as on the host, or
//! a refusal with the smallest change that helps.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and runs the programs that judge"
)]
#![allow(dead_code, reason = "the tiers share more than each of them uses")]

#[path = "../e2e/stage.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;

mod container;
mod demo;
mod escapes;
mod kills;

use container::{Container, Kind};
use stage::Stage;
use support::repo::{Package, Repo, When};

/// Everything that is easily lost without root, and a scriptlet that uses the API file systems.
fn odd(repo: Repo) -> Repo {
    repo.package(
        Package::named("odd")
            .requires("shell")
            .file("/usr/bin/setuid", "x", 0o4755, "root:root")
            .file("/usr/bin/helper", "x", 0o4750, "root:app")
            .file("/usr/bin/capable", "x", 0o755, "root:root")
            .caps("cap_net_raw=ep")
            .file("/usr/share/owned", "x", 0o640, "app:app")
            .directory("/usr/share/sticky", 0o1777)
            .link("/usr/share/dangling", "/no/such/place")
            .scriptlet(
                When::Post,
                "echo gone > /dev/null\ntest -e /proc/self/status && test -d \
                 /proc/self/fd\nbusybox mkdir -p /var/lib/odd\nbusybox head -c 4 /dev/zero > \
                 /var/lib/odd/zeros\nbusybox chown 998:997 /var/lib/odd/zeros\nbusybox readlink \
                 /dev/fd > /var/lib/odd/link\nbusybox cat /proc/sys/kernel/ostype > \
                 /var/lib/odd/kernel\n",
            ),
    )
}

const RECIPE: &str = "install odd\nts run\n";

/// Builds the recipe on this machine and in the containers, each with its isolation.
fn the_same_bytes(stage: &Stage, recipe: &str, kinds: &[(Kind, &str)]) {
    stage.build(recipe).succeeds();
    let reference = stage.digest();
    for (kind, isolation) in kinds {
        let container = Container::new(stage, *kind);
        let done =
            container.build(&stage.recipe(recipe), &stage.repo().join("settings.toml"), &[]).run();
        assert_eq!(done.code, Some(0), "{kind:?}: {}", done.stderr);
        assert_eq!(
            container.manifest()["build"]["isolation"],
            *isolation,
            "{kind:?}: {}",
            done.stderr
        );
        let line = format!("(isolation {isolation})");
        assert_eq!(done.stderr.contains(&line), *isolation != "full", "{kind:?}: {}", done.stderr);
        assert_eq!(container.digest(), reference, "{kind:?}");
        container.nothing_is_left();
    }
}

#[test]
fn a_container_that_masks_its_proc_gives_the_bytes_of_the_host() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(odd);
    let kinds = [
        (Kind::Unmasked, "full"),
        (Kind::Unconfined, "user-namespace"),
        (Kind::UnconfinedUser, "user-namespace"),
    ];
    the_same_bytes(&stage, RECIPE, &kinds);
}

#[test]
fn podman_and_bubblewrap_give_the_bytes_of_the_host() {
    if !Container::require(&["podman", "bwrap"]) {
        return;
    }
    let stage = Stage::new(odd);
    the_same_bytes(
        &stage,
        RECIPE,
        &[(Kind::Podman, "user-namespace"), (Kind::Bubblewrap, "user-namespace")],
    );
}

#[test]
fn docker_s_defaults_give_the_bytes_of_the_host() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(odd);
    the_same_bytes(&stage, RECIPE, &[(Kind::Docker, "container")]);
}

#[test]
fn where_packages_cannot_be_contained_the_smallest_change_is_named() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(odd);
    let container = Container::new(&stage, Kind::DockerUser);
    let done =
        container.build(&stage.recipe(RECIPE), &stage.repo().join("settings.toml"), &[]).run();
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    done.reports(&["packages can only be installed by root", "hostUsers: false"])
        .does_not_report(&["--privileged"]);
    container.nothing_is_left();
}

#[test]
fn an_isolation_that_is_demanded_and_not_available_is_refused_with_the_smallest_change() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(odd);
    let container = Container::new(&stage, Kind::Unconfined);
    let recipe = stage.recipe(RECIPE);
    let done = container
        .build(&recipe, &stage.repo().join("settings.toml"), &["--isolation", "full"])
        .run();
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    done.reports(&["the isolation `full`", "mounting proc: EPERM", "systempaths=unconfined"])
        .does_not_report(&["--privileged"]);
    let doctor = container.osimg(&["doctor", "--workdir"]).arg(container.work()).run();
    assert!(
        doctor.stdout.contains("ok      isolation: user-namespace: mounting proc: EPERM"),
        "{}{}",
        doctor.stdout,
        doctor.stderr
    );
    container.nothing_is_left();
}

#[test]
fn a_filter_that_kills_is_named_by_the_build_and_by_the_doctor() {
    if !Container::require(&["crun"]) {
        return;
    }
    let stage = Stage::new(odd);
    let container = Container::new(&stage, Kind::DockerKilling);
    let done =
        container.build(&stage.recipe(RECIPE), &stage.repo().join("settings.toml"), &[]).run();
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    done.reports(&["a seccomp filter kills the process", "SCMP_ACT_ERRNO"]);
    let doctor = container.osimg(&["doctor", "--workdir"]).arg(container.work()).run();
    assert_eq!(doctor.code, Some(10), "{}{}", doctor.stdout, doctor.stderr);
    assert!(
        doctor.stdout.contains("MISSING isolation: none: ")
            && doctor.stdout.contains("a seccomp filter kills"),
        "{}",
        doctor.stdout
    );
}
