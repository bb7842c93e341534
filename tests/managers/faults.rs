//! Faulty mirrors with dnf 5. It reacts differently from dnf 4, but the results of osimg are the
//! same.

use crate::machines::Machine;
use crate::server::{Answer, hello, served, swapped};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const RECIPE: &str = "install hello\nts run\n";

#[test]
fn dnf_5_succeeds_with_a_mirror_that_fails_for_a_while() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let until: Mutex<Option<Instant>> = Mutex::new(None);
    let (stage, _server) = served(move |path, before| match path {
        _ if path.ends_with("repomd.xml") && before < 2 => Answer::Status(503),
        _ if path.contains("primary") && before == 0 => Answer::Short,
        _ if path.contains("base-1.0") && before == 0 => Answer::Half,
        _ if path.contains("hello-1.0") => {
            let end = *until
                .lock()
                .unwrap()
                .get_or_insert_with(|| Instant::now() + Duration::from_secs(3));
            if Instant::now() < end { Answer::Busy(3) } else { Answer::File }
        }
        _ => Answer::File,
    });
    Machine::Dnf5.build(&stage, RECIPE).succeeds().reports(&["asks clients to wait 3 s"]);
}

#[test]
fn dnf_5_reads_metadata_again_that_are_replaced_while_it_reads_them() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let stage = hello();
    let server = swapped(&stage);
    stage.settings(|settings| settings.baseurl = server.url());
    Machine::Dnf5
        .build(&stage, RECIPE)
        .succeeds()
        .reports(&["reading it again"])
        .does_not_report(&["trying again in"]);
    assert_eq!(stage.content("./usr/share/hello"), "2\n");
}

#[test]
fn dnf_5_never_installs_altered_packages_and_reports_missing_ones() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let (stage, _server) =
        served(|path, _| if path.contains("hello-1.0") { Answer::Changed } else { Answer::File });
    Machine::Dnf5.fails(&stage, RECIPE, 6).reports(&["hello-1.0-1.noarch", "checksum"]);
    let (stage, _server) =
        served(
            |path, _| if path.contains("hello-1.0") { Answer::Status(404) } else { Answer::File },
        );
    let done = Machine::Dnf5.fails(&stage, RECIPE, 5);
    assert_eq!(done.stderr.matches("reading it again").count(), 1, "{}", done.stderr);
}

#[test]
fn eight_concurrent_builds_with_dnf_5_fetch_every_package_once() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let (stage, server) = served(|_, _| Answer::File);
    let recipe = stage.recipe(RECIPE);
    let builds: Vec<_> = (0..8)
        .map(|n| {
            // Each build has its own tree of the other release; only the cache is shared.
            let scratch = stage.path().join(format!("machine{n}"));
            std::fs::create_dir(&scratch).unwrap();
            let run = Machine::Dnf5
                .osimg_in(&stage, &scratch, &["build"])
                .arg(&recipe)
                .arg("--settings")
                .arg(stage.repo().join("settings.toml"));
            run.arg("--cache")
                .arg(stage.cache())
                .arg("--workdir")
                .arg(stage.work())
                .arg("--output")
                .arg(stage.out().join(format!("{n}.tar")))
                .start()
        })
        .collect();
    for build in builds {
        let done = build.wait();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    let packages: Vec<String> =
        server.requests().into_iter().filter(|path| path.ends_with(".rpm")).collect();
    assert_eq!(packages.len(), 2, "{packages:?}");
}
