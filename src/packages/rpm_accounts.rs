//! Users and groups of Fedora's packages: since Fedora 42 the installing rpm creates them from
//! sysusers.d. An older rpm does not, and only warns: files of services belong to root.
//!
//! See <https://fedoraproject.org/wiki/Changes/RPMSuportForSystemdSysusers>.

use super::TransactionPlan;
use crate::error::{ExitCode, Failure, Result};

/// The first rpm that creates them.
const RPM: (u32, u32) = (4, 19);
/// The package with the release's number, and the first release that depends on it.
const RELEASE: (&str, u32) = ("fedora-release-common", 42);

/// Checks that the rpm of a transaction creates the accounts of the packages.
///
/// # Errors
/// [`ExitCode::Host`] if it is too old.
pub(super) fn check(plan: &TransactionPlan) -> Result<()> {
    let mut numbers = plan.rpm.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Ok(());
    };
    let is_release = |version: &str| version.parse().is_ok_and(|number: u32| number >= RELEASE.1);
    let found = plan.install.iter().find(|p| p.name == RELEASE.0 && is_release(&p.version));
    match found {
        Some(release) if (major, minor) < RPM => Err(Failure::new(
            ExitCode::Host,
            format!(
                "installing Fedora {} by rpm {}: the users of its packages are created only by \
                 rpm {}.{} or later",
                release.version, plan.rpm, RPM.0, RPM.1
            ),
        )
        .hint("set `bootstrap = true` under [packages]: then the release's own rpm installs it")
        .into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_rpm_is_refused_only_for_fedora_42_and_later() {
        for (name, version, rpm, accepted) in [
            ("fedora-release-common", "42", "4.18.0", false),
            ("fedora-release-common", "44", "4.16.1.3", false),
            ("fedora-release-common", "41", "4.18.0", true),
            ("fedora-release-common", "44", "4.19.1", true),
            ("fedora-release-common", "44", "6.0.1", true),
            ("centos-stream-release", "44", "4.18.0", true),
            ("fedora-release-common", "44", "", true),
        ] {
            let package = serde_json::json!({
                "nevra": "x", "name": name, "arch": "noarch", "version": version, "release": "1",
                "repo": "r", "location": "l", "size": 1, "installed": 1, "built": 0,
                "checksum": null, "reason": "user",
            });
            let plan = TransactionPlan {
                install: vec![serde_json::from_value(package).expect("a package")],
                rpm: rpm.to_owned(),
                ..TransactionPlan::default()
            };
            assert_eq!(check(&plan).is_ok(), accepted, "{name} {version} by {rpm}");
        }
    }
}
