//! The host's own repositories and dnf's configuration, as each phase may see them.

use anyhow::Context;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::{Access, Mount};

/// Where they are.
const PATHS: [&str; 6] = ["/etc/yum.repos.d", "/etc/distro.repos.d", "/etc/dnf", "/etc/yum", "/etc/pki/rpm-gpg", "/etc/os-release"];
/// Options that hold secrets or the way to them; none is needed without a network.
const SECRET: [&str; 9] = [
    "username",
    "password",
    "proxy",
    "proxy_username",
    "proxy_password",
    "sslclientkey",
    "sslclientcert",
    "proxy_sslclientkey",
    "proxy_sslclientcert",
];
/// The most that one such file may hold.
const LIMIT: u64 = 1 << 20;

/// The mounts of a download: everything, as it is.
pub(super) fn whole() -> Vec<Mount> {
    let bind =
        |path: &&str| Some(Mount::Bind { source: Path::new(path).canonicalize().ok()?, target: (*path).into(), access: Access::ReadOnly });
    PATHS.iter().filter_map(bind).collect()
}

/// The mounts of an installation, in which the packages' own code runs: copies without passwords.
///
/// # Errors
/// [`ExitCode::Trust`] when a URL itself holds a password: it names the package cache, so it cannot
/// be left out.
pub(super) fn without_secrets() -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for path in PATHS {
        for (file, target) in files(Path::new(path)) {
            let text = crate::files::read(&file, LIMIT).with_context(|| format!("reading {}", file.display()))?;
            let content = harmless(&String::from_utf8_lossy(&text)).map_err(|line| {
                Failure::new(
                    ExitCode::Trust,
                    format!("{}:{line}: a password in a URL would be shown to the packages' own code", file.display()),
                )
                .hint("write it as username and password of the repository")
            })?;
            mounts.push(Mount::File { target, content });
        }
    }
    Ok(mounts)
}

/// The small plain files at and below `path` with the names that they have there, sorted.
fn files(path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let (mut found, mut directories) = (Vec::new(), vec![path.to_owned()]);
    while let Some(at) = directories.pop() {
        match std::fs::read_dir(&at) {
            Ok(entries) => directories.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(_) if at.metadata().is_ok_and(|m| m.is_file() && m.len() <= LIMIT) => found.push((at.clone(), at)),
            Err(_) => {}
        }
    }
    found.sort();
    found
}

/// The text of an INI file without options that hold secrets; the number of the first line that has
/// one in a URL.
fn harmless(text: &str) -> Result<String, usize> {
    let mut kept = String::with_capacity(text.len());
    let mut leaving = false;
    for (index, line) in text.lines().enumerate() {
        let continued = line.starts_with([' ', '\t']);
        let name = line.split(['=', ':']).next().unwrap_or_default().trim().to_ascii_lowercase();
        leaving = if continued { leaving } else { SECRET.contains(&name.as_str()) };
        if leaving {
            continue;
        }
        let comment = line.trim_start().starts_with(['#', ';']);
        if comment {
            continue;
        }
        let in_url = line.split("://").skip(1).any(|rest| rest.split(['/', '?', '#', ' ']).next().unwrap_or_default().contains('@'));
        if in_url {
            return Err(index + 1);
        }
        kept.push_str(line);
        kept.push('\n');
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_their_continuations_stay_behind() {
        let text = "[a]\nbaseurl=https://host/a\n# password=old\npassword = s3cret\n more\nProxy_Password: x\nenabled=1\n";
        assert_eq!(harmless(text), Ok("[a]\nbaseurl=https://host/a\nenabled=1\n".to_owned()));
    }

    #[test]
    fn a_password_in_a_url_is_found_with_its_line() {
        assert_eq!(harmless("[a]\nbaseurl=https://ann:x@host/a\n"), Err(2));
        assert_eq!(harmless("baseurl=https://host/a@b\n"), Ok("baseurl=https://host/a@b\n".to_owned()));
    }
}
