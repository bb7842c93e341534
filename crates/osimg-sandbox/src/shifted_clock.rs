//! Another time of day for the programs of a run. The kernel has no namespace for it, so
//! libfaketime gives it to those that are linked with a C library of the machine's own kind:
//! <https://github.com/wolfcw/libfaketime>.

use std::path::{Path, PathBuf};

use super::plan::{Access, BUILD_ROOT, Mount, Plan, View};

/// Where distributions keep the library that threads can use.
const DIRECTORIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];
const LIBRARY: &str = "libfaketimeMT.so.1";
/// Where programs find it: a path that the tools' root and the install root both have, and that no
/// image keeps.
const IN_SANDBOX: &str = "/run/osimg-clock.so";
/// Another year, month, day of the week, hour and minute.
const AHEAD: &str = "+34407720";

/// A clock that is 398 days, 5 hours and 42 minutes ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    library: PathBuf,
}

impl Clock {
    /// The one that this host can set, if it has the library.
    #[must_use]
    pub fn find() -> Option<Self> {
        DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(LIBRARY))
            .find(|path| path.is_file())
            .map(|library| Self { library })
    }

    /// Sets it for what the plan runs with the tools' programs, and for what those run in the
    /// install root.
    #[must_use]
    pub fn set(&self, mut plan: Plan) -> Plan {
        let roots: &[&str] = match plan.view {
            View::Tools => &["", BUILD_ROOT],
            View::Image => &[""],
        };
        for root in roots {
            let target = format!("{root}{IN_SANDBOX}").into();
            plan.mounts.push(Mount::Bind {
                source: self.library.clone(),
                target,
                access: Access::ReadOnly,
            });
        }
        plan.command = plan
            .command
            .env("LD_PRELOAD", IN_SANDBOX)
            .env("FAKETIME", AHEAD)
            // Files keep the kernel's dates, which are cut to that of the image anyway; what waits
            // goes by the monotonic clock.
            .env("NO_FAKE_STAT", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DISABLE_SHM", "1");
        plan
    }
}
