//! Networks and servers that fail during publishing: the set is published completely, or nothing of
//! it is left.

use crate::proxy::{Fault, Proxy, is_upload};
use crate::servers::{Api, IMAGES, Servers};
use crate::sets::{Files, SIZE, clouds, fails, messages, succeeds};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Publishes through a proxy as a project member. Returns the output and the images that are left.
fn publish(
    name: &str,
    plan: impl FnMut(&str, &str) -> Fault + Send + 'static,
) -> Option<(std::process::Output, Vec<(String, String)>)> {
    let servers = Servers::shared(IMAGES)?;
    let files = Files::new(name);
    let proxy = Proxy::start(servers.port(2), plan);
    let clouds = clouds(servers, files.dir.path(), "osimg-demo", |cloud| {
        cloud["image_endpoint_override"] = proxy.url.clone().into()
    });
    let output = files.publish(servers, &clouds, "osimg-demo", &[]);
    Some((output, files.left(&Api::login(servers, "osimg-demo"))))
}

#[track_caller]
fn is_complete(left: &[(String, String)]) {
    assert_eq!(left.len(), 5, "{left:?}");
    assert!(left.iter().all(|(_, status)| status == "active"), "{left:?}");
}

#[test]
fn a_connection_that_is_cut_once_costs_one_more_attempt() {
    for tenth in 0..10 {
        let mut uploads = 0;
        let cut = publish(&format!("cut-once-{tenth}"), move |method, path| {
            uploads += u32::from(is_upload(method, path));
            // The fifth upload is that of the tarball.
            if is_upload(method, path) && uploads == 5 {
                Fault::Cut(SIZE as u64 * tenth / 10)
            } else {
                Fault::Pass
            }
        });
        let Some((output, left)) = cut else { return };
        succeeds(&output);
        assert!(messages(&output).contains("made again"), "{}", messages(&output));
        is_complete(&left);
    }
}

#[test]
fn a_connection_that_is_always_cut_leaves_nothing() {
    for tenth in [0, 5, 9] {
        let cut = publish(&format!("cut-always-{tenth}"), move |method, path| {
            if is_upload(method, path) { Fault::Cut(40_000 * tenth / 10) } else { Fault::Pass }
        });
        let Some((output, left)) = cut else { return };
        fails(&output, 9, &["uploading", "is the service running?"]);
        assert_eq!(left, []);
    }
}

#[test]
fn a_burst_of_503_responses_is_retried() {
    let mut calls = 0;
    let Some((output, left)) = publish("burst", move |method, _| {
        calls += 1;
        if method != "PUT" && calls % 3 != 0 { Fault::Answer(503) } else { Fault::Pass }
    }) else {
        return;
    };
    succeeds(&output);
    is_complete(&left);
}

#[test]
fn a_service_that_always_responds_503_is_named_and_nothing_is_left() {
    let Some((output, left)) =
        publish(
            "down",
            |method, path| if is_upload(method, path) { Fault::Answer(503) } else { Fault::Pass },
        )
    else {
        return;
    };
    fails(&output, 9, &["503", "uploading"]);
    assert_eq!(left, []);
}

#[test]
fn an_upload_limit_of_a_proxy_is_distinguished_from_a_quota() {
    let mut uploads = 0;
    let Some((output, left)) = publish("limit", move |method, path| {
        uploads += u32::from(is_upload(method, path));
        if is_upload(method, path) && uploads == 5 { Fault::Answer(413) } else { Fault::Pass }
    }) else {
        return;
    };
    fails(&output, 9, &["413", "client_max_body_size"]);
    assert_eq!(left, [], "images made before the refusal are removed again");
}

#[test]
fn an_upload_that_is_altered_in_transit_is_found_by_its_digest_and_removed() {
    let Some((output, left)) =
        publish(
            "change",
            |method, path| if is_upload(method, path) { Fault::Change } else { Fault::Pass },
        )
    else {
        return;
    };
    fails(&output, 6, &["what arrived is not what was sent"]);
    assert_eq!(left, []);
}

#[test]
fn a_lost_response_to_the_creation_makes_no_second_image() {
    let mut created = 0;
    let Some((output, left)) = publish("lost", move |method, path| {
        let creation = method == "POST" && path == "/v2/images";
        created += u32::from(creation);
        if creation && created == 1 { Fault::Lose } else { Fault::Pass }
    }) else {
        return;
    };
    succeeds(&output);
    is_complete(&left);
}

#[test]
fn an_image_that_is_removed_in_the_meantime_is_created_again() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let api = Arc::new(Mutex::new(Api::login(servers, "osimg-demo")));
    let mut uploads = 0;
    let Some((output, left)) = publish("gone", move |method, path| {
        uploads += u32::from(is_upload(method, path));
        if !is_upload(method, path) || uploads != 2 {
            return Fault::Pass;
        }
        let (api, path) = (Arc::clone(&api), path.trim_end_matches("/file").to_owned());
        Fault::Then(
            0,
            Box::new(move || drop(api.lock().unwrap().call("DELETE", "image", &path, None))),
        )
    }) else {
        return;
    };
    succeeds(&output);
    assert!(messages(&output).contains("made again"), "{}", messages(&output));
    is_complete(&left);
}

#[test]
fn an_image_that_another_client_fills_first_is_created_again() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let api = Api::login(servers, "osimg-demo");
    let mut uploads = 0;
    let Some((output, left)) = publish("filled", move |method, path| {
        uploads += u32::from(is_upload(method, path));
        if is_upload(method, path) && uploads == 5 {
            // Our upload is next, and Glance answers 409.
            assert_eq!(api.call("PUT", "image", path, Some(&"other bytes".into())).0, 204);
        }
        Fault::Pass
    }) else {
        return;
    };
    succeeds(&output);
    assert!(
        messages(&output).contains("409") && messages(&output).contains("made again"),
        "{}",
        messages(&output)
    );
    is_complete(&left);
}

#[test]
fn a_permanent_conflict_is_reported_and_nothing_is_left() {
    type Matcher = fn(&str, &str) -> bool;
    let cases: [(&str, Matcher, &str); 2] = [
        (
            "conflict-create",
            |method, path| method == "POST" && path == "/v2/images",
            "creating the image",
        ),
        ("conflict-upload", is_upload, "uploading"),
    ];
    for (name, met, doing) in cases {
        let refused =
            publish(
                name,
                move |method, path| {
                    if met(method, path) { Fault::Answer(409) } else { Fault::Pass }
                },
            );
        let Some((output, left)) = refused else { return };
        fails(&output, 9, &["409", doing]);
        assert_eq!(left, [], "{name}");
    }
}

#[test]
fn the_removal_of_a_reused_piece_in_the_meantime_is_noticed() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    let files = Files::new("vanish");
    let output = files.publish(servers, &servers.clouds_yaml(), "osimg-demo", &["--json"]);
    succeeds(&output);
    let first: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The next version reuses the kernel. It is removed while the tarball is being uploaded.
    let kernel = first["kernel"]["id"].as_str().unwrap().to_owned();
    let api = Arc::new(Mutex::new(Api::login(servers, "osimg-demo")));
    let proxy = Proxy::start(servers.port(2), move |method, path| {
        let (api, path_of_kernel) = (Arc::clone(&api), format!("/v2/images/{kernel}"));
        if is_upload(method, path) {
            Fault::Then(
                0,
                Box::new(move || {
                    drop(api.lock().unwrap().call("DELETE", "image", &path_of_kernel, None))
                }),
            )
        } else {
            Fault::Pass
        }
    });
    let clouds = clouds(servers, files.dir.path(), "osimg-demo", |cloud| {
        cloud["image_endpoint_override"] = proxy.url.clone().into()
    });
    let output = files.publish(servers, &clouds, "osimg-demo", &["--image-version", "2", "--json"]);
    succeeds(&output);
    assert!(messages(&output).contains("begins again"), "{}", messages(&output));
    let second: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let api = Api::login(servers, "osimg-demo");
    for role in ["kernel", "ramdisk", "stage2", "kickstart", "tarball"] {
        let id = second[role]["id"].as_str().unwrap();
        assert_eq!(api.image(id)["status"], "active", "{role}");
    }
    assert_eq!(files.left(&api).iter().filter(|(name, _)| name.ends_with("-2")).count(), 1);
}

#[test]
fn ctrl_c_in_the_middle_of_an_upload_leaves_nothing() {
    let Some(servers) = Servers::shared(IMAGES) else { return };
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let files = Files::new("stopped");
        let (reached, stalled) = std::sync::mpsc::channel();
        let mut uploads = 0;
        let proxy = Proxy::start(servers.port(2), move |method, path| {
            uploads += u32::from(is_upload(method, path));
            if is_upload(method, path) && uploads == 5 {
                let _ = reached.send(());
                return Fault::Stall;
            }
            Fault::Pass
        });
        let clouds = clouds(servers, files.dir.path(), "osimg-demo", |cloud| {
            cloud["image_endpoint_override"] = proxy.url.clone().into()
        });
        let mut command = files.command(servers, &clouds, "osimg-demo", &[]);
        let osimg = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        stalled.recv_timeout(Duration::from_secs(60)).unwrap();
        let began = Instant::now();
        kill(Pid::from_raw(osimg.id().cast_signed()), signal).unwrap();
        let output = osimg.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", messages(&output));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(files.left(&Api::login(servers, "osimg-demo")), []);
    }
}

#[test]
fn a_server_that_is_killed_is_reported_with_the_images_it_still_has() {
    let Some(servers) = Servers::separate("glance-noauth", &[]) else { return };
    let files = Files::new("killed");
    let pid = servers.pid("glance-noauth");
    let mut uploads = 0;
    let proxy = Proxy::start(servers.port(4), move |method, path| {
        uploads += u32::from(is_upload(method, path));
        if is_upload(method, path) && uploads == 5 {
            return Fault::Then(
                SIZE as u64 / 2,
                Box::new(move || kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap()),
            );
        }
        Fault::Pass
    });
    let clouds = clouds(&servers, files.dir.path(), "osimg-noauth", |cloud| {
        cloud["image_endpoint_override"] = proxy.url.clone().into()
    });
    let output = files.publish(&servers, &clouds, "osimg-noauth", &[]);
    fails(&output, 9, &["is left in Glance", "image delete"]);
}

#[test]
fn a_disk_full_on_the_server_leaves_nothing() {
    let Some(servers) = Servers::separate("glance-noauth", &[]) else { return };
    let files = Files::new("full");
    // No file of the service may grow beyond this: the store's write fails as on a full disk.
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &servers.pid("glance-noauth").to_string(), "--fsize=600000"])
        .status()
        .unwrap();
    assert!(limited.success());
    let output = files.publish(&servers, &servers.clouds_yaml(), "osimg-noauth", &[]);
    fails(&output, 9, &["uploading"]);
    assert_eq!(files.left(&Api::login(&servers, "osimg-noauth")), []);
}
