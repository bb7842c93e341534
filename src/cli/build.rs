//! `osimg build`: the recipe becomes a published tarball.

use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::overrides::Overrides;
use crate::build::{self, Options, Packing};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{SbomKind, Settings, Visibility as Seen};
use crate::registry::{Address, Visibility, Wishes};
use crate::report::Report;
use crate::sandbox::Devices;
use crate::sbom::{Documents, Passphrase, SignKey};
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
    /// Folder of downloaded packages and metadata
    #[arg(long, value_name = "DIR", default_value = "/var/cache/osimg")]
    cache: PathBuf,
    /// Where to work: auto (memory when it fits, else /var/tmp) or a folder
    #[arg(long, value_name = "DIR", default_value = "auto")]
    workdir: PathBuf,
    /// Keep the workdir for `osimg shell`
    #[arg(long, value_enum, default_value = "never", value_name = "WHEN")]
    keep: Keep,
    /// The /dev that scriptlets see
    #[arg(long = "dev", value_enum, default_value = "private", value_name = "KIND")]
    devices: Devices,
    /// What to write beside the tarball: spdx, cyclonedx, provenance, or none [default: all three]
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["spdx", "cyclonedx", "provenance", "none"])]
    sbom: Vec<String>,
    /// Sign the artifact with minisign:FILE or openpgp:FILE (can be repeated)
    #[arg(long, value_name = "SCHEME:FILE")]
    sign: Vec<SignKey>,
    /// File whose first line is the signing key's passphrase [default: the variable OSIMG_SIGN_PASSPHRASE]
    #[arg(long, value_name = "FILE")]
    sign_passphrase_file: Option<PathBuf>,
}

impl Build {
    pub fn run(&self, report: &Report, json: bool) -> Result<ExitCode> {
        let step = report.step("reading the recipe");
        let decided = self.overrides.decide()?;
        let lowered = decided.recipe.script.lower()?;
        for diagnostic in &lowered.diagnostics {
            super::plan::tell(report, &decided.recipe.path, diagnostic);
        }
        step.finish(&format!("{} in {}", super::plan::count(lowered.transactions.len(), "transaction"), decided.recipe.path.display()));
        let options = Options {
            registry: self.registry(&decided.recipe.settings)?,
            wishes: Wishes { visibility: visibility(&decided.recipe.settings), ..Wishes::default() },
            output: self.output.clone(),
            formats: decided.formats,
            selinux: decided.selinux,
            packing: Packing {
                level: decided.level,
                jobs: self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
                memory: self.memory,
                source_date_epoch: decided.source_date_epoch,
            },
            cache: self.cache.clone(),
            workdir: if self.workdir.as_os_str() == "auto" { Place::Auto } else { Place::Under(self.workdir.clone()) },
            keep: self.keep,
            devices: self.devices,
            documents: self.documents(&decided.recipe.settings)?,
        };
        let artifact = build::build(&decided.recipe, &lowered.transactions, &options, report)?;
        if json {
            super::print(&serde_json::to_string_pretty(&artifact)?)?;
        } else {
            for path in &artifact.tarballs {
                super::print(&path.display().to_string())?;
            }
        }
        Ok(ExitCode::Done)
    }

    fn documents(&self, settings: &crate::recipe::Settings) -> Result<Documents> {
        let kinds = match self.sbom.as_slice() {
            [] => settings.image.sbom.clone(),
            named => named
                .iter()
                .filter_map(|name| match name.as_str() {
                    "spdx" => Some(SbomKind::Spdx),
                    "cyclonedx" => Some(SbomKind::Cyclonedx),
                    "provenance" => Some(SbomKind::Provenance),
                    _ => None,
                })
                .collect(),
        };
        let mut keys = self.sign.clone();
        for text in &settings.image.sign {
            let key = text.parse().map_err(|why: String| Failure::new(ExitCode::Recipe, format!("reading sign under [image]: {why}")))?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Documents::new(&kinds, &[], &Passphrase::default());
        }
        Documents::new(&kinds, &keys, &Passphrase::find(self.sign_passphrase_file.as_deref())?)
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

fn visibility(settings: &Settings) -> Visibility {
    match settings.registry.visibility {
        None => Visibility::Auto,
        Some(Seen::Public) => Visibility::Public,
        Some(Seen::Community) => Visibility::Community,
        Some(Seen::Shared) => Visibility::Shared,
        Some(Seen::Private) => Visibility::Private,
    }
}
