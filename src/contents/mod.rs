//! What is in a tarball or a tree, read in one pass: every member, the small files that tell what
//! the system is, and the packages.
//!
//! [`gather`] takes the members as they come, [`mod@member`] keeps them compactly, [`kept`] says
//! which files are kept whole, [`hashing`] digests contents on a thread of its own, [`rpmdb`] reads
//! the packages. Memory is bounded whatever the archive claims.

mod gather;
mod hashing;
mod kept;
mod member;
mod paths;
pub mod rpmdb;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::archive::read::{Irregularity, Reader};
use crate::archive::squashfs::Image;
use crate::archive::{ImageFormat, Overrides};
use crate::error::{Failure, Result};
use gather::Gather;
use hashing::Tee;

pub use crate::archive::read::{Kind, Time};
pub use member::{Member, Traits};
pub use paths::normal;
pub use rpmdb::{FileState, Package, PackagedFile, Packages};

/// What is computed beside the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// Nothing.
    None,
    /// The SHA-256 of every file's content, and of the tarball itself.
    Sha256,
}

/// How a tarball or tree is read.
pub struct Options<'a> {
    /// Whether contents are digested.
    pub digests: Digests,
    /// Called for every member with the number of bytes of the tarball (as it is stored) were read.
    pub progress: &'a dyn Fn(u64),
    /// Called often; an error ends the reading.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("digests", &self.digests).finish_non_exhaustive()
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { digests: Digests::Sha256, progress: &|_| {}, check: &|| Ok(()) }
    }
}

/// The tarball as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its format, whatever its name is.
    pub format: ImageFormat,
    /// Its size.
    pub bytes: u64,
    /// The archive's size before compression.
    pub tar_bytes: u64,
    /// Its SHA-256, when digests were asked for.
    pub sha256: Option<[u8; 32]>,
}

/// Everything that was read.
#[derive(Debug)]
pub struct Contents {
    /// The tarball; none of a tree.
    pub stored: Option<Stored>,
    /// The members in the archive's order; of several of one path all.
    pub members: Vec<Member>,
    /// What is not right about the archive although it could be read on: the first hundred, each
    /// with its member's name.
    pub irregular: Vec<(Irregularity, Vec<u8>)>,
    /// How much is not right in all.
    pub irregularities: u64,
    /// The packages.
    pub packages: Packages,
    /// The numbers of the members, sorted by path; those of one path in the archive's order.
    index: Vec<u32>,
    files: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Contents {
    /// Reads the tarball at `path`.
    ///
    /// # Errors
    /// Fails with [`Reason::Damaged`](crate::archive::Reason) in the chain when it is cut off,
    /// altered or not understood, else when it cannot be read.
    pub fn of_tarball(path: &Path, options: &Options<'_>) -> Result<Self> {
        let reading = || format!("reading the tarball {}", path.display());
        let file = crate::files::open(path).map_err(|error| {
            Failure::of_argument(reading(), error)
                .hint("use a tarball: a .tgz, .tbz, .txz, .tar or .img file")
        })?;
        match Image::open(path, &file)? {
            Some(image) => Self::from_image(image, &file, options),
            None => Self::of_stream(file, options),
        }
        .map_err(|error| error.context(reading()))
    }

    /// Reads a squashfs.
    fn from_image(mut image: Image, file: &File, options: &Options<'_>) -> Result<Self> {
        let read =
            Self::of_stream(image.stream()?, &Options { digests: options.digests, ..*options });
        // A failure of the other program is the cause of a stream that ends early.
        image.finish()?;
        let mut contents = read?;
        if let Some(stored) = &mut contents.stored {
            stored.format = ImageFormat::Img;
            stored.bytes = file.metadata()?.len();
            stored.sha256 = None;
            if options.digests == Digests::Sha256 {
                stored.sha256 = Some(crate::archive::squashfs::sha256(file)?);
            }
        }
        Ok(contents)
    }

    /// Reads a tarball from its beginning to its end.
    ///
    /// # Errors
    /// As [`Contents::of_tarball`].
    pub fn of_stream(source: impl Read, options: &Options<'_>) -> Result<Self> {
        let read = Self::read(Checked { source, check: options.check }, options);
        if read.is_err() {
            // A decompressor may take the end of the bytes for damage.
            (options.check)()?;
        }
        read
    }

    fn read(source: impl Read, options: &Options<'_>) -> Result<Self> {
        let (tee, passed) = Tee::new(source, options.digests)?;
        let mut gather = Gather::new(options)?;
        let mut reader = Reader::new(tee)?;
        while let Some(entry) = reader.next()? {
            (options.progress)(passed.bytes());
            gather.member(entry, &mut |take| reader.content(take))?;
        }
        let (format, tar_bytes) = (reader.format(), reader.offset());
        let (irregular, irregularities) = (reader.irregular().to_vec(), reader.irregularities());
        drop(reader);
        let (bytes, sha256) = passed.finish()?;
        let mut contents = gather.finish()?;
        contents.stored = Some(Stored { format: format.into(), bytes, tar_bytes, sha256 });
        (contents.irregular, contents.irregularities) = (irregular, irregularities);
        Ok(contents)
    }

    /// Reads the tree at `root`; an archive of it would have the same labels and owners.
    ///
    /// # Errors
    /// Fails when the tree cannot be read whole.
    pub fn of_tree<'a>(
        root: &Path,
        overrides: impl Into<Overrides<'a>>,
        options: &Options<'_>,
    ) -> Result<Self> {
        let mut gather = Gather::new(options)?;
        crate::archive::scan_tree(root, overrides, |entry, file| {
            (options.check)()?;
            match file {
                Some(file) => gather.member(entry, &mut |take| {
                    gather::content_of(file, &mut |part| {
                        (options.check)()?;
                        take(part)
                    })
                }),
                None => gather.member(entry, &mut |_| Ok(())),
            }
        })
        .map_err(|error| error.context(format!("reading the tree {}", root.display())))?;
        gather.finish()
    }

    /// The member that has this path, [`normal`] as in [`Member::path`]; links in it are not
    /// followed.
    #[must_use]
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<&Member> {
        // Of several members of a path, unpacking leaves the last.
        let path = path.as_ref();
        let end = self.index.partition_point(|number| self.path(*number) <= path);
        let last = self.members.get(*self.index.get(end.checked_sub(1)?)? as usize)?;
        (*last.path == *path).then_some(last)
    }

    fn path(&self, number: u32) -> &[u8] {
        self.members.get(number as usize).map_or(&[], |member| &member.path)
    }

    /// The member that a program of the image would find under this path: symbolic links are
    /// followed inside the image, the last too.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Option<&Member> {
        paths::resolve(self, path.as_ref(), paths::Last::Followed)
    }

    /// As [`Contents::resolve`], but a link at the end is the answer.
    #[must_use]
    pub fn resolve_parents(&self, path: impl AsRef<[u8]>) -> Option<&Member> {
        paths::resolve(self, path.as_ref(), paths::Last::Taken)
    }

    /// The member that carries the content and the attributes of `member`: of a hard link the one
    /// it points to.
    #[must_use]
    pub fn carrier<'a>(&'a self, member: &'a Member) -> &'a Member {
        if member.kind != Kind::HardLink {
            return member;
        }
        self.find(normal(&member.link))
            .filter(|carrier| carrier.kind != Kind::HardLink)
            .unwrap_or(member)
    }

    /// The members of the directory with this path, by path; not those further down.
    pub fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a Member> {
        self.all_below(directory).filter(move |member| {
            member
                .path
                .get(directory.len() + 1..)
                .is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
        })
    }

    /// All members below the directory with this path.
    pub fn all_below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(move |member| {
            member
                .path
                .strip_prefix(directory.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'/'))
        })
    }

    /// The text of one of the small files that are kept, symbolic links followed.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let member = self.carrier(self.resolve(path)?);
        self.files.get(&*member.path).map(Vec::as_slice)
    }

    /// All of the small files that are kept, by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.files
    }

    /// The image's os-release, unquoted; see os-release(5).
    #[must_use]
    pub fn os_release(&self) -> BTreeMap<String, String> {
        let text = self
            .file("etc/os-release")
            .or_else(|| self.file("usr/lib/os-release"))
            .unwrap_or_default();
        String::from_utf8_lossy(text)
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(|(key, _)| !key.starts_with('#'))
            .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
            .collect()
    }

    /// Names by number of a passwd or group file of the image.
    #[must_use]
    pub fn accounts(&self, path: &str) -> BTreeMap<u64, String> {
        let text = self.file(path).unwrap_or_default();
        let mut names = BTreeMap::new();
        for line in String::from_utf8_lossy(text).lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(_), Some(Ok(number))) =
                (fields.next(), fields.next(), fields.next().map(str::parse::<u64>))
            {
                // getpwuid() answers with the first.
                names.entry(number).or_insert_with(|| name.to_owned());
            }
        }
        names
    }

    /// Versions of the kernels that Anaconda would find: members whose names contain
    /// `boot/vmlinuz-` but not `-rescue-`.
    #[must_use]
    pub fn kernels(&self) -> Vec<String> {
        let mut versions: Vec<String> = self
            .members
            .iter()
            .filter_map(|member| member.path.strip_prefix(b"boot/vmlinuz-"))
            .map(|version| String::from_utf8_lossy(version).into_owned())
            .filter(|version| {
                !version.contains("-rescue-")
                    && !version.starts_with("0-rescue")
                    && !version.contains('/')
            })
            .collect();
        // As Anaconda sorts them: by `packaging.version` in EL 9, by rpm's comparison in EL 10 and
        // Fedora.
        versions.sort_by(|a, b| rpm_version::rpm_evr_compare(a, b));
        versions.dedup();
        versions
    }
}
/// Bytes that end when the check fails, in the middle of a large member too.
struct Checked<'a, R> {
    source: R,
    check: &'a dyn Fn() -> Result<()>,
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (self.check)().map_err(|error| std::io::Error::other(format!("{error:#}")))?;
        self.source.read(buffer)
    }
}
