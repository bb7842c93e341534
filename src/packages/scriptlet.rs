//! A failed scriptlet.

/// A failed scriptlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedScriptlet {
    /// The package's name, as far as the package manager reports it.
    pub package: String,
    /// The package manager's message.
    pub message: String,
    /// The last lines that it printed.
    pub output: String,
}

impl FailedScriptlet {
    /// Parses the message of dnf and rpm: `Error in POSTIN scriptlet in rpm package NAME`.
    pub(super) fn new(message: &str, output: String) -> Self {
        let package = message.rsplit_once("package ").map_or("", |(_, name)| name.trim());
        Self { package: package.to_owned(), message: message.to_owned(), output }
    }
}
