//! The results of scriptlets. Those of EL end in `|| :`, so that a failure leaves no trace but a
//! missing file.

use super::check::{Check, Hit, Look, about};
use crate::contents::{Contents, Kind, Package};
use crate::verify::image::Image;
use crate::verify::severity::Severity::Error;

pub(super) const CHECKS: &[Check] = &[Check {
    name: "scriptlet-results",
    severity: Error,
    why: "the scriptlets that create these files failed, and rpm did not notice it: the node has \
          no kernel, no SELinux labels or no certificates",
    fix: "build again with -v, look for the scriptlet's messages, and check the package's \
           dependencies",
    look: Look::Contents(missing_results),
}];

/// Files that packages list as ghosts and that their scriptlets always create: the start and the
/// end of the path.
const RESULTS: [(&str, &str); 5] = [
    ("boot/vmlinuz-", ""),
    ("boot/initramfs-", ".img"),
    ("etc/selinux/", "/contexts/files/file_contexts.bin"),
    ("etc/ld.so.cache", ""),
    ("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", ""),
];

fn missing_results(image: &Image<'_>, contents: &Contents) -> Vec<Hit> {
    let expected = |path: &[u8]| {
        RESULTS.iter().any(|(start, end)| {
            path.strip_prefix(start.as_bytes()).is_some_and(|rest| rest.ends_with(end.as_bytes()))
        })
    };
    let exists = |path: &[u8]| {
        let found = contents.resolve(path).map(|member| contents.carrier(member));
        found.is_some_and(|file| file.kind == Kind::File && file.size > 0)
    };
    let missing = |package: &Package| {
        let files = package.files.iter().filter(|file| {
            file.is_ghost()
                && expected(&file.path)
                && !exists(&file.path)
                && !image.was_removed(&file.path)
        });
        let text = |path| format!("/{} ({})", crate::text::bytes(path), package.name);
        files.map(|file| text(&file.path)).collect::<Vec<_>>()
    };
    about(
        "missing, although scriptlets create them",
        contents.packages.list().iter().flat_map(missing),
    )
}
