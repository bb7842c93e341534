//! What passes between the caller's standard streams and a command that has them.
//!
//! The command never gets the caller's own descriptors. They would let code of the image change the
//! modes and owners of the files behind them, write to a file that was opened for reading, and walk
//! through directories. It gets pipes, or the end of a terminal of its own.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::plan::Terminal;
use crate::stdin;

impl Terminal {
    /// The caller's standard streams: a terminal when all of them are one, else pipes.
    #[must_use]
    pub fn of_caller() -> Self {
        if stdin().is_terminal() && stdout().is_terminal() && stderr().is_terminal() {
            Self::Own
        } else {
            Self::Pipes
        }
    }
}

/// The running relay. Dropping it ends it, and gives the caller's terminal its mode back.
pub(crate) struct Relay {
    /// Ends when all output was passed on.
    done: Option<OwnedFd>,
    /// Its end ends the reading of input.
    _input: OwnedFd,
    failure: Failure,
    mode: Mode,
}

/// What the stages are started with.
pub(crate) struct Ends {
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
    /// Is sent to the stage that starts the command.
    pub(crate) input: Option<OwnedFd>,
}

/// Why output could not be passed on.
type Failure = Arc<Mutex<Option<Errno>>>;

/// The mode that the caller's terminal had.
type Mode = Arc<Mutex<Option<Termios>>>;

/// Prepares the streams of a run.
pub(crate) fn start(terminal: Terminal) -> Result<(Ends, Option<Relay>)> {
    match terminal {
        Terminal::None => {
            Ok((Ends { stdout: Stdio::piped(), stderr: Stdio::piped(), input: None }, None))
        }
        Terminal::Pipes => pipes(),
        Terminal::Own => own_terminal(),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("making a pipe")
}

fn own(stream: &impl AsFd) -> Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned().context("duplicating a standard stream")
}

fn pipes() -> Result<(Ends, Option<Relay>)> {
    let from = own(&stdin())?;
    refuse_directory(&from)?;
    let ((done, running), (stop, ending)) = (pipe()?, pipe()?);
    let failure = Failure::default();
    let stdout = output(own(&stdout())?, &running, &failure)?;
    let stderr = output(own(&stderr())?, &running, &failure)?;
    let (input, to) = pipe()?;
    std::thread::spawn(move || pass_on(&from, &to, Some(&stop)));
    let relay = Relay { done: Some(done), _input: ending, failure, mode: Mode::default() };
    Ok((Ends { stdout, stderr, input: Some(input) }, Some(relay)))
}

/// A pipe whose content is passed on while `running` is open.
fn output(to: OwnedFd, running: &OwnedFd, failure: &Failure) -> Result<Stdio> {
    let (from, end) = pipe()?;
    let (running, failure) = (own(running)?, Arc::clone(failure));
    std::thread::spawn(move || {
        if let Err(errno) = pass_on(&from, &to, None) {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(errno);
        }
        drop(running);
    });
    Ok(Stdio::from(end))
}

/// It has no content to pass on.
fn refuse_directory(input: &OwnedFd) -> Result<()> {
    let stat = nix::sys::stat::fstat(input).context("examining standard input")?;
    if crate::directories::is(stat.st_mode, nix::sys::stat::SFlag::S_IFDIR) {
        return Err(Error::new(ErrorKind::Usage, "standard input is a directory")
            .with_hint("redirect it from a file, a pipe or /dev/null"));
    }
    Ok(())
}

fn own_terminal() -> Result<(Ends, Option<Relay>)> {
    let ((done, running), (stop, ending)) = (pipe()?, pipe()?);
    let (console, theirs) = UnixStream::pair().context("making the terminal's socket")?;
    let (input, output) = (own(&stdin())?, own(&stdout())?);
    let (resized, wake) = UnixStream::pair().context("making the wake-up pipe")?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGWINCH, wake)
        .context("watching the terminal's size")?;
    let mode = Mode::default();
    let caller = Arc::clone(&mode);
    std::thread::spawn(move || {
        // None comes if the sandbox could not be made.
        if let Ok(Some(terminal)) = stdin::receive(&console)
            && let Ok(other) = terminal.try_clone()
        {
            make_raw(&input, &caller);
            std::thread::spawn(move || type_in(&input, &terminal, &stop, &resized));
            // The end of a terminal is an error; the caller's own may be gone, too.
            let _ = pass_on(&other, &output, None);
            restore(&caller);
        }
        drop(running);
    });
    let ends =
        Ends { stdout: Stdio::inherit(), stderr: Stdio::inherit(), input: Some(theirs.into()) };
    let relay = Relay { done: Some(done), _input: ending, failure: Arc::default(), mode };
    Ok((ends, Some(relay)))
}

/// Every key goes to the command's terminal as it is.
fn make_raw(input: &OwnedFd, mode: &Mode) {
    if let Ok(before) = tcgetattr(input) {
        let mut raw = before.clone();
        raw.make_raw();
        let mut mode = mode.lock().unwrap_or_else(PoisonError::into_inner);
        if tcsetattr(input, OptionalActions::Drain, &raw).is_ok() {
            *mode = Some(before);
        }
    }
}

fn restore(mode: &Mode) {
    if let Some(before) = mode.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // It may be gone.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &before);
    }
}

/// Passes keys and the window's size on.
fn type_in(input: &OwnedFd, terminal: &OwnedFd, stop: &OwnedFd, resized: &UnixStream) {
    loop {
        if let Ok(size) = tcgetwinsize(input) {
            // A terminal without a size is as good.
            let _ = tcsetwinsize(terminal, size);
        }
        match pass_on_until(input, terminal, &[stop.as_fd(), resized.as_fd()]) {
            Ok(Some(1)) => {
                let _ = rustix::io::read(resized, &mut [0; 64]);
            }
            _ => return,
        }
    }
}

/// Copies until the end of `from`, until nobody reads `to` any more, or until `stop` ends.
fn pass_on(from: &OwnedFd, to: &OwnedFd, stop: Option<&OwnedFd>) -> Result<(), Errno> {
    let wake: Vec<BorrowedFd<'_>> = stop.iter().map(AsFd::as_fd).collect();
    pass_on_until(from, to, &wake).map(drop)
}

/// As [`pass_on`]; returns which of `wake` became readable.
fn pass_on_until(
    from: &OwnedFd,
    to: &OwnedFd,
    wake: &[BorrowedFd<'_>],
) -> Result<Option<usize>, Errno> {
    let mut buffer = [0; 16 << 10];
    loop {
        let mut watched: Vec<PollFd<'_>> =
            wake.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        watched.push(PollFd::new(from, PollFlags::IN));
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = |watched: &PollFd<'_>| !watched.revents().is_empty();
        if let Some(at) = watched.iter().take(wake.len()).position(ready) {
            return Ok(Some(at));
        }
        let count = match rustix::io::read(from, &mut buffer) {
            // A terminal whose other end is closed.
            Ok(0) | Err(Errno::IO) => return Ok(None),
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => return Err(errno),
        };
        match write_all(to, buffer.get(..count).unwrap_or_default()) {
            Err(Errno::PIPE | Errno::IO) => return Ok(None),
            done => done?,
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // The caller's pipe may be one that does not block.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

impl Relay {
    /// Ends when all output was passed on.
    pub(crate) fn done(&self) -> Option<BorrowedFd<'_>> {
        self.done.as_ref().map(AsFd::as_fd)
    }

    /// Whether all output was passed on.
    ///
    /// # Errors
    /// When some of it could not be written.
    pub(crate) fn is_done(&mut self) -> Result<bool> {
        if let Some(done) = &self.done {
            let now = Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 });
            if matches!(poll(&mut [PollFd::new(done, PollFlags::IN)], now), Ok(0) | Err(_)) {
                return Ok(false);
            }
            self.done = None;
        }
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(errno) => {
                Err(Error::from(std::io::Error::from(errno)).doing("writing the command's output"))
            }
            None => Ok(true),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        restore(&self.mode);
    }
}

/// Makes this process, which leads no process group, the leader of a session with a terminal of its
/// own, and sends the other end of that over the socket.
fn open_terminal(console: &OwnedFd) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).context("opening a terminal")?;
    unlockpt(&master).context("unlocking the terminal")?;
    let terminal = ioctl_tiocgptpeer(&master, flags).context("opening the terminal's end")?;
    nix::unistd::setsid().context("starting a session")?;
    rustix::process::ioctl_tiocsctty(&terminal).context("controlling the terminal")?;
    stdin::send(console, Some(master.as_fd()))?;
    Ok(terminal)
}

/// What the command's standard streams are.
pub(crate) fn streams(terminal: Terminal, input: Option<OwnedFd>) -> Result<[Stdio; 3]> {
    let input = || input.context("receiving standard input");
    Ok(match terminal {
        Terminal::None => [Stdio::null(), Stdio::inherit(), Stdio::inherit()],
        Terminal::Pipes => [Stdio::from(input()?), Stdio::inherit(), Stdio::inherit()],
        Terminal::Own => {
            let end = open_terminal(&input()?)?;
            [own(&end)?, own(&end)?, end].map(Stdio::from)
        }
    })
}
