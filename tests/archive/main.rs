//! Archives checked by independent tools: GNU tar with Anaconda's command line, bsdtar, Python's
//! tarfile, gzip, bzip2, xz and file.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod blocks;
mod bzip2;
mod consumers;
mod failures;
mod fidelity;
mod form;
mod images;
mod many;
mod outputs;
mod pack;
mod read_foreign;
mod read_hostile;
mod releases;
mod reproducibility;
mod support;
