//! Metadata that are damaged or lack a required signature. Every package manager gives the same
//! exit code and the same reason.

use crate::machines::both;
use crate::server::{Answer, Server};
use crate::stage::{Stage, sh};
use crate::support::repo::{Package, Repo};

const RECIPE: &str = "group install tools\nts run\n";

fn repository(repo: Repo) -> Repo {
    repo.package(Package::named("hello").requires_first("base").file(
        "/usr/share/hello",
        "hello\n",
        0o644,
        "root:root",
    ))
    .group("tools", "Tools", &["hello"])
}

/// A type of metadata, the text that replaces them, the recipe, and required texts of the message.
type Damage = (&'static str, &'static str, &'static str, &'static [&'static str]);

const DAMAGED: &[Damage] = &[
    (
        "group",
        "<comps><group><id>tools</id><name>To",
        RECIPE,
        &["groups (comps) of repository 'tiny'"],
    ),
    ("group", "", RECIPE, &["groups (comps) of repository 'tiny'"]),
    (
        "group",
        "<comps><group><id>tools</id><name>Tools</name><packagelist><packagereq \
         type=\"required\">hello</packagereq></packagelist></group></comps>",
        RECIPE,
        &["repository 'tiny'", "group 'tools'", "unknown type 'required'"],
    ),
    (
        "modules",
        "---\ndocument: modulemd\nversion: 2\ndata: [\n",
        "install hello\nts run\n",
        &["tiny", "module"],
    ),
    (
        "primary",
        "<metadata><package type=\"rpm\"><name>he",
        "install hello\nts run\n",
        &["tiny", "primary"],
    ),
];

#[test]
fn damaged_metadata_are_a_repository_error_that_names_the_repository() {
    let machines = both();
    for (kind, text, recipe, words) in DAMAGED {
        let stage = Stage::new(repository);
        stage.write(kind, text);
        let remove = format!(
            "for t in {kind} {kind}_gz; do modifyrepo_c --remove $t repo/repodata >/dev/null; done"
        );
        sh(stage.path(), &format!("{remove}; modifyrepo_c --mdtype={kind} {kind} repo/repodata"));
        for machine in &machines {
            let done = machine.fails(&stage, recipe, 5);
            done.reports(words).reports(&["hint: "]).does_not_report(&["on this host", "Error:"]);
        }
    }
}

#[test]
fn an_unknown_member_type_matters_only_in_groups_that_a_recipe_names() {
    for machine in both() {
        let stage = Stage::new(repository);
        sh(
            stage.path(),
            "sed -i 's|</comps>|<group><id>odd</id><name>Odd</name><packagelist><packagereq \
             type=\"required\">hello</packagereq></packagelist></group></comps>|' repo/comps.xml; \
             cd repo; createrepo_c --quiet --no-database -g comps.xml .",
        );
        assert_eq!(machine.packages(&stage, RECIPE), ["base-1.0", "hello-1.0"]);
        machine
            .fails(&stage, "group install odd\nts run\n", 5)
            .reports(&["group 'odd'", "'required'"]);
    }
}

#[test]
fn missing_and_wrong_signatures_of_metadata_are_trust_errors() {
    let machines = both();
    let stage = Stage::new(repository);
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    for address in ["./".to_owned(), server.url()] {
        stage.settings(|settings| {
            settings.baseurl = format!("{address}\"\nsigned_metadata = true\nname = \"tiny")
        });
        for machine in &machines {
            sh(stage.path(), "rm -f repo/repodata/repomd.xml.asc");
            machine
                .fails(&stage, RECIPE, 6)
                .reports(&["repomd.xml.asc", "hint: signed_metadata requires"])
                .does_not_report(&["network", "trying again"]);
            sh(stage.path(), "echo nothing > repo/repodata/repomd.xml.asc");
            machine.fails(&stage, RECIPE, 6).reports(&["hint: signed_metadata requires"]);
        }
    }
}

#[test]
fn a_wrong_checksum_is_a_trust_error_from_a_server_and_from_a_disk() {
    let machines = both();
    for name in ["Packages/hello-1.0-1.noarch.rpm", "repodata/*-primary.xml.gz"] {
        let stage = Stage::new(repository);
        sh(
            stage.path(),
            &format!(
                "f=$(ls repo/{name}); printf x | dd of=$f bs=1 seek=$(($(stat -c %s $f) - 20)) \
                 conv=notrunc status=none"
            ),
        );
        let server = Server::start(stage.repo(), |_, _| Answer::File);
        for address in ["./".to_owned(), server.url()] {
            stage.settings(|settings| settings.baseurl = address);
            for machine in &machines {
                machine
                    .fails(&stage, RECIPE, 6)
                    .reports(&["hint: packages or metadata"])
                    .does_not_report(&["trying again in"]);
            }
        }
    }
}
