#![warn(unreachable_pub, clippy::missing_errors_doc)]
#![doc = include_str!("../README.md")]
//! # How it works
//!
//! A run is a re-execution of the calling program in two stages, so that no `unsafe` is needed
//! between fork and exec:
//!
//! 1. The supervisor ([`Sandbox::run`]) starts its own program again. This first stage leaves the
//!    host's mount, pid, ipc, uts and cgroup namespaces, and its network namespace where the plan
//!    says so ([`namespaces`]). It starts the
//! 2. second stage, the pid 1 of the run ([`pid1`]): it mounts the plan over a tmpfs ([`mounts`]),
//!    pivots into it, drops all but nine capabilities and the dangerous system calls
//!    ([`confine`]), runs the command and reaps.
//!
//! In a build with a single id the first stage also traces the run, and records the owner that each
//! file is given ([`tracing`]).
//!
//! In a container that forbids namespaces ([`Isolation::Container`]) there is neither a mount nor a
//! namespace: the first stage answers the calls that ask for /proc, /sys and /dev, and ends what
//! the run leaves behind ([`container`]).
//!
//! Else all mounts are in the namespace of these two. Both end with the supervisor, however it
//! ends, and with pid 1 the kernel ends every process of the run. So there is nothing to clean up.

mod command;
mod confine;
mod container;
mod descendants;
mod directories;
mod emulation;
mod error;
mod isolation;
mod kernel_files;
mod leftover_processes;
mod lines;
mod mounts;
mod namespaces;
#[expect(unsafe_code, reason = "no maintained crate has seccomp's user notification")]
mod notify;
pub mod openat;
mod outcome;
mod owned_file;
mod pid1;
mod plan;
mod process_limit;
mod process_memory;
mod relay;
mod release;
mod remove;
mod root;
mod run;
mod shifted_clock;
mod stages;
mod status;
mod stdin;
mod time_limits;
mod tools;
mod tracing;
mod user_namespace;
mod workspace;

pub use command::{CommandLine, Tail, find_program, quote};
pub use emulation::check_runnable;
pub use error::{Error, ErrorKind, Result};
pub use isolation::{Isolation, Probe, probe};
pub use leftover_processes::end_processes_in;
pub use lines::{OnLine, Stream};
pub use outcome::{NotStarted, Outcome};
pub use owned_file::OwnedFile;
pub use plan::{
    API_FILE_SYSTEMS, Access, BUILD_ROOT, Devices, Mount, Network, Owners, Plan, Terminal, View,
};
pub use remove::{mount_below, mounts_below, remove_content, remove_tree};
pub use root::{InstallRoot, Kind, Status};
pub use run::{Sandbox, Turns};
pub use shifted_clock::Clock;
pub use stages::enter_if_asked;
pub use time_limits::Limits;
pub use tools::ToolRoot;
pub use user_namespace::{
    APPARMOR_FIX, Ids, SubordinateIds, USUAL_IDS, become_root, drop_host_privileges,
};
pub use workspace::{
    Backing, enter_private_mounts, mount_memory, pin, unmount_memory, unpin, with_hostname,
};
