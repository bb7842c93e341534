//! Who owns the packages' files, as their headers in the rpmdb say: for builds that can give files to nobody but themselves.

use super::{Job, workbench};
use crate::error::Result;
use crate::process::CommandLine;
use crate::sandbox::{BUILD_ROOT, Network};

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

/// One line a file, the path last: it alone may hold anything. `DBINSTANCE` counts in the order of installation.
const QUERY: &str = "[%{=DBINSTANCE}\\t%{FILESTATES:fstate}\\t%{FILEFLAGS:fflags}\\t%{FILEUSERNAME}\\t%{FILEGROUPNAME}\\t%{FILENAMES}\\n]";

/// The files that rpm has put there and given away, in the order in which it did.
///
/// # Errors
/// When the rpmdb cannot be read.
pub(super) fn packaged(job: &Job<'_>) -> Result<Vec<PackagedFile>> {
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
