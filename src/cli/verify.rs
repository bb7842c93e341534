//! `osimg verify`: checks whether a tarball is fit for a node, even if osimg did not build it.

use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::output;
use super::shared::count;
use crate::archive;
use crate::contents::Digests;
use crate::error::{ExitCode, Failure, Result};
use crate::files;
use crate::http::Trust;
use crate::naming;
use crate::process;
use crate::report::{Report, Unit};
use crate::secrets;
use crate::set::extension_of;
use crate::verify::{self, Consumer, Findings, Options};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The tarball: a file, an http or https address, or `-` for standard input
    #[arg(value_name = "TARBALL")]
    tarball: PathBuf,
    /// The program that unpacks it (can be repeated) [default: Anaconda of the image's release]
    #[arg(long = "for", visible_alias = "profile", value_enum, value_name = "CONSUMER")]
    consumers: Vec<Consumer>,
    /// Ignore the findings of this check (can be repeated)
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// The smallest disk that it must fit on, such as 20G
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = archive::parse_size)]
    disk: u64,
    /// Do not compare contents with the packages' digests: a third faster
    #[arg(long)]
    no_digests: bool,
    /// Authorities for the server's certificate, a PEM file [default: SSL_CERT_FILE, or the host's
    /// authorities]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Verify {
    pub(crate) fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let step = report.step("verifying");
        let options = Options {
            consumers: self.consumers.clone(),
            allow: self.allow.iter().cloned().collect::<BTreeSet<_>>(),
            removed: removed_by_settings(&self.tarball),
            smallest_disk: self.disk,
            digests: if self.no_digests { Digests::None } else { Digests::Sha256 },
            trust: Trust::named(self.ca_file.as_deref()),
            progress: &|done, total| step.progress(Unit::Bytes, done, total),
            check: &process::check_stop,
        };
        let name = self.tarball.to_string_lossy();
        let findings = if naming::is_address(&name) {
            let findings = verify::address(&name, &options)?;
            Findings { tarball: findings.tarball.as_deref().map(secrets::url), ..findings }
        } else if crate::recipe::is_input(&self.tarball) {
            verify::stream(process::Input, &options)?
        } else {
            check_file(&self.tarball)?;
            verify::tarball(&self.tarball, &options)?
        };
        step.finish(&format!(
            "{} checks of {} members, {} packages",
            findings.checks.len(),
            findings.members,
            findings.packages
        ));
        let summary = summary(&findings);
        if json {
            output::print_json(report, &findings)?;
        } else {
            let mut lines = findings.lines();
            lines.push(summary.clone());
            output::print_lines(report, &lines)?;
        }
        report.verdict(summary);
        Ok(if findings.fit() { ExitCode::Done } else { ExitCode::Findings })
    }
}

/// The paths that the settings of an image removed, by the manifest next to its tarball; none
/// without such a manifest.
fn removed_by_settings(tarball: &Path) -> Vec<String> {
    let name = tarball.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(extension_of(&name)).unwrap_or(&name);
    let text = files::read_text(&tarball.with_file_name(naming::manifest(stem)), files::TEXT)
        .unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let texts = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    if texts(&manifest["settings"]["customizations"]["remove"]).is_empty() {
        Vec::new()
    } else {
        texts(&manifest["removed"])
    }
}

fn check_file(path: &Path) -> Result<()> {
    let Err(error) = files::open(path) else { return Ok(()) };
    let hint = match path.metadata() {
        Ok(found) if found.is_dir() => "pack it first: osimg pack TREE -o os.tgz",
        Ok(found) if !found.is_file() => "a pipe is read as `-`: osimg verify - < PIPE",
        _ => "use a tarball, an http or https address, or `-` for standard input",
    };
    let doing = format!("verifying {}", path.display());
    Err(Failure::of_argument(doing, error).hint(hint).into())
}

fn summary(findings: &Findings) -> String {
    let name = findings.tarball.as_deref().unwrap_or("the image");
    let profile = findings.consumers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (findings.errors(), findings.warnings()) {
        (0, 0) => format!("{name}: fit for {profile}"),
        (0, warnings) => format!("{name}: fit for {profile}, {}", count(warnings, "warning")),
        (errors, warnings) => {
            format!(
                "{name}: not fit for {profile}: {}, {}",
                count(errors, "error"),
                count(warnings, "warning")
            )
        }
    }
}
