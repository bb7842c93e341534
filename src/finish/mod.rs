//! Step 4: prepares the filled install root for cloning to any node. Each change is one small
//! file or directory.

pub(crate) mod identities;
pub(crate) mod initramfs;
pub(crate) mod leftovers;
pub(crate) mod machine_id;
