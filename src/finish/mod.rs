//! Step 4: makes the filled install root a clone that any node may start from; one small file (or
//! directory) a change.

pub mod certificates;
pub mod files;
pub(crate) mod identities;
pub mod initramfs;
pub mod leftovers;
pub mod machine_id;
