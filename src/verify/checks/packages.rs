//! The packages: whether every file is still as its package brought it, by the rules of `rpm -V`.

use super::check::{Check, Hit, Look, about, members, said};
use crate::contents::{Contents, Kind, Member, PackagedFile, Packages};
use crate::verify::capability::Capabilities;
use crate::verify::image::Image;
use crate::verify::severity::Severity::{Error, Warning};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "rpmdb",
        severity: Error,
        why: "without its database dnf on the node installs everything again and updates nothing, \
              and no scanner knows what is there",
        fix: "install rpm, and keep var/lib/rpm (usr/lib/sysimage/rpm) in the tree; if it is \
              damaged: rpm --root ROOT --rebuilddb",
        look: Look::Contents(|_, contents| match &contents.packages {
            Packages::Absent => said("there is no rpmdb in var/lib/rpm or usr/lib/sysimage/rpm"),
            Packages::Read { packages, dbpath, .. } if packages.is_empty() => {
                said(format!("the rpmdb in {dbpath} has no packages"))
            }
            Packages::Unreadable { dbpath, why } => {
                said(format!("the rpmdb in {dbpath} cannot be read: {why}"))
            }
            Packages::Read { .. } => Vec::new(),
        }),
    },
    Check {
        name: "rpmdb-locks",
        severity: Error,
        why: "locks of a database that was open when it was packed: rpm on the node waits for \
              ever, or its last transaction is lost",
        fix: "rm var/lib/rpm/__db.*; close the database before packing",
        look: Look::Contents(|_, contents| {
            let left = ["var/lib/rpm", "usr/lib/sysimage/rpm"]
                .into_iter()
                .flat_map(|directory| contents.below(directory))
                .filter(|member| {
                    let name = member.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                    name.starts_with(b"__db.") || (name == b"rpmdb.sqlite-wal" && member.size > 0)
                });
            members("an rpmdb that was not closed", left)
        }),
    },
    Check {
        name: "rpm-missing",
        severity: Error,
        why: "a program or library that its package brought is not there: whatever needs it fails",
        fix: "rpm --root ROOT -V PACKAGE; install it again",
        look: Look::Contents(missing),
    },
    Check {
        name: "rpm-types",
        severity: Error,
        why: "a file is of another kind than its package brought: whatever needs it fails, and \
              updates of the package do",
        fix: "rpm --root ROOT -V PACKAGE; install it again",
        look: Look::Contents(|image, contents| {
            told(image, contents, "of another kind than their packages brought", |file, member| {
                // authselect and alternatives replace configuration files by links of their own.
                let replaced = file.is_config() && member.kind == Kind::Symlink;
                (!replaced && kind_bits(file.mode) != kind_bits(member.st_mode())).then(String::new)
            })
        }),
    },
    Check {
        name: "rpm-owners",
        severity: Error,
        why: "files of another owner than their packages gave them: services cannot write, or \
              others can; a build without root loses owners so",
        fix: "build as root, pack with --numeric-owner; rpm --root ROOT --setugids PACKAGE",
        look: Look::Contents(|image, contents| {
            told(image, contents, "other owners than their packages gave", |file, member| {
                let name = |names: &std::collections::BTreeMap<u64, String>, id: u64| match names
                    .get(&id)
                {
                    Some(name) => name.clone(),
                    // Root needs no passwd.
                    None if id == 0 => "root".to_owned(),
                    None => id.to_string(),
                };
                let (user, group) =
                    (name(&image.users, member.uid), name(&image.groups, member.gid));
                if is_known(KNOWN_OWNERS, file) && member.uid == 0 && member.gid == 0 {
                    return None;
                }
                let wrong = (file.verify & OWNER != 0 && user != file.user)
                    || (file.verify & GROUP != 0 && group != file.group);
                wrong.then(|| format!("{user}:{group}, not {}:{}", file.user, file.group))
            })
        }),
    },
    Check {
        name: "rpm-modes",
        severity: Error,
        why: "files of another mode than their packages gave them: programs do not run, secrets \
              are open, or setuid bits are gone",
        fix: "pack with tar -p; rpm --root ROOT --setperms PACKAGE",
        look: Look::Contents(|image, contents| {
            told(image, contents, "other modes than their packages gave", |file, member| {
                let wrong = file.verify & MODE != 0
                    && !is_known(KNOWN_MODES, file)
                    && member.kind != Kind::Symlink
                    && file.mode & 0o7777 != member.mode;
                wrong.then(|| format!("{:04o}, not {:04o}", member.mode, file.mode & 0o7777))
            })
        }),
    },
    Check {
        name: "rpm-known",
        severity: Warning,
        why: "the distribution's own packages cause these differences: they are unpacked before \
              their user exists, or changed by tools that make images",
        fix: "rpm --root ROOT --restore PACKAGE, if the node needs them",
        look: Look::Contents(|image, contents| {
            told(image, contents, "known differences of modes or owners", |file, member| {
                let known = (is_known(KNOWN_OWNERS, file) && member.uid == 0 && member.gid == 0)
                    || (is_known(KNOWN_MODES, file) && file.mode & 0o7777 != member.mode);
                known.then(String::new)
            })
        }),
    },
    Check {
        name: "rpm-capabilities",
        severity: Error,
        why: "programs that lost their file capabilities (ping, newuidmap, arping) work for \
              nobody but root",
        fix: "pack with tar --xattrs --xattrs-include='*' or `osimg pack ROOT`",
        look: Look::Contents(|image, contents| {
            told(image, contents, "other capabilities than their packages gave", |file, member| {
                if file.verify & CAPABILITIES == 0 || member.kind != Kind::File {
                    return None;
                }
                let wanted = Capabilities::of_text(&file.capabilities)?;
                let has = member
                    .capability()
                    .map_or(Some(Capabilities::default()), Capabilities::of_bytes);
                let text = if file.capabilities.is_empty() { "none" } else { &file.capabilities };
                (has != Some(wanted)).then(|| format!("its package says {text}"))
            })
        }),
    },
    Check {
        name: "rpm-links",
        severity: Error,
        why: "symbolic links that lead elsewhere than their packages said",
        fix: "rpm --root ROOT -V PACKAGE; install it again",
        look: Look::Contents(|image, contents| {
            told(
                image,
                contents,
                "links that lead elsewhere than their packages say",
                |file, member| {
                    let wrong = file.verify & LINK != 0
                        && member.kind == Kind::Symlink
                        && kind_bits(file.mode) == LINKS
                        && *member.link != *file.link
                        && !file.is_config();
                    wrong.then(|| String::from_utf8_lossy(&member.link).escape_debug().to_string())
                },
            )
        }),
    },
    Check {
        name: "rpm-contents",
        severity: Error,
        why: "files that are not configuration have another content than their packages brought: \
              damage on disk, or something patched in",
        fix: "rpm --root ROOT -V PACKAGE; install it again, or ship the change as a package",
        look: Look::Contents(|image, contents| {
            told(image, contents, "another content than their packages brought", |file, member| {
                if file.is_config() || member.kind != Kind::File || kind_bits(file.mode) != FILES {
                    return None;
                }
                let size = file.verify & SIZE != 0 && member.size != file.size;
                let digest = || {
                    member
                        .sha256
                        .map(hex::encode)
                        .filter(|_| file.is_sha256 && !file.digest.is_empty())
                };
                let changed = size
                    || (file.verify & DIGEST != 0
                        && digest()
                            .is_some_and(|digest| !digest.eq_ignore_ascii_case(&file.digest)));
                changed.then(String::new)
            })
        }),
    },
];

/// `RPMVERIFY_*` of rpm's rpmvf.h.
const DIGEST: u32 = 1;
const SIZE: u32 = 2;
const LINK: u32 = 4;
const OWNER: u32 = 8;
const GROUP: u32 = 16;
const MODE: u32 = 64;
const CAPABILITIES: u32 = 256;
/// `RPMFILE_MISSINGOK`.
const MAY_BE_MISSING: u32 = 8;

/// Files that root owns in real images of EL 10: sssd-krb5-common is installed before sssd's user.
const KNOWN_OWNERS: &[&str] = &[
    "usr/libexec/sssd/krb5_child",
    "usr/libexec/sssd/ldap_child",
    "usr/libexec/sssd/proxy_child",
    "usr/libexec/sssd/selinux_child",
    "var/lib/sss/keytabs",
    "var/lib/sss/pubconf/krb5.include.d",
];
/// Files with other modes in real images: grub2-mkfont writes the first again, and the second is on
/// a FAT file system.
const KNOWN_MODES: &[&str] = &["boot/grub2/fonts/unicode.pf2", "boot/efi/EFI"];

fn is_known(paths: &[&str], file: &PackagedFile) -> bool {
    let is_root = |name: &str| name == "root";
    paths.iter().any(|path| path.as_bytes() == file.path)
        && (paths == KNOWN_MODES || !is_root(&file.user) || !is_root(&file.group))
}

const LINKS: u32 = 0o120_000;
const FILES: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

fn kind_bits(mode: u32) -> u32 {
    mode & 0o170_000
}

/// Anaconda unpacks nothing of these directories, and the running system fills them.
fn is_compared(path: &[u8]) -> bool {
    !["dev/", "proc/", "sys/", "run/", "tmp/", "var/run/", "var/lock/"]
        .iter()
        .any(|directory| path.starts_with(directory.as_bytes()))
}

fn missing(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    let mut gone: Vec<&Vec<u8>> = image
        .owned()
        .iter()
        .filter(|(path, files)| {
            is_compared(path)
                && contents.find(path).is_none()
                && !image.was_removed(path)
                && files.iter().any(|file| file.flags & MAY_BE_MISSING == 0 && !file.is_ghost())
        })
        .map(|(path, _)| path)
        .collect();
    gone.sort();
    about(
        "missing although their packages brought them",
        gone.into_iter().map(|path| format!("/{}", String::from_utf8_lossy(path).escape_debug())),
    )
}

/// Compares every member with the packages' files of its path. Of a directory of several packages
/// one has to agree.
fn told(
    image: &Image<'_>,
    contents: &Contents,
    text: &str,
    differs: impl Fn(&PackagedFile, &Member) -> Option<String>,
) -> Vec<Hit> {
    let owned = image.owned();
    let wrong = contents.members.iter().filter_map(|member| {
        let files = owned.get(&*member.path).filter(|_| is_compared(&member.path))?;
        let mut why = None;
        for file in files.iter().filter(|file| !file.is_ghost()) {
            // As rpm does: a link to a directory does for the directory.
            let is_link = kind_bits(file.mode) == DIRECTORY && member.kind == Kind::Symlink;
            let target = is_link
                .then(|| contents.resolve(&member.path))
                .flatten()
                .filter(|target| target.kind == Kind::Directory);
            let seen = target.unwrap_or_else(|| contents.carrier(member));
            match differs(file, seen) {
                None => return None,
                Some(difference) => why = Some(difference),
            }
        }
        let why = why?;
        Some(if why.is_empty() { member.shown() } else { format!("{} ({why})", member.shown()) })
    });
    about(text, wrong)
}
