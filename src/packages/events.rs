//! The answers of the package managers' drivers: one JSON object per line.

use serde::{Deserialize, Serialize};

/// One line of a driver.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// The repositories with metadata being loaded.
    Loading {
        /// Their ids.
        repositories: Vec<String>,
    },
    /// The item being read, if damage in it can crash the process.
    Reading {
        /// Its name; `None` after it was read.
        what: Option<String>,
    },
    /// A package to be installed.
    Planned {
        /// The package.
        package: PlannedPackage,
    },
    /// The packages that satisfy one spec of an install statement.
    Spec {
        /// The spec.
        spec: SpecMatch,
    },
    /// The rest of the plan; it ends the plan.
    Plan(Box<TransactionPlan>),
    /// Download progress.
    Download {
        /// Bytes so far.
        done: u64,
        /// Total bytes.
        total: u64,
        /// The current file.
        item: String,
    },
    /// A remark for the user.
    Note {
        /// The remark.
        message: String,
    },
    /// A download that is retried from another mirror.
    Retry {
        /// The file.
        item: String,
        /// The reason.
        message: String,
    },
    /// A package is being unpacked.
    Package {
        /// Its name, version and architecture.
        package: String,
        /// Its number in the transaction.
        index: u64,
        /// The number of packages in the transaction.
        total: u64,
    },
    /// A scriptlet of this package starts.
    Scriptlet {
        /// Its name, version and architecture.
        package: String,
    },
    /// The scriptlets after the whole transaction start.
    Posttrans,
    /// A line that rpm or a scriptlet printed.
    Output {
        /// The line.
        line: String,
    },
    /// A scriptlet failed, even if the package manager ignores it.
    ScriptletFailed {
        /// The package manager's message.
        message: String,
    },
    /// The driver failed.
    Error(DriverError),
    /// The driver finished.
    Done,
}

/// Why a driver failed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct DriverError {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// The package manager's message.
    pub message: String,
    /// The line of the recipe that caused it.
    pub line: Option<usize>,
    /// The specs without a match.
    #[serde(default)]
    pub specs: Vec<AskedSpec>,
    /// For each of these specs, packages with a similar name.
    #[serde(default)]
    pub near: std::collections::BTreeMap<String, Vec<String>>,
    /// The number of further specs.
    #[serde(default)]
    pub more: usize,
    /// Specs that match only excluded packages.
    #[serde(default)]
    pub excluded: Vec<String>,
    /// The existing groups or repositories, or the other members of a group.
    #[serde(default)]
    pub known: Vec<String>,
    /// Directories with packages that the sandbox does not see.
    #[serde(default)]
    pub directories: Vec<String>,
    /// The seconds that a busy server asks to wait.
    pub retry_after: Option<u64>,
}

/// The kinds of failure that a driver distinguishes. `answers.rs` has the exit status and hint of
/// each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ErrorKind {
    /// The package manager's own library is missing.
    Host,
    /// There are no repositories to work with.
    Settings,
    /// The recipe enables or disables a repository that does not exist.
    UnknownRepository,
    /// A server or the connection to it failed.
    Network,
    /// A server's certificate is not trusted.
    Certificate,
    /// A server denies access.
    Refused,
    /// There is no repository at the address.
    NoRepository,
    /// A file listed in the metadata does not exist.
    Gone,
    /// A local repository has packages in directories that the sandbox does not see.
    Outside,
    /// Metadata cannot be parsed.
    Metadata,
    /// A download is larger than its limit.
    TooLarge,
    /// The package cache is full.
    CacheFull,
    /// Metadata are not signed by a pinned key, although they must be.
    UnsignedMetadata,
    /// A file does not match the metadata.
    Checksum,
    /// rpm does not accept a pinned key.
    Key,
    /// A request cannot be understood, or its object does not exist.
    Spec,
    /// Requested packages are in no repository.
    Missing,
    /// Dependencies cannot be satisfied.
    Dependency,
    /// A package is not signed by a pinned key.
    UnsignedPackage,
    /// A package was changed after it was signed.
    DamagedPackage,
    /// The workdir is full.
    NoSpace,
    /// rpm refused or failed.
    Transaction,
    /// A group's mandatory member cannot be installed.
    Member,
    /// A bug.
    Unexpected,
}

/// A spec with its line in the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedSpec {
    /// As written.
    pub text: String,
    /// Its line in the recipe.
    pub line: usize,
}

/// The transaction as resolved by the package manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TransactionPlan {
    /// Packages to be installed; reported one by one before the rest.
    #[serde(default)]
    pub install: Vec<PlannedPackage>,
    /// NEVRAs to be removed.
    pub remove: Vec<String>,
    /// The packages that satisfy each spec of an install statement; reported one by one before the
    /// rest.
    #[serde(default)]
    pub specs: Vec<SpecMatch>,
    /// The groups with their mandatory members, by id.
    pub groups: Vec<GroupMatch>,
    /// The enabled repositories.
    pub repositories: Vec<RepositoryState>,
    /// The version of the rpm that will run it.
    pub rpm: String,
}

/// A package that a transaction installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPackage {
    /// `name-epoch:version-release.arch`.
    pub nevra: String,
    /// Name.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Version.
    pub version: String,
    /// Release.
    pub release: String,
    /// Id of the repository it comes from.
    pub repo: String,
    /// Its path below the repository's base.
    pub location: String,
    /// Bytes to download.
    pub size: u64,
    /// Installed size in bytes.
    pub installed: u64,
    /// Build time in seconds since 1970.
    pub built: i64,
    /// `algorithm:hex`, from the repository's metadata.
    pub checksum: Option<String>,
    /// The reason: requested, a group member, or a dependency.
    pub reason: String,
    /// The path of its file in the sandbox, now or after the download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The packages that satisfy a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecMatch {
    /// As written.
    pub text: String,
    /// Its line in the recipe.
    pub line: usize,
    /// The NEVRAs, any of which satisfies it.
    pub packages: Vec<String>,
}

/// A group or environment that the recipe installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMatch {
    /// As written.
    pub name: String,
    /// Its id in the repositories' comps.
    pub id: String,
    /// `group` or `environment`.
    pub kind: String,
    /// Its line in the recipe.
    pub line: usize,
    /// The names of its mandatory packages.
    pub mandatory: Vec<String>,
}

/// The state of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryState {
    /// Its id.
    pub id: String,
    /// Its descriptive name.
    pub name: String,
    /// The revision in its metadata.
    pub revision: String,
    /// `sha256:` and the digest of its repomd.xml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repomd: Option<String>,
}

impl TransactionPlan {
    /// Total size of the package files in bytes.
    #[must_use]
    pub(crate) fn download_size(&self) -> u64 {
        self.install.iter().map(|p| p.size).sum()
    }

    /// Total installed size in bytes.
    #[must_use]
    pub(crate) fn installed_size(&self) -> u64 {
        self.install.iter().map(|p| p.installed).sum()
    }

    /// The newest build time among the packages. It can date the image independently of the time of
    /// the build.
    #[must_use]
    pub(crate) fn newest_build(&self) -> Option<i64> {
        self.install.iter().map(|p| p.built).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_driver_are_parsed() {
        let line = r#"{"event": "error", "kind": "missing", "message": "",
            "specs": [{"text": "hello", "line": 3, "column": 9}],
            "near": {"hello": ["hello-world"]}}"#;
        let Event::Error(error) = serde_json::from_str(line).expect("an event") else {
            panic!("an error event")
        };
        assert_eq!(error.kind, ErrorKind::Missing);
        assert_eq!(error.specs, [AskedSpec { text: "hello".into(), line: 3 }]);
        assert_eq!(
            serde_json::from_str::<Event>(r#"{"event":"posttrans"}"#).expect("an event"),
            Event::Posttrans
        );
    }
}
