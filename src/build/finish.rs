//! Step 4: prepares the filled tree for cloning.

use std::path::Path;

use super::context::Build;
use crate::error::Result;
use crate::finish::{initramfs, leftovers, machine_id};
use crate::packages::FilledRoot;
use crate::process::CommandLine;
use crate::sandbox::{Devices, InstallRoot, Network, Owners, Plan, Terminal, View};

impl Build<'_> {
    /// Step 4: the tree becomes one that every node may start from; returns what was removed.
    pub(super) fn finish(&self, root: &InstallRoot, filled: &FilledRoot) -> Result<Vec<String>> {
        let step = self.report.step("finishing the tree");
        let settings = &self.recipe.settings.finish;
        initramfs::remove_drop_in(root)?;
        machine_id::apply(root, settings.machine_id)?;
        let mut wanted = crate::customise::placed(&self.recipe.settings.customizations);
        wanted.extend(filled.packaged_in_emptied.iter().cloned());
        let removed = leftovers::remove(root, &filled.dbpath, &wanted)?;
        step.finish(&format!("{} leftovers removed", removed.len()));
        Ok(removed)
    }
}

/// A sandbox in which the install root itself is `/`.
#[must_use]
pub(crate) fn image_plan(
    root: &Path,
    scratch: &Path,
    devices: Devices,
    command: CommandLine,
) -> Plan {
    Plan {
        root: root.to_owned(),
        scratch: scratch.to_owned(),
        view: View::Image,
        network: Network::None,
        devices,
        terminal: Terminal::None,
        owners: Owners::Ignored,
        hostname: "localhost".into(),
        mounts: Vec::new(),
        command,
    }
}
