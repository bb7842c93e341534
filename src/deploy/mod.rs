//! Step 7: has Ironic install a published image on a node.

pub(crate) mod config_drive;
pub(crate) mod doctor;
pub(crate) mod find;
pub(crate) mod glance;
pub mod http;
pub(crate) mod instance_info;
pub(crate) mod ironic;
pub(crate) mod preflight;
pub(crate) mod rollout;

pub use ironic::explain;
