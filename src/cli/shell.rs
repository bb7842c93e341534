//! `osimg shell`: runs a command in a kept install root, in the same sandbox as the build.

use clap::Args;
use std::path::{Path, PathBuf};

use super::privileges;
use crate::build::image_plan;
use crate::error::{ExitCode, Failure, Result, render};
use crate::process::CommandLine;
use crate::report::Report;
use crate::sandbox::{self, Devices, Isolation, Limits, NotStarted, Terminal};
use crate::workdir;

#[derive(Debug, Args)]
pub(super) struct Shell {
    /// A kept workdir, as printed by the failed build
    #[arg(value_name = "WORKDIR")]
    workdir: PathBuf,
    /// Demand this isolation of packages [default: the best that works here; osimg doctor names it]
    #[arg(long, value_parser = super::shared::isolation(), value_name = "KIND")]
    isolation: Option<Isolation>,
    /// The command to run in it
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        default_value = "/bin/sh"
    )]
    command: Vec<String>,
}

impl Shell {
    /// Returns the command's own exit status, as a shell would give it.
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<u8> {
        if json {
            return Err(Failure::new(
                ExitCode::Usage,
                "running a command in the sandbox: `--json` does not apply, because standard \
                 output belongs to the command",
            )
            .hint("leave out --json; the exit status is that of the command")
            .into());
        }
        privileges::act_as_root(report, self.isolation)?;
        let (root, scratch) = (self.workdir.join("root"), self.workdir.join("scratch"));
        let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
        if !workdir::is_own(&self.workdir) || !is_directory(&root) || !is_directory(&scratch) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("{} is not a workdir of osimg", self.workdir.display()),
            )
            .hint("build with --keep on-failure, which prints the workdir's path")
            .into());
        }
        let command = CommandLine::new(self.command.clone())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", std::env::var("TERM").unwrap_or_else(|_| "dumb".into()))
            .env("PS1", "osimg# ");
        let mut plan = image_plan(&root, &scratch, Devices::Private, command);
        plan.terminal = Terminal::of_caller();
        let outcome = match sandbox::run(&plan, Limits::default(), &mut |_, _| Ok(())) {
            Ok(outcome) => outcome,
            Err(error) => {
                let not_started =
                    error.chain().find_map(|cause| cause.downcast_ref::<NotStarted>());
                let Some(code) = not_started.map(|why| why.code) else { return Err(error) };
                report.error(&render(&error));
                return Ok(code);
            }
        };
        // 128 plus the signal's number, like a shell.
        let status = outcome.code.or_else(|| outcome.signal.map(|signal| 128 + signal));
        Ok(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(1))
    }
}
