//! What the image's account tools go by: login.defs(5) and /etc/default/useradd.

use std::collections::BTreeMap;

use crate::customise::image::Image;
use crate::error::Result;

/// A range of ids, and how many of it a user gets.
type Subordinate = (u32, u32, u32);

/// The defaults of the image. Where a file or key is missing, those of shadow-utils.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    /// Ids of users.
    pub(super) user_ids: (u32, u32),
    /// Ids of groups.
    pub(super) group_ids: (u32, u32),
    pub(super) subordinate_users: Subordinate,
    pub(super) subordinate_groups: Subordinate,
    /// Least and most days between changes, and days of warning, as shadow(5) writes them.
    pub(super) password_days: [String; 3],
    /// Days from the end of a password to the end of the account, as shadow(5) writes them.
    pub(super) inactive: String,
    /// The end of the account, as shadow(5) writes it.
    pub(super) expires: String,
    /// Whether each user gets a group of the same name.
    pub(super) own_groups: bool,
    /// The group of those who get none.
    pub(super) group: u32,
    /// The mode of a new home directory.
    pub(super) home_mode: u32,
    /// The directory of homes.
    pub(super) home: String,
    pub(super) shell: String,
    pub(super) skeleton: String,
    /// The directory of mailboxes, if new users get one.
    pub(super) mail: Option<String>,
}

impl Defaults {
    pub(super) fn read(image: &Image<'_>) -> Result<Self> {
        let login = image.read("/etc/login.defs")?.unwrap_or_default();
        let useradd = image.read("/etc/default/useradd")?.unwrap_or_default();
        Ok(Self::parse(&login, &useradd))
    }

    fn parse(login: &str, useradd: &str) -> Self {
        let login = pairs(login, char::is_whitespace);
        let useradd = pairs(useradd, |c| c == '=');
        let number = |key: &str, usual: u32| {
            login.get(key).and_then(|text| parse_number(text)).unwrap_or(usual)
        };
        let yes = |key: &str| login.get(key).map(|text| text.eq_ignore_ascii_case("yes"));
        let text = |key: &str, usual: &str| {
            useradd.get(key).copied().filter(|text| !text.is_empty()).unwrap_or(usual).to_owned()
        };
        let days = |key: &str| {
            login
                .get(key)
                .filter(|text| **text != "-1")
                .map_or_else(String::new, |text| (*text).to_owned())
        };
        let date = text("EXPIRE", "");
        let expires = crate::calendar::seconds(&format!("{date}T00:00:00Z"))
            .map_or_else(String::new, |s| (s / 86_400).to_string());
        // useradd's own default, where no file names another, is to make none.
        let mail =
            useradd.get("CREATE_MAIL_SPOOL").is_some_and(|text| text.eq_ignore_ascii_case("yes"));
        let subordinate = |kind: &str| {
            let key = |part: &str| format!("SUB_{kind}_{part}");
            (
                number(&key("MIN"), 100_000),
                number(&key("MAX"), 600_100_000),
                number(&key("COUNT"), 65_536),
            )
        };
        Self {
            user_ids: (number("UID_MIN", 1000), number("UID_MAX", 60_000)),
            group_ids: (number("GID_MIN", 1000), number("GID_MAX", 60_000)),
            subordinate_users: subordinate("UID"),
            subordinate_groups: subordinate("GID"),
            password_days: [days("PASS_MIN_DAYS"), days("PASS_MAX_DAYS"), days("PASS_WARN_AGE")],
            inactive: Some(text("INACTIVE", "")).filter(|text| text != "-1").unwrap_or_default(),
            expires,
            own_groups: yes("USERGROUPS_ENAB").unwrap_or(false),
            group: useradd.get("GROUP").and_then(|text| text.parse().ok()).unwrap_or(100),
            home_mode: login
                .get("HOME_MODE")
                .and_then(|text| parse_number(text))
                .unwrap_or(0o777 & !number("UMASK", 0o22)),
            home: text("HOME", "/home"),
            shell: text("SHELL", "/bin/bash"),
            skeleton: text("SKEL", "/etc/skel"),
            mail: mail.then(|| {
                login
                    .get("MAIL_DIR")
                    .map_or_else(|| "/var/spool/mail".to_owned(), |text| (*text).to_owned())
            }),
        }
    }
}

fn pairs(text: &str, separator: impl Fn(char) -> bool + Copy) -> BTreeMap<&str, &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(separator))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
        .collect()
}

/// As strtoul(3) reads it: octal behind a zero, hexadecimal behind 0x.
fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").map(|hex| u32::from_str_radix(hex, 16)) {
        Some(number) => number.ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_image() {
        // As in EL 9: shadow-utils 4.9.
        let login = "# x\nUMASK\t\t022\nHOME_MODE\t0700\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\n\
            PASS_WARN_AGE\t7\nUID_MIN 1000\nUID_MAX 60000\n\
                     USERGROUPS_ENAB yes\nMAIL_DIR\t/var/spool/mail\n";
        let useradd = "# useradd defaults file\nGROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\n\
            SHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=yes\n";
        let el = Defaults::parse(login, useradd);
        assert_eq!(el.home_mode, 0o700);
        assert_eq!(el.password_days, ["0", "99999", "7"]);
        assert!(el.own_groups && el.inactive.is_empty() && el.expires.is_empty());
        assert_eq!(el.mail.as_deref(), Some("/var/spool/mail"));
        let none = Defaults::parse("", "");
        assert_eq!((none.home_mode, none.shell.as_str(), none.mail), (0o755, "/bin/bash", None));
    }
}
