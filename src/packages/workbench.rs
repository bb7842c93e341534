//! What every package manager shares: the sandbox it works in, rpm's macros, and the questions to
//! the image's rpmdb.

use anyhow::Context;
use std::path::Path;
use std::time::Duration;

use super::Job;
use super::phase::ISOLATED;
use super::rpmdb::{self, InstalledPackage};
use crate::error::{ExitCode, Failure, Result};
use crate::process::{CommandLine, Tail};
use crate::recipe::Verify;
use crate::sandbox::{BUILD_ROOT, InstallRoot, Kind, Limits, Mount, Network, OWN, Outcome, Owners, Plan, Sandbox, Stream, ToolRoot, View};

/// Makes the directories that must stand, with the modes they have in the image, before rpm unpacks
/// anything.
pub(super) fn prepare(root: &InstallRoot, dbpath: &str) -> Result<()> {
    for (name, mode) in crate::sandbox::API_FILE_SYSTEMS {
        root.directory(Path::new(name), mode)?;
    }
    // rpm's lock is taken there before any package could bring the directory.
    root.directory(Path::new(dbpath), 0o755)?;
    Ok(())
}

/// The sandbox of one phase around `command`.
pub(super) fn plan(job: &Job<'_>, network: Network, extra: Vec<Mount>, command: CommandLine) -> Plan {
    let mut plan = Plan::of_tools(job.tools, job.root, job.scratch, network, environment(command, job.source_date_epoch, network));
    plan.devices = job.devices;
    plan.mounts.push(Mount::File { target: "/etc/rpm/macros".into(), content: macros(job) });
    plan.mounts.extend(extra);
    match job.clock {
        // Certificates of servers are good for the time of day alone.
        Some(clock) if network == Network::None => clock.set(plan),
        _ => plan,
    }
}

/// The sandbox in which rpm works: without a network, and whoever is given a file there is
/// remembered.
pub(super) fn install_plan(job: &Job<'_>, extra: Vec<Mount>, command: CommandLine) -> Plan {
    Plan { owners: Owners::Recorded(job.given.so_far()), ..plan(job, Network::None, extra, command) }
}

/// Keeps what a run of such a sandbox left behind: owners for the archive, and a note of processes.
pub(super) fn installed_by(job: &Job<'_>, outcome: &Outcome) {
    job.given.learn(outcome);
    if !outcome.strays.is_empty() {
        job.report.note(&format!("scriptlets left processes behind, which were ended: {}", outcome.strays.join(", ")));
    }
}

/// Whether rpm takes only what a pinned key signed.
pub(super) fn insists_on_signatures(job: &Job<'_>) -> bool {
    job.settings.verify == Verify::Strict
}

/// rpm's macros for a build: the target's database, no leaks of the host's, and signatures that rpm
/// itself insists on.
fn macros(job: &Job<'_>) -> String {
    let level = if insists_on_signatures(job) { "all" } else { "digest" };
    let languages = job.settings.languages.as_ref().map_or_else(|| "all".to_owned(), |languages| languages.join(":"));
    // A root made for it has the image's own rpm, and that knows its format.
    let backend = if job.tools.is_host() { "%_db_backend sqlite\n" } else { "" };
    let mut text = format!(
        "%_dbpath {}\n{backend}%_keyring rpmdb\n%_pkgverify_level {level}\n%_pkgverify_flags 0x0\n\
         %_netsharedpath /proc:/sys:/dev:/run\n%_excludedocs 0\n%_install_langs {languages}\n%_tmppath /var/tmp\n%_minimize_writes 0\n",
        job.dbpath
    );
    // The host's rpm plugins would speak to the host's systemd, audit and SELinux.
    for plugin in ["audit", "dbus_announce", "fapolicyd", "fsverity", "ima", "prioreset", "selinux", "syslog", "systemd_inhibit", "unshare"]
    {
        text.push_str(&format!("%__transaction_{plugin} %{{nil}}\n"));
    }
    text
}

/// The whole environment of a command in the sandbox.
pub(super) fn environment(command: CommandLine, source_date_epoch: Option<i64>, network: Network) -> CommandLine {
    let mut command = command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("container", "osimg")
        .env("SYSTEMD_OFFLINE", "1")
        .env("SYSTEMD_IN_CHROOT", "1")
        .env("DRACUT_NO_XATTR", "1");
    if let Some(seconds) = source_date_epoch {
        command = command.env("SOURCE_DATE_EPOCH", seconds.to_string());
    }
    if network == Network::Host {
        for name in ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy"] {
            if let Ok(value) = std::env::var(name) {
                command = command.env(name, value);
            }
        }
    }
    command
}

/// Every key as a file of the sandbox; returns the mounts and the paths.
pub(super) fn key_files(job: &Job<'_>) -> (Vec<Mount>, Vec<String>) {
    let path = |index: usize| format!("{OWN}/keys/{index}.asc");
    let mounts = job.keys.iter().enumerate().map(|(i, key)| Mount::File { target: path(i).into(), content: key.armored.clone() }).collect();
    (mounts, (0..job.keys.len()).map(path).collect())
}

/// The limit on a short command.
const SHORT: Duration = Duration::from_secs(300);

/// The outcome of a command with the lines of its standard output and the last ones of its standard
/// error.
pub(super) fn hear(plan: &Plan, total: Duration) -> Result<(Outcome, Vec<String>, String)> {
    let (mut lines, mut said) = (Vec::new(), Tail::new(4096));
    let outcome = Sandbox::run(plan, Limits { total: Some(total), idle: None }, &mut |stream, line| {
        match stream {
            Stream::Out => lines.push(line.to_owned()),
            Stream::Err => said.push(line),
        }
        Ok(())
    })?;
    Ok((outcome, lines, said.last(5)))
}

/// Runs a short command and returns the lines of its standard output.
pub(super) fn ask(plan: &Plan, doing: &str) -> Result<Vec<String>> {
    let (outcome, lines, said) = hear(plan, SHORT)?;
    if !outcome.success() {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!("{doing}: `{}` ended with {}: {said}", plan.command.quoted(), outcome.describe()),
        )
        .hint(super::hints::BROKE)
        .into());
    }
    Ok(lines)
}

/// What the image's rpmdb holds: packages, and key ids.
pub(super) fn installed(job: &Job<'_>) -> Result<(Vec<InstalledPackage>, Vec<String>)> {
    let rpm = super::need(job.tools, "rpm", "read the image's rpmdb", "rpm")?;
    let command = CommandLine::new([&rpm.to_string_lossy(), "--root", BUILD_ROOT, "--dbpath", job.dbpath, "-qa", "--qf", rpmdb::QUERY]);
    // Debian's rpm warns away who uses it on a Debian; the image is none.
    let plan = plan(job, Network::None, Vec::new(), command.env("RPM_FORCE_DEBIAN", "1"));
    rpmdb::parse(&ask(&plan, "reading the image's rpmdb")?)
}

/// An rpm's database, as its macros say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Database {
    /// Its directory.
    pub path: String,
    /// Its format: sqlite, ndb or bdb.
    pub backend: String,
}

/// The question to an rpm after its database.
fn database_question() -> CommandLine {
    CommandLine::new(["/usr/bin/rpm", "--eval", "%{_dbpath}", "--eval", "%{?_db_backend}"])
}

fn database(answer: &[String]) -> Option<Database> {
    let at = answer.iter().rposition(|line| line.starts_with('/'))?;
    // Before rpm 4.15 there was but one format.
    let backend = answer.get(at + 1).map(|line| line.trim()).filter(|line| !line.is_empty()).unwrap_or("bdb");
    Some(Database { path: answer.get(at)?.trim().to_owned(), backend: backend.to_owned() })
}

/// Which database the image's own rpm uses; `None` when the image has no rpm.
pub(super) fn database_of_target(job: &Job<'_>, root: &InstallRoot) -> Result<Option<Database>> {
    if root.kind(Path::new("usr/bin/rpm"))? != Some(Kind::File) {
        return Ok(None);
    }
    let mut plan = plan(job, Network::None, Vec::new(), environment(database_question(), job.source_date_epoch, Network::None));
    plan.view = View::Image;
    plan.mounts.clear();
    Ok(database(&ask(&plan, "asking the image's rpm for its database")?))
}

/// The database of the tools' rpm by itself, with its own macros and none of ours.
pub(super) fn database_of_tools(tools: &ToolRoot, scratch: &Path, root: &Path) -> Result<Option<Database>> {
    let plan = Plan::of_tools(tools, root, scratch, Network::None, environment(database_question(), None, Network::None));
    Ok(database(&ask(&plan, "asking the tools' rpm for its database")?))
}

/// Runs a short Python program, with its arguments, inside the sandbox; returns the lines that it
/// prints.
pub(super) fn run_python(
    python: &Path,
    program: &[&str],
    network: Network,
    scratch: &Path,
    root: &Path,
    doing: &str,
) -> Result<Vec<String>> {
    let python = python.to_string_lossy();
    let command = CommandLine::new([&*python, ISOLATED, "-c"].into_iter().chain(program.iter().copied()));
    let plan = Plan::of_tools(&ToolRoot::host(), root, scratch, network, environment(command, None, network));
    ask(&plan, doing)
}

/// Reads a small file of the host that is passed into the sandbox.
pub(super) fn host_text(path: &Path) -> Result<String> {
    crate::files::read_text(path, crate::files::TEXT).with_context(|| format!("reading {}", path.display()))
}
