//! Programs that Anaconda and Ironic's %post run inside the image, and those without which a node
//! does not keep running.

use super::check::{Check, Hit, Look, said};
use super::program::{Program, When};
use crate::verify::image::Image;
use crate::verify::severity::Severity;

/// A row of the table: check, program, severity, what the node would do, what fixes it.
macro_rules! programs {
    ($($name:literal $severity:ident $when:ident: $why:literal, $fix:literal;)+) => {
        pub(super) const CHECKS: &[Check] = &[
            $(Check {
                name: concat!("program-", $name),
                severity: Severity::$severity,
                why: $why,
                fix: $fix,
                look: Look::Program(&Program { name: $name, when: When::$when }),
            },)+
            Check {
                name: "ca-bundle",
                severity: Severity::Warning,
                why: "curl in Ironic's %post trusts no server: the heartbeat over https fails and \
                    the node stays in \"deploying\"",
                fix: "install ca-certificates",
                look: Look::Contents(ca_bundle),
            },
        ];
    };
}

programs! {
    "sh" Error Always: "no scriptlet, no %post and no rescue shell runs without it", "install bash";
    "bash" Error Anaconda: "kernel-install's scripts and dracut are bash scripts: the installation \
    fails", "install bash";
    "systemd-machine-id-setup" Error Anaconda: "Anaconda runs it first of all in the new system: \
    the installation fails", "install systemd";
    "kernel-install" Error Anaconda: "Anaconda makes the boot menu's entries by it: the \
    installation fails", "install systemd-udev (EL 8: systemd)";
    "dracut" Error Anaconda: "Anaconda makes the node's own initramfs by it: the installation \
    fails", "install dracut dracut-config-generic";
    "depmod" Error Always: "the kernel's modules are not found: no disk, no \
    network", "install kmod";
    "grub2-mkconfig" Error Anaconda: "Anaconda writes the boot loader's configuration by it: the \
    installation fails", "install grub2-tools";
    "grub2-set-default" Error Anaconda: "Anaconda names the default kernel by it: the installation \
    fails", "install grub2-tools-minimal";
    "grub2-editenv" Error Anaconda: "Anaconda writes the boot loader's environment by it: the \
    installation fails", "install grub2-tools-minimal";
    "efibootmgr" Error Anaconda: "on UEFI Anaconda makes the boot entry by it, in the image: the \
    installation fails", "install efibootmgr";
    "gen_grub_cfgstub" Error NewerAnaconda: "on UEFI Anaconda writes the first grub.cfg by it: the \
    installation fails", "install grub2-efi-x64 (aarch64: grub2-efi-aa64) of the same release as \
        the installer";
    "locale" Error NewerAnaconda: "Anaconda asks it for the languages there are: the installation \
    fails", "install glibc-common";
    "useradd" Error Anaconda: "Anaconda makes the kickstart's users by it: the installation \
    fails", "install shadow-utils";
    "chpasswd" Error Anaconda: "Anaconda sets the kickstart's passwords by it: nobody can log \
    in", "install shadow-utils";
    "curl" Error Anaconda: "Ironic's %post calls back by it: the node stays in \"deploying\" until \
    it times out", "install curl";
    "chmod" Error Anaconda: "Ironic's %post writes the config drive with it: cloud-init finds \
    none", "install coreutils";
    "base64" Error Anaconda: "Ironic's %post writes the config drive with it: cloud-init finds \
    none", "install coreutils";
    "dirname" Error Anaconda: "Ironic's %post writes the config drive with it: cloud-init finds \
    none", "install coreutils";
    "mkdir" Error Anaconda: "Ironic's %post writes the config drive with it: cloud-init finds \
    none", "install coreutils";
    "cloud-init" Warning Anaconda: "nobody reads the config drive: no ssh keys, no network \
    settings, no host name", "install cloud-init";
    "lvm" Warning Always: "the default kickstart's autopart makes logical volumes: the initramfs \
    cannot open them", "install lvm2";
    "mkfs.xfs" Warning Always: "autopart of EL makes XFS: no file system check in the initramfs, \
    none can be made or grown", "install xfsprogs";
    "mkfs.ext4" Warning Always: "/boot may be ext4: it is never checked, and none can be made or \
    grown", "install e2fsprogs";
    "mkfs.vfat" Warning Always: "the EFI system partition is FAT: it is never checked",
    "install dosfstools";
}

fn ca_bundle(_: &Image<'_>, contents: &crate::contents::Contents) -> Vec<Hit> {
    const BUNDLES: [&str; 4] = [
        "etc/pki/tls/certs/ca-bundle.crt",
        "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "etc/pki/tls/cert.pem",
        "etc/ssl/certs/ca-certificates.crt",
    ];
    let full = |path: &str| {
        contents
            .resolve(path)
            .map(|member| contents.carrier(member))
            .is_some_and(|member| member.size > 0)
    };
    if BUNDLES.iter().any(|path| full(path)) {
        Vec::new()
    } else {
        said("there is no bundle of certificate authorities (CA bundle)")
    }
}
