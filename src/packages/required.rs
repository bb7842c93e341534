//! Programs that must exist.

use std::path::PathBuf;

use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::ToolRoot;

/// A required program of the tools.
pub(super) fn required_program(
    tools: &ToolRoot,
    name: &str,
    purpose: &str,
    packages: &str,
) -> Result<PathBuf> {
    tools.program(name).ok_or_else(|| {
        if tools.is_host() {
            Failure::new(
                ExitCode::Host,
                format!("{name} is not installed on this host; it is needed to {purpose}"),
            )
            .hint(format!("install it: apt-get install {packages}   (or: dnf install {packages})"))
            .into()
        } else {
            Failure::new(
                ExitCode::Host,
                format!("{} has no {name}, which is needed to {purpose}", tools.path().display()),
            )
            .hint("list the packages of the bootstrap root: bootstrap_packages under [packages]")
            .into()
        }
    })
}
