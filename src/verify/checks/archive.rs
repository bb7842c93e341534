//! The archive itself: whether it is whole, and whether GNU tar as Anaconda calls it unpacks what
//! is meant.

use std::path::Path;

use super::check::{Check, Hit, Look, about, members, said};
use crate::archive::read::Irregularity;
use crate::archive::{Format, ImageFormat};
use crate::contents::{Contents, Kind};
use crate::report::bytes;
use crate::verify::findings::DAMAGED;
use crate::verify::image::{Image, Place};
use crate::verify::severity::Severity::{Error, Warning};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: DAMAGED,
        severity: Error,
        why: "Anaconda ignores tar's exit status: the node gets a part of the system and fails \
              later, or boots it",
        fix: "fetch or build the tarball again and compare its checksum",
        look: Look::Place(|image| image.damage.as_ref().map(said).unwrap_or_default()),
    },
    Check {
        name: "suffix",
        severity: Error,
        why: "Anaconda recognizes a tarball only by the end of its address, and mounts everything \
              else as a disk image",
        fix: "name it .tgz, .tar.gz, .tbz, .tar.bz2, .txz, .tar.xz or .tar",
        look: Look::Place(|image| match source_name(image) {
            // A squashfs is mounted, as it should be.
            Some(_) if format(image) == Some(ImageFormat::Img) => Vec::new(),
            Some(name) if Format::from_name(Path::new(&name)).is_err() => {
                said(format!("{name} does not end in the suffix of a tarball"))
            }
            _ => Vec::new(),
        }),
    },
    Check {
        name: "suffix-format",
        severity: Warning,
        why: "tar detects the compression and unpacks it; programs that go by the name do not",
        fix: "name it as it is compressed",
        look: Look::Place(suffix_format),
    },
    Check {
        name: "image-file",
        severity: Warning,
        why: "Anaconda mounts it, and 44.25 and later copy these three directories with `rsync \
              -rx`; a squashfs has no ACLs either",
        fix: "publish a tarball for Anaconda",
        look: Look::Place(|image| match format(image) {
            Some(ImageFormat::Img) => said(
                "it is a squashfs image, not a tarball: Anaconda 44.25 and later (Fedora) lose \
                 symbolic links, groups, times and labels in /boot/grub2, /etc/sysconfig and \
                 /usr/lib/grub",
            ),
            _ => Vec::new(),
        }),
    },
    Check {
        name: "checksum",
        severity: Error,
        why: "a node that compares it with os_hash_value refuses the image, one that does not \
              installs something else",
        fix: "fetch the tarball again, or write its checksum again if it was replaced on purpose",
        look: Look::Place(checksum),
    },
    Check {
        name: "checksum-file",
        severity: Warning,
        why: "without a checksum, nothing shows that the tarball was cut off or replaced on its \
              way to the node",
        fix: "sha256sum NAME > NAME.sha256",
        look: Look::Place(checksum_file),
    },
    Check {
        name: "member-names",
        severity: Warning,
        why: "installers exclude ./dev/* and the like: names without ./ are not excluded",
        fix: "pack with `tar -C ROOT .` or `osimg pack ROOT`",
        look: Look::Contents(|_, contents| {
            members(
                "names that do not begin with ./",
                contents.members.iter().filter(|m| !m.name().starts_with(b"./")),
            )
        }),
    },
    Check {
        name: "member-names-unpacked",
        severity: Error,
        why: "Anaconda leaves these files out only if their names begin with ./: here it unpacks \
              them, and they break the installation or belong to the build host",
        fix: "pack with `tar -C ROOT .` or `osimg pack ROOT`",
        look: Look::Contents(|_, contents| {
            let unpacked = |m: &&crate::contents::Member| {
                let empty = m.kind == Kind::File && m.size == 0;
                !m.name().starts_with(b"./") && !empty && is_excluded(&m.path)
            };
            members(
                "files that Anaconda would exclude under another name",
                contents.members.iter().filter(unpacked),
            )
        }),
    },
    Check {
        name: "root-member",
        severity: Error,
        why: "the member ./ gives / its owner and mode: a / that only root may enter lets no \
              service start, and none leaves it as it was made",
        fix: "chown 0:0 ROOT; chmod 555 ROOT before packing",
        look: Look::Contents(root_member),
    },
    Check {
        name: "upward-names",
        severity: Error,
        why: "tar refuses names with .. in them, or writes outside of the new system",
        fix: "pack the tree again with GNU tar or `osimg pack ROOT`",
        look: Look::Contents(|_, contents| irregular(contents, Irregularity::Upwards)),
    },
    Check {
        name: "absolute-names",
        severity: Error,
        why: "absolute names match none of Anaconda's --exclude, and links to them end outside of \
              the new system",
        fix: "pack with `tar -C ROOT .` or `osimg pack ROOT`",
        look: Look::Contents(|_, contents| irregular(contents, Irregularity::Absolute)),
    },
    Check {
        name: "duplicate-names",
        severity: Warning,
        why: "of two members with one name, unpacking leaves the last",
        fix: "pack the tree once, without appending to an archive",
        look: Look::Contents(|_, contents| irregular(contents, Irregularity::Duplicate)),
    },
    Check {
        name: "dangling-hard-links",
        severity: Error,
        why: "tar cannot make the link, and its exit status is ignored: the file is missing",
        fix: "pack the whole tree at once: a hard link's first name has to come before it",
        look: Look::Contents(|_, contents| irregular(contents, Irregularity::Dangling)),
    },
    Check {
        name: "two-labels",
        severity: Error,
        why: "which of two SELinux labels a file gets depends on the tar that unpacks it",
        fix: "pack the tree again with `osimg pack ROOT`",
        look: Look::Contents(|_, contents| irregular(contents, Irregularity::Labels)),
    },
    Check {
        name: "odd-members",
        severity: Warning,
        why: "some readers take volume labels and sizes of what has no content for something else \
              than others do",
        fix: "pack the tree again with GNU tar or `osimg pack ROOT`",
        look: Look::Contents(|_, contents| {
            [irregular(contents, Irregularity::Size), irregular(contents, Irregularity::Volume)]
                .into_iter()
                .flatten()
                .collect()
        }),
    },
    Check {
        name: "trailing-bytes",
        severity: Warning,
        why: "what stands behind the end of the archive is never unpacked: perhaps a second \
              archive was appended",
        fix: "pack everything into one archive",
        look: Look::Contents(|_, contents| irregular(contents, Irregularity::Trailing)),
    },
    Check {
        name: "acl-records",
        severity: Error,
        why: "tar --acls takes ACLs from SCHILY.acl records only and wipes those that come as \
              extended attributes, without a word",
        fix: "pack with `tar --acls --xattrs --selinux` or `osimg pack ROOT`",
        look: Look::Contents(|_, contents| {
            let raw = |name: &str| format!("system.posix_acl_{name}").into_bytes();
            let lost = |m: &&crate::contents::Member| {
                (m.xattrs.contains_key(&raw("access")) && m.acl.is_none())
                    || (m.xattrs.contains_key(&raw("default")) && m.default_acl.is_none())
            };
            members("ACLs that would be lost", contents.members.iter().filter(lost))
        }),
    },
    Check {
        name: "sparse-members",
        severity: Warning,
        why: "BusyBox and Rust's tar unpack a sparse member under a wrong name, and podman save \
              and push fail; GNU tar, bsdtar, Python and Go read it",
        fix: "truncate the file or leave it out; `osimg pack` writes a sparse member only for \
               holes of 16 MiB and more",
        look: Look::Contents(|_, contents| {
            members("sparse members", contents.members.iter().filter(|m| m.is_sparse()))
        }),
    },
    Check {
        name: "long-paths",
        severity: Warning,
        why: "GNU tar unpacks no path of more than 4095 bytes, and its exit status is ignored",
        fix: "leave such a tree out of the image, or shorten its names",
        look: Look::Contents(|_, contents| {
            members(
                "paths of more than 4095 bytes",
                contents.members.iter().filter(|m| m.path.len() > 4093),
            )
        }),
    },
    Check {
        name: "large-files",
        severity: Warning,
        why: "a file of this size is mostly holes (lastlog, a disk image): a tar that does not \
              keep holes fills the node's disk with zeros",
        fix: "truncate it (truncate -s 0 var/log/lastlog) or leave it out",
        look: Look::Contents(|_, contents| {
            let large = |m: &&crate::contents::Member| m.kind == Kind::File && m.size >= LARGE;
            about(
                "very large files",
                contents
                    .members
                    .iter()
                    .filter(large)
                    .map(|m| format!("{} ({})", m.shown(), bytes(m.size))),
            )
        }),
    },
    Check {
        name: "future-times",
        severity: Warning,
        why: "times in the future make builds, caches and certificates on the node behave as if \
              they were not there yet",
        fix: "set the build host's clock, or pack with --source-date-epoch",
        look: Look::Contents(|image, contents| {
            members(
                "times in the future",
                contents.members.iter().filter(|m| m.mtime.seconds > image.now.saturating_add(DAY)),
            )
        }),
    },
    Check {
        name: "disk-space",
        severity: Error,
        why: "the disk is full before everything is unpacked, and tar's exit status is ignored: \
              files are missing",
        fix: "leave packages out, or specify how large the smallest disk is: --disk SIZE",
        look: Look::Contents(|image, contents| {
            let stored = contents.stored.as_ref().map_or(0, |stored| stored.bytes);
            let unpacked: u64 = contents
                .members
                .iter()
                .map(|m| m.stored().next_multiple_of(DISK_BLOCK))
                .fold(0, u64::saturating_add);
            let needed = unpacked.saturating_add(stored);
            if needed <= image.smallest_disk {
                return Vec::new();
            }
            said(format!(
                "unpacked files of {} and the tarball of {} do not fit on a disk of {}",
                bytes(unpacked),
                bytes(stored),
                bytes(image.smallest_disk)
            ))
        }),
    },
    Check {
        name: "size",
        severity: Warning,
        why: "Anaconda asks for four times the tarball's size on the node's disk, and keeps it \
              there while it unpacks",
        fix: "leave packages out, compress better (.txz), or say how large the smallest disk is: \
               --disk SIZE",
        look: Look::Place(size),
    },
];

/// What a file system allocates at once.
const DISK_BLOCK: u64 = 4096;
/// No file of a fresh system is as large.
const LARGE: u64 = 1 << 30;
/// Clocks may differ by a time zone.
const DAY: i64 = 86_400;
/// What Anaconda multiplies the size of a remote tarball by.
const FACTOR: u64 = 4;

fn irregular(contents: &Contents, kind: Irregularity) -> Vec<Hit> {
    let names = contents.irregular.iter().filter(|(irregularity, _)| *irregularity == kind);
    about(
        &kind.to_string(),
        names.map(|(_, name)| String::from_utf8_lossy(name).escape_debug().to_string()),
    )
}

fn root_member(_: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    match contents.find("") {
        None => said("there is no member ./"),
        Some(root) if root.kind != Kind::Directory => said("the member ./ is not a directory"),
        // EL's and Fedora's package `filesystem` makes it 0555; which of the two is right for this
        // image, `rpm-modes` reads from the rpmdb.
        Some(root) if ![0o555, 0o755].contains(&root.mode) || (root.uid, root.gid) != (0, 0) => {
            said(format!(
                "the root directory has mode {:04o} and owner {}:{} instead of 0555 (or 0755) and \
                 0:0",
                root.mode, root.uid, root.gid
            ))
        }
        Some(_) => Vec::new(),
    }
}

/// The name of the tarball, as a consumer sees it.
fn source_name(image: &Image<'_>) -> Option<String> {
    match &image.place {
        Place::File(path) => Some(path.display().to_string()),
        Place::Address(answer) => Some(answer.url.clone()),
        Place::Nowhere => None,
    }
}

fn format(image: &Image<'_>) -> Option<ImageFormat> {
    image.contents.and_then(|contents| contents.stored.as_ref()).map(|stored| stored.format)
}

fn suffix_format(image: &Image<'_>) -> Vec<Hit> {
    match (source_name(image), format(image)) {
        (Some(name), Some(ImageFormat::Tarball(format))) => {
            match Format::from_name(Path::new(&name)) {
                Ok(named) if named != format => {
                    said(format!("{name} is named as {named} and compressed as {format}"))
                }
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// Whether Anaconda leaves the path out by an `--exclude` option that matters. It removes the boot
/// loader's old entries anyway.
fn is_excluded(path: &[u8]) -> bool {
    const BELOW: [&[u8]; 5] = [b"dev/", b"proc/", b"tmp/", b"sys/", b"run/"];
    const FILES: [&[u8]; 2] = [b"etc/machine-id", b"etc/machine-info"];
    let rescue = path
        .strip_prefix(b"boot/")
        .is_some_and(|name| name.windows(6).any(|part| part == b"rescue"));
    rescue || BELOW.iter().any(|directory| path.starts_with(directory)) || FILES.contains(&path)
}

/// The digest in the file beside the tarball, `HASH  NAME` or the hash alone; none when there is no
/// such file.
fn written(path: &Path) -> Option<String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    let text = crate::files::read(Path::new(&name), crate::files::TEXT).ok()?;
    let text = String::from_utf8_lossy(text.get(..text.len().min(4096))?).into_owned();
    Some(text.split_ascii_whitespace().next().unwrap_or_default().to_ascii_lowercase())
}

fn checksum(image: &Image<'_>) -> Vec<Hit> {
    let Place::File(path) = &image.place else { return Vec::new() };
    let stored = image
        .contents
        .and_then(|contents| contents.stored.as_ref())
        .and_then(|stored| stored.sha256);
    match (written(path), stored.map(hex::encode)) {
        (Some(written), Some(found)) if written != found => said(format!(
            "the tarball's SHA-256 is {found}, the file beside it says {}",
            written.escape_debug()
        )),
        _ => Vec::new(),
    }
}

fn checksum_file(image: &Image<'_>) -> Vec<Hit> {
    match &image.place {
        Place::File(path) if written(path).is_none() => {
            said(format!("there is no {}.sha256", path.display()))
        }
        _ => Vec::new(),
    }
}

fn size(image: &Image<'_>) -> Vec<Hit> {
    let address = match &image.place {
        Place::Address(answer) => answer.length,
        Place::File(_) | Place::Nowhere => None,
    };
    let stored =
        image.contents.and_then(|contents| contents.stored.as_ref()).map(|stored| stored.bytes);
    match stored.or(address) {
        Some(size) if size.saturating_mul(FACTOR) > image.smallest_disk => {
            let (wanted, disk) = (bytes(size.saturating_mul(FACTOR)), bytes(image.smallest_disk));
            said(format!(
                "the tarball of {} asks for {wanted} of disk, and the smallest has {disk}",
                bytes(size)
            ))
        }
        _ => Vec::new(),
    }
}
