//! What pid 1 tells the supervisor over their socket: one JSON line each.

use serde::{Deserialize, Serialize};

/// A message of pid 1.
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
    /// The command ended.
    Exited {
        /// Its exit status, when it exited.
        code: Option<i32>,
        /// The signal that ended it, when one did.
        signal: Option<i32>,
        /// Names of the processes it left behind, which end with the sandbox.
        strays: Vec<String>,
    },
}

/// The most that a plan may take on the wire; far above any real one.
pub(super) const PLAN_LIMIT: usize = 4 << 20;
