//! The owners of the tree's files, if the build's user owns them all: from the packages' headers
//! and the settings.

use std::collections::HashMap;
use std::path::Path;

use crate::archive::Owners;
use crate::error::Result;
use crate::packages::{KnownOwners, PackagedFile};
use crate::report::Report;
use crate::sandbox::{InstallRoot, OwnedFile};

/// Accounts by name, from a passwd-like file of the image: the id is its third field.
fn accounts(root: &InstallRoot, file: &str) -> Result<HashMap<String, u32>> {
    let text = root.read(Path::new(file), 16 << 20)?.unwrap_or_default();
    let mut ids = HashMap::from([("root".to_owned(), 0)]);
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) =
            (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()))
        {
            ids.entry(name.to_owned()).or_insert(id);
        }
    }
    Ok(ids)
}

/// The owners of every file that is not root's own.
///
/// # Errors
/// When the tree cannot be read.
pub(super) fn owners(
    root: &InstallRoot,
    known: &KnownOwners,
    customised: Option<&[OwnedFile]>,
    report: &Report,
) -> Result<Owners> {
    let mut owners = match known {
        // Customising began with what was given, and knows what became of it.
        KnownOwners::Given(given) => from_given(root, customised.unwrap_or(given))?,
        KnownOwners::Packaged(files) => {
            let mut owners = from_packages(root, files, report)?;
            owners.extend(from_given(root, customised.unwrap_or_default())?);
            owners
        }
    };
    owners.retain(|_, ids| *ids != (0, 0));
    Ok(owners)
}

/// As the runs gave them away.
fn from_given(root: &InstallRoot, given: &[OwnedFile]) -> Result<Owners> {
    let mut owners = Owners::new();
    for file in given {
        if let Some(inode) = root.inode(Path::new(&file.path))? {
            owners.insert(inode, (file.uid, file.gid));
        }
    }
    Ok(owners)
}

/// As the packages' headers say.
fn from_packages(root: &InstallRoot, packaged: &[PackagedFile], report: &Report) -> Result<Owners> {
    let (users, groups) = (accounts(root, "etc/passwd")?, accounts(root, "etc/group")?);
    let mut owners = Owners::new();
    let mut unknown: Vec<&str> = Vec::new();
    for file in packaged {
        let id = |ids: &HashMap<String, u32>, name: &str| ids.get(name).copied();
        let (uid, gid) = (id(&users, &file.user), id(&groups, &file.group));
        if uid.is_none() {
            unknown.push(&file.user);
        }
        if gid.is_none() {
            unknown.push(&file.group);
        }
        if let Some(inode) = root.inode(Path::new(&file.path))? {
            // As rpm does with names that the image does not know.
            owners.insert(inode, (uid.unwrap_or(0), gid.unwrap_or(0)));
        }
    }
    unknown.sort_unstable();
    unknown.dedup();
    if !unknown.is_empty() {
        report.warn(&format!(
            "packages give files to accounts that the image does not have; root has them: {}",
            unknown.join(", ")
        ));
    }
    Ok(owners)
}
