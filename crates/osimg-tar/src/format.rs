//! The formats of a tarball, the suffixes of their file names, and the compression levels.

use crate::error::{Error, NameProblem, Reason, Result};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

/// The compression of a tarball: one of the four formats that Anaconda's `liveimg` unpacks.
///
/// Anaconda distinguishes a tarball from a disk image only by the end of its URL, so a file's name
/// has to agree with its format.
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

/// The formats by the suffixes of tarballs' names.
const BY_SUFFIX: [(&str, Format); 7] = [
    (".tar", Format::Tar),
    (".tgz", Format::Tgz),
    (".tar.gz", Format::Tgz),
    (".tbz", Format::Tbz),
    (".tar.bz2", Format::Tbz),
    (".txz", Format::Txz),
    (".tar.xz", Format::Txz),
];

/// The suffixes of tarballs' names, with the dot. Anaconda compares them with regard to case, and
/// so does this library.
pub const SUFFIXES: [&str; 7] = {
    let [(a, _), (b, _), (c, _), (d, _), (e, _), (f, _), (g, _)] = BY_SUFFIX;
    [a, b, c, d, e, f, g]
};

/// Suffixes of a compression that Anaconda does not unpack.
const ZSTD: [&str; 3] = [".tzst", ".tar.zst", ".zst"];

/// The suffix of a tarball's name or URL: one of [`SUFFIXES`].
#[must_use]
pub fn suffix(name: &str) -> Option<&'static str> {
    SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix))
}

/// A tarball's name without its suffix; `None` if it has none of [`SUFFIXES`].
#[must_use]
pub fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(suffix(name)?)
}

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

    /// The format that belongs to a file's name.
    ///
    /// # Errors
    /// [`Reason::Name`] when Anaconda would take a file of that name for a disk image.
    pub fn from_name(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str()).as_bytes();
        if let Some((_, format)) =
            BY_SUFFIX.iter().find(|(suffix, _)| name.ends_with(suffix.as_bytes()))
        {
            return Ok(*format);
        }
        let lower = name.to_ascii_lowercase();
        let why = if ZSTD.iter().any(|suffix| name.ends_with(suffix.as_bytes())) {
            NameProblem::Zstd
        } else if SUFFIXES.iter().any(|suffix| lower.ends_with(suffix.as_bytes())) {
            NameProblem::Capitals
        } else {
            NameProblem::Unknown
        };
        Err(Reason::Name { name: path.to_owned(), why }.into())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.extension())
    }
}

impl FromStr for Format {
    type Err = Error;

    /// Accepts `tgz`, `.tgz` and `tar.gz`.
    fn from_str(text: &str) -> Result<Self> {
        let dotted = format!(".{}", text.strip_prefix('.').unwrap_or(text));
        match BY_SUFFIX.iter().find(|(suffix, _)| *suffix == dotted) {
            Some((_, format)) => Ok(*format),
            None => Self::from_name(Path::new(OsStr::new(&dotted))),
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
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The effort of a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// The least CPU time.
    Fast,
    /// Results of the size that the usual tool has at its own default, or smaller.
    #[default]
    Default,
    /// The smallest.
    Best,
    /// The compressor's own number: 0 to 12 for tgz, 1 to 9 for tbz, 0 to 9 for txz; ignored for
    /// tar.
    Exact(u32),
}

/// The highest number of any format.
const HIGHEST: u32 = 12;

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
            Self::Exact(level) => {
                Err(Reason::Level { level, format: format.extension(), range }.into())
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
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "fast" => Self::Fast,
            "default" => Self::Default,
            "best" => Self::Best,
            number => {
                let level = number.parse().ok().filter(|level| *level <= HIGHEST);
                Self::Exact(level.ok_or_else(|| Reason::LevelText(number.to_owned()))?)
            }
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
            Written::Word(word) => word.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_has_its_format() {
        for (suffix_text, format) in BY_SUFFIX {
            let name = format!("/x/a-1.0{suffix_text}");
            assert_eq!(Format::from_name(Path::new(&name)).unwrap(), format);
            assert_eq!((suffix(&name), stem(&name)), (Some(suffix_text), Some("/x/a-1.0")));
            assert_eq!(format!(".{}", format.extension()).parse::<Format>().unwrap(), format);
        }
        assert_eq!((suffix("a.gz"), stem("tgz")), (None, None));
    }

    #[test]
    fn a_name_that_anaconda_takes_for_a_disk_image_is_refused() {
        let refused = |name: &str| Format::from_name(Path::new(name)).unwrap_err().to_string();
        for name in ["a.tzst", "a.tar.zst", "a.zst"] {
            assert!(refused(name).contains("does not unpack zstd"), "{name}");
        }
        assert!(refused("a.TGZ").contains("lower case"));
        for name in ["a.gz", "atgz", "a.tgz?signature=1"] {
            assert_eq!(
                refused(name),
                format!("cannot tell the archive format from the name `{name}`")
            );
        }
    }

    #[test]
    fn formats_and_levels_are_read_as_they_are_written() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
            assert_eq!(
                serde_json::from_str::<Format>(&serde_json::to_string(&format).unwrap()).unwrap(),
                format
            );
        }
        assert_eq!("tar.bz2".parse::<Format>().unwrap(), Format::Tbz);
        assert!("zip".parse::<Format>().is_err());
        for level in [Level::Fast, Level::Default, Level::Best, Level::Exact(3)] {
            assert_eq!(level.to_string().parse::<Level>().unwrap(), level);
            assert_eq!(
                serde_json::from_str::<Level>(&serde_json::to_string(&level).unwrap()).unwrap(),
                level
            );
        }
        assert!("slow".parse::<Level>().is_err());
    }

    #[test]
    fn an_exact_level_is_in_the_formats_range() {
        assert_eq!(Level::Exact(12).number(Format::Tgz).unwrap(), 12);
        assert!(Level::Exact(0).number(Format::Tbz).is_err());
        assert!(Level::Exact(10).number(Format::Txz).is_err());
        assert_eq!(Level::Exact(99).number(Format::Tar).unwrap(), 0);
    }
}
