//! The common parts of all package managers: their sandbox, rpm's macros, and queries of the
//! image's rpmdb.

use anyhow::Context;
use std::path::Path;
use std::time::Duration;

use super::Job;
use super::phase::ISOLATED;
use super::required::required_program;
use super::rpmdb::{self, InstalledPackage};
use crate::error::{ExitCode, Failure, Result};
use crate::process::{CommandLine, Tail};
use crate::recipe::Verify;
use crate::sandbox::{
    self, BUILD_ROOT, InstallRoot, Kind, Limits, Mount, Network, OWN, Outcome, Owners, Plan,
    Stream, ToolRoot, View,
};

/// Creates the required directories, with their modes in the image, before rpm unpacks anything.
pub(super) fn prepare_root(root: &InstallRoot, dbpath: &str) -> Result<()> {
    for (name, mode) in crate::sandbox::API_FILE_SYSTEMS {
        root.directory(Path::new(name), mode)?;
    }
    // rpm's lock is there, before any package could create the directory.
    root.directory(Path::new(dbpath), 0o755)?;
    Ok(())
}

/// The sandbox of one phase for `command`.
pub(super) fn plan(
    job: &Job<'_>,
    network: Network,
    extra: Vec<Mount>,
    command: CommandLine,
) -> Plan {
    let mut plan = Plan::with_tools(
        job.tools,
        job.root,
        job.scratch,
        network,
        environment(command, job.source_date_epoch, network),
    );
    plan.devices = job.devices;
    plan.mounts.push(Mount::File { target: "/etc/rpm/macros".into(), content: macros(job) });
    plan.mounts.extend(extra);
    match job.clock {
        // Server certificates are checked against the real time.
        Some(clock) if network == Network::None => clock.set(plan),
        _ => plan,
    }
}

/// The sandbox in which rpm runs: it has no network, and changes of file owners are recorded.
pub(super) fn install_plan(job: &Job<'_>, extra: Vec<Mount>, command: CommandLine) -> Plan {
    Plan {
        owners: Owners::Recorded(job.given.current()),
        ..plan(job, Network::None, extra, command)
    }
}

/// Stores the recorded owners of such a run, and notes processes that were left behind.
pub(super) fn record_outcome(job: &Job<'_>, outcome: &Outcome) {
    job.given.update(outcome);
    if !outcome.strays.is_empty() {
        job.report.note(&format!(
            "scriptlets left processes running; they were ended: {}",
            outcome.strays.join(", ")
        ));
    }
}

/// Whether rpm must refuse packages that are not signed by a pinned key.
pub(super) fn requires_signatures(job: &Job<'_>) -> bool {
    job.settings.verify == Verify::Strict
}

/// rpm's macros for a build: the target's database, no influence of the host, and signatures
/// enforced by rpm itself.
fn macros(job: &Job<'_>) -> String {
    let level = if requires_signatures(job) { "all" } else { "digest" };
    let languages = job
        .settings
        .languages
        .as_ref()
        .map_or_else(|| "all".to_owned(), |languages| languages.join(":"));
    // A root made for the image has the image's own rpm, which uses the right format.
    let backend = if job.tools.is_host() { "%_db_backend sqlite\n" } else { "" };
    let mut text = format!(
        "%_dbpath {}\n{backend}%_keyring rpmdb\n%_pkgverify_level {level}\n%_pkgverify_flags \
         0x0\n%_netsharedpath /proc:/sys:/dev:/run\n%_excludedocs 0\n%_install_langs \
         {languages}\n%_tmppath /var/tmp\n%_minimize_writes 0\n",
        job.dbpath
    );
    // The host's rpm plugins would contact the host's systemd, audit and SELinux.
    for plugin in [
        "audit",
        "dbus_announce",
        "fapolicyd",
        "fsverity",
        "ima",
        "prioreset",
        "selinux",
        "syslog",
        "systemd_inhibit",
        "unshare",
    ] {
        text.push_str(&format!("%__transaction_{plugin} %{{nil}}\n"));
    }
    text
}

/// The complete environment of a command in the sandbox.
pub(super) fn environment(
    command: CommandLine,
    source_date_epoch: Option<i64>,
    network: Network,
) -> CommandLine {
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
        for name in [
            "http_proxy",
            "https_proxy",
            "ftp_proxy",
            "no_proxy",
            "HTTPS_PROXY",
            "NO_PROXY",
            "ALL_PROXY",
            "all_proxy",
        ] {
            if let Ok(value) = std::env::var(name) {
                command = command.env(name, value);
            }
        }
    }
    command
}

/// Every key as a file in the sandbox; returns the mounts and the paths.
pub(super) fn key_files(job: &Job<'_>) -> (Vec<Mount>, Vec<String>) {
    let path = |index: usize| format!("{OWN}/keys/{index}.asc");
    let mounts = job
        .keys
        .iter()
        .enumerate()
        .map(|(i, key)| Mount::File { target: path(i).into(), content: key.armored.clone() })
        .collect();
    (mounts, (0..job.keys.len()).map(path).collect())
}

/// The time limit of a short command.
const SHORT: Duration = Duration::from_secs(300);

/// The outcome of a command, the lines of its standard output, and the last lines of its standard
/// error.
pub(super) fn run_captured(plan: &Plan, total: Duration) -> Result<(Outcome, Vec<String>, String)> {
    let (mut lines, mut output) = (Vec::new(), Tail::new(4096));
    let outcome =
        sandbox::run(plan, Limits { total: Some(total), idle: None }, &mut |stream, line| {
            match stream {
                Stream::Out => lines.push(line.to_owned()),
                Stream::Err => output.push(line),
            }
            Ok(())
        })?;
    Ok((outcome, lines, output.last(5)))
}

/// Runs a short command and returns the lines of its standard output.
pub(super) fn query(plan: &Plan, doing: &str) -> Result<Vec<String>> {
    let (outcome, lines, output) = run_captured(plan, SHORT)?;
    if !outcome.success() {
        return Err(Failure::new(
            ExitCode::Transaction,
            format!(
                "{doing}: `{}` ended with {}: {output}",
                plan.command.quoted(),
                outcome.describe()
            ),
        )
        .hint(super::hints::BROKE)
        .into());
    }
    Ok(lines)
}

/// The contents of the image's rpmdb: packages, and key ids.
pub(super) fn installed(job: &Job<'_>) -> Result<(Vec<InstalledPackage>, Vec<String>)> {
    rpmdb::parse(&query_all(job, rpmdb::QUERY, "reading the image's rpmdb")?)
}

/// The lines that rpm prints in this format for all packages of the image.
pub(super) fn query_all(job: &Job<'_>, format: &str, doing: &str) -> Result<Vec<String>> {
    let rpm = required_program(job.tools, "rpm", "read the image's rpmdb", "rpm")?;
    let command = CommandLine::new([
        &rpm.to_string_lossy(),
        "--root",
        BUILD_ROOT,
        "--dbpath",
        job.dbpath,
        "-qa",
        "--qf",
        format,
    ]);
    // Debian's rpm refuses to work on Debian, which the image is not.
    let plan = plan(job, Network::None, Vec::new(), command.env("RPM_FORCE_DEBIAN", "1"));
    query(&plan, doing)
}

/// The database of an rpm, from its macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Database {
    /// Its directory.
    pub path: String,
    /// Its format: sqlite, ndb or bdb.
    pub backend: String,
}

/// The command that prints the database macros of rpm.
fn database_query() -> CommandLine {
    CommandLine::new(["/usr/bin/rpm", "--eval", "%{_dbpath}", "--eval", "%{?_db_backend}"])
}

fn database(answer: &[String]) -> Option<Database> {
    let at = answer.iter().rposition(|line| line.starts_with('/'))?;
    // Before rpm 4.15 there was only one format.
    let backend =
        answer.get(at + 1).map(|line| line.trim()).filter(|line| !line.is_empty()).unwrap_or("bdb");
    Some(Database { path: answer.get(at)?.trim().to_owned(), backend: backend.to_owned() })
}

/// The database of the image's own rpm; `None` if the image has no rpm.
pub(super) fn target_database(job: &Job<'_>, root: &InstallRoot) -> Result<Option<Database>> {
    if root.kind(Path::new("usr/bin/rpm"))? != Some(Kind::File) {
        return Ok(None);
    }
    let mut plan = plan(
        job,
        Network::None,
        Vec::new(),
        environment(database_query(), job.source_date_epoch, Network::None),
    );
    plan.view = View::Image;
    plan.mounts.clear();
    Ok(database(&query(&plan, "asking the image's rpm for its database")?))
}

/// The default database of the tools' rpm, without osimg's macros.
pub(super) fn tools_database(
    tools: &ToolRoot,
    scratch: &Path,
    root: &Path,
) -> Result<Option<Database>> {
    let plan = Plan::with_tools(
        tools,
        root,
        scratch,
        Network::None,
        environment(database_query(), None, Network::None),
    );
    Ok(database(&query(&plan, "asking the tools' rpm for its database")?))
}

/// Runs a short Python program with arguments in the sandbox; returns the lines of its output.
pub(super) fn run_python(
    python: &Path,
    program: &[&str],
    network: Network,
    scratch: &Path,
    root: &Path,
    doing: &str,
) -> Result<Vec<String>> {
    let python = python.to_string_lossy();
    let command =
        CommandLine::new([&*python, ISOLATED, "-c"].into_iter().chain(program.iter().copied()));
    let plan = Plan::with_tools(
        &ToolRoot::host(),
        root,
        scratch,
        network,
        environment(command, None, network),
    );
    query(&plan, doing)
}

/// Reads a small file of the host that is passed into the sandbox.
pub(super) fn host_text(path: &Path) -> Result<String> {
    crate::files::read_text(path, crate::files::TEXT)
        .with_context(|| format!("reading {}", path.display()))
}
