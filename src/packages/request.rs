//! The request to a driver: the transaction, the repositories and the limits, as JSON.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

use super::cache::{CACHE, FILES, PACKAGES};
use super::package_files::{self, FileSource};
use super::phase::Phase;
use super::{Extent, Job, download_limits, host_repositories, rpm_sandbox};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{Repository, RepositorySource, Transaction, Verify};
use crate::sandbox::{Access, BUILD_ROOT, Mount, OWN};

/// The directory in which the package manager records, for its next transaction, why packages are
/// installed.
const STATE: &str = "/osimg/state";
/// Where it keeps its logs, and what it unpacks.
const SCRATCH: &str = "/osimg/scratch";

/// The request file of one phase, and the files of the host that it refers to.
///
/// `detail` has further data for the phase.
pub(super) fn mounts(
    job: &Job<'_>,
    phase: Phase,
    transaction: Option<&Transaction>,
    detail: &Value,
) -> Result<Vec<Mount>> {
    let (mut mounts, key_paths) = rpm_sandbox::key_files(job);
    mounts.extend(cache(job, phase)?);
    mounts.push(Mount::Tmpfs { target: SCRATCH.into(), mode: 0o755 });
    mounts.push(Mount::Bind {
        source: job.state.to_owned(),
        target: STATE.into(),
        access: Access::ReadWrite,
    });
    let (repositories, tls) = repositories(job, phase, transaction)?;
    mounts.extend(tls);
    let host_repositories = job.settings.repositories.is_empty();
    if host_repositories {
        mounts.extend(if phase.installs() {
            host_repositories::without_secrets()?
        } else {
            host_repositories::all_files()
        });
    }
    if transaction.is_some() || phase == Phase::Fetch {
        let (files, binds) = transaction.map_or_else(
            || Ok((json!({}), Vec::new())),
            |transaction| package_files(job, transaction),
        )?;
        mounts.extend(binds);
        let of_script = transaction.iter().flat_map(|transaction| &transaction.exclude);
        let excluded: Vec<_> = job.settings.exclude.iter().chain(of_script).collect();
        let request = json!({
            "phase": phase.name(),
            "offline": phase.installs(),
            "detail": detail,
            "installroot": BUILD_ROOT,
            "cachedir": CACHE,
            "state": STATE,
            "scratch": SCRATCH,
            "signatures": rpm_sandbox::requires_signatures(job),
            "releasever": job.settings.releasever,
            "arch": job.settings.arch,
            "limits": download_limits::request(job),
            "vars": job.settings.vars,
            "install_weak_deps": job.settings.install_weak_deps.unwrap_or(true),
            "tsflags": flags(job),
            "exclude": excluded,
            "host_repositories": host_repositories,
            "repositories": repositories,
            "keys": key_paths,
            "files": files,
            "transaction": transaction,
        });
        mounts.push(Mount::File {
            target: format!("{OWN}/request.json").into(),
            content: request.to_string(),
        });
    }
    Ok(mounts)
}

/// The package cache in a phase. The shared cache is visible only during downloads, never while
/// package code runs.
fn cache(job: &Job<'_>, phase: Phase) -> Result<Vec<Mount>> {
    if phase.installs() {
        return job.cache.view_mounts();
    }
    job.cache.download_mounts()
}

/// The package files in the transaction: where the driver finds each, and from where it fetches
/// those with addresses.
fn package_files(job: &Job<'_>, transaction: &Transaction) -> Result<(Value, Vec<Mount>)> {
    let (mut files, mut mounts) = (serde_json::Map::new(), Vec::new());
    for spec in package_files::specs(transaction) {
        let name = package_files::name(spec);
        let value = match package_files::find(job.places, spec)? {
            FileSource::Local(source) => {
                let target = package_files::target(mounts.len(), name);
                mounts.push(Mount::Bind {
                    source,
                    target: target.clone().into(),
                    access: Access::ReadOnly,
                });
                json!({ "path": target })
            }
            FileSource::Address(url) => {
                let directory = hex::encode(Sha256::digest(url.as_bytes()));
                json!({ "path": format!("{CACHE}/{FILES}/{directory}/{PACKAGES}/{name}"),
                    "url": url })
            }
        };
        files.insert(spec.text.clone(), value);
    }
    Ok((files.into(), mounts))
}

/// rpm's transaction flags, by dnf's names.
fn flags(job: &Job<'_>) -> Vec<&'static str> {
    let docs = (job.settings.docs == Some(false)).then_some("nodocs");
    let files = match job.extent {
        Extent::Whole => None,
        Extent::DatabaseOnly => Some("justdb"),
    };
    docs.into_iter().chain(files).collect()
}

/// The repositories of the settings as dnf options, and their files that the sandbox must see.
///
/// Secrets are passed only to the download. During the installation scriptlets run, which are
/// package code.
pub(super) fn repositories(
    job: &Job<'_>,
    phase: Phase,
    transaction: Option<&Transaction>,
) -> Result<(Vec<Value>, Vec<Mount>)> {
    let named = transaction.is_some_and(|transaction| !transaction.repos.is_empty());
    let mut mounts = Vec::new();
    let mut place = |file: &Option<PathBuf>| -> Option<String> {
        let source = file.clone().filter(|_| !phase.installs())?;
        let target = format!("{OWN}/tls/{}", mounts.len());
        mounts.push(Mount::Bind {
            source,
            target: target.clone().into(),
            access: Access::ReadOnly,
        });
        Some(target)
    };
    let mut values = Vec::new();
    // Disabled repositories are needed for `repo enable`. A fetch by path may use any repository.
    let wanted = |repository: &&Repository| repository.enabled || named || phase == Phase::Fetch;
    for repository in job.settings.repositories.iter().filter(wanted) {
        let password = repository
            .password_file
            .as_deref()
            .filter(|_| !phase.installs())
            .map(rpm_sandbox::host_text)
            .transpose()?
            .map(|text| text.trim_end().to_owned());
        values.push(json!({
            "id": repository.id,
            "enabled": repository.enabled || phase == Phase::Fetch,
            "name": repository.name.as_deref().unwrap_or(&repository.id),
            "baseurl": match &repository.source { RepositorySource::Baseurl(urls) => urls.clone(),
                _ => Vec::new() },
            "metalink": match &repository.source { RepositorySource::Metalink(url) => Some(url),
                _ => None },
            "mirrorlist": match &repository.source { RepositorySource::Mirrorlist(url) => Some(url),
                _ => None },
            "priority": repository.priority,
            "cost": repository.cost,
            "module_hotfixes": repository.module_hotfixes,
            "excludepkgs": repository.exclude,
            "includepkgs": repository.include,
            "sslcacert": place(&repository.ca),
            "sslclientcert": place(&repository.client_cert),
            "sslclientkey": place(&repository.client_key),
            "proxy": repository.proxy.as_ref().filter(|_| !phase.installs()),
            "username": repository.username.as_ref().filter(|_| !phase.installs()),
            "password": password,
            "signed_metadata": repository.signed_metadata,
        }));
    }
    let strict_without_keys =
        job.settings.verify == Verify::Strict && job.keys.is_empty() && !values.is_empty();
    if strict_without_keys {
        return Err(Failure::new(
            ExitCode::Trust,
            "the settings have repositories, but no key for their packages",
        )
        .hint(
            "add [[packages.key]] with file or url and fingerprint; or, to trust the servers, \
             verify = \"digest-only\" under [packages]",
        )
        .into());
    }
    Ok((values, mounts))
}
