//! What the drivers of the package managers answer: one JSON object a line.

use serde::{Deserialize, Serialize};

/// One line of a driver.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// The repositories whose metadata is being loaded.
    Loading {
        /// Their ids.
        repositories: Vec<String>,
    },
    /// What is being read, if damage in it can end the whole process.
    Reading {
        /// Its name; `None` when it was read.
        what: Option<String>,
    },
    /// One package that comes in.
    Planned {
        /// The package.
        package: PlannedPackage,
    },
    /// What one spec of an install statement can mean among them.
    Spec {
        /// The spec.
        spec: SpecMatch,
    },
    /// What else the transaction will do; ends the plan.
    Plan(Box<TransactionPlan>),
    /// Bytes downloaded of all.
    Download {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
        /// The file in hand.
        item: String,
    },
    /// What the person may want to know.
    Note {
        /// The remark.
        message: String,
    },
    /// A download that is tried again from another mirror.
    Retry {
        /// The file.
        item: String,
        /// Why.
        message: String,
    },
    /// A package is being unpacked.
    Package {
        /// Its name, version and architecture.
        package: String,
        /// Its place in the transaction.
        index: u64,
        /// Packages in the transaction.
        total: u64,
    },
    /// A scriptlet of that package begins.
    Scriptlet {
        /// Its name, version and architecture.
        package: String,
    },
    /// The scriptlets that follow the whole transaction begin.
    Posttrans,
    /// A line that rpm or a scriptlet printed.
    Output {
        /// The line.
        line: String,
    },
    /// A scriptlet failed, whatever the package manager makes of it.
    ScriptletFailed {
        /// What it says of it.
        message: String,
    },
    /// The driver gave up.
    Error(DriverError),
    /// The driver reached its end.
    Done,
}

/// Why a driver gave up.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct DriverError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What the package manager says.
    pub message: String,
    /// The line of the recipe that it is about.
    pub line: Option<usize>,
    /// The specs that nothing matches.
    #[serde(default)]
    pub specs: Vec<AskedSpec>,
    /// For each of them, packages with a similar name.
    #[serde(default)]
    pub near: std::collections::BTreeMap<String, Vec<String>>,
    /// How many more of them there are.
    #[serde(default)]
    pub more: usize,
    /// Those of them that an exclude hides.
    #[serde(default)]
    pub excluded: Vec<String>,
    /// The existing groups or repositories, or the other members of a group.
    #[serde(default)]
    pub known: Vec<String>,
    /// Directories of packages that the sandbox does not see.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Seconds that a busy server asks to be left alone for.
    pub retry_after: Option<u64>,
}

/// The kinds of failure that a driver tells apart. Each has its exit status and its hint in
/// `answers.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ErrorKind {
    /// The package manager's own library is missing.
    Host,
    /// The settings leave nothing to work with.
    Settings,
    /// The recipe enables or disables a repository that does not exist.
    UnknownRepository,
    /// A server or the way to it failed.
    Network,
    /// A server's certificate is not trusted.
    Certificate,
    /// A server knows the client and refuses it.
    Refused,
    /// An address without a repository.
    NoRepository,
    /// A file that the metadata name does not exist.
    Gone,
    /// Packages of a repository on this machine are in directories that the sandbox does not see.
    Outside,
    /// Metadata came and cannot be read.
    Metadata,
    /// The package cache is full.
    CacheFull,
    /// Metadata that must be signed by a pinned key are not.
    UnsignedMetadata,
    /// A file is not what the metadata say.
    Checksum,
    /// rpm does not take a pinned key.
    Key,
    /// Something that was asked for cannot be understood or found.
    Spec,
    /// Packages asked for are in no repository.
    Missing,
    /// Dependencies cannot be satisfied.
    Dependency,
    /// A package that no pinned key signed.
    UnsignedPackage,
    /// A package that changed after it was signed.
    DamagedPackage,
    /// The workdir is full.
    NoSpace,
    /// rpm refused or failed.
    Transaction,
    /// A group's mandatory member that cannot be installed.
    Member,
    /// A defect.
    Unexpected,
}

/// A spec with its place in the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedSpec {
    /// As written.
    pub text: String,
    /// Its line in the recipe.
    pub line: usize,
}

/// What a transaction will do, resolved by the package manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TransactionPlan {
    /// Packages that come in; told one by one before the rest.
    #[serde(default)]
    pub install: Vec<PlannedPackage>,
    /// NEVRAs that go out.
    pub remove: Vec<String>,
    /// What each spec of an install statement can mean among them; told one by one before the rest.
    #[serde(default)]
    pub specs: Vec<SpecMatch>,
    /// The groups, by id, with the members they cannot be without.
    pub groups: Vec<GroupMatch>,
    /// The repositories that were enabled.
    pub repositories: Vec<RepositoryState>,
    /// The version of the rpm that will carry it out.
    pub rpm: String,
}

/// A package that a transaction brings in.
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
    /// Its place below the repository's base.
    pub location: String,
    /// Bytes to download.
    pub size: u64,
    /// Bytes when installed.
    pub installed: u64,
    /// When it was built, in seconds since 1970.
    pub built: i64,
    /// `algorithm:hex`, from the repository's metadata.
    pub checksum: Option<String>,
    /// Why: asked for, a group's, or a dependency.
    pub reason: String,
    /// Where the package manager has its file, or will have it, as the sandbox sees it.
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
    /// NEVRAs, any one of which satisfies it.
    pub packages: Vec<String>,
}

/// A group or environment that a recipe asks for.
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
    /// Names of the packages it cannot be without.
    pub mandatory: Vec<String>,
}

/// A repository as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryState {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The revision that its metadata says.
    pub revision: String,
    /// `sha256:` and the digest of its repomd.xml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repomd: Option<String>,
}

impl TransactionPlan {
    /// Bytes that the packages take up as files.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.install.iter().map(|p| p.size).sum()
    }

    /// Bytes that they take up when installed.
    #[must_use]
    pub fn installed_size(&self) -> u64 {
        self.install.iter().map(|p| p.installed).sum()
    }

    /// The newest build time among them: what an image of them can be dated by, whenever it is
    /// made.
    #[must_use]
    pub fn newest_build(&self) -> Option<i64> {
        self.install.iter().map(|p| p.built).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_driver_are_understood() {
        let line = r#"{"event": "error", "kind": "missing", "message": "", "specs": [{"text": "hello", "line": 3, "column": 9}], "near": {"hello": ["hello-world"]}}"#;
        let Event::Error(error) = serde_json::from_str(line).expect("an event") else { panic!("an error event") };
        assert_eq!(error.kind, ErrorKind::Missing);
        assert_eq!(error.specs, [AskedSpec { text: "hello".into(), line: 3 }]);
        assert_eq!(serde_json::from_str::<Event>(r#"{"event":"posttrans"}"#).expect("an event"), Event::Posttrans);
    }
}
