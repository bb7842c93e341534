//! A program that is stopped, told to end, left waiting, or started where little is as usual.

use crate::stage::Stage;
use crate::support::repo::{Package, When};
use crate::support::require_root;
use crate::{RECIPE, rounds, small, some};
use nix::sys::signal::Signal;
use std::time::Duration;

fn slow(seconds: u32) -> Stage {
    Stage::new(|repo| repo.package(Package::named("slow").scriptlet(When::Post, &format!("sleep {seconds}"))))
}

#[test]
fn sigterm_and_sighup_end_a_build_with_their_codes_and_leave_nothing() {
    if !require_root() {
        return;
    }
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let stage = slow(7_654_322);
        let started = stage.build("install slow\nts run\n").start();
        stage.wait_for_process("sleep 7654322");
        started.interrupt(signal, code, Duration::from_secs(5)).says(&["nothing was published"]);
    }
}

#[test]
fn a_build_that_was_stopped_goes_on_and_the_pause_does_not_count_as_its_time() {
    if !require_root() {
        return;
    }
    // The limit passes while it is stopped, and leaves a slow machine enough for all the rest.
    let (limit, pause) = (Duration::from_secs(10), Duration::from_secs(rounds(12, 300) as u64));
    let stage = slow(u32::try_from(pause.as_secs()).unwrap() - 2);
    let started = stage.build("install slow\nts run\n").args(&["--timeout", &format!("{}s", limit.as_secs())]).start();
    stage.wait_for_process("sleep ");
    started.signal(Signal::SIGSTOP);
    std::thread::sleep(pause);
    started.signal(Signal::SIGCONT);
    let done = started.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    stage.nothing_is_left();
}

#[test]
fn a_silent_scriptlet_is_ended_by_the_idle_limit_and_its_package_is_named() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(Package::named("mute").scriptlet(When::Post, "trap '' TERM INT; sleep 7654323")));
    let done = stage.build("install mute\nts run\n").args(&["--idle-timeout", "4s"]).fails(124);
    done.says(&["limit on silence of 4 s", "mute-1.0-1", "--idle-timeout"]);
    assert!(done.took < Duration::from_secs(60), "{:?}", done.took);
}

/// Surroundings that a shell makes before it becomes osimg.
const SURROUNDINGS: [&str; 8] = [
    "umask 077",
    "umask 000",
    "exec <&-",
    "unset HOME TMPDIR PATH",
    "mkdir gone; cd gone; rmdir ../gone",
    "ulimit -n 64",
    "export TZ=Antarctica/Troll LC_ALL=tr_TR.UTF-8 LANG=xx",
    "ulimit -c unlimited; ulimit -s 512; exec 9</ 8</etc/shadow",
];

#[test]
fn odd_surroundings_give_the_same_image() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    stage.build(RECIPE).succeeds();
    let good = crate::stage::sh(&stage.out(), "sha256sum < image.tgz");
    for odd in some(&SURROUNDINGS, 8) {
        let line = format!("{odd}; exec \"$@\"");
        let done = stage.build(RECIPE).behind(&["sh", "-c", &line, "sh"]).run();
        assert_eq!(done.code, Some(0), "{odd}: {}", done.stderr);
        assert_eq!(crate::stage::sh(&stage.out(), "sha256sum < image.tgz"), good, "{odd}");
        stage.nothing_is_left();
    }
}
