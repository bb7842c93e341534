//! A program that is stopped, interrupted, kept waiting, or started in an unusual environment.

use crate::stage::Stage;
use crate::support::repo::{Package, When};
use crate::support::require_root;
use crate::{RECIPE, rounds, small, some};
use nix::sys::signal::Signal;
use std::time::Duration;

fn slow(seconds: u32) -> Stage {
    Stage::new(|repo| {
        repo.package(Package::named("slow").scriptlet(When::Post, &format!("sleep {seconds}")))
    })
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
        started.interrupt(signal, code, Duration::from_secs(5)).reports(&["nothing was published"]);
    }
}

#[test]
fn a_stopped_build_continues_and_the_pause_does_not_count_towards_its_limit() {
    if !require_root() {
        return;
    }
    // The limit passes while it is stopped. It leaves enough time for the rest on a slow machine.
    let (limit, pause) = (Duration::from_secs(10), Duration::from_secs(rounds(12, 300) as u64));
    let stage = slow(u32::try_from(pause.as_secs()).unwrap() - 2);
    let started = stage
        .build("install slow\nts run\n")
        .args(&["--timeout", &format!("{}s", limit.as_secs())])
        .start();
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
    let stage = Stage::new(|repo| {
        repo.package(
            Package::named("mute").scriptlet(When::Post, "trap '' TERM INT; sleep 7654323"),
        )
    });
    let done = stage.build("install mute\nts run\n").args(&["--idle-timeout", "8s"]).fails(124);
    done.reports(&["limit on silence of 8 s", "mute-1.0-1", "--idle-timeout"]);
    assert!(done.took < Duration::from_secs(60), "{:?}", done.took);
}

#[test]
fn a_package_manager_that_is_killed_at_any_moment_fails_the_build_and_names_the_step() {
    if !require_root() {
        return;
    }
    let stage = slow(2);
    let (mut killed, wanted) = (0, rounds(4, 50));
    for round in 0_usize.. {
        assert!(round < 2 * wanted + 10, "only {killed} of {round} builds were hit");
        let started = stage.build("install slow\nts run\n").start();
        stage.wait_for_process("dnf4.py");
        // A different moment of the first two seconds each time, by the golden ratio.
        std::thread::sleep(Duration::from_secs_f64(2.0 * (round as f64 * 0.618_034).fract()));
        // Between two of its phases it does not run.
        let victim = stage.processes().into_iter().find(|line| line.contains("dnf4.py"));
        let met = victim.and_then(|line| line.split(':').next()?.parse().ok()).is_some_and(|pid| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).is_ok()
        });
        let done = started.wait();
        if done.code == Some(0) {
            assert!(!met || round > 0, "{}", done.stderr);
            crate::stage::sh(&stage.out(), "gzip -t image.tgz; rm image*");
            continue;
        }
        assert!(met, "{}", done.stderr);
        assert!(done.took < Duration::from_secs(60));
        done.does_not_report(&["panicked"]);
        assert!(
            ["downloading packages", "installing packages", "reading"]
                .iter()
                .any(|step| done.stderr.contains(step)),
            "{}",
            done.stderr
        );
        assert!(stage.files(&stage.out()).is_empty(), "{}", done.stderr);
        stage.nothing_is_left();
        killed += 1;
        if killed == wanted {
            break;
        }
    }
    stage.build("install slow\nts run\n").succeeds();
}

/// Environments that a shell sets up before it becomes osimg.
const ENVIRONMENTS: [&str; 8] = [
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
fn unusual_environments_give_the_same_image() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    stage.build(RECIPE).succeeds();
    let good = stage.digest();
    for odd in some(&ENVIRONMENTS, 8) {
        let line = format!("{odd}; exec \"$@\"");
        let done = stage.build(RECIPE).behind(&["sh", "-c", &line, "sh"]).run();
        assert_eq!(done.code, Some(0), "{odd}: {}", done.stderr);
        assert_eq!(stage.digest(), good, "{odd}");
        stage.nothing_is_left();
    }
}

/// Clocks for the program itself and for everything outside the sandbox.
const CLOCKS: [&str; 4] = ["+10y", "-10y", "@2038-01-19 03:14:07", "+0 x600"];

#[test]
fn a_wrong_or_racing_clock_gives_the_same_image() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    stage.build(RECIPE).succeeds();
    let good = stage.digest();
    for clock in some(&CLOCKS, 4) {
        // The kernel's monotonic time stays correct: waiting uses it, and a limit must not pass at
        // once.
        let behind =
            ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1", "faketime", "-f", clock];
        let done = stage.build(RECIPE).args(&["--timeout", "120s"]).behind(&behind).run();
        assert_eq!(done.code, Some(0), "{clock}: {}", done.stderr);
        // A duration that is negative or years long.
        assert!(!done.stderr.contains("(-") && done.stderr.contains("(0."), "{}", done.stderr);
        assert_eq!(
            done.stderr.contains("clock is behind the date of the image"),
            clock == "-10y",
            "{}",
            done.stderr
        );
        assert_eq!(stage.digest(), good, "{clock}");
        stage.nothing_is_left();
    }
}

#[test]
fn a_build_with_little_memory_succeeds_or_publishes_nothing() {
    if !require_root() {
        return;
    }
    let noise: Vec<u8> =
        (0..12_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let stage = Stage::new(|repo| {
        repo.package(Package::named("large").requires_first("base").file(
            "/usr/large",
            noise,
            0o644,
            "root:root",
        ))
    });
    let recipe = stage.recipe("install large\nts run\n");
    // Either kind of control group, in a hierarchy that only this test has mounted. The group is
    // removed when the build has ended.
    let line = "d=$(mktemp -d); mount -t tmpfs none $d; mkdir $d/m; if mount -t cgroup -o memory \
                none $d/m 2>/dev/null; then limit=memory.limit_in_bytes; \
                peak=memory.max_usage_in_bytes; elif mount -t cgroup2 none $d/m 2>/dev/null && { \
                echo +memory > $d/m/cgroup.subtree_control; } 2>/dev/null; then limit=memory.max; \
                peak=memory.peak; else echo no control group of memory can be had; exit 99; fi; \
                g=$d/m/osimg-test-$$; mkdir $g || exit 99; echo 268435456 > $g/$limit || { rmdir \
                $g; exit 99; }; sh -c 'echo $$ > \"$0\"/cgroup.procs && exec \"$@\"' $g \"$@\"; \
                code=$?; cat $g/$peak 2>/dev/null; for n in 1 2 3 4 5 6 7 8 9; do rmdir $g \
                2>/dev/null && break; sleep 0.2; done; exit $code"
        .replace("\\\"", "\"");
    for format in ["tgz", "txz"] {
        let out = stage.out().join(format!("image.{format}"));
        let run = stage.build_without_output(&recipe).arg("-o").arg(&out);
        let done = run.behind(&["unshare", "-m", "sh", "-c", &line, "sh"]).run();
        if done.code == Some(99) {
            println!("NOT RUN: {}", done.stdout);
            return;
        }
        println!(
            "{format}: {:?}, most memory {}",
            done.code,
            done.stdout.lines().last().unwrap_or_default()
        );
        done.does_not_report(&["panicked"]);
        stage.nothing_is_left();
        if done.code == Some(0) {
            crate::stage::sh(
                &stage.out(),
                &format!("sha256sum -c image.{format}.sha256 && test -s image.json && rm image*"),
            );
        } else {
            assert!(stage.files(&stage.out()).is_empty(), "{format}: {}", done.stderr);
        }
        match done.code {
            Some(0) => {}
            // More than is available for one job of xz.
            Some(4) if format == "txz" => {
                done.reports(&["this control group has 256 MiB", "hint: "]);
            }
            _ => panic!("{format}: {:?} {}", done.code, done.stderr),
        }
    }
}
