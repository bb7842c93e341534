//! A verb that a signal ended.

use crate::error::{self, Failure};
use crate::process;

/// Adds to the failure by a signal that nothing was published.
pub(super) fn unpublished(failure: anyhow::Error) -> anyhow::Error {
    let Some(code) = process::stop_requested() else { return failure };
    let error::Explained { message, hints } = error::explain(&failure);
    let stopped = Failure::new(code, format!("{message}: nothing was published"));
    hints.into_iter().fold(stopped, Failure::hint).into()
}
