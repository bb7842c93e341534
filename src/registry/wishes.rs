//! How a person wants a set published, beside what is in it; every registry heeds what it has a
//! word for.

use std::path::PathBuf;

/// Who may see a published image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Visibility {
    /// The widest that the roles allow: Ironic has to find it.
    #[default]
    Auto,
    /// Everyone.
    Public,
    /// Everyone, though nobody else finds it in a list.
    Community,
    /// Its project, and the projects that it is shared with.
    Shared,
    /// Its project.
    Private,
}

impl Visibility {
    /// Glance's word for it, when it is one.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::Public => Some("public"),
            Self::Community => Some("community"),
            Self::Shared => Some("shared"),
            Self::Private => Some("private"),
        }
    }
}

/// What becomes of the older versions of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Older {
    /// They stay as they are.
    #[default]
    Keep,
    /// They stay, and are left out of lists.
    Hide,
    /// All but so many, the new one counted, are removed.
    Remove(usize),
}

/// What is done when other bytes exist under the same name, version and architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// They stay, and nothing is published.
    #[default]
    Keep,
    /// They are replaced, with all files of that version.
    Replace,
}

/// A key that images are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureKey {
    /// An RSA private key: PEM of PKCS #8.
    pub key: PathBuf,
    /// The id of its certificate in the key manager (Barbican) that Glance asks.
    pub certificate: String,
}

/// How a set is published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Who may see it.
    pub visibility: Visibility,
    /// Projects, by id or name, that may see it beside its own.
    pub share_with: Vec<String>,
    /// Whether it is left out of lists.
    pub hidden: bool,
    /// Whether it is protected from removal.
    pub protected: bool,
    /// Tags.
    pub tags: Vec<String>,
    /// What becomes of older versions.
    pub older: Older,
    /// What is done with other bytes of the same version.
    pub existing: Existing,
    /// Where the registry itself can fetch the tarball, instead of it being sent from here.
    pub import_from: Option<String>,
    /// The key to sign with.
    pub signature: Option<SignatureKey>,
    /// What an OCI registry's certificate is checked against, a PEM file; a cloud has its own word
    /// for it.
    pub ca: Option<PathBuf>,
}
