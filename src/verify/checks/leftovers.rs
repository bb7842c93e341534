//! What a build leaves behind and no clone should have.

use super::{Check, Hit, Look, members, said};
use crate::contents::{Kind, Member};
use crate::verify::Severity::Warning;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "resolv-conf",
        severity: Warning,
        why: "the build host's name servers are asked first on every node, and perhaps none answers there",
        mend: "truncate -s 0 etc/resolv.conf",
        look: Look::Contents(|_, contents| {
            let text = String::from_utf8_lossy(contents.file("etc/resolv.conf").unwrap_or_default()).into_owned();
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
        why: "all nodes would have one host key, which everyone with the image knows: sshd makes new ones only where there are none",
        mend: "rm etc/ssh/ssh_host_*_key*",
        look: Look::Contents(|_, contents| {
            files("SSH host keys", contents.below("etc/ssh").filter(|m| name(m).starts_with("ssh_host_") && name(m).contains("_key")))
        }),
    },
    Check {
        name: "shell-history",
        severity: Warning,
        why: "what the builder typed, secrets perhaps among it, is on every node",
        mend: "rm root/.bash_history",
        look: Look::Contents(|_, contents| {
            let homes = contents
                .below("root")
                .chain(contents.all_below("home").filter(|m| m.path.iter().filter(|byte| **byte == b'/').count() == 2));
            files("shell histories", homes.filter(|m| name(m).ends_with("_history")))
        }),
    },
    Check {
        name: "package-cache",
        severity: Warning,
        why: "downloaded packages and metadata make the image larger and are stale when the node first looks at them",
        mend: "dnf clean all in the image, or build with a cache outside of it: --cache DIR",
        look: Look::Contents(|_, contents| {
            let caches = ["var/cache/dnf", "var/cache/yum", "var/cache/libdnf5", "var/cache/apt/archives"];
            files("files of a package cache", caches.into_iter().flat_map(|directory| contents.all_below(directory)))
        }),
    },
    Check {
        name: "random-seed",
        severity: Warning,
        why: "all nodes would start from one random seed: keys made early at boot could be the same",
        mend: "rm var/lib/systemd/random-seed boot/loader/random-seed",
        look: Look::Contents(|_, contents| {
            let seeds = ["var/lib/systemd/random-seed", "boot/loader/random-seed", "boot/efi/loader/random-seed"];
            files("random seeds of the build", seeds.into_iter().filter_map(|path| contents.find(path)))
        }),
    },
    Check {
        name: "hostname",
        severity: Warning,
        why: "every node would have the same host name until cloud-init or DHCP gives it another",
        mend: "truncate -s 0 etc/hostname",
        look: Look::Contents(|_, contents| {
            let text = String::from_utf8_lossy(contents.file("etc/hostname").unwrap_or_default()).into_owned();
            match text.trim() {
                "" | "localhost" | "localhost.localdomain" => Vec::new(),
                name => said(format!("etc/hostname names one host: {}", name.chars().take(64).collect::<String>().escape_debug())),
            }
        }),
    },
];

fn name(member: &Member) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(member.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
}

/// Those of them that are files with something in them.
fn files<'m>(text: &str, found: impl Iterator<Item = &'m Member>) -> Vec<Hit> {
    members(text, found.filter(|member| member.kind == Kind::HardLink || (member.kind == Kind::File && member.size > 0)))
}
