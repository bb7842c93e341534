//! A plan's mounts inside the private namespace, and the pivot into them.

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::{Mode, fstat, major, minor, stat};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::isolation::{Isolation, is_forbidden};
use super::kernel_files::{
    COMMAND_LINE, NODES, PROC_COMMAND_LINE, PROC_HIDDEN, SYS_PARTLY_HIDDEN, is_hidden_sys,
};
use super::plan::{API_FILE_SYSTEMS, Access, BUILD_ROOT, Devices, Mount, Network, Plan, View};
use super::root::InstallRoot;
use super::user_namespace::Ids;
use crate::error::{Context, Result, invalid};
use crate::openat::fd_path;
use calls::{bind, mount, mount_on, rbind, rbind_on, restrict, restrict_all, tmpfs};

pub(crate) mod calls;

/// Modes and bounds of the tmpfs mounts: together they stay below the machine's memory.
const RUN_OPTIONS: &str = "mode=0755,size=10%";
const SHM_OPTIONS: &str = "mode=1777,size=10%";
/// The sandbox's own root holds the plan's small files and mount points.
const OWN_BYTES: &str = "64m";
/// Each tmpfs of a plan: /tmp and /var of the host's programs.
const PLAN_BYTES: &str = "20%";

/// Mounts everything in the plan and makes it the root.
pub(super) fn apply(plan: &Plan, isolation: Isolation) -> Result<()> {
    let new = &plan.scratch;
    match plan.view {
        View::Tools => {
            tmpfs(new, 0o755, OWN_BYTES)?;
            let root = new.join(BUILD_ROOT.trim_start_matches('/'));
            directory(&root)?;
            bind_root(&plan.root, &root)?;
            api_file_systems(&root, plan, isolation)?;
            // The host's programs need them too; they are the sandbox's own, not the host's.
            for (name, _) in API_FILE_SYSTEMS {
                let at = new.join(name);
                directory(&at)?;
                rbind(&root.join(name), &at)?;
            }
            for mount in &plan.mounts {
                place(new, mount).with_context(|| {
                    format!("preparing the sandbox: {}", mount.target().display())
                })?;
            }
            mount(
                None,
                new,
                None,
                MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                None,
            )
            .context("making the sandbox's own root read-only")?;
        }
        View::Image => {
            bind_root(&plan.root, new)?;
            api_file_systems(new, plan, isolation)?;
            for mount in &plan.mounts {
                // On our own tmpfs no package can have put a link in the way.
                if !mount.target().starts_with("/run") {
                    return Err(invalid(format!(
                        "preparing the sandbox: only /run of an image is the sandbox's own: \
                         {}",
                        mount.target().display()
                    )));
                }
                place(new, mount).with_context(|| {
                    format!("preparing the sandbox: {}", mount.target().display())
                })?;
            }
        }
    }
    pivot(new)
}

/// The install root, without device nodes that would work.
fn bind_root(source: &Path, target: &Path) -> Result<()> {
    bind(source, target).with_context(|| format!("binding install root {}", source.display()))?;
    restrict_all(target, MsFlags::MS_NODEV).context("forbidding devices in the install root")
}

/// proc, sys, dev and run over the install root's own directories.
fn api_file_systems(root: &Path, plan: &Plan, isolation: Isolation) -> Result<()> {
    let install_root = InstallRoot::open(root)?;
    let mut at = Vec::new();
    for (name, mode) in API_FILE_SYSTEMS {
        // Checked before anything is mounted: a package may have left a link to the host in its
        // place.
        at.push(install_root.directory(Path::new(name), mode)?);
    }
    // Our own nodes are bound from the host's: mknod is not allowed in a user namespace.
    let nodes = host_nodes()?;
    let null = &nodes.first().context("opening the host's devices")?.1;
    let [proc, sys, dev, run] = at.as_slice() else {
        return Err(invalid("four API file systems are expected"));
    };
    mount_on(run, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(RUN_OPTIONS))
        .context("mounting run")?;
    mount_proc(proc, isolation)?;
    mask_proc(&root.join("proc"), null, &root.join("run"))?;
    mount_sys(sys, &root.join("sys"), plan.network, isolation)?;
    hide_machine(&root.join("sys"), plan.devices)?;
    match plan.devices {
        Devices::Private => private_dev(dev, &root.join("dev"), &nodes),
        Devices::Host => host_dev(dev, &root.join("dev")),
    }
}

/// What proc, sysfs and the firmware's directory are mounted with.
const INERT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// A new proc. Where a container masks parts of its own, the kernel allows no new one in a user
/// namespace: then it is the container's, in which /proc/self is right and other numbers are those
/// of the container. Its other processes cannot be signalled from this pid namespace, and the
/// kernel shows no more of them than what `ps` shows.
fn mount_proc(at: &OwnedFd, isolation: Isolation) -> Result<()> {
    match mount_on(at, Some("proc"), INERT, None) {
        Err(errno) if isolation == Isolation::UserNamespace && is_forbidden(errno) => {
            rbind_on(Path::new("/proc"), at).context("binding the container's proc")
        }
        done => done.context("mounting proc"),
    }
}

/// A new sysfs, else the container's own, read-only, else an empty directory.
fn mount_sys(at: &OwnedFd, path: &Path, network: Network, isolation: Isolation) -> Result<()> {
    let empty = || {
        mount_on(at, Some("tmpfs"), INERT | MsFlags::MS_RDONLY, Some("mode=0555,size=4k"))
            .context("mounting sys")
    };
    if !sysfs_is_ours(network)? {
        return empty();
    }
    match mount_on(at, Some("sysfs"), INERT | MsFlags::MS_RDONLY, None) {
        Err(errno) if isolation == Isolation::UserNamespace && is_forbidden(errno) => {}
        done => return done.context("mounting sys"),
    }
    // bubblewrap and others give none.
    if !Path::new("/sys/kernel").is_dir() {
        return empty();
    }
    rbind_on(Path::new("/sys"), at).context("binding the container's sys")?;
    restrict_all(path, INERT | MsFlags::MS_RDONLY).context("protecting the container's sys")
}

/// The host's /dev with all that is mounted below it. Devices work, but nothing on these file
/// systems can be created or changed.
fn host_dev(at: &OwnedFd, path: &Path) -> Result<()> {
    rbind_on(Path::new("/dev"), at).context("binding the host's /dev")?;
    restrict_all(path, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)
        .context("protecting the host's /dev")?;
    let shm = path.join("shm");
    if !shm.symlink_metadata().is_ok_and(|shm| shm.is_dir()) {
        return Ok(());
    }
    // Programs write there; what they write is not for the host's programs to see.
    mount(
        Some("tmpfs"),
        &shm,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(SHM_OPTIONS),
    )
    .context("mounting dev/shm")
}

/// Whether a sysfs can be mounted: it shows the network namespace's devices, so its mounter
/// must own that. A download, in which no package code runs, has none where the network is the
/// host's and we are not its root.
fn sysfs_is_ours(network: Network) -> Result<bool> {
    Ok(network == Network::None || !Ids::current()?.mapped())
}

/// The nodes of the host that we bind, with their numbers checked: a false null would be a way out
/// (CVE-2025-31133).
fn host_nodes() -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut nodes = Vec::new();
    for (name, dev_major, dev_minor) in NODES {
        let source = Path::new("/dev").join(name);
        let fd = nix::fcntl::open(
            &source,
            OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )
        .with_context(|| format!("opening {}", source.display()))?;
        let device =
            fstat(&fd).with_context(|| format!("looking at {}", source.display()))?.st_rdev;
        if (major(device), minor(device)) != (dev_major, dev_minor) {
            return Err(invalid(format!(
                "{} of the host is not the device {dev_major}:{dev_minor}",
                source.display()
            )));
        }
        nodes.push((name, fd));
    }
    Ok(nodes)
}

fn private_dev(at: &OwnedFd, path: &Path, nodes: &[(&str, OwnedFd)]) -> Result<()> {
    mount_on(
        at,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("mode=0755,size=64m"),
    )
    .context("mounting dev")?;
    for (name, fd) in nodes {
        let target = path.join(name);
        std::fs::write(&target, "").with_context(|| format!("creating {}", target.display()))?;
        bind_device(&fd_path(fd), &target)?;
    }
    for (name, points_to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        std::os::unix::fs::symlink(points_to, path.join(name))
            .with_context(|| format!("linking {name} in dev"))?;
    }
    for name in ["pts", "shm"] {
        directory(&path.join(name))?;
    }
    mount(
        Some("devpts"),
        &path.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        // Terminals belong to the group tty, where there are groups.
        Some(if Ids::current()? == Ids::Single {
            "newinstance,ptmxmode=0666,mode=0620"
        } else {
            "newinstance,ptmxmode=0666,mode=0620,gid=5"
        }),
    )
    .context("mounting dev/pts")?;
    mount(
        Some("tmpfs"),
        &path.join("shm"),
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(SHM_OPTIONS),
    )
    .context("mounting dev/shm")
}

/// Binds a device node of the host: it works for reading and writing, but its mode and owner, which
/// are the host's, cannot be changed through a read-only mount.
fn bind_device(source: &Path, target: &Path) -> Result<()> {
    bind(source, target).with_context(|| format!("binding {}", target.display()))?;
    restrict(target, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)
        .with_context(|| format!("protecting {}", target.display()))
}

/// Hides the files of the list and makes the rest read-only, so that a later kernel's files are
/// covered too. Modes and owners of these files are shared by all proc file systems: a
/// chmod here would show on the host. What belongs to a process stays writable.
fn mask_proc(proc: &Path, null: &OwnedFd, run: &Path) -> Result<()> {
    let flags = MsFlags::MS_RDONLY | INERT;
    for entry in std::fs::read_dir(proc).context("reading proc")? {
        let entry = entry.context("reading proc")?;
        let name = entry.file_name();
        let target = entry.path();
        let kind = entry.file_type().with_context(|| format!("looking at {}", target.display()))?;
        let of_a_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if kind.is_symlink() || of_a_process {
            continue;
        }
        if PROC_HIDDEN.iter().any(|hidden| name == *hidden) {
            bind_device(&fd_path(null), &target)?;
        } else {
            let source = if name == PROC_COMMAND_LINE { run.join(name) } else { target.clone() };
            if source != target {
                std::fs::write(&source, COMMAND_LINE).context("writing the command line")?;
            }
            bind(&source, &target).with_context(|| format!("protecting {}", target.display()))?;
            if source != target {
                std::fs::remove_file(&source).context("removing the command line")?;
            }
            restrict(&target, flags).with_context(|| format!("protecting {}", target.display()))?;
        }
    }
    Ok(())
}

/// Hides what of sysfs shows the machine. Whoever asks for the host's devices gets their sysfs too,
/// but not the firmware: an image must not depend on whether its builder has EFI.
fn hide_machine(sys: &Path, devices: Devices) -> Result<()> {
    for directory in SYS_PARTLY_HIDDEN {
        let Ok(entries) = std::fs::read_dir(sys.join(directory)) else { continue };
        for entry in entries {
            let entry = entry.context("reading sys")?;
            let path = Path::new(directory).join(entry.file_name());
            let hidden = match devices {
                Devices::Private => is_hidden_sys(&path.to_string_lossy()),
                Devices::Host => path == Path::new("firmware"),
            };
            if hidden && entry.file_type().context("reading sys")?.is_dir() {
                let target = entry.path();
                let options = Some("mode=0755,size=4k");
                mount(Some("tmpfs"), &target, Some("tmpfs"), INERT | MsFlags::MS_RDONLY, options)
                    .with_context(|| format!("hiding {}", target.display()))?;
            }
        }
    }
    Ok(())
}

/// One entry of the plan over the sandbox's own tmpfs, in which every name is ours.
fn place(new: &Path, what: &Mount) -> Result<()> {
    let inside = |target: &Path| new.join(target.strip_prefix("/").unwrap_or(target));
    match what {
        Mount::Bind { source, target, access } => {
            let target = inside(target);
            parents(&target)?;
            if source.is_dir() {
                directory(&target)?;
            } else {
                std::fs::write(&target, "")
                    .with_context(|| format!("creating {}", target.display()))?;
            }
            bind(source, &target)?;
            let flags = match access {
                Access::ReadOnly => MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                Access::ReadWrite => MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            };
            restrict_all(&target, flags)
                .with_context(|| format!("restricting {}", target.display()))
        }
        Mount::Opened { source, target, access, inode } => {
            place(
                new,
                &Mount::Bind { source: source.clone(), target: target.clone(), access: *access },
            )?;
            let found = stat(&inside(target))
                .with_context(|| format!("looking at {}", source.display()))?;
            if (found.st_dev, found.st_ino) != *inode {
                return Err(invalid(format!(
                    "{} was replaced while it was in use",
                    source.display()
                )));
            }
            Ok(())
        }
        Mount::Tmpfs { target, mode } => {
            let target = inside(target);
            parents(&target)?;
            directory(&target)?;
            tmpfs(&target, *mode, PLAN_BYTES)
        }
        Mount::Link { target, points_to } => {
            let target = inside(target);
            parents(&target)?;
            std::os::unix::fs::symlink(points_to, &target).context("linking")
        }
        Mount::File { target, content } => {
            let target = inside(target);
            parents(&target)?;
            std::fs::write(&target, content).context("writing")
        }
        Mount::Directory { target } => {
            parents(&inside(target))?;
            directory(&inside(target))
        }
    }
}

/// Makes `new` the root and lets go of the host's; see pivot_root(2) on `pivot_root(".", ".")`.
fn pivot(new: &Path) -> Result<()> {
    std::env::set_current_dir(new).context("entering the sandbox's root")?;
    #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
    {
        nix::unistd::pivot_root(".", ".").context("pivoting into the sandbox's root")?;
        nix::mount::umount2(".", MntFlags::MNT_DETACH).context("letting go of the host's root")?;
    }
    std::env::set_current_dir("/").context("entering the sandbox's root")
}

fn directory(path: &Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("creating {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn parents(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent)
            .with_context(|| format!("creating {}", parent.display())),
        None => Ok(()),
    }
}
