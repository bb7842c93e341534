//! The sources of packages and the keys that sign them: `[[packages.repository]]` and
//! `[[packages.key]]`.

use serde::Serialize;
use std::path::PathBuf;

use crate::secrets;

/// `[[packages.repository]]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repository {
    /// Its id.
    pub id: String,
    /// Its descriptive name.
    pub name: Option<String>,
    /// Its address.
    pub source: RepositorySource,
    /// Whether it is enabled; a recipe's `repo` lines can change this.
    pub enabled: bool,
    /// The repository with the lowest number is preferred.
    pub priority: Option<u32>,
    /// Among equal priorities, the lowest cost is preferred.
    pub cost: Option<u32>,
    /// Whether the metadata must be signed.
    pub signed_metadata: bool,
    /// Whether its packages override modules.
    pub module_hotfixes: bool,
    /// Packages that must not be installed from it.
    pub exclude: Vec<String>,
    /// If not empty, the only packages that may be installed from it.
    pub include: Vec<String>,
    /// The authorities that its server's certificate is checked against.
    pub ca: Option<PathBuf>,
    /// The client certificate.
    pub client_cert: Option<PathBuf>,
    /// The key of that certificate.
    pub client_key: Option<PathBuf>,
    /// The URL of a proxy.
    #[serde(serialize_with = "secrets::serialize_optional_url")]
    pub proxy: Option<String>,
    /// The user name for logging in.
    pub username: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
}

impl Repository {
    /// A repository with the defaults of the settings file; the id and source are not checked.
    #[must_use]
    pub fn new(id: impl Into<String>, source: RepositorySource) -> Self {
        Self {
            id: id.into(),
            name: None,
            source,
            enabled: true,
            priority: None,
            cost: None,
            signed_metadata: false,
            module_hotfixes: false,
            exclude: Vec::new(),
            include: Vec::new(),
            ca: None,
            client_cert: None,
            client_key: None,
            proxy: None,
            username: None,
            password_file: None,
        }
    }
}

/// The address of a repository. The URLs may contain dnf variables such as `$releasever`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositorySource {
    /// One or more base URLs.
    Baseurl(#[serde(serialize_with = "secrets::serialize_urls")] Vec<String>),
    /// The URL of a metalink.
    Metalink(#[serde(serialize_with = "secrets::serialize_url")] String),
    /// The URL of a mirror list.
    Mirrorlist(#[serde(serialize_with = "secrets::serialize_url")] String),
}

/// `[[packages.key]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its file or URL.
    pub source: KeySource,
    /// Its full fingerprint: 40 or 64 upper-case hexadecimal digits.
    pub fingerprint: String,
}

/// The origin of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySource {
    /// A file on the build host.
    File(PathBuf),
    /// A URL.
    Url(#[serde(serialize_with = "secrets::serialize_url")] String),
}
