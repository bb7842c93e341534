//! Labels compared with the tools of a running system: `matchpathcon` and `setfiles` of
//! libselinux.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod images;
mod strings;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::resource::{UsageWho, getrusage};

use osimg::selinux::{FileContexts, Lookup, Source, Sources};
use strings::{Random, changed, matching};

/// Arguments of `matchpathcon -m` and the type bits that they stand for. Without `-m` and without
/// an existing file, the type is unknown.
const KINDS: [(Option<&str>, u32); 8] = [
    (None, 0),
    (Some("f"), 0o100_644),
    (Some("d"), 0o040_755),
    (Some("l"), 0o120_777),
    (Some("c"), 0o020_600),
    (Some("b"), 0o060_600),
    (Some("s"), 0o140_755),
    (Some("p"), 0o010_644),
];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/selinux/file_contexts")
}

/// The `file_contexts` of a whole distribution: the one in the variable, else that of refpolicy in
/// the demo distribution's package.
fn real_policy(directory: &Path) -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("OSIMG_TEST_FILE_CONTEXTS") {
        return Some(file.into());
    }
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo/Packages");
    let is_policy = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("selinux-policy-targeted-"))
    };
    let package = std::fs::read_dir(packages)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(is_policy)?;
    let files = "./etc/selinux/default/contexts/files/file_contexts*";
    let unpacked = run(
        "bsdtar",
        &["-xf".as_ref(), package.as_ref(), "-C".as_ref(), directory.as_ref(), files.as_ref()],
    )?;
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    Some(directory.join("etc/selinux/default/contexts/files/file_contexts"))
}

#[expect(clippy::disallowed_methods, reason = "the test itself runs the reference tools")]
fn run(tool: &str, args: &[&OsStr]) -> Option<Output> {
    match Command::new(tool).args(args).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("starting {tool}: {error}"),
    }
}

fn skip(why: &str) {
    assert!(
        std::env::var_os("OSIMG_REQUIRE_PRIVILEGED").is_none_or(|value| value != "1"),
        "must not be skipped here: {why}"
    );
    eprintln!("SKIPPED: {why}");
}

fn ours<'a>(policy: &'a FileContexts, path: &[u8], mode: u32) -> &'a [u8] {
    match policy.lookup(path, mode) {
        Lookup::Context(context) => context,
        Lookup::Excluded | Lookup::NoMatch => b"<<none>>",
    }
}

/// The output of `matchpathcon` for the paths, if it is installed.
fn theirs(file: &Path, kind: Option<&str>, paths: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut answers = Vec::new();
    for some in paths.chunks(2_000) {
        let mut args: Vec<&OsStr> = ["-n", "-N", "-f"].map(OsStr::new).to_vec();
        args.push(file.as_os_str());
        args.extend(kind.iter().flat_map(|kind| ["-m", kind]).map(OsStr::new));
        args.push(OsStr::new("--"));
        args.extend(some.iter().map(|path| OsStr::from_bytes(path)));
        let output = run("matchpathcon", &args)?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        answers.extend(
            output
                .stdout
                .split(|&b| b == b'\n')
                .filter(|line| !line.is_empty())
                .map(<[u8]>::to_vec),
        );
        assert_eq!(
            answers.len() % 2_000,
            some.len() % 2_000,
            "matchpathcon gave another number of answers: {complaint}"
        );
    }
    Some(answers)
}

/// Compares all paths. Reports the number of differences and the first of them.
fn compare(
    policy: &FileContexts,
    file: &Path,
    kind: (Option<&str>, u32),
    paths: &[Vec<u8>],
) -> Option<usize> {
    let answers = theirs(file, kind.0, paths)?;
    let differences: Vec<String> = paths
        .iter()
        .zip(&answers)
        .filter(|(path, answer)| ours(policy, path, kind.1) != answer.as_slice())
        .map(|(path, answer)| {
            let [path, ours, theirs] = [path.as_slice(), ours(policy, path, kind.1), answer]
                .map(|text| String::from_utf8_lossy(text).into_owned());
            format!("{path:?}: ours {ours}, matchpathcon's {theirs}")
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} of {} differ for {kind:?}:\n{}",
        differences.len(),
        paths.len(),
        differences[..differences.len().min(20)].join("\n")
    );
    Some(paths.len())
}

fn regexes(file: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for suffix in ["", ".homedirs", ".local"] {
        let text = fs::read_to_string(format!("{}{suffix}", file.display())).unwrap_or_default();
        all.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| line.starts_with(['/', '^']))
                .filter_map(|line| Some(line.split_whitespace().next()?.to_owned())),
        );
    }
    all
}

fn made_from(file: &Path, each: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(2026);
    let mut paths = BTreeSet::new();
    for regex in regexes(file) {
        for turn in 0..each {
            let path = matching(&regex, &mut random);
            paths.insert(if turn % 3 == 2 { changed(path, &mut random) } else { path });
        }
    }
    // Without a type, matchpathcon removes a slash at the end and looks at the host; an existing
    // file would add its own type.
    let is_there = |path: &[u8]| {
        fs::symlink_metadata(OsStr::from_bytes(path.strip_suffix(b"/").unwrap_or(path))).is_ok()
    };
    paths.into_iter().filter(|path| path.starts_with(b"/") && !is_there(path)).collect()
}

#[test]
fn paths_made_from_every_spec_get_the_labels_of_matchpathcon() {
    let policy = osimg::selinux::load(&fixture()).unwrap();
    let paths = made_from(&fixture(), 24);
    let mut compared = 0;
    for kind in KINDS {
        match compare(&policy, &fixture(), kind, &paths) {
            Some(number) => compared += number,
            None => return skip("matchpathcon is not installed (selinux-utils)"),
        }
    }
    eprintln!("{compared} lookups compared");
    assert!(compared > 5_000, "too few paths: {compared}");
}

#[test]
fn every_spec_of_the_fixture_decides_the_label_of_some_path() {
    let policy = osimg::selinux::load(&fixture()).unwrap();
    let mut paths = made_from(&fixture(), 60);
    paths.extend(regexes(&fixture()).iter().map(|regex| matching(regex, &mut Random::new(1))));
    let seen: HashSet<String> = paths
        .iter()
        .flat_map(|path| {
            KINDS.map(|kind| String::from_utf8_lossy(ours(&policy, path, kind.1)).into_owned())
        })
        .collect();
    for suffix in ["", ".homedirs", ".local"] {
        let text = fs::read_to_string(format!("{}{suffix}", fixture().display())).unwrap();
        for context in text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_whitespace().last())
        {
            assert_eq!(seen.contains(context), !context.contains(":shadowed_t:"), "{context}");
        }
    }
}

#[test]
fn a_distribution_s_policy_gives_the_labels_of_matchpathcon() {
    let directory = tempfile::tempdir().unwrap();
    let Some(file) = real_policy(directory.path()) else {
        return skip(
            "no distribution's policy: make demo, with bsdtar installed, or name one in \
             OSIMG_TEST_FILE_CONTEXTS",
        );
    };
    let policy = osimg::selinux::load(&file).unwrap();
    assert!(policy.specs() > 1_000, "{} has only {} specs", file.display(), policy.specs());
    let made = made_from(&file, 1);
    for kind in &KINDS[..3] {
        if compare(&policy, &file, *kind, &made).is_none() {
            return skip("matchpathcon is not installed (selinux-utils)");
        }
    }
    // A regular selection of the host's own files, with their types.
    let mut files: [Vec<Vec<u8>>; KINDS.len()] = Default::default();
    for top in ["/etc", "/usr/bin", "/usr/lib", "/usr/share", "/var", "/dev"] {
        for entry in walkdir::WalkDir::new(top)
            .sort_by_file_name()
            .into_iter()
            .filter_map(Result::ok)
            .step_by(41)
            .take(800)
        {
            let path = entry.path().as_os_str().as_bytes().to_vec();
            let (Ok(metadata), false) = (entry.metadata(), path.contains(&b'\n')) else { continue };
            if let Some(list) =
                KINDS.iter().position(|(_, mode)| mode & 0o170_000 == metadata.mode() & 0o170_000)
            {
                files[list].push(path);
            }
        }
    }
    let compared: usize = KINDS
        .iter()
        .zip(&files)
        .skip(1)
        .filter_map(|(kind, paths)| compare(&policy, &file, *kind, paths))
        .sum();
    eprintln!("{} made and {compared} real paths compared", made.len() * 3);
    assert!(compared > 1_000, "too few real paths: {compared}");

    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        let time = usage.user_time() + usage.system_time();
        time.tv_sec() * 1_000_000 + time.tv_usec()
    };
    let before = used();
    let labelled = made
        .iter()
        .filter(|path| matches!(policy.lookup(path, 0o100_644), Lookup::Context(_)))
        .count();
    let each = (used() - before) as f64 / made.len() as f64;
    eprintln!("{each:.1} us of CPU time a path, {labelled} of {} labelled", made.len());
    assert!(cfg!(debug_assertions) || each < 10.0, "{each} us a path");
}

/// A small tree with every kind of file that needs no privilege, each in a place that some spec
/// matches.
fn make_tree(root: &Path) {
    for dir in [
        "usr/bin",
        "usr/lib/man/bin",
        "usr/lib64",
        "etc/local",
        "etc/init.d",
        "var/lib/a/data",
        "var/log",
        "home/u/.ssh",
        "home/u/www",
        "run",
        "mnt/a",
        "srv",
        "opt",
        "lib64",
        "export/home/v",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in [
        "usr/bin/java",
        "usr/bin/java-gui",
        "usr/bin/javac",
        "usr/bin/xinetd",
        "usr/lib64/libx.so.1.2",
        "usr/lib/x.cgi",
        "etc/passwd",
        "etc/passwd-",
        "etc/keep.out",
        "etc/local/override",
        "etc/odd+name.d[x]",
        "var/log/x.gz",
        "var/log/sp ace",
        "home/u/.ssh/id",
        "home/u/www/i",
        "run/crond.pid",
        "mnt/a/b",
        "opt/leftmost",
        "lib64/liby.so",
        "export/home/v/f",
        "aquota.user",
        "rootfile",
    ] {
        fs::write(root.join(file), "x").unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"etc/byte\xff")), "x").unwrap();
    symlink("java", root.join("usr/bin/java-link")).unwrap();
    symlink("libx.so.1.2", root.join("usr/lib64/libx.so")).unwrap();
    symlink("x.gz", root.join("var/log/link.gz")).unwrap();
    nix::unistd::mkfifo(&root.join("run/a.fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("run/a.sock")).unwrap());
}

#[test]
fn a_tree_gets_the_labels_that_setfiles_sets() {
    let tree = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(tree.path()).unwrap();
    make_tree(&root);
    let policy_file = fixture();
    let mut args: Vec<&OsStr> = ["-n", "-v", "-F", "-r"].map(OsStr::new).to_vec();
    args.extend([root.as_os_str(), policy_file.as_os_str(), root.as_os_str()]);
    let Some(output) = run("setfiles", &args) else {
        return skip("setfiles is not installed (policycoreutils)");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let policy = osimg::selinux::load(&policy_file).unwrap();
    let mut expected = BTreeSet::new();
    for entry in walkdir::WalkDir::new(&root) {
        let entry = entry.unwrap();
        let inside = Path::new("/").join(entry.path().strip_prefix(&root).unwrap());
        let metadata = entry.metadata().unwrap();
        if let Lookup::Context(context) =
            policy.lookup(inside.as_os_str().as_bytes(), metadata.mode())
        {
            let path = entry.path().as_os_str().as_bytes();
            expected.insert([path, b" to ", context].concat());
        }
    }
    let listed: BTreeSet<Vec<u8>> = output
        .stdout
        .split(|&b| b == b'\n')
        .filter_map(|line| {
            let line = line.strip_prefix(b"Would relabel ")?;
            let from = line.windows(6).rposition(|w| w == b" from ")?;
            let to = line.windows(4).rposition(|w| w == b" to ")?;
            Some([&line[..from], &line[to..]].concat())
        })
        .collect();
    assert!(listed.len() > 40, "setfiles listed only {} files", listed.len());
    let shown = |set: &BTreeSet<Vec<u8>>| {
        set.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&expected), shown(&listed));
}

#[test]
fn an_unsupported_regex_is_reported_with_file_line_and_construct() {
    let mut sources = Sources::from_base(Source::new("fc", "/.* s:o:a_t:s0\n"));
    sources.local = Some(Source::new("fc.local", "# c\n/x(?!y) s:o:b_t:s0\n"));
    let refusal = FileContexts::parse(&sources).unwrap_err().to_string();
    assert!(refusal.contains("fc.local:2: negative lookahead"), "{refusal}");
    sources.local = Some(Source::new("fc.local", "/((a{999}){999}){999} s:o:b_t:s0\n"));
    let refusal = FileContexts::parse(&sources).unwrap_err().to_string();
    assert!(refusal.contains("fc.local:1: counted quantifiers"), "{refusal}");
}

#[test]
fn lookups_can_run_in_many_threads() {
    let policy = osimg::selinux::load(&fixture()).unwrap();
    let paths = made_from(&fixture(), 6);
    let single: Vec<Lookup<'_>> = paths.iter().map(|path| policy.lookup(path, 0o100_644)).collect();
    let fresh = osimg::selinux::load(&fixture()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (path, single) in paths.iter().zip(&single) {
                    assert_eq!(fresh.lookup(path, 0o100_644), *single);
                }
            });
        }
    });
}
