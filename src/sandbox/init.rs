//! Second stage of a run: pid 1 of the build. It makes the sandbox, runs the command, reaps, and
//! ends with the supervisor.

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{Read, stdin};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use super::crowd::Bound;
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
    // The build's processes have our uid and capabilities: our memory and our socket to the
    // supervisor are not for them.
    nix::sys::prctl::set_dumpable(false).context("closing pid 1 to the build")?;
    let status = match start() {
        Ok(Err(not_started)) => not_started,
        Ok(Ok(Started { child, children, bound })) => {
            Status::Started.tell()?;
            match reap(child, &children, bound)? {
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

/// The command that runs, what wakes us when a process ends, and who counts the processes.
struct Started {
    child: Pid,
    children: UnixStream,
    bound: Bound,
}

/// Makes the sandbox and starts the command in it; [`Status::NotStarted`] when only that fails.
fn start() -> Result<Result<Started, Status>> {
    let input = super::input::receive(stdin())?;
    let plan = receive()?;
    let bound = bound()?;
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
        Terminal::Shared => Stdio::from(input.context("receiving standard input")?),
    });
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return Ok(Err(Status::NotStarted { program: program.clone(), code, cause: error.to_string() }));
        }
    };
    let child = Pid::from_raw(i32::try_from(child.id()).context("reading a process id")?);
    Ok(Ok(Started { child, children, bound }))
}

/// What becomes of files that the run gives away; a run that is followed is so from here on.
fn giving(plan: &Plan) -> Result<Giving> {
    Ok(match (Ids::of_this_process()?, &plan.owners) {
        (Ids::Single, Owners::Recorded(_)) if ownership::be_followed()? => Giving::Recorded,
        (Ids::Single, _) => Giving::Ignored,
        (Ids::Host | Ids::Mapped(_), _) => Giving::Real,
    })
}

/// Bounds what the build may take of the host: processes, and whose memory goes first when it runs
/// out.
fn bound() -> Result<Bound> {
    std::fs::write("/proc/self/oom_score_adj", "500").context("offering the build to the out-of-memory killer")?;
    Bound::set()
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

/// Waits for the command, reaping whatever else ends; `None` at once when the supervisor is gone,
/// or wants no more.
fn reap(child: Pid, children: &UnixStream, mut bound: Bound) -> Result<Option<Status>> {
    children.set_nonblocking(true).context("preparing the wake-up pipe")?;
    loop {
        while let Some(Ended { pid, code, signal }) = ended()? {
            if pid == child {
                return Ok(Some(Status::Exited { code, signal, strays: strays() }));
            }
        }
        let own = stdin();
        let mut watched = [PollFd::new(own.as_fd(), PollFlags::POLLIN), PollFd::new(children.as_fd(), PollFlags::POLLIN)];
        let rest = bound.rest().map_or(PollTimeout::NONE, |rest| PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO));
        match poll(&mut watched, rest) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting in pid 1"),
        }
        // The supervisor sends nothing after the plan: anything readable is its end.
        if watched[0].any().unwrap_or(false) {
            return Ok(None);
        }
        if bound.is_passed() {
            return Ok(Some(Status::Crowded));
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
