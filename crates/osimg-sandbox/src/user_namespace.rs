//! Acting as root without being it: a user namespace in which the caller is uid 0 and has its
//! subordinate ids too.
//!
//! Entered once, by the whole program and before any thread runs: everything after it, the sandbox,
//! the archiver and the workdir's removal, happens inside the map, where owners, capabilities and
//! modes read as they will be in the image.

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use crate::command::find_program;
use crate::error::{Context, Error, ErrorKind, Result, invalid};

mod subordinate;

pub use subordinate::SubordinateIds;
use subordinate::{Extent, words};

/// The ids that this process can give to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The host's root, with every id.
    Host,
    /// Root of a user namespace with this many ids from 0 upwards.
    Mapped(u64),
    /// Root of a user namespace that knows no other id.
    Single,
}

/// The user namespace that the kernel begins with; PROC_USER_INIT_INO of its
/// include/linux/proc_ns.h.
const FIRST_NAMESPACE: &str = "user:[4026531837]";

/// Images use so many ids: the last one, 65534, is that of `nobody`.
pub const USUAL_IDS: u64 = 65_536;

impl Ids {
    /// The ids of this process, from the kernel's table of its user namespace.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn current() -> Result<Self> {
        let namespace =
            std::fs::read_link("/proc/self/ns/user").context("reading /proc/self/ns/user")?;
        if namespace == Path::new(FIRST_NAMESPACE) {
            return Ok(Self::Host);
        }
        let map =
            std::fs::read_to_string("/proc/self/uid_map").context("reading /proc/self/uid_map")?;
        Ok(Self::from_map(&map))
    }

    fn from_map(map: &str) -> Self {
        let rows: Vec<Vec<u64>> = map
            .lines()
            .map(|line| line.split_whitespace().filter_map(|n| n.parse().ok()).collect())
            .collect();
        match rows.as_slice() {
            [row] if row.get(2) == Some(&1) => Self::Single,
            rows => Self::Mapped(reach(rows)),
        }
    }

    /// Whether this process is in another user namespace than the host.
    #[must_use]
    pub fn mapped(self) -> bool {
        self != Self::Host
    }
}

/// How many ids are mapped from 0 upwards without a hole.
fn reach(rows: &[Vec<u64>]) -> u64 {
    let mut extents: Vec<(u64, u64)> =
        rows.iter().filter_map(|row| Some((*row.first()?, *row.get(2)?))).collect();
    extents.sort_unstable();
    extents
        .into_iter()
        .fold(0, |end, (first, count)| if first <= end { end.max(first + count) } else { end })
}

/// Makes this process root: at once if it is, else in a new user namespace. Must be called
/// before any thread is started.
///
/// # Errors
/// [`ErrorKind::Host`] with what was refused, and how to fix it.
pub fn become_root() -> Result<Ids> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if uid.is_root() {
        if may_mount() {
            return Ids::current();
        }
        // A container's root that may not mount may still be root of a new namespace with the same
        // ids.
        return enter(&MapWriter::Child)
            .and_then(|()| Ids::current())
            .context("acting as root without CAP_SYS_ADMIN");
    }
    match &SubordinateIds::find(uid, gid)? {
        Some(ids) => enter(&MapWriter::Programs(ids))?,
        None => enter(&MapWriter::Itself)?,
    }
    Ids::current()
}

/// Drops the privileges that this process has over the host: it becomes root of a new user
/// namespace with the same ids. Returns whether the kernel allowed it; if not, nothing has changed.
/// Must be called before any thread is started.
///
/// # Errors
/// When the namespace was made and its ids could not be mapped.
pub fn drop_host_privileges() -> Result<bool> {
    let namespace =
        || std::fs::read_link("/proc/self/ns/user").context("reading /proc/self/ns/user");
    let before = namespace()?;
    match enter(&MapWriter::Child) {
        Ok(()) => Ok(true),
        Err(_) if namespace()? == before => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether CAP_SYS_ADMIN is there, without which nothing can be mounted.
fn may_mount() -> bool {
    caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

/// Who writes the map of the new namespace.
enum MapWriter<'a> {
    /// newuidmap and newgidmap, by /etc/subuid and /etc/subgid.
    Programs(&'a SubordinateIds),
    /// A child in the old namespace, which is root there.
    Child,
    /// This process: the kernel allows everyone a single id.
    Itself,
}

/// Leaves the host's user namespace.
fn enter(writer: &MapWriter<'_>) -> Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // Started before the namespace is left: the map is written from the old one.
    let helper = match writer {
        MapWriter::Programs(ids) => Some(helper(ids.uid, ids.gid, Some(ids))?),
        MapWriter::Child => Some(helper(uid, gid, None)?),
        MapWriter::Itself => None,
    };
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's user namespace")]
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    match helper {
        Some(helper) => match map_by_helper(helper) {
            // Where privileges cannot be gained, newuidmap has none.
            Err(error) if matches!(writer, MapWriter::Programs(_)) && is_unmapped() => {
                map_single(uid, gid).map_err(|_| error)?
            }
            done => done?,
        },
        None => map_single(uid, gid)?,
    }
    let (root, wheel) = (Uid::from_raw(0), Gid::from_raw(0));
    nix::unistd::setresgid(wheel, wheel, wheel)
        .context("becoming root's group in a user namespace")?;
    nix::unistd::setresuid(root, root, root).context("becoming root in a user namespace")?;
    if !may_mount() {
        return Err(apparmor("acting as root in a user namespace"));
    }
    Ok(())
}

/// Has the helper write the maps.
fn map_by_helper(mut helper: std::process::Child) -> Result<()> {
    drop(helper.stdin.take().context("starting the mapping of ids")?.write_all(b"x"));
    let mut said = String::new();
    if let Some(mut stderr) = helper.stderr.take() {
        stderr
            .read_to_string(&mut said)
            .context("reading the output of the helper that maps ids")?;
    }
    let status = helper.wait().context("waiting for the helper that maps ids")?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Host,
        format!("mapping the ids of a user namespace: {}", said.trim()),
    )
    .with_hint(
        "newuidmap and newgidmap must be setuid root (apt-get install --reinstall uidmap), and \
         the caller's ranges in /etc/subuid and /etc/subgid must not be another user's; or run \
         this program with sudo",
    ))
}

/// Maps the only id that every user may map.
fn map_single(uid: Uid, gid: Gid) -> Result<()> {
    write("/proc/self/setgroups", "deny")
        .and_then(|()| write("/proc/self/uid_map", &format!("0 {uid} 1")))
        .map_err(|error| {
            // AppArmor allows the namespace, and removes all capabilities in it.
            apparmor("mapping this user's id in a user namespace").because(error)
        })?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"))
        .context("mapping this user's group in a user namespace")
}

/// Whether the new namespace has no ids yet.
fn is_unmapped() -> bool {
    ["/proc/self/uid_map", "/proc/self/gid_map"]
        .iter()
        .all(|map| std::fs::read_to_string(map).is_ok_and(|text| text.trim().is_empty()))
}

fn write(path: &str, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// Starts ourselves as the helper; it waits for a byte and then writes the map of this process.
fn helper(uid: Uid, gid: Gid, subordinate: Option<&SubordinateIds>) -> Result<std::process::Child> {
    let map = |own: u32, extents: &[Extent]| words(own, extents).join(" ");
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's user namespace")]
    std::process::Command::new("/proc/self/exe")
        .arg(super::status::STAGE)
        .arg(super::status::MAP_IDS)
        .arg(std::process::id().to_string())
        .arg(subordinate.map_or_else(String::new, |ids| map(uid.as_raw(), &ids.uids)))
        .arg(subordinate.map_or_else(String::new, |ids| map(gid.as_raw(), &ids.gids)))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the helper that maps ids")
}

/// Runs the helper: `uids` and `gids` are newuidmap's words, empty for the very ids of this
/// namespace.
///
/// # Errors
/// When the host refuses.
pub(crate) fn map_ids_main(pid: &str, uids: &str, gids: &str) -> Result<i32> {
    let mut byte = [0u8];
    if std::io::stdin().read(&mut byte).context("waiting for the supervisor")? == 0 {
        return Err(invalid("mapping ids: the supervisor has ended"));
    }
    let pid: u32 = pid.parse().context("reading the process id")?;
    if uids.is_empty() {
        for map in ["uid_map", "gid_map"] {
            let ours = std::fs::read_to_string(format!("/proc/self/{map}"))
                .with_context(|| format!("reading {map}"))?;
            let same: Vec<String> = ours
                .lines()
                .filter_map(|line| {
                    let mut fields = line.split_whitespace();
                    let (first, _, count) = (fields.next()?, fields.next()?, fields.next()?);
                    Some(format!("{first} {first} {count}\n"))
                })
                .collect();
            write(&format!("/proc/{pid}/{map}"), &same.concat())
                .with_context(|| format!("writing {map}"))?;
        }
        return Ok(0);
    }
    for (name, map) in [("newuidmap", uids), ("newgidmap", gids)] {
        let program = find_program(name).with_context(|| format!("{name} is not installed"))?;
        #[expect(clippy::disallowed_methods, reason = "this is the sandbox's user namespace")]
        let output = std::process::Command::new(program)
            .arg(pid.to_string())
            .args(map.split(' '))
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {name}"))?;
        if !output.status.success() {
            return Err(invalid(String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    Ok(0)
}

/// Why the kernel makes no user namespace, and how to allow it.
fn refused(errno: Errno) -> Error {
    let doing = "making a user namespace, in which a build needs no root";
    let hint = match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            "allow some: sysctl user.max_user_namespaces=10000, or run osimg with sudo"
        }
        Errno::EPERM if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
            "allow it: sysctl kernel.unprivileged_userns_clone=1, or run this program with sudo"
        }
        Errno::EPERM => {
            "a container's seccomp filter forbids it: docker run --security-opt seccomp=unconfined \
             --security-opt systempaths=unconfined; on a host, run osimg with sudo"
        }
        Errno::EINVAL => "a thread runs already: call become_root before any thread is started",
        _ => "run osimg with sudo",
    };
    Error::new(ErrorKind::Host, format!("{doing}: {errno}")).with_hint(hint)
}

/// Ubuntu lets only programs with a profile act in the user namespaces that they make.
fn apparmor(doing: &str) -> Error {
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Error::new(
            ErrorKind::Host,
            format!("{doing}: AppArmor forbids it to programs without a profile"),
        )
        .with_hint(APPARMOR_FIX);
    }
    Error::new(ErrorKind::Host, format!("{doing}: the kernel forbids it"))
        .with_hint("run this program with sudo")
}

/// How to allow osimg to act in user namespaces where AppArmor restricts them.
pub const APPARMOR_FIX: &str = "give osimg a profile: echo 'abi <abi/4.0>, include \
     <tunables/global> profile osimg \
     /usr/**/osimg flags=(unconfined) { userns, }' | sudo tee /etc/apparmor.d/osimg && sudo \
     apparmor_parser -r /etc/apparmor.d/osimg; or allow all: sudo sysctl \
     kernel.apparmor_restrict_unprivileged_userns=0; or run osimg with sudo";

/// Whether the small file holds just this.
fn is(path: impl AsRef<Path>, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found.trim() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_the_kernel_tell_what_ids_there_are() {
        for (map, ids) in [
            ("         0          0 4294967295\n", Ids::Mapped(4_294_967_295)),
            ("         0       1000          1\n", Ids::Single),
            (
                "         0       1000          1\n         1     100000      65536\n",
                Ids::Mapped(65_537),
            ),
            (
                "         0       1000          1\n         5     100000      65536\n",
                Ids::Mapped(1),
            ),
            ("         0     100000      65536\n", Ids::Mapped(65_536)),
        ] {
            assert_eq!(Ids::from_map(map), ids, "{map}");
        }
    }
}
