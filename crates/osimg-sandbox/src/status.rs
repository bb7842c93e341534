//! The reports of the stages to the supervisor over their socket: one JSON line each.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Write, stdin};
use std::os::fd::AsFd;

use super::owned_file::OwnedFile;
use crate::error::{Context, Result};

/// A report of pid 1, or of the first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    /// The sandbox is made and the command runs.
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
    TooManyProcesses,
    /// The owners of the files, reported by the first stage at its end.
    Owners(Vec<OwnedFile>),
    /// The first stage cannot trace the run any further, and ends it; why.
    Lost(String),
}

impl Status {
    /// One line to the supervisor, over the socket that is the stages' standard input.
    pub(super) fn report(&self) -> Result<()> {
        let mut line = serde_json::to_vec(self).context("reporting to the supervisor")?;
        line.push(b'\n');
        let socket = stdin().as_fd().try_clone_to_owned().context("reporting to the supervisor")?;
        File::from(socket).write_all(&line).context("reporting to the supervisor")
    }
}

/// The first argument of a stage; the second one names it.
pub(crate) const STAGE: &str = "osimg-sandbox-stage";
/// The first stage of a run: leaves the host's namespaces.
pub(crate) const NAMESPACES: &str = "namespaces";
/// The second stage of a run: pid 1.
pub(crate) const PID1: &str = "pid1";
/// The first child of the probe.
pub(crate) const PROBE: &str = "probe";
/// The second child of the probe.
pub(crate) const PROBE_MOUNTS: &str = "probe-mounts";
/// The helper that maps the ids of a user namespace.
pub(crate) const MAP_IDS: &str = "map-ids";

/// The most that a plan may take on the wire; far above any real one.
pub(super) const PLAN_LIMIT: usize = 64 << 20;
