//! The machine id. Every node must generate its own, so the image has none.
//!
//! See <https://www.freedesktop.org/software/systemd/man/latest/machine-id.html>.

use std::path::Path;

use crate::error::Result;
use crate::recipe::MachineId;
use crate::sandbox::{InstallRoot, Kind};

/// The id during the build, as osbuild has it. kernel-install names boot entries and rescue kernels
/// by it: with a random one they would differ in every build.
const OF_THE_BUILD: &str = "ffffffffffffffffffffffffffffffff\n";

/// Writes the id of the build into the root before anything is installed. systemd's scriptlet keeps
/// an id that it finds.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn prepare(root: &InstallRoot, machine_id: MachineId) -> Result<()> {
    let path = Path::new("etc/machine-id");
    if machine_id == MachineId::Preserve || root.kind(path)?.is_some() {
        return Ok(());
    }
    root.directory(Path::new("etc"), 0o755)?;
    Ok(root.write(path, OF_THE_BUILD.as_bytes(), 0o444)?)
}

/// Sets `/etc/machine-id` to the requested state. A link that a package may have put there is not
/// followed.
///
/// # Errors
/// If the file cannot be replaced.
pub(crate) fn apply(root: &InstallRoot, machine_id: MachineId) -> Result<()> {
    let content: &[u8] = match machine_id {
        MachineId::Empty => b"",
        MachineId::Uninitialized => b"uninitialized\n",
        MachineId::Preserve => return Ok(()),
    };
    if root.kind(Path::new("etc"))? == Some(Kind::Directory) {
        root.write(Path::new("etc/machine-id"), content, 0o444)?;
    }
    // D-Bus has a separate copy if the distribution does not link it.
    if root.kind(Path::new("var/lib/dbus/machine-id"))? == Some(Kind::File) {
        root.remove(Path::new("var/lib/dbus/machine-id"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_host_is_replaced_and_the_host_file_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "0123").expect("victim");
        std::fs::create_dir_all(dir.path().join("root/etc")).expect("etc");
        std::os::unix::fs::symlink(&victim, dir.path().join("root/etc/machine-id")).expect("link");
        let root = InstallRoot::open(&dir.path().join("root")).expect("root");
        apply(&root, MachineId::Empty).expect("applied");
        assert_eq!(std::fs::read_to_string(&victim).expect("victim"), "0123");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("root/etc/machine-id")).expect("new"),
            ""
        );
        apply(&root, MachineId::Uninitialized).expect("applied");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("root/etc/machine-id")).expect("new"),
            "uninitialized\n"
        );
    }
}
