//! Step 7: tells Ironic how to install a published image on a node.

pub mod api;
pub mod instance_info;
pub mod ironic;
pub mod kickstart;
pub mod preflight;
pub mod sniff;
