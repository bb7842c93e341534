//! Step 4: prepares the filled install root for cloning to any node. Each change is one small
//! file or directory.

pub(crate) mod identities;
pub mod initramfs;
pub mod leftovers;
pub mod machine_id;
