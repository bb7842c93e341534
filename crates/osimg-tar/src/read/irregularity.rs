//! Things that are not right about an archive.

use std::fmt;

/// Something that is not right about an archive although it can be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Irregularity {
    /// A second member of a name.
    Duplicate,
    /// A name or a hard link's target with `..` in it.
    Upwards,
    /// A name or a hard link's target that begins with `/`.
    Absolute,
    /// A hard link to a name that no member before it has.
    Dangling,
    /// The two records of the SELinux label differ.
    Labels,
    /// A header that says something follows although nothing of its type does.
    Size,
    /// A volume label, which is not a member.
    Volume,
    /// Bytes other than zeros behind the end of the archive.
    Trailing,
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Duplicate => "a second member of this name",
            Self::Upwards => "a name with .. in it",
            Self::Absolute => "an absolute name",
            Self::Dangling => "a hard link to a name that no member before it has",
            Self::Labels => "two SELinux labels that differ",
            Self::Size => "a size although no content belongs to its type",
            Self::Volume => "a volume label",
            Self::Trailing => "something behind the end of the archive",
        })
    }
}
