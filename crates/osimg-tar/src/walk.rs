//! The walk through a tree: only by directory descriptors, never over a mount or out of the tree,
//! sorted, to any depth.

use super::attributes::Handle;
use super::error::{Context, Error, Reason, Result};
use super::shown::shown;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FileStat, SFlag, fstat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;

/// Directories kept open at once, at the most. One deeper down is opened again by its names on the
/// way back up.
const OPEN_DIRECTORIES: usize = 48;
/// And at the least: the tree itself, and where the walk is.
const FEWEST_DIRECTORIES: usize = 2;

/// A file of the tree.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path inside the tree, without a first or last slash; empty for the tree itself.
    pub(super) path: Vec<u8>,
    pub(super) stat: FileStat,
    pub(super) handle: Handle,
}

impl Found {
    /// The bits of `st_mode` that are the type.
    pub(super) fn kind(&self) -> SFlag {
        kind(&self.stat)
    }
}

#[derive(Debug)]
pub(super) struct Walk {
    /// The directories from the tree down to where the walk is.
    stack: Vec<Level>,
    /// The path of the last of them.
    path: Vec<u8>,
    began: bool,
    /// How many of them are kept open.
    keep: usize,
}

#[derive(Debug)]
struct Level {
    name: CString,
    /// The length of the path of the directory above.
    above: usize,
    directory: Option<Rc<File>>,
    identity: (u64, u64),
    stat: FileStat,
    /// What is still to come, the last first.
    names: Vec<(CString, Option<Type>)>,
}

impl Walk {
    /// Begins at the directory `tree`.
    pub(super) fn new(tree: &Path) -> Result<Self> {
        let opening = || format!("opening the tree {}", tree.display());
        let file = File::options()
            .read(true)
            .custom_flags(OFlag::O_DIRECTORY.bits())
            .open(tree)
            .with_context(opening)?;
        let stat = fstat(&file).with_context(opening)?;
        // A quarter of what may be open: outputs, locks and whoever uses this library have some
        // too.
        let allowed = getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        let keep = (allowed / 4).clamp(FEWEST_DIRECTORIES, OPEN_DIRECTORIES);
        let mut walk = Self { stack: Vec::new(), path: Vec::new(), began: false, keep };
        walk.enter(CString::default(), Rc::new(file), stat).with_context(opening)?;
        Ok(walk)
    }

    /// The next entry: a directory, then everything in it sorted by the bytes of the names, then
    /// its next sibling.
    pub(super) fn next(&mut self) -> Result<Option<Found>> {
        if !std::mem::replace(&mut self.began, true) {
            return Ok(self
                .stack
                .last()
                .and_then(|level| level.directory.clone().map(|directory| (level, directory)))
                .map(|(level, directory)| Found {
                    path: Vec::new(),
                    stat: level.stat,
                    handle: Handle::Open(directory),
                }));
        }
        loop {
            let Some(level) = self.stack.last_mut() else { return Ok(None) };
            let Some((name, hint)) = level.names.pop() else {
                self.path.truncate(level.above);
                self.stack.pop();
                continue;
            };
            let directory = self.directory()?;
            let mut path = self.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let (stat, handle) =
                open(&directory, &name, hint).map_err(|errno| opening_failed(errno, &path))?;
            if kind(&stat) == SFlag::S_IFDIR
                && let Handle::Open(file) = &handle
            {
                self.enter(name, file.clone(), stat)
                    .with_context(|| format!("listing {}", shown(&path)))?;
            }
            return Ok(Some(Found { path, stat, handle }));
        }
    }

    /// Goes down into a directory and lists it.
    fn enter(&mut self, name: CString, file: Rc<File>, stat: FileStat) -> Result<()> {
        // The listing closes its descriptor; this one is needed on.
        let mut listing = Dir::from_fd(OwnedFd::from(file.try_clone()?))?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        let above = self.path.len();
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
        self.stack.push(Level {
            name,
            above,
            directory: Some(file),
            identity: identity(&stat),
            stat,
            names,
        });
        // The tree's own is kept: every way back begins there.
        let depth = self.stack.len();
        if depth > self.keep
            && let Some(level) = self.stack.get_mut(depth - self.keep)
        {
            level.directory = None;
        }
        Ok(())
    }

    /// The directory at the end of the stack, opened again where it had to be closed.
    fn directory(&mut self) -> Result<Rc<File>> {
        if let Some(directory) = self.stack.last().and_then(|level| level.directory.clone()) {
            return Ok(directory);
        }
        let keep_from = self.stack.len().saturating_sub(self.keep / 2);
        let mut current: Option<Rc<File>> = None;
        for (depth, level) in self.stack.iter_mut().enumerate() {
            let directory = match (&level.directory, &current) {
                (Some(directory), _) => directory.clone(),
                (None, Some(above)) => {
                    let fd = openat2(
                        &**above,
                        level.name.as_c_str(),
                        how(OFlag::O_RDONLY | OFlag::O_DIRECTORY),
                    )
                    .with_context(|| format!("opening {} again", shown(&self.path)))?;
                    if identity(&fstat(&fd)?) != level.identity {
                        return Err(changed_at(&self.path));
                    }
                    Rc::new(File::from(fd))
                }
                (None, None) => return Err(changed_at(&self.path)),
            };
            if depth >= keep_from {
                level.directory = Some(directory.clone());
            }
            current = Some(directory);
        }
        current.ok_or_else(|| changed_at(&self.path))
    }
}

fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// For one name of a listing, which has no slash and is not `..`. It cannot lead anywhere but
/// beneath, so `RESOLVE_BENEATH` is not asked for: the kernel answers EXDEV to that also when the
/// name was moved elsewhere in the meantime, and EXDEV has to mean a mount alone.
fn how(flags: OFlag) -> OpenHow {
    OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(
        ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    )
}

/// Opens a name in a directory: for reading when it is a file or a directory, as a place when it is
/// anything else.
fn open(directory: &File, name: &CString, hint: Option<Type>) -> Result<(FileStat, Handle), Errno> {
    match hint {
        Some(Type::File | Type::Directory) => {
            let (stat, file) = open_to_read(directory, name)?;
            // A device that took a file's place may have been opened, but without waiting, and is
            // not read.
            if matches!(kind(&stat), SFlag::S_IFREG | SFlag::S_IFDIR) {
                Ok((stat, Handle::Open(Rc::new(file))))
            } else {
                Err(Errno::ESTALE)
            }
        }
        _ => {
            let fd = openat2(directory.as_fd(), name.as_c_str(), how(OFlag::O_PATH))?;
            let stat = fstat(&fd)?;
            if !matches!(kind(&stat), SFlag::S_IFREG | SFlag::S_IFDIR) {
                return Ok((stat, Handle::Place(fd)));
            }
            // The file system does not tell types in its listing.
            let (again, file) = open_to_read(directory, name)?;
            if identity(&again) == identity(&stat) {
                Ok((again, Handle::Open(Rc::new(file))))
            } else {
                Err(Errno::ESTALE)
            }
        }
    }
}

fn open_to_read(directory: &File, name: &CString) -> Result<(FileStat, File), Errno> {
    let fd = openat2(
        directory.as_fd(),
        name.as_c_str(),
        how(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY),
    )?;
    Ok((fstat(&fd)?, File::from(fd)))
}

fn opening_failed(errno: Errno, path: &[u8]) -> Error {
    match errno {
        Errno::EXDEV => Error::at("packing", path, Reason::MountPoint),
        Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::ENOTDIR | Errno::ESTALE => {
            changed_at(path)
        }
        Errno::ENOSYS => Error::at("opening", path, Reason::NoOpenat2),
        Errno::EACCES => Error::at("opening", path, Reason::Denied),
        errno => Error::at("opening", path, Reason::Io(errno.into())),
    }
}

fn changed_at(path: &[u8]) -> Error {
    Error::at("packing", path, Reason::Changed)
}

/// A lookup that another process disturbs so many times in a row is given up.
const ATTEMPTS: usize = 1000;

/// openat2(2), again after an interruption.
fn openat2(directory: impl AsFd, name: &CStr, how: OpenHow) -> Result<OwnedFd, Errno> {
    for _ in 1..ATTEMPTS {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place of this library, which retries"
        )]
        match nix::fcntl::openat2(directory.as_fd(), name, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => std::thread::yield_now(),
            done => return done,
        }
    }
    Err(Errno::EAGAIN)
}
