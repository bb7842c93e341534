//! The kernel: Anaconda installs none for a tarball, and finds it by the members' names alone.

use super::check::{Check, Hit, Look, about, members, said};
use crate::contents::{Contents, Kind};
use crate::verify::image::Image;
use crate::verify::severity::Severity::{Error, Warning};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "kernel",
        severity: Error,
        why: "Anaconda only warns \"No kernel was installed\" and goes on: the node has nothing \
              to boot",
        fix: "install kernel",
        look: Look::Contents(kernel),
    },
    Check {
        name: "one-kernel",
        severity: Warning,
        why: "Anaconda sorts the kernels by version and makes the first the default: with two, \
              the oldest boots",
        fix: "keep one: `remove kernel-core-OLD`, or installonly_limit=1",
        look: Look::Contents(|_, contents| {
            let kernels = contents.kernels();
            if kernels.len() > 1 {
                said(format!(
                    "there are {} kernels, the default would be {}",
                    kernels.len(),
                    kernels.join(", ")
                ))
            } else {
                Vec::new()
            }
        }),
    },
    Check {
        name: "kernel-names",
        severity: Error,
        why: "Anaconda takes every member whose name contains boot/vmlinuz- for a kernel, and its \
              version for what comes after",
        fix: "remove or rename these files",
        look: Look::Contents(|_, contents| {
            let kernels = contents.kernels();
            let odd = contents.members.iter().filter(|member| {
                let name = String::from_utf8_lossy(&member.path);
                name.contains("boot/vmlinuz-")
                    && !name.contains("-rescue-")
                    && name
                        .strip_prefix("boot/vmlinuz-")
                        .is_none_or(|v| !kernels.iter().any(|k| k == v))
            });
            members("files that would be taken for kernels", odd)
        }),
    },
    Check {
        name: "kernel-modules",
        severity: Error,
        why: "kernel-install, depmod and dracut fail without the kernel's modules, and the node \
              without an initramfs",
        fix: "install kernel-modules and kernel-core of the kernel in /boot, and run depmod -a \
               VERSION",
        look: Look::Contents(|_, contents| {
            let kernels = contents.kernels();
            let missing = kernels.iter().flat_map(|version| {
                ["vmlinuz", "modules.dep"].map(|file| format!("/usr/lib/modules/{version}/{file}"))
            });
            about(
                "missing for the kernel in /boot",
                missing.filter(|path| !is_file(contents, path.trim_start_matches('/'))),
            )
        }),
    },
    Check {
        name: "initramfs",
        severity: Error,
        why: "nothing makes an initramfs when a tarball is unpacked by itself: the kernel finds \
              no root file system",
        fix: "install dracut before the kernel, or run dracut --kver VERSION in the image",
        look: Look::Contents(|image, contents| {
            if image.consumers.iter().all(|consumer| consumer.is_anaconda()) {
                return Vec::new();
            }
            let missing = contents.kernels().into_iter().filter(|version| {
                !["boot/initramfs-VERSION.img", "boot/initrd.img-VERSION"]
                    .iter()
                    .any(|name| is_file(contents, &name.replace("VERSION", version)))
            });
            about("kernels without an initramfs in /boot", missing)
        }),
    },
];

fn kernel(_: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    let kernels = contents.kernels();
    if kernels.is_empty() {
        return said("there is no kernel: no member ./boot/vmlinuz-VERSION");
    }
    let broken = kernels
        .iter()
        .map(|version| format!("boot/vmlinuz-{version}"))
        .filter(|path| !is_file(contents, path));
    let described = broken.map(|path| match contents.find(&path) {
        Some(link) if link.kind == Kind::Symlink => {
            format!(
                "/{path} is a symbolic link to {}, which is not in the image",
                crate::text::bytes(&link.link)
            )
        }
        Some(file) if file.kind == Kind::File => format!("/{path} is empty"),
        _ => format!("/{path} is not a file"),
    });
    about("kernels that cannot boot", described)
}

fn is_file(contents: &Contents, path: &str) -> bool {
    contents
        .resolve(path)
        .map(|member| contents.carrier(member))
        .is_some_and(|member| member.kind == Kind::File && member.size > 0)
}
