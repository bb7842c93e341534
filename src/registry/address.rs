//! Where a registry is, as `--registry` and `url` under `[registry]` take it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::archive::{Format, ImageFormat};
use crate::error::{ExitCode, Failure};

/// Where a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `dir:PATH`: a directory, the embedded default.
    Directory(PathBuf),
    /// `glance:CLOUD`: a cloud of clouds.yaml; `glance:` without a name takes `OS_CLOUD`, else the
    /// other `OS_*` variables.
    Glance(Option<String>),
    /// `tree:PATH` or `tree:PATH=URL`: a directory that a web server gives out, under that URL.
    Tree(PathBuf, Option<String>),
    /// `oci:REFERENCE`: a repository of an OCI registry, such as
    /// `registry.example/os/baremetal:10`.
    Oci(String),
    /// `oci-image:REFERENCE`: container images in a repository of an OCI registry.
    OciImage(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| Err(format!("'{}' is not a registry: {why}", text.escape_debug()));
        if text.chars().any(char::is_control) {
            return wrong("it has control characters");
        }
        match text.split_once(':') {
            Some(("dir", "")) => wrong("write dir:PATH"),
            Some(("dir", path)) => Ok(Self::Directory(path.into())),
            Some(("tree", text)) => match text.split_once('=') {
                Some(("", _)) => wrong("write tree:PATH=URL"),
                Some((path, url)) => Ok(Self::Tree(path.into(), Some(url.to_owned()))),
                None if text.is_empty() => wrong("write tree:PATH or tree:PATH=URL"),
                None => Ok(Self::Tree(text.into(), None)),
            },
            Some(("glance", "")) => Ok(Self::Glance(None)),
            Some(("glance", cloud)) => Ok(Self::Glance(Some(cloud.to_owned()))),
            Some(("oci", "")) => wrong("write oci:HOST/NAME:TAG"),
            Some(("oci", reference)) => {
                Ok(Self::Oci(reference.trim_start_matches("//").to_owned()))
            }
            Some(("oci-image", "")) => wrong("write oci-image:HOST/NAME:TAG"),
            Some(("oci-image", reference)) => {
                Ok(Self::OciImage(reference.trim_start_matches("//").to_owned()))
            }
            _ => wrong(
                "write dir:PATH, tree:PATH=URL, glance:CLOUD, oci:REFERENCE or oci-image:REFERENCE",
            ),
        }
    }
}

impl Address {
    /// Refuses a format that nodes cannot be installed with from this registry.
    ///
    /// # Errors
    /// [`ExitCode::Usage`] for a squashfs or container image in Glance or an OCI registry.
    pub(crate) fn check_format(&self, format: ImageFormat) -> Result<(), Failure> {
        match (self, format) {
            // Ironic accepts only tarballs' suffixes as `disk_file_extension`.
            (Self::Glance(_) | Self::Oci(_), ImageFormat::Img | ImageFormat::Oci) => {
                let what = if format == ImageFormat::Img { "squashfs" } else { "container" };
                Err(Failure::new(
                    ExitCode::Usage,
                    format!("publishing to {self}: Ironic installs no {what} image from there"),
                )
                .hint(format!(
                    "publish a tarball there, and the {format} to dir:PATH or tree:PATH"
                )))
            }
            (Self::OciImage(_), format) if format != ImageFormat::Tarball(Format::Tgz) => {
                Err(Failure::new(
                    ExitCode::Usage,
                    format!("publishing to {self}: the layer of a container image is a tgz"),
                )
                .hint("publish a tgz there: --format tgz"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Tree(path, None) => write!(f, "tree:{}", path.display()),
            Self::Tree(path, Some(url)) => write!(f, "tree:{}={url}", path.display()),
            Self::Glance(cloud) => write!(f, "glance:{}", cloud.as_deref().unwrap_or_default()),
            Self::Oci(reference) => write!(f, "oci:{reference}"),
            Self::OciImage(reference) => write!(f, "oci-image:{reference}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in [
            "dir:out",
            "tree:/srv/www",
            "tree:/srv/www=https://m.example/os",
            "dir:/srv/images",
            "glance:",
            "glance:my-cloud",
            "oci:127.0.0.1:5000/os/image:10",
            "oci-image:127.0.0.1:5000/os/image:10",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
        assert_eq!("oci://r.example/a:1".parse(), Ok(Address::Oci("r.example/a:1".into())));
    }

    #[test]
    fn what_is_no_address_is_told_with_the_forms() {
        for text in [
            "",
            "out",
            "dir:",
            "tree:",
            "tree:=http://x",
            "oci:",
            "oci-image:",
            "http://x",
            "glance",
        ] {
            assert!(text.parse::<Address>().expect_err(text).contains("write"), "{text}");
        }
        let error = "glance:a\u{1b}[2Jb".parse::<Address>().expect_err("a control character");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}
