//! `osimg cache`: shows the package cache, and prunes it.

use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

use super::output;
use super::shared::default_cache;
use crate::error::{ExitCode, Failure, Result};
use crate::packages::{CacheContents, Limit};
use crate::report::{Report, bytes};

#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// Directory for downloaded packages and metadata [default: /var/cache/osimg for root,
    /// otherwise $XDG_CACHE_HOME/osimg]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Remove files over --max or --older, and the files of killed builds
    #[arg(long)]
    prune: bool,
    /// Total size to keep, such as 20G; the files that were unused for longest are removed first
    #[arg(long, value_name = "SIZE", value_parser = crate::archive::parse_size, requires = "prune")]
    max: Option<u64>,
    /// Remove files that no build used for this many days
    #[arg(long, value_name = "DAYS", requires = "prune")]
    older: Option<u32>,
}

impl CacheArgs {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let cache = self.cache.clone().map_or_else(default_cache, Ok)?;
        let pruned = if self.prune {
            if self.max.is_none() && self.older.is_none() {
                return Err(Failure::new(ExitCode::Usage, "--prune requires a limit")
                    .hint(
                        "add --max SIZE, such as 20G, or --older DAYS, or both; --max 0 removes \
                         everything",
                    )
                    .into());
            }
            let age = self.older.map(|days| Duration::from_secs(u64::from(days) * 86400));
            let step = report.step("pruning the package cache");
            let pruned = CacheContents::prune(&cache, Limit { bytes: self.max, age }, report)?;
            step.finish(&format!(
                "{}, {}",
                super::shared::count(pruned.packages, "package"),
                bytes(pruned.bytes)
            ));
            Some(pruned)
        } else {
            None
        };
        let contents = CacheContents::read(&cache)?;
        if json {
            output::print_json(
                report,
                &json!({ "cache": cache, "holds": contents, "pruned": pruned }),
            )?;
            return Ok(ExitCode::Done);
        }
        let mut lines = Vec::new();
        for held in &contents.repositories {
            let packages = super::shared::count(held.packages, "package");
            lines.push(format!(
                "{}: {packages}, {}; metadata {}",
                held.name,
                bytes(held.package_bytes),
                bytes(held.metadata_bytes)
            ));
        }
        let builds = if contents.builds > 0 {
            format!("; in use by {}", super::shared::count(contents.builds, "build"))
        } else {
            String::new()
        };
        lines.push(format!("{}: {}{builds}", cache.display(), bytes(contents.bytes)));
        output::print_lines(report, &lines)?;
        Ok(ExitCode::Done)
    }
}
