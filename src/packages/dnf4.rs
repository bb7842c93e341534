//! dnf 4, through its Python API: truthful errors, real progress, groups by their names.

use std::path::Path;

use super::driver::{Driver, Phase, module_folders, refuse};
use super::events::TransactionPlan;
use super::{Failed, Job, PackageManager, Wanted};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{GroupAction, MarkAction, Transaction};
use crate::report::Step;
use crate::sandbox::{Plan, ToolRoot};

/// The driver's program and its parts.
pub(super) const FILES: &[(&str, &str)] = &[
    ("dnf4.py", include_str!("dnf4.py")),
    ("dnf4_files.py", include_str!("dnf4_files.py")),
    ("dnf4_jobs.py", include_str!("dnf4_jobs.py")),
    ("dnf4_progress.py", include_str!("dnf4_progress.py")),
];
/// How to get it.
const CURE: &str = "install it: apt-get install python3-dnf rpm   (on Fedora: dnf install python3-dnf)";

/// libcomps 0.1.21, which Debian 13 has, finds no group in a file, or crashes on it: recipes that name groups cannot be built there.
const TRIAL: &str = r#"
import dnf, libcomps
comps = libcomps.Comps()
comps.fromxml_str("<comps><group><id>g</id><name>G</name><packagelist><packagereq type='mandatory'>p</packagereq></packagelist></group>"
    "<environment><id>e</id><name>E</name><grouplist><groupid>g</groupid></grouplist></environment></comps>")
found = [(g.id, [p.name for p in g.packages]) for g in comps.groups], [(e.id, [g.name for g in e.group_ids]) for e in comps.environments]
if found != ([("g", ["p"])], [("e", ["g"])]):
    print("libcomps of this host cannot read groups of packages: it finds %s" % (found,))
"#;

/// dnf 4 of the host.
#[derive(Debug)]
pub(super) struct Dnf4 {
    driver: Driver,
    description: String,
}

impl Dnf4 {
    /// Looks for a Python that has dnf's module; `None` when the host has none.
    ///
    /// # Errors
    /// When the module is there and rpm is not.
    pub fn find(tools: &ToolRoot) -> Result<Option<Self>> {
        // EL 8 keeps dnf's Python apart from the one that people use.
        let python = ["platform-python", "python3"].into_iter().find_map(|name| tools.program(name));
        let (Some(python), Some(version)) = (python, module_version(tools)) else { return Ok(None) };
        super::need(tools, "rpm", "read the image's rpmdb", "rpm")?;
        Ok(Some(Self { description: format!("dnf {version}"), driver: Driver { name: "dnf 4", cure: CURE, files: FILES, python } }))
    }

    /// That there is none.
    pub fn missing() -> Failure {
        Failure::new(ExitCode::Host, "this host has no dnf 4, which fills the image").hint(CURE)
    }
}

impl PackageManager for Dnf4 {
    fn description(&self) -> &str {
        &self.description
    }

    fn download(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
        check(job, transaction)?;
        self.driver.download(job, Phase::Download, transaction, step)
    }

    fn resolve(&self, job: &Job<'_>, transaction: &Transaction, step: &Step<'_>) -> Result<TransactionPlan> {
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

/// What the driver does not do is refused by name.
pub(super) fn check(job: &Job<'_>, transaction: &Transaction) -> Result<()> {
    const HINT: &str = "an image that is built from nothing rarely needs it: install what it should hold";
    let what = if transaction.mark.iter().any(|mark| mark.action == MarkAction::Group) {
        "mark group"
    } else if transaction.group_changes.iter().any(|change| matches!(change.action, GroupAction::MarkInstall | GroupAction::MarkRemove)) {
        "group mark"
    } else if transaction.upgrade.iter().any(|u| u.minimal || !u.filters.is_empty()) {
        "upgrade-minimal"
    } else {
        return Ok(());
    };
    Err(refuse(job, transaction.line, &format!("'{what}' is understood, but not carried out yet"), HINT).into())
}

/// The version of dnf's module, by looking where Python looks.
fn module_version(tools: &ToolRoot) -> Option<String> {
    module_folders(tools).iter().find_map(|folder| {
        let text = std::fs::read_to_string(folder.join("dnf/const.py")).ok()?;
        let version = text.lines().find_map(|line| line.trim().strip_prefix("VERSION"))?;
        Some(version.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
    })
}
