//! Hints that several failures share.

/// Hint for an unexpected state of the root.
pub(super) const LOOK: &str =
    "to inspect the root: build with --keep on-failure, then run osimg shell";
/// Hint for packages or metadata that fail a check.
pub(super) const CHANGED: &str = "packages or metadata were changed after they were signed or \
                                  indexed: another mirror may have the correct ones";
/// Hint for a crash of the package manager, for example on damaged metadata.
pub(super) const BROKE: &str = "-v shows its full output; the cause may be damaged metadata or \
                                packages: try another mirror, or an empty cache (--cache DIR)";
