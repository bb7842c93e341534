//! First stage of a run: leave the host's namespaces, then start pid 1 in the new ones.

use anyhow::Context;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::process::Stdio;
use std::sync::Arc;

use super::ownership;
use super::plan::{Network, Terminal};
use super::status::Status;
use crate::error::Result;

/// Runs the first stage; returns the exit code of pid 1.
///
/// # Errors
/// When the process is not what the supervisor started, or a namespace cannot be made.
pub fn main(network: Network, terminal: Terminal, parent: i32) -> Result<i32> {
    // From now on the kernel ends us with the supervisor; before now only its pid can tell.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("binding the sandbox to osimg's life")?;
    if nix::unistd::getppid().as_raw() != parent {
        anyhow::bail!("starting the sandbox: osimg is gone");
    }
    close_inherited()?;
    match terminal {
        // A new session: the terminal's signals and TIOCSTI cannot reach across.
        Terminal::None => {
            nix::unistd::setsid().context("starting a session")?;
        }
        // An interrupt is the command's. A handler, unlike SIG_IGN, is not inherited by it.
        Terminal::Shared => {
            signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default()).context("leaving interrupts to the command")?;
        }
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
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
        nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("making mounts private")?;
    }
    let processes = ownership::Processes::open()?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let pid1 = std::process::Command::new("/proc/self/exe")
        .arg(super::INIT_VERB)
        .env_clear()
        .stdin(Stdio::inherit())
        .spawn()
        .context("starting pid 1 of the sandbox")?;
    let followed = match ownership::follow(Pid::from_raw(i32::try_from(pid1.id()).context("reading a process id")?), processes) {
        Ok(followed) => followed,
        Err(error) => {
            Status::Lost(format!("{error:#}")).tell()?;
            return Ok(1);
        }
    };
    if let Some(given) = followed.given {
        Status::Given(given).tell()?;
    }
    Ok(followed.code)
}

/// Closes whatever the caller of osimg left open: a descriptor of a host directory would be a way
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
