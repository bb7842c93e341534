//! The trial: a tarball is unpacked like by Anaconda, booted in a separate machine, and checked.
//!
//! | file | what it does |
//! |---|---|
//! | [`disk`] | a sparse file with a file system, Anaconda's tar, the labels as unpacked |
//! | [`checks`] | the unit that checks the booted image, and its results |
//! | [`qemu`] | the machine, in the sandbox |
//! | [`console`] | the output of the machine |

mod checks;
mod console;
mod disk;
mod qemu;
mod tool;

use anyhow::Context;
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use checks::{Checks, Depth};
pub(crate) use console::Landmark;
pub(crate) use disk::{FileSystem, Unpacked};
pub(crate) use qemu::Accelerator;

use crate::error::{ExitCode, Failure, Result};
use crate::report::{Report, bytes};
use crate::sandbox::InstallRoot;
use crate::workdir::{Keep, Place, Workdir};

/// SELinux in the booted kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SelinuxBoot {
    /// On and enforcing.
    Enforcing,
    /// On, and only logging what it would deny.
    Permissive,
    /// As the kernel and the image's own configuration set it.
    AsIs,
}

impl SelinuxBoot {
    fn arguments(self) -> &'static str {
        match self {
            Self::Enforcing => " security=selinux selinux=1 enforcing=1",
            Self::Permissive => " security=selinux selinux=1 enforcing=0",
            Self::AsIs => "",
        }
    }
}

/// Whether to use KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AcceleratorChoice {
    /// KVM if the image's kernel starts its init on it, otherwise emulation.
    Auto,
    /// KVM.
    Kvm,
    /// Emulation.
    Tcg,
}

/// The options of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The limit on the boot and its checks, from QEMU's start.
    pub timeout: Duration,
    /// The disk's file system.
    pub file_system: FileSystem,
    /// Units that must be active.
    pub units: Vec<String>,
    /// Memory of the machine in MiB.
    pub memory: u32,
    /// SELinux in the booted kernel.
    pub selinux: SelinuxBoot,
    /// Whether to use KVM.
    pub accelerator: AcceleratorChoice,
    /// The directory for the disk.
    pub workdir: Place,
}

/// The result of a trial.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Trial {
    /// The tarball.
    pub tarball: PathBuf,
    /// Whether there are no findings.
    pub healthy: bool,
    /// The findings as sentences; empty if healthy.
    pub findings: Vec<String>,
    /// The result of unpacking by tar.
    pub tar: Unpacked,
    /// The number of files with labels compared to the policy right after unpacking; 0 if the image
    /// has no policy.
    pub labels_compared: usize,
    /// Those with a different label.
    pub wrong_labels_unpacked: Vec<String>,
    /// The kernel's version.
    pub kernel: String,
    /// The accelerator that was used.
    pub accelerator: Accelerator,
    /// Seconds from the machine's start to the login prompt, accurate to a second.
    pub seconds_to_login: Option<f64>,
    /// The results of the checks in the booted image; `None` if they did not start.
    pub checks: Option<Checks>,
    /// The last lines of the console.
    pub console: String,
}

/// Unpacks the tarball, boots it and runs the checks.
///
/// # Errors
/// [`ExitCode::Host`] if the host lacks something, [`ExitCode::TimedOut`] with the last console
/// lines if the checks do not finish in time, [`ExitCode::Findings`] if the image has nothing to
/// boot. All other problems of the image are in the [`Trial`].
pub(crate) fn boot(tarball: &Path, options: &Options, report: &Report) -> Result<Trial> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(
            ExitCode::Host,
            "booting an image requires root: its files belong to many users",
        )
        .hint("run it with sudo")
        .into());
    }
    let program = qemu::find()?;
    let tarball =
        tarball.canonicalize().with_context(|| format!("opening {}", tarball.display()))?;
    let packed =
        tarball.metadata().with_context(|| format!("opening {}", tarball.display()))?.len();
    crate::sandbox::enter_private_mounts()?;
    let mut workdir = Workdir::create(&options.workdir, Keep::Never)?;
    // Anaconda also requires four times the tarball; the rest is for the file system and the
    // kernel's copies.
    workdir.reserve(packed.saturating_mul(4) + (512 << 20))?;
    let result = attempt(&program, &tarball, packed, options, report, &workdir);
    let removed = workdir.finish(result.is_err());
    let trial = result?;
    removed.context("removing the workdir")?;
    Ok(trial)
}

fn attempt(
    program: &Path,
    tarball: &Path,
    packed: u64,
    options: &Options,
    report: &Report,
    workdir: &Workdir,
) -> Result<Trial> {
    let place = workdir.root();
    for name in ["mnt", "machine"] {
        std::fs::create_dir(place.join(name))
            .with_context(|| format!("creating {name} in {}", place.display()))?;
    }
    let (file, mnt) = (place.join("disk"), place.join("mnt"));

    let step = report.step("unpacking");
    // Sparse: unused space is not allocated.
    disk::format(
        &file,
        (packed.saturating_mul(8) + (4 << 30)).next_multiple_of(1 << 20),
        options.file_system,
        report,
    )?;
    let mounted = disk::Mounted::mount(&file, &mnt, options.file_system, report)?;
    let tar = disk::unpack(tarball, &mnt, report)?;
    let policy = crate::selinux::load_from_tree(&mnt)?;
    let labels = disk::labels(&mnt, policy.as_ref())?;
    step.finish(&format!(
        "{} files of {}, {} labels compared with the policy",
        labels.paths.len(),
        bytes(packed),
        labels.compared
    ));

    let root = InstallRoot::open(&mnt)?;
    let kernel = copy_kernel(&root, &place)?;
    let mut machine = qemu::Machine {
        program: program.to_owned(),
        disk: file,
        kernel: place.join("kernel"),
        initramfs: place.join("initramfs"),
        arguments: String::new(),
        memory: options.memory,
        root: place.join("machine"),
        scratch: workdir.scratch(),
    };
    machine.arguments = arguments(options.selinux, Accelerator::Kvm);
    let mut accelerator = match options.accelerator {
        AcceleratorChoice::Auto => machine.accelerator(report)?,
        AcceleratorChoice::Kvm => Accelerator::Kvm,
        AcceleratorChoice::Tcg => Accelerator::Tcg,
    };
    let depth = match accelerator {
        Accelerator::Kvm => Depth::Contents,
        Accelerator::Tcg => Depth::Attributes,
    };
    checks::install(&root, policy.as_ref(), &options.units, depth)?;
    drop(root);
    mounted.unmount()?;

    let step = report.step("booting");
    machine.arguments = arguments(options.selinux, accelerator);
    let mut boot = machine.boot(accelerator, options.timeout, &step)?;
    if boot.stuck == Some(Landmark::BrokenKvm) && options.accelerator == AcceleratorChoice::Auto {
        report.note("KVM failed on this host: the machine is emulated, which is slow");
        accelerator = Accelerator::Tcg;
        machine.arguments = arguments(options.selinux, accelerator);
        boot = machine.boot(accelerator, options.timeout, &step)?;
    }
    if boot.timed_out {
        let reached = match boot.login {
            Some(seconds) => {
                format!("the login prompt appeared after {seconds:.0} s, the checks did not finish")
            }
            None => "no login prompt".into(),
        };
        return Err(Failure::new(
            ExitCode::TimedOut,
            format!(
                "booting {}: the time limit of {} s passed ({reached}):\n{}",
                tarball.display(),
                options.timeout.as_secs(),
                boot.tail
            ),
        )
        .hint("raise it with --timeout; -v shows the full console")
        .into());
    }
    let checks = boot.results.begun().then(|| Checks::read(&boot.results, depth, &labels.paths));
    let findings = findings(&tar, &labels.wrong, &boot, checks.as_ref());
    step.finish(
        &boot.login.map_or("no login prompt".into(), |seconds| {
            format!("login prompt after {seconds:.0} s")
        }),
    );
    Ok(Trial {
        tarball: tarball.to_owned(),
        healthy: findings.is_empty(),
        findings,
        tar,
        labels_compared: labels.compared,
        wrong_labels_unpacked: labels.wrong,
        kernel,
        accelerator,
        seconds_to_login: boot.login.map(|seconds| (seconds * 10.0).round() / 10.0),
        checks,
        console: boot.tail,
    })
}

/// The kernel's arguments. The machine must never wait for input: a panic and dracut's emergency
/// mode end it.
fn arguments(selinux: SelinuxBoot, accelerator: Accelerator) -> String {
    let patience = match accelerator {
        Accelerator::Kvm => "",
        Accelerator::Tcg => {
            " systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600 \
             cryptomgr.notests"
        }
    };
    format!(
        "root=/dev/vda rw console=ttyS0 panic=1 rd.shell=0 rd.emergency=poweroff{patience}{}",
        selinux.arguments()
    )
}

/// Copies the kernel that Anaconda would make the default, and its initramfs, out of the image;
/// returns its version.
fn copy_kernel(root: &InstallRoot, place: &Path) -> Result<String> {
    let names = root.names(Path::new("boot"))?;
    // Names are sorted, and Anaconda takes the first.
    let version = names
        .iter()
        .filter_map(|name| name.to_str()?.strip_prefix("vmlinuz-"))
        .find(|version| !version.contains("rescue"))
        .ok_or_else(|| {
            nothing_to_boot(
                "it has no boot/vmlinuz-VERSION",
                "install a kernel: `install kernel` in the recipe",
            )
        })?;
    copy(root, &format!("boot/vmlinuz-{version}"), &place.join("kernel"))?;
    let candidates =
        [format!("boot/initramfs-{version}.img"), format!("boot/initrd.img-{version}")];
    let initramfs = candidates
        .iter()
        .find(|path| root.open_file(Path::new(path.as_str())).is_ok())
        .ok_or_else(|| {
            nothing_to_boot(
                &format!("it has no boot/initramfs-{version}.img"),
                "install dracut before the kernel",
            )
        })?;
    copy(root, initramfs, &place.join("initramfs"))?;
    Ok(version.to_owned())
}

fn nothing_to_boot(why: &str, hint: &str) -> Failure {
    Failure::new(ExitCode::Findings, format!("booting the image: {why}")).hint(hint)
}

fn copy(root: &InstallRoot, path: &str, target: &Path) -> Result<()> {
    let shown = || format!("copying {path} out of the image");
    let mut source = root.open_file(Path::new(path)).with_context(shown)?;
    let mut file = File::create_new(target).with_context(shown)?;
    crate::files::copy(&mut source, &mut file).with_context(shown)?;
    Ok(())
}

/// The findings of a trial, as sentences.
fn findings(
    tar: &Unpacked,
    wrong_unpacked: &[String],
    boot: &qemu::Boot,
    checks: Option<&Checks>,
) -> Vec<String> {
    let mut findings = Vec::new();
    if tar.status != Some(0) {
        findings.push(format!(
            "tar ended with {}",
            tar.status.map_or("a signal".into(), |status| format!("exit status {status}"))
        ));
    }
    if !tar.stderr.is_empty() {
        findings.push(format!("tar reported {} problems", tar.stderr.len()));
    }
    if !wrong_unpacked.is_empty() {
        findings.push(format!(
            "{} files were unpacked with labels that differ from the policy",
            wrong_unpacked.len()
        ));
    }
    match boot.stuck {
        Some(Landmark::Panic) => findings.push("the kernel panicked".into()),
        Some(Landmark::Emergency) => findings.push("the boot ended in emergency mode".into()),
        _ => {}
    }
    if boot.login.is_none() {
        findings.push("there was no login prompt".into());
    }
    let Some(checks) = checks.filter(|_| boot.results.done()) else {
        findings.push("the machine ended before its checks were done".into());
        return findings;
    };
    findings.extend(checks.failed_units.iter().map(|unit| format!("{unit} failed")));
    findings.extend(checks.inactive_units.iter().map(|unit| format!("{unit}, not active")));
    if !checks.selinux.wrong_labels.is_empty() {
        findings.push(format!(
            "{} files have labels that the running system would change",
            checks.selinux.wrong_labels.len()
        ));
    }
    if !checks.selinux.denials_of_unlabelled.is_empty() {
        findings.push(format!(
            "{} accesses to unlabelled files were denied",
            checks.selinux.denials_of_unlabelled.len()
        ));
    }
    findings
}
