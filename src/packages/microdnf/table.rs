//! The table that microdnf prints of a transaction before it begins: names alone are taken from it, and what is told of a package is
//! read from its file.
//!
//! It is the one place that says what goes out, and which of the packages in a cache are meant. Every name must be a whole one, and
//! what the rpmdb holds at the end must be what was read here: the verdict compares them.

use crate::nevra::Nevra;

/// Columns of a screen on which no name is cut: that of a package gets seven tenths of them.
pub(super) const COLUMNS: &str = "1000";
/// The line after the table.
pub(super) const END: &str = "Transaction Summary:";
/// What is said in its place when everything is as asked for.
pub(super) const NOTHING: &str = "Nothing to do.";

/// What a transaction will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// What comes in, `name-epoch:version-release.arch`, and the repository that it comes from; sorted.
    pub install: Vec<(String, String)>,
    /// What goes out, replaced or not; sorted.
    pub remove: Vec<String>,
    /// What goes out, and nothing comes in its place.
    pub erase: Vec<String>,
}

/// The name of a package with its epoch; `None` for anything else.
pub(super) fn whole(name: &str) -> Option<String> {
    let Nevra { name, epoch, version, release, arch } = Nevra::parse(name)?;
    Some(format!("{name}-{epoch}:{version}-{release}.{arch}"))
}

/// Reads the lines before [`END`].
///
/// # Errors
/// The first line that is none of a table.
pub(super) fn parse(lines: &[String]) -> Result<Table, String> {
    let mut table = Table::default();
    let mut removing = None;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = |text: &str| whole(text).ok_or_else(|| line.trim().to_owned());
        match (words.as_slice(), removing) {
            ([], _) | (["Package", "Repository", "Size"], None) => {}
            (["Installing:" | "Reinstalling:" | "Upgrading:" | "Downgrading:"], _) => removing = Some(false),
            (["Removing:"], _) => removing = Some(true),
            (["replacing", old], Some(false)) => table.remove.push(name(old)?),
            ([package, repository, _, _], Some(false)) => table.install.push((name(package)?, (*repository).to_owned())),
            ([package, _, _, _], Some(true)) => table.erase.push(name(package)?),
            _ => return Err(line.trim().to_owned()),
        }
    }
    // A package that is installed once more replaces itself.
    table.remove.retain(|old| table.install.iter().all(|(new, _)| new != old));
    table.remove.extend(table.erase.iter().cloned());
    table.install.sort();
    table.remove.sort();
    table.remove.dedup();
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_comes_and_what_goes_is_read_with_its_epoch() {
        let text = "Package                    Repository     Size\n\
                    Installing:                               \n \
                    gawk-1:5.2.1-2.x86_64      demo       885.2 kB\n\
                    Reinstalling:\n \
                    same-1-1.noarch            demo       1 byte\n  \
                    replacing same-1-1.noarch\n\
                    Upgrading:\n \
                    flac-2.0-1.noarch          updates      6.3 kB\n  \
                    replacing flac-1.0-1.noarch\n\
                    Removing:\n \
                    python3-old-1.0-1.noarch   @System     12 bytes\n";
        let table = parse(&lines(text)).expect("a table");
        let install = [("flac-0:2.0-1.noarch", "updates"), ("gawk-1:5.2.1-2.x86_64", "demo"), ("same-0:1-1.noarch", "demo")];
        assert_eq!(table.install, install.map(|(name, repository)| (name.to_owned(), repository.to_owned())));
        assert_eq!(table.erase, ["python3-old-0:1.0-1.noarch"]);
        assert_eq!(table.remove, ["flac-0:1.0-1.noarch", "python3-old-0:1.0-1.noarch"]);
    }

    #[test]
    fn what_is_no_line_of_a_table_is_told_and_not_passed_over() {
        for odd in ["Installing:\n a-very-long-name-that-was-cu… demo 1 kB\n", " bash-5.2-1.x86_64 demo 1.9 MB\n", "Improving:\n"] {
            assert!(parse(&lines(odd)).is_err(), "{odd}");
        }
        assert_eq!(parse(&[]), Ok(Table::default()));
    }
}
