//! What a run may reach, where the kernel has Landlock (Linux 5.19): the second boundary around the
//! package manager, which must be able to change its root.
//!
//! See <https://docs.kernel.org/userspace-api/landlock.html>.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::plan::{Access as MountAccess, Mount, Plan, View};

/// The newest rights that are handled; older kernels handle fewer.
const NEWEST: ABI = ABI::V6;

/// Restricts this process, whose root is that of the plan's view, and all it will start.
///
/// They write only to the install root, the scratch and temporary directories, and what the plan
/// lets them write to; with the view of the image they reach nothing but the install root. They
/// signal only each other, and connect to no abstract socket of others.
pub(super) fn apply(plan: &Plan) -> Result<()> {
    // Without this right files could not be moved between directories.
    let required = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer);
    let Ok(ruleset) = required else { return Ok(()) };
    let mut rules = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .context("preparing the restriction of files")?;
    for path in writable(plan) {
        rules = rules
            .add_rule(beneath(&path, AccessFs::from_all(NEWEST))?)
            .with_context(|| format!("allowing writing to {}", path.display()))?;
    }
    if plan.view == View::Tools {
        rules = rules
            .add_rule(beneath(Path::new("/"), AccessFs::from_read(NEWEST))?)
            .context("allowing reading")?;
    }
    rules.restrict_self().context("restricting files")?;
    Ok(())
}

fn beneath(path: &Path, access: landlock::BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>> {
    let opened = PathFd::new(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(PathBeneath::new(opened, access))
}

fn writable(plan: &Plan) -> Vec<PathBuf> {
    if plan.view == View::Image {
        return vec!["/".into()];
    }
    let mounts = plan.mounts.iter().filter_map(|mount| match mount {
        Mount::Bind { source, access: MountAccess::ReadWrite, .. }
        | Mount::Opened { source, access: MountAccess::ReadWrite, .. } => Some(source.clone()),
        _ => None,
    });
    // librepo, SQLite and Python look for them by these names.
    let temporary = ["/tmp", "/var/tmp"].map(PathBuf::from);
    [plan.root.clone(), plan.scratch.clone()]
        .into_iter()
        .chain(mounts)
        .chain(temporary.into_iter().filter(|path| path.exists()))
        .collect()
}
