//! Package files that a recipe names, by path or by address, in addition to the packages of the
//! repositories.

use crate::server::{Answer, Server};
use crate::stage::{OSIMG, Stage, sh};
use crate::support::repo::{Package, Repo, Signature};
use crate::support::require_root;
use std::fs;

fn own(signature: Signature) -> Package {
    Package::named("own")
        .requires_first("base")
        .requires("library")
        .file("/usr/share/own", "own\n", 0o644, "root:root")
        .signed_by(signature)
}

/// A stage with `library` in its repository, and a package in `files` that requires it.
fn stage(signature: Signature) -> Stage {
    let stage = Stage::new(|repo| {
        repo.package(Package::named("library").file(
            "/usr/share/library",
            "lib\n",
            0o644,
            "root:root",
        ))
    });
    let files = stage.path().join("files");
    fs::create_dir(&files).unwrap();
    Repo::new(&files).package(own(signature)).write();
    stage
}

const FILE: &str = "files/Packages/own-1.0-1.noarch.rpm";

#[test]
fn a_package_file_next_to_the_recipe_is_installed_with_its_dependencies() {
    if !require_root() {
        return;
    }
    let stage = stage(Signature::Ours);
    let whole = stage.path().join(FILE);
    for spelling in [
        FILE.to_owned(),
        format!("./{FILE}"),
        whole.display().to_string(),
        format!("file://{}", whole.display()),
    ] {
        stage.build(&format!("install {spelling}\nts run\n")).succeeds();
        assert!(stage.members().contains(&"./usr/share/own".to_owned()), "{spelling}");
        assert!(stage.members().contains(&"./usr/share/library".to_owned()), "{spelling}");
    }
}

#[test]
fn a_package_file_given_by_url_is_fetched_with_network_and_installed_without() {
    if !require_root() {
        return;
    }
    let stage = stage(Signature::Ours);
    let server = Server::start(stage.path().to_owned(), |_, before| {
        if before == 0 { Answer::Half } else { Answer::File }
    });
    stage.build(&format!("install {}{FILE}\nts run\n", server.url())).succeeds();
    assert!(stage.members().contains(&"./usr/share/own".to_owned()));
    assert_eq!(
        server.requests().iter().filter(|path| path.contains("own-1.0")).count(),
        2,
        "first half of it, then all"
    );
}

#[test]
fn an_unsigned_package_file_is_refused() {
    if !require_root() {
        return;
    }
    stage(Signature::None)
        .build(&format!("install {FILE}\nts run\n"))
        .fails(6)
        .reports(&["own", "hint: "]);
    stage(Signature::Foreign)
        .build(&format!("install {FILE}\nts run\n"))
        .fails(6)
        .reports(&["own", "by a pinned key"]);
}

#[test]
fn a_package_file_that_is_missing_or_invalid_is_named_with_its_line() {
    if !require_root() {
        return;
    }
    let stage = stage(Signature::Ours);
    stage.build("install base\ninstall ./nowhere.rpm\nts run\n").fails(3).reports(&[
        "image.yum:2:9",
        "nowhere.rpm",
        "No such file",
        "hint: ",
    ]);
    stage.write("broken.rpm", "no package at all");
    stage
        .build("install ./broken.rpm\nts run\n")
        .fails(7)
        .reports(&["image.yum:1", "./broken.rpm is not a package file"]);
    let server = Server::start(stage.path().to_owned(), |_, _| Answer::File);
    stage
        .build(&format!("install {}gone.rpm\nts run\n", server.url()))
        .fails(5)
        .reports(&["gone.rpm", "404"]);
    stage
        .build(&format!("install {}download?name=own.rpm\nts run\n", server.url()))
        .fails(3)
        .reports(&["image.yum:1:9", "hint: "]);
    let asked = server.requests().iter().filter(|path| path.contains("gone")).count();
    assert!(asked <= 2, "a missing file is requested at most once more, not {asked} times");
}

#[test]
fn a_lock_records_the_checksums_of_package_files_and_enforces_them() {
    if !require_root() {
        return;
    }
    let stage = stage(Signature::Ours);
    let server = Server::start(stage.path().to_owned(), |_, _| Answer::File);
    for spelling in [FILE.to_owned(), format!("{}{FILE}", server.url())] {
        let recipe = format!("install {spelling}\nts run\n");
        let lock = |recipe: &str| {
            let run = stage
                .osimg(OSIMG, &["lock"])
                .arg(stage.recipe(recipe))
                .arg("--settings")
                .arg(stage.repo().join("settings.toml"));
            run.arg("--cache").arg(stage.cache()).arg("--workdir").arg(stage.work())
        };
        lock(&recipe).succeeds();
        let text = fs::read_to_string(stage.path().join("image.lock")).unwrap();
        let sum = sh(stage.path(), &format!("sha256sum {FILE} | cut -c1-64"));
        assert!(
            text.contains("repository = \"@commandline\"") && text.contains(sum.trim()),
            "{text}"
        );
        assert!(
            !text.contains(&*stage.path().to_string_lossy()),
            "a directory of this machine is in it: {text}"
        );
        let empty = || {
            fs::remove_dir_all(stage.cache()).unwrap();
            fs::create_dir(stage.cache()).unwrap();
        };
        empty();
        stage.build(&recipe).arg("--locked").succeeds();
        assert!(stage.members().contains(&"./usr/share/own".to_owned()), "{spelling}");
        // Another file with the same name, signed by the same key, is refused.
        let whole = stage.path().join(FILE);
        let before = fs::read(&whole).unwrap();
        own(Signature::Ours)
            .file("/usr/share/more", "more\n", 0o644, "root:root")
            .write(whole.parent().unwrap());
        empty();
        stage
            .build(&recipe)
            .arg("--locked")
            .fails(6)
            .reports(&["own-0:1.0-1.noarch", "checksums differ"]);
        // A lock may only fetch files that the recipe names.
        fs::write(
            stage.path().join("image.lock"),
            text.replace("own-1.0-1.noarch.rpm\"\nchecksum", "other.rpm\"\nchecksum"),
        )
        .unwrap();
        stage.build(&recipe).arg("--locked").fails(3).reports(&["other.rpm"]);
        fs::write(&whole, before).unwrap();
    }
}
