//! The options of the installation: disks, boot loader, network, language, keys.

use crate::archive::Format;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::InstallSettings;

/// How our template installs. The default erases every disk of the node, as Ironic's own template
/// does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The tarball that is installed; none when nodes are installed from a tree only.
    pub tarball: Option<Tarball>,
    /// The settings of `[deploy.install]`.
    pub install: InstallSettings,
    /// Who signed the certificate of Ironic's API, where it is not a public authority: the content
    /// of the file in `install` holds.
    pub authority: Option<Authority>,
}

/// The tarball as Anaconda must find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// The digest, in hex.
    pub sha256: String,
    /// Its format, which Anaconda recognises by the end of the URL.
    pub format: Format,
}

/// Certificates that a node checks Ironic's API against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// PEM.
    pub pem: String,
}

impl Options {
    /// The options from the settings, for one tarball; reads the authority's file.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) fn from_settings(
        settings: &InstallSettings,
        tarball: Option<Tarball>,
    ) -> Result<Self> {
        let authority = match &settings.authority {
            None => None,
            Some(path) => {
                let doing = format!("reading the authority {}", path.display());
                let pem = crate::files::read_text(path, crate::files::TEXT)
                    .or_fail(ExitCode::Recipe, doing.clone())?;
                if !pem.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(Failure::new(
                        ExitCode::Recipe,
                        format!("{doing}: it does not contain a certificate"),
                    )
                    .hint("it must be PEM")
                    .into());
                }
                Some(Authority { pem })
            }
        };
        Ok(Self { tarball, install: settings.clone(), authority })
    }
}
