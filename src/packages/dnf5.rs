//! dnf 5, through libdnf5's Python API. A recipe gives the same packages as with dnf 4.

use super::Job;
use super::driver::{Driver, module_directories, refuse};
use super::required::required_program;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{ModuleAction, Transaction};
use crate::sandbox::ToolRoot;
use std::sync::Mutex;

/// The driver's program and its parts.
pub(super) const FILES: &[(&str, &str)] = &[
    ("dnf5.py", include_str!("drivers/dnf5.py")),
    ("dnf5_files.py", include_str!("drivers/dnf5_files.py")),
    ("dnf5_jobs.py", include_str!("drivers/dnf5_jobs.py")),
    ("dnf5_progress.py", include_str!("drivers/dnf5_progress.py")),
];
/// How to install it.
const INSTALL_HINT: &str = "install it: dnf install python3-libdnf5 python3-rpm   (on Debian: \
                            apt-get install python3-libdnf5 python3-rpm rpm)";

/// Checks that the modules exist and are recent enough.
const TRIAL: &str = "
import libdnf5.base, libdnf5.comps, libdnf5.repo, libdnf5.rpm, rpm
libdnf5.base.GoalJobSettings.set_environment_no_groups
libdnf5.base.Transaction.get_rpm_messages
libdnf5.repo.RepoSack.load_repos
rpm.TransactionSet.pgpImportPubkey
";

/// Looks for a Python with libdnf5's module; `None` if the host has none.
///
/// # Errors
/// If the module is installed but rpm is not.
pub(super) fn find(tools: &ToolRoot) -> Result<Option<Driver>> {
    let (Some(python), Some(version)) = (tools.program("python3"), module_version(tools)) else {
        return Ok(None);
    };
    required_program(tools, "rpm", "read the image's rpmdb", "rpm")?;
    let description = format!("dnf {version}");
    Ok(Some(Driver {
        name: "dnf 5",
        install_hint: INSTALL_HINT,
        files: FILES,
        python,
        description,
        trial: TRIAL,
        check,
        outside: Mutex::default(),
    }))
}

/// The failure if it is not installed.
pub(super) fn missing() -> Failure {
    Failure::new(
        ExitCode::Host,
        "dnf 5's Python module is not installed on this host; it installs the image's packages",
    )
    .hint(INSTALL_HINT)
}

/// dnf 5 supports streams of modules but not their profiles: neither its commands nor its Python
/// API can name one.
fn check(job: &Job<'_>, transaction: &Transaction) -> Result<()> {
    let profile = transaction.modules.iter().find(|m| {
        !matches!(m.action, ModuleAction::Enable | ModuleAction::Disable | ModuleAction::Reset)
    });
    match profile {
        Some(change) => {
            let line = change.specs.first().map_or(transaction.line, |spec| spec.line);
            let hint = "choose the stream with 'module enable NAME:STREAM' and install its \
                        packages by name, or use dnf 4";
            Err(refuse(job, line, "dnf 5 does not support module profiles", hint).into())
        }
        None => Ok(()),
    }
}

/// The version of libdnf5's module, found in Python's module directories.
fn module_version(tools: &ToolRoot) -> Option<String> {
    module_directories(tools).iter().find_map(|directory| {
        if !directory.join("libdnf5/__init__.py").is_file() {
            return None;
        }
        let names = std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut versions = names.filter_map(|name| {
            Some(name.strip_prefix("libdnf5-")?.strip_suffix(".dist-info")?.to_owned())
        });
        // Some builds do not include the module's description.
        Some(versions.next().unwrap_or_else(|| "5".into()))
    })
}
