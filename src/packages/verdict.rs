//! The check of a finished transaction. It relies on the rpmdb, the scriptlets and the groups, not
//! on an exit status.

use std::collections::BTreeSet;

use super::events::TransactionPlan;
use super::hints::LOOK;
use super::keys::PinnedKey;
use super::rpm_sandbox::Database;
use super::rpmdb::InstalledPackage;
use super::scriptlet::FailedScriptlet;
use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::{InstallRoot, Kind};

/// The facts after the last transaction.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The planned result of each transaction, in order.
    pub plans: &'a [TransactionPlan],
    /// The packages in the rpmdb.
    pub installed: &'a [InstalledPackage],
    /// The names of the keys in the rpmdb.
    pub keys_found: &'a [String],
    /// The keys that are allowed; `None` allows any.
    pub keys_pinned: Option<&'a [PinnedKey]>,
    /// Failed scriptlets with their messages and packages.
    pub failed_scriptlets: &'a [FailedScriptlet],
    /// Packages with scriptlets that may fail, from the settings.
    pub allowed_failures: &'a [String],
    /// The path of the rpmdb, and the path that the image's own rpm uses.
    pub dbpath: &'a str,
    /// The latter; `None` if the image has no rpm.
    pub target_database: Option<&'a Database>,
    /// The format in which it was written, if known.
    pub backend: Option<&'a str>,
}

/// Reports all problems at once.
///
/// # Errors
/// One failure that lists every problem.
pub(super) fn judge(evidence: &Evidence<'_>, root: &InstallRoot) -> Result<()> {
    let mut findings = Vec::new();
    packages(evidence, &mut findings);
    scriptlets(evidence, &mut findings);
    keys(evidence, &mut findings);
    tree(evidence, root, &mut findings)?;
    if findings.is_empty() {
        return Ok(());
    }
    let list = findings.iter().map(|f| format!("\n  - {f}")).collect::<String>();
    let mut failure = Failure::new(
        ExitCode::Transaction,
        format!(
            "the package manager reported no error, but the image does not match the recipe:{list}"
        ),
    );
    if !evidence.failed_scriptlets.is_empty() {
        failure = failure.hint(
            "to allow a scriptlet to fail, add its package to the settings: [packages] \
             allow_failed_scriptlets = [\"name\"]",
        );
    }
    Err(failure.hint(LOOK).into())
}

fn packages(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let mut expected: BTreeSet<&str> = BTreeSet::new();
    for plan in evidence.plans {
        for gone in &plan.remove {
            expected.remove(gone.as_str());
        }
        expected.extend(plan.install.iter().map(|p| p.nevra.as_str()));
    }
    let installed: BTreeSet<&str> = evidence.installed.iter().map(|p| p.nevra.as_str()).collect();
    if installed.is_empty() {
        findings.push("no package is installed".to_owned());
    }
    findings.extend(
        expected
            .difference(&installed)
            .map(|nevra| format!("{nevra} was planned but is not installed")),
    );
    findings.extend(
        installed
            .difference(&expected)
            .map(|nevra| format!("{nevra} is installed but was not planned")),
    );
    let names: BTreeSet<&str> = evidence.installed.iter().map(|p| p.name.as_str()).collect();
    for plan in evidence.plans {
        for spec in &plan.specs {
            if !spec.packages.iter().any(|nevra| installed.contains(nevra.as_str()))
                && !removed_later(evidence.plans, &spec.packages)
            {
                findings.push(format!(
                    "line {}: nothing installed satisfies '{}'",
                    spec.line, spec.text
                ));
            }
        }
        for group in &plan.groups {
            let missing: Vec<&str> = group
                .mandatory
                .iter()
                .map(String::as_str)
                .filter(|name| !names.contains(name))
                .collect();
            if !missing.is_empty()
                && !missing.iter().all(|name| removed_by_name(evidence.plans, name))
            {
                findings.push(format!(
                    "line {}: {} '{}' lacks its mandatory {}",
                    group.line,
                    group.kind,
                    group.name,
                    missing.join(", ")
                ));
            }
        }
    }
}

/// Whether a later transaction of the recipe removed all of them.
fn removed_later(plans: &[TransactionPlan], nevras: &[String]) -> bool {
    !nevras.is_empty()
        && nevras.iter().all(|nevra| plans.iter().any(|plan| plan.remove.contains(nevra)))
}

fn removed_by_name(plans: &[TransactionPlan], name: &str) -> bool {
    plans.iter().any(|plan| {
        plan.remove
            .iter()
            .any(|nevra| nevra.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
    })
}

fn scriptlets(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    for failed in evidence.failed_scriptlets {
        if evidence.allowed_failures.contains(&failed.package) {
            continue;
        }
        let output = if failed.output.trim().is_empty() {
            String::new()
        } else {
            format!("\n      {}", failed.output.replace('\n', "\n      "))
        };
        findings.push(format!("{}{output}", failed.message));
    }
}

fn keys(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let Some(pinned) = evidence.keys_pinned else { return };
    for found in evidence.keys_found {
        // rpm 4 uses the last eight digits of a key's id, rpm 6 the full fingerprint.
        if !pinned.iter().any(|key| key.has_id(found)) {
            findings
                .push(format!("the rpmdb trusts the key {found}, which the settings do not pin"));
        }
    }
}

fn tree(evidence: &Evidence<'_>, root: &InstallRoot, findings: &mut Vec<String>) -> Result<()> {
    if let Some(Database { path: target, .. }) = evidence.target_database
        && target != evidence.dbpath
        && !same_directory(root, target, evidence.dbpath)?
    {
        findings.push(format!(
            "the rpmdb is in {}, but the image's rpm uses {target}: set dbpath = \"{target}\" \
             under [packages]",
            evidence.dbpath
        ));
    }
    if let (Some(Database { backend, .. }), Some(written)) =
        (evidence.target_database, evidence.backend)
        && backend != written
    {
        findings.push(format!(
            "the rpmdb has the format {written}, but the image's rpm reads {backend}: set \
             bootstrap = true under [packages], which builds with the image's own rpm"
        ));
    }
    if root.kind("root/.rpmdb".as_ref())?.is_some() {
        findings.push("a stray rpmdb is in /root/.rpmdb".to_owned());
    }
    if root.kind("dev/null".as_ref())? == Some(Kind::File) {
        findings.push("/dev/null is a regular file".to_owned());
    }
    Ok(())
}

/// Whether one path is a link to the other in the image, as EL and Fedora link the old path.
fn same_directory(root: &InstallRoot, a: &str, b: &str) -> Result<bool> {
    let leads = |from: &str, to: &str| -> Result<bool> {
        Ok(root.read_link(from.as_ref())?.is_some_and(|target| {
            let joined = if target.is_absolute() {
                target
            } else {
                std::path::Path::new(from).parent().unwrap_or("/".as_ref()).join(target)
            };
            normal(&joined) == normal(to.as_ref())
        }))
    };
    Ok(leads(a, b)? || leads(b, a)?)
}

/// A path without `.` and `..`; links are not resolved.
fn normal(path: &std::path::Path) -> std::path::PathBuf {
    let mut out = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => out.push(name),
            std::path::Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::events::{GroupMatch, PlannedPackage, SpecMatch};

    fn planned(nevra: &str) -> PlannedPackage {
        PlannedPackage {
            nevra: nevra.into(),
            name: nevra.split('-').next().unwrap_or_default().into(),
            arch: "noarch".into(),
            version: "1".into(),
            release: "1".into(),
            repo: "r".into(),
            location: "l".into(),
            size: 1,
            installed: 1,
            built: 0,
            checksum: None,
            reason: "user".into(),
            path: None,
        }
    }

    fn installed(nevra: &str) -> InstalledPackage {
        InstalledPackage {
            nevra: nevra.into(),
            name: nevra.split('-').next().unwrap_or_default().into(),
            size: 1,
            license: String::new(),
            source: String::new(),
            vendor: None,
            url: None,
            summary: None,
        }
    }

    fn verdict(
        plan: TransactionPlan,
        installed: &[InstalledPackage],
        failed: &[FailedScriptlet],
        allowed: &[String],
    ) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = InstallRoot::open(dir.path()).expect("root");
        let evidence = Evidence {
            plans: &[plan],
            installed,
            keys_found: &[],
            keys_pinned: None,
            failed_scriptlets: failed,
            allowed_failures: allowed,
            dbpath: "/var/lib/rpm",
            target_database: None,
            backend: Some("sqlite"),
        };
        judge(&evidence, &root).map_err(|e| e.to_string())
    }

    #[test]
    fn an_image_that_matches_the_plan_passes() {
        let plan =
            TransactionPlan { install: vec![planned("a-0:1-1.noarch")], ..Default::default() };
        assert_eq!(verdict(plan, &[installed("a-0:1-1.noarch")], &[], &[]), Ok(()));
    }

    #[test]
    fn all_problems_are_listed_at_once() {
        let plan = TransactionPlan {
            install: vec![planned("a-0:1-1.noarch"), planned("b-0:1-1.noarch")],
            specs: vec![SpecMatch {
                text: "b".into(),
                line: 7,
                packages: vec!["b-0:1-1.noarch".into()],
            }],
            groups: vec![GroupMatch {
                name: "Core".into(),
                id: "core".into(),
                kind: "group".into(),
                line: 2,
                mandatory: vec!["zz".into()],
            }],
            ..Default::default()
        };
        let failed =
            FailedScriptlet::new("Error in POSTIN scriptlet in rpm package a", "boom".into());
        let text = verdict(
            plan,
            &[installed("a-0:1-1.noarch"), installed("c-0:1-1.noarch")],
            &[failed],
            &[],
        )
        .expect_err("findings");
        for part in [
            "b-0:1-1.noarch was planned",
            "c-0:1-1.noarch is installed",
            "line 7",
            "lacks its mandatory zz",
            "POSTIN scriptlet",
            "boom",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }

    #[test]
    fn a_scriptlet_that_may_fail_is_not_reported() {
        let plan =
            TransactionPlan { install: vec![planned("a-0:1-1.noarch")], ..Default::default() };
        let failed =
            FailedScriptlet::new("Error in POSTIN scriptlet in rpm package a", String::new());
        assert_eq!(verdict(plan, &[installed("a-0:1-1.noarch")], &[failed], &["a".into()]), Ok(()));
    }

    #[test]
    fn an_empty_image_is_always_refused() {
        assert!(verdict(TransactionPlan::default(), &[], &[], &[]).is_err());
    }
}
