//! Accounts that cannot be made.

use crate::error::{ExitCode, Failure};

pub(super) fn refused(place: &str, why: &str) -> Failure {
    Failure::new(ExitCode::Recipe, format!("{place}: {why}"))
}
