//! The packages that osimg reads, compared with those that rpm reads.

use osimg::archive::NoLabels;
use osimg::contents::{Contents, Digests, FileState, Options, Packages};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use tempfile::TempDir;

use crate::formats::{self, FORMATS, Format};
use crate::support::skip;

/// A root that contains only an rpmdb. rpm has recorded the packages of the demo distribution in
/// it.
static ROOT: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    let directory = std::env::var_os("OSIMG_DEMO_REPO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"), PathBuf::from);
    let packages: Vec<PathBuf> = packages_in(&directory.join("Packages"));
    if packages.is_empty() {
        skip(&format!("there is no demo distribution in {}: make demo", directory.display()));
        return None;
    }
    let tree = tempfile::tempdir().unwrap();
    let dbpath = tree.path().join("var/lib/rpm");
    std::fs::create_dir_all(&dbpath).unwrap();
    let flags = [
        "-i",
        "--justdb",
        "--nodeps",
        "--nosignature",
        "--nodigest",
        "--noscripts",
        "--notriggers",
        "--ignorearch",
        "--force",
    ];
    let out = Command::new("rpm")
        .arg("--dbpath")
        .arg(&dbpath)
        .args(flags)
        .args(&packages)
        .output()
        .expect("rpm runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(tree)
});

fn packages_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { packages_in(&path) } else { vec![path] })
        .filter(|p| p.extension().is_some_and(|e| e == "rpm"))
        .collect()
}

pub fn database() -> Option<&'static Path> {
    ROOT.as_ref().map(TempDir::path)
}

/// The database in every format, each with an rpm that reads it.
fn databases() -> Vec<(PathBuf, Command)> {
    static OTHERS: LazyLock<Vec<(Format, TempDir)>> = LazyLock::new(|| {
        let Some(tree) = database() else { return Vec::new() };
        let headers = formats::headers(tree);
        FORMATS.iter().map(|format| (*format, format.write(&headers))).collect()
    });
    let first = database().map(|tree| (tree.to_owned(), Command::new("rpm")));
    let others =
        OTHERS.iter().filter_map(|(format, tree)| Some((tree.path().to_owned(), format.rpm()?)));
    first.into_iter().chain(others).collect()
}

fn rpm(tree: &Path, mut rpm: Command, arguments: &[&str]) -> Vec<String> {
    let dbpath = tree.join("var/lib/rpm");
    let out = rpm
        .arg("--dbpath")
        .arg(&dbpath)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .expect("rpm runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn every_package_and_file_is_as_rpm_reports() {
    for (tree, rpm) in databases() {
        packages_are_as_rpm_reports(&tree, rpm);
    }
}

fn packages_are_as_rpm_reports(tree: &Path, reader: Command) {
    let contents = Contents::of_tree(
        tree,
        &NoLabels,
        &Options { digests: Digests::None, ..Options::default() },
    )
    .unwrap();
    let Packages::Read { packages, .. } = &contents.packages else {
        panic!("{:?}", contents.packages)
    };
    let mut found: Vec<String> = packages
        .iter()
        .map(|p| {
            format!(
                "{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
                p.nevra(),
                p.license,
                p.source,
                p.vendor,
                p.size,
                p.build_time,
                p.install_time,
                p.url,
                // For a package without files rpm prints nothing.
                if p.files.is_empty() { String::new() } else { p.files.len().to_string() },
                p.summary,
                p.key_id.as_deref().unwrap_or("none"),
                p.header_sha256.as_deref().unwrap_or_default(),
                p.changelog.first().map_or("", |c| c.author.as_str()),
            )
            .replace("(none)", "")
        })
        .collect();
    found.sort();
    let format = "%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}|%{LICENSE}|%{SOURCERPM}|%\
                  {VENDOR}|%{LONGSIZE}|%{BUILDTIME}|%{INSTALLTIME}|%{URL}|%{FILENAMES:arraysize}|%\
                  {SUMMARY}|%|RSAHEADER?{%{RSAHEADER:pgpsig}}:{none}||%{SHA256HEADER}|%\
                  {CHANGELOGNAME}\n";
    let mut expected: Vec<String> = rpm(tree, reader, &["-qa", "--qf", format])
        .into_iter()
        .filter(|line| !line.starts_with("gpg-pubkey"))
        .map(|line| {
            let fields: Vec<String> = line
                .split('|')
                .map(|f| f.rsplit_once("Key ID ").map_or(f, |(_, id)| id).to_owned())
                .collect();
            fields.join("|").replace("(none)", "")
        })
        .collect();
    expected.sort();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn files_have_rpms_modes_owners_digests_and_flags() {
    for (tree, rpm) in databases() {
        files_are_as_rpm_reports(&tree, rpm);
    }
}

fn files_are_as_rpm_reports(tree: &Path, reader: Command) {
    let contents = Contents::of_tree(
        tree,
        &NoLabels,
        &Options { digests: Digests::None, ..Options::default() },
    )
    .unwrap();
    let mut found: Vec<String> = contents
        .packages
        .list()
        .iter()
        .flat_map(|p| &p.files)
        .map(|f| {
            let state = match f.state {
                FileState::Installed => 0,
                FileState::Replaced => 1,
                FileState::LeftOut => 2,
            };
            format!(
                "/{}|{:o}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
                String::from_utf8_lossy(&f.path),
                f.mode,
                f.user,
                f.group,
                f.size,
                f.mtime,
                f.digest,
                String::from_utf8_lossy(&f.link),
                f.flags,
                f.verify,
                f.capabilities,
                state
            )
        })
        .collect();
    found.sort();
    let format = "[%{FILENAMES}|%{FILEMODES:octal}|%{FILEUSERNAME}|%{FILEGROUPNAME}|%{FILESIZES}|%\
                  {FILEMTIMES}|%{FILEDIGESTS}|%{FILELINKTOS}|%{FILEFLAGS}|%{FILEVERIFYFLAGS}|%\
                  {FILECAPS}|%{FILESTATES}\n]";
    let states = |line: &str| match line.strip_suffix(['3', '4']) {
        Some(start) => format!("{start}2"),
        None => line.to_owned(),
    };
    let answer = rpm(tree, reader, &["-qa", "--qf", format]);
    let mut expected: Vec<String> =
        answer.iter().map(|line| states(&line.replace("(none)", ""))).collect();
    expected.sort();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}
