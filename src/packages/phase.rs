//! The phases in which a driver is run, and the option that isolates it.

/// The option of Python that ignores the environment and the user's own modules.
pub(super) const ISOLATED: &str = "-I";

/// The phases of a driver's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Metadata come, and no package.
    Resolve,
    /// Metadata and packages come; there is a network, and no package code runs.
    Download,
    /// Files come from repositories by their place, without metadata.
    Fetch,
    /// rpm works; there is no network.
    Install,
    /// rpm works on files that are named one by one, whatever the repositories have.
    InstallFiles,
}

impl Phase {
    /// Whether package code runs: there is no network then, and only this build's view of the
    /// cache.
    pub fn installs(self) -> bool {
        matches!(self, Self::Install | Self::InstallFiles)
    }

    /// Its name in the request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Download => "download",
            Self::Fetch => "fetch",
            Self::Install => "install",
            Self::InstallFiles => "install-files",
        }
    }
}
