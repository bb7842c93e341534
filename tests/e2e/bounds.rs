//! Servers that send more than a repository needs. The data does not fill the cache, and the
//! message names the repository.

use crate::server::{Answer, Server, hello, served};
use crate::stage::Stage;
use crate::support::repo::bomb;
use crate::support::require_root;
use std::path::Path;

const RECIPE: &str = "install hello\nts run\n";

/// The disk space that a directory uses, in bytes.
fn disk_usage(directory: &Path) -> u64 {
    let files = walkdir::WalkDir::new(directory)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// Builds with the server. The build must stop with this message and leave the cache small.
fn is_stopped(stage: &Stage, part: &str) {
    let done = stage.build(RECIPE).fails(5);
    done.reports(&["'tiny'", part, "hint: "]).does_not_report(&["trying again"]);
    assert!(
        disk_usage(&stage.cache()) < 64 << 20,
        "{} bytes are left in the cache",
        disk_usage(&stage.cache())
    );
    stage.nothing_is_left();
}

#[test]
fn an_endless_index_is_stopped() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(|path, _| if path.ends_with("repomd.xml") { Answer::Flood } else { Answer::File });
    is_stopped(&stage, "repomd.xml is larger than the limit of 16");
}

#[test]
fn an_endless_list_of_mirrors_is_stopped() {
    if !require_root() {
        return;
    }
    for key in ["mirrorlist", "metalink"] {
        let (stage, server) = served(|path, _| match path {
            "list" => Answer::Flood,
            _ => Answer::File,
        });
        std::fs::write(stage.repo().join("list"), "# mirrors\n").unwrap();
        stage.settings(|settings| settings.baseurl = format!("{}list", server.url()));
        let settings = stage.repo().join("settings.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        std::fs::write(&settings, text.replace("baseurl =", &format!("{key} ="))).unwrap();
        let began = std::time::Instant::now();
        is_stopped(&stage, "larger than the limit of 16");
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{key}");
    }
}

#[test]
fn endless_metadata_are_stopped_by_the_size_that_the_index_announces() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(|path, _| if path.contains("primary") { Answer::Flood } else { Answer::File });
    is_stopped(&stage, "primary.xml");
}

#[test]
fn an_endless_package_is_stopped_by_the_size_that_the_metadata_announce() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(|path, _| if path.contains("hello-1.0") { Answer::Flood } else { Answer::File });
    is_stopped(&stage, "hello-1.0-1.noarch.rpm");
}

#[test]
fn metadata_and_groups_that_unpack_to_more_than_memory_are_named() {
    if !require_root() {
        return;
    }
    let package = "<package type=\"rpm\"><name>x</name><arch>noarch</arch><version epoch=\"0\" \
                   ver=\"1\" rel=\"1\"/><description>";
    let head = format!(
        "<metadata xmlns=\"http://linux.duke.edu/metadata/common\" packages=\"1\">{package}"
    );
    for (kind, head, recipe) in [
        ("primary", head.as_str(), RECIPE),
        ("group_gz", "<comps>", "group install core\nts run\n"),
    ] {
        let stage = hello();
        bomb(&stage.repo(), kind, head);
        let server = Server::start(stage.repo(), |_, _| Answer::File);
        stage.settings(|settings| settings.baseurl = server.url());
        // A test machine may have less memory than the limit.
        let done = stage.build(recipe).behind(&["prlimit", "--data=1000000000"]).fails(5);
        done.reports(&["'tiny'", "bomb.xml.gz unpacks to more than", "hint: "])
            .does_not_report(&["trying again"]);
        stage.nothing_is_left();
    }
}

#[test]
fn an_endless_download_of_unknown_size_leaves_space_on_the_cache_s_file_system() {
    if !require_root() {
        return;
    }
    let (stage, server) =
        served(|path, _| if path.contains("hello-1.0") { Answer::Flood } else { Answer::File });
    let recipe = format!("install {}Packages/hello-1.0-1.noarch.rpm\nts run\n", server.url());
    let script = format!(
        "mount -t tmpfs -o mode=0755,size=400m none {0}; set +e; \"$@\"; code=$?; df \
         --output=avail -k {0} | tail -1; exit $code",
        stage.cache().display()
    );
    let done = stage.build(&recipe).behind(&["unshare", "-m", "sh", "-ec", &script, "sh"]).run();
    assert!(matches!(done.code, Some(5 | 8)), "{}", done.stderr);
    done.reports(&["hint: "]).does_not_report(&["panicked"]);
    assert!(done.stdout.trim().parse::<u64>().unwrap() > 10 << 10, "{}", done.stdout);
}
