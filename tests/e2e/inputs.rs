//! Files that the user, or a file of the user, names: what is not a regular file is refused at
//! once, before the first download, and with the same exit code everywhere.

use std::path::Path;

use crate::stage::{OSIMG, Stage};
use crate::support::require_root;

const RECIPE: &str = "install base\nts run\n";
/// Recipe or settings, or a file that they or an option beside them names.
const NAMED: i32 = 3;
/// The file that the verb works on.
const OPERAND: i32 = 2;

/// Command lines with `@` for the path under test. Each runs next to a recipe `image.yum`, the
/// repository's settings `repo/settings.toml` and a tarball `tree.tgz`.
const OPTIONS: &[(i32, &str)] = &[
    (NAMED, "plan @"),
    (NAMED, "plan image.yum --settings @"),
    (NAMED, "plan image.yum --blueprint @"),
    (NAMED, "lock image.yum --import @ --output x.lock --settings repo/settings.toml"),
    (NAMED, "build image.yum --settings repo/settings.toml --lock @"),
    (
        NAMED,
        "build image.yum --settings repo/settings.toml --key \
        @=0123456789012345678901234567890123456789",
    ),
    (NAMED, "build image.yum --settings repo/settings.toml --sign openpgp:@"),
    (NAMED, "build image.yum --settings repo/settings.toml --sign minisign:@"),
    (NAMED, "build image.yum --settings repo/settings.toml --selinux policy=@"),
    (NAMED, "verify --ca-file @ https://127.0.0.1:9/x.tgz"),
    (NAMED, "publish tree.tgz --registry dir:out --kickstart @"),
    (NAMED, "publish tree.tgz --registry dir:out --settings @"),
    (NAMED, "publish tree.tgz --registry dir:out --ca-file @"),
    (NAMED, "publish tree.tgz --registry dir:out --sign-key @ --sign-certificate x"),
    (NAMED, "deploy https://127.0.0.1:9/x.json --ca-file @"),
    (OPERAND, "verify @"),
    (OPERAND, "boot @"),
    (OPERAND, "deploy @"),
    (OPERAND, "publish @ --registry dir:out"),
];

/// Settings with `@` for the path under test. All but the first include those of the repository.
const SETTINGS: &[&str] = &[
    "include = [\"@\"]",
    "[[packages.repository]]\nid = \"b\"\nbaseurl = \"./repo\"\nca = \"@\"",
    "[[packages.repository]]\nid = \"b\"\nbaseurl = \"./repo\"\nclient_cert = \"@\"",
    "[[packages.repository]]\nid = \"b\"\nbaseurl = \"./repo\"\nclient_cert = \"image.yum\"\n\
    client_key = \"@\"",
    "[[packages.repository]]\nid = \"b\"\nbaseurl = \"./repo\"\nusername = \"a\"\n\
    password_file = \"@\"",
    "[[packages.key]]\nfile = \"@\"\nfingerprint = \"0123456789012345678901234567890123456789\"",
    "[[script]]\nfile = \"@\"",
    "[[script]]\nrun = \"true\"\nfiles = [\"@\"]",
    "[[customizations.files]]\nsource = \"@\"\npath = \"/etc/x\"",
    "[customizations.cacerts]\nfiles = [\"@\"]",
    "[image]\nsign = [\"openpgp:@\"]",
    "[finish]\nselinux = \"policy=@\"",
    "[deploy]\nkernel = \"@\"\nramdisk = \"image.yum\"",
    "[deploy]\nkernel = \"image.yum\"\nramdisk = \"image.yum\"\nstage2 = \"@\"",
    "[deploy]\ntree = \"@\"",
    "[deploy]\nkickstart = \"@\"",
    "[deploy.install]\nauthority = \"@\"",
];

/// Paths that are not regular files; the second is what the error calls it.
fn wrong_files(stage: &Stage) -> Vec<(String, &'static str)> {
    let path = |name: &str| stage.path().join(name).display().to_string();
    nix::unistd::mkfifo(&stage.path().join("fifo.rpm"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    vec![
        (path("fifo.rpm"), "a FIFO"),
        ("/dev/zero".to_owned(), "a device"),
        (path("nothing"), "no such file"),
    ]
}

/// Runs a command line, which must end at once with the code.
fn is_refused(stage: &Stage, code: i32, line: &str, word: Option<&str>) {
    let words: Vec<&str> = line.split(' ').collect();
    let done = stage.osimg(OSIMG, &words).behind(&["timeout", "60"]).run();
    assert_eq!(done.code, Some(code), "{line}: {}", done.stderr);
    let text = done.stderr.to_lowercase();
    assert!(!text.contains("downloading packages") && !text.contains("bind {"), "{line}: {text}");
    if let Some(word) = word {
        let word = word.to_lowercase();
        let missing = word == "no such file" && text.contains("does not exist");
        assert!(text.contains(&word) || missing, "{line}: {text}");
    }
}

/// The command line, and for a build that of a plan, which makes the same checks. Options that
/// `plan` does not have are left to the build.
fn with_plan(line: &str) -> Vec<String> {
    let mut lines = vec![line.to_owned()];
    let only_of_build = ["--lock ", "--jobs ", "--allow "];
    if line.starts_with("build ") && only_of_build.iter().all(|option| !line.contains(option)) {
        lines.push(line.replacen("build ", "plan ", 1));
    }
    lines
}

fn stage() -> Stage {
    let stage = Stage::new(|repo| repo);
    stage.settings(|_| {});
    stage.recipe(RECIPE);
    crate::stage::sh(stage.path(), "tar czf tree.tgz image.yum");
    stage
}

#[test]
fn every_file_of_an_option_must_be_a_regular_file() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for (path, word) in wrong_files(&stage) {
        for (code, line) in OPTIONS {
            // These judge the name first.
            let judged = line.starts_with("publish @") || line.starts_with("verify @");
            for line in with_plan(line) {
                is_refused(&stage, *code, &line.replace('@', &path), (!judged).then_some(word));
            }
        }
    }
}

#[test]
fn every_file_of_a_setting_must_be_a_regular_file() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for (path, word) in wrong_files(&stage) {
        for setting in SETTINGS {
            let include = "include = [\"repo/settings.toml\"]\n";
            let include = if setting.starts_with("include") { "" } else { include };
            stage.write("s.toml", format!("{include}{}\n", setting.replace('@', &path)));
            // The name of an included file is judged first.
            let word = (!setting.starts_with("include")).then_some(word);
            for line in with_plan("build image.yum --settings s.toml") {
                is_refused(&stage, NAMED, &line, word);
            }
        }
    }
}

#[test]
fn every_file_of_a_recipe_or_repository_must_be_a_regular_file() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let build = "build image.yum --settings repo/settings.toml";
    for (path, word) in wrong_files(&stage) {
        let link = stage.path().join("link.rpm");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        stage.recipe(format!("install base {}\nts run\n", link.display()));
        is_refused(&stage, NAMED, build, Some(word));
        stage.recipe(RECIPE);
        if !Path::new(&path).exists() {
            continue;
        }
        for file in ["repodata/repomd.xml", "other.rpm"] {
            let file = stage.repo().join(file);
            let before = std::fs::read(&file).ok();
            let _ = std::fs::remove_file(&file);
            std::os::unix::fs::symlink(&path, &file).unwrap();
            is_refused(&stage, NAMED, build, Some(word));
            std::fs::remove_file(&file).unwrap();
            if let Some(bytes) = before {
                std::fs::write(&file, bytes).unwrap();
            }
        }
    }
}

#[test]
fn values_are_checked_before_the_first_download() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let build = "build image.yum --settings repo/settings.toml";
    for option in
        ["--level 99", "--level 0 --format tbz", "--jobs 0", "--timeout 5", "--name .", "--allow x"]
    {
        for line in with_plan(&format!("{build} {option}")) {
            is_refused(&stage, OPERAND, &line, None);
        }
    }
}

#[test]
fn a_key_with_another_fingerprint_is_refused_before_the_first_download_and_by_plan() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let key = stage.write("key.asc", &crate::support::keys::foreign().public);
    let line = format!(
        "build image.yum --settings repo/settings.toml --key {}={}",
        key.display(),
        "0".repeat(40)
    );
    for line in with_plan(&line) {
        is_refused(&stage, 6, &line, Some("its fingerprint is"));
    }
}
