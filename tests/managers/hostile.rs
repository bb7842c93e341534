//! Hostile packages and servers with dnf 5: the limits are the same as with dnf 4.

use crate::machines::Machine;
use crate::server::{Answer, Server, hello, served};
use crate::stage::Stage;
use crate::support::breakout;
use crate::support::repo::bomb;

#[test]
fn with_dnf_5_a_scriptlet_that_leaves_the_chroot_cannot_change_the_shared_cache() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(breakout::package()));
    Machine::Dnf5.build(&stage, "install shell\nts run\n").succeeds();
    let shared =
        [stage.cache(), stage.repo()].map(|directory| (breakout::snapshot(&directory), directory));
    Machine::Dnf5.build(&stage, "install breakout\nts run\n").succeeds();
    breakout::judge(&stage.content(breakout::REPORT));
    shared.iter().for_each(|(before, directory)| breakout::unchanged(before, directory));
}

/// Builds with dnf 5 from a server that sends endless data for names that contain `part`.
fn is_stopped(part: &'static str) {
    let (stage, _server) =
        served(move |path, _| if path.contains(part) { Answer::Flood } else { Answer::File });
    let cache = stage.cache();
    Machine::Dnf5
        .fails(&stage, "install hello\nts run\n", 5)
        .reports(&["'tiny'", part, "hint: "])
        .does_not_report(&["trying again"]);
    let files = walkdir::WalkDir::new(&cache)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    let used: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!(used < 64 << 20, "{used} bytes are left in the cache");
}

#[test]
fn with_dnf_5_an_endless_index_endless_metadata_and_an_endless_package_are_stopped() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    ["repomd.xml", "primary.xml", "hello-1.0-1.noarch.rpm"].into_iter().for_each(is_stopped);
}

#[test]
fn with_dnf_5_metadata_that_unpack_to_more_than_memory_are_named() {
    if !Machine::Dnf5.is_available() {
        return;
    }
    let stage = hello();
    let package = "<package type=\"rpm\"><name>x</name><arch>noarch</arch><version epoch=\"0\" \
                   ver=\"1\" rel=\"1\"/><description>";
    bomb(
        &stage.repo(),
        "primary",
        &format!(
            "<metadata xmlns=\"http://linux.duke.edu/metadata/common\" packages=\"1\">{package}"
        ),
    );
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    let done = Machine::Dnf5
        .build(&stage, "install hello\nts run\n")
        .behind(&["prlimit", "--data=1000000000"])
        .fails(5);
    done.reports(&["'tiny'", "bomb.xml.gz unpacks to more than", "hint: "])
        .does_not_report(&["trying again"]);
}
