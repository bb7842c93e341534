//! The data that every step of a build uses.

use std::time::SystemTime;

use super::options::Options;
use crate::recipe::{Recipe, Transaction};
use crate::report::Report;

/// The data that every step of a build uses.
pub(super) struct Build<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) transactions: &'a [Transaction],
    pub(super) options: &'a Options,
    pub(super) report: &'a Report,
    pub(super) started: SystemTime,
}
