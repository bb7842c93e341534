//! The labels of an image: which policy they come from. The matcher is `osimg-selinux`.

mod policy;

use std::path::Path;

pub use osimg_selinux::{FileContexts, Lookup, Source, Sources};

use crate::error::{ExitCode, Failure, Result};

/// Reads the policy of the image whose root is `tree`; `None` if the image has no SELinux policy.
///
/// # Errors
/// Fails if the image's configuration names a policy that cannot be read, and as [`parse`] does.
pub fn load_from_tree(tree: &Path) -> Result<Option<FileContexts>> {
    policy::sources_of_tree(tree)?.map(|sources| parse(&sources)).transpose()
}

/// As [`load_from_tree`], with a function that reads the image's files by their paths inside the
/// image.
///
/// # Errors
/// As [`load_from_tree`].
pub fn load_from(read: &dyn Fn(&str) -> Result<Option<Source>>) -> Result<Option<FileContexts>> {
    let read = |path: &Path| path.to_str().map_or(Ok(None), read);
    policy::sources_of(read, "the image")?.map(|sources| parse(&sources)).transpose()
}

/// Reads a `file_contexts` of the host and its sibling files.
///
/// # Errors
/// Fails if the file cannot be read or exists only in its compiled form, and as [`parse`] does.
pub fn load(file: &Path) -> Result<FileContexts> {
    parse(&policy::sources_beside(file)?)
}

/// Parses and compiles the texts of a policy.
///
/// # Errors
/// Names file, line and problem of a spec that cannot be used.
fn parse(sources: &Sources) -> Result<FileContexts> {
    FileContexts::parse(sources).map_err(|error| {
        Failure::new(ExitCode::Transaction, format!("reading SELinux file contexts {error}"))
            .hint("fix the policy, or name another one: --selinux policy=FILE_CONTEXTS")
            .into()
    })
}
