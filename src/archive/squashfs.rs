//! Images: a squashfs from the same tar stream as the tarballs, written by tar2sqfs and read by
//! sqfs2tar, both of squashfs-tools-ng.

use anyhow::Context;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Format, Level, Options, Output, Summary, write_tree};
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::files;
use crate::process::{self, Tail};

/// The suffix of images. Anaconda mounts a file with any name that is not a tarball's.
pub const SUFFIX: &str = ".img";
/// The first bytes of a squashfs.
const MAGIC: &[u8] = b"hsqs";
const HINT: &str = "install squashfs-tools-ng";
/// The part of a program's messages that is shown.
const SHOWN: u64 = 4096;

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Whether the name is that of an image.
#[must_use]
pub fn is_image_name(path: &Path) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(SUFFIX))
}

/// Packs `tree` into the squashfs `image`, which appears complete or not at all.
///
/// # Errors
/// When tar2sqfs is missing or fails, and as [`write_tree`].
pub fn write_image(tree: &Path, image: &Path, options: &Options<'_>) -> Result<(Summary, Written)> {
    let doing = || format!("writing the image {}", image.display());
    let directory =
        image.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".osimg-")
        .tempfile_in(directory)
        .or_fail(ExitCode::Space, doing())?;
    // xz is smaller; gzip is what the fast level is for.
    let compressor = if options.level == Level::Fast { "gzip" } else { "xz" };
    let jobs = options.jobs.to_string();
    let mut command = program("tar2sqfs")?;
    command.args(["-q", "-f", "-c", compressor, "-j", &jobs]).arg(temporary.path());
    if let Some(epoch) = options.source_date_epoch {
        command.env("SOURCE_DATE_EPOCH", epoch.max(0).to_string());
    } else {
        command.env("SOURCE_DATE_EPOCH", "0");
    }
    let mut messages = tempfile::tempfile().with_context(doing)?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(messages.try_clone()?)
        .spawn()
        .with_context(doing)?;
    let sink = child.stdin.take().with_context(doing)?;
    let packed =
        write_tree(tree, vec![Output { format: Format::Tar, sink: Box::new(sink) }], options);
    if packed.is_err() {
        // Its messages explain a pipe that it closed.
        let _ = child.kill();
    }
    let status = process::wait(&mut child, "tar2sqfs").with_context(doing)?;
    let stopped_early =
        packed.as_ref().err().is_some_and(|error| matches!(error.reason(), super::Reason::Io(_)));
    if (packed.is_ok() || stopped_early) && !status.success() {
        return Err(Failure::new(
            ExitCode::Space,
            format!("{}: tar2sqfs ended with {status}{}", doing(), said(&mut messages)?),
        )
        .into());
    }
    let summary = packed.with_context(doing)?;
    let file = files::open(temporary.path()).with_context(doing)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(doing)?;
    file.sync_all().with_context(doing)?;
    let written = measured(file)?;
    temporary.persist(image).map_err(|error| error.error).or_fail(ExitCode::Space, doing())?;
    Ok((summary, written))
}

/// A squashfs that is read as a tar stream.
#[derive(Debug)]
pub struct Image {
    child: Child,
    messages: File,
}

impl Image {
    /// Opens the file if it is a squashfs.
    ///
    /// # Errors
    /// When sqfs2tar is missing or cannot be started.
    pub fn open(path: &Path, file: &mut File) -> Result<Option<Self>> {
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

    /// Waits for the end.
    ///
    /// # Errors
    /// When the image is damaged.
    pub fn finish(mut self) -> Result<()> {
        let status = process::wait(&mut self.child, "sqfs2tar").context("reading the image")?;
        if status.success() {
            return Ok(());
        }
        let said = said(&mut self.messages)?;
        Err(Failure::new(
            ExitCode::Unexpected,
            format!("reading the image: sqfs2tar ended with {status}{said}"),
        )
        .into())
    }
}

/// The size and digest of a file.
///
/// # Errors
/// When it cannot be read.
pub fn measured(mut file: impl Read) -> Result<Written> {
    let mut sum = Sha256::new();
    let failed = |error| anyhow::Error::from(error).context("reading the image");
    let bytes = files::read_chunks(&mut file, failed, |part| {
        sum.update(part);
        Ok(())
    })?;
    Ok(Written { bytes, sha256: hex::encode(sum.finalize()) })
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
    use std::io::Seek;
    messages.flush()?;
    messages.rewind()?;
    let mut text = Vec::new();
    messages.take(SHOWN).read_to_end(&mut text)?;
    let mut tail = Tail::new(SHOWN as usize);
    String::from_utf8_lossy(&text).lines().for_each(|line| tail.push(line));
    let last = tail.last(3);
    Ok(if last.trim().is_empty() { String::new() } else { format!(": {}", last.trim_end()) })
}
