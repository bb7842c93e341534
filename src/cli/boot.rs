//! `osimg boot`: unpacks a tarball as Anaconda does, boots it, and checks the system.

use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

use super::output;
use crate::boot::{
    self, Accelerator, AcceleratorChoice, Depth, FileSystem, Options, SelinuxBoot, Trial,
};
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::report::Report;
use crate::workdir::Place;

/// The largest number of lines of one kind in the text; --json has them all.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Boot {
    /// The tarball
    #[arg(value_name = "TARBALL")]
    tarball: PathBuf,
    /// Time limit for the boot and its checks: 90s, 10m, 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// File system to unpack to
    #[arg(long = "filesystem", value_enum, value_name = "KIND", default_value = "ext4")]
    file_system: FileSystem,
    /// A unit that must be active; repeatable
    #[arg(long = "unit", value_name = "UNIT", value_parser = unit)]
    units: Vec<String>,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value = "2048",
        value_parser = clap::value_parser!(u32).range(256..=1_048_576))]
    memory: u32,
    /// SELinux in the booted kernel
    #[arg(long, value_enum, value_name = "MODE", default_value = "as-is")]
    selinux: SelinuxBoot,
    /// The virtual machine's processor
    #[arg(long = "accel", value_enum, value_name = "KIND", default_value = "auto")]
    accelerator: AcceleratorChoice,
    /// Working directory: auto (memory if it fits, otherwise /var/tmp) or a directory
    #[arg(long, value_name = "DIR", default_value = "auto")]
    workdir: PathBuf,
}

impl Boot {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        files::open(&self.tarball).map_err(|error| {
            Failure::of_argument(format!("booting {}", self.tarball.display()), error)
                .hint("use a tarball that osimg build or osimg pack wrote")
        })?;
        let options = Options {
            timeout: self.timeout,
            file_system: self.file_system,
            units: self.units.clone(),
            memory: self.memory,
            selinux: self.selinux,
            accelerator: self.accelerator,
            workdir: if self.workdir.as_os_str() == "auto" {
                Place::Auto
            } else {
                Place::Under(self.workdir.clone())
            },
        };
        let trial = boot::boot(&self.tarball, &options, report)?;
        if json {
            output::print_json(report, &trial)?;
        } else {
            output::print_lines(report, &lines(&trial))?;
        }
        report.verdict(format!("{}: not healthy", trial.tarball.display()));
        Ok(if trial.healthy { ExitCode::Done } else { ExitCode::Findings })
    }
}

/// `90s`, `10m`, `1h`, or seconds without a letter.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let seconds = number
        .parse::<u32>()
        .map_err(|_| format!("'{text}' is not a time; write 90s, 10m or 1h"))?;
    match u64::from(seconds) * factor {
        0 => Err("the time must be longer than 0".into()),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// Checks a unit's name by the rules of systemd.unit(5).
fn unit(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(allowed) {
        return Err(format!("'{text}' is not the name of a unit"));
    }
    Ok(text.to_owned())
}

/// The trial as text for the user.
fn lines(trial: &Trial) -> Vec<String> {
    let accelerator = match trial.accelerator {
        Accelerator::Kvm => "on KVM",
        Accelerator::Tcg => "emulated",
    };
    let mut lines =
        vec![format!("{}: kernel {}, {accelerator}", trial.tarball.display(), trial.kernel)];
    let mut row = |name: &str, what: String| lines.push(format!("  {name:<14}{what}"));
    let tar = match (trial.tar.status, trial.tar.stderr.len()) {
        (Some(0), 0) => "unpacked everything".into(),
        (Some(status), complaints) => format!("exit status {status}, {complaints} complaints"),
        (None, _) => "ended by a signal".into(),
    };
    row("tar", tar);
    row(
        "labels",
        match (trial.labels_compared, trial.wrong_labels_unpacked.len()) {
            (0, _) => "none: the image has no policy".into(),
            (compared, wrong) => format!("{wrong} of {compared} wrong as unpacked"),
        },
    );
    row(
        "login prompt",
        trial.seconds_to_login.map_or("none".into(), |s| format!("after {s:.0} s")),
    );
    if let Some(checks) = &trial.checks {
        row("system", format!("{}, {} failed units", checks.state, checks.failed_units.len()));
        let selinux = &checks.selinux;
        let init = selinux
            .init
            .as_deref()
            .map(|context| format!(", init is {context}"))
            .unwrap_or_default();
        let wrong = if selinux.labels_checked {
            format!(
                ", {} wrong labels, {} of new files",
                selinux.wrong_labels.len(),
                selinux.wrong_labels_of_new_files.len()
            )
        } else {
            String::new()
        };
        row("SELinux", format!("{}{init}{wrong}, {} denials", selinux.mode, selinux.denials));
        row(
            "capabilities",
            checks
                .capabilities
                .as_ref()
                .map_or("no getcap".into(), |list| format!("{} files", list.len())),
        );
        row(
            "ACLs",
            checks
                .acls
                .as_ref()
                .map_or("no getfacl".into(), |list| format!("{} files", list.len())),
        );
        row(
            "rpm -Va",
            match &checks.rpm {
                None => "no rpm".into(),
                Some(verified) => {
                    let depth = match verified.depth {
                        Depth::Contents => "",
                        Depth::Attributes => ", contents not read",
                    };
                    let end = if verified.complete { "" } else { ", not finished in time" };
                    format!("{} lines{depth}{end}", verified.lines.len())
                }
            },
        );
    }
    let mut list = |title: &str, items: &[String]| {
        if items.is_empty() {
            return;
        }
        lines.push(format!("{title}:"));
        lines.extend(items.iter().take(SHOWN).map(|item| format!("  {item}")));
        if items.len() > SHOWN {
            lines.push(format!("  … and {} more (--json has them all)", items.len() - SHOWN));
        }
    };
    list("output of tar", &trial.tar.stderr);
    list("labels as unpacked", &trial.wrong_labels_unpacked);
    if let Some(checks) = &trial.checks {
        list("labels in the running system", &checks.selinux.wrong_labels);
        list("denials of unlabelled files", &checks.selinux.denials_of_unlabelled);
        list("capabilities", checks.capabilities.as_deref().unwrap_or_default());
        list("ACLs", checks.acls.as_deref().unwrap_or_default());
        list("rpm -Va", checks.rpm.as_ref().map(|v| v.lines.as_slice()).unwrap_or_default());
    } else {
        list(
            "the last lines of the console",
            &trial.console.lines().map(str::to_owned).collect::<Vec<_>>(),
        );
    }
    list("findings", &trial.findings);
    lines.push(if trial.healthy { "healthy".into() } else { "not healthy".into() });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_are_not_zero() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "0", "0m", "-1s", "m", "1d", "99999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_names_of_units_are_accepted() {
        assert_eq!(unit("sshd@1\\x2d.service").as_deref(), Ok("sshd@1\\x2d.service"));
        for wrong in ["", "-x", "a b", "a;b", "a\nb"] {
            assert!(unit(wrong).is_err(), "{wrong:?}");
        }
    }
}
