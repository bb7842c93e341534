//! What a driver is asked: the transaction, the repositories and the limits, as the JSON that it reads.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use super::Job;
use super::driver::Phase;
use super::workbench::{self, CACHE};
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::{RepositorySource, SpecKind, Transaction, Verify};
use crate::sandbox::{Access, BUILD_ROOT, Mount, OWN};

/// Where the package manager remembers, from one transaction to the next, why a package is there.
const STATE: &str = "/osimg/state";

/// The request file of one phase, and the files of the host that it speaks of.
pub(super) fn mounts(job: &Job<'_>, phase: Phase, transaction: Option<&Transaction>) -> Result<Vec<Mount>> {
    let (mut mounts, key_paths) = workbench::key_files(job);
    mounts.push(Mount::Bind { source: job.cache.to_owned(), target: CACHE.into(), access: Access::ReadWrite });
    mounts.push(Mount::Bind { source: job.state.to_owned(), target: STATE.into(), access: Access::ReadWrite });
    let (repositories, tls) = repositories(job, phase)?;
    mounts.extend(tls);
    let host_repositories = job.settings.repositories.is_empty();
    if host_repositories {
        for path in ["/etc/yum.repos.d", "/etc/distro.repos.d", "/etc/dnf", "/etc/yum", "/etc/pki/rpm-gpg", "/etc/os-release"] {
            if let Ok(source) = Path::new(path).canonicalize() {
                mounts.push(Mount::Bind { source, target: path.into(), access: Access::ReadOnly });
            }
        }
    }
    if let Some(transaction) = transaction {
        let (files, binds) = package_files(job, transaction)?;
        mounts.extend(binds);
        let request = json!({
            "phase": match phase { Phase::Download => "download", Phase::Install => "install" },
            "offline": phase == Phase::Install,
            "installroot": BUILD_ROOT,
            "cachedir": CACHE,
            "state": STATE,
            "scratch": "/var/tmp/dnf",
            "signatures": workbench::insists_on_signatures(job),
            "releasever": job.settings.releasever,
            "arch": job.settings.arch,
            "vars": job.settings.vars,
            "install_weak_deps": job.settings.install_weak_deps.unwrap_or(true),
            "tsflags": if job.settings.docs == Some(false) { vec!["nodocs"] } else { vec![] },
            "exclude": job.settings.exclude.iter().chain(&transaction.exclude).collect::<Vec<_>>(),
            "host_repositories": host_repositories,
            "repositories": repositories,
            "keys": key_paths,
            "files": files,
            "transaction": transaction,
        });
        mounts.push(Mount::File { target: format!("{OWN}/request.json").into(), content: request.to_string() });
    }
    Ok(mounts)
}

/// The package files that the transaction names: where the driver finds each, and from where it fetches those behind an address.
fn package_files(job: &Job<'_>, transaction: &Transaction) -> Result<(Value, Vec<Mount>)> {
    let (mut files, mut mounts) = (serde_json::Map::new(), Vec::new());
    for spec in transaction.install.iter().chain(transaction.swap.iter().map(|swap| &swap.install)).filter(|spec| spec.is_package_file()) {
        let wrong =
            |what: String| Failure::new(ExitCode::Recipe, format!("{}:{}:{}: {what}", job.recipe.display(), spec.line, spec.column));
        let name = spec.text.rsplit('/').next().unwrap_or_default();
        if !name.ends_with(".rpm") || name.contains(['?', '#']) {
            return Err(wrong(format!("'{}' does not end in the name of a package file", spec.text))
                .hint("name the file itself: https://HOST/FOLDER/NAME-VERSION-RELEASE.ARCH.rpm")
                .into());
        }
        let local = match spec.kind() {
            SpecKind::Url => spec.text.strip_prefix("file://"),
            _ => Some(spec.text.as_str()),
        };
        let value = match local {
            Some(path) => {
                let source = job.recipe.parent().unwrap_or(Path::new("")).join(path);
                let source = source.canonicalize().map_err(|error| {
                    wrong(format!("opening {}: {error}", source.display())).hint("a relative path begins at the recipe's folder")
                })?;
                let target = format!("{OWN}/files/{}/{name}", mounts.len());
                mounts.push(Mount::Bind { source, target: target.clone().into(), access: Access::ReadOnly });
                json!({ "path": target })
            }
            None => {
                let folder = hex::encode(Sha256::digest(spec.text.as_bytes()));
                json!({ "path": format!("{CACHE}/files/{folder}/{name}"), "url": spec.text })
            }
        };
        files.insert(spec.text.clone(), value);
    }
    Ok((files.into(), mounts))
}

/// The repositories of the settings as dnf's options, and the files of theirs that the sandbox must see.
///
/// Secrets are passed to the download alone: scriptlets, which run while packages are installed, are the packages' own code.
fn repositories(job: &Job<'_>, phase: Phase) -> Result<(Vec<Value>, Vec<Mount>)> {
    let mut mounts = Vec::new();
    let mut place = |file: &Option<PathBuf>| -> Option<String> {
        let source = file.clone().filter(|_| phase == Phase::Download)?;
        let target = format!("{OWN}/tls/{}", mounts.len());
        mounts.push(Mount::Bind { source, target: target.clone().into(), access: Access::ReadOnly });
        Some(target)
    };
    let mut values = Vec::new();
    for repository in job.settings.repositories.iter().filter(|r| r.enabled) {
        let password = repository
            .password_file
            .as_deref()
            .filter(|_| phase == Phase::Download)
            .map(workbench::host_text)
            .transpose()?
            .map(|text| text.trim_end().to_owned());
        values.push(json!({
            "id": repository.id,
            "name": repository.name.as_deref().unwrap_or(&repository.id),
            "baseurl": match &repository.source { RepositorySource::Baseurl(urls) => urls.clone(), _ => Vec::new() },
            "metalink": match &repository.source { RepositorySource::Metalink(url) => Some(url), _ => None },
            "mirrorlist": match &repository.source { RepositorySource::Mirrorlist(url) => Some(url), _ => None },
            "priority": repository.priority,
            "cost": repository.cost,
            "module_hotfixes": repository.module_hotfixes,
            "excludepkgs": repository.exclude,
            "includepkgs": repository.include,
            "sslcacert": place(&repository.ca),
            "sslclientcert": place(&repository.client_cert),
            "sslclientkey": place(&repository.client_key),
            "proxy": repository.proxy.as_ref().filter(|_| phase == Phase::Download),
            "username": repository.username.as_ref().filter(|_| phase == Phase::Download),
            "password": password,
            "signed_metadata": repository.signed_metadata,
        }));
    }
    let strict_without_keys = job.settings.verify == Verify::Strict && job.keys.is_empty() && !values.is_empty();
    if strict_without_keys {
        return Err(Failure::new(ExitCode::Trust, "the settings name repositories, but no key that signs their packages")
            .hint("add [[packages.key]] with file or url and fingerprint, or verify = \"digest-only\" under [packages] to trust whoever serves them")
            .into());
    }
    Ok((values, mounts))
}
