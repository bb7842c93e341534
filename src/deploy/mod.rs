//! Step 7: has Ironic install a published image on a node.

pub mod config_drive;
pub mod doctor;
pub mod find;
pub mod glance;
pub mod http;
pub mod instance_info;
pub mod ironic;
pub mod preflight;
pub mod rollout;
