//! The findings that the user allows by name.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::installer::pieces::unrecognised_names;

/// The findings that the user allows: those of `osimg verify`, and those about boot pieces.
///
/// # Errors
/// If a name is unknown.
pub(super) fn allowed(names: &[String]) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (pieces, checks) = (unrecognised_names(), crate::verify::names());
    let known: Vec<&str> =
        checks.iter().copied().chain(pieces.iter().map(String::as_str)).collect();
    names.iter().try_for_each(|name| crate::verify::check_allowed(name, &known))?;
    let (of_pieces, of_image): (BTreeSet<String>, BTreeSet<String>) =
        names.iter().cloned().partition(|name| pieces.contains(name));
    Ok((of_image, of_pieces))
}
