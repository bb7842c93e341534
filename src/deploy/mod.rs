//! Step 7: tells Ironic how to install a published image on a node.

pub mod config_drive;
pub mod doctor;
pub mod find;
pub mod glance;
pub mod http;
pub mod instance_info;
pub mod ironic;
mod iso;
pub mod kickstart;
mod magic;
pub mod pieces;
pub mod preflight;
mod release;
pub mod rollout;
mod store;
mod tree;

pub use release::ImageRelease;
