//! What a run in the sandbox may see and do, as plain data that can be shown and tested without any privilege.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use crate::process::CommandLine;

/// Where the install root stands inside the sandbox when the host's programs work on it.
pub const BUILD_ROOT: &str = "/buildroot";
/// Our own folder inside the sandbox: configuration, HOME, cache.
pub const OWN: &str = "/osimg";

/// Which network a run sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's, for downloads; no package code runs meanwhile.
    Host,
    /// None but an unconfigured loopback.
    None,
}

/// Whether something mounted may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading alone.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Which /dev the packages' scriptlets see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Devices {
    /// A private tmpfs with the handful of harmless nodes and a devpts of its own.
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

/// Whose terminal a run talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Terminal {
    /// Nobody's: a session of its own, no input, output through pipes.
    None,
    /// The caller's, for `osimg shell`.
    Shared,
}

/// One mount, or one file or link that the sandbox's own tmpfs holds. Targets are absolute paths inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Mount {
    /// A file or folder of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// Path in the sandbox.
        target: PathBuf,
        /// May it be written to.
        access: Access,
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
        /// What it says.
        points_to: PathBuf,
    },
    /// A small file, mode 0644.
    File {
        /// Path in the sandbox.
        target: PathBuf,
        /// Its bytes, as text.
        content: String,
    },
    /// A folder, mode 0755.
    Folder {
        /// Path in the sandbox.
        target: PathBuf,
    },
}

/// A complete description of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The install root's folder on the host.
    pub root: PathBuf,
    /// An empty folder on the host over which the sandbox's root is mounted, in the private namespace alone.
    pub scratch: PathBuf,
    /// What is at `/`.
    pub view: View,
    /// The network that is seen.
    pub network: Network,
    /// The devices that are seen.
    pub devices: Devices,
    /// Whose terminal it is.
    pub terminal: Terminal,
    /// The host name that scriptlets see.
    pub hostname: String,
    /// What is mounted or placed, in order, over the sandbox's own tmpfs; only with [`View::Tools`].
    pub mounts: Vec<Mount>,
    /// What is run.
    pub command: CommandLine,
}

/// The folders of the install root that the API file systems are mounted on, with the modes they have in the image.
///
/// See <https://systemd.io/API_FILE_SYSTEMS/>.
pub const API_FILE_SYSTEMS: [(&str, u32); 4] = [("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755)];

/// The host's folders that its programs need, beside what the merged /usr links to.
const HOST_FILES: [&str; 12] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/protocols",
    "/etc/services",
    "/etc/host.conf",
    "/etc/crypto-policies",
];

/// What only a download needs: names, and the authorities of TLS.
const NETWORK_FILES: [&str; 7] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf", "/etc/ssl", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates"];

/// The mounts that bring the host's programs into the sandbox, read-only.
///
/// `host` is `/`, or a prepared folder in tests.
#[must_use]
pub fn tools(host: &Path, network: Network) -> Vec<Mount> {
    let inside = |path: &str| host.join(path.trim_start_matches('/'));
    let bind = |path: &str| Mount::Bind { source: inside(path), target: path.into(), access: Access::ReadOnly };
    let mut mounts = vec![bind("/usr")];
    for name in ["bin", "sbin", "lib", "lib64", "lib32", "libx32"] {
        let path = format!("/{name}");
        match inside(&path).symlink_metadata() {
            Ok(m) if m.is_symlink() => {
                if let Ok(points_to) = std::fs::read_link(inside(&path)) {
                    mounts.push(Mount::Link { target: path.into(), points_to });
                }
            }
            Ok(m) if m.is_dir() => mounts.push(bind(&path)),
            _ => {}
        }
    }
    mounts.push(Mount::Folder { target: "/etc".into() });
    let network_files: &[&str] = match network {
        Network::Host => &NETWORK_FILES,
        Network::None => &[],
    };
    for path in HOST_FILES.iter().chain(network_files) {
        // Through links: resolv.conf is often one into /run, which the sandbox does not have.
        if let Ok(source) = inside(path).canonicalize() {
            mounts.push(Mount::Bind { source, target: (*path).into(), access: Access::ReadOnly });
        }
    }
    mounts.push(Mount::Tmpfs { target: "/tmp".into(), mode: 0o1777 });
    mounts.push(Mount::Tmpfs { target: "/var".into(), mode: 0o755 });
    mounts.push(Mount::Folder { target: "/var/tmp".into() });
    mounts
}

impl Plan {
    /// The plan as lines for `osimg plan`.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let at = match self.view {
            View::Tools => BUILD_ROOT,
            View::Image => "/",
        };
        lines.push(format!("{at} is the install root (read-write, nodev)"));
        let devices = match self.devices {
            Devices::Private => "private tmpfs",
            Devices::Host => "the host's, bound",
        };
        lines.push(format!("{at}: proc of the sandbox, sys read-only, dev {devices}, run tmpfs").replace("/:", "/:"));
        for mount in &self.mounts {
            lines.push(match mount {
                Mount::Bind { source, target, access } => {
                    let how = match access {
                        Access::ReadOnly => "read-only",
                        Access::ReadWrite => "read-write",
                    };
                    format!("{} is {} of the host ({how})", target.display(), source.display())
                }
                Mount::Tmpfs { target, .. } => format!("{} is an empty tmpfs", target.display()),
                Mount::Link { target, points_to } => format!("{} is a link to {}", target.display(), points_to.display()),
                Mount::File { target, .. } => format!("{} is written by osimg", target.display()),
                Mount::Folder { target } => format!("{} is a folder", target.display()),
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(dir.path().join("usr/bin")).expect("usr");
        std::fs::create_dir_all(dir.path().join("etc/ssl")).expect("etc");
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("passwd");
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).expect("bin");
        dir
    }

    #[test]
    fn tools_are_read_only_and_merged_usr_links_are_kept() {
        let host = host();
        let mounts = tools(host.path(), Network::None);
        assert!(mounts.iter().all(|m| !matches!(m, Mount::Bind { access: Access::ReadWrite, .. })));
        assert!(mounts.contains(&Mount::Link { target: "/bin".into(), points_to: "usr/bin".into() }));
    }

    #[test]
    fn certificates_are_seen_only_with_a_network() {
        let host = host();
        let has_ssl = |n| tools(host.path(), n).iter().any(|m| matches!(m, Mount::Bind { target, .. } if target == Path::new("/etc/ssl")));
        assert!(has_ssl(Network::Host));
        assert!(!has_ssl(Network::None));
    }

    #[test]
    fn host_configuration_of_rpm_and_dnf_never_enters() {
        let shown: Vec<String> = tools(Path::new("/"), Network::Host).iter().map(|m| format!("{m:?}")).collect();
        assert!(!shown.iter().any(|m| m.contains("/etc/rpm") || m.contains("/etc/dnf") || m.contains("yum.repos.d")));
    }
}
