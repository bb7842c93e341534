//! The repository's own recipe on the demo distribution: hundreds of real packages with real
//! scriptlets.

use std::path::{Path, PathBuf};

use crate::container::{Container, Kind};
use crate::stage::{Stage, sh};
use crate::support::skip;

fn distribution() -> Option<PathBuf> {
    let directory = std::env::var_os("OSIMG_DEMO_REPO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".demo/repo"), PathBuf::from);
    if !directory.join("osimg-demo.toml").exists() {
        skip(&format!("there is no demo distribution in {}: make demo", directory.display()));
        return None;
    }
    Some(directory.canonicalize().unwrap())
}

#[test]
fn the_whole_recipe_has_the_bytes_of_the_host_in_every_kind_of_container() {
    if !Container::require(&["crun", "podman", "bwrap"]) {
        return;
    }
    let Some(repo) = distribution() else { return };
    let stage = Stage::empty();
    let settings = repo.join("osimg-demo.toml");
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("baremetal.yum")).unwrap();
    let recipe = stage.recipe(text);
    let began = std::time::Instant::now();
    stage
        .build_file(&recipe)
        .arg("--settings")
        .arg(&settings)
        .args(&["--level", "fast"])
        .succeeds();
    let reference = stage.digest();
    println!("host: full, {:.1} s, {reference}", began.elapsed().as_secs_f64());
    for (kind, isolation) in [
        (Kind::Docker, "container"),
        (Kind::Podman, "user-namespace"),
        (Kind::Bubblewrap, "user-namespace"),
    ] {
        let container = Container::new(&stage, kind).seeing(&repo);
        let done = container.build(&recipe, &settings, &["--level", "fast"]).run();
        assert_eq!(done.code, Some(0), "{kind:?}: {}", done.stderr);
        println!("{kind:?}: {isolation}, {:.1} s, {}", done.took.as_secs_f64(), container.digest());
        assert_eq!(container.manifest()["build"]["isolation"], isolation);
        if container.digest() != reference {
            let diff = sh(
                stage.path(),
                &format!(
                    "{} diff {} {} || true",
                    crate::stage::OSIMG,
                    stage.image().display(),
                    container.image().display()
                ),
            );
            panic!("{kind:?}: other bytes than on the host:\n{diff}");
        }
        container.nothing_is_left();
    }
}
