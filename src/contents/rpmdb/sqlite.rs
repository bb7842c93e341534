//! The rpmdb as an SQLite file: the packages' headers out of its one table that matters.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

use super::headers::Headers;
use crate::error::Result;
use anyhow::{Context, bail, ensure};

/// The headers in the database, which is a copy of the image's: a log beside it is worked in.
pub(super) fn headers(file: &Path) -> Result<Headers> {
    // A copy, so that it may be written to: else a log could not be worked in.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).context("opening the database")?;
    // Nothing in a schema that a stranger wrote is to run.
    connection.pragma_update(None, "trusted_schema", false).context("opening the database")?;
    connection.pragma_update(None, "cell_size_check", true).context("opening the database")?;
    let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'Packages' \
                  AND sql NOT LIKE '%generated%' AND sql NOT LIKE '% AS %'";
    let found: i64 =
        connection.query_row(tables, [], |row| row.get(0)).context("looking for the packages")?;
    ensure!(found == 1, "it has no table of packages");
    let mut query =
        connection.prepare("SELECT hnum, blob FROM Packages").context("reading the packages")?;
    let mut rows = query.query([]).context("reading the packages")?;
    let mut headers = Headers::default();
    while let Some(row) = rows.next().context("reading the packages")? {
        let ValueRef::Blob(blob) = row.get_ref(1).context("reading a package")? else {
            bail!("a package is no blob")
        };
        headers.push(row.get(0).context("reading a package's number")?, blob.to_vec())?;
    }
    Ok(headers)
}
