//! A scriptlet that failed.

/// A scriptlet that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedScriptlet {
    /// The package's name, as far as the package manager says it.
    pub package: String,
    /// What it says.
    pub message: String,
    /// The last lines that it printed.
    pub output: String,
}

impl FailedScriptlet {
    /// From the sentence of dnf and rpm: `Error in POSTIN scriptlet in rpm package NAME`.
    pub fn new(message: &str, output: String) -> Self {
        let package = message.rsplit_once("package ").map_or("", |(_, name)| name.trim());
        Self { package: package.to_owned(), message: message.to_owned(), output }
    }
}
