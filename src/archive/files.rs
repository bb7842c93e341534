//! A tree into files of any format, from one pass over the tree.

use anyhow::Context;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::squashfs::{self, Writer};
use super::written::Written;
use super::{Format, ImageFormat, Options, Output, Reason, Summary, oci, write_tree};
use crate::error::{ExitCode, Result, ResultExt};

/// Packs `tree`, of this architecture as rpm names it, into all files; the outputs of the summary
/// are the tarballs among them.
///
/// # Errors
/// As [`write_tree`], and when tar2sqfs is missing or fails.
pub(crate) fn write_files(
    tree: &Path,
    files: &[(ImageFormat, &File)],
    arch: &str,
    options: &Options<'_>,
) -> Result<(Summary, Vec<Written>)> {
    let (mut outputs, mut images) = (Vec::new(), Vec::new());
    // The output that each file is written by. A tgz is compressed once.
    let mut of_file = Vec::new();
    let mut tgz = None;
    for (format, file) in files {
        let next = outputs.len();
        of_file.push(if has_tgz(*format) { *tgz.get_or_insert(next) } else { next });
        if of_file.last() != Some(&next) {
            continue;
        }
        outputs.push(match format {
            ImageFormat::Tarball(Format::Tgz) | ImageFormat::Oci => {
                Output { format: Format::Tgz, sink: Box::new(Copies::start(files)?) }
            }
            ImageFormat::Tarball(format) => Output { format: *format, sink: Box::new(*file) },
            ImageFormat::Img => {
                let mut writer = Writer::start(file, options)?;
                let sink = writer.sink()?;
                images.push(writer);
                Output { format: Format::Tar, sink: Box::new(sink) }
            }
        });
    }
    let packed = write_tree(tree, outputs, options);
    let pipe_failed =
        packed.as_ref().err().is_some_and(|error| matches!(error.reason(), Reason::Io(_)));
    // What tar2sqfs reports explains a pipe that it closed.
    let ended = images.into_iter().try_for_each(|writer| match packed {
        Err(_) if !pipe_failed => writer.stop(),
        _ => writer.finish(),
    });
    let mut summary = match (packed, ended) {
        (Err(error), _) if !pipe_failed => return Err(error.into()),
        (_, Err(ended)) => return Err(ended),
        (packed, Ok(())) => packed?,
    };
    let mut written = Vec::new();
    let packed = std::mem::take(&mut summary.outputs);
    for ((format, file), output) in files.iter().zip(of_file) {
        let packed = packed.get(output).context("packing: an output is missing")?;
        written.push(match format {
            ImageFormat::Img => squashfs::measured(file)?,
            ImageFormat::Oci => {
                let created = options.source_date_epoch.unwrap_or(0);
                let about = oci::About { arch, created, annotations: &[] };
                oci::finish(file, packed, &summary.sha256, &about)?
            }
            ImageFormat::Tarball(_) => {
                summary.outputs.push(packed.clone());
                Written::tarball(packed.clone())
            }
        });
    }
    Ok((summary, written))
}

/// Whether a file of the format holds a tgz.
fn has_tgz(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Tarball(Format::Tgz) | ImageFormat::Oci)
}

/// All files that hold the tgz.
struct Copies<'a>(Vec<&'a File>);

impl<'a> Copies<'a> {
    fn start(files: &[(ImageFormat, &'a File)]) -> Result<Self> {
        let mut copies = Vec::new();
        for (format, file) in files.iter().filter(|(format, _)| has_tgz(*format)) {
            if *format == ImageFormat::Oci {
                oci::start(file).or_fail(ExitCode::Space, "writing the container image")?;
            }
            copies.push(*file);
        }
        Ok(Self(copies))
    }
}

impl Write for Copies<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.iter_mut().try_for_each(|file| file.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(Write::flush)
    }
}
