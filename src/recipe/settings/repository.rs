//! Where packages come from, and the keys that sign them: `[[packages.repository]]` and
//! `[[packages.key]]`.

use serde::Serialize;
use std::path::PathBuf;

use crate::secrets;

/// `[[packages.repository]]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repository {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: Option<String>,
    /// Where it is.
    pub source: RepositorySource,
    /// Whether it is used; a recipe's `repo` lines can say otherwise.
    pub enabled: bool,
    /// Lower is taken first.
    pub priority: Option<u32>,
    /// Lower is taken first among equals.
    pub cost: Option<u32>,
    /// Whether the metadata must be signed too.
    pub signed_metadata: bool,
    /// Whether its packages override modules.
    pub module_hotfixes: bool,
    /// Packages it must not bring in.
    pub exclude: Vec<String>,
    /// The only packages it may bring in, when there are any.
    pub include: Vec<String>,
    /// Certificates that its server's is checked against.
    pub ca: Option<PathBuf>,
    /// The certificate shown to the server.
    pub client_cert: Option<PathBuf>,
    /// The key of that certificate.
    pub client_key: Option<PathBuf>,
    /// The URL of a proxy.
    #[serde(serialize_with = "secrets::serialize_optional_url")]
    pub proxy: Option<String>,
    /// Who to log in as.
    pub username: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
}

impl Repository {
    /// A repository with the defaults of the settings file; the id and source are taken as they
    /// are.
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

/// Where a repository is. dnf's variables such as `$releasever` may stand in the URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositorySource {
    /// At one of these URLs.
    Baseurl(#[serde(serialize_with = "secrets::serialize_urls")] Vec<String>),
    /// Where the metalink behind this URL says.
    Metalink(#[serde(serialize_with = "secrets::serialize_url")] String),
    /// Where the list behind this URL says.
    Mirrorlist(#[serde(serialize_with = "secrets::serialize_url")] String),
}

/// `[[packages.key]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Where it is.
    pub source: KeySource,
    /// Its full fingerprint: 40 or 64 upper-case hexadecimal digits.
    pub fingerprint: String,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySource {
    /// In a file of the build host.
    File(PathBuf),
    /// Behind a URL.
    Url(#[serde(serialize_with = "secrets::serialize_url")] String),
}
