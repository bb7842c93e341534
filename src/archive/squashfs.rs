//! Images: a squashfs from the same tar stream as the tarballs, written by tar2sqfs and read by
//! sqfs2tar, both of squashfs-tools-ng.

use anyhow::Context;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::written::Written;
use super::{Difference, ImageFormat, Level, Options};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::process::{self, Tail};

/// The first bytes of a squashfs.
const MAGIC: &[u8] = b"hsqs";
const HINT: &str = "install squashfs-tools-ng";
/// The part of a program's messages that is shown.
const SHOWN: u64 = 4096;

/// The bytes that tar2sqfs compresses at once.
const BLOCK: u64 = 128 << 10;

/// A squashfs that is written from a tar stream.
#[derive(Debug)]
pub(super) struct Writer {
    child: Child,
    messages: File,
}

impl Writer {
    /// Starts the program that writes `file`.
    ///
    /// # Errors
    /// When tar2sqfs is missing or cannot be started.
    pub(super) fn start(file: &File, options: &Options<'_>) -> Result<Self> {
        let doing = "starting tar2sqfs";
        // xz is smaller; gzip is what the fast level is for.
        let compressor = if options.level == Level::Fast { "gzip" } else { "xz" };
        let epoch = options.source_date_epoch.unwrap_or(0).max(0);
        let messages = tempfile::tempfile().or_fail(ExitCode::Space, doing)?;
        let mut command = program("tar2sqfs")?;
        // The file may have no name. It is opened by its descriptor, and nothing else is written
        // to that.
        command
            .args(["-q", "-f", "-c", compressor, "-j", &options.jobs.to_string()])
            .arg("/proc/self/fd/1")
            .env("SOURCE_DATE_EPOCH", epoch.to_string())
            .stdin(Stdio::piped())
            .stdout(file.try_clone().context(doing)?)
            .stderr(messages.try_clone().context(doing)?);
        Ok(Self { child: command.spawn().context(doing)?, messages })
    }

    /// Where the tar stream is written.
    ///
    /// # Errors
    /// When it was taken before.
    pub(super) fn sink(&mut self) -> Result<impl Write + Send + use<>> {
        self.child.stdin.take().context("writing the image: its stream was taken")
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When the image could not be written.
    pub(super) fn finish(self) -> Result<()> {
        finish(self.child, self.messages, "tar2sqfs", (ExitCode::Space, "writing the image"))
    }

    /// Ends the program; the image is of no use then.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn stop(self) -> Result<()> {
        stop(self.child, "tar2sqfs")
    }
}

/// A squashfs that is read as a tar stream.
#[derive(Debug)]
pub struct Image {
    child: Child,
    messages: File,
}

/// The first difference of two images.
///
/// # Errors
/// When one of them cannot be read.
pub(crate) fn first_difference(one: File, other: File) -> Result<Option<Difference>> {
    let open = |file: &File| {
        Image::open(Path::new("of a build"), file)?
            .context("reading an image: it is not a squashfs")
    };
    let (mut one, mut other) = (open(&one)?, open(&other)?);
    let difference = osimg_tar::first_difference(one.stream()?, other.stream()?);
    if matches!(difference, Ok(None)) {
        one.finish()?;
        other.finish()?;
    } else {
        // The rest of the streams is not read.
        one.stop()?;
        other.stop()?;
    }
    difference.context("comparing the two builds")
}

impl Image {
    /// Opens the file if it is a squashfs.
    ///
    /// # Errors
    /// When sqfs2tar is missing or cannot be started.
    pub fn open(path: &Path, file: &File) -> Result<Option<Self>> {
        use std::os::unix::fs::FileExt;
        let mut magic = [0; MAGIC.len()];
        if !file.read_exact_at(&mut magic, 0).is_ok_and(|()| magic == MAGIC) {
            return Ok(None);
        }
        let doing = || format!("reading the image {}", path.display());
        let messages = tempfile::tempfile().with_context(doing)?;
        // Through the descriptor: no name of the user's is an option of the program.
        let mut command = program("sqfs2tar")?;
        command
            .args(["--root-becomes", ".", "/dev/stdin"])
            .stdin(file.try_clone()?)
            .stdout(Stdio::piped())
            .stderr(messages.try_clone()?);
        Ok(Some(Self { child: command.spawn().with_context(doing)?, messages }))
    }

    /// The tar stream.
    ///
    /// # Errors
    /// When it was taken before.
    pub fn stream(&mut self) -> Result<impl Read + use<>> {
        self.child.stdout.take().context("reading the image: its stream was taken")
    }

    fn stop(self) -> Result<()> {
        stop(self.child, "sqfs2tar")
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When the image is damaged.
    pub fn finish(self) -> Result<()> {
        finish(self.child, self.messages, "sqfs2tar", (ExitCode::Unexpected, "reading the image"))
    }
}

/// An image that was written, by its open file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn measured(file: &File) -> Result<Written> {
    Written::measured(file, ImageFormat::Img, (0, BLOCK))
}

/// Waits for a program; its failure has the last lines that it printed.
fn finish(
    mut child: Child,
    mut messages: File,
    name: &str,
    (code, doing): (ExitCode, &str),
) -> Result<()> {
    let status = process::wait(&mut child, name).with_context(|| doing.to_owned())?;
    if status.success() {
        return Ok(());
    }
    let said = said(&mut messages)?;
    Err(Failure::new(code, format!("{doing}: {name} ended with {status}{said}")).into())
}

fn stop(mut child: Child, name: &str) -> Result<()> {
    // It may have ended.
    let _ = child.kill();
    process::wait(&mut child, name).with_context(|| format!("stopping {name}")).map(drop)
}

/// Fails if the program that writes images is missing.
///
/// # Errors
/// When it is.
pub(crate) fn check_program() -> Result<()> {
    program("tar2sqfs").map(drop)
}

#[expect(
    clippy::disallowed_methods,
    reason = "its standard input or output is a stream, which process::run does not have"
)]
fn program(name: &str) -> Result<Command> {
    let path = process::find_program(name).ok_or_else(|| {
        Failure::new(ExitCode::Host, format!("there is no program {name} on this host")).hint(HINT)
    })?;
    let mut command = Command::new(path);
    command.env_clear().env("LC_ALL", "C.UTF-8");
    Ok(command)
}

fn said(messages: &mut File) -> Result<String> {
    messages.flush()?;
    messages.rewind()?;
    let mut text = Vec::new();
    messages.take(SHOWN).read_to_end(&mut text)?;
    let mut tail = Tail::new(SHOWN as usize);
    String::from_utf8_lossy(&text).lines().for_each(|line| tail.push(line));
    let last = tail.last(3);
    Ok(if last.trim().is_empty() { String::new() } else { format!(": {}", last.trim_end()) })
}
