//! How well this machine can contain a run, found out by trying it in child processes.
//!
//! A container may forbid namespaces, or mounts of proc and sysfs, and a filter of system calls may
//! kill instead of refusing. So nothing is concluded from versions or names: each step is tried in
//! a child, and EACCES counts like EPERM.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use super::status::{PROBE, PROBE_CONTAINER, STAGE};
use crate::error::{Context, Result, invalid};

mod attempts;

pub(crate) use attempts::{probe_container_main, probe_main, probe_mounts_main};

/// How a run is contained, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// All namespaces, with their own proc and sysfs.
    Full,
    /// All namespaces, in which proc and sysfs are those of the container around them: it masks
    /// parts of its /proc, so the kernel allows no new one.
    UserNamespace,
    /// No namespaces and no mounts: the container around the run contains it, and a supervisor
    /// answers its calls for /proc, /sys and /dev.
    Container,
}

impl Isolation {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::Full, Self::UserNamespace, Self::Container];

    /// Its name in options and manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::UserNamespace => "user-namespace",
            Self::Container => "container",
        }
    }

    /// That of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isolation| isolation.name() == name)
    }
}

/// The result of [`probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The best isolation that works here; `None` when none does.
    pub isolation: Option<Isolation>,
    /// Why nothing better works, one reason a line.
    pub reasons: Vec<String>,
    /// How to allow a better isolation, with the smallest change.
    pub hint: Option<String>,
    /// Whether a filter of system calls kills this program where others are refused.
    pub killed: bool,
}

/// One step of the probe, as its children report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    /// Acting as root, in a user namespace where necessary.
    Root(Attempt),
    /// The other namespaces.
    Namespaces(Attempt),
    /// A tmpfs in them.
    Tmpfs(Attempt),
    /// A new proc.
    Proc(Attempt),
    /// A new sysfs.
    Sysfs(Attempt),
    /// Another host name.
    HostName(Attempt),
    /// All that a run without namespaces takes.
    Container(Attempt),
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Attempt {
    error: Option<String>,
    hint: Option<String>,
}

impl Attempt {
    fn new<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self { error: None, hint: None },
            Err(error) => {
                Self { error: Some(error.describe()), hint: error.hint().map(str::to_owned) }
            }
        }
    }
}

/// Finds out how a run can be contained here. Nothing changes for this process.
///
/// # Errors
/// When the children cannot be started.
pub fn probe() -> Result<Probe> {
    let (steps, signal) = steps_of(PROBE)?;
    let found = judge(&steps, signal);
    if found.isolation.is_some() || signal.is_some() {
        return Ok(found);
    }
    // Another child: the first one has left namespaces.
    let attempt = steps_of(PROBE_CONTAINER)?.0.into_iter().find_map(|step| match step {
        Step::Container(attempt) => Some(attempt),
        _ => None,
    });
    Ok(without_namespaces(found, attempt))
}

/// The reports of a child of the probe, and the signal that ended it.
fn steps_of(stage: &str) -> Result<(Vec<Step>, Option<i32>)> {
    const READING: &str = "reading a report of the sandbox's probe";
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's probe")]
    let mut child = std::process::Command::new("/proc/self/exe")
        .args([STAGE, stage])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("trying what the sandbox may do here")?;
    let mut reports = Vec::new();
    child.stdout.take().context(READING)?.read_to_end(&mut reports).context(READING)?;
    let lines = reports.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let steps =
        lines.map(|line| serde_json::from_slice(line).context(READING)).collect::<Result<_>>()?;
    // If SIGCHLD is ignored, the kernel does not tell how a child ended.
    Ok((steps, child.wait().ok().and_then(|status| status.signal())))
}

/// The result where namespaces are forbidden.
fn without_namespaces(found: Probe, attempt: Option<Attempt>) -> Probe {
    match attempt {
        Some(Attempt { error: None, .. }) => Probe {
            isolation: Some(Isolation::Container),
            hint: found.hint.or_else(|| Some(UNCONFINE.to_owned())),
            ..found
        },
        Some(Attempt { error: Some(error), hint }) => {
            let reasons = found.reasons.into_iter().chain([error]).collect();
            Probe { reasons, hint: hint.or(found.hint), ..found }
        }
        None => found,
    }
}

/// The smallest change that allows namespaces in a container.
const UNCONFINE: &str = "for the full sandbox: docker run --security-opt seccomp=unconfined \
                         --security-opt systempaths=unconfined, Kubernetes hostUsers: false with \
                         procMount: Unmasked";

/// The steps that a probe takes, for the message about one that killed it.
const STEPS: [&str; 6] = [
    "making a user namespace",
    "making the other namespaces",
    "mounting a tmpfs",
    "mounting proc",
    "mounting sysfs",
    "setting the host name",
];

/// The smallest change that allows the full sandbox in a container.
const UNMASK: &str = "for the full sandbox: docker run --security-opt systempaths=unconfined, \
                      podman run --security-opt unmask=ALL, Kubernetes procMount: Unmasked";

/// The isolations that need a step.
enum NeededBy {
    All,
    Full,
    None,
}

fn judge(steps: &[Step], signal: Option<i32>) -> Probe {
    let (mut isolation, mut reasons, mut hint) = (Some(Isolation::Full), Vec::new(), None);
    let mut fail = |step: &str, attempt: &Attempt, needed: NeededBy| {
        let Some(error) = &attempt.error else { return };
        reasons.push(if error.contains(step) { error.clone() } else { format!("{step}: {error}") });
        match needed {
            NeededBy::All => {
                isolation = None;
                hint.clone_from(&attempt.hint);
            }
            NeededBy::Full => {
                isolation = isolation.map(|isolation| isolation.max(Isolation::UserNamespace));
                hint.get_or_insert_with(|| UNMASK.to_owned());
            }
            NeededBy::None => {}
        }
    };
    for step in steps {
        match step {
            Step::Root(attempt) => fail(STEPS[0], attempt, NeededBy::All),
            Step::Namespaces(attempt) => fail(STEPS[1], attempt, NeededBy::All),
            Step::Tmpfs(attempt) => fail(STEPS[2], attempt, NeededBy::All),
            Step::Proc(attempt) => fail(STEPS[3], attempt, NeededBy::Full),
            Step::Sysfs(attempt) => fail(STEPS[4], attempt, NeededBy::Full),
            Step::HostName(attempt) => fail(STEPS[5], attempt, NeededBy::None),
            Step::Container(_) => {}
        }
    }
    let done = steps.len();
    if done < STEPS.len() && isolation.is_some() {
        isolation = None;
        let doing = STEPS.get(done).copied().unwrap_or_default();
        reasons.push(match signal {
            Some(nix::libc::SIGSYS) => {
                format!("{doing}: a seccomp filter kills the process instead of refusing the call")
            }
            Some(signal) => format!("{doing}: the probe was killed by signal {signal}"),
            None => format!("{doing}: the probe ended before it was done"),
        });
        hint = Some(
            "have the filter refuse with EPERM: SystemCallErrorNumber=EPERM in a systemd unit, \
             \"defaultAction\": \"SCMP_ACT_ERRNO\" in a container's profile"
                .to_owned(),
        );
    }
    Probe { isolation, reasons, hint, killed: signal.is_some() }
}

/// Whether the kernel, or a filter, forbids something to this process: then something else may be
/// allowed.
pub(crate) fn is_forbidden(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::EACCES)
}

/// The isolation of a stage's argument.
pub(crate) fn parse(name: &str) -> Result<Isolation> {
    Isolation::from_name(name).ok_or_else(|| invalid(format!("'{name}' is not an isolation")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(error: Option<&str>) -> Attempt {
        Attempt { error: error.map(str::to_owned), hint: None }
    }

    fn all(proc: Option<&str>) -> Vec<Step> {
        vec![
            Step::Root(attempt(None)),
            Step::Namespaces(attempt(None)),
            Step::Tmpfs(attempt(None)),
            Step::Proc(attempt(proc)),
            Step::Sysfs(attempt(None)),
            Step::HostName(attempt(None)),
        ]
    }

    #[test]
    fn the_best_isolation_that_works_is_chosen() {
        assert_eq!(
            judge(&all(None), None),
            Probe {
                isolation: Some(Isolation::Full),
                reasons: Vec::new(),
                hint: None,
                killed: false
            }
        );
        let masked = judge(&all(Some("mounting proc: EPERM: Operation not permitted")), None);
        assert_eq!(masked.isolation, Some(Isolation::UserNamespace));
        assert_eq!(masked.reasons, ["mounting proc: EPERM: Operation not permitted"]);
        assert!(
            masked
                .hint
                .is_some_and(|hint| hint.contains("unmask=ALL") && !hint.contains("privileged"))
        );
        let refused = judge(&[Step::Root(attempt(Some("making a user namespace: EPERM")))], None);
        assert_eq!((refused.isolation, refused.reasons.len()), (None, 1));
    }

    #[test]
    fn a_filter_that_kills_is_named_with_the_step() {
        let killed = judge(&all(None)[..3], Some(nix::libc::SIGSYS));
        assert_eq!(killed.isolation, None);
        assert_eq!(
            killed.reasons,
            ["mounting proc: a seccomp filter kills the process instead of refusing the call"]
        );
    }

    #[test]
    fn names_are_read_back() {
        for isolation in Isolation::ALL {
            assert_eq!(Isolation::from_name(isolation.name()), Some(isolation));
        }
    }
}
