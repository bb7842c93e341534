//! `osimg build`: the recipe becomes a published tarball.

use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::overrides::Overrides;
use crate::build::{self, Options, Packing};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::parse_duration;
use crate::registry::Address;
use crate::report::Report;
use crate::sandbox::Devices;
use crate::workdir::{Keep, Place};

#[derive(Debug, Args)]
pub(super) struct Build {
    #[command(flatten)]
    overrides: Overrides,
    /// Write this file; its suffix chooses the format
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["registry", "formats"])]
    output: Option<PathBuf>,
    /// Where to publish [default: dir:out, or url under [registry] in the settings]
    #[arg(long, value_name = "ADDRESS")]
    registry: Option<Address>,
    /// Worker threads [default: one a core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Memory that packing may take, such as 2G: it limits the worker threads [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = crate::archive::parse_size)]
    memory: Option<u64>,
    /// Folder of downloaded packages and metadata [default: /var/cache/osimg for root, else $XDG_CACHE_HOME/osimg]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Where to work: auto (memory when it fits, else /var/tmp) or a folder
    #[arg(long, value_name = "DIR", default_value = "auto")]
    workdir: PathBuf,
    /// Keep the workdir for `osimg shell`
    #[arg(long, value_enum, default_value = "never", value_name = "WHEN")]
    keep: Keep,
    /// End a phase of a transaction that prints nothing for so long, such as 10m [default: no limit]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<String>,
    /// Build twice under differing circumstances, and publish only when both come out the same
    #[arg(long)]
    verify_reproducible: bool,
    /// The /dev that scriptlets see
    #[arg(long = "dev", value_enum, default_value = "private", value_name = "KIND")]
    devices: Devices,
}

impl Build {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let cache = self.cache.clone().map_or_else(default_cache, Ok)?;
        // Before the first step: its progress bar is a thread, and a user namespace is entered by a process of one.
        super::act_as_root(report)?;
        let step = report.step("reading the recipe");
        let decided = self.overrides.decide()?;
        let lowered = decided.recipe.script.lower()?;
        for diagnostic in &lowered.diagnostics {
            super::plan::tell(report, &decided.recipe.path, diagnostic);
        }
        step.finish(&format!("{} in {}", super::plan::count(lowered.transactions.len(), "transaction"), decided.recipe.path.display()));
        let options = Options {
            registry: self.registry(&decided.recipe.settings)?,
            output: self.output.clone(),
            formats: decided.formats,
            packing: Packing {
                level: decided.level,
                jobs: self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
                memory: self.memory,
                selinux: decided.selinux,
                source_date_epoch: decided.source_date_epoch,
            },
            cache,
            workdir: if self.workdir.as_os_str() == "auto" { Place::Auto } else { Place::Under(self.workdir.clone()) },
            keep: self.keep,
            devices: self.devices,
            idle: self
                .idle_timeout
                .as_deref()
                .map(|text| parse_duration(text).or_fail(ExitCode::Usage, format!("reading --idle-timeout {text}")))
                .transpose()?,
            reference: None,
        };
        let artifact = if self.verify_reproducible {
            build::build_twice(&decided.recipe, &lowered.transactions, &options, report)?
        } else {
            build::build(&decided.recipe, &lowered.transactions, &options, report)?
        };
        if json {
            super::print(&serde_json::to_string_pretty(&artifact)?)?;
        } else {
            for path in &artifact.tarballs {
                super::print(&path.display().to_string())?;
            }
        }
        Ok(ExitCode::Done)
    }

    fn registry(&self, settings: &crate::recipe::Settings) -> Result<Address> {
        match (&self.registry, &settings.registry.url) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(url)) => {
                url.parse().map_err(|why: String| Failure::new(ExitCode::Recipe, format!("reading url under [registry]: {why}")).into())
            }
            (None, None) => Ok(Address::Directory("out".into())),
        }
    }
}

/// Where packages are kept: the host's place for root, the user's own for a user.
fn default_cache() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/cache/osimg".into());
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache"))).map(|base| base.join("osimg")).ok_or_else(|| {
        Failure::new(ExitCode::Usage, "choosing the package cache: HOME is not set").hint("name a folder: --cache DIR").into()
    })
}
