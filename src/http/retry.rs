//! When a call is repeated, and how long it waits before.

use std::time::Duration;

use super::call::{Answer, Stop};
use super::error::Error;
use crate::process;

/// How often a call is made at most, and the first pause; each pause is twice the one before: two
/// seconds in all.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest that a server's own wish to wait is followed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The attempts at one call.
#[derive(Debug)]
pub struct Retry {
    stop: Stop,
    made: u32,
    pause: Duration,
}

impl Retry {
    /// Before the first attempt.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { stop, made: 1, pause: FIRST_PAUSE }
    }

    /// Whether another attempt may be made.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.made < ATTEMPTS
    }

    /// Pauses before another attempt, at least as long as the server asks; false when enough were
    /// made.
    ///
    /// # Errors
    /// When a signal asks to stop.
    pub fn again(&mut self, asked: Option<Duration>) -> Result<bool, Error> {
        if !self.is_left() {
            return Ok(false);
        }
        let time = asked.map_or(self.pause, |asked| asked.clamp(self.pause, LONGEST_PAUSE));
        match self.stop {
            Stop::Heed => process::pause(time).map_err(|_| Error::stopped())?,
            Stop::Ignore => std::thread::sleep(time),
        }
        self.pause *= 2;
        self.made += 1;
        Ok(true)
    }
}

/// Whether a server has a bad moment: another attempt may get another answer.
pub(super) fn is_passing(answer: &Answer) -> bool {
    answer.is(&[408, 425, 429, 500, 502, 503, 504])
}
