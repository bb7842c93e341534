//! osimg builds OS tarballs for bare metal from a recipe in `dnf shell`'s language.
//!
//! How it works; the modules stand in this order:
//!
//! | step | module | what it does |
//! |---|---|---|
//! | 1 | [`recipe`] | reads `baremetal.yum` and the settings beside it |
//! | 2 | [`sandbox`] | contains the install root and everything that runs over it |
//! | 3 | [`packages`] | a package manager fills the install root; the verdict says whether it did |
//! | 4 | [`finish`] | makes the tree a clone: machine-id, leftovers, labels, certificates |
//! | 5 | [`archive`] | labels, tars and packs the tree, the same bytes every time |
//! | 6 | [`registry`] | publishes the artifact |
//! | 7 | [`deploy`] | tells Ironic how to install it |
//!
//! Steps never call each other sideways; [`build`] alone knows the order. [`contents`] reads what
//! is in a tarball or a tree, [`verify`] says whether a node could use it, and [`boot`] tries the
//! artifact in a virtual machine.

pub mod cli;

mod build;

pub mod recipe;
pub mod sandbox;

pub mod packages;

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
mod nevra;
mod openat;
mod openpgp;
mod percent;
mod private;
pub mod process;
pub mod report;
mod rpmheader;
mod secrets;
mod text;
pub mod workdir;
