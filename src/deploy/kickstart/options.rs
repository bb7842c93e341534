//! What a person may say about the installation: disks, boot loader, network, language, keys.

use crate::archive::Format;
use crate::error::{ExitCode, Failure, Result, ResultExt};
use crate::recipe::{Disks, InstallSettings, Layout, SelinuxMode};

/// How our template installs. The default erases every disk of the node, as Ironic's own template does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The tarball that is installed; none when nodes are installed from a tree only.
    pub tarball: Option<Tarball>,
    /// Which disks are erased and used.
    pub disks: Disks,
    /// How they are divided.
    pub layout: Layout,
    /// Kickstart's own lines for disks, in place of `layout`.
    pub storage: Option<String>,
    /// Further arguments of the installed kernel.
    pub kernel_arguments: Option<String>,
    /// Arguments of kickstart's `network` command, one command each; none leaves the installer's own connection.
    pub network: Vec<String>,
    /// The system's language; `en_US.UTF-8` when it is not set.
    pub language: Option<String>,
    /// The console's keyboard; `us` when it is not set.
    pub keyboard: Option<String>,
    /// The system's time zone; `UTC` when it is not set.
    pub timezone: Option<String>,
    /// SELinux in the installed system.
    pub selinux: SelinuxMode,
    /// Public keys that may log in as root, beside whom cloud-init makes. The password stays locked.
    pub root_keys: Vec<String>,
    /// Who signed the certificate of Ironic's API, where it is no public authority.
    pub authority: Option<Authority>,
    /// What is installed when the image source is an install tree.
    pub packages: Vec<String>,
}

/// The tarball as Anaconda must find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// The digest, in hex.
    pub sha256: String,
    /// Its format, which Anaconda tells by the end of the URL.
    pub format: Format,
}

/// Certificates that a node checks Ironic's API against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// PEM.
    pub pem: String,
}

impl Options {
    /// What the settings say, for one tarball; reads the authority's file.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn of_settings(settings: &InstallSettings, tarball: Option<Tarball>) -> Result<Self> {
        let authority = match &settings.authority {
            None => None,
            Some(path) => {
                let doing = format!("reading the authority {}", path.display());
                let pem = std::fs::read_to_string(path).or_fail(ExitCode::Recipe, doing.clone())?;
                if !pem.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(Failure::new(ExitCode::Recipe, format!("{doing}: there is no certificate in it"))
                        .hint("it must be PEM")
                        .into());
                }
                Some(Authority { pem })
            }
        };
        Ok(Self {
            tarball,
            disks: settings.disks.clone(),
            layout: settings.layout,
            storage: settings.storage.clone(),
            kernel_arguments: settings.kernel_arguments.clone(),
            network: settings.network.clone(),
            language: settings.language.clone(),
            keyboard: settings.keyboard.clone(),
            timezone: settings.timezone.clone(),
            selinux: settings.selinux,
            root_keys: settings.root_keys.clone(),
            authority,
            packages: settings.packages.clone(),
        })
    }
}
