//! The image while it is customised: its files by way of the open root, its programs in the
//! sandbox, and who owns what where the build itself cannot give files away.

use anyhow::Context;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::error::{ExitCode, Failure, Result};
use crate::process::{CommandLine, Tail};
use crate::report::Report;
use crate::sandbox::{
    self, Clock, Devices, InstallRoot, Kind, Limits, Mount, Network, OwnedFile, Owners, Plan,
    Terminal, View,
};

/// The limit on one program of the image.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The most that a file which is read and changed may hold.
const TEXT_LIMIT: u64 = 16 << 20;

/// Where the image is, and how its programs are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workplace<'a> {
    /// The install root's directory.
    pub directory: &'a Path,
    /// An empty directory for the sandbox's mounts.
    pub scratch: &'a Path,
    /// The devices that programs see.
    pub devices: Devices,
    /// Seconds since 1970 that programs take for now, where they ask.
    pub source_date_epoch: i64,
    /// Another time of day for programs, if there is to be one.
    pub clock: Option<&'a Clock>,
    /// Where commands and their output are shown.
    pub report: &'a Report,
}

/// A command to run in the image.
pub(super) struct Job {
    pub(super) command: CommandLine,
    /// Variables besides the usual ones, which they may replace.
    pub(super) environment: BTreeMap<String, String>,
    /// Below `/run`.
    pub(super) mounts: Vec<Mount>,
    pub(super) network: Network,
    pub(super) timeout: Duration,
    /// How many of its last lines are kept.
    pub(super) lines: usize,
}

impl Job {
    /// A program of the image, without a network.
    pub(super) fn of(argv: &[&str]) -> Self {
        Self {
            command: CommandLine::new(argv.iter().copied()),
            environment: BTreeMap::new(),
            mounts: Vec::new(),
            network: Network::None,
            timeout: PROGRAM_TIMEOUT,
            lines: 20,
        }
    }
}

/// How a command ended.
pub(super) struct Ended {
    pub(super) success: bool,
    pub(super) code: Option<i32>,
    /// For messages.
    pub(super) how: String,
    /// Its last lines.
    pub(super) lines: String,
}

/// The image.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    root: &'a InstallRoot,
    place: Workplace<'a>,
    /// Who owns what, as far as it is known: later entries count.
    owners: RefCell<Vec<OwnedFile>>,
}

impl<'a> Image<'a> {
    /// The image in an open root. `given` are the owners so far of a build that can give nothing
    /// away.
    #[must_use]
    pub(crate) fn new(root: &'a InstallRoot, place: Workplace<'a>, given: Vec<OwnedFile>) -> Self {
        Self { root, place, owners: RefCell::new(given) }
    }

    /// Who owns what after all this; later entries count.
    #[must_use]
    pub(crate) fn into_owners(self) -> Vec<OwnedFile> {
        self.owners.into_inner()
    }

    pub(super) fn root(&self) -> &InstallRoot {
        self.root
    }

    pub(super) fn report(&self) -> &Report {
        self.place.report
    }

    /// Days since 1970.
    pub(super) fn today(&self) -> i64 {
        self.place.source_date_epoch.div_euclid(86_400)
    }

    /// The text of a file, links in its path followed as in the image; `None` if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<String>> {
        let bytes = self.root.read(Path::new(path), TEXT_LIMIT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether the path leads to a directory of the image.
    pub(super) fn has_directory(&self, path: &str) -> Result<bool> {
        Ok(self.root.is_directory(Path::new(path))?)
    }

    /// Whether there is a file or a link.
    pub(super) fn has_file(&self, path: &str) -> Result<bool> {
        Ok(matches!(self.root.kind(Path::new(path))?, Some(Kind::File | Kind::Link)))
    }

    /// Writes a file of root's, and the directories above it that the image lacks.
    pub(super) fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        self.make_parents(path)?;
        self.root.write(Path::new(path), content, mode)?;
        self.own(path, 0, 0)
    }

    /// Writes a file again with the mode and the owners that it has.
    pub(super) fn rewrite(&self, path: &str, content: &str) -> Result<()> {
        let Some(before) = self.root.status(Path::new(path))? else {
            return self.write(path, content.as_bytes(), 0o644);
        };
        self.root.write(Path::new(path), content.as_bytes(), before.mode)?;
        // Where nothing can be given away, the owners go by the path, and stay.
        Ok(self.root.give_ids(Path::new(path), before.uid, before.gid)?)
    }

    /// Puts a symbolic link there.
    pub(super) fn link(&self, path: &str, points_to: &str) -> Result<()> {
        self.make_parents(path)?;
        self.root.link(Path::new(path), Path::new(points_to))?;
        self.own(path, 0, 0)
    }

    /// Makes the directories above a path that the image lacks.
    pub(super) fn make_parents(&self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => self.make_directories(parent),
            _ => Ok(()),
        }
    }

    /// Makes a directory and those above it, as far as the image lacks them.
    pub(super) fn make_directories(&self, path: &str) -> Result<()> {
        if path.is_empty() || self.has_directory(path)? {
            return Ok(());
        }
        self.make_parents(path)?;
        self.make_directory(path, 0o755)
    }

    /// Makes one directory of root's.
    pub(super) fn make_directory(&self, path: &str, mode: u32) -> Result<()> {
        self.root.make_directory(Path::new(path), mode)?;
        self.own(path, 0, 0)
    }

    /// Gives what is at the path, links not followed, to these ids.
    pub(super) fn own(&self, path: &str, uid: u32, gid: u32) -> Result<()> {
        self.root.give_ids(Path::new(path), uid, gid)?;
        let path = format!("/{}", path.trim_start_matches('/'));
        self.owners.borrow_mut().push(OwnedFile { path: path.into(), uid, gid });
        Ok(())
    }

    /// Sets the permission bits of a file or directory.
    pub(super) fn set_mode(&self, path: &str, mode: u32) -> Result<()> {
        Ok(self.root.set_mode(Path::new(path), mode)?)
    }

    /// The path of a program of the image, if it has it.
    pub(super) fn program(&self, name: &str) -> Result<Option<String>> {
        for directory in ["/usr/bin", "/usr/sbin", "/bin", "/sbin"] {
            let path = format!("{directory}/{name}");
            if self.has_file(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The path of a program that a customization cannot do without.
    pub(super) fn need(&self, name: &str, key: &str, package: &str) -> Result<String> {
        self.program(name)?.ok_or_else(|| {
            Failure::new(ExitCode::Transaction, format!("applying {key}: the image has no {name}"))
                .hint(format!("add {package} to the recipe"))
                .into()
        })
    }

    /// Runs a program of the image in the image, without a network; returns its last lines.
    pub(super) fn run(&self, key: &str, argv: &[&str]) -> Result<String> {
        let Ended { success, how, lines, .. } = self.attempt(argv)?;
        if success {
            return Ok(lines);
        }
        let command = CommandLine::new(argv.iter().copied()).quoted();
        Err(Failure::new(
            ExitCode::Transaction,
            format!("applying {key}: `{command}` in the image ended with {how}:\n{lines}"),
        )
        .into())
    }

    /// As [`Image::run`], and says how it ended.
    pub(super) fn attempt(&self, argv: &[&str]) -> Result<Ended> {
        self.attempt_with(argv, 20)
    }

    /// As [`Image::attempt`], with as many of the last lines.
    pub(super) fn attempt_with(&self, argv: &[&str], lines: usize) -> Result<Ended> {
        self.perform(Job { lines, ..Job::of(argv) }).with_context(|| {
            format!("running {} in the image", argv.first().copied().unwrap_or_default())
        })
    }

    /// Runs a command in the image.
    pub(super) fn perform(&self, job: Job) -> Result<Ended> {
        let command = job
            .command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            // systemctl of an image has no manager to talk to.
            .env("SYSTEMD_OFFLINE", "1")
            .env("SOURCE_DATE_EPOCH", self.place.source_date_epoch.to_string());
        let command =
            job.environment.iter().fold(command, |command, (name, value)| command.env(name, value));
        self.place.report.command(&command.quoted());
        let plan = Plan { network: job.network, mounts: job.mounts, ..self.plan(command) };
        let plan = match self.place.clock {
            // With a network, certificates must be valid.
            Some(clock) if job.network == Network::None => clock.set(plan),
            _ => plan,
        };
        let mut last = Tail::new(64 << 10);
        let limits = Limits { total: Some(job.timeout), idle: None };
        let outcome = sandbox::run(&plan, limits, &mut |_, line| {
            last.push(line);
            self.place.report.output(line);
            Ok(())
        })?;
        Ok(Ended {
            success: outcome.success(),
            code: outcome.code,
            how: outcome.describe(),
            lines: last.last(job.lines),
        })
    }

    fn plan(&self, command: CommandLine) -> Plan {
        Plan {
            root: self.place.directory.to_owned(),
            scratch: self.place.scratch.to_owned(),
            view: View::Image,
            network: Network::None,
            devices: self.place.devices,
            terminal: Terminal::None,
            // The sandbox records owners only for the programs of the tools.
            owners: Owners::Ignored,
            hostname: "localhost".into(),
            mounts: Vec::new(),
            command,
        }
    }
}
