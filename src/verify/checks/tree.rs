//! The tree: directories that have to be there and empty, and what may not be a name of two
//! partitions.

use super::check::{Check, Hit, Look, about, members, said};
use crate::contents::{Contents, Kind, Member};
use crate::verify::image::Image;
use crate::verify::severity::Severity::Error;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "os-release",
        severity: Error,
        why: "installer, boot loader and cloud-init look there which system it is; it also says \
              where UEFI's boot loader has to be",
        fix: "install the distribution's -release package",
        look: Look::Contents(|image, _| {
            if image.os_release.get("ID").is_some_and(|id| !id.is_empty()) {
                Vec::new()
            } else {
                said("etc/os-release is missing or has no ID")
            }
        }),
    },
    Check {
        name: "directories",
        severity: Error,
        why: "Anaconda writes its scripts to /tmp and mounts on /dev, /proc, /sys and /run of the \
              new system: without them it fails, or the boot does",
        fix: "install filesystem, and pack the empty directories too",
        look: Look::Contents(directories),
    },
    Check {
        name: "tmp-mode",
        severity: Error,
        why: "everyone writes to /tmp and /var/tmp: with another mode than 1777 services fail, or \
              see each other's files",
        fix: "chmod 1777 tmp var/tmp before packing",
        look: Look::Contents(|_, contents| {
            let wrong = ["tmp", "var/tmp"]
                .into_iter()
                .filter_map(|path| contents.resolve(path))
                .filter(|m| m.kind == Kind::Directory && m.mode != 0o1777);
            about("not of mode 1777", wrong.map(|m| format!("{} ({:04o})", m.shown(), m.mode)))
        }),
    },
    Check {
        name: "api-directories",
        severity: Error,
        why: "the contents of /dev, /proc, /sys, /run and /tmp belong to the build host; Anaconda \
              leaves them out, most others unpack them",
        fix: "empty these directories before packing",
        look: Look::Contents(|_, contents| {
            let inside = API.iter().flat_map(|directory| contents.below(directory));
            members("not empty: /dev, /proc, /sys, /run or /tmp", inside)
        }),
    },
    Check {
        name: "machine-id",
        severity: Error,
        why: "Anaconda leaves it out; with other installers all nodes get one id, one DHCP lease \
              and one journal",
        fix: "truncate -s 0 etc/machine-id",
        look: Look::Contents(|_, contents| {
            let text = contents.file("etc/machine-id").unwrap_or_default();
            let text = String::from_utf8_lossy(text);
            match text.trim() {
                "" | "uninitialized" => Vec::new(),
                id => said(format!(
                    "etc/machine-id holds an id of the build: {}",
                    id.chars().take(32).collect::<String>().escape_debug()
                )),
            }
        }),
    },
    Check {
        name: "hard-link-partitions",
        severity: Error,
        why: "a hard link cannot lead into another partition: tar fails to make it, its exit \
              status is ignored, and the file is missing",
        fix: "copy instead of linking, or pack with `osimg pack ROOT`",
        look: Look::Contents(|_, contents| {
            let crossing = |m: &&Member| {
                m.kind == Kind::HardLink
                    && partition(&m.path) != partition(&crate::contents::normal(&m.link))
            };
            members(
                "hard links from one partition into another",
                contents.members.iter().filter(crossing),
            )
        }),
    },
];

const DIRECTORIES: [&str; 8] = ["dev", "proc", "sys", "run", "tmp", "var/tmp", "boot", "etc"];
/// Directories that the kernel and the running system fill.
const API: [&str; 5] = ["dev", "proc", "sys", "run", "tmp"];
/// Directories that are often partitions of their own, the innermost first.
const PARTITIONS: [&str; 3] = ["boot/efi", "boot", "home"];

fn directories(_: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    let there =
        |path: &str| contents.resolve(path).is_some_and(|member| member.kind == Kind::Directory);
    about(
        "missing directories",
        DIRECTORIES.iter().filter(|path| !there(path)).map(|path| format!("/{path}")),
    )
}

fn partition(path: &[u8]) -> Option<&'static str> {
    let holds = |directory: &&&str| {
        path.strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    PARTITIONS.iter().find(holds).copied()
}
