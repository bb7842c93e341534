//! The privileges of a build.

use crate::error::Result;
use crate::report::Report;
use crate::sandbox::{Ids, Isolation, USUAL_IDS, become_root};

/// Chooses how packages are contained, becomes root, in a user namespace if necessary, and
/// reports both; see [`crate::sandbox::become_root`]. Must be called before any thread is started.
///
/// # Errors
/// When nothing contains them here, or not as well as demanded.
pub(super) fn act_as_root(report: &Report, demanded: Option<Isolation>) -> Result<Ids> {
    for line in crate::sandbox::choose_isolation(demanded)? {
        report.note(&line);
    }
    let was_root = nix::unistd::geteuid().is_root();
    let ids = if crate::sandbox::may_mount() { become_root()? } else { Ids::current()? };
    match ids {
        Ids::Mapped(count) if count < USUAL_IDS => report.warn(&format!(
            "building without root, with only the first {count} ids: a package with a file of \
             another owner cannot be installed"
        )),
        Ids::Mapped(count) if !was_root => {
            report.note(&format!("building without root, in a user namespace with {count} ids"))
        }
        Ids::Host | Ids::Mapped(_) => {}
        Ids::Single => report.warn(
            "building without root and with a single id: file ownership is recorded by tracing, \
             and scriptlets cannot switch users",
        ),
    }
    Ok(ids)
}
