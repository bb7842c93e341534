//! Owners and ACLs: numbers mean the image's users, names those of whoever unpacks.

use super::{Check, Hit, Look, about, members};
use crate::contents::{Contents, Kind, Member};
use crate::verify::Severity::Warning;
use crate::verify::image::Image;
use std::collections::BTreeMap;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "owner-names",
        severity: Warning,
        why: "names of the build host's users mean other numbers in the image: a tar without --numeric-owner gives the files away",
        mend: "pack with --numeric-owner or `osimg pack ROOT`",
        look: Look::Contents(|image, contents| {
            let other = |names: &BTreeMap<u64, String>, name: &[u8], id: u64| {
                !name.is_empty() && names.get(&id).is_none_or(|known| known.as_bytes() != name)
            };
            let wrong = |m: &&Member| other(&image.users, &m.uname, m.uid) || other(&image.groups, &m.gname, m.gid);
            members("owners' names that are not the image's", contents.members.iter().filter(wrong))
        }),
    },
    Check {
        name: "acl-names",
        severity: Warning,
        why: "names in ACLs are looked up in the installer's users, not the image's: another user gets the access, or the ACL is dropped",
        mend: "pack with GNU tar 1.35 --numeric-owner --acls or `osimg pack ROOT`, which write numbers",
        look: Look::Contents(|_, contents| {
            members("ACLs with names instead of numbers", contents.members.iter().filter(|m| acl_ids(m).any(|(_, id)| id.is_err())))
        }),
    },
    Check {
        name: "acl-ids",
        severity: Warning,
        why: "an ACL for a user or group that the image does not know is an access for whoever gets that number next",
        mend: "make the user in the image, or remove the entry: setfacl -x",
        look: Look::Contents(|image, contents| {
            let unknown = contents.members.iter().filter(|m| {
                acl_ids(m).any(|(group, id)| id.is_ok_and(|id| !if group { &image.groups } else { &image.users }.contains_key(&id)))
            });
            members("ACLs of users or groups that the image does not know", unknown)
        }),
    },
    Check {
        name: "unknown-owners",
        severity: Warning,
        why: "files of a number without a user belong to whoever gets that number next, such as the first person on the node",
        mend: "chown them, or make the user in the image",
        look: Look::Contents(unknown_owners),
    },
    Check {
        name: "setuid",
        severity: Warning,
        why: "programs that give their caller another user's rights and that no package answers for are a way in",
        mend: "remove them or their bits (chmod ug-s, setcap -r), or install them from a package",
        look: Look::Contents(|image, contents| {
            if contents.packages.list().is_empty() {
                return Vec::new();
            }
            let strong = |m: &&Member| m.kind == Kind::File && (m.mode & 0o6000 != 0 && m.mode & 0o111 != 0 || m.capability().is_some());
            members(
                "setuid, setgid or with capabilities, and of no package",
                contents.members.iter().filter(strong).filter(|m| !image.owned().contains_key(&m.path)),
            )
        }),
    },
];

fn unknown_owners(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    // Without these files nobody is known, which other checks say.
    if image.users.is_empty() || image.groups.is_empty() {
        return Vec::new();
    }
    let unknown = contents.members.iter().filter(|m| !image.users.contains_key(&m.uid) || !image.groups.contains_key(&m.gid));
    about("owners that the image does not know", unknown.map(|m| format!("{} ({}:{})", m.shown(), m.uid, m.gid)))
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
