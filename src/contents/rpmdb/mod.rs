//! The packages of an image, read from its rpmdb without rpm.
//!
//! [`sqlite`] reads the database of EL 9 and Fedora (rpm 4.16 and later); the older Berkeley DB and
//! SUSE's ndb are named and not read. [`package`] makes a package of a header.

mod package;
mod sqlite;

pub use package::{Change, FileState, Package, PackagedFile};

use std::io::Read;
use std::path::Path;
use tempfile::TempDir;

use super::Contents;
use super::kept::RPMDB;
use crate::error::Result;

/// The files of an rpmdb, by its format.
const SQLITE: &str = "rpmdb.sqlite";
const SQLITE_LOG: &str = "rpmdb.sqlite-wal";
const BERKELEY: &str = "Packages";
const NDB: &str = "Packages.db";

/// What the image says of its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// It has no rpmdb.
    Absent,
    /// It has one that cannot be read.
    Unreadable {
        /// Its directory inside the image.
        dbpath: String,
        /// Why not.
        why: String,
    },
    /// They were read.
    Read {
        /// The rpmdb's directory inside the image.
        dbpath: String,
        /// The packages, sorted by their names and versions as text; keys are none.
        packages: Vec<Package>,
        /// Key ids of the keys that rpm trusts, which it keeps as packages.
        keys: Vec<String>,
    },
}

impl Packages {
    /// The packages that were read; none when there is nothing to read.
    #[must_use]
    pub fn list(&self) -> &[Package] {
        match self {
            Self::Read { packages, .. } => packages,
            Self::Absent | Self::Unreadable { .. } => &[],
        }
    }
}

/// Whether a file of an rpmdb's directory is needed to read it.
pub(super) fn is_wanted(name: &str) -> bool {
    [SQLITE, SQLITE_LOG, BERKELEY, NDB].contains(&name)
}

/// Reads what was put aside, a directory for each of [`RPMDB`].
pub(super) fn read(
    contents: &Contents,
    databases: &[Option<TempDir>; RPMDB.len()],
) -> Result<Packages> {
    let mut unreadable = Packages::Absent;
    for (dbpath, database) in RPMDB.iter().zip(databases) {
        // A link to the other directory has no files of its own.
        let Some(database) = database else { continue };
        let found = read_one(dbpath, database.path())?;
        match found {
            Packages::Read { .. } => return Ok(found),
            Packages::Unreadable { .. } => unreadable = found,
            Packages::Absent => {}
        }
    }
    if unreadable == Packages::Absent
        && let Some(too_large) =
            RPMDB.iter().find(|dbpath| contents.find(format!("{dbpath}/{SQLITE}")).is_some())
    {
        return Ok(Packages::Unreadable {
            dbpath: (*too_large).to_owned(),
            why: format!("{SQLITE} is not a file, or too large"),
        });
    }
    Ok(unreadable)
}

fn read_one(dbpath: &str, directory: &Path) -> Result<Packages> {
    let unreadable = |why: String| Packages::Unreadable { dbpath: dbpath.to_owned(), why };
    if directory.join(SQLITE).is_file() {
        return Ok(
            match sqlite::headers(&directory.join(SQLITE))
                .and_then(|headers| package::all(&headers))
            {
                Ok((packages, keys)) => {
                    Packages::Read { dbpath: dbpath.to_owned(), packages, keys }
                }
                Err(error) => unreadable(format!("{SQLITE}: {error:#}")),
            },
        );
    }
    if directory.join(NDB).is_file() {
        return Ok(unreadable(format!("{NDB} is rpm's ndb, which osimg does not read")));
    }
    if directory.join(BERKELEY).is_file() {
        let mut magic = [0; 16];
        let known = crate::files::open(&directory.join(BERKELEY))?.read_exact(&mut magic).is_ok()
            // A hash (EL) or a B-tree, in either byte order; db.h of Berkeley DB.
            && [[0x61, 0x15, 6, 0], [0, 6, 0x15, 0x61], [0x62, 0x31, 5, 0],
                [0, 5, 0x31, 0x62]].iter().any(|m| magic.ends_with(m));
        let what = if known {
            "a Berkeley DB, as rpm before 4.16 has it, which osimg does not read"
        } else {
            "of no known form"
        };
        return Ok(unreadable(format!("{BERKELEY} is {what}")));
    }
    Ok(Packages::Absent)
}
