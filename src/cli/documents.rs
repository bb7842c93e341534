//! The options for documents next to the tarball, and for signatures. `plan` accepts them too, so
//! that it opens the keys as a build does.

use clap::Args;
use std::path::PathBuf;

use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{SbomKind, Settings};
use crate::sbom::{Documents, Passphrase, SignKey};

#[derive(Debug, Args)]
pub(super) struct DocumentOptions {
    /// Documents to write next to the tarball: spdx, cyclonedx, provenance, or none [default: all
    /// three]
    #[arg(long, value_name = "KIND", value_delimiter = ',',
        value_parser = ["spdx", "cyclonedx", "provenance", "none"])]
    sbom: Vec<String>,
    /// Sign the artifact with minisign:FILE or openpgp:FILE (can be repeated)
    #[arg(long, value_name = "SCHEME:FILE")]
    sign: Vec<SignKey>,
    /// File with the signing key's passphrase in its first line [default: the variable
    /// OSIMG_SIGN_PASSPHRASE]
    #[arg(long, value_name = "FILE")]
    sign_passphrase_file: Option<PathBuf>,
}

impl DocumentOptions {
    /// Opens the signing keys of the options and of the settings.
    pub(super) fn choose(&self, settings: &Settings) -> Result<Documents> {
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
            let key = text.parse().map_err(|why: String| {
                Failure::new(ExitCode::Recipe, format!("reading sign under [image]: {why}"))
            })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Documents::new(&kinds, &[], &Passphrase::default());
        }
        Documents::new(&kinds, &keys, &Passphrase::find(self.sign_passphrase_file.as_deref())?)
    }
}
