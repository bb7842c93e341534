//! osimg builds OS tarballs for bare metal from a recipe in `dnf shell`'s language.
//!
//! How it works; the modules are listed in this order:
//!
//! | step | module | what it does |
//! |---|---|---|
//! | 1 | [`recipe`] | reads `baremetal.yum` and the settings next to it |
//! | 2 | [`sandbox`] | isolates the install root and everything that runs in it |
//! | 3 | [`packages`] | a package manager fills the install root; the result is then checked |
//! | 4 | [`customise`] | adds users, services, files and the like, and runs scripts |
//! | 4 | [`finish`] | makes the tree ready for cloning: machine-id, leftovers |
//! | 5 | [`archive`] | labels the tree and packs it; the bytes are reproducible |
//! | 6 | [`registry`] | publishes the artifact |
//! | 7 | [`deploy`] | passes Ironic what it needs for the installation |
//!
//! Steps never call each other sideways; only [`build`] knows the order. [`contents`] reads a
//! tarball or a tree, [`verify`] checks whether a node could use it, and [`boot`] boots the
//! artifact in a virtual machine.
#![warn(unreachable_pub)]

pub mod cli;

mod build;

pub mod recipe;
pub mod sandbox;

pub mod packages;

mod customise;
mod finish;

pub mod selinux;

pub mod archive;

pub mod contents;

pub mod verify;

pub mod set;

pub mod installer;

pub mod registry;

pub mod deploy;

mod boot;

mod sbom;

mod inspect;

mod diff;

mod calendar;
pub mod cloud;
pub mod error;
mod files;
mod http;
mod naming;
mod nevra;
mod openat;
mod openpgp;
mod pem;
mod percent;
mod private;
pub mod process;
pub mod report;
mod rpmheader;
mod secrets;
mod suggest;
mod text;
pub mod workdir;
