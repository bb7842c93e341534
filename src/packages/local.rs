//! Repositories on this machine. The sandbox must see the directories and files for `file://`
//! addresses in settings, mirror lists and .repo files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Job;
use crate::recipe::{PackageSettings, Repository, RepositorySource, lock};
use crate::sandbox::{Access, Mount};

/// The directories of the host's own .repo files.
const REPO_FILES: [&str; 3] =
    ["/etc/yum.repos.d", "/etc/distro.repos.d", "/usr/share/dnf5/repos.d"];
/// The directories of variables, one per file.
const VARIABLES: [&str; 2] = ["/etc/yum/vars", "/etc/dnf/vars"];
/// The sandbox has its own versions of these: they and their parents cannot be repositories.
const OWN: [&str; 9] =
    ["/buildroot", "/dev", "/etc", "/osimg", "/proc", "/run", "/sys", "/tmp", "/var"];
/// Nothing below these is mounted. The tools' /usr is visible already.
const NEVER: [&str; 6] = ["/buildroot", "/dev", "/osimg", "/proc", "/sys", "/usr"];
/// The maximum size of a mirror list or .repo file.
const LIMIT: u64 = 1 << 20;

/// The addresses of the repositories, or of those of the host if the settings have none.
fn addresses_of(settings: &PackageSettings) -> Vec<String> {
    let of_source = |repository: &Repository| match &repository.source {
        RepositorySource::Baseurl(urls) => urls.clone(),
        RepositorySource::Metalink(url) | RepositorySource::Mirrorlist(url) => vec![url.clone()],
    };
    if settings.repositories.is_empty() {
        let files = REPO_FILES.iter().flat_map(|directory| files(Path::new(directory)));
        return files.flat_map(|file| addresses(&text(&file))).collect();
    }
    settings.repositories.iter().flat_map(of_source).collect()
}

/// The first file of a repository on this machine that a package manager must not open, and the
/// reason.
pub(super) fn irregular(settings: &PackageSettings) -> Option<(PathBuf, std::io::Error)> {
    let variables = variables(settings);
    let urls = addresses_of(settings);
    let places = urls.iter().filter_map(|url| place(url, &variables));
    places.filter(|path| is_usable(path)).find_map(|path| irregular_in(&path))
}

fn irregular_in(path: &Path) -> Option<(PathBuf, std::io::Error)> {
    let entries = walkdir::WalkDir::new(path).into_iter().filter_map(Result::ok);
    entries.filter(|entry| !entry.file_type().is_dir() && !entry.file_type().is_file()).find_map(
        |entry| {
            // A link to a directory, or to nothing, is left to the package manager.
            let target = entry.path().metadata().ok().filter(|target| !target.is_dir())?;
            let error = crate::files::check_kind(target.file_type()).err()?;
            Some((entry.into_path(), error))
        },
    )
}

/// The mounts for all repositories on this machine, each at its own path.
pub(super) fn mounts(job: &Job<'_>, outside: &BTreeSet<PathBuf>) -> Vec<Mount> {
    let variables = variables(job.settings);
    let urls = addresses_of(job.settings);
    let mut found: BTreeSet<PathBuf> = outside.clone();
    for path in urls.iter().filter_map(|url| place(url, &variables)) {
        if path.is_file() {
            let listed = addresses(&text(&path));
            found.extend(
                listed.iter().filter_map(|url| {
                    place(url.trim_end_matches("repodata/repomd.xml"), &variables)
                }),
            );
        }
        found.insert(path);
    }
    let usable = found.into_iter().filter(|path| is_usable(path));
    usable
        .map(|path| Mount::Bind { source: path.clone(), target: path, access: Access::ReadOnly })
        .collect()
}

/// Whether a directory or file can be mounted at its own path in a sandbox.
pub(super) fn is_usable(path: &Path) -> bool {
    path.is_absolute()
        && path.exists()
        && !OWN.iter().any(|own| Path::new(own).starts_with(path))
        && !NEVER.iter().any(|never| path.starts_with(never))
}

/// The path of a `file://` address, as dnf reads it: variables are replaced, and escapes decoded.
/// If a variable has no value, the path ends before it.
fn place(url: &str, variables: &BTreeMap<String, String>) -> Option<PathBuf> {
    let rest = url.strip_prefix("file://")?;
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    let (known, whole) = substitute(rest, variables);
    let known = if whole {
        known.as_str()
    } else {
        known.rsplit_once('/').map_or("", |(before, _)| before)
    };
    let path = decode(known);
    let path = Path::new(&path);
    path.is_absolute().then(|| path.components().collect())
}

/// The text with known variables replaced, and whether all were known.
fn substitute(text: &str, variables: &BTreeMap<String, String>) -> (String, bool) {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(named) => named,
            None => part.split_at(
                part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len()),
            ),
        };
        let Some(value) = variables.get(name) else { return (out, false) };
        out.push_str(value);
        out.push_str(rest);
    }
    (out, true)
}

/// The text with escapes such as `%20` decoded; unchanged if the result is not UTF-8.
fn decode(text: &str) -> String {
    String::from_utf8(crate::percent::decoded(text)).unwrap_or_else(|_| text.to_owned())
}

/// dnf's variables.
fn variables(settings: &PackageSettings) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    if settings.repositories.is_empty() {
        for file in VARIABLES.iter().flat_map(|directory| files(Path::new(directory))) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            known.insert(name, text(&file).lines().next().unwrap_or_default().trim().to_owned());
        }
    }
    let arch = lock::arch(settings);
    let base = match arch.as_str() {
        "i386" | "i486" | "i586" | "i686" | "athlon" => "i386",
        "armv7l" | "armv7hl" => "armhfp",
        other => other,
    };
    known.insert("basearch".to_owned(), base.to_owned());
    known.insert("arch".to_owned(), arch.clone());
    if let Some(release) = &settings.releasever {
        let (major, minor) = release.split_once('.').unwrap_or((release, ""));
        known.extend(
            [
                ("releasever", release.as_str()),
                ("releasever_major", major),
                ("releasever_minor", minor),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
    }
    known.extend(settings.vars.clone());
    known
}

/// The `file://` addresses in a mirror list, a metalink or a .repo file, without those of keys.
fn addresses(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']) && !line.starts_with("gpgkey"));
    let found = lines.flat_map(|line| {
        line.match_indices("file://").map(move |(at, _)| line.get(at..).unwrap_or_default())
    });
    found
        .map(|url| {
            url.split([' ', '\t', ',', '<', '"', '\'']).next().unwrap_or_default().to_owned()
        })
        .collect()
}

/// The files of a directory, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    found.sort();
    found
}

/// The text of a small file; empty if it cannot be read, because the package manager reports that.
fn text(file: &Path) -> String {
    crate::files::read(file, LIMIT)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_addresses_are_read_as_dnf_reads_them() {
        let known = [("releasever", "9"), ("basearch", "x86_64"), ("own", "a b")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let known = BTreeMap::from(known);
        for (url, path) in [
            ("file:///srv/my%20repo/", Some("/srv/my repo")),
            ("file:///srv/50%25", Some("/srv/50%")),
            ("file:///srv/h%C3%A4user", Some("/srv/h\u{e4}user")),
            ("file:///srv/%zz", Some("/srv/%zz")),
            ("file://localhost/srv/x", Some("/srv/x")),
            ("file:///srv/$releasever/${basearch}/os", Some("/srv/9/x86_64/os")),
            ("file:///srv/$own", Some("/srv/a b")),
            ("file:///srv/x$unknown/os", Some("/srv")),
            ("file:///srv/mirror/$unknown", Some("/srv/mirror")),
            ("https://example.org/srv", None),
        ] {
            assert_eq!(place(url, &known), path.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn keys_and_comments_are_not_repositories() {
        let text = "[dvd]\nbaseurl=file:///mnt/dvd/BaseOS,file:///mnt/b\n# file:///old\n\
            gpgkey=file:///etc/key\nmirrorlist = file:///srv/list\n\
            <url>file:///m/repodata/repomd.xml</url>";
        assert_eq!(
            addresses(text),
            [
                "file:///mnt/dvd/BaseOS",
                "file:///mnt/b",
                "file:///srv/list",
                "file:///m/repodata/repomd.xml"
            ]
        );
    }

    #[test]
    fn directories_of_the_sandbox_are_never_covered() {
        for path in [
            "/",
            "/etc",
            "/var",
            "/proc/self",
            "/sys",
            "/usr/share",
            "/dev/shm",
            "relative",
            "/run",
        ] {
            assert!(!is_usable(Path::new(path)), "{path}");
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(is_usable(directory.path()));
    }
}
