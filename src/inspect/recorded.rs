//! Reads a build's manifest tolerantly: missing or additional fields of other osimg versions are
//! accepted.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Built, Image, Key, Origin, OriginKind, Package, Totals};
use crate::error::{ExitCode, Result, ResultExt};
use crate::naming;
use crate::nevra::Nevra;

/// The limit on its size; the manifest of 10,000 packages has a tenth of it.
const LARGEST: u64 = 64 << 20;

#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    manifest_version: u32,
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    arch: Option<String>,
    #[serde(default)]
    builder: Builder,
    #[serde(default)]
    recipe: Input,
    #[serde(default)]
    os_release: BTreeMap<String, String>,
    #[serde(default)]
    kernels: Vec<String>,
    #[serde(default)]
    tarballs: Vec<Tarball>,
    #[serde(default)]
    archive: Archive,
    #[serde(default)]
    keys: Vec<PinnedKey>,
    #[serde(default)]
    packages: Vec<Recorded>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    build: Build,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Builder {
    osimg: String,
    package_manager: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    name: String,
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tarball {
    file: String,
    format: String,
    bytes: u64,
    sha256: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Archive {
    entries: u64,
    bytes: u64,
    labels: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PinnedKey {
    fingerprint: String,
    user_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Recorded {
    nevra: String,
    repository: Option<String>,
    signer: Option<String>,
    size: u64,
    reason: Option<String>,
    license: String,
    source: String,
    vendor: Option<String>,
    url: Option<String>,
    summary: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Build {
    started: u64,
    steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Step {
    step: String,
    seconds: f64,
}

/// Reads the manifest at `path`.
///
/// # Errors
/// If it cannot be read, is too large, or is not a manifest.
pub(super) fn load(path: &Path) -> Result<Manifest> {
    let reading = || format!("reading the manifest {}", path.display());
    let text = crate::files::read(path, LARGEST).or_fail(ExitCode::Space, reading())?;
    parse(&text).or_fail_hint(
        ExitCode::Usage,
        reading(),
        "a manifest is the NAME-VERSION.json that osimg build writes next to the tarball",
    )
}

fn parse(text: &[u8]) -> Result<Manifest> {
    let manifest: Manifest = serde_json::from_slice(text)?;
    anyhow::ensure!(
        manifest.manifest_version == 1,
        "its version is {}; this osimg reads version 1",
        manifest.manifest_version
    );
    Ok(manifest)
}

/// The manifest next to a tarball, if it exists and contains the tarball's digest.
pub(super) fn next_to(tarball: &Path, sha256: Option<&str>) -> Option<Manifest> {
    let name = tarball.file_name()?.to_str()?;
    let stem = crate::naming::stem(name)?;
    let path: PathBuf = tarball.with_file_name(naming::manifest(stem));
    // Without a manifest, or with that of another build, the tarball can still be inspected.
    load(&path).ok().filter(|manifest| {
        manifest.tarballs.iter().any(|known| Some(known.sha256.as_str()) == sha256)
    })
}

impl Manifest {
    /// The image from only the manifest.
    pub(super) fn image(self, path: &Path) -> Image {
        let tarball = self.tarballs.first();
        let origin = Origin {
            path: path.display().to_string(),
            kind: OriginKind::Manifest,
            format: tarball.map(|t| t.format.clone()),
            bytes: tarball.map(|t| t.bytes),
            tar_bytes: Some(self.archive.bytes),
            sha256: tarball.map(|t| t.sha256.clone()),
            manifest: true,
        };
        let mut packages: Vec<Package> = self
            .packages
            .iter()
            .map(|recorded| {
                let parts = Nevra::lenient(&recorded.nevra);
                let mut package = Package {
                    nevra: recorded.nevra.clone(),
                    name: parts.name.to_owned(),
                    evr: parts.evr(),
                    arch: parts.arch.to_owned(),
                    size: recorded.size,
                    declared_size: recorded.size,
                    ..Package::default()
                };
                recorded.complete(&mut package);
                package
            })
            .collect();
        packages.sort_by(|a, b| a.nevra.cmp(&b.nevra));
        let keys = self
            .keys
            .iter()
            .map(|key| Key {
                kind: "rpm".to_owned(),
                name: format!("{} {}", key.fingerprint, key.user_id).trim().to_owned(),
            })
            .collect();
        let totals = Totals {
            members: self.archive.entries,
            bytes: packages.iter().map(|p| p.size).sum(),
            labels: self.archive.labels,
            ..Totals::default()
        };
        Image {
            origin,
            name: Some(self.name.clone()),
            version: Some(self.version.clone()),
            arch: self.arch.clone(),
            os_release: self.os_release.clone(),
            kernels: self.kernels.clone(),
            policy: None,
            machine_id: None,
            rpmdb: "by the manifest".to_owned(),
            totals,
            packages,
            directories: Vec::new(),
            kinds: Vec::new(),
            unowned: Vec::new(),
            privileged: Vec::new(),
            users: Vec::new(),
            services: Vec::new(),
            keys,
            built: Some(self.built()),
            names: super::Names::default(),
            files: Vec::new(),
        }
    }

    /// Adds the facts that only the manifest has.
    pub(super) fn complete(self, image: &mut Image) {
        image.built = Some(self.built());
        image.origin.manifest = true;
        image.name = Some(self.name);
        image.version = Some(self.version);
        image.arch = self.arch.or(image.arch.take());
        let by_nevra: BTreeMap<&str, &Recorded> =
            self.packages.iter().map(|package| (package.nevra.as_str(), package)).collect();
        for package in &mut image.packages {
            if let Some(recorded) = by_nevra.get(package.nevra.as_str()) {
                recorded.complete(package);
            }
        }
    }

    fn built(&self) -> Built {
        Built {
            osimg: self.builder.osimg.clone(),
            package_manager: self.builder.package_manager.clone(),
            started: self.build.started,
            steps: self.build.steps.iter().map(|step| (step.step.clone(), step.seconds)).collect(),
            recipe: (self.recipe.name.clone(), self.recipe.text.clone()),
            warnings: self.warnings.clone(),
        }
    }
}

impl Recorded {
    fn complete(&self, package: &mut Package) {
        let fill = |slot: &mut Option<String>, value: &Option<String>| {
            if value.is_some() {
                slot.clone_from(value);
            }
        };
        fill(&mut package.repository, &self.repository);
        fill(&mut package.signer, &self.signer);
        fill(&mut package.reason, &self.reason);
        fill(&mut package.vendor, &self.vendor);
        fill(&mut package.url, &self.url);
        fill(&mut package.summary, &self.summary);
        fill(
            &mut package.source,
            &Some(self.source.clone()).filter(|source| !source.is_empty() && source != "(none)"),
        );
        if package.license.is_empty() {
            package.license.clone_from(&self.license);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_manifest_is_accepted_and_another_version_refused() {
        let text = br#"{"manifest_version": 1, "name": "x",
            "packages": [{"nevra": "a-1:2-3.noarch", "size": 7}], "new": {}}"#;
        let manifest = parse(text).expect("read");
        let image = manifest.image(Path::new("x.json"));
        assert_eq!((image.packages[0].evr.as_str(), image.packages[0].size), ("1:2-3", 7));
        assert!(parse(br#"{"manifest_version": 2, "name": "x"}"#).is_err());
        assert!(parse(b"{}").is_err() && parse(b"[]").is_err() && parse(b"{").is_err());
    }
}
