//! Step 2: contains the install root and everything that runs over it, by the library
//! `osimg-sandbox`.
//!
//! Here is what only osimg knows of a run: the isolation that was chosen once for all runs, and
//! that a signal which asks osimg to stop ends them.

use std::sync::OnceLock;
use std::time::Duration;

use crate::error::{ExitCode, Failure, Result};
use crate::process;

pub use osimg_sandbox::{
    API_FILE_SYSTEMS, Access, BUILD_ROOT, Backing, Clock, Devices, Ids, InstallRoot, Isolation,
    Kind, Limits, Mount, Network, NotStarted, Outcome, OwnedFile, Owners, Plan, Probe, Sandbox,
    Status, Stream, SubordinateIds, Terminal, ToolRoot, USUAL_IDS, View, become_root,
    check_runnable, drop_host_privileges, end_processes_in, mount_below, mount_memory,
    mounts_below, pin, probe, remove_content, remove_tree, unmount_memory, unpin,
};

/// osimg's own directory inside the sandbox: configuration, HOME, cache.
pub(crate) const OWN: &str = "/osimg";

/// The isolation of every run of this process.
static CHOSEN: OnceLock<Isolation> = OnceLock::new();

/// How packages are contained.
#[must_use]
pub fn isolation() -> Isolation {
    CHOSEN.get().copied().unwrap_or(Isolation::Full)
}

/// Chooses the best isolation that works here, or the demanded one; returns what the user should
/// know of it. Must be called before any thread is started.
///
/// # Errors
/// When nothing contains packages here, or not as well as demanded.
pub(crate) fn choose_isolation(demanded: Option<Isolation>) -> Result<Vec<String>> {
    let probe = osimg_sandbox::probe()?;
    let reasons = probe.reasons.join("; ");
    let failed = |doing: String| {
        let failure = Failure::new(ExitCode::Host, format!("{doing}: {reasons}"));
        probe.hint.iter().fold(failure, |failure, hint| failure.hint(hint.clone()))
    };
    let Some(best) = probe.isolation else {
        return Err(failed("containing packages on this machine".into()).into());
    };
    if let Some(demanded) = demanded.filter(|demanded| *demanded < best) {
        return Err(
            failed(format!("containing packages by the isolation `{}`", demanded.name())).into()
        );
    }
    let chosen = *CHOSEN.get_or_init(|| demanded.unwrap_or(best));
    Ok(match chosen {
        Isolation::Full => Vec::new(),
        Isolation::Container => {
            vec![
                "this container forbids namespaces: packages are contained by it, not inside it \
                 (isolation container)"
                    .to_owned(),
            ]
        }
        Isolation::UserNamespace => vec![format!(
            "{reasons}: packages see this container's own /proc and /sys (isolation \
             user-namespace)"
        )],
    })
}

/// Whether osimg may mount anything.
#[must_use]
pub(crate) fn may_mount() -> bool {
    isolation() != Isolation::Container
}

/// Gives this process its own mount namespace, if it may have one; see
/// [`osimg_sandbox::enter_private_mounts`].
///
/// # Errors
/// When the kernel refuses.
pub fn enter_private_mounts() -> Result<()> {
    if may_mount() { Ok(osimg_sandbox::enter_private_mounts()?) } else { Ok(()) }
}

/// Runs `work` on a host of another name, where this process may have one; see
/// [`osimg_sandbox::with_hostname`].
///
/// # Errors
/// When the kernel refuses, and those of `work`.
pub(crate) fn with_hostname<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if may_mount() { osimg_sandbox::with_hostname(name, work) } else { work() }
}

/// How often a signal is looked for while a command is silent, and how often a watcher is called.
const TURN: Duration = Duration::from_millis(500);
const WATCHED_TURN: Duration = Duration::from_millis(100);

/// Runs the plan's command to its end and passes on every line that it prints.
///
/// # Errors
/// As [`Sandbox::run`], and when a signal asks osimg to stop.
pub fn run(
    plan: &Plan,
    limits: Limits,
    on_line: &mut dyn FnMut(Stream, &str) -> Result<()>,
) -> Result<Outcome> {
    turning(plan, limits, TURN, &mut || Ok(()), on_line)
}

/// As [`run`], and calls `on_turn` at least every tenth of a second. Its failure ends the run as
/// one of `on_line` does.
///
/// # Errors
/// As [`run`], and those of `on_turn`.
pub(crate) fn run_watched(
    plan: &Plan,
    limits: Limits,
    on_turn: &mut dyn FnMut() -> Result<()>,
    on_line: &mut dyn FnMut(Stream, &str) -> Result<()>,
) -> Result<Outcome> {
    turning(plan, limits, WATCHED_TURN, on_turn, on_line)
}

fn turning(
    plan: &Plan,
    limits: Limits,
    every: Duration,
    on_turn: &mut dyn FnMut() -> Result<()>,
    on_line: &mut dyn FnMut(Stream, &str) -> Result<()>,
) -> Result<Outcome> {
    let mut on_turn = || process::check_stop().and_then(|()| on_turn());
    Sandbox::default().with_isolation(isolation()).run_watched(
        plan,
        limits,
        osimg_sandbox::Turns { on_turn: &mut on_turn, every },
        on_line,
    )
}
