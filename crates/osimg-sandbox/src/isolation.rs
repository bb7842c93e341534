//! How well this machine can contain a run, found out by trying it in child processes.
//!
//! A container may forbid namespaces, or mounts of proc and sysfs, and a filter of system calls may
//! kill instead of refusing. So nothing is concluded from versions or names: each step is tried in
//! a child, and EACCES counts like EPERM.

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use super::release::is_at_least;
use super::status::{PROBE, PROBE_CONTAINER, PROBE_MOUNTS, STAGE};
use super::user_namespace::become_root;
use crate::error::{Context, Error, ErrorKind, Result, invalid};

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

fn report(step: &Step) -> Result<()> {
    use std::io::Write;
    let mut line = serde_json::to_vec(step).context("reporting a step of the probe")?;
    line.push(b'\n');
    std::io::stdout().write_all(&line).context("reporting a step of the probe")
}

/// The probe's first child: user namespace and other namespaces.
pub(crate) fn probe_main() -> Result<i32> {
    let root = become_root();
    report(&Step::Root(Attempt::new(&root)))?;
    if root.is_err() {
        return Ok(0);
    }
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNET;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's probe")]
    let namespaces = nix::sched::unshare(flags).map_err(refused).and_then(|()| {
        nix::mount::mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .context("making mounts private")
    });
    report(&Step::Namespaces(Attempt::new(&namespaces)))?;
    if namespaces.is_err() {
        return Ok(0);
    }
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's probe")]
    let mut child = std::process::Command::new("/proc/self/exe")
        .args([STAGE, PROBE_MOUNTS])
        .env_clear()
        .stdin(Stdio::null())
        .spawn()
        .context("starting the second child of the probe")?;
    if let Some(signal) = child.wait().ok().and_then(|status| status.signal()) {
        // The supervisor sees how this process ends.
        let signal = nix::sys::signal::Signal::try_from(signal).context("reading a signal")?;
        nix::sys::signal::raise(signal).context("ending as the second child did")?;
    }
    Ok(0)
}

fn refused(errno: Errno) -> Error {
    Error::new(ErrorKind::Host, format!("making namespaces: {errno}")).with_hint(
        "run it as root on a host, or in a container with --security-opt seccomp=unconfined",
    )
}

/// The probe's second child, the first process of its pid namespace: mounts.
pub(crate) fn probe_mounts_main() -> Result<i32> {
    // Any directory will do, in this mount namespace; this one is everywhere.
    let place = Path::new("/usr");
    let tmpfs = mount("tmpfs", place, MsFlags::empty());
    report(&Step::Tmpfs(Attempt::new(&tmpfs)))?;
    if tmpfs.is_err() {
        return Ok(0);
    }
    let inert = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // A container's sysfs is read-only, and so must a new one be.
    for (kind, flags, step) in [
        ("proc", inert, Step::Proc as fn(Attempt) -> Step),
        ("sysfs", inert | MsFlags::MS_RDONLY, Step::Sysfs),
    ] {
        let directory = place.join(kind);
        let mounted = std::fs::create_dir(&directory)
            .context("making a directory")
            .and_then(|()| mount(kind, &directory, flags));
        report(&step(Attempt::new(&mounted)))?;
    }
    report(&Step::HostName(Attempt::new(
        &nix::unistd::sethostname("localhost").context("setting the host name"),
    )))?;
    Ok(0)
}

fn mount(kind: &str, target: &Path, flags: MsFlags) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox's probe")]
    nix::mount::mount(Some(kind), target, Some(kind), flags, None::<&str>)
        .with_context(|| format!("mounting {kind}"))
}

/// The probe's child that tries what a run without namespaces takes.
pub(crate) fn probe_container_main() -> Result<i32> {
    report(&Step::Container(Attempt::new(&try_container())))?;
    Ok(0)
}

/// The oldest kernel that adds a descriptor and answers in one step.
const ADDS_DESCRIPTORS: (u32, u32) = (5, 14);

fn try_container() -> Result<()> {
    let lacking = |what: String, hint: &str| Err(Error::new(ErrorKind::Host, what).with_hint(hint));
    if !nix::unistd::geteuid().is_root() {
        return lacking(
            "doing without namespaces: packages can only be installed by root".to_owned(),
            "run the container as root, or allow user namespaces: docker run --security-opt \
             seccomp=unconfined, Kubernetes hostUsers: false",
        );
    }
    let held = caps::read(None, caps::CapSet::Effective).context("reading capabilities")?;
    let needed = [
        caps::Capability::CAP_CHOWN,
        caps::Capability::CAP_DAC_OVERRIDE,
        caps::Capability::CAP_FOWNER,
        caps::Capability::CAP_FSETID,
        caps::Capability::CAP_SETFCAP,
        caps::Capability::CAP_SETGID,
        caps::Capability::CAP_SETUID,
        caps::Capability::CAP_SYS_CHROOT,
    ];
    let missing: Vec<String> = needed
        .iter()
        .filter(|capability| !held.contains(capability))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        let flags: Vec<String> = missing
            .iter()
            .map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_")))
            .collect();
        return lacking(
            format!("doing without namespaces: the container has no {}", missing.join(", ")),
            &flags.join(" "),
        );
    }
    let release = nix::sys::utsname::uname().context("asking for the kernel's release")?;
    let release = release.release().to_string_lossy().into_owned();
    let (major, minor) = ADDS_DESCRIPTORS;
    if !is_at_least(&release, ADDS_DESCRIPTORS) {
        return lacking(
            format!(
                "doing without namespaces: the kernel is {release}, and {major}.{minor} or later \
                 is needed"
            ),
            "use a later kernel, or allow namespaces: docker run --security-opt seccomp=unconfined",
        );
    }
    nix::sys::prctl::set_no_new_privs()
        .context("doing without namespaces: forbidding new privileges")?;
    let filter = super::confine::asking(
        [(nix::libc::SYS_chroot, Vec::new())].into(),
        super::notify::PLACEHOLDER,
    )?;
    super::notify::install(&filter)
        .context("doing without namespaces: having system calls answered")?;
    let mine = 7u8;
    let found =
        super::process_memory::read(nix::unistd::Pid::this(), std::ptr::from_ref(&mine) as u64, 1);
    if found.as_deref() != Some(&[7]) {
        return lacking(
            "doing without namespaces: reading the memory of another process is forbidden"
                .to_owned(),
            "allow process_vm_readv and process_vm_writev in the container's seccomp profile",
        );
    }
    Ok(())
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
