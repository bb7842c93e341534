//! First stage of a run: leave the host's namespaces, then start pid 1 in the new ones.

use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::path::Path;
use std::process::Stdio;

use super::isolation::Isolation;
use super::plan::Network;
use super::status::Status;
use super::tracing;
use crate::error::{Context, Result, invalid};
use crate::mounts::calls::mount;

/// Runs the first stage; returns the exit code of pid 1.
///
/// # Errors
/// When the process is not what the supervisor started, or a namespace cannot be made.
pub(crate) fn main(network: Network, isolation: Isolation, parent: i32) -> Result<i32> {
    // From now on the kernel ends us with the supervisor; before now only its pid can tell.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .context("ending the sandbox with its supervisor")?;
    leave_caller(parent)?;
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if network == Network::None {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    {
        nix::sched::unshare(flags).context("leaving the host's namespaces")?;
        // Without this, mounts made here would appear on hosts whose / is shared, as systemd makes
        // it.
        mount(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
            .context("making mounts private")?;
    }
    if network == Network::None {
        // Without CAP_NET_ADMIN, as in some containers, it stays down.
        let _ = start_loopback();
    }
    let tracees = tracing::Tracees::open()?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let pid1 = std::process::Command::new("/proc/self/exe")
        .arg(super::status::STAGE)
        .arg(super::status::PID1)
        .arg(isolation.name())
        .env_clear()
        .stdin(Stdio::inherit())
        .spawn()
        .context("starting pid 1 of the sandbox")?;
    let traced = match tracing::trace(
        Pid::from_raw(i32::try_from(pid1.id()).context("reading a process id")?),
        tracees,
    ) {
        Ok(traced) => traced,
        Err(error) => {
            Status::Lost(error.describe()).report()?;
            return Ok(1);
        }
    };
    if let Some(owners) = traced.owners {
        Status::Owners(owners).report()?;
    }
    Ok(traced.code)
}

/// Sets the loopback of a new network namespace up: it gets its addresses by that. OpenSCAP's
/// scanner fails without any address, and other programs test whether they can bind one.
fn start_loopback() -> rustix::io::Result<()> {
    use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, netlink};
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    /// The loopback's in every namespace.
    const INDEX: u32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend([RTM_NEWLINK, NLM_F_REQUEST].map(u16::to_ne_bytes).concat());
    // No sequence number, no sender; then no family and no type.
    message.extend([0; 8 + 4]);
    message.extend([INDEX, IFF_UP, IFF_UP].map(u32::to_ne_bytes).concat());
    // NETLINK_ROUTE is the protocol of number 0.
    let socket =
        net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    net::sendto(&socket, &message, SendFlags::empty(), &kernel).map(drop)
}

/// Takes from the first stage what it has of its caller: descriptors, the session and the umask.
///
/// # Errors
/// When the supervisor has ended.
pub(crate) fn leave_caller(parent: i32) -> Result<()> {
    if nix::unistd::getppid().as_raw() != parent {
        return Err(invalid("starting the sandbox: the supervisor has ended"));
    }
    close_inherited()?;
    // A new session: the terminal's signals and TIOCSTI cannot reach across.
    nix::unistd::setsid().context("starting a session")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    Ok(())
}

/// Closes what the caller left open: a descriptor of a host directory would be a way
/// out of the sandbox.
fn close_inherited() -> Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .context("reading /proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The directory's own descriptor is in the list and closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}
