//! The devices that programs may use, and what /proc and /sys do not show them.

/// The device nodes of a private /dev with their numbers; see the kernel's devices.txt.
pub(crate) const NODES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Files of /proc that show the machine, or through which uid 0 could act on the host, or look into
/// its memory, without any capability; hidden.
pub(crate) const PROC_HIDDEN: [&str; 16] = [
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
    // The command line again, since Linux 6.9.
    "bootconfig",
    // Disks of the machine.
    "partitions",
    "diskstats",
    "mdstat",
];

/// The host's command line is replaced by [`COMMAND_LINE`]: kernel-install writes it into the boot
/// entries of an image that has no /etc/kernel/cmdline.
pub(crate) const PROC_COMMAND_LINE: &str = "cmdline";
/// Not empty: dracut and kernel-install would look elsewhere.
pub(crate) const COMMAND_LINE: &str = "ro\n";

/// Directories of sysfs in which [`is_hidden_sys`] hides entries.
pub(crate) const SYS_PARTLY_HIDDEN: [&str; 5] = ["", "class", "dev", "devices", "devices/virtual"];

/// Whether a path of sysfs shows the machine: its firmware, identity, disks and other hardware. An
/// image must not depend on them, and programs such as grub2-install must not find a disk.
pub(crate) fn is_hidden_sys(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (Some("firmware" | "block" | "bus"), ..) | (Some("dev"), Some("block"), _) => true,
        (Some("class"), Some(kind), _) | (Some("devices"), Some("virtual"), Some(kind)) => {
            kind != "net"
        }
        (Some("devices"), Some(kind), _) => !["system", "virtual"].contains(&kind),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_hidden_and_the_kernel_is_not() {
        for path in [
            "firmware",
            "firmware/dmi/tables/DMI",
            "block",
            "dev/block/8:0",
            "class/dmi/id",
            "class/nvme/nvme0/serial",
            "devices/virtual/dmi/id/product_uuid",
            "devices/virtual/block/loop0",
            "devices/pci0000:00/0000:00:1f.2",
        ] {
            assert!(is_hidden_sys(path), "{path}");
        }
        for path in [
            "",
            "class",
            "class/net/lo",
            "dev/char",
            "devices",
            "devices/virtual/net/lo",
            "devices/system/cpu/online",
            "kernel/mm",
            "module/zram",
            "fs/cgroup",
        ] {
            assert!(!is_hidden_sys(path), "{path}");
        }
    }
}
