//! Second stage of a run: pid 1 of the build. It makes the sandbox, runs the command, reaps, and ends with the supervisor.

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{ErrorKind, Read, stdin};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::idmap::Ids;
use super::ownership::{self, Giving};
use super::plan::{Owners, Plan, Terminal};
use super::status::{PLAN_LIMIT, Status};
use crate::error::Result;

/// Runs pid 1 to the end; its own exit code means nothing, the status line does.
///
/// # Errors
/// Never for what the supervisor can be told over the socket.
pub fn main() -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("binding pid 1 to its parent")?;
    if std::process::id() != 1 {
        anyhow::bail!("this verb is for osimg's own use inside the sandbox");
    }
    // The build's processes have our uid and capabilities: our memory and our socket to the supervisor are not for them.
    nix::sys::prctl::set_dumpable(false).context("closing pid 1 to the build")?;
    let status = match start() {
        Ok((child, children)) => {
            Status::Started.tell()?;
            match reap(child, &children)? {
                Some(status) => status,
                // Nobody is there to be told, or wants to be.
                None => return Ok(0),
            }
        }
        Err(error) => Status::Failed {
            doing: error.to_string(),
            cause: error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": "),
        },
    };
    status.tell()?;
    Ok(0)
}

/// Makes the sandbox and starts the command in it.
fn start() -> Result<(Pid, UnixStream)> {
    let plan = receive()?;
    bound()?;
    super::mounts::apply(&plan)?;
    nix::unistd::sethostname(&plan.hostname).context("setting the sandbox's host name")?;
    let (children, wake) = UnixStream::pair().context("making the wake-up pipe")?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, wake).context("watching for ended processes")?;
    let giving = giving(&plan)?;
    super::confine::apply(giving)?;
    if let (Giving::Recorded, Owners::Recorded(before)) = (giving, &plan.owners) {
        ownership::recall(before);
    }
    let program = plan.command.argv.first().context("starting a command without a name")?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let mut command = std::process::Command::new(program);
    command.args(plan.command.argv.iter().skip(1)).env_clear().envs(plan.command.env.iter().map(|(k, v)| (k, v)));
    command.stdin(match plan.terminal {
        Terminal::None => Stdio::null(),
        Terminal::Shared => {
            // A terminal that somebody else opened for us, as sudo and su do, can be used but not opened again.
            let own = || std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
            let terminal = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/fd/2").or_else(|_| own());
            Stdio::from(terminal.context("opening the terminal")?)
        }
    });
    let child = command.spawn().with_context(|| format!("starting {program}"))?;
    Ok((Pid::from_raw(i32::try_from(child.id()).context("reading a process id")?), children))
}

/// What becomes of files that the run gives away; a run that is followed is so from here on.
fn giving(plan: &Plan) -> Result<Giving> {
    Ok(match (Ids::of_this_process()?, &plan.owners) {
        (Ids::Single, Owners::Recorded(_)) if ownership::be_followed()? => Giving::Recorded,
        (Ids::Single, _) => Giving::Ignored,
        (Ids::Host | Ids::Mapped(_), _) => Giving::Real,
    })
}

/// The most processes and threads that a build has at a time; a fork bomb ends there.
const PROCESSES: u32 = 8192;

/// Bounds what the build may take of the host: processes, and whose memory goes first when it runs out.
fn bound() -> Result<()> {
    std::fs::write("/proc/self/oom_score_adj", "500").context("offering the build to the out-of-memory killer")?;
    // A limit on processes does not count for uid 0, and a cgroup would have to be cleaned up. Before 6.14 the number is the host's.
    let release = nix::sys::utsname::uname().context("asking for the kernel's release")?;
    if per_namespace(&release.release().to_string_lossy()) {
        // The host's /proc still: this file speaks of the writer's pid namespace.
        match std::fs::write("/proc/sys/kernel/pid_max", PROCESSES.to_string()) {
            // In a container, whose own limit on processes holds.
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {}
            other => other.context("bounding the number of processes")?,
        }
    }
    Ok(())
}

/// Whether kernel.pid_max belongs to the pid namespace, as it does since Linux 6.14.
fn per_namespace(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 14))
}

fn receive() -> Result<Plan> {
    let mut size = [0u8; 4];
    stdin().read_exact(&mut size).context("receiving the sandbox's plan")?;
    let size = u32::from_be_bytes(size) as usize;
    if size > PLAN_LIMIT {
        anyhow::bail!("receiving the sandbox's plan: {size} bytes are too many");
    }
    let mut bytes = vec![0; size];
    stdin().read_exact(&mut bytes).context("receiving the sandbox's plan")?;
    serde_json::from_slice(&bytes).context("reading the sandbox's plan")
}

/// Waits for the command, reaping whatever else ends; `None` at once when the supervisor is gone, or wants no more.
fn reap(child: Pid, children: &UnixStream) -> Result<Option<Status>> {
    children.set_nonblocking(true).context("preparing the wake-up pipe")?;
    loop {
        while let Some(Ended { pid, code, signal }) = ended()? {
            if pid == child {
                return Ok(Some(Status::Exited { code, signal, strays: strays() }));
            }
        }
        let own = stdin();
        let mut watched = [PollFd::new(own.as_fd(), PollFlags::POLLIN), PollFd::new(children.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting in pid 1"),
        }
        // The supervisor sends nothing after the plan: anything readable is its end.
        if watched[0].any().unwrap_or(false) {
            return Ok(None);
        }
        let mut drained = [0u8; 64];
        while matches!((&*children).read(&mut drained), Ok(n) if n > 0) {}
    }
}

/// A child that ended.
struct Ended {
    pid: Pid,
    code: Option<i32>,
    signal: Option<i32>,
}

/// One ended child with its exit status or signal; `None` when none waits.
fn ended() -> Result<Option<Ended>> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Ok(Some(Ended { pid, code: Some(code), signal: None })),
            Ok(WaitStatus::Signaled(pid, signal, _)) => return Ok(Some(Ended { pid, code: None, signal: Some(signal as i32) })),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("reaping"),
        }
    }
}

/// The names of the processes that still run beside us.
fn strays() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid > 1)
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        // `pid (name) state …`; a zombie holds nothing.
        .filter_map(|stat| {
            let (head, tail) = stat.rsplit_once(')')?;
            (!tail.trim_start().starts_with('Z')).then(|| head.split_once('(').map_or("?", |(_, name)| name).to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::per_namespace;

    #[test]
    fn the_host_s_number_of_processes_is_never_touched() {
        for (release, ours) in [
            ("6.14.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0-rc1", true),
            ("6.13.9", false),
            ("6.1.0-25-amd64", false),
            ("5.14.0-503.el9", false),
            ("odd", false),
        ] {
            assert_eq!(per_namespace(release), ours, "{release}");
        }
    }
}
