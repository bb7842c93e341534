//! Other tools' lists of packages: `rpms.lock.yaml` of rpm-lockfile-prototype (lockfileVersion 1),
//! which hermeto and Konflux read, and `rpm-package-manifest` of libpkgmanifest, which `dnf
//! manifest` reads.
//!
//! The formats: <https://github.com/konflux-ci/rpm-lockfile-prototype>,
//! <https://github.com/rpm-software-management/libpkgmanifest> `schemas/manifest.json`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{GIVEN, Lock, LockedPackage, check};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::nevra::Nevra;
use crate::recipe::{PackageSettings, RepositorySource};
use crate::secrets::parser_message;

/// The formats that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `rpms.lock.yaml`.
    RpmsLock,
    /// `rpm-package-manifest`.
    Manifest,
}

impl Form {
    /// The format that is customary for this file name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            _ if name.ends_with("rpms.lock.yaml") || name.ends_with("rpms.lock.yml") => {
                Some(Self::RpmsLock)
            }
            _ if name.ends_with("manifest.yaml") || name.ends_with("manifest.yml") => {
                Some(Self::Manifest)
            }
            _ => None,
        }
    }
}

impl std::str::FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rpms-lock" => Ok(Self::RpmsLock),
            "manifest" => Ok(Self::Manifest),
            other => Err(format!("{other:?} is not rpms-lock or manifest")),
        }
    }
}

/// A package of a foreign list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPackage {
    /// `name-version-release.arch`, without the epoch, which some lists omit.
    pub nvra: String,
    /// The repository's id, if listed.
    pub repository: Option<String>,
    /// `algorithm:hex`, if listed.
    pub checksum: Option<String>,
    /// Size in bytes, if listed.
    pub size: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RpmsLock {
    lockfile_version: u32,
    lockfile_vendor: String,
    arches: Vec<RpmsArch>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RpmsArch {
    arch: String,
    #[serde(default)]
    packages: Vec<RpmsPackage>,
    #[serde(default)]
    source: Vec<RpmsPackage>,
    #[serde(default)]
    module_metadata: Vec<serde_yaml_ng::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RpmsPackage {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repoid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evr: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    document: String,
    version: String,
    data: ManifestData,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestData {
    #[serde(default)]
    repositories: Vec<BTreeMap<String, String>>,
    packages: BTreeMap<String, Vec<ManifestPackage>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestPackage {
    name: String,
    repo_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    checksum: String,
    size: u64,
    evr: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parent_archs: Vec<String>,
}

/// Reads a list in either format; only entries for `arch` count.
///
/// # Errors
/// [`ExitCode::Recipe`] if it has neither format, an unsupported version, or no entries for the
/// architecture.
pub fn parse(text: &str, file: &str, arch: &str) -> Result<Vec<ListedPackage>> {
    let wrong = |why: String| Failure::new(ExitCode::Recipe, format!("reading {file}: {why}"));
    let value: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(text).map_err(|error| wrong(parser_message(&error.to_string())))?;
    let listed = if value.get("lockfileVersion").is_some() {
        let lock: RpmsLock = serde_yaml_ng::from_value(value)
            .map_err(|error| wrong(parser_message(&error.to_string())))?;
        if lock.lockfile_version != 1 {
            return Err(wrong(format!(
                "lockfileVersion {} is not supported; 1 is",
                lock.lockfile_version
            ))
            .into());
        }
        let found = lock
            .arches
            .into_iter()
            .find(|entry| entry.arch == arch || entry.arch == base_arch(arch));
        found
            .map(|entry| entry.packages)
            .unwrap_or_default()
            .iter()
            .map(rpms_package)
            .collect::<Result<Vec<_>, _>>()
    } else if value.get("document").and_then(|document| document.as_str())
        == Some("rpm-package-manifest")
    {
        let manifest: Manifest = serde_yaml_ng::from_value(value)
            .map_err(|error| wrong(parser_message(&error.to_string())))?;
        if !manifest.version.starts_with("0.") {
            return Err(wrong(format!(
                "manifest version {} is not supported; 0.x is",
                manifest.version
            ))
            .into());
        }
        let for_us = |package: &&ManifestPackage| {
            package.parent_archs.is_empty()
                || package
                    .parent_archs
                    .iter()
                    .any(|parent| parent == arch || parent == base_arch(arch))
        };
        let of = |key: &str| {
            manifest.data.packages.get(key).into_iter().flatten().filter(for_us).collect::<Vec<_>>()
        };
        let ours = of(arch).into_iter().map(|package| manifest_package(package, arch));
        ours.chain(of("noarch").into_iter().map(|package| manifest_package(package, "noarch")))
            .collect()
    } else {
        let why = "it is neither an rpms.lock.yaml (lockfileVersion) nor a package manifest \
                   (document: rpm-package-manifest)";
        return Err(wrong(why.into()).into());
    };
    let listed = listed.map_err(wrong)?;
    if listed.is_empty() {
        return Err(wrong(format!("it has no packages for {arch}"))
            .hint("choose another architecture: --arch")
            .into());
    }
    Ok(listed)
}

fn rpms_package(package: &RpmsPackage) -> Result<ListedPackage, String> {
    let file = package.url.rsplit('/').next().and_then(|name| name.strip_suffix(".rpm"));
    let stem = file.filter(|stem| Nevra::parse(stem).is_some());
    let stem =
        stem.ok_or_else(|| format!("the address {:?} is not that of a package file", package.url))?;
    // A repository may name its files freely; the list's own fields take precedence.
    let nvra = match (&package.name, &package.evr, stem.rsplit_once('.')) {
        (Some(name), Some(evr), Some((_, arch))) => format!("{name}-{}.{arch}", without_epoch(evr)),
        _ => stem.to_owned(),
    };
    checked(ListedPackage {
        nvra,
        repository: package.repoid.clone(),
        checksum: package.checksum.clone(),
        size: package.size,
    })
}

fn manifest_package(package: &ManifestPackage, arch: &str) -> Result<ListedPackage, String> {
    let nvra = format!("{}-{}.{arch}", package.name, without_epoch(&package.evr));
    let (repository, checksum) = (Some(package.repo_id.clone()), Some(package.checksum.clone()));
    checked(ListedPackage { nvra, repository, checksum, size: Some(package.size) })
}

fn checked(listed: ListedPackage) -> Result<ListedPackage, String> {
    if let Some(checksum) = &listed.checksum {
        check::checksum(checksum).map_err(|why| format!("{}: {why}", listed.nvra))?;
    }
    Ok(listed)
}

fn without_epoch(evr: &str) -> &str {
    evr.split_once(':').map_or(evr, |(_, vr)| vr)
}

/// Writes the packages of the final image in another tool's format.
///
/// # Errors
/// [`ExitCode::Recipe`] if the format needs an address that is not in the settings.
pub fn print(lock: &Lock, form: Form, settings: &PackageSettings) -> Result<String> {
    let gone: Vec<&str> =
        lock.transactions.iter().flat_map(|t| &t.remove).map(String::as_str).collect();
    let mut packages: Vec<&LockedPackage> =
        lock.packages().filter(|p| !gone.contains(&p.nevra.as_str())).collect();
    packages.sort_by(|a, b| a.nevra.cmp(&b.nevra));
    if let Some(given) = packages.iter().find(|package| package.repository == GIVEN) {
        let message = format!(
            "{} is a package file of the recipe, in no repository; the format does not support \
             that",
            given.nevra
        );
        return Err(Failure::new(ExitCode::Recipe, message)
            .hint("put it into a repository: createrepo_c DIRECTORY")
            .into());
    }
    let text = match form {
        Form::RpmsLock => rpms_lock(lock, &packages, settings)?,
        Form::Manifest => manifest(lock, &packages, settings)?,
    };
    Ok(format!("---\n{text}"))
}

fn parts(package: &LockedPackage) -> Result<(&str, String, &str)> {
    let nevra = Nevra::parse(&package.nevra).ok_or_else(|| {
        Failure::new(
            ExitCode::Recipe,
            format!("{:?} is not a name-epoch:version-release.arch", package.nevra),
        )
    })?;
    let epoch = if nevra.epoch == "0" { String::new() } else { format!("{}:", nevra.epoch) };
    Ok((nevra.name, format!("{epoch}{}-{}", nevra.version, nevra.release), nevra.arch))
}

fn rpms_lock(
    lock: &Lock,
    packages: &[&LockedPackage],
    settings: &PackageSettings,
) -> Result<String> {
    let mut entries = Vec::new();
    for package in packages {
        let (name, evr, _) = parts(package)?;
        entries.push(RpmsPackage {
            url: address(lock, package, settings)?,
            repoid: Some(package.repository.clone()),
            size: Some(package.size),
            checksum: Some(package.checksum.clone()),
            name: Some(name.to_owned()),
            evr: Some(evr),
        });
    }
    entries.sort_by(|a, b| a.url.cmp(&b.url));
    let arch = RpmsArch {
        arch: lock.arch.clone(),
        packages: entries,
        source: Vec::new(),
        module_metadata: Vec::new(),
    };
    let whole =
        RpmsLock { lockfile_version: 1, lockfile_vendor: "redhat".into(), arches: vec![arch] };
    serde_yaml_ng::to_string(&whole).or_fail(ExitCode::Unexpected, "writing rpms.lock.yaml")
}

fn manifest(
    lock: &Lock,
    packages: &[&LockedPackage],
    settings: &PackageSettings,
) -> Result<String> {
    let mut repositories = Vec::new();
    let mut by_arch: BTreeMap<String, Vec<ManifestPackage>> = BTreeMap::new();
    for package in packages {
        let (name, evr, arch) = parts(package)?;
        let parent_archs =
            if arch == "noarch" { vec![base_arch(&lock.arch).to_owned()] } else { Vec::new() };
        by_arch.entry(arch.to_owned()).or_default().push(ManifestPackage {
            name: name.to_owned(),
            repo_id: package.repository.clone(),
            location: Some(package.location.clone()),
            checksum: package.checksum.clone(),
            size: package.size,
            evr,
            parent_archs,
        });
    }
    let mut used: Vec<&str> = packages.iter().map(|p| p.repository.as_str()).collect();
    used.sort_unstable();
    used.dedup();
    for id in used {
        let (key, value) = match &repository(settings, id)?.source {
            RepositorySource::Baseurl(urls) => {
                ("baseurl", urls.first().cloned().unwrap_or_default())
            }
            RepositorySource::Metalink(url) => ("metalink", url.clone()),
            RepositorySource::Mirrorlist(url) => ("mirrorlist", url.clone()),
        };
        let value = substituted(&value, lock, settings);
        repositories
            .push(BTreeMap::from([("id".to_owned(), id.to_owned()), (key.to_owned(), value)]));
    }
    let data = ManifestData { repositories, packages: by_arch };
    // The schema version that has `location` and `parent_archs`.
    let whole = Manifest { document: "rpm-package-manifest".into(), version: "0.2.2".into(), data };
    serde_yaml_ng::to_string(&whole).or_fail(ExitCode::Unexpected, "writing the package manifest")
}

fn repository<'a>(
    settings: &'a PackageSettings,
    id: &str,
) -> Result<&'a crate::recipe::Repository> {
    let found = settings.repositories.iter().find(|repository| repository.id == id);
    found.ok_or_else(|| {
        Failure::new(ExitCode::Recipe, format!("the settings do not contain the repository '{id}'"))
            .hint("add it under [[packages.repository]]: other tools need its address")
            .into()
    })
}

fn address(lock: &Lock, package: &LockedPackage, settings: &PackageSettings) -> Result<String> {
    if package.location.contains("://") {
        return Ok(package.location.clone());
    }
    match &repository(settings, &package.repository)?.source {
        RepositorySource::Baseurl(urls) if !urls.is_empty() => {
            let base = substituted(urls.first().map_or("", String::as_str), lock, settings);
            Ok(format!("{}/{}", base.trim_end_matches('/'), package.location))
        }
        _ => Err(Failure::new(
            ExitCode::Recipe,
            format!(
                "rpms.lock.yaml needs full addresses, but the repository '{}' has only a list of \
                 mirrors",
                package.repository
            ),
        )
        .hint("set its baseurl to one mirror, or export a package manifest: --as manifest")
        .into()),
    }
}

/// Replaces `$releasever`, `$basearch`, `$arch` and the settings' own variables in an address, like
/// dnf.
fn substituted(text: &str, lock: &Lock, settings: &PackageSettings) -> String {
    let mut known: BTreeMap<&str, &str> =
        settings.vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    known.extend([("arch", lock.arch.as_str()), ("basearch", base_arch(&lock.arch))]);
    known.insert("releasever", lock.releasever.as_deref().unwrap_or_default());
    let mut names: Vec<&str> = known.keys().copied().collect();
    // The longest first: a user's variable may end with the name of another one.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let mut out = text.to_owned();
    for name in names {
        let value = known.get(name).copied().unwrap_or_default();
        out = out.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    out
}

/// The base architecture, which repositories use in their paths.
#[must_use]
pub(crate) fn base_arch(arch: &str) -> &str {
    match arch {
        "i386" | "i486" | "i586" | "i686" | "athlon" | "geode" => "i386",
        "amd64" | "ia32e" => "x86_64",
        "armv7hl" | "armv7hnl" | "armv8hl" => "armhfp",
        _ if arch.starts_with("x86_64_v") => "x86_64",
        other => other,
    }
}
