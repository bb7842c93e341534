//! The path of the rpmdb.

use std::path::Path;

use super::rpm_sandbox;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{PackageSettings, checked_dbpath};
use crate::sandbox::ToolRoot;

/// The default database path of the tools' rpm.
///
/// # Errors
/// If it cannot be run.
pub(crate) fn tools_dbpath(
    tools: &ToolRoot,
    scratch: &Path,
    root: &Path,
) -> Result<Option<String>> {
    let Some(database) = rpm_sandbox::tools_database(tools, scratch, root)? else {
        return Ok(None);
    };
    checked_dbpath(&database.path).map_err(|_| {
        let path = database.path.escape_debug();
        Failure::new(
            ExitCode::Transaction,
            format!("the rpm of the bootstrap root uses the database {path}"),
        )
        .hint("set `dbpath` under [packages]")
    })?;
    Ok(Some(database.path))
}

/// The path of the image's rpmdb, as far as it is known before any rpm runs.
#[must_use]
pub(crate) fn known_dbpath(settings: &PackageSettings) -> String {
    settings
        .dbpath
        .clone()
        .unwrap_or_else(|| default_dbpath(settings.releasever.as_deref()).to_owned())
}

/// The default path of the image's rpmdb: that of the host's rpm, which on EL and Fedora is also
/// the target's.
#[must_use]
pub(crate) fn default_dbpath(releasever: Option<&str>) -> &'static str {
    // EL 10 and Fedora moved it below /usr; EL 8, 9 and all others use the old path.
    match releasever
        .and_then(|version| version.split(['.', '-']).next())
        .and_then(|major| major.parse::<u32>().ok())
    {
        Some(major) if major == 10 || major >= 36 => "/usr/lib/sysimage/rpm",
        Some(_) => "/var/lib/rpm",
        None if Path::new("/usr/lib/sysimage/rpm/rpmdb.sqlite").exists() => "/usr/lib/sysimage/rpm",
        None => "/var/lib/rpm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rpmdb_is_where_the_release_expects_it() {
        assert_eq!(default_dbpath(Some("9")), "/var/lib/rpm");
        assert_eq!(default_dbpath(Some("9-stream")), "/var/lib/rpm");
        assert_eq!(default_dbpath(Some("10")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("10.1")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("44")), "/usr/lib/sysimage/rpm");
        assert_eq!(default_dbpath(Some("12")), "/var/lib/rpm");
    }
}
