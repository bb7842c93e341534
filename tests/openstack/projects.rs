//! A cloud with several projects: no verb removes, hides or silently prefers images of another
//! project.

use crate::servers::{Api, IMAGES, Servers};
use crate::sets::{Files, fails, messages, succeeds};
use crate::support::terminal::answering_at_terminal;
use serde_json::{Value, json};
use std::process::{Output, Stdio};

/// Two projects that have a set with the same name, each with its own tarball.
struct Projects {
    servers: &'static Servers,
    files: Files,
}

impl Projects {
    fn open(name: &str) -> Option<Self> {
        Servers::shared(IMAGES).map(|servers| Self { servers, files: Files::new(name) })
    }

    /// Publishes for a cloud's project and returns the references.
    fn publish(&self, cloud: &str, more: &[&str]) -> Value {
        let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
        let output = self.files.publish(self.servers, &self.servers.clouds_yaml(), cloud, &more);
        succeeds(&output);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Runs `osimg images` on this name, without a terminal.
    fn images(&self, cloud: &str, more: &[&str]) -> Output {
        let registry = format!("glance:{cloud}");
        let mut command =
            self.servers.osimg(&["images", "--registry", &registry, "--name", &self.files.name]);
        command.args(more).stdin(Stdio::null()).output().unwrap()
    }

    fn api(&self, cloud: &str) -> Api {
        Api::login(self.servers, cloud)
    }

    fn exists(&self, cloud: &str, image: &str) -> bool {
        self.api(cloud).image(image)["status"] == "active"
    }
}

fn tarball(references: &Value) -> String {
    references["tarball"]["id"].as_str().unwrap().to_owned()
}

fn piece<'a>(references: &'a Value, role: &str) -> &'a str {
    references[role]["id"].as_str().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", messages(output)))
}

#[test]
fn pruning_as_an_administrator_removes_only_images_of_the_own_project() {
    let Some(all) = Projects::open("prune") else { return };
    let theirs: Vec<String> =
        ["private", "private", "community"]
            .iter()
            .zip(["0", "1", "2"])
            .map(|(visibility, version)| {
                tarball(&all.publish(
                    "osimg-demo",
                    &["--visibility", visibility, "--image-version", version],
                ))
            })
            .collect();
    let old = tarball(&all.publish("osimg", &["--visibility", "private", "--image-version", "3"]));
    // `--older` removes and hides only images of the own project.
    let new =
        all.publish("osimg", &["--visibility", "private", "--image-version", "4", "--older", "1"]);
    assert_eq!(new["retired"].as_array().map(|ids| ids.contains(&json!(old))), Some(true), "{new}");
    let hidden = all
        .publish("osimg", &["--visibility", "private", "--image-version", "5", "--older", "hide"]);
    assert_eq!(hidden["retired"], json!([tarball(&new)]), "{hidden}");
    let pruned = all.images("osimg", &["--prune", "1", "--json"]);
    succeeds(&pruned);
    assert!(all.exists("osimg", &tarball(&hidden)) && !all.exists("osimg", &tarball(&new)));
    for id in &theirs {
        assert!(all.exists("osimg-demo", id), "{}", messages(&pruned));
        assert_eq!(all.api("osimg-demo").image(id)["os_hidden"], false);
    }
    // Another project may still be uploading an unfinished image.
    let body =
        json!({ "name": all.files.name, "osimg_role": "tarball", "osimg_name": all.files.name });
    let (status, queued) = all.api("osimg-demo").call("POST", "image", "/v2/images", Some(&body));
    assert_eq!(status, 201, "{queued}");
    succeeds(&all.images("osimg", &["--prune", "1"]));
    assert_eq!(all.api("osimg-demo").image(queued["id"].as_str().unwrap())["status"], "queued");

    // With --all-projects they are listed, and nothing is removed without a confirmation.
    let asked = all.images("osimg", &["--prune", "1", "--all-projects"]);
    fails(&asked, 2, &["there is no terminal for the question", "--yes", &theirs[0]]);
    assert!(all.exists("osimg-demo", &theirs[0]));
    assert_eq!(
        all.images("osimg", &["--all-projects"]).status.code(),
        Some(2),
        "only with --prune or --remove"
    );
    for answer in ["no", ""] {
        let arguments = [
            "images",
            "--registry",
            "glance:osimg",
            "--name",
            &all.files.name,
            "--prune",
            "1",
            "--all-projects",
        ];
        let (status, written) = answering_at_terminal(all.servers.osimg(&arguments), answer);
        let written = String::from_utf8_lossy(&written).into_owned();
        assert!(
            status == Some(2) && written.contains(&theirs[0]) && written.contains("Type yes"),
            "{written}"
        );
        assert!(all.exists("osimg-demo", &theirs[0]));
    }
    let confirmed = all.images("osimg", &["--prune", "1", "--all-projects", "--yes", "--json"]);
    succeeds(&confirmed);
    assert!(
        json_of(&confirmed)["removed"].as_array().unwrap().contains(&json!(theirs[0])),
        "{}",
        messages(&confirmed)
    );
    assert!(!all.exists("osimg-demo", &theirs[0]));
    // Lists do not contain community images of others.
    assert!(all.exists("osimg-demo", &theirs[1]) && all.exists("osimg-demo", &theirs[2]));
    succeeds(&all.images("osimg", &["--remove", &tarball(&hidden)]));
    succeeds(&all.images("osimg-demo", &["--remove", &theirs[1], "--remove", &theirs[2]]));
    assert_eq!(all.files.left(&all.api("osimg-demo")), []);
}

#[test]
fn an_image_of_another_project_is_removed_only_on_request_and_the_others_all_the_same() {
    let Some(all) = Projects::open("remove") else { return };
    let theirs = tarball(&all.publish("osimg-demo", &["--visibility", "private"]));
    let own = tarball(&all.publish("osimg", &["--visibility", "private", "--image-version", "2"]));
    let output = all.images(
        "osimg",
        &["--remove", &theirs, "--remove", "no-such-image", "--remove", &own, "--json"],
    );
    fails(
        &output,
        9,
        &["2 images stay", "it belongs to another project", "--all-projects", "no-such-image: "],
    );
    let parts = json_of(&output);
    let kept: Vec<&str> =
        parts["kept"].as_array().unwrap().iter().map(|kept| kept["id"].as_str().unwrap()).collect();
    assert_eq!(kept, [theirs.as_str(), "no-such-image"]);
    assert!(parts["removed"].as_array().unwrap().contains(&json!(own)), "{parts}");
    assert!(all.exists("osimg-demo", &theirs) && !all.exists("osimg", &own));
    // Images that the roles do not allow to remove are named too.
    let arguments = ["images", "--registry", "glance:osimg", "--remove", &theirs, "--all-projects"];
    let (status, written) = answering_at_terminal(all.servers.osimg(&arguments), "yes");
    assert_eq!(status, Some(0), "{}", String::from_utf8_lossy(&written));
    assert!(!all.exists("osimg-demo", &theirs));
    let public = tarball(&all.publish("osimg", &["--image-version", "3"]));
    let own =
        tarball(&all.publish("osimg-demo", &["--visibility", "private", "--image-version", "4"]));
    let output = all.images(
        "osimg-demo",
        &["--remove", &public, "--remove", &own, "--all-projects", "--yes", "--json"],
    );
    fails(&output, 9, &["1 image stays", &public, "403"]);
    assert_eq!(json_of(&output)["kept"][0]["id"], json!(public));
    assert!(all.exists("osimg", &public) && !all.exists("osimg-demo", &own));
}

#[test]
fn a_protected_image_or_boot_piece_is_named_and_the_rest_is_removed() {
    let Some(all) = Projects::open("protected") else { return };
    let protected = all.publish("osimg-demo", &["--protected"]);
    let plain = tarball(&all.publish("osimg-demo", &["--image-version", "2"]));
    let output =
        all.images("osimg-demo", &["--remove", &tarball(&protected), "--remove", &plain, "--json"]);
    fails(&output, 9, &["1 image stays", &tarball(&protected), "it is protected", "--unprotected"]);
    let parts = json_of(&output);
    assert_eq!(
        (&parts["kept"][0]["id"], &parts["removed"][0]),
        (&json!(tarball(&protected)), &json!(plain)),
        "{parts}"
    );
    // The tarball can be removed, its kernel cannot.
    let api = all.api("osimg-demo");
    for role in ["tarball", "ramdisk", "stage2", "kickstart"] {
        let patch = json!([{ "op": "replace", "path": "/protected", "value": false }]);
        assert_eq!(
            api.call(
                "PATCH",
                "image",
                &format!("/v2/images/{}", piece(&protected, role)),
                Some(&patch)
            )
            .0,
            200
        );
    }
    let output = all.images("osimg-demo", &["--remove", &tarball(&protected), "--json"]);
    fails(&output, 9, &[piece(&protected, "kernel"), "it is protected"]);
    for (role, stays) in [
        ("tarball", false),
        ("kernel", true),
        ("ramdisk", false),
        ("stage2", false),
        ("kickstart", false),
    ] {
        assert_eq!(all.exists("osimg-demo", piece(&protected, role)), stays, "{role}");
    }
}

#[test]
fn a_boot_piece_stays_while_an_image_of_any_visibility_names_it() {
    let Some(all) = Projects::open("pieces") else { return };
    let own = all.publish("osimg", &[]);
    let user =
        |role: &str, property: &str, value: &str, visibility: &str, cloud: &str, more: Value| {
            let mut body = json!({ "name": format!("{}-{role}-user", all.files.name),
            "visibility": visibility, property: value });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (status, messages) =
                all.api(cloud).call("POST", "image", "/v2/images", Some(&body));
            assert_eq!(status, 201, "{messages}");
            messages["id"].as_str().unwrap().to_owned()
        };
    let template = format!("glance://{}", piece(&own, "kickstart"));
    user("kernel", "kernel_id", piece(&own, "kernel"), "community", "osimg-demo", json!({}));
    user(
        "ramdisk",
        "ramdisk_id",
        piece(&own, "ramdisk"),
        "private",
        "osimg-other",
        json!({ "os_hidden": true }),
    );
    user("kickstart", "ks_template", &template, "shared", "osimg-demo", json!({}));
    let output = all.images("osimg", &["--remove", &tarball(&own), "--json"]);
    succeeds(&output);
    for (role, stays) in [
        ("tarball", false),
        ("kernel", true),
        ("ramdisk", true),
        ("stage2", false),
        ("kickstart", true),
    ] {
        assert_eq!(all.exists("osimg", piece(&own, role)), stays, "{role}: {}", messages(&output));
    }
}

#[test]
fn publishing_the_bytes_of_another_projects_image_does_not_change_that_image() {
    let Some(all) = Projects::open("reuse") else { return };
    let public = all.publish("osimg", &["--hidden"]);
    let reused = all.publish("osimg-demo", &["--visibility", "auto"]);
    assert_eq!(
        (tarball(&reused), &reused["tarball"]["made"]),
        (tarball(&public), &json!("reused"))
    );
    assert_eq!(all.api("osimg").image(&tarball(&public))["os_hidden"], true);
}

#[test]
fn a_name_that_several_owners_have_is_deployed_only_with_the_owner_chosen() {
    let Some(all) = Projects::open("owners") else { return };
    let name = format!("{}-1", all.files.name);
    let deploy = |cloud: &str, image: &str, more: &[&str]| {
        let mut command =
            all.servers.osimg(&["deploy", image, "--cloud", cloud, "--no-check", "--json"]);
        command.args(more).output().unwrap()
    };
    let source = |output: &Output| {
        json_of(output)["settings"]["instance_info"]["image_source"].as_str().unwrap().to_owned()
    };
    let own = tarball(&all.publish("osimg", &["--visibility", "private"]));
    let deployed = deploy("osimg", &name, &[]);
    succeeds(&deployed);
    assert_eq!(source(&deployed), own);
    let theirs = tarball(&all.publish("osimg-demo", &["--visibility", "private"]));
    let (admin, demo) = (all.api("osimg").project, all.api("osimg-demo").project);
    let created = all.api("osimg").image(&theirs)["created_at"].as_str().unwrap().to_owned();
    let output = deploy("osimg", &name, &[]);
    let parts =
        ["2 owners", &own, &theirs, "(the own project)", &demo, "private", &created, "--owner"];
    fails(&output, 9, &parts);
    for (owner, id) in
        [("admin", &own), (admin.as_str(), &own), ("demo", &theirs), (demo.as_str(), &theirs)]
    {
        let chosen = deploy("osimg", &name, &["--owner", owner]);
        succeeds(&chosen);
        assert_eq!(&source(&chosen), id, "{owner}");
    }
    // The member sees only its own image. An id needs no owner, but must not contradict it.
    for more in [&[][..], &["--owner", "demo"], &["--owner", &demo]] {
        let output = deploy("osimg-demo", &name, more);
        succeeds(&output);
        assert_eq!(source(&output), theirs);
    }
    fails(
        &deploy("osimg-demo", &name, &["--owner", "admin"]),
        9,
        &["may not list projects", "--owner ID"],
    );
    fails(
        &deploy("osimg", &name, &["--owner", "other"]),
        9,
        &["no active one of that name of the project"],
    );
    fails(&deploy("osimg", &name, &["--owner", "nobody-there"]), 9, &["none of that name"]);
    assert_eq!(source(&deploy("osimg", &theirs, &[])), theirs);
    assert_eq!(deploy("osimg", &theirs, &["--owner", "admin"]).status.code(), Some(9));
    // Anyone can give a community image any name. So the name alone never selects it; the name
    // with its owner does.
    let community = tarball(&all.publish("osimg-other", &["--visibility", "community"]));
    fails(&deploy("osimg", &name, &[]), 9, &["2 owners"]);
    assert_eq!(source(&deploy("osimg", &name, &["--owner", "other"])), community);
}
