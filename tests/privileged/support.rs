//! Workdirs, plans and probes for the privileged tests.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use super::shared::{require_root, soon};
use osimg::error::Result;
use osimg::process::CommandLine;
use osimg::sandbox::{
    Devices, Isolation, Limits, Network, Outcome, Plan, Sandbox, Stream, Terminal, ToolRoot, View,
};

/// The program under test.
pub const OSIMG: &str = env!("CARGO_BIN_EXE_osimg");

/// A program of the host. Tests may start any.
#[expect(clippy::disallowed_methods, reason = "tests drive the program and independent tools")]
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

/// A workdir as the program makes it: `root` and `scratch`.
pub struct Workdir {
    dir: tempfile::TempDir,
}

impl Workdir {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("osimg-privileged-")
            .tempdir_in("/var/tmp")
            .expect("a workdir");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
        for name in ["root", "scratch"] {
            std::fs::create_dir(dir.path().join(name)).expect(name);
        }
        // The mark by which osimg knows its workdirs: the directory's inode.
        let inode = std::os::unix::fs::MetadataExt::ino(&dir.path().metadata().expect("a workdir"));
        std::fs::write(dir.path().join(".osimg-workdir"), inode.to_string()).expect("a mark");
        // As of a kept workdir: other builds do not remove it.
        std::fs::write(dir.path().join("kept"), "").expect("a mark");
        Self { dir }
    }

    /// With the named programs of the host, their libraries and a shell in the install root.
    pub fn with_programs(names: &[&str]) -> Self {
        let workdir = Self::new();
        for name in names.iter().chain(&["sh"]) {
            let path = osimg::process::find_program(name)
                .unwrap_or_else(|| panic!("the host has no {name}"));
            workdir.copy(&path, Path::new("bin").join(name).as_path());
            let listed = program("ldd").arg(&path).output().expect("ldd");
            for word in String::from_utf8_lossy(&listed.stdout)
                .split_whitespace()
                .filter(|w| w.starts_with('/'))
            {
                workdir.copy(Path::new(word), Path::new(word.trim_start_matches('/')));
            }
        }
        workdir
    }

    #[expect(clippy::disallowed_methods, reason = "no signal is expected here")]
    fn copy(&self, from: &Path, to: &Path) {
        let target = self.root().join(to);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("directory");
        std::fs::copy(from, &target).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A plan with the view of the tools.
    pub fn plan(&self, argv: &[&str]) -> Plan {
        Plan {
            root: self.root(),
            scratch: self.dir.path().join("scratch"),
            view: View::Tools,
            network: Network::None,
            devices: Devices::Private,
            terminal: Terminal::None,
            owners: osimg::sandbox::Owners::Ignored,
            hostname: "localhost".into(),
            mounts: ToolRoot::host().mounts(Network::None),
            command: CommandLine::new(argv.iter().copied()).env("PATH", "/usr/bin:/bin"),
        }
    }

    /// A plan in which Python runs `script` after the prelude.
    pub fn python(&self, script: &str) -> Plan {
        self.plan(&["/usr/bin/python3", "-I", "-B", "-c", &format!("{PRELUDE}\n{script}")])
    }

    /// Runs the script with the view of the tools. It must succeed. Returns its output lines.
    pub fn probe(&self, script: &str) -> Vec<String> {
        let ended = run(&self.python(script), seconds(60));
        let outcome = ended.outcome.expect("the sandbox runs");
        assert!(
            outcome.success(),
            "{}: {}\n{}",
            outcome.describe(),
            ended.out.join("\n"),
            ended.err.join("\n")
        );
        ended.out
    }
}

/// Shared code of the Python probes: raw system calls, and the result of each attempt.
const PRELUDE: &str = r#"
import ctypes, errno, os, platform, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
def syscall(number, *args):
    ctypes.set_errno(0)
    words = [a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in args]
    answer = libc.syscall(ctypes.c_long(number), *words)
    return errno.errorcode.get(ctypes.get_errno(), ctypes.get_errno()) if answer == -1 else "DONE"
def attempt(what):
    try:
        what()
        return "DONE"
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
"#;

/// A run that has ended: its outcome, and every line of its output.
pub struct Ended {
    pub outcome: Result<Outcome>,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

/// Runs the plan with the stages of the real program.
pub fn run(plan: &Plan, limits: Limits) -> Ended {
    run_with(Isolation::Full, plan, limits)
}

/// The same with a weaker isolation.
pub fn run_with(isolation: Isolation, plan: &Plan, limits: Limits) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let sandbox = Sandbox::with_program(OSIMG).with_isolation(isolation);
    let outcome = sandbox.run(plan, limits, &mut |stream, line| {
        match stream {
            Stream::Out => out.push(line.to_owned()),
            Stream::Err => err.push(line.to_owned()),
        }
        Ok(())
    });
    Ended { outcome, out, err }
}

pub fn seconds(total: u64) -> Limits {
    Limits { total: Some(Duration::from_secs(total)), idle: None }
}

/// Asserts that each line of a probe is `name answer` with one of the answers.
pub fn assert_all(lines: &[String], answers: &[&str], at_least: usize) {
    assert!(lines.len() >= at_least, "only {} attempts: {lines:?}", lines.len());
    let other: Vec<_> = lines
        .iter()
        .filter(|line| !line.rsplit_once(' ').is_some_and(|(_, answer)| answers.contains(&answer)))
        .collect();
    assert!(other.is_empty(), "{other:?}");
}

/// The mount table of this thread.
pub fn mount_table() -> String {
    std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo")
}

/// Names, kinds, modes, owners, sizes and link targets below `directory`, to find out whether
/// anything was changed.
pub fn fingerprint(directory: &Path, depth: usize) -> BTreeMap<PathBuf, String> {
    walkdir::WalkDir::new(directory)
        .max_depth(depth)
        .same_file_system(true)
        .into_iter()
        .filter_map(std::result::Result::ok)
        .filter_map(|entry| {
            let meta = entry.path().symlink_metadata().ok()?;
            let link = std::fs::read_link(entry.path()).unwrap_or_default();
            Some((
                entry.path().to_owned(),
                format!(
                    "{:o} {}:{} {} {} {}",
                    meta.mode(),
                    meta.uid(),
                    meta.gid(),
                    meta.rdev(),
                    if meta.is_file() { meta.size() } else { 0 },
                    link.display()
                ),
            ))
        })
        .collect()
}

/// Runs `body` in a thread with a new mount namespace and the given propagation of mounts.
pub fn in_mount_namespace<T: Send>(
    propagation: nix::mount::MsFlags,
    body: impl FnOnce() -> T + Send,
) -> T {
    let apart = || {
        #[expect(
            clippy::disallowed_methods,
            reason = "the thread's own namespace, which ends with it"
        )]
        {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            for flags in [nix::mount::MsFlags::MS_PRIVATE, propagation] {
                nix::mount::mount(
                    None::<&str>,
                    "/",
                    None::<&str>,
                    nix::mount::MsFlags::MS_REC | flags,
                    None::<&str>,
                )
                .expect("propagation");
            }
        }
        body()
    };
    std::thread::scope(|scope| scope.spawn(apart).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Mounts inside [`in_mount_namespace`].
pub fn mount(source: &str, target: &Path, kind: &str, flags: nix::mount::MsFlags) {
    assert_ne!(
        std::fs::read_link("/proc/thread-self/ns/mnt").expect("namespace"),
        std::fs::read_link(format!("/proc/{}/ns/mnt", std::os::unix::process::parent_id()))
            .expect("the parent's namespace"),
        "tests never mount in the host's namespace"
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread's own namespace, which ends with it"
    )]
    nix::mount::mount(Some(source), target, Some(kind), flags, None::<&str>).expect("mounting");
}

/// A copy of the program with a unique name, so that its processes can be distinguished from those
/// of other tests.
pub struct NamedCopy {
    pub program: PathBuf,
    _dir: tempfile::TempDir,
}

impl NamedCopy {
    #[expect(clippy::disallowed_methods, reason = "no signal is expected here")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("osimg-copy-")
            .tempdir_in("/var/tmp")
            .expect("a directory");
        let program = dir.path().join("osimg");
        std::fs::copy(OSIMG, &program).expect("a copy of osimg");
        Self { program, _dir: dir }
    }

    /// The processes that run this copy or name `marker` in their arguments.
    pub fn processes(&self, marker: &str) -> Vec<(i32, String)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            let ours =
                std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == self.program);
            if ours || arguments.contains(marker) {
                found.push((pid, arguments));
            }
        }
        found
    }

    /// Waits until none of its processes runs, and returns the time that it took.
    pub fn wait_gone(&self, marker: &str, limit: Duration) -> Duration {
        let began = std::time::Instant::now();
        loop {
            let left = self.processes(marker);
            if left.is_empty() {
                return began.elapsed();
            }
            assert!(began.elapsed() < limit, "still running after {limit:?}: {left:?}");
            std::thread::yield_now();
        }
    }

    /// `osimg shell` on the workdir, with its output in pipes.
    pub fn shell(&self, workdir: &Workdir, argv: &[&str]) -> Command {
        let mut command = program(&self.program);
        command
            .arg("shell")
            .arg(workdir.path())
            .args(argv)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}
