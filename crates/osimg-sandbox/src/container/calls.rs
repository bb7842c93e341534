//! The system calls that are answered, and where each has its path.

use nix::libc;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::collections::BTreeMap;

use crate::error::{Context, Result};

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// To open the path of this argument, with the flags of another.
    Open {
        path: usize,
        flags: Flags,
    },
    /// For its status as `struct stat`.
    Stat {
        path: usize,
        to: usize,
        links: Links,
    },
    /// For its status as `struct statx`.
    Statx,
    /// Whether it may be used.
    Access {
        path: usize,
        mode: usize,
    },
    /// Where a link leads.
    ReadLink {
        path: usize,
        to: usize,
        size: usize,
    },
    /// Which file system it is on.
    StatFs,
    /// To give another name to a file.
    Link,
    /// To set its mode.
    Mode {
        path: usize,
        mode: usize,
    },
    /// To set its owners, the arguments from `ids` on.
    Owner {
        path: usize,
        ids: usize,
    },
    /// To set its times.
    Times,
    /// For or of its extended attributes.
    SetAttribute,
    GetAttribute,
    ListAttributes,
    RemoveAttribute,
    /// To change the root.
    ChangeRoot,
    /// To send a signal to the process of the first argument, or to get a handle for that.
    Signal,
}

/// Where the flags of an open are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    Argument(usize),
    /// In the `struct open_how` at this argument.
    How(usize),
}

/// Whether a link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Kept,
    /// As the flags of this argument say.
    Flags(usize),
}

/// Numbers that the `libc` crate does not name everywhere; the same on x86_64 and aarch64.
const PIDFD_OPEN: i64 = 434;
const FACCESSAT2: i64 = 439;
const FCHMODAT2: i64 = 452;

/// The calls with a descriptor in front of the path. Only paths below the working directory, and
/// absolute ones, are asked about: with a real descriptor programs name files below it.
const AT: [(i64, Request); 12] = [
    (libc::SYS_openat, Request::Open { path: 1, flags: Flags::Argument(2) }),
    (libc::SYS_openat2, Request::Open { path: 1, flags: Flags::How(2) }),
    (libc::SYS_newfstatat, Request::Stat { path: 1, to: 2, links: Links::Flags(3) }),
    (libc::SYS_statx, Request::Statx),
    (libc::SYS_faccessat, Request::Access { path: 1, mode: 2 }),
    (FACCESSAT2, Request::Access { path: 1, mode: 2 }),
    (libc::SYS_readlinkat, Request::ReadLink { path: 1, to: 2, size: 3 }),
    (libc::SYS_linkat, Request::Link),
    (libc::SYS_fchmodat, Request::Mode { path: 1, mode: 2 }),
    (FCHMODAT2, Request::Mode { path: 1, mode: 2 }),
    (libc::SYS_fchownat, Request::Owner { path: 1, ids: 2 }),
    (libc::SYS_utimensat, Request::Times),
];

/// The calls that are always asked about.
const ALWAYS: [(i64, Request); 12] = [
    (libc::SYS_statfs, Request::StatFs),
    (libc::SYS_setxattr, Request::SetAttribute),
    (libc::SYS_getxattr, Request::GetAttribute),
    (libc::SYS_listxattr, Request::ListAttributes),
    (libc::SYS_removexattr, Request::RemoveAttribute),
    (libc::SYS_chroot, Request::ChangeRoot),
    (libc::SYS_kill, Request::Signal),
    (libc::SYS_tkill, Request::Signal),
    (libc::SYS_tgkill, Request::Signal),
    (libc::SYS_rt_sigqueueinfo, Request::Signal),
    (libc::SYS_rt_tgsigqueueinfo, Request::Signal),
    (PIDFD_OPEN, Request::Signal),
];

/// Those that only x86_64 has.
#[cfg(target_arch = "x86_64")]
const OLD: [(i64, Request); 7] = [
    (libc::SYS_open, Request::Open { path: 0, flags: Flags::Argument(1) }),
    (libc::SYS_stat, Request::Stat { path: 0, to: 1, links: Links::Followed }),
    (libc::SYS_lstat, Request::Stat { path: 0, to: 1, links: Links::Kept }),
    (libc::SYS_chmod, Request::Mode { path: 0, mode: 1 }),
    (libc::SYS_chown, Request::Owner { path: 0, ids: 1 }),
    (libc::SYS_access, Request::Access { path: 0, mode: 1 }),
    (libc::SYS_readlink, Request::ReadLink { path: 0, to: 1, size: 2 }),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: [(i64, Request); 0] = [];

impl Request {
    /// What the call of this number asks for.
    pub(super) fn from_number(number: i64) -> Option<Self> {
        let number = number & !0x4000_0000;
        AT.iter()
            .chain(&ALWAYS)
            .chain(&OLD)
            .find(|(call, _)| *call == number)
            .map(|(_, request)| *request)
    }

    /// The argument that points to its path.
    pub(super) fn path(self) -> Option<usize> {
        match self {
            Self::Mode { path, .. } | Self::Owner { path, .. } => Some(path),
            Self::Open { path, .. }
            | Self::Stat { path, .. }
            | Self::Access { path, .. }
            | Self::ReadLink { path, .. } => Some(path),
            Self::Statx | Self::Link | Self::Times => Some(1),
            Self::StatFs
            | Self::SetAttribute
            | Self::GetAttribute
            | Self::ListAttributes
            | Self::RemoveAttribute => Some(0),
            Self::ChangeRoot | Self::Signal => None,
        }
    }
}

/// The rules of the filter that asks.
pub(super) fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let here = u64::from(libc::AT_FDCWD.cast_unsigned());
    let mut rules = BTreeMap::new();
    for (number, _) in AT {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, here);
        let rule = condition
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .context("writing a rule on an argument")?;
        rules.insert(number, vec![rule]);
    }
    rules.extend(ALWAYS.iter().chain(&OLD).map(|(number, _)| (*number, Vec::new())));
    Ok(rules)
}
