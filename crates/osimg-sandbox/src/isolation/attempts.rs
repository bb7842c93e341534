//! The steps that the children of the probe try, and report to their parent.

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use super::{Attempt, Step};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::mounts::calls;
use crate::release::is_at_least;
use crate::status::{PROBE_MOUNTS, STAGE};
use crate::user_namespace::become_root;
use crate::{confine, notify, process_memory};

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
        calls::mount(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
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
    calls::mount(Some(kind), target, Some(kind), flags, None)
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
    let filter =
        confine::asking([(nix::libc::SYS_chroot, Vec::new())].into(), notify::PLACEHOLDER)?;
    notify::install(&filter).context("doing without namespaces: having system calls answered")?;
    let mine = 7u8;
    let found = process_memory::read(nix::unistd::Pid::this(), std::ptr::from_ref(&mine) as u64, 1);
    if found.as_deref() != Some(&[7]) {
        return lacking(
            "doing without namespaces: reading the memory of another process is forbidden"
                .to_owned(),
            "allow process_vm_readv and process_vm_writev in the container's seccomp profile",
        );
    }
    Ok(())
}
