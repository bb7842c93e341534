//! Signals while a client waits for a server: one signal ends it at once, with the usual exit code.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::time::Duration;

use crate::clients::{CLIENTS, Silence, command, messages, silent, stage, wait_for_end};
use crate::support::soon;

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn one_signal_ends_every_client_that_waits_for_a_silent_server() {
    for way in [Silence::Mute, Silence::Stops, Silence::Trickles] {
        // The doctor reports other failures of a login as findings.
        let doctor = ("doctor", ["doctor", "--cloud", "test"].as_slice());
        for (at, (name, arguments)) in CLIENTS.into_iter().chain([doctor]).enumerate() {
            let (signal, code) =
                [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)][at % 3];
            let (port, asked) = silent(way);
            let place = format!("127.0.0.1:{port}");
            let directory = stage("http", &place);
            let child = command(directory.path(), arguments, "http", &place).spawn().unwrap();
            asked
                .recv_timeout(Duration::from_secs(20))
                .unwrap_or_else(|_| panic!("{name}, {way:?}: it sent no request"));
            send(&child, signal);
            let (output, _) = wait_for_end(child, soon());
            assert_eq!(output.status.code(), Some(code), "{name}, {way:?}: {}", messages(&output));
            assert!(
                messages(&output).contains("stopped by SIG"),
                "{name}, {way:?}: {}",
                messages(&output)
            );
        }
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (ignored, other, code) in
        [("HUP", Signal::SIGTERM, 143), ("INT", Signal::SIGHUP, 129), ("TERM", Signal::SIGINT, 130)]
    {
        let (port, asked) = silent(Silence::Stops);
        let place = format!("127.0.0.1:{port}");
        let directory = stage("http", &place);
        let plain = command(directory.path(), CLIENTS[0].1, "http", &place);
        let mut under = std::process::Command::new("sh");
        under
            .args(["-c", &format!("trap '' {ignored}; exec \"$@\""), "sh"])
            .arg(plain.get_program())
            .args(plain.get_args());
        under.current_dir(directory.path()).stderr(std::process::Stdio::piped()).process_group(0);
        let child = under.spawn().unwrap();
        asked.recv_timeout(Duration::from_secs(20)).unwrap();
        let first: Signal = format!("SIG{ignored}").parse().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = |field: &str| {
            let text = status
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .unwrap()
                .trim_start_matches(':')
                .trim();
            u64::from_str_radix(text, 16).unwrap() >> (first as i32 - 1) & 1
        };
        assert_eq!((mask("SigIgn"), mask("SigCgt")), (1, 0), "{ignored}");
        send(&child, first);
        send(&child, other);
        let (output, _) = wait_for_end(child, soon());
        assert_eq!(output.status.code(), Some(code), "{ignored}: {}", messages(&output));
    }
}

#[test]
fn one_signal_ends_the_reading_of_a_large_file() {
    let directory = stage("http", "127.0.0.1:9");
    // One member with eight GiB of zeros. It needs no space here, and several seconds to read and
    // hash.
    let make = "truncate -s 8G big && { tar -cf - big 2>/dev/null | head -c 1M; } > big.tar && \
                truncate -s 9G big.tar && rm big && mkdir out";
    let done = std::process::Command::new("sh")
        .args(["-c", make])
        .current_dir(directory.path())
        .status()
        .unwrap();
    assert!(done.success());
    let verbs: [&[&str]; 4] = [
        &["verify", "big.tar"],
        &["inspect", "big.tar"],
        &["diff", "big.tar", "big.tar"],
        &["publish", "big.tar", "--registry", "dir:out"],
    ];
    for arguments in verbs {
        let child = command(directory.path(), arguments, "http", "").spawn().unwrap();
        let counted = format!("/proc/{}/io", child.id());
        let read = || {
            std::fs::read_to_string(&counted)
                .ok()?
                .strip_prefix("rchar: ")?
                .lines()
                .next()?
                .parse::<u64>()
                .ok()
        };
        while read().is_none_or(|bytes| bytes < 100 << 20) {
            std::thread::yield_now();
        }
        send(&child, Signal::SIGINT);
        let (output, _) = wait_for_end(child, soon());
        assert_eq!(output.status.code(), Some(130), "{arguments:?}: {}", messages(&output));
    }
}
