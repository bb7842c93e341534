//! What a process that may change its root reaches where the sandbox has no mounts.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::support::*;
use osimg::sandbox::Isolation;

/// Landlock's version of a kernel that can move files between directories: 2.
fn landlock() -> bool {
    let version = program("python3")
        .args(["-c", "import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))"])
        .output()
        .expect("python3");
    let known = String::from_utf8_lossy(&version.stdout).trim().parse().is_ok_and(|v: i32| v >= 6);
    if !known {
        super::shared::skip("the kernel has no Landlock of version 6");
    }
    known
}

#[test]
fn the_package_manager_writes_only_to_the_root_and_scratch_directories() {
    if !require_root() || !landlock() {
        return;
    }
    let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    std::fs::write(outside.path().join("file"), "intact").expect("a file");
    let name = format!("osimg-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let _listener = UnixListener::bind_addr(&address).expect("a socket");
    let workdir = Workdir::new();
    let script = format!(
        r#"
outside, root, scratch = {outside:?}, {root:?}, {scratch:?}
def new(path):
    with open(path, "x"):
        pass
def truncated(path):
    os.truncate(path, 0)
def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0{name}")
def tell(kind, name, what):
    print(kind, name, attempt(what))
tell("outside", "create", lambda: new(outside + "/new"))
tell("outside", "open", lambda: open(outside + "/file", "r+"))
tell("outside", "truncate", lambda: truncated(outside + "/file"))
tell("outside", "mkdir", lambda: os.mkdir(outside + "/directory"))
tell("outside", "mknod", lambda: os.mknod(outside + "/fifo", 0o600 | stat.S_IFIFO))
tell("outside", "symlink", lambda: os.symlink("x", outside + "/link"))
tell("outside", "unlink", lambda: os.unlink(outside + "/file"))
tell("outside", "rename", lambda: os.rename(outside + "/file", outside + "/other"))
tell("outside", "take", lambda: os.rename(outside + "/file", root + "/file"))
tell("outside", "link", lambda: os.link(outside + "/file", root + "/file"))
tell("outside", "signal", lambda: os.kill({pid}, 0))
tell("outside", "connect", connect)
tell("inside", "read", lambda: open(outside + "/file").read())
for directory in root, scratch:
    os.mkdir(directory + "/a")
    os.mkdir(directory + "/b")
    tell("inside", "create", lambda: new(directory + "/a/new"))
    tell("inside", "link", lambda: os.link(directory + "/a/new", directory + "/b/link"))
    tell("inside", "rename", lambda: os.rename(directory + "/a/new", directory + "/b/new"))
    tell("inside", "symlink", lambda: os.symlink("x", directory + "/link"))
tell("inside", "chroot", lambda: os.chroot(root))
"#,
        outside = outside.path(),
        root = workdir.root(),
        scratch = workdir.path().join("scratch"),
        pid = std::process::id(),
    );
    let ended = run_with(Isolation::Container, &workdir.python(&script), seconds(60));
    assert!(ended.outcome.is_ok_and(|outcome| outcome.success()), "{:?}", ended.err);
    let part = |kind: &str| -> Vec<String> {
        ended.out.iter().filter(|line| line.starts_with(kind)).cloned().collect()
    };
    assert_all(&part("outside"), &["EACCES", "EPERM", "ESRCH", "EXDEV"], 12);
    assert_all(&part("inside"), &["DONE"], 10);
    assert_eq!(std::fs::read_to_string(outside.path().join("file")).expect("the file"), "intact");
    assert_eq!(std::fs::read_dir(outside.path()).expect("the directory").count(), 1);
}
