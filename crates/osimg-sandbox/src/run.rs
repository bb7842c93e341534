//! The supervisor's side of a run: start the stages, pass on the command's output, keep the time
//! limits, and learn how the run ended.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::command::Tail;
use super::container::Layout;
use super::isolation::Isolation;
use super::lines::{Lines, OnLine, Stream};
use super::outcome::Outcome;
use super::plan::{Network, Plan};
use super::relay::{self, Relay};
use super::status::send_plan;
use super::time_limits::{Elapsed, Limits};
use crate::error::{Context, Error, Result};

/// Runs commands by plan, one at a time.
#[derive(Debug)]
pub struct Sandbox {
    /// The program that is started again for the two stages.
    program: PathBuf,
    isolation: Isolation,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::with_program("/proc/self/exe")
    }
}

/// What is done at least every so often while a command runs; its failure ends the run.
pub struct Turns<'a, E> {
    /// It.
    pub on_turn: &'a mut dyn FnMut() -> Result<(), E>,
    /// The longest time between two calls.
    pub every: Duration,
}

impl<E> std::fmt::Debug for Turns<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").field("every", &self.every).finish_non_exhaustive()
    }
}

/// How often the time limits are checked at least.
const TURN: Duration = Duration::from_millis(500);

impl Sandbox {
    /// A sandbox whose stages are run by another program than this one. Its main must call
    /// [`enter_if_asked`](crate::enter_if_asked) too.
    #[must_use]
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), isolation: Isolation::Full }
    }

    /// A sandbox of this isolation; see [`probe`](crate::probe).
    #[must_use]
    pub fn with_isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// Runs the plan's command to its end and passes on every line that it prints.
    ///
    /// # Errors
    /// When the sandbox cannot be made, a limit passes, or `on_line` fails; everything in the
    /// sandbox has ended then. A command that fails is not an error.
    pub fn run<E: From<Error>>(
        &self,
        plan: &Plan,
        limits: Limits,
        on_line: &mut OnLine<'_, E>,
    ) -> Result<Outcome, E> {
        self.run_watched(plan, limits, Turns { on_turn: &mut || Ok(()), every: TURN }, on_line)
    }

    /// As [`Sandbox::run`], and calls something regularly.
    ///
    /// # Errors
    /// As [`Sandbox::run`], and those of `on_turn`.
    pub fn run_watched<E: From<Error>>(
        &self,
        plan: &Plan,
        limits: Limits,
        turns: Turns<'_, E>,
        on_line: &mut OnLine<'_, E>,
    ) -> Result<Outcome, E> {
        let (mut stages, mut relay) = self.start(plan)?;
        let layout = (self.isolation == Isolation::Container).then(|| Layout::new(plan));
        let mut on_line = |stream: Stream, line: &str| match &layout {
            Some(layout) => on_line(stream, &layout.inward(line)),
            None => on_line(stream, line),
        };
        let outcome = watch(&mut stages, relay.as_mut(), limits, turns, &mut on_line);
        stages.end();
        outcome
    }

    fn start(&self, plan: &Plan) -> Result<(Stages, Option<Relay>)> {
        let (socket, theirs) = UnixStream::pair().context("making the sandbox's socket")?;
        let (ends, relay) = relay::start(plan.terminal)?;
        #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
        let child = std::process::Command::new(&self.program)
            .arg(super::status::STAGE)
            .arg(super::status::NAMESPACES)
            .arg(match plan.network {
                Network::Host => "host",
                Network::None => "none",
            })
            .arg(self.isolation.name())
            .arg(std::process::id().to_string())
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(ends.stdout)
            .stderr(ends.stderr)
            .spawn()
            .context("starting the sandbox")?;
        let stages = Stages { child, socket, ended: false };
        super::stdin::send(&stages.socket, ends.input.as_ref().map(AsFd::as_fd))?;
        send_plan(&stages.socket, plan)?;
        Ok((stages, relay))
    }
}

/// The running stages; dropping them ends everything in the sandbox.
struct Stages {
    child: Child,
    socket: UnixStream,
    ended: bool,
}

/// Milliseconds for pid 1 to notice that the run is to end, and for the kernel to end what it
/// started; then the first stage is killed.
const GRACE: u16 = 10_000;

impl Stages {
    fn first_has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("waiting for the sandbox")?.is_some())
    }

    /// Ends the run, and returns when none of its processes can touch the root any more, which may
    /// be removed then.
    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        // Its output is not read any more, and it must not wait for that.
        drop((self.child.stdout.take(), self.child.stderr.take()));
        // Pid 1 sees this and exits; when it has, the kernel has ended every process of the build,
        // and the first stage exits too.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        if !self.ends_by_itself() {
            // Its death ends pid 1, and that every process of the build; but no one waits for them.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    fn ends_by_itself(&mut self) -> bool {
        // Once it was waited for, its number may be another process's.
        if self.first_has_ended().unwrap_or(true) {
            return true;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let Some(Ok(process)) =
            pid.map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
        else {
            return false;
        };
        loop {
            match poll(
                &mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)],
                PollTimeout::from(GRACE),
            ) {
                Ok(ready) => return ready > 0,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.end();
    }
}

fn watch<E: From<Error>>(
    stages: &mut Stages,
    mut relay: Option<&mut Relay>,
    limits: Limits,
    turns: Turns<'_, E>,
    on_line: &mut OnLine<'_, E>,
) -> Result<Outcome, E> {
    let socket = stages.socket.try_clone().context("preparing the sandbox's socket")?;
    socket.set_nonblocking(true).context("preparing the sandbox's socket")?;
    let mut out = Lines::new(stages.child.stdout.take().map(OwnedFd::from), Stream::Out)?;
    let mut err = Lines::new(stages.child.stderr.take().map(OwnedFd::from), Stream::Err)?;
    let mut reports = Vec::new();
    let mut last_words = Tail::new(4096);
    let mut elapsed = Elapsed::start();
    let longest = PollTimeout::try_from(turns.every).unwrap_or(PollTimeout::from(u16::MAX));
    loop {
        elapsed.tick();
        (turns.on_turn)()?;
        elapsed.check(limits)?;
        if stages.first_has_ended()? {
            // Killed before pid 1 had bound itself to it, or at the run's end: our half of the
            // socket is what pid 1 watches too.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
        let relayed = relay.as_ref().and_then(|relay| relay.done());
        wait(&socket, [&out, &err], relayed, longest)?;
        let mut keep = |stream: Stream, line: &str| {
            if stream == Stream::Err {
                last_words.push(line);
            }
            on_line(stream, line)
        };
        if out.drain(&mut keep)? | err.drain(&mut keep)? {
            elapsed.reset_silence();
        }
        // The socket ends when the last process of the sandbox that holds it has ended.
        let reported = read_reports(&socket, &mut reports)?;
        let relayed = relay.as_mut().map_or(Ok(true), |relay| relay.is_done())?;
        if reported && relayed && out.source.is_none() && err.source.is_none() {
            return Ok(Outcome::from_reports(&reports, &last_words)?);
        }
    }
}

/// Waits until something can be read.
fn wait(
    socket: &UnixStream,
    streams: [&Lines; 2],
    relayed: Option<BorrowedFd<'_>>,
    longest: PollTimeout,
) -> Result<()> {
    let mut watched = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    watched.extend(relayed.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    watched.extend(
        streams
            .iter()
            .filter_map(|l| l.source.as_ref())
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
    );
    match poll(&mut watched, longest) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("watching the sandbox"),
    }
}

/// Reads what the stages report; true at the end of the socket.
fn read_reports(mut socket: &UnixStream, reports: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0u8; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => reports.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            // A stage that was killed with the plan half read.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error).context("listening to the sandbox"),
        }
    }
}
