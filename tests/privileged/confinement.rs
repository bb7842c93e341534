//! Restrictions on a command in the sandbox: capabilities, system calls, and the known escapes.

use super::support::*;

#[test]
fn the_sandbox_has_nine_capabilities_no_new_privileges_and_a_filter() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let status = workdir.probe("print(open('/proc/self/status').read())").join("\n");
    let field = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .map(str::trim)
            .unwrap_or_default()
            .to_owned()
    };
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(field(set), "00000000800400df", "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
}

#[test]
fn pid_1_is_osimg_and_processes_of_the_host_are_invisible() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let lines = workdir.probe(
        "print(' '.join(sorted(p for p in os.listdir('/proc') if \
         p.isdigit())))\nprint(open('/proc/1/cmdline').read().replace('\\0', ' \
         '))\nprint(os.getpid())",
    );
    assert_eq!(lines, ["1 2", "/proc/self/exe osimg-sandbox-stage pid1 full ", "2"]);
}

/// Python's names of system calls and their numbers on x86_64 and aarch64, with arguments that
/// would be valid.
const CALLS: &str = r#"
CLONE_NEWUSER = 0x10000000
calls = {
  "mount": (165, 40, b"none", b"/tmp", b"tmpfs", 0, 0), "umount2": (166, 39, b"/proc", 2),
  "pivot_root": (155, 41, b"/tmp", b"/tmp"),
  "open_tree": (428, 428, -100, b"/", 1), "open_tree_attr": (467, 467, -100, b"/", 1, 0, 0),
  "move_mount": (429, 429, -100, b"/", -100, b"/tmp", 0),
  "fsopen": (430, 430, b"tmpfs", 0), "fsconfig": (431, 431, 3, 0, 0, 0, 0),
  "fsmount": (432, 432, 3, 0, 0), "fspick": (433, 433, -100, b"/", 0),
  "mount_setattr": (442, 442, -100, b"/", 0, bytes(32), 32), "setns": (308, 268, 3, 0),
  "unshare(user)": (272, 97, CLONE_NEWUSER),
  "clone(user)": (56, 220, CLONE_NEWUSER | 17, 0, 0, 0, 0), "bpf": (321, 280, 0, bytes(64), 64),
  "perf_event_open": (298, 241, bytes(112), 0, -1, -1, 0),
  "kexec_load": (246, 104, 0, 0, 0, 0), "kexec_file_load": (320, 294, 0, 0, 0, b"", 0),
  "init_module": (175, 105, b"", 0, b""),
  "finit_module": (313, 273, 0, b"", 0), "delete_module": (176, 106, b"nothing", 0),
  "open_by_handle_at": (304, 265, 3, bytes(16), 0),
  "add_key": (248, 217, b"user", b"a", b"b", 1, -2),
  "request_key": (249, 218, b"user", b"a", b"", -2), "keyctl": (250, 219, 0, -3, 0, 0, 0),
  "swapon": (167, 224, b"/tmp/swap", 0), "swapoff": (168, 225, b"/tmp/swap"),
  "reboot": (169, 142, 0xfee1dead, 672274793, 0, 0),
  "settimeofday": (164, 170, bytes(16), 0), "clock_settime": (227, 112, 0, bytes(16)),
  "adjtimex": (159, 171, bytes(256)), "clock_adjtime": (305, 266, 0, bytes(256)),
  "quotactl": (179, 60, 0, b"/", 0, 0), "quotactl_fd": (443, 443, 0, 0, 0, 0),
  "io_uring_setup": (425, 425, 4, bytes(256)), "io_uring_enter": (426, 426, 0, 0, 0, 0, 0, 0),
  "io_uring_register": (427, 427, 0, 0, 0, 0), "userfaultfd": (323, 282, 0),
  "ptrace": (101, 117, 0, 0, 0, 0), "process_vm_readv": (310, 270, 1, 0, 0, 0, 0, 0),
  "process_vm_writev": (311, 271, 1, 0, 0, 0, 0, 0), "acct": (163, 89, b"/tmp/acct"),
  "syslog": (103, 116, 10, 0, 0), "vhangup": (153, 58),
  "pidfd_getfd": (438, 438, 3, 0, 0), "ioctl(TIOCSTI)": (16, 29, 0, 0x5412, b"x"),
  "ioctl(TIOCSTI, high bits)": (16, 29, 0, 0x100005412, b"x"),
  "ioctl(TIOCLINUX)": (16, 29, 0, 0x541c, b"x"), "socket(vsock)": (41, 198, 40, 1, 0),
}
"#;

#[test]
fn dangerous_system_calls_are_refused_by_both_of_their_numbers() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let lines = workdir.probe(&format!(
        r#"{CALLS}
for name, (x86, arm, *args) in calls.items():
    number = x86 if X86 else arm
    print(name, syscall(number, *args))
    if X86:
        print(name, "x32", syscall(number | 0x40000000, *args))
if X86:
    for number in range(512, 548):
        print("x32's own", number, syscall(number | 0x40000000, 0, 0, 0, 0, 0, 0))
"#
    ));
    assert_all(&lines, &["EPERM"], 40);
}

#[test]
fn clone3_is_reported_as_missing_so_that_threads_use_clone() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let lines = workdir.probe(
        "print(syscall(435, (ctypes.c_ulong * 8)(0x10000000), 64))\nimport threading\nt = \
         threading.Thread(target=print, args=('a thread runs',)); t.start(); t.join()",
    );
    assert_eq!(lines, ["ENOSYS", "a thread runs"]);
}

#[test]
fn operations_that_need_a_dropped_capability_are_refused() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let lines = workdir.probe(
        r#"
os.chdir("/tmp")
print("mknod(block)", attempt(lambda: os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))))
print("mknod(char)", attempt(lambda: os.mknod("null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))))
print("sethostname", attempt(lambda: socket.sethostname("other")))
for flag in (0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000):
    print("unshare", hex(flag), "EPERM" if libc.unshare(flag) == -1 else "DONE")
print("nice", attempt(lambda: os.nice(-5)))
print("iopl", syscall(172, 3).replace("ENOSYS", "EPERM") if X86 else "EPERM")
print("raw socket", attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
print("packet socket", attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
print("oom", attempt(lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-900")))
"#,
    );
    assert_all(&lines, &["EPERM", "EACCES"], 12);
}

#[test]
fn the_host_is_not_reachable_by_a_process_s_root_or_by_two_chroots() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let canary = workdir.path().join("canary");
    std::fs::write(&canary, "the host's").expect("canary");
    let lines = workdir.probe(&format!(
        r#"
canary = {canary:?}
for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
    for way in ("root", "cwd"):
        seen = os.path.exists("/proc/%s/%s%s" % (pid, way, canary))
        print(pid, way, "seen" if seen else "hidden")
# The usual escape: a descriptor of the old root, a chroot below, then up from the descriptor.
old = os.open("/", os.O_RDONLY)
os.mkdir("/tmp/jail"); os.chroot("/tmp/jail"); os.fchdir(old)
for _ in range(64): os.chdir("..")
os.chroot(".")
print("chroot", "seen" if os.path.exists(canary) else "hidden")
inside = os.path.isdir("/osimg-buildroot") or os.path.isdir("/buildroot")
print("top", " ".join(sorted(os.listdir("/"))), "hidden" if inside else "seen")
"#
    ));
    assert_all(&lines, &["hidden"], 6);
    assert_eq!(std::fs::read_to_string(&canary).expect("canary"), "the host's");
}

#[test]
fn pid_1_and_its_socket_to_the_supervisor_are_out_of_reach() {
    if !require_root() {
        return;
    }
    let workdir = Workdir::new();
    let lines = workdir.probe(
        r#"
for path, flags in (("/proc/1/mem", os.O_RDWR), ("/proc/1/fd/0", os.O_RDWR),
                    ("/proc/1/environ", os.O_RDONLY), ("/proc/1/maps", os.O_RDONLY)):
    print(path, attempt(lambda: os.open(path, flags)))
print("fd", attempt(lambda: os.readlink("/proc/1/fd/0")))
print("root", attempt(lambda: os.listdir("/proc/1/root")))
pidfd = os.pidfd_open(1)
print("getfd", syscall(438, pidfd, 0, 0))
"#,
    );
    assert_all(&lines, &["EPERM", "EACCES"], 7);
}

#[test]
fn a_fork_bomb_meets_a_limit_and_the_host_s_limit_is_unchanged() {
    if !require_root() {
        return;
    }
    let release =
        nix::sys::utsname::uname().expect("uname").release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(14)) {
        eprintln!(
            "SKIPPED: kernel {release} has no limit on processes that belongs to a pid namespace"
        );
        return;
    }
    let host = || std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("pid_max");
    let (before, workdir) = (host(), Workdir::new());
    let during = std::cell::RefCell::new(String::new());
    let plan = workdir.python(
        r#"
import signal
count = 0
print(open("/proc/sys/kernel/pid_max").read().strip(), flush=True)
try:
    while count < 20000:
        # The child only waits for a signal, which needs little memory.
        if os.fork() == 0:
            signal.pause()
        count += 1
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
print("bounded" if count < 8192 else "unbounded", flush=True)
os._exit(0)
"#,
    );
    let mut out = Vec::new();
    let outcome = osimg::sandbox::Sandbox::with_program(OSIMG).run::<anyhow::Error>(
        &plan,
        seconds(60),
        &mut |_, line| {
            *during.borrow_mut() = host();
            out.push(line.to_owned());
            Ok(())
        },
    );
    assert!(outcome.expect("the sandbox runs").success(), "{out:?}");
    assert_eq!(out, ["8192", "EAGAIN", "bounded"]);
    assert_eq!((before.clone(), before), (during.into_inner(), host()));
}
