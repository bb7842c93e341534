//! What a run in the sandbox may see and do, as plain data that can be shown and tested without any
//! privilege.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::owned_file::OwnedFile;
use crate::command::CommandLine;

/// Where the install root is inside the sandbox when the host's programs work on it.
pub const BUILD_ROOT: &str = "/buildroot";
/// The name that programs in the sandbox see as the host's.
pub(crate) const HOSTNAME: &str = "localhost";

/// Which network a run sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's, for downloads; no package code runs in the meantime.
    Host,
    /// Only a loopback.
    None,
}

/// Whether something mounted may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Which /dev the packages' scriptlets see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Devices {
    /// A private tmpfs with the few harmless nodes and its own devpts.
    Private,
    /// The host's /dev, bound as the shell pipelines do it; still inside the private namespaces.
    Host,
}

/// What a run finds at `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// The host's programs, read-only, with the install root at [`BUILD_ROOT`].
    Tools,
    /// The install root itself.
    Image,
}

/// The terminal of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Terminal {
    /// None: a separate session, no input, output through pipes.
    None,
    /// None, but the caller's standard streams, passed on through pipes.
    Pipes,
    /// One of its own, between which and the caller's keys, output and size are passed on.
    Own,
}

/// Whether the owners that a run with a single id gives to files are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owners {
    /// They are not.
    Ignored,
    /// [`Outcome::owners`](super::Outcome::owners) has them, where the kernel allows the run to be
    /// traced. These were recorded by earlier runs.
    Recorded(Vec<OwnedFile>),
}

/// One mount, or one file or link that the sandbox's own tmpfs holds. Targets are absolute paths
/// inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Mount {
    /// A file or directory of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// Path in the sandbox.
        target: PathBuf,
        /// May it be written to.
        access: Access,
    },
    /// A directory of the host that the caller has open.
    Opened {
        /// Its path on the host; the run fails when another directory is there.
        source: PathBuf,
        /// Path in the sandbox.
        target: PathBuf,
        /// May it be written to.
        access: Access,
        /// Its device and inode.
        inode: (u64, u64),
    },
    /// An empty tmpfs.
    Tmpfs {
        /// Path in the sandbox.
        target: PathBuf,
        /// Permission bits of its root.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Path in the sandbox.
        target: PathBuf,
        /// Its target.
        points_to: PathBuf,
    },
    /// A small file, mode 0644.
    File {
        /// Path in the sandbox.
        target: PathBuf,
        /// Its bytes, as text.
        content: String,
    },
    /// A directory, mode 0755.
    Directory {
        /// Path in the sandbox.
        target: PathBuf,
    },
}

impl Mount {
    /// Its path in the sandbox.
    #[must_use]
    pub fn target(&self) -> &std::path::Path {
        match self {
            Self::Bind { target, .. }
            | Self::Opened { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Link { target, .. }
            | Self::File { target, .. }
            | Self::Directory { target } => target,
        }
    }
}

/// A complete description of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The install root's directory on the host.
    pub root: PathBuf,
    /// An empty directory on the host over which the sandbox's root is mounted, in the private
    /// namespace only.
    pub scratch: PathBuf,
    /// What is at `/`.
    pub view: View,
    /// The network that is seen.
    pub network: Network,
    /// The devices that are seen.
    pub devices: Devices,
    /// Whose terminal it is.
    pub terminal: Terminal,
    /// Whether the owners of files are recorded in a build with a single id.
    pub owners: Owners,
    /// The host name that scriptlets see.
    pub hostname: String,
    /// What is mounted or placed, in order, over the sandbox's own tmpfs; only with
    /// [`View::Tools`].
    pub mounts: Vec<Mount>,
    /// What is run.
    pub command: CommandLine,
}

/// The directories of the install root that the API file systems are mounted on, with the modes
/// they have in the image.
///
/// See <https://systemd.io/API_FILE_SYSTEMS/>.
pub const API_FILE_SYSTEMS: [(&str, u32); 4] =
    [("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755)];

impl Plan {
    /// The plan as lines for the user.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let at = match self.view {
            View::Tools => BUILD_ROOT,
            View::Image => "/",
        };
        lines.push(format!("{at} is the install root (read-write, nodev)"));
        let devices = match self.devices {
            Devices::Private => {
                "a private tmpfs with null, zero, full, random, urandom, tty and a devpts"
            }
            Devices::Host => "the host's, bound",
        };
        lines.push(format!(
            "{at} has a proc of its own, sys read-only, run an empty tmpfs, dev {devices}"
        ));
        for mount in &self.mounts {
            lines.push(match mount {
                Mount::Bind { source, target, access }
                | Mount::Opened { source, target, access, .. } => {
                    let how = match access {
                        Access::ReadOnly => "read-only",
                        Access::ReadWrite => "read-write",
                    };
                    format!("{} is {} of the host ({how})", target.display(), source.display())
                }
                Mount::Tmpfs { target, .. } => format!("{} is an empty tmpfs", target.display()),
                Mount::Link { target, points_to } => {
                    format!("{} is a link to {}", target.display(), points_to.display())
                }
                Mount::File { target, .. } => format!("{} is written by osimg", target.display()),
                Mount::Directory { target } => format!("{} is a directory", target.display()),
            });
        }
        lines
    }
}
