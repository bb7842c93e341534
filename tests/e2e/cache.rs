//! The package cache: concurrent builds share it, verify its contents, and can prune it.

use crate::server::{Answer, Server};
use crate::stage::{OSIMG, Run, Stage};
use crate::support::repo::{Package, Repo, When};
use crate::support::{breakout, require_root};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const RECIPE: &str = "install hello\nts run\n";

fn content(seed: u32) -> Vec<u8> {
    (0..20_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes())
        .collect()
}

fn repository(repo: Repo) -> Repo {
    let repo = (0..12u32).fold(repo, |repo, n| {
        let name = format!("part{n}");
        repo.package(Package::named(&name).requires_first("base").file(
            &format!("/usr/share/{name}"),
            content(n),
            0o644,
            "root:root",
        ))
    });
    let hello = (0..12).fold(Package::named("hello").requires_first("base"), |hello, n| {
        hello.requires(&format!("part{n}"))
    });
    repo.package(hello.file("/usr/share/hello", "hello\n", 0o644, "root:root"))
        .package(Package::named("slow").requires_first("base").scriptlet(When::Post, "sleep 300"))
}

fn served() -> (Stage, Server) {
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    (stage, server)
}

/// The number of requests for each package.
fn fetched(server: &Server) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for path in server.requests().into_iter().filter(|path| path.ends_with(".rpm")) {
        *counts.entry(path).or_insert(0) += 1;
    }
    counts
}

fn build<'a>(stage: &'a Stage, recipe: &Path, image: &Path) -> Run<'a> {
    stage.build_without_output(recipe).arg("--output").arg(image)
}

fn cached(stage: &Stage, name: &str) -> PathBuf {
    let directories = fs::read_dir(stage.cache())
        .unwrap()
        .map(|entry| entry.unwrap().path().join("packages").join(name));
    directories
        .filter(|path| path.exists())
        .last()
        .unwrap_or_else(|| panic!("{name} is not in the cache"))
}

fn cache<'a>(stage: &'a Stage, words: &[&str]) -> Run<'a> {
    stage.osimg(OSIMG, &["cache"]).arg("--cache").arg(stage.cache()).args(words)
}

#[test]
fn eight_concurrent_builds_on_an_empty_cache_succeed_and_fetch_every_package_once() {
    if !require_root() {
        return;
    }
    let (stage, server) = served();
    let recipe = stage.recipe(RECIPE);
    let image = |n: usize| stage.out().join(format!("image{n}.tar"));
    let started: Vec<_> = (0..8).map(|n| build(&stage, &recipe, &image(n)).start()).collect();
    for build in started {
        let done = build.wait();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    stage.nothing_is_left();
    let counts = fetched(&server);
    assert_eq!(counts.len(), 14, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let first = fs::read(image(0)).unwrap();
    assert!((1..8).all(|n| fs::read(image(n)).unwrap() == first), "all images are the same");
    assert_eq!(
        fs::read_dir(stage.cache().join("views"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count(),
        0
    );
}

#[test]
fn eight_concurrent_locked_builds_on_an_empty_cache_fetch_every_package_once() {
    if !require_root() {
        return;
    }
    let (stage, server) = served();
    let recipe = stage.recipe(RECIPE);
    let lock = stage
        .osimg(OSIMG, &["lock", "--metadata-only"])
        .arg(&recipe)
        .arg("--settings")
        .arg(stage.repo().join("settings.toml"));
    lock.arg("--cache").arg(stage.cache()).arg("--workdir").arg(stage.work()).succeeds();
    let image = |n: usize| stage.out().join(format!("image{n}.tar"));
    let started: Vec<_> =
        (0..8).map(|n| build(&stage, &recipe, &image(n)).arg("--locked").start()).collect();
    for build in started {
        let done = build.wait();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    stage.nothing_is_left();
    let counts = fetched(&server);
    assert!(counts.len() == 14 && counts.values().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_build_does_not_wait_for_another_build_that_is_installing() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served();
    let slow = stage.write("slow.yum", "install slow\nts run\n");
    let started = build(&stage, &slow, &stage.out().join("slow.tar")).start();
    stage.wait_for_process("sleep 300");
    let other = stage.write("other.yum", RECIPE);
    let done = build(&stage, &other, &stage.out().join("other.tar")).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let shown = cache(&stage, &[]).run().stdout;
    assert!(shown.contains("in use by 1 build"), "{shown}");
    // A prune must not remove packages that an installation still needs.
    let done = cache(&stage, &["--prune", "--max", "0"]).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        stage.processes().iter().any(|process| process.contains("sleep 300")),
        "the slow build goes on"
    );
    started.interrupt_any(Signal::SIGKILL);
    stage.nothing_runs();
    // The next build removes the view of the killed one.
    let views = || {
        fs::read_dir(stage.cache().join("views"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count()
    };
    assert_eq!(views(), 1);
    let done = build(&stage, &other, &stage.out().join("other.tar")).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(views(), 0);
}

#[test]
fn a_package_that_was_damaged_in_the_cache_is_fetched_again() {
    if !require_root() {
        return;
    }
    let (stage, server) = served();
    stage.build(RECIPE).succeeds();
    let path = cached(&stage, "part3-1.0-1.noarch.rpm");
    let metadata = path.metadata().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    // As a failing disk does it: only the bytes change. dnf trusts the checksum that it has
    // recorded.
    let times = FileTimes::new().set_modified(metadata.modified().unwrap());
    fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    stage.build(RECIPE).succeeds().reports(&["part3-1.0-1.noarch.rpm", "fetching it again"]);
    assert_eq!(fetched(&server)["Packages/part3-1.0-1.noarch.rpm"], 2);
    // A truncated package is noticed at once.
    let path = cached(&stage, "part4-1.0-1.noarch.rpm");
    fs::write(&path, &fs::read(&path).unwrap()[..1000]).unwrap();
    stage.build(RECIPE).succeeds();
    assert!(stage.members().contains(&"./usr/share/part4".to_owned()));
}

#[test]
fn the_cache_is_shown_and_pruned_and_missing_packages_are_fetched_again() {
    if !require_root() {
        return;
    }
    let (stage, server) = served();
    stage.build(RECIPE).succeeds();
    let shown = |words: &[&str]| -> serde_json::Value {
        let done = cache(&stage, words).arg("--json").run();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        serde_json::from_str(&done.stdout).unwrap()
    };
    let held = &shown(&[])["holds"];
    assert_eq!(
        (held["repositories"][0]["packages"].as_u64(), held["builds"].as_u64()),
        (Some(14), Some(0))
    );
    let before = held["bytes"].as_u64().unwrap();
    // Half of it may stay.
    let after = shown(&["--prune", "--max", &(before / 2).to_string()]);
    assert!(after["holds"]["bytes"].as_u64().unwrap() <= before / 2, "{after}");
    let left = after["holds"]["repositories"][0]["packages"].as_u64().unwrap();
    assert!(left > 0 && left < 14, "{after}");
    stage.build(RECIPE).succeeds();
    assert_eq!(fetched(&server).values().sum::<usize>(), 28 - usize::try_from(left).unwrap());
    // Nothing here is a day old.
    assert_eq!(shown(&["--prune", "--older", "1"])["pruned"]["packages"], 0);
    // A killed prune has left some of the metadata, and a directory that it had already
    // renamed.
    let directory =
        cached(&stage, "hello-1.0-1.noarch.rpm").parent().unwrap().parent().unwrap().to_owned();
    fs::create_dir_all(stage.cache().join(".going-tiny/packages")).unwrap();
    fs::write(stage.cache().join(".going-tiny/packages/x.rpm"), "x").unwrap();
    let primary = fs::read_dir(directory.join("repodata"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("primary"))
        .unwrap();
    fs::remove_file(primary).unwrap();
    stage.build(RECIPE).succeeds();
    assert_eq!(shown(&["--prune", "--max", "0"])["holds"]["bytes"], 0);
    assert!(!stage.cache().join(".going-tiny").exists());
    stage.build(RECIPE).succeeds();
    let done = cache(&stage, &["--prune"]).run();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    done.reports(&["--max"]);
}

#[test]
fn a_prune_that_is_killed_at_any_time_leaves_a_cache_that_works() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served();
    let mut killed = 0;
    // At its nth call that removes or renames something, so that no timing decides.
    for nth in [1, 2, 5, 12] {
        stage.build(RECIPE).succeeds();
        let inject = format!(
            "inject=unlink,unlinkat,rmdir,rename,renameat,renameat2:signal=SIGKILL:when={nth}"
        );
        let strace = ["strace", "-f", "-o", "/dev/null", "-e", &inject];
        let done = cache(&stage, &["--prune", "--max", "0"]).behind(&strace).run();
        killed += usize::from(done.code.is_none());
    }
    assert!(killed >= 3, "only {killed} prunes were killed");
    stage.build(RECIPE).succeeds();
}

#[test]
fn a_cache_that_is_replaced_by_a_link_during_a_download_is_not_followed() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(repository);
    let (cache, moved, victim) =
        (stage.cache(), stage.path().join("moved"), stage.path().join("victim"));
    for name in [
        "views/view-old/file",
        "tiny-0123456789abcdef/repodata/repomd.xml",
        "tiny-0123456789abcdef/packages/hello.rpm",
    ] {
        fs::create_dir_all(victim.join(name).parent().unwrap()).unwrap();
        fs::write(victim.join(name), "precious").unwrap();
    }
    let before = breakout::snapshot(&victim);
    let (from, to, link) = (cache.clone(), moved.clone(), victim.clone());
    let server = Server::start(stage.repo(), move |path, before| {
        if path.contains("primary") && before == 0 {
            fs::rename(&from, &to).unwrap();
            std::os::unix::fs::symlink(&link, &from).unwrap();
        }
        Answer::File
    });
    stage.settings(|settings| settings.baseurl = server.url());
    stage.build(RECIPE).succeeds();
    assert_eq!(breakout::snapshot(&victim), before);
    assert_eq!(fs::read(victim.join("views/view-old/file")).unwrap(), b"precious");
    assert!(fs::read_dir(&moved).unwrap().count() > 2, "the build continued in its own cache");
}

#[test]
fn a_cache_that_another_user_owns_or_can_write_to_is_refused() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served();
    stage.build(RECIPE).succeeds();
    assert_eq!(stage.cache().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    fs::set_permissions(stage.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    stage.build(RECIPE).fails(4).reports(&[
        "other users can write there",
        "hint: ",
        "chmod -R go-w",
    ]);
    fs::set_permissions(stage.cache(), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(stage.cache(), Some(65534), None).unwrap();
    stage.build(RECIPE).fails(4).reports(&["belongs to another user (id 65534)", "--cache DIR"]);
    let done = cache(&stage, &["--prune", "--max", "0"]).run();
    assert_eq!(done.code, Some(4), "{}", done.stderr);
}
