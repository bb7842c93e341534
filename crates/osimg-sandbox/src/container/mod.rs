//! A run in a container that forbids namespaces and mounts, as Docker does by default.
//!
//! rpm changes the root by itself, and all else that a sandbox has is done by two processes:
//!
//! 1. The first stage, outside of the install root, answers the calls by which the processes of the
//!    run ask for /proc, /sys and /dev ([`server`]), and ends them all with the run, or with the
//!    supervisor.
//! 2. The second one confines itself as in the full sandbox, allows only local sockets where the
//!    plan gives no network, and becomes the command.
//!
//! The files of the plan are at other paths than in a sandbox with mounts ([`layout`]).

mod api;
mod calls;
mod changes;
mod layout;
mod places;
mod restriction;
mod server;

use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::confine;
use crate::descendants::descendants;
use crate::error::{Context, Error, Result};
use crate::namespaces::leave_caller;
use crate::notify::{self, Listener};
use crate::pid1::{ended, reap};
use crate::plan::{Plan, Terminal, View};
use crate::process_limit::ProcessLimit;
use crate::relay::streams;
use crate::root::InstallRoot;
use crate::status::{CONTAINED, STAGE, Status, receive_plan, send_plan};
use crate::stdin;
use crate::tracing::ChownCalls;
use api::ApiDirectories;
pub(crate) use layout::Layout;
use server::Server;

/// The first stage; its exit code means nothing, the status line does.
pub(crate) fn main(parent: i32) -> Result<i32> {
    leave_caller(parent)?;
    // What the run leaves behind becomes our child, and not the container's.
    nix::sys::prctl::set_child_subreaper(true).context("adopting processes of the run")?;
    nix::sys::prctl::set_dumpable(false).context("closing the first stage to the run")?;
    let status = match run() {
        Ok(Some(status)) => status,
        Ok(None) => return Ok(0),
        Err(error) => failed(&error),
    };
    status.report()?;
    Ok(0)
}

fn failed(error: &Error) -> Status {
    Status::Failed {
        doing: error.to_string(),
        cause: error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": "),
    }
}

/// Runs the plan's command to its end; `None` when the supervisor has ended, or ends the run.
fn run() -> Result<Option<Status>> {
    let input = stdin::receive(std::io::stdin())?;
    let plan = receive_plan(std::io::stdin())?;
    // A container may forbid it; then the build is as likely to be ended as the rest.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let root = InstallRoot::open(&plan.root)?;
    let api = ApiDirectories::prepare(&root)?;
    let layout = Layout::new(&plan);
    layout.create(&plan)?;
    if plan.view == View::Image {
        api.place(&root, &plan.mounts)?;
    }
    let status = serve(&plan, &layout, input);
    end_all();
    let cleared = api.clear(&root).and_then(|()| clear(&plan));
    let status = status?;
    cleared?;
    Ok(status)
}

/// Removes the files of the plan.
fn clear(plan: &Plan) -> Result<()> {
    if plan.view == View::Image {
        return Ok(());
    }
    let scratch = InstallRoot::open(&plan.scratch)?;
    for name in scratch.names(".".as_ref())? {
        scratch.remove(name.as_ref())?;
    }
    Ok(())
}

/// Starts the command and answers its calls until it ends.
fn serve(plan: &Plan, layout: &Layout, input: Option<OwnedFd>) -> Result<Option<Status>> {
    let (children, wake) = UnixStream::pair().context("making the wake-up pipe")?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, wake)
        .context("watching for ended processes")?;
    let (mut socket, theirs) = UnixStream::pair().context("making the second stage's socket")?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let child = std::process::Command::new("/proc/self/exe")
        .args([STAGE, CONTAINED])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .context("starting the second stage of the sandbox")?;
    let command = Pid::from_raw(i32::try_from(child.id()).context("reading a process id")?);
    stdin::send(&socket, input.as_ref().map(AsFd::as_fd))?;
    send_plan(&socket, plan)?;
    let Some(listener) = stdin::receive(&socket)? else {
        return report_of(&mut socket).map(Some);
    };
    Status::Started.report()?;
    let manager = (plan.view == View::Tools).then_some(command);
    let server = Server::new(&plan.root, layout.rpm(), manager)?;
    let listener = Listener::new(listener);
    // It ends with this process: a listener without processes has nothing to wake it.
    std::thread::spawn(move || answer(&server, &listener));
    let status = reap(command, &children, ProcessLimit::counted())?;
    match status {
        // An exec that failed was reported before.
        Some(Status::Exited { code: Some(_), .. }) => {
            socket.set_nonblocking(true).context("preparing a socket")?;
            Ok(report_of(&mut socket).ok().or(status))
        }
        status => Ok(status),
    }
}

/// The report of the second stage.
fn report_of(socket: &mut UnixStream) -> Result<Status> {
    let mut line = Vec::new();
    match socket.read_to_end(&mut line) {
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
            return Err(error).context("reading a report of the second stage");
        }
        _ => {}
    }
    serde_json::from_slice(&line).context("reading a report of the second stage")
}

/// Answers calls as long as there are processes that make some. If it ends, their calls fail.
fn answer(server: &Server, listener: &Listener) {
    loop {
        match listener.receive() {
            Ok(Some(call)) => {
                let answer = server.answer(&call, || listener.is_waiting(&call));
                if listener.answer(&call, answer).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// How long processes may take to end once they are killed.
const ENDING: Duration = Duration::from_secs(10);

/// Ends every process of the run: those that lost their parent are our children.
fn end_all() {
    let began = Instant::now();
    while began.elapsed() < ENDING {
        while matches!(ended(), Ok(Some(_))) {}
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for process in left.iter().filter(|process| !process.ended) {
            // It may have ended in the meantime.
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        let _ = poll(&mut [], PollTimeout::from(2_u8));
    }
}

/// The second stage: confines itself and becomes the command. Returns only when that fails.
pub(crate) fn contained_main() -> Result<i32> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .context("ending the command with its first stage")?;
    let socket = UnixStream::from(
        std::io::stdin().as_fd().try_clone_to_owned().context("duplicating a socket")?,
    );
    let status = match become_command(&socket) {
        Ok(not_started) => not_started,
        Err(error) => {
            stdin::send(&socket, None)?;
            failed(&error)
        }
    };
    status.write(&socket)?;
    Ok(1)
}

fn become_command(socket: &UnixStream) -> Result<Status> {
    let input = stdin::receive(socket)?;
    let plan = receive_plan(socket)?;
    let [own_input, own_output, own_errors] = streams(plan.terminal, input)?;
    if plan.terminal != Terminal::Own {
        // Its process group has only processes of the run.
        nix::unistd::setsid().context("starting a session")?;
    }
    let layout = Layout::new(&plan);
    if plan.view == View::Image {
        std::env::set_current_dir(&plan.root).context("entering the install root")?;
        #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
        nix::unistd::chroot(".").context("changing the root")?;
    }
    std::env::set_current_dir("/").context("entering the root")?;
    restriction::apply(&plan)?;
    confine::apply(ChownCalls::Real)?;
    confine::apply_in_container(plan.network)?;
    let filter = confine::asking(calls::rules()?, notify::PLACEHOLDER)?;
    let listener = notify::install(&filter).context("having system calls answered")?;
    // From here on calls that name files wait for the first stage.
    stdin::send(socket, Some(listener.as_fd()))?;
    drop(listener);
    let argv: Vec<String> = plan.command.argv.iter().map(|word| layout.outward(word)).collect();
    let (program, arguments) = argv.split_first().context("starting a command without a name")?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    let error = std::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(plan.command.env.iter().map(|(name, value)| (name, layout.outward(value))))
        .stdin(own_input)
        .stdout(own_output)
        .stderr(own_errors)
        .exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Ok(Status::NotStarted { program: program.clone(), code, cause: error.to_string() })
}
