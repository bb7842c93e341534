//! yum 3, the package manager of EL 7, through its Python API: for releases whose packages and rpmdb no dnf of theirs can fill.

use super::Job;
use super::driver::{Driver, Guard, Language, module_folders, refuse};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::Transaction;
use crate::sandbox::ToolRoot;

/// The driver's program and its parts.
pub(super) const FILES: &[(&str, &str)] = &[
    // Not yum.py: Python would take it for yum's own module.
    ("yum3.py", include_str!("yum3.py")),
    ("yum3_base.py", include_str!("yum3_base.py")),
    ("yum3_files.py", include_str!("yum3_files.py")),
    ("yum3_groups.py", include_str!("yum3_groups.py")),
    ("yum3_jobs.py", include_str!("yum3_jobs.py")),
    ("yum3_progress.py", include_str!("yum3_progress.py")),
    ("yum3_rpm.py", include_str!("yum3_rpm.py")),
];
/// How to get it.
const CURE: &str = "name a folder that holds an EL 7, such as an unpacked container image: bootstrap = \"DIR\" under [packages]; \
                    without manager there, whatever dnf this host has fills the image";

/// The modules are there.
const TRIAL: &str = "
import rpm, sqlitecachec, urlgrabber, yum
rpm.TransactionSet.pgpImportPubkey
";

/// Looks for a Python 2 that has yum's module; `None` when the tools have none.
///
/// # Errors
/// When the module is there and rpm is not.
pub(super) fn find(tools: &ToolRoot) -> Result<Option<Driver>> {
    let python = ["python2.7", "python2", "python"].into_iter().find_map(|name| tools.program(name));
    let (Some(python), Some(version)) = (python, module_version(tools)) else { return Ok(None) };
    super::need(tools, "rpm", "read the image's rpmdb", "rpm")?;
    super::need(tools, "rpmkeys", "check packages' signatures", "rpm")?;
    let (language, guard, description) = (Language::Two, Guard::Ourselves, format!("yum {version}"));
    Ok(Some(Driver { name: "yum 3", cure: CURE, files: FILES, python, language, guard, description, trial: TRIAL, check }))
}

/// That there is none.
pub(super) fn missing(tools: &ToolRoot) -> Failure {
    let whose = if tools.is_host() { "this host".to_owned() } else { tools.path().display().to_string() };
    Failure::new(ExitCode::Host, format!("{whose} has no yum 3, which fills the image")).hint(CURE)
}

/// What yum 3 does not know: modules, weak dependencies, and advisories without its plugins.
fn check(job: &Job<'_>, transaction: &Transaction) -> Result<()> {
    if let Some(change) = transaction.modules.first() {
        let line = change.specs.first().map_or(transaction.line, |spec| spec.line);
        let hint = "name packages by their versions, or repositories that hold the versions that are wanted";
        return Err(refuse(job, line, "yum 3 knows no modules", hint).into());
    }
    if let Some(upgrade) = transaction.upgrade.iter().find(|upgrade| upgrade.minimal || !upgrade.filters.is_empty()) {
        let line = upgrade.specs.first().map_or(transaction.line, |spec| spec.line);
        let hint = "name the versions: upgrade NAME-VERSION";
        return Err(refuse(job, line, "yum 3 does not narrow an upgrade to advisories", hint).into());
    }
    let weak = transaction.config.iter().any(|(key, value)| key == "install_weak_deps" && is_true(value));
    if weak || job.settings.install_weak_deps == Some(true) {
        let hint = "leave install_weak_deps out; what a package recommends is installed by its name";
        return Err(refuse(job, transaction.line, "yum 3 knows no recommendations", hint).into());
    }
    Ok(())
}

/// As a `config` line says yes.
fn is_true(value: &str) -> bool {
    ["1", "yes", "true", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// The version of yum's module, by looking where Python looks.
fn module_version(tools: &ToolRoot) -> Option<String> {
    module_folders(tools, Language::Two).iter().find_map(|folder| {
        let text = std::fs::read_to_string(folder.join("yum/__init__.py")).ok()?;
        let version = text.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
        Some(version.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
    })
}
