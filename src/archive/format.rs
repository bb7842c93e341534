//! The formats of a tarball and the file names that promise them, and the compression levels.

use crate::error::{ExitCode, Failure, Result};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

/// How a tarball is compressed: one of the four formats that Anaconda's `liveimg` unpacks.
///
/// Anaconda tells a tarball from a disk image by the end of its URL alone, so a file's name has to
/// agree with its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Not compressed.
    Tar,
    /// gzip.
    Tgz,
    /// bzip2.
    Tbz,
    /// xz.
    Txz,
}

/// Suffixes by format; Anaconda compares them with regard to case, and so do we.
const SUFFIXES: [(&str, Format); 7] = [
    (".tar", Format::Tar),
    (".tgz", Format::Tgz),
    (".tar.gz", Format::Tgz),
    (".tbz", Format::Tbz),
    (".tar.bz2", Format::Tbz),
    (".txz", Format::Txz),
    (".tar.xz", Format::Txz),
];

impl Format {
    /// Every format, the least compressed first.
    pub const ALL: [Self; 4] = [Self::Tar, Self::Tgz, Self::Tbz, Self::Txz];

    /// The suffix of file names, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Tgz => "tgz",
            Self::Tbz => "tbz",
            Self::Txz => "txz",
        }
    }

    /// The format that a file's name promises.
    ///
    /// # Errors
    /// Fails when Anaconda would take a file of that name for a disk image.
    pub fn of_name(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str()).as_bytes();
        if let Some((_, format)) = SUFFIXES.iter().find(|(suffix, _)| name.ends_with(suffix.as_bytes())) {
            return Ok(*format);
        }
        let shown = path.display();
        if [".tzst", ".tar.zst", ".zst"].iter().any(|suffix| name.ends_with(suffix.as_bytes())) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("choosing a format for {shown}: Anaconda unpacks no zstd and would take the file for a disk image"),
            )
            .hint(hint())
            .into());
        }
        let lower = name.to_ascii_lowercase();
        if SUFFIXES.iter().any(|(suffix, _)| lower.ends_with(suffix.as_bytes())) {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("choosing a format for {shown}: the suffix has to be in lower case, or Anaconda takes the file for a disk image"),
            )
            .hint(hint())
            .into());
        }
        Err(Failure::new(
            ExitCode::Usage,
            format!("choosing a format for {shown}: no known suffix, so that Anaconda would take the file for a disk image"),
        )
        .hint(hint())
        .into())
    }
}

fn hint() -> String {
    let suffixes: Vec<&str> = SUFFIXES.iter().map(|(suffix, _)| *suffix).collect();
    format!("end the name in one of {}", suffixes.join(" "))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.extension())
    }
}

impl FromStr for Format {
    type Err = anyhow::Error;

    /// Takes `tgz`, and as well `.tgz` or `tar.gz`.
    fn from_str(text: &str) -> Result<Self> {
        let dotted = format!(".{}", text.strip_prefix('.').unwrap_or(text));
        match SUFFIXES.iter().find(|(suffix, _)| *suffix == dotted) {
            Some((_, format)) => Ok(*format),
            None => Self::of_name(Path::new(OsStr::new(&dotted))),
        }
    }
}

impl serde::Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.extension())
    }
}

impl<'de> serde::Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(|e: anyhow::Error| serde::de::Error::custom(crate::error::render(&e)))
    }
}

/// How hard a compressor tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// The least CPU time.
    Fast,
    /// Of an OS tree no larger than the usual tool makes it at its own default.
    #[default]
    Default,
    /// The smallest.
    Best,
    /// The compressor's own number: 0 to 12 for tgz, 1 to 9 for tbz, 0 to 9 for txz; without
    /// meaning for tar.
    Exact(u32),
}

impl Level {
    /// The compressor's own number for `format`.
    ///
    /// # Errors
    /// Fails when an exact level is out of the format's range.
    pub fn number(self, format: Format) -> Result<u32> {
        let (range, fast, default, best) = match format {
            Format::Tar => return Ok(0),
            Format::Tgz => (0..=12, 1, 5, 12),
            Format::Tbz => (1..=9, 1, 9, 9),
            // Level 6 searches half as long again for a fortieth less.
            Format::Txz => (0..=9, 0, 5, 9),
        };
        match self {
            Self::Fast => Ok(fast),
            Self::Default => Ok(default),
            Self::Best => Ok(best),
            Self::Exact(number) if range.contains(&number) => Ok(number),
            Self::Exact(number) => {
                Err(Failure::new(ExitCode::Usage, format!("setting compression level {number} for {format}: no such level"))
                    .hint(format!("the levels of {format} are {} to {}, fast, default and best", range.start(), range.end()))
                    .into())
            }
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fast => f.pad("fast"),
            Self::Default => f.pad("default"),
            Self::Best => f.pad("best"),
            Self::Exact(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for Level {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "fast" => Self::Fast,
            "default" => Self::Default,
            "best" => Self::Best,
            number => Self::Exact(number.parse().map_err(|_| {
                Failure::new(ExitCode::Usage, format!("reading compression level `{number}`: neither a number nor fast, default or best"))
            })?),
        })
    }
}

impl serde::Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(number) => serializer.serialize_u32(*number),
            Self::Fast | Self::Default | Self::Best => serializer.collect_str(self),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Level {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self::Exact(number)),
            Written::Word(word) => word.parse().map_err(|e: anyhow::Error| serde::de::Error::custom(crate::error::render(&e))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_promises_its_format() {
        for (name, format) in [
            ("a.tar", Format::Tar),
            ("/x/a-1.0.tgz", Format::Tgz),
            ("a.tar.gz", Format::Tgz),
            ("a.tbz", Format::Tbz),
            ("a.tar.bz2", Format::Tbz),
            ("a.txz", Format::Txz),
            ("a.tar.xz", Format::Txz),
        ] {
            assert_eq!(Format::of_name(Path::new(name)).unwrap(), format, "{name}");
        }
    }

    #[test]
    fn names_that_anaconda_takes_for_a_disk_image_are_refused_with_the_reason() {
        let refused = |name: &str| crate::error::render(&Format::of_name(Path::new(name)).unwrap_err());
        for name in ["a.tzst", "a.tar.zst", "a.zst"] {
            assert!(refused(name).contains("disk image"), "{name}");
        }
        assert!(refused("a.TGZ").contains("lower case"));
        assert!(refused("a.gz").contains(".tar.gz"));
        assert!(refused("atgz").contains("no known suffix"));
        assert!(refused("a.tgz?signature=1").contains("no known suffix"));
    }

    #[test]
    fn formats_and_levels_are_read_as_they_are_written() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
            assert_eq!(serde_json::from_str::<Format>(&serde_json::to_string(&format).unwrap()).unwrap(), format);
        }
        assert_eq!("tar.bz2".parse::<Format>().unwrap(), Format::Tbz);
        assert!("zip".parse::<Format>().is_err());
        for level in [Level::Fast, Level::Default, Level::Best, Level::Exact(3)] {
            assert_eq!(level.to_string().parse::<Level>().unwrap(), level);
            assert_eq!(serde_json::from_str::<Level>(&serde_json::to_string(&level).unwrap()).unwrap(), level);
        }
        assert!("slow".parse::<Level>().is_err());
    }

    #[test]
    fn an_exact_level_has_to_be_in_the_formats_range() {
        assert_eq!(Level::Exact(12).number(Format::Tgz).unwrap(), 12);
        assert!(Level::Exact(0).number(Format::Tbz).is_err());
        assert!(Level::Exact(10).number(Format::Txz).is_err());
        assert_eq!(Level::Exact(99).number(Format::Tar).unwrap(), 0);
    }
}
