//! File capabilities: the text that packages have of them and the bytes that the kernel stores.

/// The names by their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The capabilities of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Capabilities {
    permitted: u64,
    inheritable: u64,
    effective: bool,
}

impl Capabilities {
    /// Reads what `cap_to_text(3)` writes: clauses such as `cap_net_raw,cap_net_admin=ep`.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let (mut permitted, mut inheritable, mut effective) = (0_u64, 0_u64, 0_u64);
        for clause in text.split_ascii_whitespace() {
            let names_end = clause.find(['=', '+', '-'])?;
            let (names, mut actions) = clause.split_at(names_end);
            let mut mask = 0;
            for name in names.split(',').filter(|name| !name.is_empty()) {
                mask |= bit(name)?;
            }
            if names.is_empty() || names.eq_ignore_ascii_case("all") {
                mask = (1 << NAMES.len()) - 1;
            }
            while let Some(operator) = actions.chars().next() {
                let rest = actions.get(1..)?;
                let end = rest.find(['=', '+', '-']).unwrap_or(rest.len());
                let (flags, after) = rest.split_at(end);
                if !flags.chars().all(|flag| "eip".contains(flag)) {
                    return None;
                }
                for (set, letter) in
                    [(&mut effective, 'e'), (&mut inheritable, 'i'), (&mut permitted, 'p')]
                {
                    match (operator, flags.contains(letter)) {
                        ('=', true) | ('+', true) => *set |= mask,
                        ('=', false) | ('-', true) => *set &= !mask,
                        _ => {}
                    }
                }
                actions = after;
            }
        }
        Some(Self { permitted, inheritable, effective: effective != 0 })
    }

    /// Reads the extended attribute `security.capability`, versions 2 and 3 (linux/capability.h,
    /// `vfs_ns_cap_data`).
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<u64> {
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?).into())
        };
        let magic = word(0)?;
        if !matches!((magic >> 24, bytes.len()), (2, 20) | (3, 24)) {
            return None;
        }
        Some(Self {
            permitted: word(4)? | word(12)? << 32,
            inheritable: word(8)? | word(16)? << 32,
            effective: magic & 1 != 0,
        })
    }
}

fn bit(name: &str) -> Option<u64> {
    if name.eq_ignore_ascii_case("all") {
        return Some((1 << NAMES.len()) - 1);
    }
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("cap_")?;
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bytes_of_the_same_capabilities_agree() {
        // From `setcap` and `getfattr -e hex`.
        let raw = [1, 0, 0, 2, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for text in [
            "cap_net_admin,cap_net_raw=ep",
            "cap_net_admin,cap_net_raw+ep",
            "cap_net_raw=pe cap_net_admin+ep",
            "= cap_net_raw,cap_net_admin+pe",
        ] {
            assert_eq!(Capabilities::of_text(text), Capabilities::of_bytes(&raw), "{text}");
        }
        let mut version_3 = raw.to_vec();
        version_3[3] = 3;
        version_3.extend([0; 4]);
        assert_eq!(Capabilities::of_bytes(&version_3), Capabilities::of_bytes(&raw));
        assert_ne!(Capabilities::of_text("cap_net_raw=ep"), Capabilities::of_bytes(&raw));
        assert_ne!(
            Capabilities::of_text("cap_net_admin,cap_net_raw=p"),
            Capabilities::of_bytes(&raw)
        );
        let high = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Capabilities::of_text("cap_bpf=p"), Capabilities::of_bytes(&high));
        assert_eq!(Capabilities::of_text(""), Some(Capabilities::default()));
        assert_eq!(Capabilities::of_text("cap_unheard_of=p"), None);
        assert_eq!(Capabilities::of_bytes(&raw[..19]), None);
    }
}
