//! A tree into files of any format, from one pass over the tree.

use anyhow::Context;
use std::fs::File;
use std::path::Path;

use super::squashfs::{self, Writer};
use super::written::Written;
use super::{Format, ImageFormat, Options, Output, Reason, Summary, write_tree};
use crate::error::Result;

/// Packs `tree` into all files; the outputs of the summary are the tarballs among them.
///
/// # Errors
/// As [`write_tree`], and when tar2sqfs is missing or fails.
pub fn write_files(
    tree: &Path,
    files: &[(ImageFormat, &File)],
    options: &Options<'_>,
) -> Result<(Summary, Vec<Written>)> {
    let (mut outputs, mut images) = (Vec::new(), Vec::new());
    for (format, file) in files {
        outputs.push(match format {
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
    for (packed, (format, file)) in std::mem::take(&mut summary.outputs).into_iter().zip(files) {
        if *format == ImageFormat::Img {
            written.push(squashfs::measured(file).context("reading the image")?);
        } else {
            summary.outputs.push(packed.clone());
            written.push(Written::tarball(packed));
        }
    }
    Ok((summary, written))
}
