//! The small files that are kept whole: they say which system it is, who its users are, how it
//! boots and which policy it has.

/// The largest of them; the texts of real policies have half a megabyte.
pub(super) const LARGEST: u64 = 16 << 20;
/// All of them together.
pub(super) const MOST: u64 = 128 << 20;

/// Files by their whole path.
const FILES: [&str; 32] = [
    "etc/os-release",
    "usr/lib/os-release",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/subuid",
    "etc/subgid",
    "etc/machine-id",
    "etc/machine-info",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/fstab",
    "etc/crypttab",
    "etc/locale.conf",
    "etc/vconsole.conf",
    "etc/selinux/config",
    "etc/default/grub",
    "boot/grub2/grub.cfg",
    "boot/grub2/grubenv",
    "etc/kernel/cmdline",
    "etc/sysconfig/kernel",
    "etc/sysconfig/network",
    "etc/dnf/dnf.conf",
    "etc/yum.conf",
    "etc/rpm/macros",
    "etc/ssh/sshd_config",
    "etc/cloud/cloud.cfg",
    "etc/sudoers",
    "root/.ssh/authorized_keys",
    "usr/lib/sysimage/rpm/.rpmdbdirsymlink_created",
    "etc/redhat-release",
    "etc/system-release",
];

/// Files of one directory by the ends of their names.
const DIRECTORIES: [(&str, &[&str]); 9] = [
    ("boot/loader/entries", &[".conf"]),
    ("etc/yum.repos.d", &[".repo"]),
    ("etc/pki/rpm-gpg", &[""]),
    ("usr/share/distribution-gpg-keys", &[""]),
    ("etc/cloud/cloud.cfg.d", &[".cfg"]),
    ("etc/ssh/sshd_config.d", &[".conf"]),
    ("etc/sudoers.d", &[""]),
    ("etc/ssh", &[".pub"]),
    ("usr/lib/systemd/system-preset", &[".preset"]),
];

/// The files of an SELinux policy that say which label a path has.
const POLICY: [&str; 5] = [
    "file_contexts",
    "file_contexts.homedirs",
    "file_contexts.local",
    "file_contexts.subs",
    "file_contexts.subs_dist",
];

/// Where an rpmdb may be.
pub(super) const RPMDB: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];

/// Whether the file at this path is kept.
pub(super) fn is_kept(path: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(path) else { return false };
    if FILES.contains(&path) {
        return true;
    }
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    if DIRECTORIES
        .iter()
        .any(|(kept, ends)| *kept == directory && ends.iter().any(|end| name.ends_with(end)))
    {
        return true;
    }
    if let Some(policy) =
        directory.strip_prefix("etc/selinux/").and_then(|rest| rest.strip_suffix("/contexts/files"))
    {
        return !policy.contains('/') && POLICY.contains(&name);
    }
    // The keys that let someone in.
    name == "authorized_keys" && directory.starts_with("home/") && directory.ends_with("/.ssh")
}

/// Of a file of an rpmdb its directory and its name.
pub(super) fn rpmdb(path: &[u8]) -> Option<(usize, &str)> {
    let path = std::str::from_utf8(path).ok()?;
    let (directory, name) = path.rsplit_once('/')?;
    Some((RPMDB.iter().position(|known| *known == directory)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_the_system_is_kept_and_nothing_else() {
        for path in [
            "etc/os-release",
            "etc/selinux/targeted/contexts/files/file_contexts.subs_dist",
            "home/admin/.ssh/authorized_keys",
            "boot/loader/entries/a-1.conf",
        ] {
            assert!(is_kept(path.as_bytes()), "{path}");
        }
        for path in [
            "usr/bin/bash",
            "etc/selinux/a/b/contexts/files/file_contexts",
            "etc/selinux/targeted/contexts/files/media",
            "etc",
        ] {
            assert!(!is_kept(path.as_bytes()), "{path}");
        }
        assert_eq!(rpmdb(b"usr/lib/sysimage/rpm/rpmdb.sqlite"), Some((1, "rpmdb.sqlite")));
        assert_eq!(rpmdb(b"usr/lib/rpm/macros"), None);
    }
}
