//! `osimg doctor`: tries what this host, or a cloud, can do, and shows the commands that fix the
//! rest.

use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

use super::output;
use crate::build::image_plan;
use crate::deploy::doctor::examine;
use crate::error::{ExitCode, Result, explain};
use crate::packages;
use crate::process::{CommandLine, find_program};
use crate::recipe::ManagerChoice;
use crate::report::Report;
use crate::sandbox::{
    self, Devices, Ids, Isolation, Limits, Network, Outcome, Owners, Probe, SubordinateIds,
    ToolRoot, USUAL_IDS, View, become_root,
};
use crate::workdir::{self, LeftoverState};

/// The usual place of workdirs.
const WORKDIRS: &str = "/var/tmp";

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Examine this cloud of clouds.yaml instead of this host
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// The project, or its id, that Ironic's conductor uses to read Glance
    #[arg(long, value_name = "PROJECT", default_value = "service", requires = "cloud")]
    conductor_project: String,
    /// Remove the workdirs of killed builds; never one in use, never across a mount
    #[arg(long)]
    clean: bool,
    /// With --clean: also remove those kept for `osimg shell`
    #[arg(long, requires = "clean")]
    kept: bool,
    /// Where to look for workdirs, besides /var/tmp
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    /// The name of the check.
    check: String,
    /// Whether it works.
    works: bool,
    /// The result.
    found: String,
    /// The command that fixes it.
    fix: Option<String>,
}

impl Doctor {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if let Some(cloud) = &self.cloud {
            return self.examine(cloud, report, json);
        }
        if self.clean {
            return self.clean_up(report, json);
        }
        let workdirs = self.workdir.as_deref().unwrap_or(Path::new(WORKDIRS));
        let probe = sandbox::probe()?;
        let mut findings = vec![isolation(&probe)];
        if probe.killed {
            // What is tried next would be killed too.
            findings.extend([rpm(), space(workdirs, 3 << 30), memory(), leftovers(workdirs)]);
            return conclude(&findings, report, json);
        }
        if probe.isolation.is_some() {
            sandbox::choose_isolation(None)?;
        }
        findings.extend(privilege());
        let trial = trial();
        findings.extend([owners(workdirs, trial.as_ref().ok()), capabilities(workdirs)]);
        findings.extend([
            package_manager(),
            rpm(),
            sandbox(&trial),
            space(workdirs, 3 << 30),
            memory(),
            leftovers(workdirs),
        ]);
        conclude(&findings, report, json)
    }

    fn examine(&self, cloud: &str, report: &Report, json: bool) -> Result<ExitCode> {
        let findings = examine(Some(cloud), &self.conductor_project, report);
        // A login that a signal ended is not the cloud's fault.
        crate::process::check_stop()?;
        let healthy = findings.iter().all(|f| f.works != Some(false));
        if json {
            output::print_json(
                report,
                &serde_json::json!({ "healthy": healthy, "findings": findings }),
            )?;
        } else {
            for finding in &findings {
                let (mark, advice) = match finding.works {
                    Some(true) => ("ok     ", "fix"),
                    Some(false) => ("MISSING", "fix"),
                    None => ("?      ", "to be sure"),
                };
                output::print(report, &format!("{mark} {}: {}", finding.check, finding.found))?;
                if let Some(fix) = &finding.fix {
                    output::print(report, &format!("        {advice}: {fix}"))?;
                }
            }
        }
        if !healthy {
            report.note(&format!("the cloud '{cloud}' cannot deploy yet"));
            report.verdict(format!("the cloud '{cloud}' cannot deploy yet"));
        }
        Ok(if healthy { ExitCode::Done } else { ExitCode::Findings })
    }

    /// Removes left workdirs. One that cannot be removed is an error; the others are removed all
    /// the same.
    fn clean_up(&self, report: &Report, json: bool) -> Result<ExitCode> {
        // Files of subordinate ids belong to the user only inside the map.
        if !nix::unistd::geteuid().is_root() {
            become_root()?;
        }
        let bases = [Path::new(WORKDIRS)].into_iter().chain(self.workdir.as_deref());
        let (mut removed, mut first_error) = (Vec::new(), None);
        for leftover in bases.flat_map(workdir::leftovers) {
            match leftover.state {
                LeftoverState::InUse => report.note(&format!(
                    "{}: a build uses it, or started less than a minute ago",
                    leftover.path.display()
                )),
                LeftoverState::Kept if !self.kept => {
                    report.note(&format!(
                        "{}: it was kept intentionally; remove it with --clean --kept",
                        leftover.path.display()
                    ));
                }
                LeftoverState::Kept | LeftoverState::Abandoned => match leftover.remove() {
                    Ok(()) => removed.push(leftover.path),
                    Err(error) => {
                        report.warn(&format!("{error:#}"));
                        first_error.get_or_insert(error);
                    }
                },
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        if json {
            output::print_json(report, &serde_json::json!({ "removed": removed }))?;
        } else {
            for path in &removed {
                output::print(report, &path.display().to_string())?;
            }
            report.note(&format!("{} removed", super::shared::count(removed.len(), "workdir")));
        }
        Ok(ExitCode::Done)
    }
}

/// Prints the findings; whether the host can build.
fn conclude(findings: &[Finding], report: &Report, json: bool) -> Result<ExitCode> {
    let healthy = findings.iter().all(|f| f.works);
    if json {
        output::print_json(
            report,
            &serde_json::json!({ "healthy": healthy, "findings": findings }),
        )?;
    } else {
        for finding in findings {
            let mark = if finding.works { "ok     " } else { "MISSING" };
            output::print(report, &format!("{mark} {}: {}", finding.check, finding.found))?;
            if let Some(fix) = &finding.fix {
                output::print(report, &format!("        fix: {fix}"))?;
            }
        }
    }
    if !healthy {
        report.note("this host cannot build yet");
        report.verdict("this host cannot build yet");
    }
    Ok(if healthy { ExitCode::Done } else { ExitCode::Findings })
}

/// How packages are contained here, and why not better.
fn isolation(probe: &Probe) -> Finding {
    let reasons = probe.reasons.join("; ");
    match probe.isolation {
        Some(Isolation::Full) if reasons.is_empty() => {
            finding("isolation", true, Isolation::Full.name(), "")
        }
        Some(isolation) => Finding {
            fix: probe.hint.clone(),
            ..finding("isolation", true, format!("{}: {reasons}", isolation.name()), "")
        },
        None => Finding {
            fix: probe.hint.clone(),
            ..finding("isolation", false, format!("none: {reasons}"), "")
        },
    }
}

fn finding(check: &str, works: bool, found: impl Into<String>, fix: &str) -> Finding {
    Finding {
        check: check.into(),
        works,
        found: found.into(),
        fix: (!works).then(|| fix.to_owned()),
    }
}

/// Becomes root as a build does, in a user namespace if necessary; later checks run there.
fn privilege() -> Vec<Finding> {
    let uid = nix::unistd::geteuid();
    let was_root = uid.is_root();
    let name = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name);
    let ids = subordinate_ids(&name, was_root);
    if !sandbox::may_mount() {
        return vec![finding("privilege", true, "root of a container", "")];
    }
    let privilege = match become_root() {
        Ok(Ids::Host) => finding("privilege", true, "running as root", ""),
        Ok(Ids::Mapped(count)) => Finding {
            fix: (count < USUAL_IDS).then(|| command_for_ids(&name)),
            ..finding(
                "privilege",
                true,
                format!("not the host's root: builds run in a user namespace with {count} ids"),
                "",
            )
        },
        Ok(Ids::Single) => finding(
            "privilege",
            true,
            "not root: builds run in a user namespace with a single id",
            "",
        ),
        Err(error) => {
            let error = error.into();
            let text = crate::error::render(&error);
            let (_, fix) = text.split_once("\nhint: ").unwrap_or(("", "run osimg with sudo"));
            finding("privilege", false, explain(&error).message, fix)
        }
    };
    [privilege].into_iter().chain(ids).collect()
}

/// The command that gives a user subordinate ids.
fn command_for_ids(name: &str) -> String {
    format!(
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}   (ranges \
         that no other user has)"
    )
}

/// The subordinate ids of a user who is not root.
fn subordinate_ids(name: &str, was_root: bool) -> Option<Finding> {
    if was_root {
        return None;
    }
    let check = "subordinate ids";
    if find_program("newuidmap").is_none() || find_program("newgidmap").is_none() {
        let fix = "apt-get install uidmap   (or: dnf install shadow-utils)".to_owned();
        let found = "newuidmap is not installed: file ownership is recorded by tracing, and \
                     scriptlets cannot switch users";
        return Some(Finding { fix: Some(fix), ..finding(check, true, found, "") });
    }
    Some(match SubordinateIds::find(nix::unistd::geteuid(), nix::unistd::getegid()) {
        Ok(Some(ids)) => {
            finding(check, true, format!("{} ids by /etc/subuid and /etc/subgid", ids.count()), "")
        }
        Ok(None) => {
            let found = "no subordinate ids: file ownership is recorded by tracing, and \
                         scriptlets cannot switch users";
            Finding { fix: Some(command_for_ids(name)), ..finding(check, true, found, "") }
        }
        Err(error) => finding(
            check,
            false,
            explain(&error.into()).message,
            "make /etc/subuid and /etc/subgid readable",
        ),
    })
}

/// Changes the owner of a file to the highest id that images use.
fn owners(base: &Path, trial: Option<&Outcome>) -> Finding {
    const NOBODY: u32 = 65_534;
    let check = "foreign owners";
    let attempt = || -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(base)?;
        std::os::unix::fs::chown(file.path(), Some(NOBODY), Some(NOBODY))?;
        Ok(())
    };
    match (attempt(), Ids::current()) {
        (Ok(()), _) => {
            finding(check, true, format!("the owner of a file can be changed to {NOBODY}"), "")
        }
        (Err(_), Ok(Ids::Single)) if trial.is_some_and(|outcome| outcome.owners.is_some()) => {
            finding(
                check,
                true,
                "a sandbox's processes can be traced, and file ownership recorded",
                "",
            )
        }
        (Err(_), Ok(Ids::Single)) => Finding {
            fix: Some(
                "give the user subordinate ids, or allow ptrace(2): sysctl \
                 kernel.yama.ptrace_scope=1; in a container --cap-add SYS_PTRACE"
                    .to_owned(),
            ),
            ..finding(
                check,
                true,
                "processes cannot be traced: owners are taken from the packages, and those that \
                 scriptlets set are lost",
                "",
            )
        },
        (Err(error), _) => finding(
            check,
            false,
            explain(&error).message,
            "give the user at least 65536 subordinate ids, or run osimg with sudo",
        ),
    }
}

/// Sets a file capability and reads it back. It must have the form of an image, without the
/// namespace in which it was set.
fn capabilities(base: &Path) -> Finding {
    const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let attempt = || -> Result<usize> {
        let file = tempfile::NamedTempFile::new_in(base)?;
        xattr::set(file.path(), "security.capability", &NET_RAW)?;
        Ok(xattr::get(file.path(), "security.capability")?.unwrap_or_default().len())
    };
    let fix = "name a directory on a file system with extended attributes: --workdir DIR";
    match attempt() {
        Ok(20) => finding(
            "file capabilities",
            true,
            format!("set and read back in {}", base.display()),
            "",
        ),
        Ok(bytes) => finding(
            "file capabilities",
            false,
            format!("set with 20 bytes, read back with {bytes}"),
            fix,
        ),
        Err(error) => finding(
            "file capabilities",
            false,
            format!("in {}: {}", base.display(), explain(&error).message),
            fix,
        ),
    }
}

/// The workdirs that killed builds left.
fn leftovers(base: &Path) -> Finding {
    let abandoned = workdir::leftovers(base)
        .into_iter()
        .filter(|l| l.state == LeftoverState::Abandoned)
        .count();
    Finding {
        fix: (abandoned > 0).then(|| "osimg doctor --clean".to_owned()),
        ..finding(
            "leftovers",
            true,
            format!(
                "{} of killed builds in {}",
                super::shared::count(abandoned, "workdir"),
                base.display()
            ),
            "",
        )
    }
}

fn package_manager() -> Finding {
    let fix_command = match find_program("microdnf") {
        Some(_) => "microdnf install python3-dnf",
        None => {
            "apt-get install python3-dnf rpm   (on Fedora: dnf install python3-dnf, or \
             python3-libdnf5 python3-rpm)"
        }
    };
    let attempt = || -> Result<String> {
        let manager = packages::open(ManagerChoice::Auto, &ToolRoot::host())?;
        let (_dir, root, scratch) = places()?;
        manager.try_out(&root, &scratch)?;
        Ok(manager.description().to_owned())
    };
    match attempt() {
        Ok(description) => finding("package manager", true, description, ""),
        Err(error) => finding("package manager", false, explain(&error).message, fix_command),
    }
}

/// Two empty directories for a sandbox, removed when the first value is dropped.
fn places() -> Result<(tempfile::TempDir, PathBuf, PathBuf)> {
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let (root, scratch) = (dir.path().join("root"), dir.path().join("scratch"));
    std::fs::create_dir(&root)?;
    std::fs::create_dir(&scratch)?;
    Ok((dir, root, scratch))
}

fn rpm() -> Finding {
    match find_program("rpm") {
        Some(path) => finding("rpm", true, path.display().to_string(), ""),
        None => {
            finding("rpm", false, "not installed", "apt-get install rpm   (or: dnf install rpm)")
        }
    }
}

/// Creates a sandbox like that of a build and runs a program in it.
fn trial() -> Result<Outcome> {
    let (_dir, root, scratch) = places()?;
    let mut plan =
        image_plan(&root, &scratch, Devices::Private, CommandLine::new(["/usr/bin/true"]));
    plan.view = View::Tools;
    plan.owners = Owners::Recorded(Vec::new());
    plan.mounts = ToolRoot::host().mounts(Network::None);
    sandbox::run(
        &plan,
        Limits { total: Some(std::time::Duration::from_secs(30)), idle: None },
        &mut |_, _| Ok(()),
    )
}

fn sandbox(trial: &Result<Outcome>) -> Finding {
    match trial.as_ref().map(Outcome::describe) {
        Ok(status) => finding(
            "sandbox",
            status == "exit status 0",
            format!("namespaces, mounts, pivot_root, capabilities, seccomp: {status}"),
            "check the kernel's log",
        ),
        Err(error) => finding(
            "sandbox",
            false,
            explain(error).message,
            "allow what `isolation` and `privilege` above miss, or run it as root on a host",
        ),
    }
}

fn space(path: &Path, wanted: u64) -> Finding {
    let say = crate::report::bytes;
    match crate::workdir::free_space(path) {
        Ok(free) => finding(
            "space for the workdir",
            free >= wanted,
            format!("{} free in {}", say(free), path.display()),
            "use a directory with more space: --workdir DIR",
        ),
        Err(error) => finding(
            "space for the workdir",
            false,
            explain(&error).message,
            "use another directory: --workdir DIR",
        ),
    }
}

fn memory() -> Finding {
    let available = crate::workdir::available_memory();
    finding(
        "memory",
        available > 512 << 20,
        format!("{} available", crate::report::bytes(available)),
        "free some memory: 512 MiB are required",
    )
}
