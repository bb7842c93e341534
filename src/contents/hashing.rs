//! Digests computed on a thread of their own, beside the thread that undoes the compression.

use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::options::Digests;
use crate::error::Result;
use anyhow::{Context, anyhow};

/// How many pieces may wait; a piece has at most some 128 KiB.
const WAITING: usize = 64;
/// Pieces smaller than this are sent together.
const BATCH: usize = 1 << 16;

/// The digests of files, by their numbers.
type Digested = Vec<(usize, [u8; 32])>;

/// The messages to the thread.
enum Piece {
    Data(Vec<u8>),
    Zeros(u64),
    /// The content of the file with this number is complete.
    End(usize),
}

/// Digests the contents of files, one after the other.
pub(super) struct Hasher {
    pieces: Option<SyncSender<Vec<Piece>>>,
    batch: Vec<Piece>,
    batched: usize,
    thread: Option<JoinHandle<Digested>>,
}

impl Hasher {
    pub(super) fn new(digests: Digests) -> Result<Self> {
        let (pieces, thread) = match digests {
            Digests::None => (None, None),
            Digests::Sha256 => {
                let (sender, receiver) = sync_channel(WAITING);
                let thread = std::thread::Builder::new()
                    .name("digest".into())
                    .spawn(move || digest_all(&receiver));
                (Some(sender), Some(thread.context("starting a thread")?))
            }
        };
        Ok(Self { pieces, batch: Vec::new(), batched: 0, thread })
    }

    pub(super) fn is_on(&self) -> bool {
        self.pieces.is_some()
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(Piece::Data(bytes.to_vec()), bytes.len())
    }

    pub(super) fn zeros(&mut self, count: u64) -> Result<()> {
        self.put(Piece::Zeros(count), 0)
    }

    pub(super) fn end(&mut self, number: usize) -> Result<()> {
        self.put(Piece::End(number), 64)
    }

    fn put(&mut self, piece: Piece, weight: usize) -> Result<()> {
        self.batch.push(piece);
        self.batched += weight;
        if self.batched < BATCH { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        self.batched = 0;
        let batch = std::mem::take(&mut self.batch);
        match &self.pieces {
            Some(pieces) => {
                pieces.send(batch).map_err(|_| anyhow!("digesting contents: the thread ended"))
            }
            None => Ok(()),
        }
    }

    /// The digests, by the numbers of the files.
    pub(super) fn finish(mut self) -> Result<Digested> {
        self.send()?;
        drop(self.pieces.take());
        match self.thread.take() {
            Some(thread) => {
                thread.join().map_err(|_| anyhow!("digesting contents: the thread failed"))
            }
            None => Ok(Vec::new()),
        }
    }
}

fn digest_all(batches: &Receiver<Vec<Piece>>) -> Digested {
    let zeros = vec![0; BATCH];
    let mut digests = Vec::new();
    let mut present = Sha256::new();
    for piece in batches.iter().flatten() {
        match piece {
            Piece::Data(bytes) => present.update(&bytes),
            Piece::Zeros(mut count) => {
                while count > 0 {
                    let part = BATCH.min(usize::try_from(count).unwrap_or(BATCH));
                    present.update(zeros.get(..part).unwrap_or_default());
                    count -= part as u64;
                }
            }
            Piece::End(number) => {
                digests.push((number, std::mem::take(&mut present).finalize().into()))
            }
        }
    }
    digests
}

/// Passes a tarball on, counts it and digests it.
pub(super) struct Tee<R> {
    source: R,
    passed: Rc<Passed>,
}

/// What is known of what was passed on.
pub(super) struct Passed {
    bytes: Cell<u64>,
    hasher: Cell<Option<Hasher>>,
    failed: Cell<Option<anyhow::Error>>,
}

impl<R: Read> Tee<R> {
    pub(super) fn new(source: R, digests: Digests) -> Result<(Self, Rc<Passed>)> {
        let passed = Rc::new(Passed {
            bytes: Cell::new(0),
            hasher: Cell::new(Some(Hasher::new(digests)?)),
            failed: Cell::new(None),
        });
        Ok((Self { source, passed: passed.clone() }, passed))
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(room)?;
        self.passed.bytes.set(self.passed.bytes.get() + count as u64);
        if let Some(mut hasher) = self.passed.hasher.take() {
            if hasher.is_on()
                && let Err(error) = hasher.data(room.get(..count).unwrap_or_default())
            {
                self.passed.failed.set(Some(error));
            }
            self.passed.hasher.set(Some(hasher));
        }
        Ok(count)
    }
}

impl Passed {
    /// Bytes passed on so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Bytes passed on and their digest.
    pub(super) fn finish(&self) -> Result<(u64, Option<[u8; 32]>)> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(mut hasher) = self.hasher.take() else { return Ok((self.bytes(), None)) };
        hasher.end(0)?;
        Ok((self.bytes(), hasher.finish()?.first().map(|(_, digest)| *digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_of_the_right_files() {
        let mut hasher = Hasher::new(Digests::Sha256).unwrap();
        hasher.data(b"ab").unwrap();
        hasher.data(b"c").unwrap();
        hasher.end(7).unwrap();
        hasher.end(8).unwrap();
        hasher.zeros(3).unwrap();
        hasher.end(9).unwrap();
        let expected = |text: &[u8]| -> [u8; 32] { Sha256::digest(text).into() };
        assert_eq!(
            hasher.finish().unwrap(),
            [(7, expected(b"abc")), (8, expected(b"")), (9, expected(b"\0\0\0"))]
        );
    }

    #[test]
    fn what_passes_through_is_counted_and_digested() {
        let (mut tee, passed) = Tee::new(b"abc".as_slice(), Digests::Sha256).unwrap();
        let mut out = Vec::new();
        tee.read_to_end(&mut out).unwrap();
        assert_eq!(out, b"abc");
        assert_eq!(passed.finish().unwrap(), (3, Some(Sha256::digest(b"abc").into())));
    }
}
