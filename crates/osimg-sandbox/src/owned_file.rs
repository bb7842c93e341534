//! A file with the owners that a run gave it.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;

/// A file of the install root with the owners that a run gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedFile {
    /// Its path inside the install root, absolute, without links.
    #[serde(with = "bytes_as_text")]
    pub path: OsString,
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

/// A path of any bytes in JSON: each byte as the character of its number.
mod bytes_as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    pub(super) fn serialize<S: Serializer>(path: &OsString, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&path.as_bytes().iter().copied().map(char::from).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OsString, D::Error> {
        let bytes = String::deserialize(from)?.chars().map(u8::try_from).collect::<Result<_, _>>();
        bytes.map(OsString::from_vec).map_err(de::Error::custom)
    }
}
