//! The plan of a transaction from the files of its packages: the table says which, their headers say the rest.

use anyhow::Context;
use std::path::{Path, PathBuf};

use super::super::cache::{CACHE, PACKAGES, entries};
use super::super::events::{PlannedPackage, RepositoryState, SpecMatch, TransactionPlan};
use super::super::{Job, digest};
use super::AGAIN;
use super::table::Table;
use super::words::{self, Words};
use crate::error::{ExitCode, Failure, Result};
use crate::nevra::Nevra;
use crate::recipe::{Repository, Transaction};

/// A repository's files, on this machine and as the sandbox sees them.
#[derive(Debug)]
struct Place {
    /// Where its metadata are.
    metadata: PathBuf,
    /// Where its packages are, at any depth.
    packages: PathBuf,
    /// The folder of the sandbox that `packages` is.
    seen: PathBuf,
}

/// The plan that the table says. `home` is microdnf's folder below `cache`.
///
/// # Errors
/// [`ExitCode::Repository`] for a package that is not there, [`ExitCode::Trust`] for one whose header is damaged or signed wrongly.
pub(super) fn plan(
    job: &Job<'_>,
    (cache, home): (&Path, &str),
    transaction: &Transaction,
    words: &Words<'_>,
    table: &Table,
    rpm: &str,
) -> Result<TransactionPlan> {
    let mut install = Vec::new();
    for (nevra, repository) in &table.install {
        let place = place(job, cache, home, repository)?;
        install.push(planned(job, &place, nevra, repository)?);
    }
    let mut specs = Vec::new();
    if words.command == "reinstall" {
        install.iter_mut().for_each(|package| package.reason = AGAIN.to_owned());
    }
    if words.command == "install" {
        for spec in &words.specs {
            let means = |package: &&PlannedPackage| names(&package.nevra).iter().any(|name| words::matches(&spec.text, name));
            let packages: Vec<String> = install.iter().filter(means).map(|package| package.nevra.clone()).collect();
            // What is meant by a path, by something provided, or is there already, microdnf has found, or it would have said so.
            if !packages.is_empty() {
                install.iter_mut().filter(|p| packages.contains(&p.nevra)).for_each(|p| p.reason = "user".to_owned());
                specs.push(SpecMatch { text: spec.text.clone(), line: spec.line, packages });
            }
        }
    }
    let used = |repository: &&Repository| words::enabled(Some(transaction), &repository.id, repository.enabled);
    let repositories = job.settings.repositories.iter().filter(used).map(|repository| state(job, cache, home, repository));
    Ok(TransactionPlan {
        install,
        remove: table.remove.clone(),
        specs,
        groups: Vec::new(),
        repositories: repositories.collect::<Result<Vec<_>>>()?,
        rpm: rpm.to_owned(),
    })
}

/// Everything by which a package can be named that its name alone tells.
fn names(nevra: &str) -> Vec<String> {
    let parts = Nevra::lenient(nevra);
    let Nevra { name, epoch, version, release, arch } = parts;
    let mut names = vec![name.to_owned(), format!("{name}.{arch}"), format!("{name}-{version}"), format!("{name}-{epoch}:{version}")];
    for evr in [format!("{version}-{release}"), format!("{epoch}:{version}-{release}")] {
        names.extend([format!("{name}-{evr}"), format!("{name}-{evr}.{arch}")]);
    }
    names
}

/// Where the files of a repository are.
fn place(job: &Job<'_>, cache: &Path, home: &str, id: &str) -> Result<Place> {
    let repository = job.settings.repositories.iter().find(|repository| repository.id == id);
    if let Some(folder) = repository.and_then(|repository| words::folder(&repository.source)) {
        let folder = PathBuf::from(folder);
        return Ok(Place { metadata: folder.clone(), packages: folder.clone(), seen: folder });
    }
    let below = Path::new(home).join("metadata");
    let prefix = format!("{id}-{}-", job.settings.releasever.as_deref().unwrap_or_default());
    let host = Path::new(CACHE);
    for entry in entries(&cache.join(&below))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        // libdnf adds the release and the architecture.
        if name.strip_prefix(&prefix).is_some_and(|arch| !arch.contains(['-', '.'])) {
            let packages = below.join(&name).join(PACKAGES);
            return Ok(Place { metadata: entry.path(), packages: cache.join(&packages), seen: host.join(packages) });
        }
    }
    Err(Failure::new(ExitCode::Repository, format!("looking for the packages of '{id}': microdnf has left none in its cache")).into())
}

/// A package as its own file says it.
fn planned(job: &Job<'_>, place: &Place, nevra: &str, repository: &str) -> Result<PlannedPackage> {
    let gone = || Failure::new(ExitCode::Repository, format!("{nevra}: no longer in the repository's folder '{repository}'"));
    let parts = Nevra::parse(nevra).ok_or_else(gone)?;
    let usual = format!("{}-{}.{}.rpm", parts.name, parts.version_release(), parts.arch);
    let mut found = None;
    for entry in walkdir::WalkDir::new(&place.packages).sort_by_file_name() {
        let entry = entry.with_context(|| format!("reading {}", place.packages.display()))?;
        if entry.file_name().to_string_lossy() != usual.as_str() || !entry.file_type().is_file() {
            continue;
        }
        let header = digest::header(entry.path(), job.keys)?;
        // Another epoch goes by the same name.
        if header.nevra == nevra {
            found = Some((entry.into_path(), header));
            break;
        }
    }
    let (file, header) = found.ok_or_else(gone)?;
    let (checksum, size) = digest::of(&file)?;
    let below = file.strip_prefix(&place.packages).unwrap_or(&file);
    Ok(PlannedPackage {
        nevra: nevra.to_owned(),
        name: parts.name.to_owned(),
        arch: parts.arch.to_owned(),
        version: parts.version.to_owned(),
        release: parts.release.to_owned(),
        repo: repository.to_owned(),
        location: below.display().to_string(),
        size,
        installed: header.installed,
        built: header.built,
        checksum: Some(checksum),
        reason: "dependency".to_owned(),
        path: Some(place.seen.join(below).display().to_string()),
    })
}

/// A repository as its index says it.
fn state(job: &Job<'_>, cache: &Path, home: &str, repository: &Repository) -> Result<RepositoryState> {
    let index = place(job, cache, home, &repository.id)?.metadata.join("repodata/repomd.xml");
    let text = std::fs::read_to_string(&index).with_context(|| format!("reading {}", index.display()))?;
    let revision = text.split_once("<revision>").and_then(|(_, rest)| rest.split_once("</revision>")).map_or("", |(revision, _)| revision);
    Ok(RepositoryState {
        id: repository.id.clone(),
        name: repository.name.clone().unwrap_or_else(|| repository.id.clone()),
        revision: revision.trim().to_owned(),
        repomd: Some(digest::of(&index)?.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_goes_by_every_form_of_its_name() {
        let names = names("gawk-1:5.2.1-2.x86_64");
        for form in ["gawk", "gawk.x86_64", "gawk-5.2.1", "gawk-5.2.1-2", "gawk-5.2.1-2.x86_64", "gawk-1:5.2.1-2.x86_64"] {
            assert!(names.contains(&form.to_owned()), "{form}");
        }
        assert!(!names.contains(&"gawk-5".to_owned()));
    }
}
