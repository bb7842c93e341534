//! dnf 5, through libdnf5's Python API: the same recipe gives the same packages as with dnf 4.

use std::path::Path;

use super::dnf4;
use super::driver::{Driver, Phase, module_folders, refuse};
use super::events::TransactionPlan;
use super::{Failed, Job, PackageManager, Wanted};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{ModuleAction, Transaction};
use crate::report::Step;
use crate::sandbox::{Plan, ToolRoot};

/// The driver's program and its parts.
pub(super) const FILES: &[(&str, &str)] = &[
    ("dnf5.py", include_str!("dnf5.py")),
    ("dnf5_files.py", include_str!("dnf5_files.py")),
    ("dnf5_jobs.py", include_str!("dnf5_jobs.py")),
    ("dnf5_progress.py", include_str!("dnf5_progress.py")),
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

/// dnf 5 of the host.
#[derive(Debug)]
pub(super) struct Dnf5 {
    driver: Driver,
    description: String,
}

impl Dnf5 {
    /// Looks for a Python that has libdnf5's module; `None` when the host has none.
    ///
    /// # Errors
    /// When the module is there and rpm is not.
    pub fn find(tools: &ToolRoot) -> Result<Option<Self>> {
        let (Some(python), Some(version)) = (tools.program("python3"), module_version(tools)) else { return Ok(None) };
        super::need(tools, "rpm", "read the image's rpmdb", "rpm")?;
        Ok(Some(Self { description: format!("dnf {version}"), driver: Driver { name: "dnf 5", cure: CURE, files: FILES, python } }))
    }

    /// That there is none.
    pub fn missing() -> Failure {
        Failure::new(ExitCode::Host, "this host has no Python module of dnf 5, which fills the image").hint(CURE)
    }
}

impl PackageManager for Dnf5 {
    fn description(&self) -> &str {
        &self.description
    }

    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        dnf4::check(job, transaction)?;
        check(job, transaction)?;
        self.driver.download(job, Phase::Download, transaction, step)
    }

    fn resolve(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        dnf4::check(job, transaction)?;
        check(job, transaction)?;
        self.driver.download(job, Phase::Resolve, transaction, step)
    }

    fn fetch(&self, job: &Job<'_>, wanted: &[Wanted<'_>], step: &Step<'_>) -> Result<()> {
        self.driver.fetch(job, wanted, step)
    }

    fn install_files(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>> {
        self.driver.install_files(job, transaction, plan, step)
    }

    fn install(&self, job: &Job<'_>, transaction: &Transaction, plan: &TransactionPlan, step: &Step<'_>) -> Result<Vec<Failed>> {
        self.driver.install(job, transaction, plan, step)
    }

    fn try_out(&self, root: &Path, scratch: &Path) -> Result<()> {
        self.driver.try_out(TRIAL, root, scratch)
    }

    fn install_plan(&self, job: &Job<'_>) -> Result<Plan> {
        self.driver.sandbox(job, Phase::Install, None, &serde_json::Value::Null)
    }
}

/// dnf 5 knows the streams of modules, and nothing of their profiles.
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
    module_folders(tools).iter().find_map(|folder| {
        if !folder.join("libdnf5/__init__.py").is_file() {
            return None;
        }
        let names = std::fs::read_dir(folder).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut versions = names.filter_map(|name| Some(name.strip_prefix("libdnf5-")?.strip_suffix(".dist-info")?.to_owned()));
        // Some builds leave the description of the module out.
        Some(versions.next().unwrap_or_else(|| "5".into()))
    })
}
