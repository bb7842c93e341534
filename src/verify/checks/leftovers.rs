//! What a build leaves behind and no clone should have.

use super::check::{Check, Hit, Look, members, said};
use crate::contents::{Contents, Kind, Member};
use crate::finish::identities::{IDENTITIES, Identity, SEEDS, SSH_HOST_KEYS};
use crate::verify::image::Image;
use crate::verify::severity::Severity::Warning;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "resolv-conf",
        severity: Warning,
        why: "the build host's name servers are asked first on every node, and perhaps none \
              answers there",
        fix: "truncate -s 0 etc/resolv.conf",
        look: Look::Contents(|_, contents| {
            let text =
                String::from_utf8_lossy(contents.file("etc/resolv.conf").unwrap_or_default())
                    .into_owned();
            if text.lines().any(|line| line.trim_start().starts_with("nameserver")) {
                said("etc/resolv.conf names the build's name servers")
            } else {
                Vec::new()
            }
        }),
    },
    Check {
        name: "ssh-host-keys",
        severity: Warning,
        why: "all nodes would have one host key, which everyone with the image knows: sshd makes \
              new ones only where there are none",
        fix: "rm etc/ssh/ssh_host_*_key*",
        look: Look::Contents(|image, contents| {
            rows("SSH host keys", image, contents, [&SSH_HOST_KEYS])
        }),
    },
    Check {
        name: "shell-history",
        severity: Warning,
        why: "what the builder typed, secrets perhaps among it, is on every node",
        fix: "rm root/.bash_history",
        look: Look::Contents(|_, contents| {
            let homes = contents.below("root").chain(
                contents
                    .all_below("home")
                    .filter(|m| m.path.iter().filter(|byte| **byte == b'/').count() == 2),
            );
            files("shell histories", homes.filter(|m| name(m).ends_with("_history")))
        }),
    },
    Check {
        name: "package-cache",
        severity: Warning,
        why: "downloaded packages and metadata make the image larger and are stale when the node \
              first looks at them",
        fix: "dnf clean all in the image, or build with a cache outside of it: --cache DIR",
        look: Look::Contents(|_, contents| {
            let caches =
                ["var/cache/dnf", "var/cache/yum", "var/cache/libdnf5", "var/cache/apt/archives"];
            files(
                "files of a package cache",
                caches.into_iter().flat_map(|directory| contents.all_below(directory)),
            )
        }),
    },
    Check {
        name: "random-seed",
        severity: Warning,
        why: "all nodes would start from one random seed: keys made early at boot could be the \
              same",
        fix: "rm var/lib/systemd/random-seed boot/loader/random-seed",
        look: Look::Contents(|image, contents| {
            rows("random seeds of the build", image, contents, &SEEDS)
        }),
    },
    Check {
        name: "identities",
        severity: Warning,
        why: "ids, keys and leases of one machine: with the same ones, nodes take each other's \
              place, or lose data on shared storage",
        fix: "remove them before packing, unless all nodes are meant to share them; osimg build \
               removes what a node makes again",
        look: Look::Contents(|image, contents| {
            let hits = IDENTITIES.iter().flat_map(|row| {
                rows(&format!("{} ({})", row.reason, row.package), image, contents, [row])
            });
            hits.collect()
        }),
    },
    Check {
        name: "hostname",
        severity: Warning,
        why: "every node would have the same host name until cloud-init or DHCP gives it another",
        fix: "truncate -s 0 etc/hostname",
        look: Look::Contents(|_, contents| {
            let text = String::from_utf8_lossy(contents.file("etc/hostname").unwrap_or_default())
                .into_owned();
            match text.trim() {
                "" | "localhost" | "localhost.localdomain" => Vec::new(),
                name => said(format!(
                    "etc/hostname names one host: {}",
                    name.chars().take(64).collect::<String>().escape_debug()
                )),
            }
        }),
    },
];

fn name(member: &Member) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(member.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
}

/// The files of the rows that the image has and no package brought.
fn rows<'r>(
    text: &str,
    image: &Image<'_>,
    contents: &Contents,
    rows: impl IntoIterator<Item = &'r Identity>,
) -> Vec<Hit> {
    let mut found = Vec::new();
    for row in rows {
        let (directory, _) = row.place();
        let below = directory.len() + 1;
        let named = |member: &&Member| {
            let first = member
                .path
                .get(below..)
                .and_then(|rest| rest.split(|byte| *byte == b'/').next())
                .unwrap_or_default();
            std::str::from_utf8(first).is_ok_and(|name| row.has_name(name))
        };
        let shipped = |member: &&Member| {
            let files = image.owned().get(&*member.path).into_iter().flatten();
            files.into_iter().any(|file| !file.is_ghost() && !file.is_config())
        };
        found.extend(contents.all_below(directory).filter(named).filter(|member| !shipped(member)));
    }
    files(text, found.into_iter())
}

/// Those of them that are files with something in them.
fn files<'m>(text: &str, found: impl Iterator<Item = &'m Member>) -> Vec<Hit> {
    members(
        text,
        found.filter(|member| {
            member.kind == Kind::HardLink || (member.kind == Kind::File && member.size > 0)
        }),
    )
}
