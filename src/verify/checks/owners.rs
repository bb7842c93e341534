//! Owners and ACLs: numbers are users of the image, names are users of the host that unpacks.

use super::check::{Check, Hit, Look, about, members};
use crate::contents::{Contents, Kind, Member};
use crate::verify::image::Image;
use crate::verify::severity::Severity::{Error, Warning};
use std::collections::BTreeMap;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "owner-names",
        severity: Warning,
        why: "Anaconda unpacks by number; a tar without --numeric-owner uses the names, which \
              have other numbers in the image",
        fix: "pack with --numeric-owner or `osimg pack ROOT`",
        look: Look::Contents(|image, contents| {
            let other = |names: &BTreeMap<u64, String>, name: &[u8], id: u64| {
                !name.is_empty() && names.get(&id).is_none_or(|known| known.as_bytes() != name)
            };
            let wrong = |m: &&Member| {
                other(&image.users, &m.uname, m.uid) || other(&image.groups, &m.gname, m.gid)
            };
            members("owners' names that are not the image's", contents.members.iter().filter(wrong))
        }),
    },
    Check {
        name: "acl-names",
        severity: Warning,
        why: "names in ACLs are looked up in the installer's users, not the image's: another user \
              gets the access, or the ACL is dropped",
        fix: "pack with GNU tar 1.35 --numeric-owner --acls or `osimg pack ROOT`, which write \
               numbers",
        look: Look::Contents(|_, contents| {
            members(
                "ACLs with names instead of numbers",
                contents.members.iter().filter(|m| acl_ids(m).any(|(_, id)| id.is_err())),
            )
        }),
    },
    Check {
        name: "acl-ids",
        severity: Warning,
        why: "an ACL for a user or group that the image does not know is an access for whoever \
              gets that number next",
        fix: "make the user in the image, or remove the entry: setfacl -x",
        look: Look::Contents(|image, contents| {
            let unknown = contents.members.iter().filter(|m| {
                acl_ids(m).any(|(group, id)| {
                    id.is_ok_and(|id| {
                        !if group { &image.groups } else { &image.users }.contains_key(&id)
                    })
                })
            });
            members("ACLs of users or groups that the image does not know", unknown)
        }),
    },
    Check {
        name: "unknown-owners",
        severity: Warning,
        why: "files of a number without a user belong to whoever gets that number next, such as \
              the first person on the node",
        fix: "chown them, or make the user in the image",
        look: Look::Contents(unknown_owners),
    },
    Check {
        name: "setuid-writable",
        severity: Error,
        why: "whoever may write to a setuid or setgid program runs code with its owner's rights",
        fix: "chmod go-w on these files, or remove them",
        look: Look::Contents(|_, contents| {
            let writable = |m: &&Member| {
                m.kind == Kind::File
                    && m.mode & 0o6000 != 0
                    && (m.mode & 0o002 != 0 || m.mode & 0o020 != 0 && m.gid != 0)
            };
            members(
                "setuid or setgid, and writable by others",
                contents.members.iter().filter(writable),
            )
        }),
    },
    Check {
        name: "world-writable",
        severity: Error,
        why: "every user and every service of the node may replace these files",
        fix: "chmod o-w on these files; a directory for everyone also needs the sticky bit \
               (chmod 1777)",
        look: Look::Contents(world_writable),
    },
    Check {
        name: "setuid",
        severity: Warning,
        why: "programs that give their caller another user's rights and that no package answers \
              for are a way in",
        fix: "remove them or their bits (chmod ug-s, setcap -r), or install them from a package",
        look: Look::Contents(|image, contents| {
            if contents.packages.list().is_empty() {
                return Vec::new();
            }
            let strong = |m: &&Member| {
                m.kind == Kind::File
                    && (m.mode & 0o6000 != 0 && m.mode & 0o111 != 0 || m.capability().is_some())
            };
            members(
                "setuid, setgid or with capabilities, and of no package",
                contents
                    .members
                    .iter()
                    .filter(strong)
                    .filter(|m| !image.owned().contains_key(&*m.path)),
            )
        }),
    },
];

/// Files and directories without the sticky bit that everyone may write to, unless a package ships
/// them so.
fn world_writable(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    let open = |m: &&Member| match m.kind {
        Kind::File => m.mode & 0o6002 == 0o002,
        Kind::Directory => {
            m.mode & 0o1002 == 0o002
                && !["tmp", "var/tmp"].iter().any(|path| path.as_bytes() == &*m.path)
        }
        _ => false,
    };
    let in_sticky = |m: &&Member| {
        let parent = m
            .path
            .iter()
            .rposition(|byte| *byte == b'/')
            .and_then(|end| m.path.get(..end))
            .unwrap_or_default();
        contents.find(parent).is_some_and(|directory| directory.mode & 0o1000 != 0)
    };
    let shipped = |m: &&Member| {
        image
            .owned()
            .get(&*m.path)
            .is_some_and(|files| files.iter().any(|file| file.mode & 0o002 != 0))
    };
    members(
        "writable by everyone",
        contents.members.iter().filter(open).filter(|m| !in_sticky(m) && !shipped(m)),
    )
}

fn unknown_owners(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    // Without these files nobody is known, which other checks say.
    if image.users.is_empty() || image.groups.is_empty() {
        return Vec::new();
    }
    let unknown = contents
        .members
        .iter()
        .filter(|m| !image.users.contains_key(&m.uid) || !image.groups.contains_key(&m.gid));
    about(
        "owners that the image does not know",
        unknown.map(|m| format!("{} ({}:{})", m.shown(), m.uid, m.gid)),
    )
}

/// Whose entries a member's ACLs have: whether a group's, and the number, or what stands in its
/// place.
fn acl_ids(member: &Member) -> impl Iterator<Item = (bool, Result<u64, ()>)> {
    let texts = [member.acl.as_deref(), member.default_acl.as_deref()].into_iter().flatten();
    texts.flat_map(|text| text.split(|byte| matches!(byte, b',' | b'\n'))).filter_map(|entry| {
        let mut fields = entry.split(|byte| *byte == b':');
        let mut kind = fields.next()?.trim_ascii();
        if kind == b"default" {
            kind = fields.next()?;
        }
        let group = match kind {
            b"user" | b"u" => false,
            b"group" | b"g" => true,
            _ => return None,
        };
        let who = fields.next().filter(|who| !who.is_empty())?;
        Some((group, std::str::from_utf8(who).ok().and_then(|who| who.parse().ok()).ok_or(())))
    })
}
