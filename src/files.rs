//! Opens files that the user names. Only regular files are accepted; opening never blocks, and
//! reading stops at a limit.
//!
//! Opening a FIFO waits for a writer, a device may be endless, and a tape rewinds. The type is
//! therefore checked before the file is opened, and again on the descriptor.

use nix::fcntl::OFlag;
use std::fs::{File, FileType, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The limit for text files that are read completely. Recipes, keys, certificates and manifests
/// are far smaller.
pub(crate) const TEXT: u64 = 16 << 20;

/// Opens a regular file for reading; links are followed.
///
/// # Errors
/// As open(2), and if it is not a regular file.
pub(crate) fn open(path: &Path) -> Result<File> {
    check_kind(std::fs::metadata(path)?.file_type())?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    check_kind(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and if it is larger.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_open(open(path)?, limit)
}

/// Reads a regular file of at most `limit` bytes as text.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads an open file to its end, at most `limit` bytes.
///
/// # Errors
/// As read(2), and if there are more bytes.
pub(crate) fn read_open(file: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {}", size(limit)),
        ));
    }
    Ok(bytes)
}

/// The number of bytes per read.
const CHUNK: usize = 1 << 18;

/// Reads to the end and passes each chunk to `each`; returns the number of bytes. `failed` converts
/// a read error to the caller's type.
///
/// # Errors
/// As read(2), the first error of `each`, and if a signal asks to stop.
pub(crate) fn read_chunks(
    reader: &mut impl Read,
    failed: impl Fn(Error) -> anyhow::Error,
    mut each: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let (mut window, mut size) = (vec![0; CHUNK], 0);
    loop {
        crate::process::check_stop()?;
        let count = match reader.read(&mut window) {
            Ok(0) => return Ok(size),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        each(window.get(..count).unwrap_or_default())?;
        size += count as u64;
    }
}

/// Copies to the end; returns the number of bytes.
///
/// # Errors
/// As read(2) and write(2), and if a signal asks to stop.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> anyhow::Result<u64> {
    read_chunks(from, Into::into, |bytes| Ok(to.write_all(bytes)?))
}

fn size(limit: u64) -> String {
    if limit.is_multiple_of(1 << 20) {
        format!("{} MiB", limit >> 20)
    } else {
        format!("{limit} bytes")
    }
}

/// Refuses everything but a regular file.
///
/// # Errors
/// Names what it is.
pub(crate) fn check_kind(kind: FileType) -> Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("it is {}, not a file", described(kind))))
}

/// Refuses everything but a directory; links are followed.
///
/// # Errors
/// Names what it is, if it exists.
pub(crate) fn check_directory(path: &Path) -> Result<()> {
    let kind = match std::fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::NotFound, "it does not exist"));
        }
        Err(error) => return Err(error),
    };
    if kind.is_dir() {
        return Ok(());
    }
    let why = format!("it is {}, not a directory", described(kind));
    Err(Error::new(ErrorKind::NotADirectory, why))
}

/// The type of a file, for messages.
pub(crate) fn described(kind: FileType) -> &'static str {
    if kind.is_file() {
        "a file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a link"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn only_a_regular_file_is_opened_and_opening_never_blocks() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
        let socket = dir.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).expect("a link");
        for (path, word) in [
            (fifo.as_path(), "a FIFO"),
            (&link, "a FIFO"),
            (&socket, "a socket"),
            (dir.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = open(path).expect_err(word);
            assert_eq!(error.to_string(), format!("it is {word}, not a file"));
            if path != dir.path() {
                let error = check_directory(path).expect_err(word);
                assert_eq!(error.to_string(), format!("it is {word}, not a directory"));
            }
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, [b'x'; 100]).expect("a file");
        assert_eq!(read(&path, 100).expect("as large as allowed").len(), 100);
        let error = read(&path, 99).expect_err("too large");
        assert_eq!(error.to_string(), "it is larger than 99 bytes");
        std::fs::write(&path, [0xFF]).expect("a file");
        assert_eq!(
            read_text(&path, TEXT).expect_err("no text").to_string(),
            "it is not UTF-8 text"
        );
    }
}
