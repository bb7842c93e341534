//! The reports of the stages to the supervisor over their socket: one JSON line each.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write, stdin};
use std::os::fd::AsFd;

use super::owned_file::OwnedFile;
use super::plan::Plan;
use crate::error::{Context, Result, invalid};

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
        let socket = stdin().as_fd().try_clone_to_owned().context("reporting to the supervisor")?;
        self.write(File::from(socket))
    }

    /// One line to another stage, or to the supervisor.
    pub(super) fn write(&self, mut to: impl Write) -> Result<()> {
        let mut line = serde_json::to_vec(self).context("reporting to the supervisor")?;
        line.push(b'\n');
        to.write_all(&line).context("reporting to the supervisor")
    }
}

/// The first argument of a stage; the second one names it.
pub(crate) const STAGE: &str = "osimg-sandbox-stage";
/// The first stage of a run: leaves the host's namespaces.
pub(crate) const NAMESPACES: &str = "namespaces";
/// The second stage of a run: pid 1.
pub(crate) const PID1: &str = "pid1";
/// The second stage of a run without namespaces.
pub(crate) const CONTAINED: &str = "contained";
/// The child of the probe that tries to do without namespaces.
pub(crate) const PROBE_CONTAINER: &str = "probe-container";
/// The first child of the probe.
pub(crate) const PROBE: &str = "probe";
/// The second child of the probe.
pub(crate) const PROBE_MOUNTS: &str = "probe-mounts";
/// The helper that maps the ids of a user namespace.
pub(crate) const MAP_IDS: &str = "map-ids";

/// The most that a plan may take on the wire; far above any real one.
const PLAN_LIMIT: usize = 64 << 20;

/// Sends a plan to a stage. If it has ended already, the socket ends too, and its message is on
/// stderr.
pub(crate) fn send_plan(mut to: impl Write, plan: &Plan) -> Result<()> {
    let bytes = serde_json::to_vec(plan).context("writing the sandbox's plan")?;
    if bytes.len() > PLAN_LIMIT {
        return Err(invalid(format!(
            "writing the sandbox's plan: {} bytes are too many",
            bytes.len()
        )));
    }
    let size = u32::try_from(bytes.len()).context("writing the sandbox's plan")?;
    let _ = to.write_all(&size.to_be_bytes()).and_then(|()| to.write_all(&bytes));
    Ok(())
}

/// Receives a plan in a stage.
pub(crate) fn receive_plan(mut from: impl Read) -> Result<Plan> {
    let mut size = [0u8; 4];
    from.read_exact(&mut size).context("receiving the sandbox's plan")?;
    let size = u32::from_be_bytes(size) as usize;
    if size > PLAN_LIMIT {
        return Err(invalid(format!("receiving the sandbox's plan: {size} bytes are too many")));
    }
    let mut bytes = vec![0; size];
    from.read_exact(&mut bytes).context("receiving the sandbox's plan")?;
    serde_json::from_slice(&bytes).context("reading the sandbox's plan")
}
