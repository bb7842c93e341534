//! The installer that a node boots: its kernel, ramdisk and second stage, from install trees, ISO
//! images or single files, and the kickstart template that it follows.

pub(crate) mod iso;
pub mod kickstart;
pub(crate) mod magic;
pub mod pieces;
mod release;
mod store;
mod tree;
pub mod treeinfo;

pub use release::ImageRelease;
