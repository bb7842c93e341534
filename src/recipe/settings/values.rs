//! Checks single values: ids, fingerprints, URLs, durations. The command line uses the same checks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::naming;
use crate::percent;

/// Checks the id of a repository.
///
/// # Errors
/// Describes the problem.
pub(crate) fn checked_repository_id(id: &str) -> Result<&str, String> {
    if id == "main" {
        // dnf reads a section with that name as its own settings, and ignores the repository.
        return Err("`main` cannot be a repository's id; dnf uses this name for its own settings"
            .to_owned());
    }
    checked_id(id).map_err(|()| {
        let quoted = super::super::diagnostic::quoted(id);
        format!(
            "{quoted} is not a repository id; use letters, digits and `-_.:`, without a leading \
             dot"
        )
    })
}

/// Checks a name that becomes a component of a path: it cannot be `.`, `..` or hidden, and has no
/// slash.
pub(super) fn checked_id(id: &str) -> Result<&str, ()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if id.is_empty() || id.starts_with('.') || !id.chars().all(good) { Err(()) } else { Ok(id) }
}

/// Checks the directory of the rpmdb in the image. It becomes a line in rpm's macros, where a line
/// end or a percent sign could set or expand other macros.
///
/// # Errors
/// Describes the problem.
pub(crate) fn checked_dbpath(path: &str) -> Result<&str, String> {
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+~@".contains(c));
    let parts = || path.split('/').skip(1);
    if !plain
        || !path.starts_with('/')
        || parts().any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err("`dbpath` must be an absolute path inside the image, with letters, digits \
                    and `/._-+~@`, without `..` and without a slash at the end"
            .to_owned());
    }
    Ok(path)
}

/// Checks an image's name or version, which becomes part of file names, by the rules for `name` and
/// `version` under `[image]`.
///
/// # Errors
/// Describes the problem.
pub(crate) fn checked_image_word(text: &str) -> Result<String, String> {
    naming::check_word(text).map(|()| text.to_owned())
}

/// Checks a key's fingerprint and returns it as 40 or 64 upper-case digits. Blanks and colons are
/// ignored.
///
/// # Errors
/// Describes the problem.
pub(crate) fn checked_fingerprint(text: &str) -> Result<String, String> {
    let text = text.trim().trim_start_matches("0x");
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | ':')).collect();
    if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("a fingerprint consists of hexadecimal digits".to_owned());
    }
    match digits.len() {
        40 | 64 => Ok(digits.to_ascii_uppercase()),
        8 | 16 => Err("this is a key id, which can be forged; a full fingerprint has 40 or 64 \
                       digits"
            .to_owned()),
        len => Err(format!("a full fingerprint has 40 or 64 digits, but this has {len}")),
    }
}

/// Checks the URL of a repository, key or proxy. A text without scheme is a path relative to
/// `directory`, and is converted to a `file://` URL.
///
/// # Errors
/// Describes the problem.
pub(crate) fn checked_url(text: &str, directory: &Path) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty URL".to_owned());
    }
    if text.chars().any(|c| c.is_control() || (c.is_whitespace() && text.contains("://"))) {
        return Err("a blank or control character in a URL".to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let first = text.split('/').next().unwrap_or_default();
        if text.contains('/') && first.contains('.') && !first.starts_with('.') {
            return Err(format!(
                "this may be a host or a directory; write https://{text} or ./{text}"
            ));
        }
        let path = absolute(text, directory);
        return path
            .to_str()
            .map(file_url)
            .ok_or_else(|| "the directory's name is not UTF-8".to_owned());
    };
    if !matches!(scheme, "http" | "https" | "ftp" | "file") {
        return Err(format!(
            "unknown scheme {}; use https, http, ftp or file",
            super::super::diagnostic::quoted(scheme)
        ));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("a password or user name in a URL would appear in logs; use `username` and \
                    `password_file`"
            .to_owned());
    }
    match scheme {
        "file" if !rest.starts_with('/') => {
            Err("a file URL needs three slashes and an absolute path: file:///srv/repository"
                .to_owned())
        }
        "http" | "https" | "ftp" if host.is_empty() => Err("a URL without a host".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// The absolute path of a setting, without `.` components. Links and `..` are kept.
pub(super) fn absolute(text: &str, directory: &Path) -> PathBuf {
    directory.join(text).components().collect()
}

/// A path as a URL. Dollar signs are kept: a path may contain dnf variables.
fn file_url(path: &str) -> String {
    format!("file://{}", percent::encoded(path, b"/-_.~$+:,=@!()*&;"))
}

/// The error for a text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a number with s, m or h, such as 90s, 30m or 1h30m")]
pub struct DurationError;

/// Parses a duration such as `90s`, `30m` or `1h30m`; zero is not allowed.
///
/// # Errors
/// Fails for any other text, or if the time is too long.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut seconds: u64 = 0;
    let mut number = String::new();
    for c in text.chars() {
        let unit: u64 = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(DurationError),
        };
        let count: u64 = number.parse().map_err(|_| DurationError)?;
        seconds = count
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or(DurationError)?;
        number.clear();
    }
    // A number without a unit is ambiguous.
    if !number.is_empty() || seconds == 0 {
        Err(DurationError)
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_add_up() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in [
            "",
            "30",
            "m",
            "0s",
            "-1s",
            "1d",
            "1.5h",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(wrong), Err(DurationError), "{wrong}");
        }
    }

    #[test]
    fn fingerprints_are_complete_and_normalized() {
        let spaced = "  99DB 70FA E1D7 CE22 7FB6  4882 05B5 55B3 8483 c65d";
        assert_eq!(
            checked_fingerprint(spaced).unwrap(),
            "99DB70FAE1D7CE227FB6488205B555B38483C65D"
        );
        assert_eq!(checked_fingerprint(&"ab".repeat(32)).unwrap(), "AB".repeat(32));
        for wrong in ["", "8483C65D", "0x05B555B38483C65D", "zz", &"a".repeat(41)] {
            assert!(checked_fingerprint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_become_file_urls_and_bad_urls_are_refused() {
        let directory = Path::new("/srv/my recipes");
        let good = [
            ("https://a.example/$releasever/", "https://a.example/$releasever/"),
            ("file:///srv/x", "file:///srv/x"),
            ("./repo", "file:///srv/my%20recipes/repo"),
            ("../repo#1", "file:///srv/my%20recipes/../repo%231"),
            ("repo/$basearch", "file:///srv/my%20recipes/repo/$basearch"),
            ("/mnt/b\u{fc}ro", "file:///mnt/b%C3%BCro"),
        ];
        for (text, url) in good {
            assert_eq!(checked_url(text, directory).as_deref(), Ok(url), "{text}");
        }
        for wrong in [
            "",
            "https://u:p@a.example/",
            "https://u@a.example",
            "gopher://x/",
            "file://srv/x",
            "https:///x",
            "https://a b/",
            "a.example/repo",
            "a\nb",
        ] {
            assert!(checked_url(wrong, directory).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_id_main_and_odd_characters_are_refused() {
        assert!(checked_repository_id("rhel-9-baseos_x86.64:1").is_ok());
        for wrong in
            ["", "main", "a b", "a/b", "\u{fc}", "[a]", "a\n", ".", "..", ".hidden", "%{x}"]
        {
            assert!(checked_repository_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dbpath_contains_nothing_that_rpm_expands() {
        for good in ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/x/rpm-4.18_a"] {
            assert_eq!(checked_dbpath(good), Ok(good));
        }
        for wrong in [
            "",
            "/",
            "rpm",
            "/rpm/",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/a b",
            "/a\n%_keyring rpmdb",
            "/%{_var}",
            "/a\0",
            "/\u{fc}",
        ] {
            assert!(checked_dbpath(wrong).is_err(), "{wrong}");
        }
    }
}
