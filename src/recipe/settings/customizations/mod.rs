//! `[customizations]`: accounts, services, files and the like, with the names of image-builder's
//! blueprints. See <https://osbuild.org/docs/user-guide/blueprint-reference/>.

mod accounts;
mod check;
mod content;
mod firewall;
mod moved;
pub(super) mod raw;
mod system;

pub use content::{
    CaCertificates, Data, Directory, File, ImageRepository, OwnerName, Tree, TreeRule,
};
pub(super) use moved::moved_key;

use serde::{Serialize, Serializer};

/// `[customizations]`
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Customizations {
    /// The image's host name.
    pub hostname: Option<String>,
    /// The time zone and the time servers.
    pub timezone: Timezone,
    /// The language and the keyboard.
    pub locale: Locale,
    /// Arguments of the image's kernel.
    pub kernel: Kernel,
    /// systemd units.
    pub services: Services,
    /// Users to create, or to change.
    #[serde(rename = "user")]
    pub users: Vec<User>,
    /// Groups to create.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    /// Keys of users that the image has.
    #[serde(rename = "sshkey")]
    pub ssh_keys: Vec<SshKey>,
    /// firewalld.
    pub firewall: Firewall,
    /// Directories to create.
    pub directories: Vec<Directory>,
    /// Files to create or replace.
    pub files: Vec<File>,
    /// Directories of the build host to copy over the root.
    #[serde(rename = "tree")]
    pub trees: Vec<Tree>,
    /// Authorities that the image trusts.
    pub cacerts: CaCertificates,
    /// Repositories of the image.
    pub repositories: Vec<ImageRepository>,
    /// Files of the image with keys for its rpm.
    pub rpm_keys: Vec<String>,
    /// Whether the image is in FIPS mode.
    pub fips: bool,
    /// A security profile to apply.
    pub openscap: Option<OpenScap>,
    /// Patterns of paths to remove.
    pub remove: Vec<String>,
}

/// `[customizations.timezone]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Timezone {
    /// Such as `Europe/Berlin`.
    pub timezone: Option<String>,
    /// Host names or addresses.
    pub ntpservers: Vec<String>,
}

/// `[customizations.locale]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Locale {
    /// Such as `de_DE.UTF-8`; the first is the system's, and the image must have all.
    pub languages: Vec<String>,
    /// The console's keymap.
    pub keyboard: Option<String>,
}

/// `[customizations.kernel]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Kernel {
    /// Arguments to append.
    pub append: Option<String>,
}

/// `[customizations.services]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Services {
    /// Units to enable.
    pub enabled: Vec<String>,
    /// Units to disable.
    pub disabled: Vec<String>,
    /// Units that cannot be started at all.
    pub masked: Vec<String>,
    /// What the system boots into.
    pub default_target: Option<String>,
}

/// `[[customizations.user]]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The comment field.
    pub description: Option<String>,
    /// A hash for shadow(5); never shown.
    #[serde(serialize_with = "set_or_not")]
    pub password: Option<String>,
    /// Lines for `authorized_keys`.
    pub keys: Vec<String>,
    /// The home directory.
    pub home: Option<String>,
    /// The login shell.
    pub shell: Option<String>,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// The user's id.
    pub uid: Option<u32>,
    /// The id of the primary group.
    pub gid: Option<u32>,
    /// The day on which the account expires, in days since 1970.
    pub expires: Option<i64>,
    /// Whether the user must choose another password at the first login.
    pub force_password_reset: bool,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

/// Whether there is one, instead of what it is.
fn set_or_not<S: Serializer>(secret: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| "(set)").serialize(serializer)
}

/// `[[customizations.group]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The group's id.
    pub gid: Option<u32>,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

/// `[[customizations.sshkey]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshKey {
    /// A user of the image.
    pub user: String,
    /// Lines for `authorized_keys`.
    pub keys: Vec<String>,
    /// The file and line of the settings, for messages.
    #[serde(skip)]
    pub place: String,
}

/// `[customizations.firewall]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Firewall {
    /// Such as `80:tcp` or `30000-32767:udp`.
    pub ports: Vec<String>,
    /// firewalld's services to open.
    pub enabled: Vec<String>,
    /// firewalld's services to close.
    pub disabled: Vec<String>,
    /// Sources of zones.
    pub zones: Vec<FirewallZone>,
}

/// `[[customizations.firewall.zones]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirewallZone {
    /// The zone.
    pub name: String,
    /// Addresses, networks or interfaces' hardware addresses that belong to it.
    pub sources: Vec<String>,
}

/// `[customizations.openscap]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenScap {
    /// The data stream in the image.
    pub datastream: Option<String>,
    /// The profile.
    pub profile_id: String,
    /// Rules to add to the profile.
    pub selected: Vec<String>,
    /// Rules to leave out of it.
    pub unselected: Vec<String>,
}

impl Customizations {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All arguments that the kernel gets.
    #[must_use]
    pub fn kernel_arguments(&self) -> Option<String> {
        let fips = self.fips.then_some("fips=1");
        let all: Vec<&str> = self.kernel.append.as_deref().into_iter().chain(fips).collect();
        (!all.is_empty()).then(|| all.join(" "))
    }
}
