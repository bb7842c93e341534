//! What code of the image can do with the standard streams of `osimg shell`.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::stage::{OSIMG, Stage};
use crate::support::repo::Package;
use crate::support::require_root;

/// A kept workdir with a shell and BusyBox.
fn kept(stage: &Stage) -> PathBuf {
    let done = stage.build("install kit\nts run\n").args(&["--keep", "always"]).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let names: Vec<String> = stage.files(&stage.work()).into_keys().collect();
    let [name] = names.as_slice() else { panic!("one workdir, not {names:?}") };
    stage.work().join(name)
}

fn kit() -> Stage {
    Stage::new(|repo| repo.package(Package::named("kit").requires("shell")))
}

fn shell(workdir: &PathBuf, script: &str) -> Command {
    let mut command = Command::new(OSIMG);
    command.arg("shell").arg(workdir).args(["/bin/sh", "-c", script]);
    command
}

/// Changes whatever is behind its streams.
const ATTACK: &str = "for fd in 0 1 2; do busybox chmod 4777 /proc/self/fd/$fd; busybox chown \
                      65534:65534 /proc/self/fd/$fd; busybox truncate -s 0 /proc/self/fd/$fd; echo \
                      forged > /proc/self/fd/$fd; (cd /proc/self/fd/$fd/ && echo escaped); done; \
                      true";

#[test]
fn the_files_behind_the_streams_keep_their_mode_owner_and_content() {
    if !require_root() {
        return;
    }
    let stage = kit();
    let workdir = kept(&stage);
    let input = stage.path().join("input");
    fs::write(&input, "original\n").unwrap();
    let facts = |name: &str| {
        let found = fs::metadata(stage.path().join(name)).unwrap();
        (found.mode(), found.uid(), found.gid())
    };
    for name in ["output", "errors"] {
        fs::write(stage.path().join(name), "earlier\n").unwrap();
    }
    let before = ["input", "output", "errors"].map(facts);
    let appended = |name| OpenOptions::new().append(true).open(stage.path().join(name)).unwrap();
    let status = shell(&workdir, ATTACK)
        .stdin(File::open(&input).unwrap())
        .stdout(appended("output"))
        .stderr(appended("errors"))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(["input", "output", "errors"].map(facts), before);
    assert_eq!(fs::read_to_string(&input).unwrap(), "original\n");
    for name in ["output", "errors"] {
        let content = fs::read_to_string(stage.path().join(name)).unwrap();
        assert!(content.starts_with("earlier\n") && !content.contains("escaped"), "{content}");
    }
    // A directory as output or errors is not entered either.
    let directory = || File::open(stage.path()).unwrap();
    let listed = "for fd in 1 2; do (cd /proc/self/fd/$fd/ && echo x > escaped); done; true";
    let _ = shell(&workdir, listed).stdout(directory()).stderr(directory()).status().unwrap();
    assert!(!stage.path().join("escaped").exists());
    stage.nothing_runs();
}

/// Starts osimg on a terminal, compares mode and owner of the terminal before and after.
const ON_A_TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
master, slave = pty.openpty()
name = os.ttyname(slave)
os.fchmod(slave, 0o620)
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 41, 93, 0, 0))
facts = lambda: (os.stat(name).st_mode, os.stat(name).st_uid, os.stat(name).st_gid,
                 [v for v in termios.tcgetattr(slave) if not isinstance(v, list)])
before = facts()
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in 0, 1, 2:
        os.dup2(slave, fd)
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
while b"osimg# " not in shown:
    shown += os.read(master, 4096)
os.write(master, sys.stdin.buffer.read())
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.set_blocking(master, False)
try:
    while True:
        shown += os.read(master, 4096)
except BlockingIOError:
    pass
print(shown.decode())
assert facts() == before, (facts(), before)
sys.exit(status)
"#;

fn typed(workdir: &PathBuf, keys: &str) -> (Option<i32>, String) {
    use std::io::Write;
    let mut python = Command::new("python3")
        .args(["-c", ON_A_TERMINAL, OSIMG, "shell"])
        .arg(workdir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    let done = python.wait_with_output().unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_terminal_keeps_its_mode_and_owner_and_the_shell_gets_one_of_its_own() {
    if !require_root() {
        return;
    }
    let stage = kit();
    let workdir = kept(&stage);
    let attack = format!("{}\nbusybox stty size; busybox tty; exit 5\n", ATTACK.replace('\n', " "));
    let (code, shown) = typed(&workdir, &attack);
    assert_eq!(code, Some(5), "{shown}");
    assert!(shown.contains("41 93") && shown.contains("/dev/pts/0"), "{shown}");
    let (code, shown) = typed(&workdir, "exit\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("annot"), "a plain exit is quiet: {shown}");
    stage.nothing_runs();
}

#[test]
fn everything_is_passed_on_whatever_its_size_and_errors_of_writing_are_reported() {
    if !require_root() {
        return;
    }
    let stage = kit();
    let workdir = kept(&stage);
    let content: Vec<u8> = (0..5_000_000_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    let input = stage.path().join("input");
    fs::write(&input, &content).unwrap();
    let done = shell(&workdir, "busybox cat; busybox cat >&2 < /bin/busybox; exit 3")
        .stdin(File::open(&input).unwrap())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(3));
    assert!(done.stdout == content, "{} of {} bytes", done.stdout.len(), content.len());
    assert!(done.stderr == fs::read(workdir.join("root/bin/busybox")).unwrap());
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = shell(&workdir, "echo lost").stdout(full).output().unwrap();
    assert_ne!(done.status.code(), Some(0));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("No space left on device"), "{said}");
    // Nobody reads any more: the command gets a broken pipe, as in any pipeline.
    let mut child =
        shell(&workdir, "while :; do echo y; done").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_ne!(child.wait().unwrap().code(), Some(0));
    stage.nothing_runs();
}
