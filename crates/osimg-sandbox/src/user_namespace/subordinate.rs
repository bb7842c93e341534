//! Subordinate ids: /etc/subuid, /etc/subgid and the words of newuidmap.

use nix::unistd::{Gid, Uid};

use crate::command::find_program;
use crate::error::{Context, Result};

/// One line of /etc/subuid, or of a map: ids from `first`, so many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    first: u64,
    count: u64,
}

/// The subordinate ids of the caller.
#[derive(Debug)]
pub struct SubordinateIds {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) uids: Vec<Extent>,
    pub(super) gids: Vec<Extent>,
}

impl SubordinateIds {
    /// The user's rows of /etc/subuid and /etc/subgid; `None` when there are none, or newuidmap is
    /// not there.
    ///
    /// # Errors
    /// When the files are there and cannot be read.
    pub fn find(uid: Uid, gid: Gid) -> Result<Option<Self>> {
        if find_program("newuidmap").is_none() || find_program("newgidmap").is_none() {
            return Ok(None);
        }
        // A user may have no name.
        let name = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
        let of = |path: &str| -> Result<Vec<Extent>> {
            match std::fs::read_to_string(path) {
                Ok(text) => Ok(extents(&text, name.as_deref(), uid)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error).with_context(|| format!("reading {path}")),
            }
        };
        let (uids, gids) = (of("/etc/subuid")?, of("/etc/subgid")?);
        Ok((!uids.is_empty() && !gids.is_empty()).then_some(Self { uid, gid, uids, gids }))
    }

    /// How many ids there will be, the caller's own among them.
    #[must_use]
    pub fn count(&self) -> u64 {
        let sum = |extents: &[Extent]| 1 + extents.iter().map(|extent| extent.count).sum::<u64>();
        sum(&self.uids).min(sum(&self.gids))
    }
}

/// The rows of a subordinate id file that belong to the user, by name or number; see subuid(5).
fn extents(text: &str, name: Option<&str>, uid: Uid) -> Vec<Extent> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let extent =
                Extent { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
            (extent.count > 0 && (Some(owner) == name || owner == number)).then_some(extent)
        })
        .collect()
}

/// The words after the process id for newuidmap: the caller is 0, its subordinate ids follow from
/// 1.
pub(super) fn words(own: u32, extents: &[Extent]) -> Vec<String> {
    let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next = 1;
    for extent in extents {
        words.extend([next, extent.first, extent.count].map(|n| n.to_string()));
        next += extent.count;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_are_found_by_name_and_by_number() {
        let text = "root:1:2\nann:100000:65536\n1001:500000:10\nbad:x:y\nann:0:0\nann:300000:5\n";
        let uid = Uid::from_raw(1001);
        let found = extents(text, Some("ann"), uid);
        assert_eq!(
            found.iter().map(|e| (e.first, e.count)).collect::<Vec<_>>(),
            [(100_000, 65_536), (500_000, 10), (300_000, 5)]
        );
        assert_eq!(words(1001, &found[..2]).join(" "), "0 1001 1 1 100000 65536 65537 500000 10");
        assert_eq!(extents(text, None, Uid::from_raw(7)), []);
    }
}
