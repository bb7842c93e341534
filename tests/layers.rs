//! The architecture as a table: which module may use which. Steps never call each other sideways.
//! Only the pipeline knows the order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "layers/graph.rs"]
mod graph;

/// Modules that handle only text and files. Every other module may use them.
const ANYWHERE: &[&str] = &["files", "naming", "openat", "secrets", "suggest", "text"];

/// Every module of the crate with the modules that it may use. Later steps may use the results of
/// earlier ones.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &["secrets"]),
    ("secrets", &[]),
    ("suggest", &[]),
    ("text", &[]),
    ("report", &["process"]),
    ("process", &["error"]),
    ("calendar", &[]),
    ("naming", &[]),
    ("nevra", &[]),
    ("openat", &[]),
    ("files", &["process"]),
    ("private", &["error", "process"]),
    ("openpgp", &[]),
    ("pem", &[]),
    ("rpmheader", &["error", "openpgp"]),
    ("cloud", &["error", "report", "process", "calendar", "http", "percent"]),
    ("recipe", &["error", "process", "nevra", "percent", "calendar", "pem"]),
    ("sandbox", &["error", "process"]),
    (
        "packages",
        &[
            "error",
            "process",
            "report",
            "recipe",
            "sandbox",
            "nevra",
            "private",
            "http",
            "calendar",
            "openpgp",
            "percent",
            "rpmheader",
        ],
    ),
    ("customise", &["error", "report", "process", "recipe", "sandbox", "pem", "calendar"]),
    ("finish", &["error", "recipe", "sandbox"]),
    ("selinux", &["error"]),
    ("archive", &["error", "process", "calendar"]),
    ("contents", &["error", "archive", "openpgp", "rpmheader"]),
    ("verify", &["error", "report", "finish", "selinux", "archive", "contents", "http"]),
    (
        "set",
        &["error", "process", "archive", "customise", "packages", "report", "sandbox", "verify"],
    ),
    ("installer", &["error", "report", "private", "process", "recipe", "archive", "set", "http"]),
    ("percent", &[]),
    ("http", &["error", "process", "percent"]),
    (
        "registry",
        &[
            "private",
            "error",
            "recipe",
            "report",
            "process",
            "sandbox",
            "calendar",
            "cloud",
            "archive",
            "set",
            "installer",
            "http",
            "percent",
        ],
    ),
    (
        "deploy",
        &[
            "error",
            "report",
            "process",
            "cloud",
            "recipe",
            "archive",
            "set",
            "installer",
            "registry",
            "http",
            "percent",
        ],
    ),
    ("sbom", &["error", "recipe", "set", "calendar", "nevra", "percent"]),
    ("inspect", &["error", "report", "archive", "contents", "sbom", "nevra"]),
    ("diff", &["error", "report", "contents", "inspect"]),
    ("workdir", &["error", "report", "private", "process", "sandbox"]),
    (
        "build",
        &[
            "error",
            "report",
            "process",
            "recipe",
            "sandbox",
            "packages",
            "customise",
            "finish",
            "selinux",
            "archive",
            "contents",
            "verify",
            "set",
            "installer",
            "registry",
            "sbom",
            "workdir",
            "calendar",
        ],
    ),
    ("boot", &["error", "report", "process", "sandbox", "finish", "selinux", "workdir"]),
    (
        "cli",
        &[
            "error",
            "report",
            "process",
            "recipe",
            "sandbox",
            "packages",
            "customise",
            "finish",
            "selinux",
            "archive",
            "set",
            "installer",
            "registry",
            "workdir",
            "build",
            "boot",
            "verify",
            "contents",
            "sbom",
            "inspect",
            "diff",
            "deploy",
            "http",
            "cloud",
            "calendar",
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
    let below = file
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("a file of src");
    let first =
        below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The names that follow `crate::` in the code, without comments and documentation.
fn used(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| {
            line.match_indices("crate::")
                .map(|(at, _)| {
                    line[at + 7..]
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect::<String>()
                })
                .collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn modules_use_only_modules_of_earlier_layers() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(module, uses)| (*module, uses.iter().copied().collect())).collect();
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
            if name != module
                && !allowed.contains(name.as_str())
                && !ANYWHERE.contains(&name.as_str())
            {
                wrong.push(format!("{} uses {name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_states_its_purpose_in_its_first_line() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(
            text.starts_with("//! "),
            "{} begins with {:?}",
            file.display(),
            text.lines().next()
        );
    }
}

/// Calls that open a file by its name.
const OPENING: [&str; 6] = [
    "fs::read(",
    "fs::read_to_string(",
    "File::open(",
    "OpenOptions::new(",
    "File::options(",
    "fs::copy(",
];
/// Sources that may do so, and why. All others use `files`, which refuses a FIFO or a device and
/// enforces a size limit. The kernel's own files (/proc, /sys, /dev) may be opened anywhere.
const MAY_OPEN: &[(&str, &str)] = &[
    ("files.rs", "the module for opening files"),
    ("process.rs", "the control groups' files"),
    ("packages/cache.rs", "directories of the cache"),
    ("packages/cache/lock.rs", "the locks of the cache"),
    ("private.rs", "opens the directory of the cache"),
    ("registry/tree/stage.rs", "syncs the files and directories that it has just written"),
];

#[test]
fn files_are_opened_in_one_place() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&directory) {
        let name =
            file.strip_prefix(&directory).expect("a file of src").to_string_lossy().into_owned();
        if MAY_OPEN.iter().any(|(allowed, _)| *allowed == name) || name.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source");
        // A module's tests are at its end.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let kernel =
                ["\"/proc/", "\"/sys/", "\"/dev/"].iter().any(|place| line.contains(place));
            if !kernel
                && !line.trim_start().starts_with("//")
                && OPENING.iter().any(|call| line.contains(call))
            {
                wrong.push(format!("src/{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "use files::open, files::read or files::read_text:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_the_http_module_connects_to_servers() {
    let mut wrong = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| {
            ["ureq::", "TcpStream", "UdpSocket", "to_socket_addrs"]
                .iter()
                .any(|word| line.contains(word))
        });
        if module_of(&file) != "http" && found.count() > 0 {
            wrong.push(file.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "use http/ in: {}", wrong.join(", "));
}

#[test]
fn percent_encoding_is_implemented_once() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(
            module_of(&file) == "percent"
                || !text.contains("%{byte:02X}") && !text.contains("%{b:02X}"),
            "{}",
            file.display()
        );
    }
}

#[test]
fn paths_of_descriptors_are_composed_in_one_place() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["src", "crates/osimg-sandbox/src"] {
        for file in sources(&top.join(directory)) {
            let text = std::fs::read_to_string(&file).expect("a source");
            let composed = text.contains("/proc/self/fd/{");
            assert!(!composed, "{}: use osimg_sandbox::openat::fd_path", file.display());
        }
    }
}

#[test]
fn every_sleep_is_ended_by_a_signal() {
    // Cleanup after a signal and forwarding a signal to the child must not be interrupted.
    let exempt = ["process.rs", "http/retry.rs", "cli/counterpart.rs"];
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&directory) {
        let below = file.strip_prefix(&directory).expect("a file of src").display().to_string();
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(
            exempt.contains(&below.as_str()) || !text.contains("thread::sleep"),
            "{below}: use process::pause"
        );
    }
}

#[test]
fn every_wait_for_a_program_is_ended_by_a_signal() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&directory) {
        let text = std::fs::read_to_string(&file).expect("a source");
        assert!(
            file.ends_with("src/process.rs")
                || !["child.wait()", ".wait_with_output()"].iter().any(|call| text.contains(call)),
            "{}: use process::wait",
            file.display()
        );
    }
}

#[test]
fn there_are_no_cycles_between_files() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots = vec![top.join("src")];
    for entry in std::fs::read_dir(top.join("crates")).expect("the libraries") {
        roots.push(entry.expect("an entry").path().join("src"));
    }
    for root in roots {
        let graph = graph::dependencies(&root);
        assert!(
            graph.values().any(|uses| !uses.is_empty()),
            "{}: no file uses another",
            root.display()
        );
        let cycles = graph::cycles(&graph);
        assert!(cycles.is_empty(), "these files use each other:\n{cycles:#?}");
    }
}
