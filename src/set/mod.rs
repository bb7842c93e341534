//! A published set: the tarball, the files that the installer boots with, and the manifest.
//!
//! [`Set`] is what a registry is given, [`References`] what it answers. The manifest is written by
//! [`manifest`] and, once it is published, extended by [`manifest_text`].

mod kept;
pub(crate) mod manifest;
pub(crate) mod manifest_text;
mod names;
mod piece;
mod references;
pub(crate) mod version;

pub(crate) use kept::Kept;
pub(crate) use names::{
    EXTENSIONS, Neighbour, Place, check_names, extension_of, latest, same_arch, stem, version_order,
};
pub use piece::{Piece, Role};
pub(crate) use references::{Kind, Reference};
pub use references::{Made, References};
pub(crate) use version::{PublishedFile, PublishedVersion};

use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::archive::{self, Format, ImageFormat, oci};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::naming;
use crate::process;

/// No manifest is larger.
pub(crate) const LARGEST_MANIFEST: u64 = 256 << 20;

/// An OS tarball with its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsTarball {
    /// The file.
    pub piece: Piece,
    /// How it is compressed.
    pub format: ImageFormat,
    /// Its file name's suffix with the dot, as Ironic's `disk_file_extension` wants it.
    pub extension: &'static str,
}

/// The files that are published together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The image's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The image's architecture, as rpm names it.
    pub arch: Option<String>,
    /// The distribution: `ID` of os-release.
    pub os_distro: Option<String>,
    /// Its version: `VERSION_ID` of os-release.
    pub os_version: Option<String>,
    /// Further properties for the image.
    pub properties: BTreeMap<String, String>,
    /// SHA-256 of the tarball before compression, where its manifest records it: tarballs with the
    /// same one are of the same tree.
    pub tree: Option<String>,
    /// Seconds since 1970 that the image's files are dated by, where its manifest records it.
    pub source_date_epoch: Option<i64>,
    /// The OS tarball.
    pub tarball: OsTarball,
    /// The installer's kernel.
    pub kernel: Option<Piece>,
    /// The installer's initramfs.
    pub ramdisk: Option<Piece>,
    /// The installer's second stage.
    pub stage2: Option<Piece>,
    /// The kickstart template.
    pub kickstart: Option<Piece>,
    /// The manifest next to the tarball, if it describes this tarball.
    pub manifest: Option<Piece>,
    /// Bills of materials, provenance, reports and signatures next to the tarball and its manifest.
    pub documents: Vec<Piece>,
}

/// The fields of a manifest that publishing needs.
#[derive(Debug, Deserialize)]
struct ManifestPart {
    name: String,
    version: String,
    arch: Option<String>,
    source_date_epoch: Option<i64>,
    #[serde(default)]
    os_release: BTreeMap<String, String>,
    tarballs: Vec<manifest::Tarball>,
    archive: Option<ArchivePart>,
}

#[derive(Debug, Deserialize)]
struct ArchivePart {
    sha256: Option<String>,
}

impl Set {
    /// A set of only a tarball: hashed, compared with the manifest next to it (if there is one),
    /// its first bytes with its suffix.
    ///
    /// `progress` gets the bytes hashed so far and the size.
    ///
    /// # Errors
    /// When it cannot be read, or does not match its suffix or its manifest.
    pub fn from_tarball(path: &Path, progress: impl FnMut(u64, u64)) -> Result<Self> {
        let format = ImageFormat::from_name(path)?;
        let file_name =
            path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = naming::suffix(&file_name)
            .with_context(|| format!("choosing a suffix for {}", path.display()))?;
        let stem = file_name.strip_suffix(extension).unwrap_or(&file_name).to_owned();
        check_magic(path, format)?;
        let piece = Piece::from_file(path, progress)?;
        let (stem, arch) = match stem.rsplit_once('.') {
            Some((stem, arch)) if naming::ARCHITECTURES.contains(&arch) => {
                (stem.to_owned(), Some(arch.to_owned()))
            }
            _ => (stem, None),
        };
        let (name, version) = match stem.rsplit_once('-') {
            Some((name, version))
                if !name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                (name, version)
            }
            _ => (stem.as_str(), ""),
        };
        let mut set = Self {
            name: name.to_owned(),
            version: version.to_owned(),
            arch,
            os_distro: None,
            os_version: None,
            properties: BTreeMap::new(),
            tree: None,
            source_date_epoch: None,
            tarball: OsTarball { piece, format, extension },
            kernel: None,
            ramdisk: None,
            stage2: None,
            kickstart: None,
            manifest: None,
            documents: Vec::new(),
        };
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let real_name =
            real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest_path = real.with_file_name(naming::manifest(
            real_name.strip_suffix(extension).unwrap_or(&real_name),
        ));
        let real_stem = real_name.strip_suffix(extension).unwrap_or(&real_name);
        check_neighbours(&real, real_stem)?;
        if manifest_path.exists() {
            set.adopt(&manifest_path, &real_name)?;
        }
        Ok(set)
    }

    /// Takes name, version and properties from a manifest, if it is osimg's and describes this
    /// tarball.
    fn adopt(&mut self, path: &Path, file_name: &str) -> Result<()> {
        let text = files::read(path, LARGEST_MANIFEST)
            .with_context(|| format!("reading the manifest {}", path.display()))?;
        let Ok(known) = serde_json::from_slice::<ManifestPart>(&text) else { return Ok(()) };
        let Some(recorded) = known.tarballs.iter().find(|tarball| tarball.file == file_name) else {
            return Ok(());
        };
        let have = &self.tarball.piece;
        if (recorded.bytes, &recorded.sha512) != (have.size, &have.sha512) {
            return Err(Failure::new(
                ExitCode::Trust,
                format!(
                    "comparing {} with its manifest {}: the digests differ",
                    have.path.display(),
                    path.display()
                ),
            )
            .hint(
                "it was altered after it was built, or the manifest is of another build: build it \
                 again, or take the manifest away",
            )
            .into());
        }
        self.name = known.name;
        self.version = known.version;
        self.arch = known.arch.or(self.arch.take());
        self.source_date_epoch = known.source_date_epoch;
        self.tree = known.archive.and_then(|archive| archive.sha256);
        self.os_distro = known.os_release.get("ID").cloned();
        self.os_version = known.os_release.get("VERSION_ID").cloned();
        self.manifest = Some(Piece::from_file(path, |_, _| {})?);
        let stem = file_name.strip_suffix(self.tarball.extension).unwrap_or(file_name);
        let names = naming::documents(stem).into_iter().chain(naming::signatures(file_name));
        for document in names.map(|name| path.with_file_name(name)) {
            if document.symlink_metadata().is_ok_and(|found| found.is_file()) {
                self.documents.push(Piece::from_file(&document, |_, _| {})?);
            }
        }
        Ok(())
    }

    /// The documents with their file names in a place where all names begin with `stem`. They name
    /// their tarball, so those of another name are left out.
    pub(crate) fn documents_of(&self, stem: &str) -> Vec<(String, &Piece)> {
        let named = self.documents.iter().filter_map(|piece| {
            let name = piece.path.file_name()?.to_str()?;
            naming::belongs(name, stem).then(|| (name.to_owned(), piece))
        });
        named.collect()
    }

    /// SHA-256 of the tarball before compression: recorded, else read from it; nothing of one that
    /// cannot be unpacked.
    ///
    /// # Errors
    /// When a signal asks to stop.
    pub fn tree(&self) -> Result<Option<String>> {
        if self.tree.is_some() {
            return Ok(self.tree.clone());
        }
        let digest = archive::read::digest(self.tarball.piece.open()?, &process::check_stop);
        process::check_stop()?;
        Ok(digest.ok())
    }

    /// The piece of a role, if the set has it.
    #[must_use]
    pub fn piece(&self, role: Role) -> Option<&Piece> {
        match role {
            Role::Kernel => self.kernel.as_ref(),
            Role::Ramdisk => self.ramdisk.as_ref(),
            Role::Stage2 => self.stage2.as_ref(),
            Role::Kickstart => self.kickstart.as_ref(),
            Role::Tarball => Some(&self.tarball.piece),
        }
    }

    /// `NAME-VERSION`, or only the name.
    #[must_use]
    pub fn stem(&self) -> String {
        stem(&self.name, &self.version)
    }

    /// Checks what is common to all registries: names that can be written down, boot pieces that
    /// belong together.
    ///
    /// # Errors
    /// Names the part that does not do.
    pub fn check(&self) -> Result<()> {
        self.check_name()?;
        match (&self.kernel, &self.ramdisk) {
            (Some(_), None) => Err(missing("a kernel, but no ramdisk", "--ramdisk FILE")),
            (None, Some(_)) => Err(missing("a ramdisk, but no kernel", "--kernel FILE")),
            (None, None) if self.stage2.is_some() => Err(missing(
                "a stage2, but no kernel and no ramdisk",
                "--kernel FILE --ramdisk FILE",
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the set's name can be written down.
    ///
    /// # Errors
    /// Names the character that does not do.
    pub(crate) fn check_name(&self) -> Result<()> {
        check_names(&self.name, &self.version)
    }
}

fn missing(has: &str, option: &str) -> anyhow::Error {
    Failure::new(ExitCode::Usage, format!("putting the set together: it has {has}"))
        .hint(format!("Anaconda boots with all of them: {option}"))
        .into()
}

/// Refuses a manifest, document, checksum file or signature that is not a regular file: it would be
/// left out.
fn check_neighbours(tarball: &Path, stem: &str) -> Result<()> {
    for suffix in naming::suffixes() {
        let path = tarball.with_file_name(format!("{stem}{suffix}"));
        if let Ok(found) = path.metadata() {
            files::check_kind(found.file_type())
                .or_fail(ExitCode::Recipe, format!("reading {}", path.display()))?;
        }
    }
    Ok(())
}

/// Compares the first bytes with what the suffix promises.
fn check_magic(path: &Path, format: ImageFormat) -> Result<()> {
    let mut start = Vec::new();
    let file = files::open(path).map_err(|error| {
        Failure::of_argument(format!("opening the tarball {}", path.display()), error)
            .hint("use a tarball that osimg build or osimg pack wrote")
    })?;
    file.take(512)
        .read_to_end(&mut start)
        .with_context(|| format!("reading the tarball {}", path.display()))?;
    let found = match start.as_slice() {
        [0x1F, 0x8B, ..] => "gzip",
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd",
        [b'Q', b'F', b'I', 0xFB, ..] => "a qcow2 disk",
        [b'h', b's', b'q', b's', ..] => "squashfs",
        bytes if bytes.starts_with(oci::BLOBS.as_bytes()) => "an OCI image",
        // magic and version of POSIX's ustar header, and of GNU's
        bytes if bytes.get(257..262) == Some(b"ustar") => "tar",
        _ => "something else",
    };
    let promised = match format {
        ImageFormat::Tarball(Format::Tar) => "tar",
        ImageFormat::Tarball(Format::Tgz) => "gzip",
        ImageFormat::Tarball(Format::Tbz) => "bzip2",
        ImageFormat::Tarball(Format::Txz) => "xz",
        ImageFormat::Img => "squashfs",
        ImageFormat::Oci => "an OCI image",
    };
    if found != promised {
        return Err(Failure::new(
            ExitCode::Usage,
            format!(
                "reading the tarball {}: its suffix promises {promised}, its first bytes are \
                 {found}",
                path.display()
            ),
        )
        .hint("Anaconda chooses by the suffix: give it the one that fits")
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gzip member of nothing.
    const EMPTY_GZIP: &[u8] =
        &[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn tarball(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        (dir, path)
    }

    #[test]
    fn name_and_version_come_from_the_file_name_without_a_manifest() {
        let (_dir, path) = tarball("web-node-20261122.tar.gz", EMPTY_GZIP);
        let set = Set::from_tarball(&path, |_, _| {}).expect("a set");
        assert_eq!(
            (set.name.as_str(), set.version.as_str(), set.tarball.extension),
            ("web-node", "20261122", ".tar.gz")
        );
        assert_eq!(set.stem(), "web-node-20261122");
        let (_dir, path) = tarball("os-image.tgz", EMPTY_GZIP);
        assert_eq!(Set::from_tarball(&path, |_, _| {}).expect("a set").stem(), "os-image");
    }

    #[test]
    fn a_manifest_that_speaks_of_other_bytes_is_trouble() {
        let (dir, path) = tarball("os-1.tgz", EMPTY_GZIP);
        let manifest = |sha512: &str| {
            format!(
                r#"{{"name":"os","version":"1","arch":"x86_64",
                "os_release":{{"ID":"demo","VERSION_ID":"12"}},"tarballs":[
                {{"file":"os-1.tgz","format":"tgz","bytes":20,
                "sha256":"x","sha512":"{sha512}"}}]}}"#
            )
        };
        let right = Piece::from_file(&path, |_, _| {}).expect("a piece").sha512;
        std::fs::write(dir.path().join("os-1.json"), manifest(&right)).expect("written");
        let set = Set::from_tarball(&path, |_, _| {}).expect("a set");
        assert_eq!(
            (set.os_distro.as_deref(), set.os_version.as_deref()),
            (Some("demo"), Some("12"))
        );
        assert!(set.manifest.is_some());
        std::fs::write(dir.path().join("os-1.json"), manifest("beef")).expect("written");
        let error = Set::from_tarball(&path, |_, _| {}).expect_err("altered");
        assert_eq!(crate::error::exit_code(&error), ExitCode::Trust);
    }

    #[test]
    fn a_suffix_that_promises_something_else_is_found() {
        let (_dir, path) = tarball("os.txz", EMPTY_GZIP);
        let error = Set::from_tarball(&path, |_, _| {}).expect_err("gzip is no xz");
        assert!(error.to_string().contains("promises xz, its first bytes are gzip"), "{error}");
    }

    #[test]
    fn names_that_nobody_can_write_down_are_refused() {
        let (_dir, path) = tarball("os.tgz", EMPTY_GZIP);
        let mut set = Set::from_tarball(&path, |_, _| {}).expect("a set");
        set.check().expect("fine");
        for name in ["a\u{7}b", "a/b", "", ".hidden", "a\nb"] {
            set.name = name.into();
            let error = set.check().expect_err(name);
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn boot_pieces_come_together() {
        let (_dir, path) = tarball("os.tgz", EMPTY_GZIP);
        let mut set = Set::from_tarball(&path, |_, _| {}).expect("a set");
        set.kernel = Some(set.tarball.piece.clone());
        assert!(set.check().is_err());
        set.ramdisk = Some(set.tarball.piece.clone());
        set.check().expect("a tree may have its stage2 elsewhere");
    }

    #[test]
    fn a_manifest_or_side_file_that_is_not_a_regular_file_is_refused() {
        for suffix in [".json", ".tgz.sha256", ".tgz.sha512", ".spdx.json", ".tgz.asc"] {
            for kind in ["FIFO", "directory", "device"] {
                let (dir, path) = tarball("os-1.tgz", EMPTY_GZIP);
                let bad = dir.path().join(format!("os-1{suffix}"));
                match kind {
                    "FIFO" => nix::unistd::mkfifo(&bad, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                    "directory" => std::fs::create_dir(&bad).unwrap(),
                    _ => std::os::unix::fs::symlink("/dev/zero", &bad).unwrap(),
                }
                let error = format!("{:#}", Set::from_tarball(&path, |_, _| {}).unwrap_err());
                assert!(error.contains(bad.to_str().unwrap()), "{error}");
                assert!(error.contains(kind), "{error}");
            }
        }
    }
}
