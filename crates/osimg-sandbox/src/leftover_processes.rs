//! Processes that a run without namespaces left, because its first stage was killed.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::path::Path;

/// Ends the processes whose root is this directory. No other has it as its root.
pub fn end_processes_in(root: &Path) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let number =
            entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = number else { continue };
        // The handle first: its process stays the same one, whatever its number becomes.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if std::fs::read_link(entry.path().join("root")).is_ok_and(|found| found == root) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
}
