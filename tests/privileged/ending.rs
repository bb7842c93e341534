//! How runs end: leftover processes, floods of output, limits, signals, and kills at any moment.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use super::support::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use osimg::error::{ExitCode, exit_code};
use osimg::sandbox::Limits;

#[test]
fn a_daemon_that_ignores_signals_and_holds_the_output_open_is_ended_and_named() {
    if !require_root() {
        return;
    }
    let copy = NamedCopy::new();
    let workdir = Workdir::new();
    let script = r#"
import signal, time
marker = "osimg-stray-daemon-3141"
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        open("/proc/self/comm", "w").write("stray-daemon")
        os.write(writer, b"x")
        time.sleep(1000)
    os._exit(0)
os.read(reader, 1)
print("done")
"#;
    let ended = run(&workdir.python(script), seconds(30));
    let outcome = ended.outcome.expect("the command ended by itself");
    assert_eq!(
        (outcome.code, outcome.strays.as_slice()),
        (Some(0), ["stray-daemon".to_owned()].as_slice())
    );
    copy.wait_gone("osimg-stray-daemon-3141", soon());
}

/// The peak memory of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let kib = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .and_then(|n| n.trim().parse::<u64>().ok());
    kib.expect("VmHWM") << 10
}

#[test]
fn a_flood_of_output_does_not_fill_the_supervisor_s_memory() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    for (what, script) in [
        ("lines", "for _ in range(3200): os.write(1, (b'x' * 1023 + b'\\n') * 64)"),
        ("one line", "for _ in range(3200): os.write(1, b'x' * 65536)"),
    ] {
        let before = peak();
        let (mut bytes, mut longest) = (0usize, 0usize);
        let outcome = osimg::sandbox::Sandbox::with_program(OSIMG).run::<anyhow::Error>(
            &workdir.python(script),
            seconds(60),
            &mut |_, line| {
                bytes += line.len();
                longest = longest.max(line.len());
                Ok(())
            },
        );
        assert!(outcome.expect("it ends").success(), "{what}");
        assert!(longest <= 1 << 20, "{what}: a line of {longest} bytes");
        assert!(bytes >= 1 << 20, "{what}: only {bytes} bytes came");
        // Of 200 MB; other tests of this process also contribute.
        assert!(peak() - before < 64 << 20, "{what}: {} bytes more", peak() - before);
    }
}

#[test]
fn limits_end_a_command_that_ignores_every_signal() {
    if !require_root() {
        return;
    }
    let silent = "import signal, time\nfor number in range(1, 32):\n  attempt(lambda: \
                  signal.signal(number, signal.SIG_IGN))\ntime.sleep(1000)";
    let chatty = "import time\nwhile True:\n  print('working', flush=True); time.sleep(0.05)";
    let limit = Duration::from_secs(1);
    let cases = [
        (
            "total",
            silent,
            Limits { total: Some(limit), idle: None },
            "the time limit of 1 s passed",
        ),
        (
            "total, while it prints",
            chatty,
            Limits { total: Some(limit), idle: None },
            "the time limit of 1 s passed",
        ),
        (
            "idle",
            silent,
            Limits { total: Some(Duration::from_secs(60)), idle: Some(limit) },
            "the limit on silence of 1 s passed",
        ),
    ];
    for (name, script, limits, message) in cases {
        let workdir = Workdir::new();
        let began = Instant::now();
        let error = run(&workdir.python(script), limits).outcome.expect_err(name);
        assert!(began.elapsed() < limit + soon(), "{name}: {:?}", began.elapsed());
        assert_eq!(
            (exit_code(&error), exit_code(&error) as i32),
            (ExitCode::TimedOut, 124),
            "{name}"
        );
        assert!(error.to_string().contains(message), "{name}: {error}");
    }
}

#[test]
fn a_command_that_prints_is_not_idle() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let limits =
        Limits { total: Some(Duration::from_secs(60)), idle: Some(Duration::from_secs(2)) };
    let ended = run(
        &workdir.python(
            "import time\nfor _ in range(8):\n  print('working', flush=True); time.sleep(0.4)",
        ),
        limits,
    );
    assert!(ended.outcome.expect("not ended by the limit").success());
}

/// Starts `osimg shell` with a command that ignores signals, and waits for its first line.
fn endless(copy: &NamedCopy, workdir: &Workdir, marker: &str) -> Child {
    let script =
        format!("trap '' TERM INT HUP; echo ready; while :; do sleep 1000; done # {marker}");
    let mut child = copy.shell(workdir, &["/bin/sh", "-c", &script]).spawn().expect("osimg");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("stdout"))
        .read_line(&mut line)
        .expect("the first line");
    if line != "ready\n" {
        let output = child.wait_with_output().expect("output");
        panic!("{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    child
}

#[test]
fn sigint_sigterm_and_sighup_end_everything_soon() {
    if !require_root() {
        return;
    }
    let (copy, workdir) = (NamedCopy::new(), Workdir::with_programs(&["sleep"]));
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let marker = format!("osimg-signal-{code}");
        let mut child = endless(&copy, &workdir, &marker);
        assert!(copy.processes(&marker).len() >= 4, "osimg, two stages and the command run");
        let began = Instant::now();
        kill(Pid::from_raw(i32::try_from(child.id()).expect("pid")), signal).expect("kill");
        assert_eq!(child.wait().expect("wait").code(), Some(code), "{signal}");
        copy.wait_gone(&marker, soon().saturating_sub(began.elapsed()));
    }
}

/// Pseudo-random moments, the same in every run; Knuth's generator.
struct RandomMoments(u64);

impl RandomMoments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn kill_9_of_osimg_or_a_stage_at_any_moment_leaves_no_process_and_no_mount() {
    if !require_root() {
        return;
    }
    let (copy, workdir) = (NamedCopy::new(), Workdir::with_programs(&["sleep"]));
    let before = mount_table();
    let mut moments = RandomMoments(20_261_122);
    for run in 0..30 {
        let marker = format!("osimg-kill-{run}");
        let script = format!("trap '' TERM INT HUP; sleep 1000 & sleep 1000 # {marker}");
        let mut child = copy.shell(&workdir, &["/bin/sh", "-c", &script]).spawn().expect("osimg");
        let victim = ["osimg shell", "stage namespaces", "stage pid1"][run % 3];
        let pause = Duration::from_micros(moments.next(60_000));
        let began = Instant::now();
        // Kill a stage as soon as it exists and the moment has come.
        let pid = loop {
            let found = copy.processes(&marker).into_iter().find(|(_, arguments)| {
                arguments.split(" /bin/sh").next().is_some_and(|head| head.contains(victim))
            });
            match found {
                Some((pid, _)) if began.elapsed() >= pause => break pid,
                _ => assert!(began.elapsed() < Duration::from_secs(10), "{victim} never came"),
            }
        };
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
        let status = child.wait().expect("wait");
        assert!(!status.success(), "run {run}, {victim} after {pause:?}");
        copy.wait_gone(&marker, soon());
    }
    assert_eq!(before, mount_table());
}
