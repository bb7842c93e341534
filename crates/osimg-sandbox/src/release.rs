//! The kernel's release.

/// Whether a release, as uname(2) has it, is at least this one.
pub(crate) fn is_at_least(release: &str, least: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!(
        (numbers.next(), numbers.next()),
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= least
    )
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, ours) in [
            ("6.14.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0-rc1", true),
            ("6.13.9", false),
            ("6.1.0-25-amd64", false),
            ("5.14.0-503.el9", false),
            ("odd", false),
        ] {
            assert_eq!(is_at_least(release, (6, 14)), ours, "{release}");
        }
    }
}
