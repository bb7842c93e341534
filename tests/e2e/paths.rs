//! Paths: only the workdir and the registry are changed, even if links replace directories. Files
//! that are endless, or have no writer, are refused.

use crate::stage::{OSIMG, Run, Stage, sh, wait_until};
use crate::support::repo::{Package, Repo, When};
use crate::support::require_root;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

/// A stage with a package `odd`.
fn stage() -> Stage {
    Stage::new(|repo| repo.package(Package::named("odd").requires_first("base")))
}

const RECIPE: &str = "install odd\nts run\n";

#[test]
fn a_workdir_that_another_user_replaces_by_a_link_is_not_followed_on_removal() {
    if !require_root() {
        return;
    }
    let waiting = "echo > /begun; while [ ! -e /go ]; do busybox sleep 0.1; done";
    let stage = Stage::new(|repo| {
        repo.package(Package::named("odd").requires_first("base").scriptlet(When::Post, waiting))
    });
    let victim = stage.path().join("victim");
    fs::create_dir_all(victim.join("root/etc")).unwrap();
    for file in ["file", "root/file", "root/etc/machine-id"] {
        fs::write(victim.join(file), "precious").unwrap();
    }
    fs::set_permissions(stage.work(), fs::Permissions::from_mode(0o777)).unwrap();
    let build = stage.build(RECIPE).start();
    let workdir = || fs::read_dir(stage.work()).unwrap().next().map(|entry| entry.unwrap().path());
    wait_until("the scriptlet", Duration::from_secs(120), || {
        workdir().is_some_and(|path| path.join("root/begun").exists())
    });
    let path = workdir().unwrap();
    let moved = stage.work().join("moved");
    let swap = format!(
        "mv '{}' '{}' && ln -s '{}' '{}'",
        path.display(),
        moved.display(),
        victim.display(),
        path.display()
    );
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", &swap];
    assert!(Command::new("setpriv").args(nobody).status().unwrap().success());
    fs::write(moved.join("root/go"), "").unwrap();
    build.wait();
    assert_eq!(
        sh(&victim, "find . -type f | sort | xargs grep -c precious"),
        "./file:1\n./root/etc/machine-id:1\n./root/file:1\n"
    );
    assert_eq!(sh(&victim, "find . | wc -l").trim(), "6");
    // The build's own files are removed all the same.
    assert_eq!(fs::read_dir(&moved).unwrap().count(), 0);
    stage.nothing_runs();
}

#[test]
fn a_link_with_the_name_of_a_lock_file_is_not_followed() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let victim = stage.write("victim", "precious");
    for (name, plant) in [
        (".image.lock", (|from, to| symlink(from, to)) as fn(_, _) -> _),
        (".image.lock", |from, to| fs::hard_link(from, to)),
        (".image.tgz.part", |from, to| symlink(from, to)),
        ("image.tgz", |from, to| symlink(from, to)),
    ] {
        plant(victim.clone(), stage.out().join(name)).unwrap();
        let done = stage.build(RECIPE).run();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        if name.ends_with(".lock") {
            assert_eq!(done.code, Some(8), "{}", done.stderr);
            done.reports(&["the lock file", "it must be a regular file"]);
        } else {
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            assert!(stage.out().join("image.tgz").symlink_metadata().unwrap().is_file());
        }
        sh(&stage.out(), "find . -mindepth 1 -delete");
    }
}

#[test]
fn prune_ignores_paths_outside_the_registry_in_a_manifest() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let registry = format!("dir:{}", stage.out().display());
    let recipe = stage.recipe(RECIPE);
    stage.build_without_output(&recipe).args(&["--registry", &registry]).succeeds();
    let victim = stage.write("victim.tgz", "precious");
    let is_manifest = |name: &str| {
        name.ends_with(".json") && name.matches('.').count() == 1 && !name.contains("latest")
    };
    let (_, manifest) =
        stage.files(&stage.out()).into_iter().find(|(name, _)| is_manifest(name)).unwrap();
    let known: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for name in [victim.to_str().unwrap(), "../victim.tgz", "x/../../victim.tgz"] {
        for key in ["file", "name", "version"] {
            let mut forged = known.clone();
            forged["version"] = "1".into();
            forged["build"]["started"] = 1.into();
            match key {
                "file" => forged["tarballs"][0]["file"] = name.into(),
                other => forged[other] = name.into(),
            }
            fs::write(stage.out().join("forged-1.json"), forged.to_string()).unwrap();
            stage.osimg(OSIMG, &["images", "--registry", &registry, "--prune", "1"]).run();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{key} = {name}");
        }
    }
}

#[test]
fn an_endless_source_and_a_fifo_without_a_writer_are_refused_before_the_build() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.build(RECIPE).succeeds();
    let fifo = stage.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let socket = stage.path().join("socket");
    let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (source, word) in [
        (fifo.as_path(), "a FIFO"),
        (&socket, "a socket"),
        ("/dev/zero".as_ref(), "a device"),
        (stage.path(), "a directory"),
    ] {
        let text = source.to_str().unwrap();
        let refused = |what: &str, run: Run<'_>| {
            let done = run.behind(&["timeout", "60"]).run();
            assert_eq!(done.code, Some(3), "{what} {text}: {}", done.stderr);
            assert!(done.stderr.contains(word), "{what} {text}: {}", done.stderr);
            assert!(
                !done.stderr.contains("downloading packages"),
                "{what} {text}: {}",
                done.stderr
            );
        };
        stage.settings(|s| {
            s.rest = format!("[[customizations.files]]\nsource = \"{text}\"\npath = \"/etc/x\"\n")
        });
        refused("files", stage.build(RECIPE));
        stage.settings(|s| s.rest = format!("[customizations.cacerts]\nfiles = [\"{text}\"]\n"));
        refused("certificates", stage.build(RECIPE));
        stage.settings(|_| {});
        refused("--lock", stage.build(RECIPE).args(&["--lock", text]));
        refused("--settings", stage.osimg(OSIMG, &["plan", "image.yum", "--settings", text]));
        refused(
            "--import",
            stage.osimg(OSIMG, &["lock", "image.yum", "--import", text, "--output", "x.lock"]),
        );
        let deploy = ["deploy", "out/image.tgz", "--print-kickstart", "--kickstart", text];
        refused("--kickstart", stage.osimg(OSIMG, &deploy));
    }
}

#[test]
fn the_umask_of_a_checkout_does_not_change_the_bytes_of_an_image() {
    if !require_root() {
        return;
    }
    let stage = stage();
    stage.settings(|s| {
        s.rest = "[[customizations.files]]\nsource = \"../motd\"\npath = \
                  \"/etc/motd\"\n[[customizations.files]]\nsource = \"../tool\"\npath = \
                  \"/usr/bin/tool\"\n"
            .into();
    });
    let mut digests = Vec::new();
    for mask in ["022", "077", "002"] {
        sh(
            stage.path(),
            &format!(
                "rm -f motd tool; umask {mask}; echo hello > motd; echo tool > tool; chmod +x tool"
            ),
        );
        stage.build(RECIPE).succeeds();
        digests.push(stage.digest());
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    let listed = sh(&stage.out(), "tar tvzf image.tgz ./etc/motd ./usr/bin/tool");
    assert!(listed.starts_with("-rw-r--r--") && listed.contains("\n-rwxr-xr-x"), "{listed}");
}

#[test]
fn a_fifo_given_as_the_cache_is_refused_at_once() {
    if !require_root() {
        return;
    }
    let stage = stage();
    sh(stage.path(), "mkfifo fifo");
    let recipe = stage.recipe(RECIPE);
    let cache = stage.path().join("fifo").display().to_string();
    for verb in ["lock", "build"] {
        let recipe = recipe.display().to_string();
        let done = stage
            .osimg(OSIMG, &[verb, &recipe, "--cache", &cache, "--settings"])
            .arg(stage.repo().join("settings.toml"))
            .run();
        assert!(done.code.is_some_and(|code| code > 0), "{verb}: {}", done.stderr);
        done.reports(&["using the cache", "fifo"]);
    }
}

/// Files in /tmp are watched while metadata are downloaded; those of a repository there are not
/// meant.
#[test]
fn a_repository_below_tmp_may_have_large_packages() {
    if !require_root() {
        return;
    }
    let place = tempfile::Builder::new().prefix("osimg-repo-").tempdir_in("/tmp").unwrap();
    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:016x}", state ^ (state >> 29))
    })
    .take((36 << 20) / 16)
    .collect();
    Repo::new(place.path())
        .package(Package::named("big").file("/usr/share/big", noise, 0o644, "root:root"))
        .write();
    let stage = Stage::empty();
    let recipe = stage.recipe("install big\nts run\n");
    let settings = place.path().join("settings.toml");
    stage.build_file(&recipe).arg("--settings").arg(&settings).succeeds();
    let large = std::fs::read_dir(place.path().join("Packages"))
        .or_else(|_| std::fs::read_dir(place.path()))
        .unwrap()
        .filter_map(|entry| entry.unwrap().metadata().ok())
        .any(|found| found.len() > 16 << 20);
    assert!(large, "no package is larger than the limit");
}
