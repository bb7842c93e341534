//! /dev, /proc and /sys: what exists, what is hidden, and that those of the host do not change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::support::*;
use osimg::sandbox::Devices;

#[test]
fn dev_holds_exactly_the_named_nodes_and_they_work() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let lines = workdir.probe(
        r#"
for name in sorted(os.listdir("/dev")):
    s = os.lstat("/dev/" + name)
    what = (os.readlink("/dev/" + name) if stat.S_ISLNK(s.st_mode)
            else "%d:%d" % (os.major(s.st_rdev), os.minor(s.st_rdev)) if stat.S_ISCHR(s.st_mode)
            else "directory" if stat.S_ISDIR(s.st_mode) else "?")
    print(name, what)
open("/dev/null", "w").write("gone")
print(open("/dev/zero", "rb").read(2) == b"\0\0", len(open("/dev/urandom", "rb").read(8)))
print(attempt(lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x")),
      attempt(lambda: os.open("/dev/tty", os.O_RDWR)))
master, slave = os.openpty()
print(os.ttyname(slave), sorted(os.listdir("/dev/pts")))
"#,
    );
    let expected = [
        "fd /proc/self/fd",
        "full 1:7",
        "null 1:3",
        "ptmx pts/ptmx",
        "pts directory",
        "random 1:8",
        "shm directory",
        "stderr /proc/self/fd/2",
        "stdin /proc/self/fd/0",
        "stdout /proc/self/fd/1",
        "tty 5:0",
        "urandom 1:9",
        "zero 1:5",
        "True 8",
        "ENOSPC ENXIO",
        "/dev/pts/0 ['0', 'ptmx']",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn modes_and_owners_of_the_host_s_devices_cannot_be_changed() {
    if !require_root() {
        return;
    }
    let state = || {
        ["null", "zero", "tty"].map(|name| {
            Path::new("/dev")
                .join(name)
                .metadata()
                .map(|m| (m.mode(), m.uid(), m.ctime(), m.ctime_nsec()))
                .expect(name)
        })
    };
    let before = state();
    let lines = Workdir::new().probe(
        r#"
for name in ("null", "zero", "tty"):
    path = "/dev/" + name
    print("chmod", attempt(lambda: os.chmod(path, 0)))
    print("chown", attempt(lambda: os.chown(path, 1, 1)))
    print("unlink", attempt(lambda: os.unlink(path)))
    print("xattr", attempt(lambda: os.setxattr(path, "security.evil", b"1")))
"#,
    );
    assert_all(&lines, &["EROFS", "EBUSY", "EPERM", "EOPNOTSUPP"], 12);
    assert_eq!(before, state());
}

#[test]
fn files_of_the_host_in_proc_and_sys_cannot_be_written() {
    if !require_root() {
        return;
    }
    let lines = Workdir::new().probe(
        r#"
hidden = ("kcore", "keys", "key-users", "timer_list", "sysrq-trigger", "kmsg",
          "kpagecount", "kpageflags", "kpagecgroup")
for name in hidden:
    if os.path.exists("/proc/" + name):
        s = os.stat("/proc/" + name)
        null = stat.S_ISCHR(s.st_mode) and s.st_rdev == os.makedev(1, 3)
        print("hidden", name, "EROFS" if null else "REAL")
for path in ("/proc/sys/kernel/sysrq", "/proc/sys/kernel/core_pattern",
             "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
             "/proc/sys/net/ipv4/ip_forward", "/proc/irq/default_smp_affinity",
             "/proc/mtrr", "/proc/dynamic_debug/control", "/proc/pressure/cpu",
             "/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled",
             "/sys/module/printk/parameters/time", "/sys/kernel/uevent_helper",
             "/proc/sys/kernel/pid_max"):
    if os.path.exists(path):
        print(path, attempt(lambda: os.open(path, os.O_WRONLY)))
        print(path, "chmod", attempt(lambda: os.chmod(path, 0o600)))
# Every other file of /proc, which belongs to no process: none may be writable.
for top, directories, files in os.walk("/proc"):
    if top == "/proc":
        own = ("self", "thread-self")
        directories[:] = [f for f in directories if not f.isdigit() and f not in own]
    for name in files:
        path = os.path.join(top, name)
        s = os.lstat(path)
        write = lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        if stat.S_ISREG(s.st_mode) and s.st_mode & 0o222 and attempt(write) == "DONE":
            print(path, "WRITABLE")
"#,
    );
    assert_all(&lines, &["EROFS", "EACCES", "EPERM"], 15);
}

/// Finds a block device, an id or hardware of the machine, in any place and by any name.
const SEARCH: &str = r#"
print("command line", "HIDDEN" if open("/proc/cmdline").read() == "ro\n" else "SEEN")
for path in ("/sys/firmware", "/sys/block", "/sys/class/block", "/sys/class/dmi",
             "/sys/class/nvme", "/sys/dev/block", "/sys/devices/virtual/dmi"):
    print(path, "SEEN" if os.path.isdir(path) and os.listdir(path) else "HIDDEN")
for top, directories, files in os.walk("/sys/devices"):
    for name in files:
        if name in ("product_uuid", "product_serial", "board_serial", "modalias", "vendor"):
            print(os.path.join(top, name), "HIDDEN" if "/system/" in top else "SEEN")
for top, directories, files in os.walk("/dev"):
    for name in files:
        if stat.S_ISBLK(os.lstat(os.path.join(top, name)).st_mode):
            print(os.path.join(top, name), "SEEN")
"#;

#[test]
fn disks_firmware_and_command_line_of_the_machine_are_not_visible() {
    if !require_root() {
        return;
    }
    assert_all(&Workdir::new().probe(SEARCH), &["HIDDEN"], 8);
    let mut found = Workdir::new().probe("print(*os.listdir('/sys/class/net'))");
    found.extend(Workdir::new().probe("print(os.path.isdir('/sys/devices/system/cpu'))"));
    assert_eq!(found, ["lo", "True"]);
}

#[test]
fn the_host_s_mounts_and_api_directories_are_the_same_before_and_after() {
    if !require_root() {
        return;
    }
    // Other tests make and remove files in the meantime, but none below these directories.
    let state = || {
        (
            mount_table(),
            ["/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run"]
                .map(|p| Path::new(p).metadata().map(|m| (m.mode(), m.uid(), m.dev())).ok()),
            fingerprint(Path::new("/dev"), 1),
        )
    };
    let before = state();
    for devices in [Devices::Private, Devices::Host] {
        let workdir = Workdir::new();
        let mut plan = workdir.python("print(len(os.listdir('/dev')))");
        plan.devices = devices;
        let ended = run(&plan, seconds(60));
        assert!(ended.outcome.expect("the sandbox runs").success(), "{:?}", ended.err);
    }
    let after = state();
    assert_eq!(before.0, after.0);
    assert_eq!(before.1, after.1);
    assert_eq!(before.2, after.2);
}

#[test]
fn dev_host_shows_the_host_s_devices() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let mut plan = workdir.python("print(*sorted(os.listdir('/dev')), sep='\\n')");
    plan.devices = Devices::Host;
    let ended = run(&plan, seconds(60));
    assert!(ended.outcome.expect("the sandbox runs").success());
    let mut host: Vec<String> = std::fs::read_dir("/dev")
        .expect("dev")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    host.sort();
    assert_eq!(ended.out, host);
}
