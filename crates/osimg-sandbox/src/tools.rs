//! The tree whose programs fill an image: this machine's own, or a root made for that.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::{Access, Devices, HOSTNAME, Mount, Network, Owners, Plan, Terminal, View};
use crate::command::{CommandLine, find_program};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::openat::{fd_path, openat2};

/// The files of a tree that its programs need, besides its /usr.
const FILES: [&str; 12] = [
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

/// What only a download needs, and this machine knows: names.
const NAMES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf"];

/// What only a download needs: the authorities of TLS, where the tree's programs look for them.
const AUTHORITIES: [&str; 4] =
    ["/etc/ssl", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates"];

/// The tree whose programs fill an image.
#[derive(Debug, Clone)]
pub struct ToolRoot {
    path: PathBuf,
    /// The tree, open; `None` for this machine's own.
    fd: Option<Arc<OwnedFd>>,
}

impl ToolRoot {
    /// This machine's own programs.
    #[must_use]
    pub fn host() -> Self {
        Self { path: "/".into(), fd: None }
    }

    /// Another tree. Packages decided what is in it, so no name in it is followed out of it.
    ///
    /// # Errors
    /// When it is not a directory with a /usr.
    pub fn at(path: &Path) -> Result<Self> {
        let fd = nix::fcntl::open(
            path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("opening the tools' root {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("opening the tools' root {}", path.display()))?;
        let tools = Self { path, fd: Some(Arc::new(fd)) };
        if tools.resolve("/usr").is_none() {
            return Err(Error::new(
                ErrorKind::Host,
                format!("opening the tools' root {}: it has no /usr", tools.path.display()),
            )
            .with_hint(
                "name a directory that holds a whole system, such as an unpacked container image",
            ));
        }
        Ok(tools)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether these are this machine's own programs.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.fd.is_none()
    }

    /// Where on this machine the tree's `path` is, its links followed inside the tree; `None` when
    /// there is none.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<PathBuf> {
        let Some(fd) = &self.fd else { return Path::new(path).canonicalize().ok() };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let found = openat2(fd.as_fd(), path.trim_start_matches('/'), how).ok()?;
        let real = std::fs::read_link(fd_path(&found)).ok()?;
        real.starts_with(&self.path).then_some(real)
    }

    /// Where in the tree a program of that name is: the usual directories, whatever the caller's
    /// PATH says.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        if self.is_host() {
            return find_program(name);
        }
        ["/usr/bin", "/usr/sbin", "/usr/libexec"]
            .iter()
            .map(|directory| format!("{directory}/{name}"))
            .map(PathBuf::from)
            .find(|path| {
                let metadata = path
                    .to_str()
                    .and_then(|path| self.resolve(path))
                    .and_then(|real| real.metadata().ok());
                metadata.is_some_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
            })
    }

    /// The mounts that bring its programs into the sandbox, read-only.
    #[must_use]
    pub fn mounts(&self, network: Network) -> Vec<Mount> {
        let bind = |source: Option<PathBuf>, target: &str| {
            source.map(|source| Mount::Bind {
                source,
                target: target.into(),
                access: Access::ReadOnly,
            })
        };
        let mut mounts: Vec<Mount> = bind(self.resolve("/usr"), "/usr").into_iter().collect();
        for name in ["bin", "sbin", "lib", "lib64", "lib32", "libx32"] {
            let (path, target) = (self.path.join(name), format!("/{name}"));
            match path.symlink_metadata() {
                Ok(m) if m.is_symlink() => {
                    mounts.extend(
                        std::fs::read_link(&path)
                            .map(|points_to| Mount::Link { target: target.into(), points_to }),
                    );
                }
                Ok(m) if m.is_dir() => mounts.extend(bind(Some(path), &target)),
                _ => {}
            }
        }
        mounts.push(Mount::Directory { target: "/etc".into() });
        let files = FILES.iter().chain(if network == Network::Host {
            AUTHORITIES.iter()
        } else {
            [].iter()
        });
        // Through links: resolv.conf is often one into /run, which the sandbox does not have.
        mounts.extend(files.filter_map(|path| bind(self.resolve(path), path)));
        if network == Network::Host {
            mounts.extend(
                NAMES.iter().filter_map(|path| bind(Path::new(path).canonicalize().ok(), path)),
            );
        }
        mounts.push(Mount::Tmpfs { target: "/tmp".into(), mode: 0o1777 });
        mounts.push(Mount::Tmpfs { target: "/var".into(), mode: 0o755 });
        mounts.push(Mount::Directory { target: "/var/tmp".into() });
        mounts
    }
}

impl Plan {
    /// A command of the tools' on the directory `root`, which sees nothing of a build: no file of
    /// the host, private devices, no terminal.
    #[must_use]
    pub fn with_tools(
        tools: &ToolRoot,
        root: &Path,
        scratch: &Path,
        network: Network,
        command: CommandLine,
    ) -> Self {
        Self {
            root: root.to_owned(),
            scratch: scratch.to_owned(),
            view: View::Tools,
            network,
            devices: Devices::Private,
            terminal: Terminal::None,
            owners: Owners::Ignored,
            hostname: HOSTNAME.into(),
            mounts: tools.mounts(network),
            command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, ToolRoot) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("usr/bin")).expect("usr");
        std::fs::create_dir_all(dir.path().join("etc/ssl")).expect("etc");
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("passwd");
        symlink("usr/bin", dir.path().join("bin")).expect("bin");
        let tools = ToolRoot::at(dir.path()).expect("opened");
        (dir, tools)
    }

    #[test]
    fn tools_are_read_only_and_merged_usr_links_are_kept() {
        let (_dir, tools) = tree();
        let mounts = tools.mounts(Network::None);
        assert!(mounts.iter().all(|m| !matches!(m, Mount::Bind { access: Access::ReadWrite, .. })));
        assert!(
            mounts.contains(&Mount::Link { target: "/bin".into(), points_to: "usr/bin".into() })
        );
    }

    #[test]
    fn certificates_are_seen_only_with_a_network() {
        let (_dir, tools) = tree();
        let has_ssl = |n| {
            tools
                .mounts(n)
                .iter()
                .any(|m| matches!(m, Mount::Bind { target, .. } if target == Path::new("/etc/ssl")))
        };
        assert!(has_ssl(Network::Host));
        assert!(!has_ssl(Network::None));
    }

    #[test]
    fn host_configuration_of_rpm_and_dnf_never_enters() {
        let shown: Vec<String> =
            ToolRoot::host().mounts(Network::Host).iter().map(|m| format!("{m:?}")).collect();
        assert!(!shown.iter().any(|m| m.contains("/etc/rpm")
            || m.contains("/etc/dnf")
            || m.contains("yum.repos.d")));
    }

    #[test]
    fn links_of_a_tree_are_never_followed_out_of_it() {
        let (dir, tools) = tree();
        std::fs::remove_file(dir.path().join("etc/passwd")).expect("removed");
        symlink("/etc/shadow", dir.path().join("etc/passwd")).expect("linked");
        symlink("../../../../../../etc/hostname", dir.path().join("etc/localtime"))
            .expect("linked");
        std::fs::write(dir.path().join("usr/bin/real"), "").expect("a program");
        symlink("/usr/bin/real", dir.path().join("usr/bin/python3")).expect("linked");
        std::fs::set_permissions(
            dir.path().join("usr/bin/real"),
            std::fs::Permissions::from_mode(0o755),
        )
        .expect("mode");
        let real = dir.path().canonicalize().expect("a path");
        for mount in tools.mounts(Network::None) {
            if let Mount::Bind { source, .. } = mount {
                assert!(source.starts_with(&real), "{}", source.display());
            }
        }
        assert_eq!(tools.resolve("/etc/passwd"), None);
        assert_eq!(
            tools.program("python3"),
            Some("/usr/bin/python3".into()),
            "absolute links begin at the tree"
        );
    }
}
