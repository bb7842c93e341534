//! The supervisor's side of a run: start the stages, read what the command says, keep the time
//! limits, learn how it ended.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::crowd::PROCESSES;
use super::given::Given;
use super::plan::{Network, Plan, Terminal};
use super::status::{PLAN_LIMIT, Status};
use crate::error::{ExitCode, Failure, Result};
use crate::process;

/// Which stream of the command a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How long a run may take; in monotonic time, so that neither a clock change nor a stopped machine
/// or osimg counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// From start to end.
    pub total: Option<Duration>,
    /// Between two lines of output.
    pub idle: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The command's exit status, when it exited.
    pub code: Option<i32>,
    /// The signal that ended it, when one did.
    pub signal: Option<i32>,
    /// Names of processes that it left behind; the sandbox ended them.
    pub strays: Vec<String>,
    /// To whom it gave files of the install root, last owners alone and root's left out; `None`
    /// when nobody followed it.
    pub given: Option<Vec<Given>>,
}

/// Why the command could not be started; in the chain of such an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct NotStarted {
    /// The exit status that a shell has for this: 127 when there is no such program, else 126.
    pub code: u8,
    cause: String,
}

impl Outcome {
    /// Whether the command exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// `exit status 1` or `signal 9`, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit status".into(),
        }
    }
}

/// The longest line that is passed on; the rest of it is dropped, so that no program can fill our
/// memory.
const LINE_LIMIT: usize = 1 << 20;

/// Runs commands by plan, one at a time.
#[derive(Debug)]
pub struct Sandbox {
    /// The program that knows the verbs of the two stages.
    program: PathBuf,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::staged_by("/proc/self/exe")
    }
}

impl Sandbox {
    /// A sandbox whose stages are run by `program`, an osimg; for programs that use this library
    /// and know no such verbs.
    #[must_use]
    pub fn staged_by(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Runs the plan's command as [`Sandbox::carry_out`] does, with this very program for the
    /// stages.
    ///
    /// # Errors
    /// As [`Sandbox::carry_out`].
    pub fn run(plan: &Plan, limits: Limits, on_line: &mut dyn FnMut(Stream, &str) -> Result<()>) -> Result<Outcome> {
        Self::default().carry_out(plan, limits, on_line)
    }

    /// As [`Sandbox::run`], and calls `on_turn` at least every tenth of a second. Its failure ends
    /// the run as one of `on_line` does.
    ///
    /// # Errors
    /// As [`Sandbox::carry_out`], and those of `on_turn`.
    pub fn run_watched(
        plan: &Plan,
        limits: Limits,
        on_turn: &mut dyn FnMut() -> Result<()>,
        on_line: &mut dyn FnMut(Stream, &str) -> Result<()>,
    ) -> Result<Outcome> {
        Self::default().carry_out_watched(plan, limits, Turns { on_turn, longest: WATCHED_TURN }, on_line)
    }

    /// Runs the plan's command to its end and passes on every line that it prints.
    ///
    /// # Errors
    /// When the sandbox cannot be made ([`ExitCode::Host`]), a limit passes
    /// ([`ExitCode::TimedOut`]), a signal asked us to stop, or `on_line` fails; everything in the
    /// sandbox has ended then. A command that fails is no error here.
    pub fn carry_out(&self, plan: &Plan, limits: Limits, on_line: &mut dyn FnMut(Stream, &str) -> Result<()>) -> Result<Outcome> {
        self.carry_out_watched(plan, limits, Turns { on_turn: &mut || Ok(()), longest: TURN }, on_line)
    }

    fn carry_out_watched(
        &self,
        plan: &Plan,
        limits: Limits,
        turns: Turns<'_>,
        on_line: &mut dyn FnMut(Stream, &str) -> Result<()>,
    ) -> Result<Outcome> {
        let (socket, theirs) = UnixStream::pair().context("making the sandbox's socket")?;
        let piped = || if plan.terminal == Terminal::None { Stdio::piped() } else { Stdio::inherit() };
        #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
        let child = std::process::Command::new(&self.program)
            .arg(super::NAMESPACES_VERB)
            .arg(match plan.network {
                Network::Host => "host",
                Network::None => "none",
            })
            .arg(match plan.terminal {
                Terminal::None => "none",
                Terminal::Shared => "shared",
            })
            .arg(std::process::id().to_string())
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(piped())
            .stderr(piped())
            .spawn()
            .context("starting the sandbox")?;
        let mut stages = Stages { child, socket, ended: false };
        let input = std::io::stdin();
        super::input::send(&stages.socket, (plan.terminal == Terminal::Shared).then(|| input.as_fd()))?;
        send(&stages.socket, plan)?;
        let outcome = watch(&mut stages, limits, turns, on_line);
        stages.end();
        outcome
    }
}

/// The running stages; dropping them ends everything in the sandbox.
struct Stages {
    child: Child,
    socket: UnixStream,
    ended: bool,
}

/// Milliseconds for pid 1 to see that we want no more, and the kernel to end what it started; then
/// the first stage is killed.
const GRACE: u16 = 10_000;

impl Stages {
    fn first_has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("looking after the sandbox")?.is_some())
    }

    /// Ends the run, and returns when none of its processes can touch the root any more, which may
    /// be removed then.
    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        // Nobody reads on, and nobody shall wait for us to.
        drop((self.child.stdout.take(), self.child.stderr.take()));
        // Pid 1 sees this and exits; when it has, the kernel has ended every process of the build,
        // and the first stage exits too.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        if !self.ends_by_itself() {
            // Its death ends pid 1, and that every process of the build; but nobody waits for them.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    fn ends_by_itself(&mut self) -> bool {
        // Its number is someone else's once it was waited for.
        if self.first_has_ended().unwrap_or(true) {
            return true;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let Some(Ok(process)) = pid.map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())) else {
            return false;
        };
        loop {
            match poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::from(GRACE)) {
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

fn send(mut socket: &UnixStream, plan: &Plan) -> Result<()> {
    let bytes = serde_json::to_vec(plan).context("writing the sandbox's plan")?;
    if bytes.len() > PLAN_LIMIT {
        anyhow::bail!("writing the sandbox's plan: {} bytes are too many", bytes.len());
    }
    let size = u32::try_from(bytes.len()).context("writing the sandbox's plan")?;
    // A stage that died already shows itself as an ended socket later, with its own message on
    // stderr.
    let _ = socket.write_all(&size.to_be_bytes()).and_then(|()| socket.write_all(&bytes));
    Ok(())
}

/// A stream that is being cut into lines.
struct Lines {
    source: Option<OwnedFd>,
    stream: Stream,
    partial: Vec<u8>,
    overlong: bool,
}

impl Lines {
    fn new(source: Option<OwnedFd>, stream: Stream) -> Result<Self> {
        if let Some(fd) = &source {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("preparing a pipe")?;
        }
        Ok(Self { source, stream, partial: Vec::new(), overlong: false })
    }

    /// Reads what is there; closes itself at the end of the stream.
    fn drain(&mut self, on_line: &mut dyn FnMut(Stream, &str) -> Result<()>) -> Result<bool> {
        let mut buffer = [0u8; 16 << 10];
        let mut any = false;
        // Bounded, so that a flood on one stream cannot keep the time limits from being looked at.
        for _ in 0..64 {
            let Some(fd) = &self.source else { break };
            match nix::unistd::read(fd, &mut buffer) {
                Ok(0) => {
                    self.source = None;
                    if !self.partial.is_empty() {
                        self.emit(on_line)?;
                    }
                }
                Ok(count) => {
                    any = true;
                    for piece in buffer.get(..count).unwrap_or_default().split_inclusive(|b| *b == b'\n' || *b == b'\r') {
                        self.take(piece, on_line)?;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error).context("reading what the sandbox prints"),
            }
        }
        Ok(any)
    }

    fn take(&mut self, piece: &[u8], on_line: &mut dyn FnMut(Stream, &str) -> Result<()>) -> Result<()> {
        let (text, complete) = match piece.split_last() {
            Some((b'\n' | b'\r', text)) => (text, true),
            _ => (piece, false),
        };
        let room = LINE_LIMIT.saturating_sub(self.partial.len());
        self.overlong |= text.len() > room;
        self.partial.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
        if complete && (!self.partial.is_empty() || self.overlong) { self.emit(on_line) } else { Ok(()) }
    }

    fn emit(&mut self, on_line: &mut dyn FnMut(Stream, &str) -> Result<()>) -> Result<()> {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        self.overlong = false;
        on_line(self.stream, &line)
    }
}

/// Milliseconds that a turn of the loop waits for output at the longest, without a watcher and with
/// one.
const TURN: u16 = 500;
const WATCHED_TURN: u16 = 100;

/// What is done in each turn of the loop, and how long one may wait.
struct Turns<'a> {
    on_turn: &'a mut dyn FnMut() -> Result<()>,
    longest: u16,
}

fn watch(stages: &mut Stages, limits: Limits, turns: Turns<'_>, on_line: &mut dyn FnMut(Stream, &str) -> Result<()>) -> Result<Outcome> {
    let socket = stages.socket.try_clone().context("preparing the sandbox's socket")?;
    socket.set_nonblocking(true).context("preparing the sandbox's socket")?;
    let mut out = Lines::new(stages.child.stdout.take().map(OwnedFd::from), Stream::Out)?;
    let mut err = Lines::new(stages.child.stderr.take().map(OwnedFd::from), Stream::Err)?;
    let mut told = Vec::new();
    let mut last_words = process::Tail::new(4096);
    let mut clock = Clock::start();
    loop {
        clock.tick();
        if let Some(code) = process::stop_requested() {
            return Err(process::stopped(code).into());
        }
        check_limits(limits, &clock)?;
        (turns.on_turn)()?;
        if stages.first_has_ended()? {
            // Killed before pid 1 had bound itself to it, or at the run's end: our half of the
            // socket is what pid 1 watches too.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
        {
            let mut watched = vec![PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            watched.extend([&out, &err].iter().filter_map(|l| l.source.as_ref()).map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            match poll(&mut watched, PollTimeout::from(turns.longest)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("watching the sandbox"),
            }
        }
        let mut keep = |stream: Stream, line: &str| {
            if stream == Stream::Err {
                last_words.push(line);
            }
            on_line(stream, line)
        };
        if out.drain(&mut keep)? | err.drain(&mut keep)? {
            clock.silence = Duration::ZERO;
        }
        // The socket ends when the last process of the sandbox that holds it has ended.
        if read_status(&socket, &mut told)? && out.source.is_none() && err.source.is_none() {
            return conclude(&told, &last_words);
        }
    }
}

/// The most that one turn of the loop takes, with room for a machine under load; what is beyond was
/// no time of ours.
const LONGEST_TURN: Duration = Duration::from_secs(2);

/// How long a run took and how long it has said nothing, without the time in which we ourselves
/// were stopped.
struct Clock {
    turned: Instant,
    total: Duration,
    silence: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { turned: Instant::now(), total: Duration::ZERO, silence: Duration::ZERO }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let turn = (now - self.turned).min(LONGEST_TURN);
        self.turned = now;
        self.total += turn;
        self.silence += turn;
    }
}

fn check_limits(limits: Limits, clock: &Clock) -> Result<()> {
    let passed = |what: &str, limit: Duration| {
        Failure::new(ExitCode::TimedOut, format!("{what} of {} s passed: everything in the sandbox was ended", limit.as_secs()))
            .hint("raise it with --timeout or --idle-timeout, or timeout in the settings")
    };
    match limits {
        Limits { total: Some(limit), .. } if clock.total > limit => Err(passed("the time limit", limit).into()),
        Limits { idle: Some(limit), .. } if clock.silence > limit => Err(passed("the limit on silence", limit).into()),
        _ => Ok(()),
    }
}

/// Reads what pid 1 said; true at the end of the socket.
fn read_status(mut socket: &UnixStream, told: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0u8; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => told.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            // A stage that was killed with the plan half read.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error).context("listening to the sandbox"),
        }
    }
}

fn conclude(told: &[u8], last_words: &process::Tail) -> Result<Outcome> {
    let (mut outcome, mut told_owners) = (None, None);
    for line in told.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line).context("reading what pid 1 of the sandbox said")? {
            Status::Started => {}
            Status::Exited { code, signal, strays } => outcome = Some(Outcome { code, signal, strays, given: None }),
            Status::Crowded => {
                return Err(Failure::new(
                    ExitCode::Transaction,
                    format!("more than {PROCESSES} processes and threads ran in the sandbox at a time: everything in it was ended"),
                )
                .hint("a program in it starts others without end; -v shows what ran")
                .into());
            }
            Status::Given(given) => told_owners = Some(given),
            Status::Lost(why) => {
                return Err(Failure::new(
                    ExitCode::Transaction,
                    format!("following the packages' processes, for their files' owners: {why}"),
                )
                .hint("lend the user ids, so that files can be given away for real: osimg doctor says how")
                .into());
            }
            Status::NotStarted { program, code, cause } => {
                return Err(Failure::new(ExitCode::Host, format!("starting {program} in the sandbox"))
                    .because(NotStarted { code, cause })
                    .into());
            }
            Status::Failed { doing, cause } => {
                return Err(Failure::new(ExitCode::Host, format!("making the sandbox: {doing}: {cause}"))
                    .hint("run `osimg doctor` to see what this host allows")
                    .into());
            }
        }
    }
    outcome.map(|outcome| Outcome { given: told_owners, ..outcome }).ok_or_else(|| {
        let said = last_words.last(5);
        let tail = if said.trim().is_empty() { String::new() } else { format!(": {said}") };
        Failure::new(ExitCode::Unexpected, format!("the sandbox ended before its command did{tail}"))
            .hint("something killed it: look for the kernel's out-of-memory killer, or try again")
            .into()
    })
}
