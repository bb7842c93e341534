//! The threads between the walk and the outputs: one monitor through which blocks go, bounded in
//! number, to be packed and written in order.
//!
//! Every wait ends when the pool is stopped, so that a failure or a cancellation anywhere leaves no
//! thread behind.

use super::buffer::Buffer;
use super::compress::{Encoder, Piece, block_size};
use super::format::Format;
use super::stopped::Stopped;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a wait checks for a cancellation from outside, which wakes no thread.
const CANCELLATION: Duration = Duration::from_millis(100);

/// What the packing of one output needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) format: Format,
    /// The compressor's own number.
    pub(super) level: u32,
}

pub(super) struct Pool<'a> {
    lanes: Vec<Lane>,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Task>,
    lanes: Vec<Traffic>,
    stopped: bool,
    /// No more blocks will come.
    closed: bool,
    failure: Option<Error>,
}

/// The blocks of one output that are under way.
#[derive(Default)]
struct Traffic {
    limit: usize,
    under_way: usize,
    packed: BTreeMap<u64, Piece>,
    submitted: u64,
    finished: bool,
    spare_blocks: Vec<Buffer>,
    spare_pieces: Vec<Buffer>,
}

/// A block to be packed, and the buffer to pack it into.
struct Task {
    lane: usize,
    number: u64,
    block: Buffer,
}

/// How many blocks of a lane may be under way.
pub(super) fn lane_limit(format: Format, jobs: usize) -> usize {
    // Blocks of xz are large; few of them have to keep every job busy.
    if format == Format::Txz { jobs + 1 } else { 2 * jobs + 2 }
}

impl<'a> Pool<'a> {
    pub(super) fn new(
        lanes: Vec<Lane>,
        jobs: NonZeroUsize,
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let traffic = lanes
            .iter()
            .map(|lane| Traffic {
                limit: lane_limit(lane.format, jobs.get()),
                ..Traffic::default()
            })
            .collect();
        Self {
            lanes,
            cancelled,
            state: Mutex::new(State { lanes: traffic, ..State::default() }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// An empty block for the lane.
    pub(super) fn block(&self, lane: usize) -> Buffer {
        let spare = self.lock().lanes.get_mut(lane).and_then(|traffic| traffic.spare_blocks.pop());
        spare.unwrap_or_else(|| {
            Buffer::with_capacity(
                self.lanes.get(lane).map_or(1 << 20, |l| block_size(l.format, l.level)),
            )
        })
    }

    /// Waits while too many blocks of the lane are under way. Only then the next block is taken, so
    /// that no more of them exist than the estimate of the memory counts.
    pub(super) fn wait_for_room(&self, lane: usize) -> Result<(), Stopped> {
        let mut state = self.lock();
        loop {
            match state.lanes.get(lane) {
                _ if state.stopped => return Err(Stopped),
                Some(traffic) if traffic.under_way < traffic.limit => return Ok(()),
                Some(_) => state = self.wait(state),
                None => return Err(Stopped),
            }
        }
    }

    /// Hands a full block over to be packed and written; waits while too many of the lane are under
    /// way.
    pub(super) fn submit(&self, lane: usize, block: Buffer) -> Result<(), Stopped> {
        let packs = self.lanes.get(lane).is_some_and(|lane| lane.format != Format::Tar);
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Err(Stopped);
            }
            match state.lanes.get_mut(lane) {
                Some(traffic) if traffic.under_way < traffic.limit => {
                    let number = traffic.submitted;
                    traffic.submitted += 1;
                    traffic.under_way += 1;
                    if packs {
                        state.waiting.push_back(Task { lane, number, block });
                    } else {
                        let plain = block.filled().len() as u64;
                        traffic.packed.insert(number, Piece { bytes: block, unpadded: 0, plain });
                    }
                    self.changed.notify_all();
                    return Ok(());
                }
                Some(_) => state = self.wait(state),
                None => return Err(Stopped),
            }
        }
    }

    /// Packs blocks until there are no more: the life of a job.
    pub(super) fn pack(&self) {
        let _guard = StopOnPanic(self);
        let mut encoders: Vec<Option<Encoder>> = self.lanes.iter().map(|_| None).collect();
        while let Some((task, spare)) = self.next_task() {
            let Some(slot) = encoders.get_mut(task.lane) else { return };
            match self.pack_one(slot, &task, spare) {
                Ok(piece) => self.put_piece(task, piece),
                Err(error) => return self.fail(error),
            }
        }
    }

    fn pack_one(&self, slot: &mut Option<Encoder>, task: &Task, spare: Buffer) -> Result<Piece> {
        let encoder = match (slot, self.lanes.get(task.lane)) {
            (Some(encoder), _) => encoder,
            (empty, Some(lane)) => empty.insert(Encoder::new(lane.format, lane.level)?),
            (_, None) => return Err(Stopped.into()),
        };
        encoder.encode(task.block.filled(), spare, &|| self.lock().stopped || (self.cancelled)())
    }

    fn next_task(&self) -> Option<(Task, Buffer)> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(task) = state.waiting.pop_front() {
                let spare = state
                    .lanes
                    .get_mut(task.lane)
                    .and_then(|traffic| traffic.spare_pieces.pop())
                    .unwrap_or_default();
                return Some((task, spare));
            }
            if state.closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    fn put_piece(&self, mut task: Task, piece: Piece) {
        let mut state = self.lock();
        if let Some(traffic) = state.lanes.get_mut(task.lane) {
            traffic.packed.insert(task.number, piece);
            task.block.clear();
            traffic.spare_blocks.push(task.block);
        }
        self.changed.notify_all();
    }

    /// The lane's next piece in order; none at its end.
    pub(super) fn piece(&self, lane: usize, number: u64) -> Result<Option<Piece>, Stopped> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Err(Stopped);
            }
            let closed = state.closed;
            let Some(traffic) = state.lanes.get_mut(lane) else { return Err(Stopped) };
            if let Some(piece) = traffic.packed.remove(&number) {
                return Ok(Some(piece));
            }
            if closed && traffic.submitted == number {
                return Ok(None);
            }
            state = self.wait(state);
        }
    }

    /// Takes a written piece's buffer back and lets another block in.
    pub(super) fn written(&self, lane: usize, piece: Piece) {
        let mut bytes = piece.bytes;
        bytes.clear();
        let packs = self.lanes.get(lane).is_some_and(|lane| lane.format != Format::Tar);
        let mut state = self.lock();
        if let Some(traffic) = state.lanes.get_mut(lane) {
            traffic.under_way = traffic.under_way.saturating_sub(1);
            if packs { traffic.spare_pieces.push(bytes) } else { traffic.spare_blocks.push(bytes) }
        }
        self.changed.notify_all();
    }

    /// Says that a lane's output is whole.
    pub(super) fn finished(&self, lane: usize) {
        if let Some(traffic) = self.lock().lanes.get_mut(lane) {
            traffic.finished = true;
        }
        self.changed.notify_all();
    }

    /// Says that no more blocks will come, and waits until every output is whole.
    pub(super) fn close(&self) -> Result<(), Stopped> {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        loop {
            if state.stopped {
                return Err(Stopped);
            }
            if state.lanes.iter().all(|traffic| traffic.finished) {
                return Ok(());
            }
            state = self.wait(state);
        }
    }

    /// Stops everything; the first failure is the one that counts.
    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        if state.failure.is_none() && !error.is_stopped() {
            state.failure = Some(error);
        }
        state.stopped = true;
        self.changed.notify_all();
    }

    /// What stopped the pool, if it was a failure.
    pub(super) fn into_failure(self) -> Option<Error> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failure
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let (mut state, _) =
            self.changed.wait_timeout(state, CANCELLATION).unwrap_or_else(PoisonError::into_inner);
        if !state.stopped && (self.cancelled)() {
            state.stopped = true;
            self.changed.notify_all();
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The join of a thread that died reports it. The state itself is sound after every
        // statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the pool when its thread dies, or the others would wait for it for ever.
pub(super) struct StopOnPanic<'p, 'a>(pub(super) &'p Pool<'a>);

impl Drop for StopOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Stopped.into());
        }
    }
}
