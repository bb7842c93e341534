//! A stream that is being cut into lines.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::os::fd::OwnedFd;

use crate::error::{Context, Error, Result};

/// Which stream of the command a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Is called with each line that the command prints; its failure ends the run.
pub type OnLine<'a, E> = dyn FnMut(Stream, &str) -> Result<(), E> + 'a;

/// The longest line that is passed on; the rest of it is dropped, so that no program can fill our
/// memory.
const LINE_LIMIT: usize = 1 << 20;

/// One of the command's streams.
pub(crate) struct Lines {
    /// The pipe; `None` after its end.
    pub(crate) source: Option<OwnedFd>,
    stream: Stream,
    partial: Vec<u8>,
    overlong: bool,
}

impl Lines {
    pub(crate) fn new(source: Option<OwnedFd>, stream: Stream) -> Result<Self> {
        if let Some(fd) = &source {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("preparing a pipe")?;
        }
        Ok(Self { source, stream, partial: Vec::new(), overlong: false })
    }

    /// Reads what is there; closes itself at the end of the stream. Whether anything was there.
    pub(crate) fn drain<E: From<Error>>(&mut self, on_line: &mut OnLine<'_, E>) -> Result<bool, E> {
        let mut buffer = [0u8; 16 << 10];
        let mut any = false;
        // Bounded, so that a flood on one stream cannot keep the time limits from being checked.
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
                    for piece in buffer
                        .get(..count)
                        .unwrap_or_default()
                        .split_inclusive(|b| *b == b'\n' || *b == b'\r')
                    {
                        self.take(piece, on_line)?;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    return Err(Error::from(error)
                        .doing("reading the output of the sandbox")
                        .into());
                }
            }
        }
        Ok(any)
    }

    fn take<E>(&mut self, piece: &[u8], on_line: &mut OnLine<'_, E>) -> Result<(), E> {
        let (text, complete) = match piece.split_last() {
            Some((b'\n' | b'\r', text)) => (text, true),
            _ => (piece, false),
        };
        let room = LINE_LIMIT.saturating_sub(self.partial.len());
        self.overlong |= text.len() > room;
        self.partial.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
        if complete && (!self.partial.is_empty() || self.overlong) {
            self.emit(on_line)
        } else {
            Ok(())
        }
    }

    fn emit<E>(&mut self, on_line: &mut OnLine<'_, E>) -> Result<(), E> {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        self.overlong = false;
        on_line(self.stream, &line)
    }
}
