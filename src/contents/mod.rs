//! What is in a tarball or a tree, read in one pass: every member, the small files that tell what
//! the system is, and the packages.
//!
//! [`gather`] takes the members as they come, [`mod@member`] keeps them compactly, [`kept`] says
//! which files are kept whole, [`hashing`] digests contents on a thread of its own, [`rpmdb`] reads
//! the packages. Memory is bounded whatever the archive claims.

mod facts;
mod gather;
mod hashing;
mod kept;
mod list;
mod member;
mod options;
mod paths;
mod resolve;
pub mod rpmdb;
mod stored;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::archive::read::Reader;
use crate::archive::squashfs::Image;
use crate::archive::{ImageFormat, Overrides, file_sha256, oci};
use crate::error::{Failure, Result};
use gather::Gather;
use hashing::Tee;

pub use crate::archive::read::{Kind, Time};
pub use list::Contents;
pub use member::{Member, Traits};
pub use options::{Digests, Options};
pub(crate) use paths::normal;
pub use rpmdb::{FileState, Package, PackagedFile, Packages};
pub use stored::Stored;

impl Contents {
    /// Reads the tarball at `path`.
    ///
    /// # Errors
    /// Fails with [`Reason::Damaged`](crate::archive::Reason) in the chain when it is cut off,
    /// altered or not understood, else when it cannot be read.
    pub(crate) fn of_tarball(path: &Path, options: &Options<'_>) -> Result<Self> {
        let reading = || format!("reading the tarball {}", path.display());
        let file = crate::files::open(path).map_err(|error| {
            Failure::of_argument(reading(), error)
                .hint("use a tarball: a .tgz, .tbz, .txz, .tar, .img or .oci file")
        })?;
        let read = match (Image::open(path, &file)?, oci::layer(&file)?) {
            (Some(image), _) => Self::from_image(image, options)
                .and_then(|read| read.stored_as(ImageFormat::Img, &file, options)),
            (None, Some(layer)) => Self::of_stream(layer, options)
                .and_then(|read| read.stored_as(ImageFormat::Oci, &file, options)),
            (None, None) => Self::of_stream(file, options),
        };
        read.map_err(|error| error.context(reading()))
    }

    /// Reads a squashfs.
    fn from_image(mut image: Image, options: &Options<'_>) -> Result<Self> {
        let read = Self::of_stream(image.stream()?, options);
        // A failure of the other program is the cause of a stream that ends early.
        image.finish()?;
        read
    }

    /// The same, read from a part of this file.
    fn stored_as(
        mut self,
        format: ImageFormat,
        file: &File,
        options: &Options<'_>,
    ) -> Result<Self> {
        if let Some(stored) = &mut self.stored {
            stored.format = format;
            stored.bytes = file.metadata()?.len();
            stored.sha256 = match options.digests {
                Digests::None => None,
                Digests::Sha256 => Some(file_sha256(file)?),
            };
        }
        Ok(self)
    }

    /// Reads a tarball from its beginning to its end.
    ///
    /// # Errors
    /// As [`Contents::of_tarball`].
    pub(crate) fn of_stream(source: impl Read, options: &Options<'_>) -> Result<Self> {
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
