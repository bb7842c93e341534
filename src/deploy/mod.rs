//! Step 7: tells Ironic how to install a published image on a node.

pub mod http;
mod iso;
pub mod kickstart;
mod magic;
pub mod pieces;
mod release;
mod store;
mod tree;

pub use release::ImageRelease;
