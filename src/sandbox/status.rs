//! What the stages tell the supervisor over their socket: one JSON line each.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Write, stdin};
use std::os::fd::AsFd;

use super::given::Given;
use crate::error::Result;
use anyhow::Context;

/// A message of pid 1, or of the first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    /// The sandbox stands and the command runs.
    Started,
    /// The sandbox could not be made.
    Failed {
        /// What was being done.
        doing: String,
        /// Why it failed.
        cause: String,
    },
    /// The command could not be started.
    NotStarted {
        /// Its program.
        program: String,
        /// The exit status that a shell has for this: 127 when there is no such program, else 126.
        code: u8,
        /// Why.
        cause: String,
    },
    /// The command ended.
    Exited {
        /// Its exit status, when it exited.
        code: Option<i32>,
        /// The signal that ended it, when one did.
        signal: Option<i32>,
        /// Names of the processes it left behind, which end with the sandbox.
        strays: Vec<String>,
    },
    /// The command started more processes than it may; they end with the sandbox.
    Crowded,
    /// To whom the run gave files, told by the first stage at its end.
    Given(Vec<Given>),
    /// The first stage can follow the run no further, and ends it; why.
    Lost(String),
}

impl Status {
    /// One line to the supervisor, over the socket that is the stages' standard input.
    pub(super) fn tell(&self) -> Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let socket = stdin().as_fd().try_clone_to_owned().context("reporting to osimg")?;
        File::from(socket).write_all(&line).context("reporting to osimg")
    }
}

/// The most that a plan may take on the wire; far above any real one.
pub(super) const PLAN_LIMIT: usize = 64 << 20;
