//! Second stage of a run: pid 1 of the build. It makes the sandbox, runs the command, reaps, and
//! ends with the supervisor.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{Read, stdin};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::descendants::descendants;
use super::isolation::{Isolation, is_forbidden};
use super::plan::{Owners, Plan};
use super::process_limit::ProcessLimit;
use super::relay::streams;
use super::status::{Status, receive_plan};
use super::tracing::{self, ChownCalls};
use super::user_namespace::Ids;
use crate::error::{Context, Result, invalid};

/// Runs pid 1 to the end; its own exit code means nothing, the status line does.
///
/// # Errors
/// Never for what the supervisor can be told over the socket.
pub(crate) fn main(isolation: Isolation) -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("binding pid 1 to its parent")?;
    if std::process::id() != 1 {
        return Err(invalid("starting pid 1 of the sandbox: this process has another number"));
    }
    // The build's processes have our uid and capabilities: our memory and our socket to the
    // supervisor are not for them.
    nix::sys::prctl::set_dumpable(false).context("closing pid 1 to the build")?;
    let status = match start(isolation) {
        Ok(Err(not_started)) => not_started,
        Ok(Ok(Started { child, children, limit })) => {
            Status::Started.report()?;
            match reap(child, &children, limit)? {
                Some(status) => status,
                // The supervisor has ended, or ends the run.
                None => return Ok(0),
            }
        }
        Err(error) => Status::Failed {
            doing: error.to_string(),
            cause: error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": "),
        },
    };
    status.report()?;
    Ok(0)
}

/// The running command, a stream that wakes us when a process ends, and the limit on processes.
struct Started {
    child: Pid,
    children: UnixStream,
    limit: ProcessLimit,
}

/// Makes the sandbox and starts the command in it; [`Status::NotStarted`] when only that fails.
fn start(isolation: Isolation) -> Result<Result<Started, Status>> {
    let input = super::stdin::receive(stdin())?;
    let plan = receive_plan(stdin())?;
    let limit = limit()?;
    super::mounts::apply(&plan, isolation)?;
    match nix::unistd::sethostname(&plan.hostname) {
        // A container's filter of system calls may forbid it, and nothing else.
        Err(errno) if is_forbidden(errno) => {}
        done => done.context("setting the sandbox's host name")?,
    }
    let (children, wake) = UnixStream::pair().context("making the wake-up pipe")?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, wake)
        .context("watching for ended processes")?;
    let [own_input, own_output, own_errors] = streams(plan.terminal, input)?;
    let chown = chown_mode(&plan)?;
    super::confine::apply(chown)?;
    if let (ChownCalls::Recorded, Owners::Recorded(before)) = (chown, &plan.owners) {
        tracing::restore(before);
    }
    let program = plan.command.argv.first().context("starting a command without a name")?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let mut command = std::process::Command::new(program);
    command
        .args(plan.command.argv.iter().skip(1))
        .env_clear()
        .envs(plan.command.env.iter().map(|(k, v)| (k, v)));
    command.stdin(own_input).stdout(own_output).stderr(own_errors);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            return Ok(Err(Status::NotStarted {
                program: program.clone(),
                code,
                cause: error.to_string(),
            }));
        }
    };
    let child = Pid::from_raw(i32::try_from(child.id()).context("reading a process id")?);
    Ok(Ok(Started { child, children, limit }))
}

/// What becomes of chown calls. A run that is traced is traced from here on.
fn chown_mode(plan: &Plan) -> Result<ChownCalls> {
    Ok(match (Ids::current()?, &plan.owners) {
        (Ids::Single, Owners::Recorded(_)) if tracing::request_tracing()? => ChownCalls::Recorded,
        (Ids::Single, _) => ChownCalls::Ignored,
        (Ids::Host | Ids::Mapped(_), _) => ChownCalls::Real,
    })
}

/// Bounds what the build may take of the host: processes, and whose memory goes first when it runs
/// out.
fn limit() -> Result<ProcessLimit> {
    std::fs::write("/proc/self/oom_score_adj", "500")
        .context("offering the build to the out-of-memory killer")?;
    ProcessLimit::set()
}

/// Waits for the command, reaping whatever else ends; `None` at once when the supervisor is gone,
/// or wants no more.
pub(crate) fn reap(
    child: Pid,
    children: &UnixStream,
    mut limit: ProcessLimit,
) -> Result<Option<Status>> {
    children.set_nonblocking(true).context("preparing the wake-up pipe")?;
    loop {
        while let Some(Ended { pid, code, signal }) = ended()? {
            if pid == child {
                return Ok(Some(Status::Exited { code, signal, strays: strays() }));
            }
        }
        let own = stdin();
        let mut watched = [
            PollFd::new(own.as_fd(), PollFlags::POLLIN),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
        ];
        let rest = limit.rest().map_or(PollTimeout::NONE, |rest| {
            PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO)
        });
        match poll(&mut watched, rest) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the command"),
        }
        // The supervisor sends nothing after the plan: anything readable is its end.
        if watched[0].any().unwrap_or(false) {
            return Ok(None);
        }
        if limit.is_passed() {
            return Ok(Some(Status::TooManyProcesses));
        }
        let mut drained = [0u8; 64];
        while matches!((&*children).read(&mut drained), Ok(n) if n > 0) {}
    }
}

/// A child that ended.
pub(crate) struct Ended {
    pub(crate) pid: Pid,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

/// One ended child with its exit status or signal; `None` when none waits.
pub(crate) fn ended() -> Result<Option<Ended>> {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => {
                return Ok(Some(Ended { pid, code: Some(code), signal: None }));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Ok(Some(Ended { pid, code: None, signal: Some(signal as i32) }));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("reaping"),
        }
    }
}

/// The names of the processes that the command left behind.
fn strays() -> Vec<String> {
    let left = descendants().into_iter().filter(|process| !process.ended);
    left.map(|process| process.name).collect::<BTreeSet<_>>().into_iter().collect()
}
