//! Faults at exact system calls, full and failing file systems, a power cut, and stale locks.

use crate::stage::{Stage, sh};
use crate::support::require_root;
use crate::{RECIPE, rounds, small, some};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The system calls that give an artifact its names.
const PUBLISHING: &str = "fsync,linkat,rename,unlink,symlink";
const OLD: &str = "install one\nts run\n";

/// A stage with an earlier artifact and a copy of it, and the calls that publishing makes: the name
/// of each call, and its number among the calls of that name.
fn with_an_earlier_artifact() -> (Stage, Vec<(String, usize)>) {
    let stage = Stage::new(small);
    let log = stage.path().join("strace.log");
    let trace = format!("trace={PUBLISHING}");
    stage.build(OLD).behind(&["strace", "-o", log.to_str().unwrap(), "-e", &trace]).succeeds();
    let (mut calls, mut seen) = (Vec::new(), BTreeMap::<String, usize>::new());
    for name in
        fs::read_to_string(&log).unwrap().lines().filter_map(|line| Some(line.split_once('(')?.0))
    {
        let count = seen.entry(name.to_owned()).or_default();
        *count += 1;
        calls.push((name.to_owned(), *count));
    }
    assert!(calls.len() > 10, "{calls:?}");
    sh(stage.path(), "cp -a out old");
    (stage, calls)
}

/// Fails unless the directory contains one complete artifact, old or new, with its own manifest or
/// none.
fn is_whole(stage: &Stage, when: &str) {
    let out = stage.out();
    assert!(out.join("image.tgz").exists(), "{when}: there was an artifact before");
    sh(&out, "gzip -t image.tgz");
    if out.join("image.json").exists() {
        sh(
            &out,
            "sha256sum -c image.tgz.sha256 && sha512sum -c image.tgz.sha512 && grep -q \
             \"$(sha256sum < image.tgz | cut -c1-64)\" image.json",
        );
    }
}

#[test]
fn a_build_killed_at_any_call_of_publishing_leaves_the_old_artifact_or_the_new_one() {
    if !require_root() {
        return;
    }
    let (stage, calls) = with_an_earlier_artifact();
    for (call, nth) in some(&calls, 8) {
        sh(stage.path(), "rm -rf out; cp -a old out");
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        let done = stage.build(RECIPE).behind(&["strace", "-o", "/dev/null", "-e", &inject]).run();
        assert_ne!(done.code, Some(0), "{call} {nth}: {}", done.stderr);
        stage.nothing_runs();
        stage.nothing_is_mounted();
        is_whole(&stage, &format!("killed at {call} {nth}"));
    }
    stage.build(RECIPE).run().reports(&["publishing"]);
    sh(&stage.out(), "test -z \"$(ls -A | grep part)\" && sha256sum -c image.tgz.sha256");
}

#[test]
fn an_error_of_any_call_of_publishing_is_reported_and_keeps_the_earlier_artifact() {
    if !require_root() {
        return;
    }
    let (stage, calls) = with_an_earlier_artifact();
    let mut cases = Vec::new();
    for (call, nth) in
        calls.iter().filter(|(call, _)| ["fsync", "linkat", "rename"].contains(&call.as_str()))
    {
        cases.extend(["EIO", "ENOSPC", "EDQUOT", "EROFS"].map(|error| (call.clone(), error, *nth)));
    }
    for (call, error, nth) in some(&cases, 8) {
        sh(stage.path(), "rm -rf out; cp -a old out");
        let inject = format!("inject={call}:error={error}:when={nth}");
        let done = stage.build(RECIPE).behind(&["strace", "-o", "/dev/null", "-e", &inject]).run();
        let case = format!("{call} fails with {error} the {nth}th time");
        assert_eq!(done.code, Some(8), "{case}: {}", done.stderr);
        // Linking the cache into this build's view comes before publishing.
        let named = [stage.out(), stage.cache()]
            .iter()
            .any(|place| done.stderr.contains(&place.display().to_string()));
        assert!(named, "{case}: no path is named: {}", done.stderr);
        done.does_not_report(&["panicked"]);
        stage.nothing_is_left();
        is_whole(&stage, &case);
    }
}

#[test]
fn a_power_cut_while_publishing_leaves_the_old_artifact_or_the_new_one() {
    if !require_root() {
        return;
    }
    if !Path::new("/dev/loop-control").exists() {
        println!("NOT RUN: a power cut requires loop devices");
        return;
    }
    let (stage, calls) = with_an_earlier_artifact();
    sh(stage.path(), "truncate -s 48M disk; mkfs.ext4 -q disk; mkdir mnt");
    for (call, nth) in some(&calls, 4) {
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        // Data that was not synced before the kill is lost: not even the journal is flushed.
        let line = format!(
            "cd {0}; mount -o loop disk mnt; rm -rf mnt/image*; rm -rf out; cp -a old/. mnt; \
             sync; strace -o /dev/null -e {inject} \"$@\" || true; xfs_io -x -c shutdown mnt; \
             umount mnt; mount -o loop disk mnt; cp -a mnt out; rm -rf out/lost+found; umount mnt",
            stage.path().display()
        );
        let path = stage.recipe(RECIPE);
        let run = stage
            .build_without_output(&path)
            .arg("--output")
            .arg(stage.path().join("mnt/image.tgz"));
        let done = run.behind(&["unshare", "-m", "sh", "-ec", &line, "sh"]).run();
        assert_eq!(done.code, Some(0), "{call} {nth}: {}", done.stderr);
        is_whole(&stage, &format!("power cut at {call} {nth}"));
    }
}

/// Builds with a small or failing file system mounted on a directory of the stage. Lists the
/// files in it at the end.
fn with_mount_on(stage: &Stage, directory: &Path, options: &str) -> crate::stage::Done {
    let line = format!(
        "mount -t tmpfs -o mode=0755,{options} none {0}; if test {0} = {1}; then cp -a {2}/. {0} \
         2>/dev/null || true; fi; set +e; \"$@\"; code=$?; ls -A {0}; exit $code",
        directory.display(),
        stage.out().display(),
        stage.path().join("old").display()
    );
    stage.build(RECIPE).behind(&["unshare", "-m", "sh", "-ec", &line, "sh"]).run()
}

#[test]
fn full_disks_and_used_up_inodes_are_reported_and_nothing_incomplete_is_left() {
    if !require_root() {
        return;
    }
    let (stage, _) = with_an_earlier_artifact();
    let sizes: Vec<u32> =
        (0..20).map(|n| 16 << (n / 2) | if n % 2 == 1 { 8 << (n / 2) } else { 0 }).collect();
    let inodes: Vec<u32> = (0..20).map(|n| 12 + n * 7).collect();
    for directory in [stage.out(), stage.work(), stage.cache()] {
        let cases = some(&sizes, 3)
            .into_iter()
            .map(|kib| format!("size={kib}k"))
            .chain(some(&inodes, 2).into_iter().map(|n| format!("nr_inodes={n}")));
        for options in cases {
            let done = with_mount_on(&stage, &directory, &options);
            let case = format!("{} with {options}", directory.display());
            assert!(matches!(done.code, Some(0 | 8)), "{case}: {:?} {}", done.code, done.stderr);
            if done.code == Some(8) {
                done.reports(&["hint: "]).does_not_report(&["panicked"]);
            }
            if directory == stage.work() {
                assert!(
                    !done.stdout.lines().any(|line| line.starts_with("osimg-")),
                    "{case}: {}",
                    done.stdout
                );
            }
            assert!(!done.stdout.contains(".part"), "{case}: {}", done.stdout);
            stage.nothing_runs();
            stage.nothing_is_mounted();
            assert!(stage.files(&stage.work()).is_empty(), "{case}");
        }
    }
}

#[test]
fn an_output_that_cannot_be_written_to_is_reported_before_any_work() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    sh(stage.path(), "cp -a out old");
    let line = format!(
        "mount --bind {0} {0}; mount -o remount,bind,ro {0}; exec \"$@\"",
        stage.out().display()
    );
    let done = stage.build(RECIPE).behind(&["unshare", "-m", "sh", "-ec", &line, "sh"]).run();
    assert_eq!(done.code, Some(8), "{}", done.stderr);
    done.reports(&["out"]).does_not_report(&["installing", "panicked"]);
    stage.nothing_is_left();
}

#[test]
fn stale_lock_files_block_no_build() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    stage.build(RECIPE).succeeds();
    // Process 1 runs in every pid namespace, and numbers of dead processes are reused.
    for holder in ["1\n", "4194303\n", &format!("{}\n", std::process::id()), "not a number"] {
        fs::write(stage.out().join(".image.lock"), holder).unwrap();
        fs::write(stage.cache().join(".lock"), holder).unwrap();
        for name in ["download_lock.pid", "metadata_lock.pid", "rpmdb_lock.pid", "log_lock.pid"] {
            fs::write(stage.cache().join(name), holder).unwrap();
        }
        stage.build(RECIPE).args(&["--timeout", "60s"]).succeeds();
        assert!(!stage.out().join(".image.lock").exists());
    }
}

#[test]
fn builds_that_race_for_one_output_do_not_mix_and_the_loser_names_the_winner() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(small);
    let recipe = stage.recipe(RECIPE);
    for _ in 0..rounds(2, 50) {
        let racers: Vec<_> = (0..3).map(|_| stage.build_file(&recipe).start()).collect();
        let ended: Vec<_> = racers.into_iter().map(crate::stage::Started::wait).collect();
        let won = ended.iter().filter(|done| done.code == Some(0)).count();
        assert!(won >= 1, "{ended:?}");
        for done in ended.iter().filter(|done| done.code != Some(0)) {
            assert_eq!(done.code, Some(11), "{}", done.stderr);
            done.reports(&["is making"]);
        }
        is_whole(&stage, "after a race");
    }
    stage.nothing_is_left();
}
