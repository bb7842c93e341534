//! The processes that come from one, by the /proc that is there: it may be that of a container, and
//! show processes that have nothing to do with the run.

use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A process in /proc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number there.
    pub(crate) pid: i32,
    parent: i32,
    /// Its process group.
    pub(crate) group: i32,
    /// The name of its program.
    pub(crate) name: String,
    /// Whether it has ended, and only waits for its parent to notice.
    pub(crate) ended: bool,
    /// Its threads.
    pub(crate) threads: u32,
}

impl Process {
    /// Whether a process or thread of this number is part of it.
    pub(crate) fn has_thread(&self, number: i32) -> bool {
        self.pid == number
            || (self.threads > 1
                && Path::new(&format!("/proc/{}/task/{number}", self.pid)).exists())
    }
}

/// The process of a thread.
pub(crate) fn thread_group(thread: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|number| number.trim().parse().ok())
        .map(Pid::from_raw)
}

/// All processes that come from this one, itself left out.
pub(crate) fn descendants() -> Vec<Process> {
    // By its number in this /proc, which need not be that of its own pid namespace.
    let own = std::fs::read_link("/proc/self").ok().and_then(|link| link.to_str()?.parse().ok());
    let Some(own) = own else { return Vec::new() };
    below(own, all(Path::new("/proc")))
}

fn all(proc: &Path) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    let numbers = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    // One that ended in the meantime is left out.
    numbers
        .filter_map(|entry| parse(&std::fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

/// The processes that come from `ancestor`, sorted by number.
fn below(ancestor: i32, all: Vec<Process>) -> Vec<Process> {
    let parents: BTreeMap<i32, i32> =
        all.iter().map(|process| (process.pid, process.parent)).collect();
    let comes_from = |pid: i32| {
        let (mut at, mut seen) = (pid, BTreeSet::new());
        while let Some(parent) = parents.get(&at) {
            if *parent == ancestor {
                return true;
            }
            // The table was not read in one instant, so it may hold a cycle.
            if !seen.insert(at) {
                return false;
            }
            at = *parent;
        }
        false
    };
    let mut found: Vec<Process> =
        all.into_iter().filter(|process| comes_from(process.pid)).collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Reads a process's /proc/PID/stat; see proc_pid_stat(5). The name may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (pid, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    Some(Process {
        pid: pid.trim().parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        name: name.to_owned(),
        ended: matches!(fields.first(), Some(&("Z" | "X"))),
        threads: fields.get(17)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, parent: i32, name: &str, state: &str) -> String {
        format!("{pid} ({name}) {state} {parent} 7 7 0 -1 4194560 90 0 0 0 0 0 0 0 20 0 42 0 99")
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let process = parse(&stat(7, 3, "a) S (b) ", "Z")).expect("a process");
        assert_eq!((process.pid, process.parent, process.name.as_str()), (7, 3, "a) S (b) "));
        assert!(process.ended);
        assert_eq!(process.threads, 42);
    }

    #[test]
    fn processes_of_others_are_not_among_the_descendants() {
        let table = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1), (9, 8), (20, 21), (21, 20)];
        let all = table
            .iter()
            .map(|(pid, parent)| parse(&stat(*pid, *parent, "x", "S")).expect("a process"))
            .collect();
        assert_eq!(below(5, all).iter().map(|process| process.pid).collect::<Vec<_>>(), [6, 7]);
    }

    #[test]
    fn a_child_of_this_process_is_found() {
        #[expect(clippy::disallowed_methods, reason = "a test starts a process")]
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let found = descendants().iter().any(|process| process.pid == child.id().cast_signed());
        child.kill().expect("killed");
        child.wait().expect("waited for");
        assert!(found);
    }
}
