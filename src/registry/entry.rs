//! The images that a registry lists.

use serde::{Deserialize, Serialize};

use crate::set::Role;

/// How far an entry of a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The newest of its name: what a deployment should use.
    Current,
    /// There is a newer one.
    Older,
    /// A publisher was killed in the middle, or is still at work.
    Unfinished,
}

/// An image that a registry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The image's name, without its version.
    pub name: String,
    /// Its version, if it has one.
    pub version: String,
    /// Its architecture, if it is known; versions of different architectures do not count against
    /// each other.
    pub arch: Option<String>,
    /// The suffix of its tarball, with the dot; versions of one name are compared among equal
    /// suffixes.
    pub extension: String,
    /// The registry's name for its tarball.
    pub id: String,
    /// When it was made: RFC 3339, in UTC.
    pub created: String,
    /// The tarball's size in bytes, when it is known.
    pub size: Option<u64>,
    /// The tarball's SHA-512, when it is known.
    pub sha512: Option<String>,
    /// Whether it is the newest of its name.
    pub state: State,
    /// Who may see it, in the registry's words; `hidden` among them.
    pub visibility: Option<String>,
    /// The id of the project that owns it, where the registry has projects.
    pub owner: Option<String>,
    /// Whether it is the own project's; always where the registry has no projects.
    pub own: bool,
    /// Its boot pieces and kickstart: role and id.
    pub pieces: Vec<(Role, String)>,
    /// Every file of its version that is there, as the registry names it.
    pub files: Vec<String>,
}
