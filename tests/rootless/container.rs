//! A container's seccomp filter, like Docker's default filter for a root user without
//! CAP_SYS_ADMIN.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::require_root;
use crate::user::{Subordinate, User};
use nix::libc;

/// The variable with the command line that the helper executes.
const WORDS: &str = "OSIMG_TEST_BEHIND_A_FILTER";

/// The flags of clone(2) that make namespaces: mount, cgroup, UTS, IPC, user, pid, network.
const NAMESPACES: [u64; 7] =
    [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/// The system calls for namespaces and mounts that Docker's default profile allows only with
/// CAP_SYS_ADMIN; see <https://github.com/moby/profiles/blob/main/seccomp/default.json>.
fn filters() -> Vec<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let of = |rules: BTreeMap<i64, Vec<SeccompRule>>, answer| -> BpfProgram {
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(answer), arch)
            .unwrap()
            .try_into()
            .unwrap()
    };
    let numbers = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
    ];
    // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
    let newer = [428, 429, 430, 431, 432, 433, 442];
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
        numbers.into_iter().chain(newer).map(|call| (call, Vec::new())).collect();
    let makes = |flag| {
        let condition =
            SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
                .unwrap();
        SeccompRule::new(vec![condition]).unwrap()
    };
    denied.insert(libc::SYS_clone, NAMESPACES.map(makes).into());
    // A filter cannot see the flags of clone3.
    vec![
        of(denied, libc::EPERM.cast_unsigned()),
        of([(435, Vec::new())].into(), libc::ENOSYS.cast_unsigned()),
    ]
}

#[test]
#[ignore = "only another test runs it, in a separate process"]
fn becomes_another_program_behind_the_filter() {
    let Ok(words) = std::env::var(WORDS) else { return };
    for filter in filters() {
        seccompiler::apply_filter(&filter).unwrap();
    }
    let mut words = words.split('\n');
    panic!("{}", Command::new(words.next().unwrap()).args(words).exec());
}

#[test]
fn behind_a_container_s_filter_packages_are_contained_by_it_and_the_bytes_are_the_same() {
    if !require_root() {
        return;
    }
    let user = User::new(Subordinate::Nothing, crate::odd);
    let (image, words) =
        user.words("image", crate::RECIPE, &["--cache", user.path().join("c").to_str().unwrap()]);
    let program = user.path().join("osimg");
    let behind = |words: &[&str]| {
        let line = [&[program.to_str().unwrap()], words].concat().join("\n");
        // Docker's root has no CAP_SYS_ADMIN, and the filter depends on it.
        Command::new("setpriv")
            .args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "container::becomes_another_program_behind_the_filter",
                "--include-ignored",
                "--nocapture",
            ])
            .env(WORDS, line)
            .output()
            .unwrap()
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The full sandbox is not possible, and the message has the flags that allow it.
    let output = behind(&[&words[..], &["--isolation", "full"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    for part in [
        "making a user namespace",
        "a container's seccomp filter forbids it",
        "--security-opt seccomp=unconfined",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert!(!image.exists());
    let output = behind(&words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("isolation container"), "{stderr}");
    assert_eq!(crate::digest(&image), crate::digest(&user.build_as_root("root", crate::RECIPE)));
    // doctor tries it and reports the same.
    let output = behind(&["doctor"]);
    let stderr = String::from_utf8_lossy(&output.stdout);
    assert!(stderr.contains("--security-opt seccomp=unconfined"), "{stderr}");
}
