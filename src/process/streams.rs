//! The standard streams. Reading and writing can wait for another process for any time, so both end
//! within a tenth of a second when a signal asks to stop.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{stop_requested, stopped};
use crate::error::ExitCode;

/// How long one poll waits, in milliseconds.
const SLICE: u8 = 100;

/// Standard input for data that the user pipes in. If a signal asks to stop, a read fails, and
/// [`super::check_stop`] returns the failure. The data read so far is then incomplete.
#[derive(Debug)]
pub struct Input;

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let stdin = std::io::stdin();
        loop {
            if let Some(code) = stop_requested() {
                return Err(Error::other(stopped(code)));
            }
            if ready(stdin.as_fd(), PollFlags::POLLIN, SLICE)? {
                match nix::unistd::read(&stdin, buffer) {
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    done => return Ok(done?),
                }
            }
        }
    }
}

/// Standard output or standard error. If a signal asks to stop, and the reader of a pipe or
/// terminal does not read, a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For results.
    Stdout,
    /// For messages.
    Stderr,
}

/// The number of bytes that a pipe takes without waiting once it is ready for writing
/// (`PIPE_BUF`, see pipe(7)).
const PIPE_BUF: usize = 4096;
/// Whether a reader did not read after a signal. Later messages do not wait for it again.
static ABANDONED: AtomicBool = AtomicBool::new(false);

/// The exit code of the signal after which a message was not written, if there is one.
#[must_use]
pub(crate) fn unwritten() -> Option<ExitCode> {
    ABANDONED.load(Ordering::Relaxed).then(stop_requested).flatten()
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let stream = match self {
            Self::Stdout => stdout.as_fd(),
            Self::Stderr => stderr.as_fd(),
        };
        loop {
            let time = if ABANDONED.load(Ordering::Relaxed) { 0 } else { SLICE };
            if ready(stream, PollFlags::POLLOUT, time)? {
                match nix::unistd::write(stream, bytes.get(..PIPE_BUF).unwrap_or(bytes)) {
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    done => return Ok(done?),
                }
            } else if let Some(code) = stop_requested() {
                ABANDONED.store(true, Ordering::Relaxed);
                return Err(Error::other(stopped(code)));
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl AsRawFd for Output {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Stdout => std::io::stdout().as_raw_fd(),
            Self::Stderr => std::io::stderr().as_raw_fd(),
        }
    }
}

/// Waits until the stream is ready, at most for this many milliseconds.
fn ready(stream: BorrowedFd<'_>, event: PollFlags, milliseconds: u8) -> Result<bool> {
    match poll(&mut [PollFd::new(stream, event)], PollTimeout::from(milliseconds)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
