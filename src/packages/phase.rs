//! The phases of a driver run, and the option that isolates it.

/// Python's option to ignore the environment and the user's own modules.
pub(super) const ISOLATED: &str = "-I";

/// The phases of a driver's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Downloads only metadata.
    Resolve,
    /// Downloads metadata and packages; there is a network, and no package code runs.
    Download,
    /// Fetches files by their path in a repository, without metadata.
    Fetch,
    /// Runs rpm; there is no network.
    Install,
    /// Runs rpm on listed files, without repositories.
    InstallFiles,
}

impl Phase {
    /// Whether package code runs. In that case there is no network, and only this build's view of
    /// the cache.
    pub(super) fn installs(self) -> bool {
        matches!(self, Self::Install | Self::InstallFiles)
    }

    /// Its name in the request.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Download => "download",
            Self::Fetch => "fetch",
            Self::Install => "install",
            Self::InstallFiles => "install-files",
        }
    }
}
