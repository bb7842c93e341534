//! Documents about the contents of an artifact: bills of materials, provenance and signatures.
//!
//! They are created from the manifest, so that equal builds give equal documents: times are the
//! image's own, identifiers come from digests. Only the provenance's `runDetails.metadata` contains
//! the time of the build.

mod cyclonedx;
mod document;
mod identity;
mod licence;
mod provenance;
mod sign;
mod spdx;

use anyhow::Context;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Seek};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::naming;
use crate::recipe::SbomKind;
use crate::set::manifest::Manifest;
pub(crate) use document::Document;
pub(crate) use sign::{Passphrase, SignKey, Signer};

/// The documents that a build writes, and their signers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    kinds: Vec<SbomKind>,
    signers: Arc<Vec<Signer>>,
}

impl Documents {
    /// Opens every signing key, so that a wrong passphrase is reported before the build.
    ///
    /// # Errors
    /// If a key cannot be read or opened.
    pub(crate) fn new(
        kinds: &[SbomKind],
        keys: &[SignKey],
        passphrase: &Passphrase,
    ) -> Result<Self> {
        let signers =
            keys.iter().map(|key| Signer::open(key, passphrase)).collect::<Result<_>>()?;
        let mut kinds = kinds.to_vec();
        kinds.sort();
        kinds.dedup();
        Ok(Self { kinds, signers: Arc::new(signers) })
    }

    /// All documents for the artifact of `manifest`; `tarballs` are its files, open for reading,
    /// with their names.
    ///
    /// # Errors
    /// If a tarball cannot be read or a signature cannot be created.
    pub(crate) fn create<R: Read + Seek>(
        &self,
        manifest: &Manifest,
        stem: &str,
        tarballs: Vec<(String, R)>,
    ) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        for kind in &self.kinds {
            let (suffix, value) = match kind {
                SbomKind::Spdx => (naming::SPDX, spdx::document(manifest)),
                SbomKind::Cyclonedx => (naming::CYCLONEDX, cyclonedx::document(manifest)),
                SbomKind::Provenance => continue,
            };
            documents.push(Document {
                suffix: suffix.trim_start_matches('.').to_owned(),
                of: None,
                content: text(&value)?,
            });
        }
        if self.kinds.contains(&SbomKind::Provenance) {
            let digests: Vec<_> = documents
                .iter()
                .map(|d| (d.name(stem), hex::encode(Sha256::digest(&d.content))))
                .collect();
            let value = provenance::statement(manifest, &digests, SystemTime::now());
            documents.push(Document {
                suffix: naming::PROVENANCE.trim_start_matches('.').to_owned(),
                of: None,
                content: text(&value)?,
            });
        }
        let mut signatures = Vec::new();
        for signer in self.signers.iter() {
            for document in &documents {
                let name = document.name(stem);
                signatures.push(signer.sign(
                    &name,
                    manifest.source_date_epoch,
                    document.content.as_slice(),
                )?);
            }
        }
        for (name, mut tarball) in tarballs {
            for signer in self.signers.iter() {
                tarball.rewind().with_context(|| format!("reading {name}"))?;
                signatures.push(signer.sign(&name, manifest.source_date_epoch, &mut tarball)?);
            }
        }
        documents.extend(signatures);
        Ok(documents)
    }
}

fn text(value: &Value) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec_pretty(value).context("writing a document of the artifact")?;
    bytes.push(b'\n');
    Ok(bytes)
}
