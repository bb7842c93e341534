//! How long a run may take.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// How long a run may take; in monotonic time, so that a change of the clock does not count, nor
/// the time in which the machine or the supervisor was stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// From start to end.
    pub total: Option<Duration>,
    /// Between two lines of output.
    pub idle: Option<Duration>,
}

/// The most that one turn of the supervisor's loop takes, with room for a machine under load. If a
/// turn took longer, the supervisor was stopped.
const LONGEST_TURN: Duration = Duration::from_secs(2);

/// How long a run took and how long it has been silent.
pub(crate) struct Elapsed {
    turned: Instant,
    total: Duration,
    silence: Duration,
}

impl Elapsed {
    pub(crate) fn start() -> Self {
        Self { turned: Instant::now(), total: Duration::ZERO, silence: Duration::ZERO }
    }

    /// Counts one turn of the loop.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        let turn = (now - self.turned).min(LONGEST_TURN);
        self.turned = now;
        self.total += turn;
        self.silence += turn;
    }

    /// The run printed something.
    pub(crate) fn reset_silence(&mut self) {
        self.silence = Duration::ZERO;
    }

    /// Fails when a limit has passed.
    pub(crate) fn check(&self, limits: Limits) -> Result<()> {
        let passed = |what: &str, limit: Duration| {
            let message = format!(
                "{what} of {} s passed: everything in the sandbox was ended",
                limit.as_secs()
            );
            Err(Error::new(ErrorKind::TimedOut, message))
        };
        match limits {
            Limits { total: Some(limit), .. } if self.total > limit => {
                passed("the time limit", limit)
            }
            Limits { idle: Some(limit), .. } if self.silence > limit => {
                passed("the limit on silence", limit)
            }
            _ => Ok(()),
        }
    }
}
