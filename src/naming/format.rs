//! The formats of an image's main file, and the suffixes of their names.

use osimg_tar::{Error, Format, Level};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The format of the file that a tree is packed into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImageFormat {
    /// A tarball.
    Tarball(Format),
    /// A squashfs image. Anaconda mounts a file with any name that is not a tarball's.
    Img,
    /// A container image whose one layer is the tgz: an OCI layout in a tar.
    Oci,
}

/// Suffixes of boot pieces that end as an image's does.
pub(crate) const RAMDISK: &str = ".initrd.img";
pub(crate) const STAGE2: &str = ".stage2.img";
/// The suffix of a squashfs image.
const IMG: &str = ".img";
/// The suffix of a container image.
const OCI: &str = ".oci";

/// The suffixes of all formats, with the dot.
pub(crate) const SUFFIXES: [&str; 9] = {
    let [a, b, c, d, e, f, g] = osimg_tar::SUFFIXES;
    [a, b, c, d, e, f, g, IMG, OCI]
};

/// The suffix of an image file's name: one of [`SUFFIXES`]. Boot pieces are not images.
pub(crate) fn suffix(name: &str) -> Option<&'static str> {
    if [RAMDISK, STAGE2].iter().any(|piece| name.ends_with(piece)) {
        return None;
    }
    SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix))
}

/// An image file's name without its suffix; `None` if it has none of [`SUFFIXES`].
pub(crate) fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(suffix(name)?)
}

impl ImageFormat {
    /// The suffix of file names, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Tarball(format) => format.extension(),
            Self::Img => IMG.trim_start_matches('.'),
            Self::Oci => OCI.trim_start_matches('.'),
        }
    }

    /// The format that belongs to a file's name.
    ///
    /// # Errors
    /// When the name has the suffix of no format.
    pub(crate) fn from_name(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        match suffix(&name) {
            Some(IMG) => Ok(Self::Img),
            Some(OCI) => Ok(Self::Oci),
            _ => Format::from_name(path).map(Self::Tarball),
        }
    }

    /// The compressor's own number for a level; 0 of a format without numbers.
    ///
    /// # Errors
    /// When an exact level is out of the format's range.
    pub fn level(self, level: Level) -> Result<u32, Error> {
        match self {
            Self::Tarball(format) => level.number(format),
            Self::Img => Ok(0),
            Self::Oci => level.number(Format::Tgz),
        }
    }
}

impl From<Format> for ImageFormat {
    fn from(format: Format) -> Self {
        Self::Tarball(format)
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.extension())
    }
}

impl FromStr for ImageFormat {
    type Err = Error;

    /// Accepts `tgz`, `.tgz`, `tar.gz`, `img` and `oci`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = text.strip_prefix('.').unwrap_or(text);
        match [Self::Img, Self::Oci].into_iter().find(|format| format.extension() == plain) {
            Some(format) => Ok(format),
            None => text.parse().map(Self::Tarball),
        }
    }
}

impl serde::Serialize for ImageFormat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.extension())
    }
}

impl<'de> serde::Deserialize<'de> for ImageFormat {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_has_its_format_and_boot_pieces_have_none() {
        for own in SUFFIXES {
            let name = format!("os-1.0{own}");
            let format = ImageFormat::from_name(Path::new(&name)).unwrap();
            assert_eq!((suffix(&name), stem(&name)), (Some(own), Some("os-1.0")));
            assert_eq!(format.to_string().parse::<ImageFormat>().unwrap(), format);
        }
        for piece in [RAMDISK, STAGE2] {
            let name = format!("os-1{piece}");
            assert_eq!(suffix(&name), None);
            assert!(ImageFormat::from_name(Path::new(&name)).is_err(), "{name}");
        }
    }
}
