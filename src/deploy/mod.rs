//! Step 7: what a deployment needs beside the tarball.

pub mod http;
mod iso;
mod magic;
pub mod pieces;
mod release;
mod store;
mod tree;

pub use release::ImageRelease;
