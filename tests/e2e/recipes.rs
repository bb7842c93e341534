//! Recipes with mistakes. They are reported with file and line before any work, or with the name
//! once the repositories are loaded.

use crate::stage::{OSIMG, Stage, run};
use crate::support::repo::Package;
use crate::support::require_root;
use std::fs;
use std::path::Path;
use std::process::Command;

fn hello() -> Stage {
    Stage::new(|repo| {
        repo.package(Package::named("hello").requires_first("base").file(
            "/usr/share/hello",
            "hello\n",
            0o644,
            "root:root",
        ))
        .group("core", "Core", &["hello"])
    })
}

#[test]
fn a_misspelt_command_is_reported_with_its_line_and_a_suggestion() {
    hello().build("# a comment\ninstal hello\nts run\n").fails(3).reports(&[
        "image.yum:2:1",
        "instal",
        "install",
    ]);
}

#[test]
fn all_mistakes_of_a_recipe_are_reported_at_once() {
    hello().build("instal hello\ngroup instal core\nts rum\n").fails(3).reports(&[
        "image.yum:1:",
        "image.yum:2:",
        "image.yum:3:",
    ]);
}

#[test]
fn an_unknown_package_is_reported_with_its_line_and_similar_names() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(Package::named("python3-hello")));
    stage.build("\ninstall hello\nts run\n").fails(7).reports(&[
        "image.yum:2",
        "hello",
        "python3-hello",
    ]);
}

#[test]
fn all_unknown_packages_are_reported_at_once() {
    if !require_root() {
        return;
    }
    hello().build("install hello nosuch1\ninstall nosuch2\nts run\n").fails(7).reports(&[
        "image.yum:1",
        "nosuch1",
        "image.yum:2",
        "nosuch2",
    ]);
}

#[test]
fn an_unknown_group_is_reported_with_its_line_and_the_available_groups() {
    if !require_root() {
        return;
    }
    hello().build("group install 'Minimal Instal'\nts run\n").fails(7).reports(&[
        "image.yum:1",
        "Minimal Instal",
        "Core (core)",
    ]);
}

#[test]
fn a_group_whose_mandatory_package_does_not_exist_fails_the_build() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(Package::named("a").requires_first("base")).group(
            "pair",
            "Pair",
            &["a", "phantom"],
        )
    });
    stage.build("group install pair\nts run\n").fails(7).reports(&["phantom"]);
}

#[test]
fn dependencies_that_nothing_provides_are_reported() {
    if !require_root() {
        return;
    }
    let stage =
        Stage::new(|repo| repo.package(Package::named("needy").requires("libmissing.so.7")));
    stage.build("install needy\nts run\n").fails(7).reports(&["libmissing.so.7", "needy"]);
}

#[test]
fn conflicting_packages_are_reported() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| {
        repo.package(Package::named("left")).package(Package::named("right").conflicts("left"))
    });
    stage.build("install left right\nts run\n").fails(7).reports(&["left", "right", "conflict"]);
}

#[test]
fn an_unbalanced_quote_is_reported_with_its_line() {
    hello()
        .build("group install 'Minimal Install\nts run\n")
        .fails(3)
        .reports(&["image.yum:1:", "quot"]);
}

#[test]
fn a_comment_after_a_command_is_not_read_as_packages() {
    hello()
        .build("install hello # and cloud-init\nts run\n")
        .fails(3)
        .reports(&["image.yum:1:", "#"]);
}

#[test]
fn an_empty_recipe_is_refused() {
    for text in ["", "\n\n# nothing\n", "ts run\n"] {
        hello().build(text).fails(3).reports(&["image.yum", "installs nothing"]);
    }
}

#[test]
fn a_recipe_without_ts_run_is_built_with_a_note() {
    if !require_root() {
        return;
    }
    let stage = hello();
    stage.build("install hello\n").succeeds().reports(&["image.yum:1", "ts run"]);
    assert!(stage.members().contains(&"./usr/share/hello".to_owned()));
}

#[test]
fn a_recipe_that_is_a_directory_or_missing_or_binary_is_refused() {
    let stage = hello();
    stage.build_file(stage.path()).fails(3).reports(&["directory"]);
    stage
        .build_file(&stage.path().join("nosuch.yum"))
        .fails(3)
        .reports(&["nosuch.yum", "does not exist"]);
    // Any program that is not larger than the limit for recipes.
    stage.build_file(Path::new("/usr/bin/env")).fails(3).reports(&["binary"]);
}

#[test]
fn wrong_settings_are_reported_with_their_line() {
    let stage = hello();
    stage.settings(|settings| settings.packages = "docz = false".into());
    stage.build("install hello\nts run\n").fails(3).reports(&["settings.toml:5:1", "docz", "docs"]);
}

#[test]
fn an_unknown_option_or_verb_is_a_usage_error() {
    let stage = hello();
    stage.build("install hello\n").arg("--no-such-option").fails(2).reports(&["--no-such-option"]);
    stage.osimg(OSIMG, &["biuld", "x"]).fails(2).reports(&["biuld", "build"]);
}

#[test]
fn an_output_that_anaconda_would_not_unpack_is_a_usage_error() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let recipe = stage.recipe("install hello\nts run\n");
    for name in ["image.tzst", "image.tar.zst", "image.zip", "image", "image.TGZ"] {
        stage
            .build_without_output(&recipe)
            .arg("--output")
            .arg(stage.out().join(name))
            .fails(2)
            .reports(&[name, ".tgz"]);
    }
    stage.build_without_output(&recipe).args(&["--format", "zst"]).fails(2).reports(&["zst"]);
}

#[test]
fn a_missing_output_directory_is_reported_with_the_command_that_creates_it() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let recipe = stage.recipe("install hello\nts run\n");
    let missing = stage.path().join("no/such/directory");
    let hint = format!("mkdir -p {}", missing.display());
    let done =
        stage.build_without_output(&recipe).arg("--output").arg(missing.join("image.tgz")).fails(8);
    done.reports(&[&hint]).does_not_report(&["downloading"]);
    let registry = format!("dir:{}", missing.display());
    stage
        .build_without_output(&recipe)
        .args(&["--registry", &registry])
        .fails(8)
        .reports(&["mkdir -p"]);
    assert!(!missing.exists());
}

#[test]
fn microdnf_is_refused_before_any_work_with_the_command_that_installs_dnf_4() {
    if !require_root() {
        return;
    }
    let build = |stage: &Stage| stage.build("install hello\nts run\n").fails(3);
    let stage = hello();
    stage.settings(|settings| settings.packages = "manager = \"microdnf\"".into());
    build(&stage)
        .reports(&["hint: ", "microdnf install python3-dnf"])
        .does_not_report(&["downloading"]);
    hello()
        .build("install hello\nts run\n")
        .args(&["--package-manager", "microdnf"])
        .fails(2)
        .reports(&["microdnf install python3-dnf"])
        .does_not_report(&["downloading"]);
}

#[test]
fn yum_is_another_name_of_dnf_4() {
    if !require_root() {
        return;
    }
    let stage = hello();
    stage.settings(|settings| settings.packages = "manager = \"yum\"".into());
    stage.build("install hello\nts run\n").succeeds();
    assert!(stage.manifest()["builder"]["package_manager"].as_str().unwrap().starts_with("dnf 4"));
}

#[test]
fn a_host_without_dnf_gets_a_hint_what_to_install() {
    if !require_root() {
        return;
    }
    let stage = hello();
    // Hides Python's modules behind an empty directory, in a separate mount namespace.
    let hide = "mount -t tmpfs none /usr/lib/python3/dist-packages && exec \"$@\"";
    stage
        .build("install hello\nts run\n")
        .behind(&["unshare", "-m", "sh", "-ec", hide, "sh"])
        .fails(4)
        .reports(&["dnf", "hint: install it: apt-get install python3-dnf"]);
}

#[test]
fn plan_needs_no_root() {
    if !require_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    run(Command::new("chmod").arg("755").arg(directory.path()));
    let program = directory.path().join("osimg");
    fs::copy(OSIMG, &program).unwrap();
    fs::write(directory.path().join("image.yum"), "install hello\nts run\n").unwrap();
    let as_user = |verb: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .args([verb, "image.yum", "--repo", "r=https://example.invalid/r"]);
        command.current_dir(directory.path()).output().unwrap()
    };
    let plan = as_user("plan");
    let stdout = String::from_utf8_lossy(&plan.stdout);
    assert!(plan.status.success() && stdout.contains("install hello"), "{stdout}");
}
