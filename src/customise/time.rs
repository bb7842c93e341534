//! `timezone`: the link of localtime(5), and the servers of chrony or systemd-timesyncd.

use super::image::Image;
use crate::error::{ExitCode, Failure, Result};
use crate::recipe::customizations::Timezone;

/// Where distributions keep chrony.conf(5): EL, then Debian.
const CHRONY: [&str; 2] = ["/etc/chrony.conf", "/etc/chrony/chrony.conf"];
const TIMESYNCD: &str = "/usr/lib/systemd/systemd-timesyncd";
const TIMESYNCD_SERVERS: &str = "/etc/systemd/timesyncd.conf.d/50-ntpservers.conf";

pub(super) fn apply(image: &Image<'_>, settings: &Timezone) -> Result<()> {
    if let Some(zone) = &settings.timezone {
        if !image.has_file(&format!("/usr/share/zoneinfo/{zone}"))? {
            let hint = if image.has_directory("/usr/share/zoneinfo")? {
                "`timedatectl list-timezones` lists them"
            } else {
                "add tzdata to the recipe"
            };
            let message =
                format!("applying customizations.timezone: the image has no time zone `{zone}`");
            return Err(Failure::new(ExitCode::Recipe, message).hint(hint).into());
        }
        image.link("/etc/localtime", &format!("../usr/share/zoneinfo/{zone}"))?;
    }
    if settings.ntpservers.is_empty() {
        return Ok(());
    }
    for path in CHRONY {
        if let Some(text) = image.read(path)? {
            return image.rewrite(path, &with_servers(&text, &settings.ntpservers));
        }
    }
    if image.has_file(TIMESYNCD)? {
        let text = format!("[Time]\nNTP={}\n", settings.ntpservers.join(" "));
        return image.write(TIMESYNCD_SERVERS, text.as_bytes(), 0o644);
    }
    let message = "applying customizations.timezone: the image has neither chrony nor \
                   systemd-timesyncd for `ntpservers`";
    Err(Failure::new(ExitCode::Transaction, message).hint("add chrony to the recipe").into())
}

/// The configuration of chrony with these servers instead of its own, at their place.
fn with_servers(text: &str, servers: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut at = None;
    for line in text.lines() {
        let directive = line.split_whitespace().next().unwrap_or_default();
        if matches!(directive, "server" | "pool" | "peer" | "sourcedir") {
            at = at.or(Some(lines.len()));
        } else {
            lines.push(line.to_owned());
        }
    }
    let at = at.unwrap_or(0);
    lines.splice(at..at, servers.iter().map(|server| format!("server {server} iburst")));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_the_place_of_the_distributions() {
        let text = "# Use public servers\npool 2.centos.pool.ntp.org iburst\nsourcedir \
                    /run/chrony-dhcp\ndriftfile /var/lib/chrony/drift\n";
        let expected = "# Use public servers\nserver a.example iburst\nserver 10.0.0.1 \
                        iburst\ndriftfile /var/lib/chrony/drift\n";
        assert_eq!(with_servers(text, &["a.example".to_owned(), "10.0.0.1".to_owned()]), expected);
    }
}
