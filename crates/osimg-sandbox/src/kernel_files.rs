//! The devices that programs may use, and the files of /proc that they may not.

/// The device nodes of a private /dev with their numbers; see the kernel's devices.txt.
pub(crate) const NODES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Files of /proc through which uid 0 could act on the host, or look into its memory, without any
/// capability; hidden.
pub(crate) const PROC_HIDDEN: [&str; 12] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "sysrq-trigger",
    "latency_stats",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
];
