//! SIGKILL at random moments: nothing of a build survives, and there is no incomplete file under an
//! artifact's name.

use crate::stage::Stage;
use crate::support::repo::{Package, When};
use crate::support::require_root;
use nix::sys::signal::Signal;
use std::time::Duration;

/// The number of kills, unless `OSIMG_TEST_KILLS` is set.
const KILLS: u64 = 20;

#[test]
fn a_build_killed_at_any_moment_leaves_no_mount_no_process_and_no_half_artifact() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(Package::named("odd").scriptlet(
            When::Post,
            "setsid sleep 7654321 </dev/null >/dev/null 2>&1 & for n in 1 2 3; do echo $n; done",
        ))
    });
    let recipe = "install odd\nts run\n";
    let whole = stage.build(recipe).succeeds().took;
    let good = stage.digest();
    let kills =
        std::env::var("OSIMG_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut seen = Vec::new();
    for round in 0..kills {
        // Each round takes another part of the build's time, and a moment within it by the golden
        // ratio.
        let share = (round as f64 + (round as f64 * 0.618_034).fract()) / kills as f64;
        let moment = whole.mul_f64(share * 1.05);
        for name in stage.files(&stage.out()).into_keys() {
            std::fs::remove_file(stage.out().join(name)).unwrap();
        }
        let started = stage.build(recipe).start();
        std::thread::sleep(moment);
        started.signal(Signal::SIGKILL);
        let done = started.wait();
        stage.nothing_runs();
        stage.nothing_is_mounted();
        let files = stage.files(&stage.out());
        if files.contains_key("image.tgz") {
            assert_eq!(stage.digest(), good, "killed after {moment:?}: the tarball is not whole");
        }
        if files.contains_key("image.json") {
            crate::stage::sh(
                &stage.out(),
                "sha256sum -c image.tgz.sha256 && sha512sum -c image.tgz.sha512",
            );
        }
        seen.push((moment, done.code, files.len()));
    }
    assert!(
        seen.iter().filter(|(_, code, _)| code.is_none()).count() > seen.len() / 2,
        "too few builds were killed: {seen:?}"
    );
    stage.build(recipe).run();
    assert_eq!(stage.digest(), good, "the next build works");
    crate::stage::sh(
        &stage.out(),
        "test \"$(ls -A)\" = \"$(printf \
         'image.cdx.json\\nimage.intoto.json\\nimage.json\\nimage.spdx.json\\nimage.tgz\\nimage.\
         tgz.sha256\\nimage.tgz.sha512')\"",
    );
}

#[test]
fn killing_the_sandbox_fails_the_build_and_nothing_else() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(Package::named("slow").scriptlet(When::Post, "sleep 7654321"))
    });
    let started = stage.build("install slow\nts run\n").start();
    stage.wait_for_process("sleep 7654321");
    let victim = stage.processes().into_iter().find(|line| line.contains("dnf4.py")).unwrap();
    let pid: i32 = victim.split(':').next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let done = started.wait();
    assert!(done.code.is_some_and(|code| code != 0), "{done:?}");
    assert!(done.took < Duration::from_secs(60));
    assert!(stage.files(&stage.out()).is_empty());
    stage.nothing_is_left();
}
