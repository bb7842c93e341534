//! The chroot manager: the one place that mounts, makes namespaces and changes the root.
//!
//! A run is a re-execution of ourselves in two stages, so that no `unsafe` is needed between fork
//! and exec:
//!
//! 1. `osimg` (the supervisor, [`Sandbox::run`]) starts `osimg sandbox-namespaces`, which unshares
//!    mount, pid, ipc, uts, cgroup and, while packages are installed, network namespaces
//!    ([`namespaces`]), and starts
//! 2. `osimg sandbox-init`, the pid 1 of the build ([`init`]): it mounts the plan over a tmpfs
//!    ([`mounts`]), pivots into it, gives up all but nine capabilities and the dangerous system
//!    calls ([`confine`]), runs the command and reaps.
//!
//! In a build with one id alone the first stage also follows the run, and remembers who was given
//! which file ([`ownership`]).
//!
//! All mounts live in the namespace of these two; both die with the supervisor, whatever kills it,
//! and with pid 1 the kernel ends every process of the build. There is nothing to clean up, so
//! nothing can be forgotten.

mod clock;
mod confine;
mod crowd;
mod entries;
mod foreign;
mod given;
mod idmap;
mod init;
mod input;
mod mounts;
mod namespaces;
mod ownership;
mod plan;
mod remove;
mod root;
mod run;
mod status;
mod tools;
mod workspace;

pub use clock::Clock;
pub use foreign::check_runnable;
pub use given::Given;
pub use idmap::{APPARMOR_CURE, IDMAP_VERB, Ids, Lent, USUAL_IDS, become_root, idmap_main, leave_privileges};
pub use init::main as init_main;
pub use namespaces::main as namespaces_main;
pub use plan::{API_FILE_SYSTEMS, Access, BUILD_ROOT, Devices, Mount, Network, OWN, Owners, Plan, Terminal, View};
pub use remove::{mount_below, remove_content, remove_tree};
pub use root::{InstallRoot, Kind};
pub use run::{Limits, NotStarted, Outcome, Sandbox, Stream};
pub use tools::ToolRoot;
pub use workspace::{Backing, enter_private_mounts, mount_memory, pin, under_host_name, unmount_memory, unpin};

/// The hidden verb of the first stage.
pub const NAMESPACES_VERB: &str = "sandbox-namespaces";
/// The hidden verb of the second stage.
pub const INIT_VERB: &str = "sandbox-init";
