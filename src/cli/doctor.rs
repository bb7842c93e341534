//! `osimg doctor`: what this host, or a cloud, can and cannot do, tried for real, and the command that mends it.

use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

use crate::build::image_plan;
use crate::deploy::doctor::examine;
use crate::error::{ExitCode, Result};
use crate::packages;
use crate::process::{CommandLine, find_program};
use crate::recipe::ManagerChoice;
use crate::report::Report;
use crate::sandbox::{Devices, Limits, Network, Sandbox, ToolRoot, View};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Examine this cloud of clouds.yaml instead of this host
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// The project, or its id, by which Ironic's conductor reads Glance
    #[arg(long, value_name = "PROJECT", default_value = "service", requires = "cloud")]
    conductor_project: String,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was tried.
    check: String,
    /// Whether it works.
    works: bool,
    /// What was found.
    found: String,
    /// The command that mends it.
    cure: Option<String>,
}

impl Doctor {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        if let Some(cloud) = &self.cloud {
            return self.examine(cloud, report, json);
        }
        let findings = vec![root(), package_manager(), rpm(), sandbox(), space(Path::new("/var/tmp"), 3 << 30), memory()];
        let healthy = findings.iter().all(|f| f.works);
        if json {
            super::print(&serde_json::to_string_pretty(&serde_json::json!({ "healthy": healthy, "findings": findings }))?)?;
        } else {
            for finding in &findings {
                let mark = if finding.works { "ok     " } else { "MISSING" };
                super::print(&format!("{mark} {}: {}", finding.check, finding.found))?;
                if let Some(cure) = &finding.cure {
                    super::print(&format!("        mend it: {cure}"))?;
                }
            }
        }
        if !healthy {
            report.note("this host cannot build yet");
        }
        Ok(if healthy { ExitCode::Done } else { ExitCode::Findings })
    }
}

impl Doctor {
    fn examine(&self, cloud: &str, report: &Report, json: bool) -> Result<ExitCode> {
        let findings = examine(Some(cloud), &self.conductor_project, report);
        let healthy = findings.iter().all(|f| f.works != Some(false));
        if json {
            super::print(&serde_json::to_string_pretty(&serde_json::json!({ "healthy": healthy, "findings": findings }))?)?;
        } else {
            for finding in &findings {
                let (mark, advice) = match finding.works {
                    Some(true) => ("ok     ", "mend it"),
                    Some(false) => ("MISSING", "mend it"),
                    None => ("?      ", "to be sure"),
                };
                super::print(&format!("{mark} {}: {}", finding.check, finding.found))?;
                if let Some(cure) = &finding.cure {
                    super::print(&format!("        {advice}: {cure}"))?;
                }
            }
        }
        if !healthy {
            report.note(&format!("the cloud '{cloud}' cannot deploy yet"));
        }
        Ok(if healthy { ExitCode::Done } else { ExitCode::Findings })
    }
}

fn finding(check: &str, works: bool, found: impl Into<String>, cure: &str) -> Finding {
    Finding { check: check.into(), works, found: found.into(), cure: (!works).then(|| cure.to_owned()) }
}

fn root() -> Finding {
    let root = nix::unistd::geteuid().is_root();
    finding("privilege", root, if root { "running as root" } else { "not root" }, "run osimg with sudo")
}

fn package_manager() -> Finding {
    let mended_by = "apt-get install python3-dnf rpm   (on Fedora: dnf install python3-dnf, or python3-libdnf5 python3-rpm)";
    let attempt = || -> Result<String> {
        let manager = packages::open(ManagerChoice::Auto, &ToolRoot::host())?;
        let (_dir, root, scratch) = places()?;
        manager.try_out(&root, &scratch)?;
        Ok(manager.description().to_owned())
    };
    match attempt() {
        Ok(description) => finding("package manager", true, description, ""),
        Err(error) => finding("package manager", false, format!("{error:#}"), mended_by),
    }
}

/// Two empty folders for a sandbox, gone with the first value.
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
        None => finding("rpm", false, "there is none", "apt-get install rpm   (or: dnf install rpm)"),
    }
}

/// Makes a sandbox with everything a build uses and runs a program in it.
fn sandbox() -> Finding {
    let attempt = || -> Result<String> {
        let (_dir, root, scratch) = places()?;
        let mut plan = image_plan(&root, &scratch, Devices::Private, CommandLine::new(["/usr/bin/true"]));
        plan.view = View::Tools;
        plan.mounts = ToolRoot::host().mounts(Network::None);
        let outcome = Sandbox::run(&plan, Limits { total: Some(std::time::Duration::from_secs(30)), idle: None }, &mut |_, _| Ok(()))?;
        Ok(outcome.describe())
    };
    match attempt() {
        Ok(status) => finding(
            "sandbox",
            status == "exit status 0",
            format!("namespaces, mounts, pivot_root, capabilities, seccomp: {status}"),
            "look at the kernel's log",
        ),
        Err(error) => finding(
            "sandbox",
            false,
            format!("{error:#}"),
            "run as root on a host (or in a container) that may mount: docker run --privileged, podman run --privileged",
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
            "name a larger place: --workdir DIR",
        ),
        Err(error) => finding("space for the workdir", false, format!("{error:#}"), "name another place: --workdir DIR"),
    }
}

fn memory() -> Finding {
    let available = crate::workdir::available_memory();
    finding(
        "memory",
        available > 512 << 20,
        format!("{} available", crate::report::bytes(available)),
        "free some memory: 512 MiB are needed",
    )
}
