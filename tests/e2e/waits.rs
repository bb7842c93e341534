//! Signals while a verb waits: for the reader of its output, or for the end of a long file.

use crate::server::hello;
use crate::stage::{OSIMG, Run, Stage, sh, wait_until};
use crate::support::{require_root, soon};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{PipeReader, PipeWriter};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SIGNALS: [(Signal, i32); 3] =
    [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)];
/// The time that any verb needs before it waits.
const LIMIT: Duration = Duration::from_secs(120);

const RECIPE: &str = "install hello\nts run\n";

/// A stage with an image and a tree.
fn image() -> Stage {
    let stage = hello();
    stage.build(RECIPE).succeeds();
    sh(stage.path(), "mkdir tree; echo text > tree/file");
    stage.write("odd.yum", "install hello\nts run\nlist hello\n");
    stage
}

/// A verb that is sure to write to both of its streams. `tag` makes its output's name unique.
fn run<'a>(stage: &'a Stage, verb: &str, tag: &str) -> Run<'a> {
    let image = stage.image().display().to_string();
    let output = format!("{tag}.tgz");
    let registry = format!("dir:{tag}");
    let settings = stage.repo().join("settings.toml").display().to_string();
    let words: &[&str] = match verb {
        "build" => {
            let recipe = stage.path().join("image.yum");
            return stage.build_without_output(&recipe).args(&["--output", &output]);
        }
        "pack" => &["tree", "--output", &output],
        "verify" | "inspect" => &[&image],
        "diff" => &[&image, &image],
        "publish" => &[&image, "--registry", &registry],
        "plan" => &["odd.yum", "--settings", &settings],
        _ => panic!("{verb}"),
    };
    stage.osimg(OSIMG, &[verb]).args(words)
}

const VERBS: [&str; 7] = ["build", "pack", "verify", "inspect", "diff", "publish", "plan"];

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(flags)).unwrap();
    (reader, writer)
}

/// Waits until the process has slept for a third of a second.
fn wait_for_sleep(child: &mut Child, what: &str) {
    let stat = format!("/proc/{}/stat", child.id());
    let mut since = (String::new(), Instant::now());
    wait_until(&format!("{what} to wait"), LIMIT, || {
        assert_eq!(child.try_wait().unwrap(), None, "{what} did not wait");
        let text = fs::read_to_string(&stat).unwrap();
        // The state and, after ten other fields, the ticks of its CPU time: proc_pid_stat(5).
        let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').take(14).collect();
        let now = format!("{} {} {}", fields[0], fields[11], fields[12]);
        if now != since.0 || !now.starts_with('S') {
            since = (now, Instant::now());
        }
        since.1.elapsed() > Duration::from_millis(333)
    });
}

/// Sends the signal. The process must end with the signal's code.
fn ends(mut child: Child, (signal, code): (Signal, i32), what: &str) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    let sent = Instant::now();
    while sent.elapsed() < soon() {
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(code), "{what}: {status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("{what}: {signal} did not end it within {:?}", soon());
}

#[test]
fn a_signal_ends_a_verb_whose_output_nobody_reads() {
    if !require_root() {
        return;
    }
    let stage = image();
    std::thread::scope(|scope| {
        for verb in VERBS {
            let stage = &stage;
            scope.spawn(move || {
                for signal in SIGNALS {
                    blocked(stage, verb, signal, true);
                    blocked(stage, verb, signal, false);
                }
            });
        }
    });
    stage.nothing_is_left();
}

/// Blocks stdout (with `--json`) or stderr, and then sends the signal.
fn blocked(stage: &Stage, verb: &str, signal: (Signal, i32), stdout: bool) {
    let tag = format!("{verb}-{stdout}-{}", signal.1);
    let log = stage.path().join(format!("{tag}.log"));
    let (_reader, writer) = full_pipe();
    let mut command = run(stage, verb, &tag).command();
    if stdout {
        command.arg("--json").stdout(writer).stderr(fs::File::create(&log).unwrap());
    } else {
        command.stdout(Stdio::null()).stderr(writer);
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let manifest = stage.path().join(format!("{tag}.json"));
    if verb == "build" && stdout {
        wait_until("the artifact", LIMIT, || manifest.exists());
    }
    wait_for_sleep(&mut child, &tag);
    ends(child, signal, &tag);
    if verb == "build" {
        assert_eq!(manifest.exists(), stdout, "{tag}");
    }
    let text = if stdout { fs::read_to_string(log).unwrap() } else { String::new() };
    assert!(!text.contains("panicked") && !text.contains("nothing was published"), "{tag}: {text}");
}

/// Larger than what any machine reads while the test runs; it has no blocks on disk.
const LARGE: &str = "truncate -s 4T large";

#[test]
fn a_signal_ends_a_verb_that_reads_a_large_file() {
    if !require_root() {
        return;
    }
    let stage = image();
    sh(stage.path(), LARGE);
    let settings = fs::read_to_string(stage.repo().join("settings.toml")).unwrap();
    let script = "[[script]]\nname = \"s\"\nrun = \"true\"\nfiles = [\"../large\"]\n";
    fs::write(stage.repo().join("settings.toml"), format!("{settings}\n{script}")).unwrap();
    let unfit = run(&stage, "publish", "published").run().stderr;
    let allow = unfit.split("to let it pass as it is: ").nth(1).unwrap().lines().next().unwrap();
    let allow: Vec<&str> = allow.split(' ').collect();
    for signal in SIGNALS {
        for (what, run) in [
            ("plan", run(&stage, "plan", "plan").arg("--json")),
            ("build", run(&stage, "build", "built")),
            (
                "publish",
                run(&stage, "publish", "published")
                    .args(&["--kernel", "large", "--ramdisk", "large"])
                    .args(&allow),
            ),
        ] {
            let log = fs::File::create(stage.path().join("log")).unwrap();
            let mut child = run.command().stdout(Stdio::null()).stderr(log).spawn().unwrap();
            let large = stage.path().join("large");
            wait_until(&format!("{what} to read"), LIMIT, || {
                let ended = child.try_wait().unwrap();
                let log = || fs::read_to_string(stage.path().join("log")).unwrap();
                assert_eq!(ended, None, "{what}: {}", log());
                has_open(&child, &large)
            });
            ends(child, signal, what);
        }
    }
    stage.nothing_is_left();
}

/// Whether the process has the file open.
fn has_open(child: &Child, file: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
    open.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file))
}
