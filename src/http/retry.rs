//! Decides whether a call is repeated, and how long to wait before that.

use std::time::Duration;

use super::call::Stop;
use super::error::Error;
use crate::process;

/// The maximum number of attempts, and the first pause. Each pause is twice as long as the one
/// before: two seconds in total.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a server can request.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Retry {
    stop: Stop,
    made: u32,
    pause: Duration,
}

impl Retry {
    /// The state before the first attempt.
    #[must_use]
    pub(crate) fn new(stop: Stop) -> Self {
        Self { stop, made: 1, pause: FIRST_PAUSE }
    }

    /// Whether another attempt may be made.
    #[must_use]
    pub(crate) fn is_left(&self) -> bool {
        self.made < ATTEMPTS
    }

    /// Pauses before another attempt, at least as long as the server requests; returns false after
    /// the last attempt.
    ///
    /// # Errors
    /// If a signal asks to stop.
    pub(crate) fn again(&mut self, asked: Option<Duration>) -> Result<bool, Error> {
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

/// Whether a status is that of a temporary error: another attempt may succeed.
pub(crate) fn is_temporary(status: u16) -> bool {
    [408, 425, 429, 500, 502, 503, 504].contains(&status)
}
