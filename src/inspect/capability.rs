//! File capabilities in the format of getcap(8).

use std::collections::BTreeMap;

/// `struct vfs_cap_data` (linux/capability.h) as text: `cap_net_bind_service,cap_net_raw=ep`.
///
/// An unknown value is shown in hex, so that nothing is hidden.
#[must_use]
pub(crate) fn capability_text(value: &[u8]) -> String {
    let word = |at: usize| {
        value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    };
    let odd = || hex::encode(value);
    let Some(magic) = word(0) else { return odd() };
    let words = match (magic >> 24, value.len()) {
        (1, 12) => 1,
        (2, 20) | (3, 24) => 2,
        _ => return odd(),
    };
    let (mut permitted, mut inheritable) = (0u64, 0u64);
    for index in 0..words {
        let (Some(p), Some(i)) = (word(4 + index * 8), word(8 + index * 8)) else { return odd() };
        permitted |= u64::from(p) << (32 * index);
        inheritable |= u64::from(i) << (32 * index);
    }
    let effective = magic & 1 != 0;
    let mut sets: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for bit in 0..64u32 {
        let (p, i) = (permitted >> bit & 1 != 0, inheritable >> bit & 1 != 0);
        // The effective bit applies to all capabilities of the file.
        let flags = match (p, i, effective) {
            (true, true, true) => "eip",
            (true, true, false) => "ip",
            (true, false, true) => "ep",
            (true, false, false) => "p",
            (false, true, true) => "ei",
            (false, true, false) => "i",
            (false, false, _) => continue,
        };
        sets.entry(flags).or_default().push(name(bit));
    }
    let text = sets
        .iter()
        .map(|(flags, names)| format!("{}={flags}", names.join(",")))
        .collect::<Vec<_>>()
        .join(" ");
    if text.is_empty() { "=".to_owned() } else { text }
}

fn name(bit: u32) -> String {
    caps::all()
        .into_iter()
        .find(|capability| u32::from(capability.index()) == bit)
        .map_or_else(|| bit.to_string(), |capability| capability.to_string().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(magic: u32, permitted: u64, inheritable: u64) -> Vec<u8> {
        let halves = [
            permitted as u32,
            inheritable as u32,
            (permitted >> 32) as u32,
            (inheritable >> 32) as u32,
        ];
        std::iter::once(magic).chain(halves).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn capabilities_have_the_format_of_getcap() {
        assert_eq!(capability_text(&value(0x0200_0001, 1 << 13, 0)), "cap_net_raw=ep");
        assert_eq!(
            capability_text(&value(0x0200_0001, 1 << 10 | 1 << 13, 0)),
            "cap_net_bind_service,cap_net_raw=ep"
        );
        assert_eq!(capability_text(&value(0x0200_0000, 1 << 13, 1 << 13)), "cap_net_raw=ip");
        assert_eq!(capability_text(&value(0x0200_0001, 1 << 38, 0)), "cap_perfmon=ep");
    }

    #[test]
    fn an_unknown_value_is_shown_in_hex() {
        assert_eq!(capability_text(b"\x01\x02"), "0102");
        assert_eq!(capability_text(b""), "");
        assert_eq!(capability_text(&[9; 20]), "09".repeat(20));
    }
}
