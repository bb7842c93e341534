//! A package as its header in the rpmdb tells it.

use crate::error::Result;
use crate::rpmheader::{Header, signatures, tag as common};
use anyhow::{Context, ensure};

/// Files of all packages together; more than any file system of a node would hold.
const MOST_FILES: usize = 1 << 21;
/// The longest path that Linux takes.
const LONGEST_PATH: usize = 4096;
/// Bytes of the paths of one package's files.
const MOST_PATHS: usize = 128 << 20;

/// `RPMTAG_*` of rpm's rpmtag.h.
mod tag {
    pub(super) const HEADER_SHA256: u32 = 273;
    pub(super) const SUMMARY: u32 = 1004;
    pub(super) const INSTALL_TIME: u32 = 1008;
    pub(super) const VENDOR: u32 = 1011;
    pub(super) const LICENSE: u32 = 1014;
    pub(super) const URL: u32 = 1020;
    pub(super) const FILE_SIZES: u32 = 1028;
    pub(super) const FILE_STATES: u32 = 1029;
    pub(super) const FILE_MODES: u32 = 1030;
    pub(super) const FILE_DEVICES: u32 = 1033;
    pub(super) const FILE_TIMES: u32 = 1034;
    pub(super) const FILE_DIGESTS: u32 = 1035;
    pub(super) const FILE_LINKS: u32 = 1036;
    pub(super) const FILE_FLAGS: u32 = 1037;
    pub(super) const FILE_USERS: u32 = 1039;
    pub(super) const FILE_GROUPS: u32 = 1040;
    pub(super) const SOURCE: u32 = 1044;
    pub(super) const FILE_VERIFY: u32 = 1045;
    pub(super) const PROVIDES: u32 = 1047;
    pub(super) const REQUIRES: u32 = 1049;
    pub(super) const CHANGE_TIMES: u32 = 1080;
    pub(super) const CHANGE_AUTHORS: u32 = 1081;
    pub(super) const CHANGE_TEXTS: u32 = 1082;
    pub(super) const DIRECTORY_INDEXES: u32 = 1116;
    pub(super) const BASE_NAMES: u32 = 1117;
    pub(super) const DIRECTORIES: u32 = 1118;
    pub(super) const LONG_FILE_SIZES: u32 = 5008;
    pub(super) const FILE_CAPABILITIES: u32 = 5010;
    pub(super) const DIGEST_ALGORITHM: u32 = 5011;
}

/// The number of SHA-256 among OpenPGP's digests; without a number it is MD5.
const SHA256: u64 = 8;
const MD5: u64 = 1;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Epoch, when it has one.
    pub epoch: Option<u64>,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// Architecture.
    pub arch: String,
    /// One line about it.
    pub summary: String,
    /// Its licence.
    pub license: String,
    /// Its home page.
    pub url: String,
    /// Who distributes it.
    pub vendor: String,
    /// The source package it was built from.
    pub source: String,
    /// Bytes of its files.
    pub size: u64,
    /// When it was built, in seconds since 1970.
    pub build_time: u64,
    /// When it was installed, in seconds since 1970.
    pub install_time: u64,
    /// Key id of its signature, in lower-case hex.
    pub key_id: Option<String>,
    /// SHA-256 of its header, in hex.
    pub header_sha256: Option<String>,
    /// Its files.
    pub files: Vec<PackagedFile>,
    /// What changed, the newest first.
    pub changelog: Vec<Change>,
    /// Names of what it provides.
    pub provides: Vec<String>,
    /// Names of what it requires.
    pub requires: Vec<String>,
}

impl Package {
    /// `name-epoch:version-release.arch`, the epoch written out.
    #[must_use]
    pub fn nevra(&self) -> String {
        let Self { name, version, release, arch, .. } = self;
        format!("{name}-{}:{version}-{release}.{arch}", self.epoch.unwrap_or(0))
    }
}

/// An entry of a package's changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Seconds since 1970.
    pub time: u64,
    /// Who, and which version.
    pub author: String,
    /// What.
    pub text: String,
}

/// Whether rpm put a file there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It did.
    Installed,
    /// Another package's file of this name is there.
    Replaced,
    /// It was left out: documentation, a language, another architecture's.
    LeftOut,
}

/// A file that a package brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagedFile {
    /// Its path inside the image, without a slash at the beginning.
    pub path: Vec<u8>,
    /// `st_mode`, with the bits of the type.
    pub mode: u32,
    /// Its owner's name.
    pub user: String,
    /// Its group's name.
    pub group: String,
    /// Bytes of its content.
    pub size: u64,
    /// When its content was last changed, in seconds since 1970.
    pub mtime: u64,
    /// The digest of its content, in hex; empty of what is no regular file.
    pub digest: String,
    /// Whether the digest is a SHA-256.
    pub is_sha256: bool,
    /// Where it points, of a symbolic link.
    pub link: Vec<u8>,
    /// `RPMFILE_*`: 1 configuration, 2 documentation, 16 noreplace, 64 ghost.
    pub flags: u32,
    /// `RPMVERIFY_*`: what the packager wants compared; 1 digest, 2 size, 4 link, 8 owner, 16
    /// group, 32 time, 64 mode, 128 device, 256 capabilities.
    pub verify: u32,
    /// Its capabilities as text, as `cap_to_text` writes them; mostly empty.
    pub capabilities: String,
    /// Number of a device.
    pub device: u64,
    /// Whether rpm put it there.
    pub state: FileState,
}

impl PackagedFile {
    /// Whether it is configuration, which its owner may change.
    #[must_use]
    pub(crate) fn is_config(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether the package only claims the path without bringing the file.
    #[must_use]
    pub(crate) fn is_ghost(&self) -> bool {
        self.flags & 64 != 0
    }
}

/// The packages of all headers, and the key ids of the keys among them.
pub(super) fn all(headers: &[Vec<u8>]) -> Result<(Vec<Package>, Vec<String>)> {
    let (mut packages, mut keys, mut files) = (Vec::new(), Vec::new(), 0);
    for (number, bytes) in headers.iter().enumerate() {
        let package = Header::parse(bytes)
            .and_then(|header| package(&header))
            .with_context(|| format!("reading package {number}"))?;
        if package.name == "gpg-pubkey" {
            keys.push(package.version);
            continue;
        }
        files += package.files.len();
        ensure!(files <= MOST_FILES, "the packages have more than {MOST_FILES} files");
        packages.push(package);
    }
    packages.sort_by_cached_key(Package::nevra);
    Ok((packages, keys))
}

fn package(header: &Header<'_>) -> Result<Package> {
    let name = header.text(common::NAME)?;
    ensure!(!name.is_empty(), "a package has no name");
    let header_sha256 = header.text(tag::HEADER_SHA256)?;
    let names = |tag: u32| -> Result<Vec<String>> {
        Ok(header
            .texts(tag)?
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    };
    Ok(Package {
        epoch: header.number(common::EPOCH)?,
        version: header.text(common::VERSION)?,
        release: header.text(common::RELEASE)?,
        arch: header.text(common::ARCH)?,
        summary: header.text(tag::SUMMARY)?,
        license: header.text(tag::LICENSE)?,
        url: header.text(tag::URL)?,
        vendor: header.text(tag::VENDOR)?,
        source: header.text(tag::SOURCE)?,
        size: header.size()?,
        build_time: header.number(common::BUILD_TIME)?.unwrap_or(0),
        install_time: header.number(tag::INSTALL_TIME)?.unwrap_or(0),
        key_id: signatures(header).into_iter().next().map(|signature| signature.key_id),
        header_sha256: (!header_sha256.is_empty()).then_some(header_sha256),
        files: files(header).with_context(|| format!("reading the files of {name}"))?,
        changelog: changelog(header)?,
        provides: names(tag::PROVIDES)?,
        requires: names(tag::REQUIRES)?,
        name,
    })
}

fn changelog(header: &Header<'_>) -> Result<Vec<Change>> {
    let (times, authors, texts) = (
        header.numbers(tag::CHANGE_TIMES)?,
        header.texts(tag::CHANGE_AUTHORS)?,
        header.texts(tag::CHANGE_TEXTS)?,
    );
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    Ok(times
        .into_iter()
        .zip(authors.into_iter().zip(texts))
        .map(|(time, (author, text))| Change { time, author: lossy(author), text: lossy(text) })
        .collect())
}

fn files(header: &Header<'_>) -> Result<Vec<PackagedFile>> {
    let names = header.texts(tag::BASE_NAMES)?;
    let directories = header.texts(tag::DIRECTORIES)?;
    let indexes = header.numbers(tag::DIRECTORY_INDEXES)?;
    let sizes =
        if header.has(tag::LONG_FILE_SIZES) { tag::LONG_FILE_SIZES } else { tag::FILE_SIZES };
    let numbers = |tag: u32| header.numbers(tag);
    let (sizes, modes, times, flags) = (
        numbers(sizes)?,
        numbers(tag::FILE_MODES)?,
        numbers(tag::FILE_TIMES)?,
        numbers(tag::FILE_FLAGS)?,
    );
    let (verify, devices) = (numbers(tag::FILE_VERIFY)?, numbers(tag::FILE_DEVICES)?);
    // Bytes in the database: they are written by rpm when the package is installed.
    let states = header.bytes(tag::FILE_STATES)?;
    let (users, groups) = (header.texts(tag::FILE_USERS)?, header.texts(tag::FILE_GROUPS)?);
    let (digests, links) = (header.texts(tag::FILE_DIGESTS)?, header.texts(tag::FILE_LINKS)?);
    let capabilities = header.texts(tag::FILE_CAPABILITIES)?;
    let is_sha256 = header.number(tag::DIGEST_ALGORITHM)?.unwrap_or(MD5) == SHA256;
    let complete = [modes.len(), indexes.len(), sizes.len(), users.len(), groups.len()]
        .iter()
        .all(|count| *count == names.len());
    ensure!(complete, "its lists are of different lengths");
    let lossy = |texts: &[&[u8]], at: usize| {
        texts.get(at).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    };
    let number = |numbers: &[u64], at: usize| numbers.get(at).copied().unwrap_or(0);
    let small = |numbers: &[u64], at: usize| u32::try_from(number(numbers, at)).unwrap_or(0);
    let mut files = Vec::with_capacity(names.len());
    let mut length = 0;
    for (at, name) in names.iter().enumerate() {
        let directory =
            usize::try_from(number(&indexes, at)).ok().and_then(|index| directories.get(index));
        let directory = directory.context("a file is in no directory")?;
        length += directory.len() + name.len();
        ensure!(
            directory.len() + name.len() <= LONGEST_PATH && length <= MOST_PATHS,
            "the paths of its files are too long"
        );
        let whole = [directory, *name].concat();
        files.push(PackagedFile {
            path: whole.strip_prefix(b"/").unwrap_or(&whole).to_vec(),
            mode: small(&modes, at),
            user: lossy(&users, at),
            group: lossy(&groups, at),
            size: number(&sizes, at),
            mtime: number(&times, at),
            digest: lossy(&digests, at),
            is_sha256,
            link: links.get(at).copied().unwrap_or_default().to_vec(),
            flags: small(&flags, at),
            verify: if verify.is_empty() { u32::MAX } else { small(&verify, at) },
            capabilities: lossy(&capabilities, at),
            device: number(&devices, at),
            state: match states.get(at) {
                None | Some(0) => FileState::Installed,
                Some(1) => FileState::Replaced,
                Some(_) => FileState::LeftOut,
            },
        });
    }
    Ok(files)
}
