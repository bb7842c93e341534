//! The host's own repositories and dnf configuration, as far as each phase may see them.

use anyhow::Context;
use std::path::{Path, PathBuf};

use crate::error::{ExitCode, Failure, Result};
use crate::sandbox::{Access, Mount};

/// Their paths.
const PATHS: [&str; 6] = [
    "/etc/yum.repos.d",
    "/etc/distro.repos.d",
    "/etc/dnf",
    "/etc/yum",
    "/etc/pki/rpm-gpg",
    "/etc/os-release",
];
/// Options with secrets or paths to secrets; without a network they are not needed.
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
/// The maximum size of such a file.
const LIMIT: u64 = 1 << 20;

/// The mounts for a download: everything, unchanged.
pub(super) fn all_files() -> Vec<Mount> {
    let bind = |path: &&str| {
        Some(Mount::Bind {
            source: Path::new(path).canonicalize().ok()?,
            target: (*path).into(),
            access: Access::ReadOnly,
        })
    };
    PATHS.iter().filter_map(bind).collect()
}

/// The mounts for an installation, which runs package code: copies without passwords.
///
/// # Errors
/// [`ExitCode::Trust`] if a URL contains a password. It cannot be removed, because the name of the
/// package cache is derived from the URL.
pub(super) fn without_secrets() -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for path in PATHS {
        for (file, target) in files(Path::new(path)) {
            let text = crate::files::read(&file, LIMIT)
                .with_context(|| format!("reading {}", file.display()))?;
            let content = remove_secrets(&String::from_utf8_lossy(&text)).map_err(|line| {
                Failure::new(
                    ExitCode::Trust,
                    format!(
                        "{}:{line}: package code could read the password in this URL",
                        file.display()
                    ),
                )
                .hint("use the repository options username and password instead")
            })?;
            mounts.push(Mount::File { target, content });
        }
    }
    Ok(mounts)
}

/// The small regular files at and below `path`, with the paths that they have there, sorted.
fn files(path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let (mut found, mut directories) = (Vec::new(), vec![path.to_owned()]);
    while let Some(at) = directories.pop() {
        match std::fs::read_dir(&at) {
            Ok(entries) => directories.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(_) if at.metadata().is_ok_and(|m| m.is_file() && m.len() <= LIMIT) => {
                found.push((at.clone(), at))
            }
            Err(_) => {}
        }
    }
    found.sort();
    found
}

/// The text of an INI file without options for secrets, or the number of the first line with a
/// password in a URL.
fn remove_secrets(text: &str) -> Result<String, usize> {
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
        let in_url = line
            .split("://")
            .skip(1)
            .any(|rest| rest.split(['/', '?', '#', ' ']).next().unwrap_or_default().contains('@'));
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
    fn passwords_and_their_continuation_lines_are_removed() {
        let text = "[a]\nbaseurl=https://host/a\n# password=old\npassword = s3cret\n \
                    more\nProxy_Password: x\nenabled=1\n";
        assert_eq!(remove_secrets(text), Ok("[a]\nbaseurl=https://host/a\nenabled=1\n".to_owned()));
    }

    #[test]
    fn a_password_in_a_url_is_reported_with_its_line() {
        assert_eq!(remove_secrets("[a]\nbaseurl=https://ann:x@host/a\n"), Err(2));
        assert_eq!(
            remove_secrets("baseurl=https://host/a@b\n"),
            Ok("baseurl=https://host/a@b\n".to_owned())
        );
    }
}
