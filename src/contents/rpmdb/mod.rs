//! The packages of an image, read from its rpmdb without rpm.
//!
//! [`sqlite`] reads the database of EL 9 and Fedora, [`ndb`] that of SUSE, and [`berkeley`] that of
//! EL 8 and older. [`mod@headers`] has the limits of all of them. [`package`] makes a package of a
//! header.

mod berkeley;
mod headers;
mod ndb;
mod package;
mod sqlite;

pub use package::{Change, FileState, Package, PackagedFile};

use anyhow::Context;
use std::path::Path;
use tempfile::TempDir;

use super::kept::RPMDB;
use crate::error::Result;
use headers::Headers;

/// Reads the headers in a file.
type Reader = fn(&Path) -> Result<Headers>;

/// The file of each format. The first that exists is read, as rpm does (`dbDetectBackend` in its
/// `lib/backend/dbi.cc`); another one is a remainder of an older release.
const FORMATS: [(&str, Reader); 3] = [
    ("rpmdb.sqlite", sqlite::headers),
    ("Packages.db", ndb::headers),
    ("Packages", berkeley::headers),
];
const SQLITE_LOG: &str = "rpmdb.sqlite-wal";

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
    name == SQLITE_LOG || FORMATS.iter().any(|(file, _)| *file == name)
}

/// Reads what was put aside, a directory for each of [`RPMDB`]. `exists` tells whether the image
/// has a file.
pub(super) fn read(
    exists: impl Fn(&str) -> bool,
    databases: &[Option<TempDir>; RPMDB.len()],
) -> Packages {
    let mut unreadable = Packages::Absent;
    for (dbpath, database) in RPMDB.iter().zip(databases) {
        let is_there = |name: &str| exists(&format!("{dbpath}/{name}"));
        // A link to the other directory has no files of its own.
        let Some((name, headers)) = FORMATS.iter().find(|(name, _)| is_there(name)) else {
            continue;
        };
        let file = database.as_ref().map(|directory| directory.path().join(name));
        let read = file
            .filter(|file| file.is_file())
            .context("it is not a file, or too large")
            .and_then(|file| headers(&file))
            .and_then(|headers| package::all(&headers.into_list()));
        let dbpath = (*dbpath).to_owned();
        match read {
            Ok((packages, keys)) => return Packages::Read { dbpath, packages, keys },
            Err(error) => {
                unreadable = Packages::Unreadable { dbpath, why: format!("{name}: {error:#}") };
            }
        }
    }
    unreadable
}
