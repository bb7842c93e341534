//! The owners of the image's files, for a build that cannot change owners. Its runs record them;
//! otherwise they come from the package headers in the rpmdb.

use std::path::Path;

use super::job::Job;
use super::rpm_sandbox;
use crate::error::Result;
use crate::sandbox::{InstallRoot, OwnedFile};

/// The known owners in a tree in which all files belong to one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownOwners {
    /// All owners are known; every other file belongs to root.
    Given(Vec<OwnedFile>),
    /// Only rpm's changes of owners; those of scriptlets were not recorded.
    Packaged(Vec<PackagedFile>),
}

/// A packaged file and the names of its owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedFile {
    /// Its absolute path in the package; links in it are not resolved yet.
    pub path: String,
    /// The name of the user.
    pub user: String,
    /// The name of the group.
    pub group: String,
}

/// One line per file, with the path last because only it may contain any character. `DBINSTANCE`
/// increases in the order of installation.
const QUERY: &str = "[%{=DBINSTANCE}\\t%{FILESTATES:fstate}\\t%{FILEFLAGS:fflags}\\t%\
                     {FILEUSERNAME}\\t%{FILEGROUPNAME}\\t%{FILENAMES}\\n]";

/// The owners, as far as they are available.
///
/// # Errors
/// If the rpmdb cannot be read.
pub(super) fn known(job: &Job<'_>) -> Result<KnownOwners> {
    if let Some(given) = job.given.all() {
        return Ok(KnownOwners::Given(given));
    }
    job.report.warn(
        "tracing is not possible on this host: owners are taken from the packages, and owners set \
         by scriptlets are lost",
    );
    Ok(KnownOwners::Packaged(packaged(job)?))
}

/// The packaged files in the directories that are emptied later, if these have any files.
///
/// # Errors
/// If the rpmdb cannot be read.
pub(super) fn packaged_in_emptied(job: &Job<'_>, root: &InstallRoot) -> Result<Vec<String>> {
    for directory in job.emptied {
        if !root.names(Path::new(directory))?.is_empty() {
            let is_inside = |file: &PackagedFile| {
                let path = Path::new(file.path.trim_start_matches('/'));
                job.emptied.iter().any(|directory| path.starts_with(directory))
            };
            let files = packaged(job)?.into_iter().filter(is_inside);
            return Ok(files.map(|file| file.path).collect());
        }
    }
    Ok(Vec::new())
}

/// The files that rpm installed with other owners, in the order of installation.
fn packaged(job: &Job<'_>) -> Result<Vec<PackagedFile>> {
    let lines = rpm_sandbox::query_all(job, QUERY, "reading the owners of the image's files")?;
    Ok(parse(&lines))
}

fn parse(lines: &[String]) -> Vec<PackagedFile> {
    let mut rows: Vec<(u64, PackagedFile)> = lines
        .iter()
        .filter_map(|line| {
            let mut fields = line.splitn(6, '\t');
            let (instance, state, flags) =
                (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
            let (user, group, path) =
                (fields.next()?.to_owned(), fields.next()?.to_owned(), fields.next()?.to_owned());
            // rpm does not change replaced files, excluded files or ghosts.
            (state == "normal" && !flags.contains('g'))
                .then_some((instance, PackagedFile { path, user, group }))
        })
        .collect();
    rows.sort_by_key(|(instance, _)| *instance);
    rows.into_iter().map(|(_, file)| file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_the_order_of_installation_without_ghosts() {
        let lines = [
            "12\tnormal\t\troot\tdbus\t/usr/libexec/helper",
            "3\tnormal\tc\troot\troot\t/etc/a\tb",
            "3\tnormal\tg\troot\tutmp\t/var/log/wtmp",
            "3\tnet shared\t\troot\troot\t/proc",
            "nonsense",
        ]
        .map(str::to_owned);
        let files = parse(&lines);
        assert_eq!(
            files.iter().map(|f| (f.path.as_str(), f.group.as_str())).collect::<Vec<_>>(),
            [("/etc/a\tb", "root"), ("/usr/libexec/helper", "dbus")]
        );
    }
}
