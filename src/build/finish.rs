//! Step 4: the filled tree becomes one that every node may start from.

use std::path::Path;
use std::time::Duration;

use super::Build;
use crate::error::{ExitCode, Failure, Result};
use crate::finish::{certificates, files, initramfs, leftovers, machine_id};
use crate::packages::FilledRoot;
use crate::process::{self, CommandLine};
use crate::sandbox::{self, Devices, InstallRoot, Limits, Network, Owners, Plan, Stream, Terminal, View};
use crate::workdir::Workdir;

/// The limit on one program of the image that finishing runs.
const IN_IMAGE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

impl Build<'_> {
    /// Step 4: the tree becomes one that every node may start from; returns what was removed.
    pub(super) fn finish(&self, root: &InstallRoot, workdir: &Workdir, filled: &FilledRoot) -> Result<Vec<String>> {
        let step = self.report.step("finishing the tree");
        let settings = &self.recipe.settings.finish;
        files::apply(root, settings)?;
        if !settings.certificates.is_empty() {
            let store = certificates::store(root)?;
            let bodies = certificates::add(root, store, &settings.certificates)?;
            self.run_in_image(store.command, workdir, filled)?;
            certificates::check(root, store, &bodies)?;
        }
        initramfs::remove_drop_in(root)?;
        machine_id::apply(root, settings.machine_id)?;
        let removed = leftovers::remove(root, &filled.dbpath, &settings.files)?;
        step.finish(&format!("{} leftovers removed", removed.len()));
        Ok(removed)
    }

    /// Runs a program of the image inside the image, without a network.
    fn run_in_image(&self, argv: &[&str], workdir: &Workdir, filled: &FilledRoot) -> Result<()> {
        let command = CommandLine::new(argv.iter().copied())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("SOURCE_DATE_EPOCH", filled.source_date_epoch.to_string());
        self.report.command(&command.quoted());
        let plan = image_plan(&workdir.root(), &workdir.scratch(), self.options.devices, command);
        let mut output = process::Tail::new(4096);
        let outcome = sandbox::run(&plan, Limits { total: Some(IN_IMAGE_TIMEOUT), idle: None }, &mut |_: Stream, line| {
            output.push(line);
            self.report.output(line);
            Ok(())
        })?;
        if !outcome.success() {
            return Err(Failure::new(
                ExitCode::Transaction,
                format!("`{}` in the image ended with {}:\n{}", plan.command.quoted(), outcome.describe(), output.last(8)),
            )
            .into());
        }
        Ok(())
    }
}

/// A sandbox in which the install root itself is `/`.
#[must_use]
pub(crate) fn image_plan(root: &Path, scratch: &Path, devices: Devices, command: CommandLine) -> Plan {
    Plan {
        root: root.to_owned(),
        scratch: scratch.to_owned(),
        view: View::Image,
        network: Network::None,
        devices,
        terminal: Terminal::None,
        owners: Owners::Ignored,
        hostname: "localhost".into(),
        mounts: Vec::new(),
        command,
    }
}
