//! Full file systems: the workdir, the cache, the output. Each is a small tmpfs in a separate mount
//! namespace.

use crate::stage::{Done, Run, Stage};
use crate::support::repo::{Package, When};
use crate::support::require_root;
use std::path::Path;

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let step = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(step).take(size).collect()
}

fn large(size: usize) -> Stage {
    Stage::new(|repo| {
        repo.package(Package::named("large").requires("base").file(
            "/usr/share/large",
            noise(size),
            0o644,
            "root:root",
        ))
    })
}

/// Runs with a file system of that size in the directory. Lists its files on stdout at the end.
fn with_small(directory: &Path, size: &str, run: Run<'_>) -> Done {
    let script = format!(
        "mount -t tmpfs -o mode=0755,size={size} none {0}; echo earlier > {0}/earlier; set +e; \
         \"$@\"; code=$?; ls -A {0}; exit $code",
        directory.display()
    );
    run.behind(&["unshare", "-m", "sh", "-ec", &script, "sh"]).run()
}

fn is_reported(stage: &Stage, done: &Done, place: &Path) {
    assert_eq!(done.code, Some(8), "{}", done.stderr);
    done.reports(&[&place.display().to_string(), "hint: "]).does_not_report(&["panicked"]);
    stage.nothing_runs();
    stage.nothing_is_mounted();
    assert!(stage.files(&stage.out()).is_empty());
}

#[test]
fn a_workdir_that_is_too_small_is_reported_before_anything_is_installed() {
    if !require_root() {
        return;
    }
    let stage = large(20 << 20);
    let done = with_small(&stage.work(), "16m", stage.build("install large\nts run\n"));
    is_reported(&stage, &done, &stage.work());
    assert_eq!(done.stdout, "earlier\n", "the workdir is removed");
    done.reports(&["--workdir"]).does_not_report(&["installing"]);
}

#[test]
fn a_scriptlet_that_fills_the_workdir_fails_the_build() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("greedy")
                .scriptlet(When::Post, "dd if=/dev/zero of=/usr/greed bs=1048576 count=200 2>&1"),
        )
    });
    let done = with_small(&stage.work(), "100m", stage.build("install greedy\nts run\n"));
    assert!(matches!(done.code, Some(7 | 8)), "{}", done.stderr);
    done.reports(&["space"]);
    assert_eq!(done.stdout, "earlier\n", "the workdir is removed");
    assert!(stage.files(&stage.out()).is_empty());
    stage.nothing_runs();
}

#[test]
fn a_cache_that_is_too_small_is_reported() {
    if !require_root() {
        return;
    }
    let stage = large(20 << 20);
    // Over HTTP, because packages in a local directory are not copied into the cache.
    let server = crate::server::Server::start(stage.repo(), |_, _| crate::server::Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    let script = format!(
        "mount -t tmpfs -o mode=0755,size=16m none {}; exec \"$@\"",
        stage.cache().display()
    );
    let run = stage.build("install large\nts run\n");
    let done = run.behind(&["unshare", "-m", "sh", "-ec", &script, "sh"]).run();
    is_reported(&stage, &done, &stage.cache());
    done.reports(&["--cache"]);
    assert!(stage.files(&stage.work()).is_empty());
}

#[test]
fn a_full_output_file_system_leaves_no_file_and_keeps_the_earlier_one() {
    if !require_root() {
        return;
    }
    let stage = large(4 << 20);
    for format in ["tgz", "txz", "tbz", "tar"] {
        let recipe = stage.recipe("install large\nts run\n");
        let run = stage
            .build_without_output(&recipe)
            .arg("-o")
            .arg(stage.out().join(format!("image.{format}")));
        let done = with_small(&stage.out(), "1m", run);
        is_reported(&stage, &done, &stage.out());
        assert_eq!(done.stdout, "earlier\n", "{format}");
        assert!(stage.files(&stage.work()).is_empty());
    }
}

#[test]
fn a_file_size_limit_is_an_error_and_does_not_kill_osimg() {
    if !require_root() {
        return;
    }
    let stage = large(4 << 20);
    let run = stage.build("install large\nts run\n").behind(&["prlimit", "--fsize=3000000"]);
    let done = run.run();
    assert!(done.code.is_some_and(|code| code != 0), "{done:?}");
    assert!(stage.files(&stage.out()).is_empty());
    stage.nothing_is_left();
}
