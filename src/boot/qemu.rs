//! The machine of the trial: QEMU in the sandbox, without a network, with KVM if it works,
//! otherwise emulated.

use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::console::{Landmark, Results, landmark, plain};
use crate::error::{ExitCode, Failure, Result};
use crate::process::{self, CommandLine, Tail, find_program};
use crate::report::{Report, Step};
use crate::sandbox::{self, Access, Limits, Mount, Network, Plan, Stream, ToolRoot};

/// How the guest's processor is provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accelerator {
    /// By KVM.
    Kvm,
    /// By emulation: works everywhere, about twenty times slower.
    Tcg,
}

/// The time limit for a kernel to start its init with KVM.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// The time that QEMU has to end after a request.
const GRACE: Duration = Duration::from_secs(20);
/// The number of console lines that failures and reports quote.
const TAIL_LINES: usize = 20;

/// The machine's parts.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// QEMU.
    pub program: PathBuf,
    /// The disk; `None` while KVM is tested.
    pub disk: PathBuf,
    /// The image's kernel.
    pub kernel: PathBuf,
    /// The image's initramfs.
    pub initramfs: PathBuf,
    /// The kernel's arguments.
    pub arguments: String,
    /// Memory in MiB.
    pub memory: u32,
    /// An empty directory used as the install root.
    pub root: PathBuf,
    /// An empty directory that the sandbox is mounted over.
    pub scratch: PathBuf,
}

/// The result of a boot.
#[derive(Debug, Clone)]
pub(super) struct Boot {
    /// Seconds from QEMU's start to the login prompt.
    pub login: Option<f64>,
    /// The landmark that stopped it.
    pub stuck: Option<Landmark>,
    /// The results of the checks.
    pub results: Results,
    /// The last lines of the console.
    pub tail: String,
    /// Whether the time limit was reached.
    pub timed_out: bool,
}

/// The path of QEMU on this host. On EL it is a helper, not a command.
///
/// # Errors
/// [`ExitCode::Host`] with a hint if it is not installed.
pub(super) fn find() -> Result<PathBuf> {
    ["qemu-system-x86_64", "qemu-kvm"].iter().find_map(|name| find_program(name)).ok_or_else(|| {
        Failure::new(ExitCode::Host, "starting a machine: qemu-system-x86_64 is not installed")
            .hint("install it: apt-get install qemu-system-x86   (or: dnf install qemu-kvm)")
            .into()
    })
}

impl Machine {
    /// The accelerator that works here. An existing /dev/kvm is not enough: nested, it may hang or
    /// fail. So the image's kernel must start its init with it.
    ///
    /// # Errors
    /// If the sandbox cannot be created, or a signal asked to stop.
    pub(super) fn accelerator(&self, report: &Report) -> Result<Accelerator> {
        if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Accelerator::Tcg);
        }
        let plan = self.plan(Accelerator::Kvm, Disk::None, PROBE_LIMIT);
        report.command(&plan.command.quoted());
        let mut works = false;
        let ended =
            sandbox::run(&plan, Limits { total: Some(PROBE_LIMIT), idle: None }, &mut |_, line| {
                match landmark(&plain(line)) {
                    Some(Landmark::Init | Landmark::Panic) => works = true,
                    Some(Landmark::BrokenKvm) => {}
                    _ => return Ok(()),
                }
                Err(Finished.into())
            });
        match ended {
            Err(error) if error.is::<Finished>() => {}
            Err(error) if crate::error::exit_code(&error) == ExitCode::TimedOut => {}
            other => drop(other?),
        }
        process::check_stop()?;
        if !works {
            report.note("KVM does not work on this host: the machine is emulated, which is slow");
        }
        Ok(if works { Accelerator::Kvm } else { Accelerator::Tcg })
    }

    /// Boots the disk and reads the output until the checks are done, the machine ends, or the time
    /// limit is reached.
    ///
    /// # Errors
    /// If the sandbox or QEMU cannot be started, or a signal asked to stop.
    pub(super) fn boot(
        &self,
        accelerator: Accelerator,
        limit: Duration,
        step: &Step,
    ) -> Result<Boot> {
        let report = step.report();
        let plan = self.plan(accelerator, Disk::Attached, limit);
        report.command(&plan.command.quoted());
        let began = Instant::now();
        let mut boot = Boot {
            login: None,
            stuck: None,
            results: Results::default(),
            tail: String::new(),
            timed_out: false,
        };
        let (mut console, mut words) = (Tail::new(16 << 10), Tail::new(4096));
        let ended = sandbox::run(
            &plan,
            Limits { total: Some(limit + GRACE), idle: None },
            &mut |stream, line| {
                let line = plain(line);
                match stream {
                    Stream::Err if boot.results.take(&line) => {}
                    Stream::Err => words.push(&line),
                    Stream::Out if line.trim().is_empty() => return Ok(()),
                    Stream::Out => console.push(&line),
                }
                report.output(&line);
                step.item(&line);
                match landmark(&line) {
                    Some(Landmark::Login) if stream == Stream::Out => {
                        boot.login.get_or_insert(began.elapsed().as_secs_f64());
                    }
                    Some(stuck @ (Landmark::Panic | Landmark::Emergency))
                        if stream == Stream::Out =>
                    {
                        boot.stuck = Some(stuck)
                    }
                    Some(Landmark::BrokenKvm) if stream == Stream::Err => {
                        boot.stuck = Some(Landmark::BrokenKvm)
                    }
                    _ => {}
                }
                // Lines after the landmark are useful, but not worth waiting for: panic=1 ends the
                // machine.
                if boot.results.done()
                    || matches!(boot.stuck, Some(Landmark::Emergency | Landmark::BrokenKvm))
                {
                    return Err(Finished.into());
                }
                Ok(())
            },
        );
        boot.tail = console.last(TAIL_LINES);
        boot.timed_out = began.elapsed() >= limit;
        match ended {
            Err(error) if error.is::<Finished>() => boot.timed_out = false,
            Err(error) if crate::error::exit_code(&error) == ExitCode::TimedOut => {}
            Err(error) => return Err(error),
            Ok(outcome) if console.is_empty() && !outcome.success() && !boot.timed_out => {
                return Err(Failure::new(
                    ExitCode::Host,
                    format!("starting QEMU: {}: {}", outcome.describe(), words.last(5)),
                )
                .into());
            }
            Ok(_) => {}
        }
        Ok(boot)
    }

    /// The sandbox for QEMU: the host's programs and this machine's files.
    fn plan(&self, accelerator: Accelerator, disk: Disk, limit: Duration) -> Plan {
        let command = self.command(accelerator, disk, limit);
        let mut plan =
            Plan::with_tools(&ToolRoot::host(), &self.root, &self.scratch, Network::None, command);
        let mut bind = |source: &Path, target: &str, access| {
            plan.mounts.push(Mount::Bind {
                source: source.to_owned(),
                target: target.into(),
                access,
            });
        };
        bind(&self.kernel, "/machine/kernel", Access::ReadOnly);
        bind(&self.initramfs, "/machine/initramfs", Access::ReadOnly);
        if disk == Disk::Attached {
            bind(&self.disk, "/machine/disk", Access::ReadWrite);
        }
        if accelerator == Accelerator::Kvm {
            bind(Path::new("/dev/kvm"), "/dev/kvm", Access::ReadWrite);
        }
        plan
    }

    /// QEMU's stdout is the console, its stderr the port of the checks. `timeout` ends it with a
    /// signal first, so that a last prompt without a newline is still read.
    fn command(&self, accelerator: Accelerator, disk: Disk, limit: Duration) -> CommandLine {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get().min(4)).to_string();
        let memory = self.memory.to_string();
        let limit = limit.as_secs().to_string();
        let program = self.program.to_string_lossy();
        let mut argv = vec![
            "timeout",
            "--kill-after=10",
            &limit,
            &program,
            "-machine",
            "q35",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ];
        argv.extend(["-display", "none", "-nic", "none", "-m", &memory, "-smp", &cores]);
        argv.extend(match accelerator {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        });
        argv.extend(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        argv.extend([
            "-chardev",
            "file,id=checks,path=/proc/self/fd/2",
            "-serial",
            "chardev:checks",
        ]);
        argv.extend([
            "-object",
            "rng-random,id=random,filename=/dev/urandom",
            "-device",
            "virtio-rng-pci,rng=random",
        ]);
        if disk == Disk::Attached {
            // The disk is discarded afterwards, so it need not survive a crash of the host.
            argv.extend(["-drive", "file=/machine/disk,format=raw,if=virtio,cache=unsafe"]);
        }
        argv.extend([
            "-kernel",
            "/machine/kernel",
            "-initrd",
            "/machine/initramfs",
            "-append",
            &self.arguments,
        ]);
        CommandLine::new(argv)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("TMPDIR", "/var/tmp")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Attached,
    None,
}

/// The error that stops the sandbox when no more output is needed.
#[derive(Debug, thiserror::Error)]
#[error("no more output is needed")]
struct Finished;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            program: "/usr/bin/qemu-system-x86_64".into(),
            disk: "/w/disk".into(),
            kernel: "/w/kernel".into(),
            initramfs: "/w/initramfs".into(),
            arguments: "root=/dev/vda".into(),
            memory: 1024,
            root: "/w/root".into(),
            scratch: "/w/scratch".into(),
        }
    }

    #[test]
    fn the_machine_has_no_network_and_sees_kvm_only_if_it_uses_it() {
        for (accelerator, seen) in [(Accelerator::Kvm, true), (Accelerator::Tcg, false)] {
            let plan = machine().plan(accelerator, Disk::Attached, Duration::from_secs(60));
            assert_eq!(plan.network, Network::None);
            assert!(plan.command.quoted().contains(" -nic none "), "{}", plan.command.quoted());
            let kvm = plan.mounts.iter().any(
                |m| matches!(m, Mount::Bind { target, .. } if target == Path::new("/dev/kvm")),
            );
            assert_eq!(kvm, seen);
        }
    }

    #[test]
    fn only_the_disk_is_writable() {
        let plan = machine().plan(Accelerator::Tcg, Disk::Attached, Duration::from_secs(60));
        let writable: Vec<_> = plan
            .mounts
            .iter()
            .filter_map(|m| match m {
                Mount::Bind { target, access: Access::ReadWrite, .. } => Some(target.as_path()),
                _ => None,
            })
            .collect();
        assert_eq!(writable, [Path::new("/machine/disk")]);
    }
}
