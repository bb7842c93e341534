//! The architecture as a table: which module may use which. Steps never call each other sideways;
//! only the pipeline knows the order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules that know only of text and files, and that every other may use.
const ANYWHERE: &[&str] = &["files", "secrets", "text"];

/// Each module of the crate with the modules it may use; the later steps may use what the earlier
/// ones give.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &["secrets"]),
    ("secrets", &[]),
    ("text", &[]),
    ("report", &[]),
    ("process", &["error"]),
    ("calendar", &[]),
    ("nevra", &[]),
    ("openat", &[]),
    ("files", &[]),
    ("openpgp", &[]),
    ("rpmheader", &["error", "openpgp"]),
    ("cloud", &["error", "report", "process", "calendar", "http", "percent"]),
    ("recipe", &["error", "nevra", "percent"]),
    ("sandbox", &["error", "process", "openat"]),
    ("packages", &["error", "process", "report", "recipe", "sandbox", "nevra", "openat", "http", "calendar", "openpgp", "rpmheader"]),
    ("finish", &["error", "recipe", "sandbox", "openat"]),
    ("selinux", &["error", "openat"]),
    ("archive", &["error", "process", "openat"]),
    ("contents", &["error", "archive", "openpgp", "rpmheader"]),
    ("verify", &["error", "report", "finish", "selinux", "archive", "contents", "http"]),
    ("artifact", &["archive", "packages", "report", "sandbox", "verify"]),
    ("treeinfo", &[]),
    ("percent", &[]),
    ("http", &["error", "process", "percent"]),
    ("registry", &["openat", "error", "report", "process", "calendar", "cloud", "archive", "artifact", "treeinfo", "http", "percent"]),
    ("deploy", &["error", "report", "process", "cloud", "recipe", "archive", "artifact", "registry", "treeinfo", "http", "percent"]),
    ("sbom", &["error", "recipe", "artifact", "calendar", "nevra", "percent"]),
    ("inspect", &["error", "report", "archive", "contents", "sbom", "nevra"]),
    ("diff", &["error", "report", "contents", "inspect"]),
    ("workdir", &["error", "report", "process", "sandbox", "openat"]),
    (
        "build",
        &[
            "error", "report", "process", "recipe", "sandbox", "packages", "finish", "selinux", "archive", "contents", "verify",
            "artifact", "registry", "sbom", "deploy", "workdir", "calendar",
        ],
    ),
    ("boot", &["error", "report", "process", "sandbox", "finish", "selinux", "workdir"]),
    (
        "cli",
        &[
            "error", "report", "process", "recipe", "sandbox", "packages", "finish", "selinux", "archive", "artifact", "registry",
            "workdir", "build", "boot", "verify", "contents", "sbom", "inspect", "diff", "deploy", "treeinfo", "http", "cloud", "calendar",
        ],
    ),
    ("lib", &[]),
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("a file of src");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Names that follow `crate::` in the text, comments and documentation left out.
fn used(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| {
            line.match_indices("crate::")
                .map(|(at, _)| line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
                .collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn no_module_uses_one_that_stands_later_or_beside_it() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = MAY_USE.iter().map(|(module, uses)| (*module, uses.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 40, "the sources were found");
    for file in files {
        let module = module_of(&file);
        if module == "main" {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            wrong.push(format!("{module} is in no row of the table"));
            continue;
        };
        for name in used(&std::fs::read_to_string(&file).expect("a source")) {
            if name != module && !allowed.contains(name.as_str()) && !ANYWHERE.contains(&name.as_str()) {
                wrong.push(format!("{} uses {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_says_in_its_first_line_what_it_is_for() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(text.starts_with("//! "), "{} begins with {:?}", file.display(), text.lines().next());
    }
}

/// Calls that open a file by its name.
const OPENING: [&str; 6] = ["fs::read(", "fs::read_to_string(", "File::open(", "OpenOptions::new(", "File::options(", "fs::copy("];
/// Sources that may do so, and why; all others use `files`, which refuses a FIFO or a device and
/// keeps a limit. The kernel's own files (/proc, /sys, /dev) may be opened anywhere.
const MAY_OPEN: &[(&str, &str)] = &[
    ("files.rs", "the place for it"),
    ("process.rs", "the control groups' files"),
    ("archive/walk.rs", "opens a directory, by O_DIRECTORY"),
    ("packages/cache.rs", "locks, and directories of the cache"),
    ("packages/private.rs", "opens the directory of the cache"),
    ("registry/tree.rs", "syncs the files and directories that it has just made"),
    ("sandbox/crowd.rs", "the processes' files in /proc"),
    ("sandbox/foreign.rs", "the kernel's table of interpreters"),
    ("sandbox/idmap.rs", "the kernel's id maps, /etc/subuid and /etc/subgid"),
];

#[test]
fn files_are_opened_in_one_place() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&directory) {
        let name = file.strip_prefix(&directory).expect("a file of src").to_string_lossy().into_owned();
        if MAY_OPEN.iter().any(|(allowed, _)| *allowed == name) || name.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source");
        // The tests of a module come last in it.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let kernel = ["\"/proc/", "\"/sys/", "\"/dev/"].iter().any(|place| line.contains(place));
            if !kernel && !line.trim_start().starts_with("//") && OPENING.iter().any(|call| line.contains(call)) {
                wrong.push(format!("src/{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "use files::open, files::read or files::read_text:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_module_for_network_access_speaks_to_servers() {
    let mut wrong = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| ["ureq::", "TcpStream", "UdpSocket", "to_socket_addrs"].iter().any(|word| line.contains(word)));
        if module_of(&file) != "http" && found.count() > 0 {
            wrong.push(file.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "these are to use http/: {}", wrong.join(", "));
}

#[test]
fn percent_encoding_is_written_once() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(module_of(&file) == "percent" || !text.contains("%{byte:02X}") && !text.contains("%{b:02X}"), "{}", file.display());
    }
}

#[test]
fn nothing_sleeps_where_a_signal_does_not_end_the_sleep() {
    // What cleans up after a signal, and what passes it on to its child, go on.
    let exempt = ["process.rs", "http/retry.rs", "cli/counterpart.rs"];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&directory) {
        let below = file.strip_prefix(&directory).expect("a file of src").display().to_string();
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(exempt.contains(&below.as_str()) || !text.contains("thread::sleep"), "{below}: use process::pause");
    }
}
