//! The command line without any privilege: help, errors with positions and exit codes, and plan as
//! text and as JSON.
#![expect(clippy::disallowed_methods, reason = "tests run the program as a user does")]

#[path = "cli/arguments.rs"]
mod arguments;
#[path = "cli/options.rs"]
mod options;

use std::process::{Command, Output};

fn osimg(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osimg"))
        .args(arguments)
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .expect("osimg runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn recipe(content: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("os.yum");
    std::fs::write(&path, content).expect("a recipe");
    (dir, path.to_string_lossy().into_owned())
}

#[test]
fn help_fits_a_terminal_and_names_every_verb() {
    let help = text(&osimg(&["-h"]).stdout);
    for verb in ["build", "plan", "pack", "shell", "doctor"] {
        assert!(help.contains(verb), "{verb}");
    }
    for arguments in [vec!["-h"], vec!["build", "-h"], vec!["pack", "-h"], vec!["plan", "-h"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_osimg"))
            .args(&arguments)
            .env("COLUMNS", "80")
            .output()
            .expect("osimg runs");
        for line in text(&output.stdout).lines() {
            assert!(line.chars().count() <= 100, "{arguments:?}: {line}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for arguments in [
        vec!["frobnicate"],
        vec!["build"],
        vec!["build", "x.yum", "--format", "zip"],
        vec!["pack", "/", "-o"],
        vec!["images", "--prune", "0"],
        vec!["publish", "x.tgz", "--registry", "dir:x", "--older", "0"],
    ] {
        assert_eq!(osimg(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_misspelt_command_is_shown_with_its_position_and_a_fix() {
    let (_dir, path) = recipe("isntall cloud-init\nts run\n");
    let output = osimg(&["plan", &path]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    for part in [":1:1:", "isntall", "^^^^", "install"] {
        assert!(stderr.contains(part), "{part} is missing in:\n{stderr}");
    }
}

#[test]
fn a_recipe_that_is_missing_or_not_text_is_named() {
    for (path, part) in
        [("/nonexistent.yum", "does not exist"), ("/", "directory"), ("/usr/bin/env", "binary")]
    {
        let output = osimg(&["plan", path]);
        assert_eq!(output.status.code(), Some(3), "{path}");
        assert!(text(&output.stderr).contains(part), "{path}: {}", text(&output.stderr));
    }
}

#[test]
fn plan_shows_transactions_repositories_and_sandbox_without_root() {
    let (_dir, path) = recipe("group install 'Minimal Install'\ninstall cloud-init\nts run\n");
    let output = osimg(&["plan", &path, "--repo", "r=https://example.invalid/r"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stderr = text(&output.stdout);
    for part in [
        "group install 'Minimal Install'",
        "install cloud-init",
        "r: https://example.invalid/r",
        "package manager",
    ] {
        assert!(stderr.contains(part), "{part} is missing in:\n{stderr}");
    }
}

#[test]
fn plan_shows_every_kind_of_statement_and_the_commands_of_each_transaction() {
    let statements = [
        "repo enable updates*",
        "config install_weak_deps 0",
        "config exclude kernel-debug",
        "module enable nodejs:18",
        "group install --with-optional core",
        "install @^minimal-environment",
        "install cloud-init",
        "group upgrade core",
        "group mark install standard",
        "remove nano",
        "upgrade-minimal --security",
        "downgrade bash",
        "reinstall zsh",
        "distro-sync",
        "swap a b",
        "autoremove c",
        "mark install d",
    ];
    let (dir, path) = recipe(&format!(
        "install base\nts run\n{}\nts run\nmark install d\nts run\n",
        statements[..16].join("\n")
    ));
    let settings = dir.path().join("settings.toml");
    let key = "[[packages.key]]\nurl = \"https://example.invalid/key\"\nfingerprint = ";
    std::fs::write(&settings, format!("{key}\"{}\"\n", "A".repeat(40))).expect("settings");
    let settings = settings.display().to_string();
    let repository = "r=https://example.invalid/r";
    let arguments = ["plan", "-v", &path, "--repo", repository, "--settings", &settings];
    let brief = osimg(&["plan", &path, "--repo", repository, "--settings", &settings]);
    assert!(!text(&brief.stdout).contains("\nsandbox\n"), "only with -v");
    let output = osimg(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stderr = text(&output.stdout);
    for statement in statements {
        assert!(
            stderr.contains(&format!("\n  {statement}\n")),
            "{statement} is missing in:\n{stderr}"
        );
    }
    let value: serde_json::Value =
        serde_json::from_slice(&osimg(&[&arguments[..], &["--json"]].concat()).stdout)
            .expect("JSON");
    let commands = value["commands"].as_array().expect("commands");
    if commands.is_empty() {
        // plan reports that no image can be built here. Where all tests must run, one can be built.
        assert!(std::env::var_os("OSIMG_REQUIRE_PRIVILEGED").is_none(), "{stderr}");
        let why = value["refused"].as_str().expect("a reason");
        assert!(stderr.contains(&format!("commands\n  none: {why}")), "{stderr}");
        return;
    }
    let phases: Vec<_> = commands
        .iter()
        .map(|c| (c["transaction"].as_u64(), c["phase"].as_str(), c["network"].as_str()))
        .collect();
    let of = |number| {
        [
            (Some(number), Some("download"), Some("host")),
            (Some(number), Some("install"), Some("none")),
        ]
    };
    assert_eq!(phases, [of(1), of(2), of(3)].concat());
    for part in [
        "/buildroot is the install root",
        "while packages are installed: no network",
        "/osimg/cache is ",
        "transaction 3, install: ",
    ] {
        assert!(stderr.contains(part), "{part} is missing in:\n{stderr}");
    }
}

#[test]
fn plan_as_json_is_json() {
    let (_dir, path) = recipe("install cloud-init\nts run\n");
    let output = osimg(&["plan", &path, "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["transactions"][0]["install"][0]["text"], "cloud-init");
}

#[test]
fn a_tarball_name_that_anaconda_cannot_unpack_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tree = dir.path().to_string_lossy().into_owned();
    let output = osimg(&["pack", &tree, "-o", "/tmp/x.tar.zst"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("Anaconda does not unpack zstd"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn pack_writes_a_tarball_that_gnu_tar_reads_and_prints_only_its_path() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("etc")).expect("a tree");
    std::fs::write(tree.join("etc/motd"), "hello\n").expect("a file");
    let out = dir.path().join("os.tar.gz");
    let output = osimg(&["pack", &tree.to_string_lossy(), "-o", &out.to_string_lossy(), "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout).trim(),
        out.canonicalize().expect("the tarball").to_string_lossy()
    );
    assert!(output.stderr.is_empty());
    let listed =
        Command::new("tar").args(["-tf", &out.to_string_lossy()]).output().expect("tar runs");
    assert_eq!(text(&listed.stdout).lines().collect::<Vec<_>>(), ["./", "./etc/", "./etc/motd"]);
}

#[test]
fn the_stages_of_a_sandbox_refuse_to_run_outside_of_one() {
    for arguments in [vec!["pid1"], vec!["namespaces", "none", "none", "1"], vec!["unknown"]] {
        let output = osimg(&[&["osimg-sandbox-stage"], arguments.as_slice()].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn a_failure_as_json_is_one_object_with_error_code_and_hint() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("r.yum"), "instal x\nts run\n").expect("a recipe");
    std::fs::write(path("clouds.yaml"), "clouds: {}\n").expect("a file");
    let (recipe, missing, out, absent) = (
        path("r.yum"),
        path("missing.tgz"),
        format!("dir:{}", path("out")),
        format!("dir:{}", path("absent")),
    );
    let cases: [&[&str]; 18] = [
        &["plan", &recipe],
        &["build", &missing],
        &["lock", &recipe],
        &["pack", &missing, "-o", "x.zip"],
        &["verify", &missing],
        &["inspect", &missing],
        &["diff", &missing, &missing],
        &["boot", &missing],
        &["publish", &missing, "--registry", &out],
        &["images", "--registry", &absent],
        &["cache", "--prune"],
        &["deploy", &missing],
        &["shell", &missing],
        &["doctor", "--cloud", "missing"],
        // Refused by clap.
        &["frobnicate"],
        &["verify"],
        &["verify", "a", "--disk", "much"],
        &["publish", "a", "--registry", "odd:"],
    ];
    for arguments in cases {
        for arguments in [[arguments, &["--json"]].concat(), [&["--json"], arguments].concat()] {
            // The words after those of `shell` belong to the command that it runs.
            if arguments[0] == "shell" {
                continue;
            }
            let output = Command::new(env!("CARGO_BIN_EXE_osimg"))
                .args(&arguments)
                .env("OS_CLIENT_CONFIG_FILE", path("clouds.yaml"))
                .output()
                .expect("osimg runs");
            let code = output.status.code().expect("an exit code");
            assert!((2..=10).contains(&code), "{arguments:?}: {output:?}");
            let document: serde_json::Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {output:?}"));
            assert_eq!(document["code"], code, "{arguments:?}");
            assert!(
                document["error"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty() && !text.starts_with("error")),
                "{document}"
            );
            assert!(document.get("hint").is_none_or(serde_json::Value::is_string), "{document}");
            assert!(!output.stderr.is_empty(), "{arguments:?}: the user reads it too");
        }
    }
    let wrong = path("wrong.yum");
    std::fs::write(&wrong, "instal bash\nts run\n").expect("a recipe");
    let output = osimg(&["plan", &wrong, "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(!document["error"].as_str().unwrap_or_default().contains("hint:"), "{document}");
    assert!(document["hint"].as_str().is_some_and(|hint| hint.contains("install")), "{document}");
    let found = osimg(&["verify", "a", "--disk", "much", "--", "--json"]);
    assert!(found.stdout.is_empty(), "a word after -- is not an option: {found:?}");
}

#[test]
fn a_recipe_comes_from_standard_input_and_a_signal_ends_the_wait_for_it() {
    use std::io::{Read, Write};
    use std::process::{Child, Stdio};
    let start = |arguments: &[&str]| -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osimg"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("osimg starts")
    };
    let (_dir, path) = recipe("install bash\nts run\n");
    let mut piped = start(&["plan", "-", "--json"]);
    piped
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&std::fs::read(&path).expect("the recipe"))
        .expect("written");
    let piped = piped.wait_with_output().expect("osimg ends");
    let read = osimg(&["plan", &path, "--json"]);
    assert_eq!(piped.status.code(), read.status.code(), "{}", text(&piped.stderr));
    let transactions = |output: &Output| {
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        value["transactions"].clone()
    };
    assert_eq!(transactions(&piped), transactions(&read));
    assert!(!transactions(&read).is_null());

    // No input comes, and the pipe stays open. The signal ends the wait.
    let mut waiting = start(&["plan", "-"]);
    let id = nix::unistd::Pid::from_raw(waiting.id().try_into().expect("a process id"));
    let handles = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let caught =
            status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default().trim();
        u64::from_str_radix(caught, 16).unwrap_or(0)
            & (1 << (nix::sys::signal::Signal::SIGINT as u64 - 1))
            != 0
    };
    let began = std::time::Instant::now();
    while !handles() {
        assert!(began.elapsed().as_secs() < 60, "osimg does not handle the signal");
        std::thread::yield_now();
    }
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("sent");
    let status = waiting.wait().expect("osimg ends");
    let mut errors = String::new();
    waiting.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("read");
    assert_eq!(status.code(), Some(130), "{errors}");
    for arguments in [vec!["lock", "-"], vec!["build", "-", "--verify-reproducible"]] {
        let mut refused = start(&arguments);
        drop(refused.stdin.take());
        assert_ne!(refused.wait().expect("osimg ends").code(), Some(0), "{arguments:?}");
    }
}

/// Arguments with which each verb fails after the command line was read. A new verb needs a line.
const FAILING: &[(&str, &[&str])] = &[
    ("build", &["/nonexistent.yum"]),
    ("plan", &["--expand", "/nonexistent.yum"]),
    ("config", &["/nonexistent.yum"]),
    // It reads nothing, so that only its command line can be wrong.
    ("schema", &["--nonexistent"]),
    ("lock", &["/nonexistent.yum"]),
    ("cache", &["--cache", "/dev/null", "--prune", "--max", "0"]),
    ("pack", &["/nonexistent", "-o", "/dev/null/x.tgz"]),
    ("inspect", &["/nonexistent.tgz"]),
    ("diff", &["/nonexistent.tgz", "/nonexistent.tgz"]),
    ("verify", &["/nonexistent.tgz"]),
    ("publish", &["/nonexistent.tgz", "--registry", "dir:/dev/null/out"]),
    ("images", &["--registry", "nonexistent:"]),
    ("boot", &["/nonexistent.tgz"]),
    ("deploy", &["/nonexistent.json"]),
    ("shell", &["/nonexistent"]),
    ("doctor", &["--cloud", "nonexistent"]),
];

/// The verbs that clap lists.
fn verbs() -> Vec<String> {
    let help = text(&osimg(&["-h"]).stdout);
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_verb_that_fails_prints_one_json_document() {
    for verb in verbs() {
        let (_, failing) = FAILING
            .iter()
            .find(|(known, _)| *known == verb)
            .unwrap_or_else(|| panic!("add arguments with which `{verb}` fails"));
        let output = osimg(&[&["--json", verb.as_str()], *failing].concat());
        let stderr = text(&output.stderr);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{verb}: {error}: {}{stderr}", text(&output.stdout)));
        assert!(document["error"].is_string(), "{verb}: {document}");
        assert_eq!(document["code"].as_i64(), output.status.code().map(i64::from), "{verb}");
        assert!(!output.status.success() && !stderr.contains("panicked"), "{verb}: {stderr}");
    }
}

#[test]
fn an_expanded_recipe_is_one_json_document_and_shell_refuses_json() {
    let (_dir, path) = recipe("install cloud-init\nts run\n");
    let output = osimg(&["plan", "--expand", "--json", &path]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["script"], text(&osimg(&["plan", "--expand", &path]).stdout));
    let refused = osimg(&["shell", "--json", "/", "true"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stdout).contains("--json"), "{}", text(&refused.stdout));
}
