//! `osimg shell`: look around in a kept install root, in the same sandbox that the build had.

use clap::Args;
use std::path::PathBuf;

use crate::build::image_plan;
use crate::error::{ExitCode, Failure, Result};
use crate::process::CommandLine;
use crate::report::Report;
use crate::sandbox::{Devices, Limits, Sandbox, Terminal};

#[derive(Debug, Args)]
pub(super) struct Shell {
    /// A kept workdir, as the failed build named it
    #[arg(value_name = "WORKDIR")]
    workdir: PathBuf,
    /// The command to run in it
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, default_value = "/bin/sh")]
    command: Vec<String>,
}

impl Shell {
    pub fn run(&self, report: &Report) -> Result<ExitCode> {
        super::act_as_root(report)?;
        let (root, scratch) = (self.workdir.join("root"), self.workdir.join("scratch"));
        if !root.is_dir() || !scratch.is_dir() {
            return Err(Failure::new(ExitCode::Usage, format!("{} is no workdir of osimg", self.workdir.display()))
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
        plan.terminal = Terminal::Shared;
        let outcome = Sandbox::run(&plan, Limits::default(), &mut |_, _| Ok(()))?;
        match outcome.code {
            Some(0) => Ok(ExitCode::Done),
            _ => Err(Failure::new(ExitCode::Unexpected, format!("the command ended with {}", outcome.describe())).into()),
        }
    }
}
