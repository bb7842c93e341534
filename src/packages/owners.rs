//! Who owns the image's files where a build can give them to nobody: as its runs told, else as the
//! packages' headers in the rpmdb say.

use std::cell::RefCell;

use super::{Job, workbench};
use crate::error::Result;
use crate::process::CommandLine;
use crate::sandbox::{BUILD_ROOT, Given, Network, Outcome};

/// What is known of the owners of a tree that is all of one user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownOwners {
    /// All there is to know; every other file is root's.
    Given(Vec<Given>),
    /// What rpm gave away; nobody saw what scriptlets did.
    Packaged(Vec<PackagedFile>),
}

/// What the runs that install have told of the files that they gave away; nothing any more once one
/// told nothing.
#[derive(Debug)]
pub struct GivenAway(RefCell<Option<Vec<Given>>>);

impl Default for GivenAway {
    fn default() -> Self {
        Self(RefCell::new(Some(Vec::new())))
    }
}

impl GivenAway {
    /// What the next run has to know.
    pub(super) fn so_far(&self) -> Vec<Given> {
        self.0.borrow().clone().unwrap_or_default()
    }

    /// A run told all of it that still stands.
    pub(super) fn learn(&self, outcome: &Outcome) {
        let mut known = self.0.borrow_mut();
        *known = known.as_ref().and(outcome.given.clone());
    }
}

/// A packaged file and the names of its owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedFile {
    /// Its absolute path, as the package has it: links in it are still to be followed.
    pub path: String,
    /// The name of the user.
    pub user: String,
    /// The name of the group.
    pub group: String,
}

/// One line a file, the path last: it alone may hold anything. `DBINSTANCE` counts in the order of
/// installation.
const QUERY: &str = "[%{=DBINSTANCE}\\t%{FILESTATES:fstate}\\t%{FILEFLAGS:fflags}\\t%{FILEUSERNAME}\\t%{FILEGROUPNAME}\\t%{FILENAMES}\\n]";

/// The owners as far as they can be had.
///
/// # Errors
/// When the rpmdb cannot be read.
pub(super) fn known(job: &Job<'_>) -> Result<KnownOwners> {
    if let Some(given) = job.given.0.borrow().clone() {
        return Ok(KnownOwners::Given(given));
    }
    job.report.warn("this host lets no process follow another: owners are taken from the packages, those that scriptlets choose are lost");
    Ok(KnownOwners::Packaged(packaged(job)?))
}

/// The files that rpm has put there and given away, in the order in which it did.
fn packaged(job: &Job<'_>) -> Result<Vec<PackagedFile>> {
    let rpm = super::need(job.tools, "rpm", "read the image's rpmdb", "rpm")?;
    let command = CommandLine::new([&rpm.to_string_lossy(), "--root", BUILD_ROOT, "--dbpath", job.dbpath, "-qa", "--qf", QUERY]);
    let plan = workbench::plan(job, Network::None, Vec::new(), command.env("RPM_FORCE_DEBIAN", "1"));
    Ok(parse(&workbench::ask(&plan, "reading the owners of the image's files")?))
}

fn parse(lines: &[String]) -> Vec<PackagedFile> {
    let mut rows: Vec<(u64, PackagedFile)> = lines
        .iter()
        .filter_map(|line| {
            let mut fields = line.splitn(6, '\t');
            let (instance, state, flags) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
            let (user, group, path) = (fields.next()?.to_owned(), fields.next()?.to_owned(), fields.next()?.to_owned());
            // What another package replaced, what is left out, and ghosts, rpm does not touch.
            (state == "normal" && !flags.contains('g')).then_some((instance, PackagedFile { path, user, group }))
        })
        .collect();
    rows.sort_by_key(|(instance, _)| *instance);
    rows.into_iter().map(|(_, file)| file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_installation_and_ghosts_do_not() {
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
