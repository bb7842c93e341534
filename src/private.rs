//! Cache directories. Only their owner can write there, and they are opened once and used through
//! their descriptor.

mod space;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::openat::{DESCRIPTORS, directory_at, fd_path, openat2};

pub(crate) use space::Space;

/// The directory with the running builds' views of the package cache.
pub(crate) const VIEWS: &str = "views";
/// The directory of boot pieces in a cache.
pub(crate) const PIECES: &str = "pieces";
/// A directory that mkfs creates at the top of a file system.
const LOST: &str = "lost+found";

/// Opens the directory, and creates it if it is missing. Afterwards only its owner can write there.
pub(crate) fn make(path: &Path) -> Result<File> {
    let making = || format!("creating the cache {}", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // Whatever the umask is, no other user can write there.
        DirBuilder::new().recursive(true).mode(0o755).create(parent).with_context(making)?;
    }
    above(path)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(making),
        _ => open(path),
    }
}

/// Opens an existing directory, and removes the permissions of others.
///
/// A directory that has files and is not a cache is refused: it was given by mistake.
pub(crate) fn open(path: &Path) -> Result<File> {
    above(path)?;
    links(path)?;
    let directory = open_directory(path)?;
    let meta =
        directory.metadata().with_context(|| format!("examining the cache {}", path.display()))?;
    check_owner(path, &meta)?;
    let names = std::fs::read_dir(fd_path(&directory))
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("reading the cache {}", path.display()))?;
    let empty = names.iter().all(|name| name == LOST);
    let mode = meta.permissions().mode();
    // One that is empty may be shared by all users, as /tmp is.
    if mode & 0o002 != 0 || mode & 0o020 != 0 && !empty {
        let message = format!(
            "using the cache {}: other users can write there (mode {:04o})",
            path.display(),
            mode & 0o7777
        );
        return Err(Failure::new(ExitCode::Host, message)
            .hint(format!(
                "remove it, and osimg creates a new one; if no one else wrote there: chmod -R \
                 go-w {}",
                crate::process::quote(&path.display().to_string())
            ))
            .into());
    }
    // Files of a cache are removed when it is pruned: never those of another directory.
    if !empty && !names.iter().any(|name| name == VIEWS || name == PIECES) {
        let message = format!(
            "using the cache {}: it has files, but is not a cache of osimg",
            path.display()
        );
        return Err(Failure::new(ExitCode::Usage, message)
            .hint("use a new or an empty directory: --cache DIR")
            .into());
    }
    if mode & 0o077 != 0 {
        let private = Permissions::from_mode(0o700);
        directory
            .set_permissions(private)
            .with_context(|| format!("removing others' access to the cache {}", path.display()))?;
    }
    Ok(directory)
}

/// Opens the directory of a cache without changing it.
pub(crate) fn open_directory(path: &Path) -> Result<File> {
    // Opening a FIFO would wait for a writer.
    let flags = OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let using = || format!("using the cache {}", path.display());
    files::check_directory(path).or_fail_hint(
        ExitCode::Usage,
        using(),
        "use a directory: --cache DIR",
    )?;
    File::options().read(true).custom_flags(flags.bits()).open(path).with_context(using)
}

/// Refuses a directory where any user can replace what another one makes. It is the rule for all
/// directories that osimg works in.
pub(crate) fn check_above(found: &Metadata, path: &Path, doing: impl Fn() -> String) -> Result<()> {
    let mode = found.permissions().mode();
    if mode & 0o002 == 0 || mode & 0o1000 != 0 {
        return Ok(());
    }
    let message = format!(
        "{}: any user can replace directories in {} (mode {:04o})",
        doing(),
        path.display(),
        mode & 0o7777
    );
    let forbid = format!("chmod +t {}", crate::process::quote(&path.display().to_string()));
    Err(Failure::new(ExitCode::Usage, message)
        .hint(format!("choose a directory of your own, or forbid it: {forbid}"))
        .into())
}

/// Applies [`check_above`] to the directory that has a cache, and to that of a link to it.
fn above(path: &Path) -> Result<()> {
    let using = || format!("using the cache {}", path.display());
    let real = path.canonicalize().ok();
    for path in [Some(std::path::absolute(path).with_context(using)?), real].iter().flatten() {
        let Some(parent) = path.parent() else { continue };
        check_above(&parent.metadata().with_context(using)?, parent, using)?;
    }
    Ok(())
}

/// Opens a directory that only this user can access; links are not followed. `None` if another user
/// put something else in its place.
pub(crate) fn own_directory(path: &Path) -> std::io::Result<Option<File>> {
    let open = File::from(directory_at(AT_FDCWD, path)?);
    let found = open.metadata()?;
    let own = found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0;
    Ok(own.then_some(open))
}

/// The real path for a path through a descriptor, for messages.
pub(crate) fn display_path(path: &Path) -> String {
    let real = || {
        let mut below = path.strip_prefix(DESCRIPTORS).ok()?.components();
        let directory = std::fs::read_link(Path::new(DESCRIPTORS).join(below.next()?)).ok()?;
        Some(directory.join(below.as_path()))
    };
    real().unwrap_or_else(|| path.to_owned()).display().to_string()
}

/// Opens a regular file below an open directory that others may write to, without following links.
/// `None` if it does not exist.
pub(crate) fn regular(directory: &impl AsFd, below: &Path) -> Result<Option<File>> {
    let Some(file) = open_below(directory, below, OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK)? else {
        return Ok(None);
    };
    let meta = file.metadata().with_context(|| format!("opening {}", below.display()))?;
    Ok(meta.is_file().then_some(file))
}

/// Opens a directory below such a directory, without following links. `None` if there is none.
pub(crate) fn directory(parent: &File, below: &Path) -> Result<Option<File>> {
    open_below(parent, below, OFlag::O_DIRECTORY)
}

/// Opens a directory of a cache, and creates it if it is missing. A link is refused.
pub(crate) fn make_below(cache: &File, name: &str) -> Result<File> {
    let path = fd_path(cache).join(name);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("creating {}", display_path(&path)));
        }
        _ => {}
    }
    directory(cache, Path::new(name))?.ok_or_else(|| {
        let message = format!("using {}: it is not a directory of the cache", display_path(&path));
        Failure::new(ExitCode::Host, message).hint("remove it, and osimg creates a new one").into()
    })
}

/// Removes a file below such a directory, without following links. A missing one is no error.
pub(crate) fn remove(directory: &impl AsFd, below: &Path) -> Result<()> {
    unlink(directory, below, UnlinkatFlags::NoRemoveDir)
}

/// Removes an empty directory below such a directory, without following links.
pub(crate) fn remove_directory(directory: &impl AsFd, below: &Path) -> Result<()> {
    unlink(directory, below, UnlinkatFlags::RemoveDir)
}

fn unlink(directory: &impl AsFd, below: &Path, kind: UnlinkatFlags) -> Result<()> {
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Some(parent) = open_below(directory, parent, OFlag::O_DIRECTORY)? else { return Ok(()) };
    match unlinkat(&parent, name, kind) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("removing {}", display_path(&fd_path(directory).join(below)))),
    }
}

/// Opens a path below a directory, without links and without leaving its file system.
fn open_below(directory: &impl AsFd, below: &Path, flags: OFlag) -> Result<Option<File>> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags).resolve(resolve);
    match openat2(directory, below, how) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO | Errno::EXDEV) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("opening {}", below.display())),
    }
}

fn check_owner(path: &Path, meta: &Metadata) -> Result<()> {
    if meta.uid() == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let message = format!(
        "using the cache {}: it belongs to another user (id {})",
        path.display(),
        meta.uid()
    );
    Err(Failure::new(ExitCode::Host, message)
        .hint("use a directory that belongs to you: --cache DIR")
        .into())
}

/// Refuses a path that contains a symbolic link of another user, who could redirect us.
fn links(path: &Path) -> Result<()> {
    let own = nix::unistd::geteuid().as_raw();
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        let meta =
            part.symlink_metadata().with_context(|| format!("examining {}", part.display()))?;
        if meta.is_symlink() && meta.uid() != own && meta.uid() != 0 {
            let message = format!(
                "using the cache {}: {} is a link of another user",
                path.display(),
                part.display()
            );
            return Err(Failure::new(ExitCode::Host, message)
                .hint("use a directory that belongs to you: --cache DIR")
                .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn others_cannot_access_a_new_cache_or_one_of_earlier_builds() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        set(&path, 0o775);
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "an empty one contains nothing of others");
        std::fs::create_dir(path.join(VIEWS)).unwrap();
        set(&path, 0o755);
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn no_link_below_a_directory_is_followed() {
        let base = tempfile::tempdir().unwrap();
        let (own, victim) = (base.path().join("own"), base.path().join("victim"));
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "precious").unwrap();
        let directory = make(&own).unwrap();
        std::os::unix::fs::symlink(&victim, own.join("packages")).unwrap();
        std::os::unix::fs::symlink(victim.join("file"), own.join("link")).unwrap();
        nix::unistd::mkfifo(&own.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(own.join("file"), "").unwrap();
        for name in ["packages/file", "link", "fifo", "../victim/file", "missing"] {
            assert!(!matches!(regular(&directory, Path::new(name)), Ok(Some(_))), "{name}");
            let _ = remove(&directory, Path::new(name));
        }
        assert_eq!(std::fs::read_to_string(victim.join("file")).unwrap(), "precious");
        assert!(regular(&directory, Path::new("file")).unwrap().is_some());
        assert_eq!(
            display_path(&fd_path(&directory).join("file")),
            own.canonicalize().unwrap().join("file").display().to_string()
        );
        remove(&directory, Path::new("file")).unwrap();
        assert!(!own.join("file").exists());
    }

    #[test]
    fn caches_that_others_can_write_are_refused_and_other_directories_are_left_alone() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join(VIEWS)).unwrap();
        let refused = |writable: u32| {
            set(base.path(), writable);
            let error = make(base.path()).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::Host);
            assert!(error.to_string().contains("other users can write there"), "{error}");
            assert_eq!(mode(base.path()), writable);
        };
        [0o770, 0o707, 0o1777].into_iter().for_each(refused);
        std::fs::remove_dir(base.path().join(VIEWS)).unwrap();
        [0o777, 0o1777].into_iter().for_each(refused);
        std::fs::write(base.path().join("file"), "").unwrap();
        set(base.path(), 0o755);
        let error = make(base.path()).unwrap_err();
        assert!(error.to_string().contains("is not a cache of osimg"), "{error}");
        assert_eq!(mode(base.path()), 0o755);
        let error = make(&base.path().join("file")).unwrap_err();
        assert!(format!("{error:#}").contains("it is a file, not a directory"), "{error:#}");
    }

    #[test]
    fn a_cache_that_any_user_can_replace_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let (open, link) = (base.path().join("open"), base.path().join("link"));
        std::fs::create_dir(&open).unwrap();
        std::os::unix::fs::symlink(open.join("cache"), &link).unwrap();
        for path in [open.join("cache"), link] {
            set(&open, 0o777);
            let error = make(&path).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::Usage);
            assert!(error.to_string().contains("any user can replace"), "{error}");
            set(&open, 0o1777);
            make(&open.join("cache")).unwrap();
        }
    }
}
