//! Builds that a user interrupts, and concurrent builds.

use crate::server::hello;
use crate::server::{Answer, Server};
use crate::settings::authority;
use crate::stage::{Done, Stage, sh, wait_until};
use crate::support::repo::{Package, When};
use crate::support::{require_root, soon};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

/// A stage with the package `slow`, whose scriptlet sleeps.
fn slow() -> Stage {
    Stage::new(|repo| {
        repo.package(
            Package::named("slow")
                .scriptlet(When::Post, "trap '' INT TERM HUP; sleep 7654321; sleep 7654322"),
        )
    })
}

#[test]
fn an_interrupt_during_the_download_ends_the_build_at_once() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let server = Server::start(stage.repo(), |path, _| {
        if path.contains("hello") { Answer::Stall } else { Answer::File }
    });
    stage.settings(|settings| settings.baseurl = server.url());
    let started = stage.build("install hello\nts run\n").start();
    server.wait_for("hello-1.0");
    started.interrupt(Signal::SIGINT, 130, soon()).reports(&["SIGINT"]);
}

#[test]
fn an_interrupt_between_two_attempts_ends_the_build_at_once() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let server = Server::start(stage.repo(), |_, _| Answer::Status(503));
    stage.settings(|settings| settings.baseurl = server.url());
    let started = stage.build("install hello\nts run\n").start();
    server.wait_for("repomd");
    started.interrupt(Signal::SIGINT, 130, soon());
}

#[test]
fn an_interrupt_during_a_scriptlet_that_ignores_it_ends_the_build_at_once() {
    if !require_root() {
        return;
    }
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let stage = slow();
        let started = stage.build("install slow\nts run\n").start();
        stage.wait_for_process("sleep 7654321");
        started.interrupt(signal, code, soon()).reports(&["stopped by"]);
    }
}

#[test]
fn a_second_interrupt_ends_the_program_too() {
    if !require_root() {
        return;
    }
    let stage = slow();
    let started = stage.build("install slow\nts run\n").start();
    stage.wait_for_process("sleep 7654321");
    started.signal(Signal::SIGINT);
    started.signal(Signal::SIGINT);
    let done = started.wait();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    stage.nothing_runs();
    stage.nothing_is_mounted();
}

#[test]
fn an_interrupt_while_packing_leaves_no_file() {
    if !require_root() {
        return;
    }
    let content: Vec<u8> =
        (0..8_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let stage = Stage::new(|repo| {
        repo.package(Package::named("large").requires_first("base").file(
            "/usr/large",
            content,
            0o644,
            "root:root",
        ))
    });
    let recipe = stage.recipe("install large\nts run\n");
    let mut started = stage
        .build_without_output(&recipe)
        .arg("-o")
        .arg(stage.out().join("image.txz"))
        .args(&["--level", "best", "-j", "1"])
        .start();
    started.wait_for_line("finishing the tree");
    started.interrupt(Signal::SIGINT, 130, soon());
}

#[test]
fn an_interrupt_while_a_program_of_the_image_runs_ends_the_build_at_once() {
    if !require_root() {
        return;
    }
    let program = "#!/bin/sh\ntrap '' INT TERM HUP\nsleep 7654323\nsleep 7654324\n";
    let stage = Stage::new(|repo| {
        repo.package(Package::named("ca-certificates").requires("shell").file(
            "/usr/bin/update-ca-trust",
            program,
            0o755,
            "root:root",
        ))
    });
    authority(&stage);
    stage.settings(|settings| {
        settings.rest = "[customizations.cacerts]\nfiles = [\"authority.pem\"]".into()
    });
    let started = stage.build("install ca-certificates\nts run\n").start();
    stage.wait_for_process("sleep 7654323");
    started.interrupt(Signal::SIGINT, 130, soon()).reports(&["stopped by"]);
}

#[test]
fn the_workdir_is_removed_even_if_an_interrupted_process_writes_to_it_until_it_ends() {
    if !require_root() {
        return;
    }
    let writer = "(trap '' INT TERM HUP; i=0; while :; do mkdir -p /var/w/$$/$i; echo x > \
                  /var/w/$$/$i/file; i=$((i+1)); done) >/dev/null 2>&1 &\n";
    let stage = Stage::new(|repo| {
        repo.package(Package::named("writer").scriptlet(
            When::Post,
            &format!("{}trap '' INT TERM HUP; sleep 7654321\n", writer.repeat(6)),
        ))
    });
    for _ in 0..5 {
        let started = stage.build("install writer\nts run\n").start();
        stage.wait_for_process("sleep 7654321");
        started
            .interrupt(Signal::SIGINT, 130, Duration::from_secs(10))
            .does_not_report(&["the workdir stays"]);
        stage.nothing_is_left();
    }
}

/// Runs a build that gets SIGINT at its `nth` call of `call`; `None` if it makes fewer calls.
fn interrupted_at(stage: &Stage, call: &str, nth: usize) -> Option<Done> {
    let log = stage.path().join("strace.log");
    let (trace, inject) =
        (format!("trace={call}"), format!("inject={call}:signal=SIGINT:when={nth}"));
    // Without -f: only calls of the program itself count, not those in the sandbox.
    let strace = ["strace", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
    let done = stage.build("install hello\nts run\n").behind(&strace).run();
    fs::read_to_string(log).unwrap().contains("--- SIGINT").then_some(done)
}

#[test]
fn an_interrupt_while_publishing_leaves_all_or_nothing() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let (mut undone, mut whole) = (0, 0);
    // At every call that syncs content, and at every call that gives a file its name.
    for call in ["fsync", "linkat", "rename"] {
        for nth in 1.. {
            sh(&stage.out(), "rm -f image.*");
            let Some(done) = interrupted_at(&stage, call, nth) else { break };
            // Shown if the test fails.
            eprintln!("{call} {nth}: {:?}\n{}", done.code, done.stderr);
            stage.nothing_is_left();
            let files = stage.files(&stage.out());
            match done.code {
                Some(130) => {
                    assert!(
                        files.is_empty(),
                        "{call} {nth}: nothing was published, but there are {:?}\n{}",
                        files.keys(),
                        done.stderr
                    );
                    undone += 1;
                }
                Some(0) => {
                    sh(
                        &stage.out(),
                        "test -s image.json && sha256sum -c *.sha256 && sha512sum -c *.sha512 && \
                         gzip -t image.tgz",
                    );
                    whole += 1;
                }
                code => panic!("{call} {nth}: {code:?}\n{}", done.stderr),
            }
        }
    }
    assert!(
        undone > 0 && whole > 0,
        "{undone} undone, {whole} whole: both sides of the commit point must be hit"
    );
}

#[test]
fn a_second_build_of_the_same_output_is_refused() {
    if !require_root() {
        return;
    }
    let stage = slow();
    let first = stage.build("install slow\nts run\n").start();
    stage.wait_for_process("sleep 7654321");
    let second = stage.build("install base\nts run\n").run();
    assert_eq!(second.code, Some(11), "{}", second.stderr);
    second.reports(&["another build", "hint: "]);
    first.signal(Signal::SIGINT);
    assert_eq!(first.wait().code, Some(130));
    stage.nothing_is_left();
    assert!(stage.files(&stage.out()).is_empty(), "the lock is removed with its build");
    stage.build("install base\nts run\n").succeeds();
}

#[test]
fn two_builds_with_one_cache_take_turns_and_both_succeed() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    let recipe = stage.recipe("install hello\nts run\n");
    let start = |name: &str| {
        stage.build_without_output(&recipe).arg("-o").arg(stage.out().join(name)).start()
    };
    let (a, b) = (start("a.tgz"), start("b.tgz"));
    let (a, b) = (a.wait(), b.wait());
    assert_eq!((a.code, b.code), (Some(0), Some(0)), "{}\n{}", a.stderr, b.stderr);
    assert_eq!(
        fs::read(stage.out().join("a.tgz")).unwrap(),
        fs::read(stage.out().join("b.tgz")).unwrap()
    );
    assert_eq!(
        server.requests().iter().filter(|path| path.contains("hello-1.0")).count(),
        1,
        "a package is downloaded once"
    );
    stage.nothing_is_left();
}

#[test]
fn a_closed_stdout_does_not_remove_the_artifact() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let done =
        stage.build("install hello\nts run\n").behind(&["sh", "-c", "\"$@\" | true", "sh"]).run();
    done.does_not_report(&["panicked"]);
    wait_until("the artifact", Duration::from_secs(20), || stage.out().join("image.json").exists());
    stage.nothing_is_left();
}
