//! dnf 5, through libdnf5's Python API: the same recipe gives the same packages as with dnf 4.

use super::Job;
use super::driver::{Driver, module_directories, refuse};
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
/// How to get it.
const CURE: &str = "install it: dnf install python3-libdnf5 python3-rpm   (on Debian: apt-get install python3-libdnf5 python3-rpm rpm)";

/// The modules are there, and new enough.
const TRIAL: &str = "
import libdnf5.base, libdnf5.comps, libdnf5.repo, libdnf5.rpm, rpm
libdnf5.base.GoalJobSettings.set_environment_no_groups
libdnf5.base.Transaction.get_rpm_messages
libdnf5.repo.RepoSack.load_repos
rpm.TransactionSet.pgpImportPubkey
";

/// Looks for a Python that has libdnf5's module; `None` when the host has none.
///
/// # Errors
/// When the module is there and rpm is not.
pub(super) fn find(tools: &ToolRoot) -> Result<Option<Driver>> {
    let (Some(python), Some(version)) = (tools.program("python3"), module_version(tools)) else { return Ok(None) };
    super::need(tools, "rpm", "read the image's rpmdb", "rpm")?;
    let description = format!("dnf {version}");
    Ok(Some(Driver { name: "dnf 5", cure: CURE, files: FILES, python, description, trial: TRIAL, check, outside: Mutex::default() }))
}

/// That there is none.
pub(super) fn missing() -> Failure {
    Failure::new(ExitCode::Host, "this host has no Python module of dnf 5, which fills the image").hint(CURE)
}

/// dnf 5 knows the streams of modules, and nothing of their profiles: neither its commands nor its
/// Python can name one.
fn check(job: &Job<'_>, transaction: &Transaction) -> Result<()> {
    let profile =
        transaction.modules.iter().find(|m| !matches!(m.action, ModuleAction::Enable | ModuleAction::Disable | ModuleAction::Reset));
    match profile {
        Some(change) => {
            let line = change.specs.first().map_or(transaction.line, |spec| spec.line);
            let hint = "choose the stream with 'module enable NAME:STREAM' and install its packages by name, or use dnf 4";
            Err(refuse(job, line, "dnf 5 does not carry out what concerns a module's profiles", hint).into())
        }
        None => Ok(()),
    }
}

/// The version of libdnf5's module, by looking where Python looks.
fn module_version(tools: &ToolRoot) -> Option<String> {
    module_directories(tools).iter().find_map(|directory| {
        if !directory.join("libdnf5/__init__.py").is_file() {
            return None;
        }
        let names = std::fs::read_dir(directory).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut versions = names.filter_map(|name| Some(name.strip_prefix("libdnf5-")?.strip_suffix(".dist-info")?.to_owned()));
        // Some builds leave the description of the module out.
        Some(versions.next().unwrap_or_else(|| "5".into()))
    })
}
