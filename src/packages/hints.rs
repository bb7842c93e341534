//! Hints that several failures share.

/// Hint for a root that is not what it should be.
pub(super) const LOOK: &str = "look at the root: build with --keep on-failure, then osimg shell";
/// Hint for packages or metadata that are not what they should be.
pub(super) const CHANGED: &str =
    "packages or metadata of a repository were changed since they were signed or indexed: another mirror may have the right ones";
/// Hint for a package manager that breaks down, as it does over damaged metadata.
pub(super) const BROKE: &str =
    "-v shows all its output; damaged metadata or packages can be behind it: try another mirror, or an empty cache (--cache DIR)";
