//! Which paths of a process without its own /proc, /sys and /dev are answered, and what they mean.

use crate::kernel_files::NODES;

/// A place that the kernel would have to show to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A node of /dev.
    Device(&'static str),
    /// Something below the /proc directory of the process itself.
    Own(String),
    /// Something below that of the thread itself.
    OwnThread(String),
    /// Something below that of another process.
    Other(i32, String),
    /// Something else below /proc.
    Kernel(String),
    /// Something below /sys.
    Sys(String),
    /// rpm's configuration: a name below /etc/rpm.
    RpmConfiguration(String),
}

/// How the paths begin that are answered.
const STARTS: [&[u8]; 7] = [b"/proc", b"/sys", b"/dev", b"/etc/mtab", b"/etc/rpm", b"//", b"/."];
/// So many bytes of a path decide.
pub(super) const ENOUGH: u64 = 10;

/// Whether a path with these first bytes, which end before a NUL or after [`ENOUGH`], can be one
/// that is answered.
pub(super) fn may_be_one(start: &[u8]) -> bool {
    let path = start.split(|byte| *byte == 0).next().unwrap_or_default();
    let cut = path.len() == start.len();
    STARTS.iter().any(|begin| {
        path.starts_with(begin) || (cut && !path.is_empty() && begin.starts_with(path))
    })
}

/// The place of an absolute path; `None` for one that the kernel resolves itself.
pub(super) fn place(path: &str) -> Option<Place> {
    let rest = path.strip_prefix('/')?;
    let parts: Vec<&str> =
        rest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return None;
    }
    let (first, rest) = parts.split_first()?;
    match (*first, rest) {
        ("dev", ["fd", number]) => Some(Place::Own(format!("fd/{number}"))),
        ("dev", ["stdin"]) => Some(Place::Own("fd/0".into())),
        ("dev", ["stdout"]) => Some(Place::Own("fd/1".into())),
        ("dev", ["stderr"]) => Some(Place::Own("fd/2".into())),
        ("dev", [name]) => {
            NODES.iter().find(|(node, ..)| node == name).map(|(node, ..)| Place::Device(node))
        }
        ("etc", ["mtab"]) | ("proc", ["mounts"]) => Some(Place::Own("mounts".into())),
        ("etc", ["rpm", rest @ ..]) => Some(Place::RpmConfiguration(rest.join("/"))),
        ("proc", ["self", rest @ ..]) => Some(Place::Own(rest.join("/"))),
        ("proc", ["thread-self", rest @ ..]) => Some(Place::OwnThread(rest.join("/"))),
        ("proc", [number, rest @ ..]) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(number.parse().map_or_else(
                |_| Place::Kernel(number.to_string()),
                |pid| Place::Other(pid, rest.join("/")),
            ))
        }
        ("proc", rest) => Some(Place::Kernel(rest.join("/"))),
        ("sys", rest) => Some(Place::Sys(rest.join("/"))),
        _ => None,
    }
}

/// Files of another process of the build that tell nothing but what `ps` shows.
pub(super) const SHOWN_OF_OTHERS: [&str; 6] = ["", "stat", "statm", "status", "cmdline", "comm"];

/// Whether this, below a process's directory, is a link that leads to a file of the process by
/// magic: its descriptor, or its program.
pub(super) fn is_own_file(rest: &str) -> bool {
    rest == "exe"
        || rest
            .strip_prefix("fd/")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether it is any link of that kind.
pub(super) fn is_magic(rest: &str) -> bool {
    is_own_file(rest) || ["cwd", "root"].contains(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_the_kernel_would_take_them_for() {
        let own = |rest: &str| Some(Place::Own(rest.into()));
        for (path, expected) in [
            ("/dev/null", Some(Place::Device("null"))),
            ("//dev///./null", Some(Place::Device("null"))),
            ("/dev/fd/63", own("fd/63")),
            ("/dev/stderr", own("fd/2")),
            ("/dev/vda", None),
            ("/dev/fd", None),
            ("/dev", None),
            ("/proc", Some(Place::Kernel(String::new()))),
            ("/proc/self/status", own("status")),
            ("/proc/self", own("")),
            ("/proc/thread-self/comm", Some(Place::OwnThread("comm".into()))),
            ("/proc/mounts", own("mounts")),
            ("/etc/mtab", own("mounts")),
            ("/proc/1/root/etc/shadow", Some(Place::Other(1, "root/etc/shadow".into()))),
            ("/proc/99999999999999/x", Some(Place::Kernel("99999999999999".into()))),
            ("/proc/sys/kernel/ostype", Some(Place::Kernel("sys/kernel/ostype".into()))),
            ("/sys/fs/cgroup", Some(Place::Sys("fs/cgroup".into()))),
            ("/etc/rpm/macros", Some(Place::RpmConfiguration("macros".into()))),
            ("/etc/passwd", None),
            ("/dev/../etc/shadow", None),
            ("/proc/self/../1/environ", None),
            ("relative/proc", None),
            ("/", None),
        ] {
            assert_eq!(place(path), expected, "{path}");
        }
    }

    #[test]
    fn the_first_bytes_of_every_answered_path_let_it_pass() {
        for path in [
            "/dev/null",
            "/proc/self",
            "/sys",
            "/etc/mtab",
            "/etc/rpm/macros",
            "//proc/self",
            "/./dev/null",
            "/proc",
        ] {
            let mut bytes = path.as_bytes().to_vec();
            bytes.push(0);
            bytes.truncate(ENOUGH as usize);
            assert!(may_be_one(&bytes), "{path}");
            // A page may end anywhere.
            assert!((1..bytes.len()).all(|end| may_be_one(&bytes[..end])), "{path}");
        }
        for path in [&b"/usr/lib/x"[..], b"/etc/passw", b"etc\0", b"\0", b"", b"/\0", b"/et\0dev"] {
            assert!(!may_be_one(path), "{path:?}");
        }
    }

    #[test]
    fn only_descriptors_and_the_program_are_files_of_a_process() {
        for (rest, own) in [
            ("fd/7", true),
            ("exe", true),
            ("fd/7/etc", false),
            ("fd/", false),
            ("cwd", false),
            ("root", false),
            ("fd/-1", false),
        ] {
            assert_eq!(is_own_file(rest), own, "{rest}");
        }
        assert!(is_magic("root") && !is_magic("root/etc"));
    }
}
