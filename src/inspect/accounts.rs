//! The image's users, and which of them can log in.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

use crate::contents::Contents;

/// A user of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    /// Name.
    pub name: String,
    /// Number.
    pub uid: u64,
    /// Number of the group.
    pub gid: u64,
    /// Home directory.
    pub home: String,
    /// Shell.
    pub shell: String,
    /// `set`, `empty` (no password is required), `locked`, or `unknown`.
    pub password: String,
    /// The number of SSH keys that allow logging in as this user.
    pub ssh_keys: usize,
    /// Whether the shell allows logging in.
    pub login: bool,
}

pub(super) fn users(contents: &Contents) -> Vec<User> {
    let shadow: BTreeMap<String, String> = lines(contents, "etc/shadow")
        .into_iter()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        })
        .collect();
    let mut seen = BTreeSet::new();
    lines(contents, "etc/passwd")
        .into_iter()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, password, uid, gid, _, home, shell] = fields.as_slice() else { return None };
            let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
            if !seen.insert((*name).to_owned()) {
                return None;
            }
            let hash = if *password == "x" {
                shadow.get(*name).map(String::as_str)
            } else {
                Some(*password)
            };
            let keys = format!("{}/.ssh/authorized_keys", home.trim_start_matches('/'));
            Some(User {
                name: (*name).to_owned(),
                uid,
                gid,
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
                password: state(hash).to_owned(),
                ssh_keys: key_lines(contents, &keys),
                login: !shell.ends_with("nologin")
                    && !shell.ends_with("/false")
                    && !shell.ends_with("/sync")
                    && !shell.is_empty(),
            })
        })
        .collect()
}

/// The meaning of the second field in a line of shadow; see shadow(5).
fn state(hash: Option<&str>) -> &'static str {
    match hash {
        None => "unknown",
        Some("") => "empty",
        Some(hash) if hash.starts_with(['!', '*']) => "locked",
        // A value without a salt is not a hash, so no password matches.
        Some(hash) if hash.len() < 13 => "locked",
        Some(_) => "set",
    }
}

/// The number of keys in an authorized_keys file.
pub(super) fn key_lines(contents: &Contents, path: &str) -> usize {
    lines(contents, path)
        .iter()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .count()
}

pub(super) fn lines(contents: &Contents, path: &str) -> Vec<String> {
    String::from_utf8_lossy(contents.file(path).unwrap_or_default())
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::state;

    #[test]
    fn a_line_of_shadow_shows_whether_a_password_is_set() {
        assert_eq!(state(Some("!!")), "locked");
        assert_eq!(state(Some("*")), "locked");
        assert_eq!(state(Some("!$6$salt$hash")), "locked");
        assert_eq!(state(Some("")), "empty");
        assert_eq!(state(Some("$6$salt$hashhashhash")), "set");
        assert_eq!(state(None), "unknown");
    }
}
