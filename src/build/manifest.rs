//! The manifest of a build, from the results of its steps.

use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::context::Build;
use super::pack::PackedTree;
use crate::archive;
use crate::error::Result;
use crate::packages::{FilledRoot, PinnedKey};
use crate::sandbox::{Backing, InstallRoot};
use crate::secrets;
use crate::set::manifest::{self as document, Manifest};
use crate::verify::Finding;

/// The results of the steps.
pub(super) struct Outcome<'a> {
    pub(super) version: String,
    pub(super) root: &'a InstallRoot,
    pub(super) filled: &'a FilledRoot,
    pub(super) keys: &'a [PinnedKey],
    pub(super) packed: &'a PackedTree,
    pub(super) labels: String,
    pub(super) removed: Vec<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) workdir: Backing,
}

impl Build<'_> {
    /// The manifest of what was built.
    ///
    /// # Errors
    /// When the image's os-release or boot directory cannot be read.
    pub(super) fn manifest(&self, known: Outcome<'_>) -> Result<Manifest> {
        let Outcome { version, root, filled, keys, packed, labels, removed, findings, workdir } =
            known;
        let (recipe, summary) = (self.recipe, &packed.summary);
        let source = recipe.script.source();
        let planned: HashMap<&str, _> = filled
            .plans
            .iter()
            .flat_map(|plan| &plan.install)
            .map(|p| (p.nevra.as_str(), p))
            .collect();
        let packages = filled
            .installed
            .iter()
            .map(|package| {
                let plan = planned.get(package.nevra.as_str());
                document::Package {
                    nevra: package.nevra.clone(),
                    checksum: plan.and_then(|p| p.checksum.clone()),
                    repository: plan.map(|p| p.repo.clone()),
                    location: plan.map(|p| secrets::url(&p.location)),
                    signer: filled.signers.get(&package.nevra).cloned(),
                    size: package.size,
                    reason: plan.map(|p| p.reason.clone()),
                    license: package.license.clone(),
                    source: package.source.clone(),
                    vendor: package.vendor.clone(),
                    url: package.url.clone(),
                    summary: package.summary.clone(),
                }
            })
            .collect();
        Ok(Manifest {
            manifest_version: document::MANIFEST_VERSION,
            name: recipe.name(),
            version,
            arch: crate::recipe::lock::arch(&recipe.settings.packages),
            source_date_epoch: filled.source_date_epoch,
            builder: document::Builder {
                osimg: env!("CARGO_PKG_VERSION").into(),
                package_manager: filled.manager.clone(),
            },
            recipe: document::Input {
                name: recipe
                    .path
                    .file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                text: secrets::url(source),
                sha256: hex::encode(Sha256::digest(source.as_bytes())),
            },
            lock: self.options.lock.as_ref().map(super::lock_file::LockFile::for_manifest),
            settings: json!(recipe.settings),
            os_release: os_release(root)?,
            kernels: kernels(root)?,
            tarballs: packed.tarballs.clone(),
            archive: document::Archive {
                version: archive::VERSION,
                compression: packed
                    .files
                    .iter()
                    .map(|packed| document::Compression {
                        format: packed.format,
                        level: packed.level,
                        block: packed.block,
                    })
                    .collect(),
                entries: summary.entries,
                bytes: summary.bytes,
                sha256: summary.sha256.clone(),
                level: self.options.packing.level,
                labels: summary.labels,
                selinux: labels,
            },
            repositories: filled
                .plans
                .last()
                .map(|plan| plan.repositories.clone())
                .unwrap_or_default(),
            keys: keys.to_vec(),
            packages,
            scripts: crate::customise::scripts::records(&recipe.settings.scripts)?,
            removed,
            findings,
            warnings: self.report.warnings(),
            build: document::Build {
                started: self.started.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
                steps: self.report.timings(),
                workdir,
                isolation: crate::sandbox::isolation(),
            },
        })
    }
}

/// The image's os-release, unquoted; see os-release(5).
fn os_release(root: &InstallRoot) -> Result<BTreeMap<String, String>> {
    let text = match root.read(Path::new("etc/os-release"), 1 << 20)? {
        Some(text) => text,
        None => root.read(Path::new("usr/lib/os-release"), 1 << 20)?.unwrap_or_default(),
    };
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect())
}

/// Versions of the kernels that Anaconda would find: names `boot/vmlinuz-VERSION` without
/// `-rescue-`.
fn kernels(root: &InstallRoot) -> Result<Vec<String>> {
    let names = root.names(Path::new("boot"))?;
    Ok(names
        .iter()
        .filter_map(|n| n.to_str()?.strip_prefix("vmlinuz-").map(str::to_owned))
        .filter(|v| !v.contains("-rescue-") && !v.starts_with("0-rescue"))
        .collect())
}
