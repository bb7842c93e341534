//! Boot loaders: nothing installs one for a tarball, so its files have to be in it.

use super::check::{Check, Hit, Look, about, members, said};
use crate::contents::{Contents, Kind};
use crate::verify::image::Image;
use crate::verify::severity::Severity::{Error, Warning};
use std::collections::BTreeMap;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "efi-loader",
        severity: Error,
        why: "on UEFI the boot entry points to shim in the distribution's directory: the firmware \
              finds nothing there",
        fix: "install shim-x64 grub2-efi-x64 (aarch64: shim-aa64 grub2-efi-aa64)",
        look: Look::Contents(efi_loader),
    },
    Check {
        name: "efi-files",
        severity: Error,
        why: "the EFI system partition is FAT: tar cannot make links, devices or second names \
              there, and its exit status is ignored",
        fix: "replace them by plain files",
        look: Look::Contents(|_, contents| {
            let odd = contents
                .all_below("boot/efi")
                .filter(|member| !matches!(member.kind, Kind::File | Kind::Directory));
            members("neither plain files nor directories below /boot/efi", odd)
        }),
    },
    Check {
        name: "efi-copies",
        severity: Error,
        why: "the packages have the EFI boot loader in /usr/lib/efi, and a scriptlet copies it to \
              /boot/efi: without the copy, or with an older one, the firmware starts nothing, or \
              a loader that Secure Boot has revoked",
        fix: "build again with -v and look for the messages of the packages shim and grub2-efi",
        look: Look::Contents(efi_copies),
    },
    Check {
        name: "boot-disks",
        severity: Warning,
        why: "the boot entries name disks of another machine: the kernel does not find its root \
              file system",
        fix: "remove root=, resume= and rd.* from the entries; osimg build writes none",
        look: Look::Contents(boot_disks),
    },
    Check {
        name: "bios-loader",
        severity: Warning,
        why: "on a node that starts by BIOS Anaconda runs grub2-install, which fails without its \
              modules",
        fix: "install grub2-pc grub2-tools-extra, or let no node start by BIOS",
        look: Look::Contents(|image, contents| {
            let mut missing = Vec::new();
            if !image.has_program("grub2-install") {
                missing.push("the program grub2-install");
            }
            if !["usr/lib/grub/i386-pc/kernel.img", "usr/lib/grub/i386-pc/modinfo.sh"]
                .iter()
                .any(|path| contents.resolve(path).is_some())
            {
                missing.push("/usr/lib/grub/i386-pc");
            }
            // Only PCs have a BIOS.
            let pc = contents.packages.list().iter().all(|package| {
                !matches!(package.arch.as_str(), "aarch64" | "ppc64le" | "s390x" | "riscv64")
            });
            if missing.is_empty() || !pc {
                Vec::new()
            } else {
                said(format!("it does not boot by BIOS: {} missing", missing.join(" and ")))
            }
        }),
    },
];

/// The directory on the EFI system partition that Anaconda of this distribution names in the boot
/// entry; some distributions share one.
fn efi_directory(image: &Image<'_>) -> String {
    match image.os_release.get("ID").map(String::as_str) {
        Some("rhel" | "ol") => "redhat".to_owned(),
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => String::new(),
    }
}

fn efi_loader(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    const LOADERS: [&str; 2] = ["shim", "grub"];
    let directory = efi_directory(image);
    let found = |directory: &str, loader: &str| {
        ["x64", "aa64", "riscv64"].iter().any(|arch| {
            let file = contents.find(format!("boot/efi/EFI/{directory}/{loader}{arch}.efi"));
            file.is_some_and(|member| member.kind == Kind::File && member.size > 0)
        })
    };
    let missing: Vec<&str> = LOADERS
        .into_iter()
        .filter(|loader| directory.is_empty() || !found(&directory, loader))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let elsewhere: Vec<String> = contents
        .below("boot/efi/EFI")
        .filter_map(|member| {
            member
                .path
                .rsplit(|byte| *byte == b'/')
                .next()
                .map(|name| String::from_utf8_lossy(name).into_owned())
        })
        .filter(|other| {
            *other != directory
                && other != "BOOT"
                && LOADERS.iter().all(|loader| found(other, loader))
        })
        .collect();
    if !elsewhere.is_empty() && missing.len() == LOADERS.len() {
        let elsewhere = elsewhere.join(", ");
        return said(format!(
            "the EFI boot loader is in {elsewhere}, but ID={directory} of os-release makes \
             Anaconda look in {directory}"
        ));
    }
    let directory = if directory.is_empty() { "ID".to_owned() } else { directory };
    about(
        "it does not boot by UEFI: missing",
        missing.into_iter().map(|loader| format!("/boot/efi/EFI/{directory}/{loader}x64.efi")),
    )
}

/// Files of /usr/lib/efi/PACKAGE/VERSION/EFI without an equal one in /boot/efi/EFI.
fn efi_copies(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    let mut copies: BTreeMap<String, bool> = BTreeMap::new();
    for packaged in contents.all_below("usr/lib/efi").filter(|m| m.kind == Kind::File) {
        let path = String::from_utf8_lossy(&packaged.path).into_owned();
        let mut parts = path.splitn(6, '/').skip(5);
        let Some(rest) = parts.next().filter(|rest| rest.starts_with("EFI/")) else { continue };
        let copy = format!("boot/efi/{rest}");
        if image.was_removed(copy.as_bytes()) {
            continue;
        }
        let equal = contents.find(&copy).is_some_and(|found| {
            found.size == packaged.size
                && (found.sha256.is_none()
                    || packaged.sha256.is_none()
                    || found.sha256 == packaged.sha256)
        });
        *copies.entry(copy).or_default() |= equal;
    }
    let wrong = copies.into_iter().filter(|(_, equal)| !equal).map(|(path, _)| format!("/{path}"));
    about("missing, or other than in /usr/lib/efi", wrong)
}

/// Boot entries, and the configuration of GRUB, with the ids of disks.
fn boot_disks(_: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    const ARGUMENTS: [&str; 6] =
        ["root=", "resume=", "rd.lvm.lv=", "rd.luks.uuid=", "rd.md.uuid=", "--fs-uuid"];
    let named = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let is_disk = |word: &str| ARGUMENTS.iter().any(|argument| word.starts_with(argument));
        text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|first| match first {
                "options" | "linux" | "search" => words.any(is_disk),
                _ => {
                    first.strip_prefix("kernelopts=").is_some_and(is_disk) || {
                        first.starts_with("kernelopts=") && words.any(is_disk)
                    }
                }
            })
        })
    };
    let files = contents.files().iter().filter(|(path, text)| {
        ["boot/loader/entries/", "boot/grub2/"].iter().any(|b| path.starts_with(b.as_bytes()))
            && named(text)
    });
    about(
        "with disks of another machine",
        files.map(|(p, _)| format!("/{}", crate::text::bytes(p))),
    )
}
