//! What the command in the sandbox may not do: all but nine capabilities, no new privileges, no
//! dangerous system calls.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

use super::plan::Network;
use super::tracing::{self, ChownCalls};
use crate::error::{Context, Result};

/// What installing packages takes: foreign owners, setuid files, file capabilities, chroot. No
/// mounts, no devices.
const KEPT: [Capability; 9] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// The flag of clone(2) and unshare(2) that makes a user namespace, in which all capabilities would
/// come back.
const CLONE_NEWUSER: u64 = 0x1000_0000;
/// x86_64 kernels may answer to every number with this bit set too (the x32 ABI).
const X32_BIT: i64 = 0x4000_0000;
/// The calls that the x32 ABI has under numbers of its own, ptrace and kexec_load among them; x32
/// programs cannot do without.
const X32_OWN: std::ops::RangeInclusive<i64> = 512..=547;
/// Sockets to the hypervisor belong to no network namespace.
const AF_VSOCK: u64 = 40;

/// Confines this process and all it will start; there is no way back.
pub(super) fn apply(chown: ChownCalls) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading a limit")?;
    // rpm closes every descriptor up to the soft limit before each scriptlet.
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).context("limiting open files")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbidding core dumps")?;
    drop_capabilities()?;
    nix::sys::prctl::set_no_new_privs().context("forbidding new privileges")?;
    for filter in filters(chown)? {
        seccompiler::apply_filter(&filter).context("filtering system calls")?;
    }
    Ok(())
}

fn drop_capabilities() -> Result<()> {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    for capability in caps::runtime::thread_all_supported() {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)
                .with_context(|| format!("dropping {capability} from the bounding set"))?;
        }
    }
    let held = caps::read(None, CapSet::Permitted).context("reading capabilities")?;
    let keep: CapsHashSet = held.intersection(&kept).copied().collect();
    caps::clear(None, CapSet::Ambient).context("clearing ambient capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("clearing inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &keep).context("setting effective capabilities")?;
    caps::set(None, CapSet::Permitted, &keep).context("setting permitted capabilities")
}

/// Numbers that the `libc` crate does not name everywhere; the same on x86_64 and aarch64, as all
/// newer calls are.
mod number {
    pub(super) const OPEN_TREE: i64 = 428;
    pub(super) const MOVE_MOUNT: i64 = 429;
    pub(super) const FSOPEN: i64 = 430;
    pub(super) const FSCONFIG: i64 = 431;
    pub(super) const FSMOUNT: i64 = 432;
    pub(super) const FSPICK: i64 = 433;
    pub(super) const CLONE3: i64 = 435;
    pub(super) const PIDFD_GETFD: i64 = 438;
    pub(super) const MOUNT_SETATTR: i64 = 442;
    pub(super) const QUOTACTL_FD: i64 = 443;
    pub(super) const OPEN_TREE_ATTR: i64 = 467;
}

fn filters(chown: ChownCalls) -> Result<Vec<BpfProgram>> {
    use nix::libc as c;
    let arch: TargetArch =
        std::env::consts::ARCH.try_into().context("choosing the system call filter")?;
    let denied: Vec<i64> = vec![
        c::SYS_mount,
        c::SYS_umount2,
        c::SYS_pivot_root,
        number::OPEN_TREE,
        number::MOVE_MOUNT,
        number::FSOPEN,
        number::FSCONFIG,
        number::FSMOUNT,
        number::FSPICK,
        number::MOUNT_SETATTR,
        number::OPEN_TREE_ATTR,
        // It could take pid 1's socket to the supervisor.
        number::PIDFD_GETFD,
        c::SYS_setns,
        c::SYS_bpf,
        c::SYS_perf_event_open,
        c::SYS_kexec_load,
        c::SYS_kexec_file_load,
        c::SYS_init_module,
        c::SYS_finit_module,
        c::SYS_delete_module,
        c::SYS_open_by_handle_at,
        c::SYS_add_key,
        c::SYS_keyctl,
        c::SYS_request_key,
        c::SYS_swapon,
        c::SYS_swapoff,
        c::SYS_reboot,
        c::SYS_settimeofday,
        c::SYS_clock_settime,
        c::SYS_clock_adjtime,
        c::SYS_adjtimex,
        c::SYS_quotactl,
        number::QUOTACTL_FD,
        c::SYS_io_uring_setup,
        c::SYS_io_uring_enter,
        c::SYS_io_uring_register,
        c::SYS_userfaultfd,
        c::SYS_ptrace,
        c::SYS_process_vm_readv,
        c::SYS_process_vm_writev,
        c::SYS_acct,
        c::SYS_syslog,
        c::SYS_vhangup,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        denied.into_iter().map(|call| (call, Vec::new())).collect();
    let new_user = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(CLONE_NEWUSER),
        CLONE_NEWUSER,
    )
    .context("writing the rule on user namespaces")?;
    for call in [c::SYS_unshare, c::SYS_clone] {
        rules.insert(
            call,
            vec![
                SeccompRule::new(vec![new_user.clone()])
                    .context("writing the rule on user namespaces")?,
            ],
        );
    }
    // Keys pressed for whoever owns the terminal (CVE-2017-5226). The kernel reads 32 bits of the
    // number: so must we (CVE-2019-7303).
    rules.insert(c::SYS_ioctl, vec![equals(1, c::TIOCSTI)?, equals(1, c::TIOCLINUX)?]);
    rules.insert(c::SYS_socket, vec![equals(0, AF_VSOCK)?]);
    if matches!(arch, TargetArch::x86_64) {
        // `program` adds the bit; kernels before 5.4 answered to these numbers without it too.
        rules.extend(X32_OWN.map(|call| (call, Vec::new())));
    }
    // clone3 hides its flags behind a pointer: "not implemented" makes every C library fall back to
    // clone.
    let absent: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::from([(number::CLONE3, Vec::new())]);
    let mut parts = vec![(rules, refuse(c::EPERM)?), (absent, refuse(c::ENOSYS)?)];
    let every = |calls: Vec<i64>| calls.into_iter().map(|call| (call, Vec::new())).collect();
    match chown {
        ChownCalls::Real => {}
        // No file can be given away. rpm and scriptlets are told that it was done, and the archiver
        // asks the packages' headers.
        ChownCalls::Ignored => parts.push((every(tracing::chown_calls()), refuse(0)?)),
        ChownCalls::Recorded => parts.push((every(tracing::calls()), SeccompAction::Trace(0))),
    }
    parts.into_iter().map(|(rules, answer)| program(rules, answer, arch)).collect()
}

/// What a run without namespaces may not do besides: its processes share the container's network
/// and process numbers.
pub(super) fn apply_in_container(network: Network) -> Result<()> {
    use nix::libc as c;
    let arch = std::env::consts::ARCH.try_into().context("choosing the system call filter")?;
    // Limits of other processes.
    let others = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)
        .context("writing a rule on an argument")?;
    let mut parts =
        vec![(BTreeMap::from([(c::SYS_prlimit64, vec![rule(others)?])]), refuse(c::EPERM)?)];
    if network == Network::None {
        let family = u64::from(c::AF_UNIX.cast_unsigned());
        let remote = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
            .context("writing a rule on an argument")?;
        parts.push((
            BTreeMap::from([(c::SYS_socket, vec![rule(remote)?])]),
            refuse(c::EAFNOSUPPORT)?,
        ));
    }
    for (rules, answer) in parts {
        seccompiler::apply_filter(&program(rules, answer, arch)?)
            .context("filtering system calls")?;
    }
    Ok(())
}

/// A filter whose calls by these rules are asked about; `placeholder` stands for that answer.
pub(super) fn asking(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    placeholder: u32,
) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().context("choosing the system call filter")?;
    program(rules, SeccompAction::Trace(placeholder), arch)
}

fn rule(condition: SeccompCondition) -> Result<SeccompRule> {
    SeccompRule::new(vec![condition]).context("writing a rule on an argument")
}

/// The answer `errno` instead of the call.
fn refuse(errno: i32) -> Result<SeccompAction> {
    Ok(SeccompAction::Errno(u32::try_from(errno).context("choosing the filter's answer")?))
}

/// A rule on the low 32 bits of the argument `index`.
fn equals(index: u8, value: u64) -> Result<SeccompRule> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .context("writing a rule on an argument")
}

fn program(
    mut rules: BTreeMap<i64, Vec<SeccompRule>>,
    answer: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram> {
    if matches!(arch, TargetArch::x86_64) {
        let twins: Vec<_> =
            rules.iter().map(|(call, rule)| (call | X32_BIT, rule.clone())).collect();
        rules.extend(twins);
    }
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)
        .context("building the system call filter")?;
    filter.try_into().context("compiling the system call filter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_for_this_machine() {
        for (chown, count) in
            [(ChownCalls::Real, 2), (ChownCalls::Ignored, 3), (ChownCalls::Recorded, 3)]
        {
            let filters = filters(chown).expect("filters");
            assert_eq!(filters.len(), count);
            assert!(filters.iter().all(|f| !f.is_empty()));
        }
    }
}
