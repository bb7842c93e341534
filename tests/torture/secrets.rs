//! Canaries in everything that holds a secret. None may appear in messages, records or the image.

use crate::stage::{Done, Stage, sh};
use crate::support::repo::{Package, When};
use crate::support::require_root;
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CANARY: &str = "c4n4ry-s3cr3t";

/// Python's server of a directory. It requires no password, but receives one.
struct Server(Child, u16);

impl Server {
    fn start(stage: &Stage) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("python3");
        command
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
            .current_dir(stage.repo());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Before the wait, so that the server is ended even if it is never reached.
        let server = Self(child, port);
        crate::stage::wait_until("the server", Duration::from_secs(60), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fails if the canary is in the output, or in any file of the output directory or the tarball.
fn is_nowhere(stage: &Stage, done: &Done, case: &str) {
    for (stream, text) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
        assert!(!text.contains(CANARY), "{case}: on {stream}: {text}");
    }
    for (name, content) in stage.files(&stage.out()) {
        assert!(!String::from_utf8_lossy(&content).contains(CANARY), "{case}: in {name}");
    }
    if stage.image().exists() {
        let found = sh(&stage.out(), &format!("zcat image.tgz | grep -ac {CANARY} || true"));
        assert_eq!(found.trim(), "0", "{case}: in the image");
    }
}

fn stage() -> Stage {
    Stage::new(|repo| {
        repo.package(Package::named("nosy").scriptlet(
            When::Post,
            "exec > /etc/seen 2>&1; busybox env; busybox cat /proc/*/environ /proc/*/cmdline; cat \
             /osimg/* /etc/dnf/* /etc/yum.repos.d/*; busybox grep -r c4n4ry /etc /var /tmp /run \
             /osimg; true",
        ))
    })
}

const RECIPE: &str = "install nosy\nts run\n";

#[test]
fn no_secret_of_settings_or_environment_is_printed_recorded_or_shown_to_scriptlets() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let server = Server::start(&stage);
    let password = stage.write("password", format!("{CANARY}-in-a-file\n"));
    stage.write("key.pem", format!("{CANARY}-private-key\n"));
    stage.settings(|settings| {
        settings.baseurl = format!(
            "http://127.0.0.1:{}/\"\nusername = \"ann\"\npassword_file = \"{}",
            server.1,
            password.display()
        );
    });
    let environment = [
        ("OS_PASSWORD", format!("{CANARY}-password")),
        ("GITHUB_TOKEN", format!("{CANARY}-token")),
        ("AWS_SECRET_ACCESS_KEY", format!("{CANARY}-key")),
        ("no_proxy", "127.0.0.1".to_owned()),
        ("https_proxy", format!("http://ann:{CANARY}-proxy@127.0.0.1:9")),
    ];
    for words in [&["-v"] as &[&str], &["-v", "--json"]] {
        let run =
            environment.iter().fold(stage.build(RECIPE), |run, (name, value)| run.env(name, value));
        let done = run.args(words).run();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        is_nowhere(&stage, &done, "a build that succeeds");
        let seen = sh(
            &stage.out(),
            &format!("tar -xzOf image.tgz ./etc/seen | grep -ac {CANARY} || true"),
        );
        assert_eq!(seen.trim(), "0", "a scriptlet sees a secret");
    }
    // Download errors mention addresses and proxies.
    for baseurl in
        [format!("http://127.0.0.1:{}/missing/", server.1), "https://127.0.0.1:9/".to_owned()]
    {
        stage.settings(|settings| {
            settings.baseurl = format!(
                "{baseurl}\"\nusername = \"ann\"\npassword_file = \"{}",
                password.display()
            );
        });
        let run =
            environment.iter().fold(stage.build(RECIPE), |run, (name, value)| run.env(name, value));
        let done = run.arg("-v").run();
        assert_eq!(done.code, Some(5), "{}", done.stderr);
        is_nowhere(&stage, &done, &baseurl);
    }
}

#[test]
fn a_password_in_an_address_is_refused_without_being_repeated() {
    if !require_root() {
        return;
    }
    let stage = stage();
    for name in ["baseurl", "proxy"] {
        stage.settings(|settings| {
            settings.baseurl = match name {
                "baseurl" => format!("https://ann:{CANARY}@127.0.0.1/"),
                _ => format!("./\"\nproxy = \"http://ann:{CANARY}@127.0.0.1:3128"),
            };
        });
        for verb in ["build", "plan"] {
            let settings = stage.repo().join("settings.toml");
            let done = stage
                .osimg(crate::stage::OSIMG, &[verb])
                .arg(stage.recipe(RECIPE))
                .arg("--settings")
                .arg(settings)
                .run();
            assert_eq!(done.code, Some(3), "{}", done.stderr);
            done.reports(&["password_file"]);
            is_nowhere(&stage, &done, name);
        }
    }
    stage.settings(|_| {});
    let done =
        stage.build(RECIPE).arg("--repo").arg(format!("x=https://ann:{CANARY}@127.0.0.1/")).run();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    is_nowhere(&stage, &done, "--repo");
}

#[test]
fn parameters_of_a_mirror_list_are_not_repeated() {
    if !require_root() {
        return;
    }
    let stage = stage();
    let settings = fs::read_to_string(stage.repo().join("settings.toml")).unwrap();
    let list = format!("mirrorlist = \"http://127.0.0.1:9/list?arch=x86_64&token={CANARY}\"");
    fs::write(stage.repo().join("settings.toml"), settings.replace("baseurl = \"./\"", &list))
        .unwrap();
    let settings = stage.repo().join("settings.toml");
    let plan = stage
        .osimg(crate::stage::OSIMG, &["plan"])
        .arg(stage.recipe(RECIPE))
        .arg("--settings")
        .arg(&settings)
        .run();
    is_nowhere(&stage, &plan, "plan");
}

#[test]
fn a_secret_that_equals_a_word_of_a_document_does_not_change_it() {
    if !require_root() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(Package::named("plain").requires("base")));
    let server = Server::start(&stage);
    let keys = |text: &str| -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    let recipe = "install plain\nts run\n";
    let password = stage.path().join("password");
    fs::write(&password, "").unwrap();
    stage.settings(|settings| {
        settings.baseurl = format!(
            "http://127.0.0.1:{}/\"\nusername = \"ann\"\npassword_file = \"{}",
            server.1,
            password.display()
        );
    });
    let mut first: Option<(Vec<String>, Vec<String>)> = None;
    // The first secret is harmless; the others are words of the documents.
    for secret in
        ["no-word-of-theirs", "packages", "sha256", "tarballs", "manifest_version", "127.0.0.1"]
    {
        fs::write(&password, secret).unwrap();
        // A variable that osimg does not use. Its value is not a secret of osimg, and it must
        // appear nowhere.
        let run = stage
            .build(recipe)
            .env("DB_PASSWORD", secret)
            .env("https_proxy", &format!("http://u:{secret}@127.0.0.1:9"));
        let done = run.env("no_proxy", "127.0.0.1").args(&["-v", "--json"]).run();
        assert_eq!(done.code, Some(0), "{secret}: {}", done.stderr);
        let manifest = fs::read_to_string(stage.out().join("image.json")).unwrap();
        let spdx = fs::read_to_string(stage.out().join("image.spdx.json")).unwrap();
        for (name, text) in
            [("stdout", &done.stdout), ("the manifest", &manifest), ("the SBOM", &spdx)]
        {
            assert!(!text.contains("***"), "{secret} is concealed in {name}: {text}");
        }
        let found = (keys(&manifest), keys(&done.stdout));
        assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{secret}");
        let digest =
            serde_json::from_str::<serde_json::Value>(&manifest).unwrap()["tarballs"][0]["sha256"]
                .as_str()
                .unwrap()
                .to_owned();
        assert_eq!(digest, stage.digest(), "{secret}");
    }
}

/// A service that answers every request with this status and text, and repeats the request with
/// its secrets.
fn echo(status: &'static str) -> u16 {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The thread ends with the test process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut asked, mut window) = (Vec::new(), [0; 4096]);
            let length = |head: &str| {
                let value = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned)
                });
                value.and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0)
            };
            while let Ok(count @ 1..) = stream.read(&mut window) {
                asked.extend_from_slice(&window[..count]);
                let text = String::from_utf8_lossy(&asked).into_owned();
                if text
                    .split_once("\r\n\r\n")
                    .is_some_and(|(head, body)| body.len() >= length(head))
                {
                    break;
                }
            }
            let body =
                serde_json::json!({ "message": String::from_utf8_lossy(&asked) }).to_string();
            // It does not matter if the client disconnects.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

#[test]
fn a_password_that_a_service_repeats_is_not_printed() {
    let stage = Stage::empty();
    let port = echo("400 Bad Request");
    stage.write(
        "clouds.yaml",
        format!(
            "clouds:\n  lab:\n    auth: {{auth_url: 'http://127.0.0.1:{port}/v3', username: ann, \
             password: {CANARY}-cloud, project_name: p}}\n"
        ),
    );
    let clouds = stage.path().join("clouds.yaml").display().to_string();
    let config = stage.write(
        "config.json",
        serde_json::json!({ "auths": { format!("127.0.0.1:{port}"): { "username": "ann",
            "password": format!("{CANARY}-docker") } } })
        .to_string(),
    );
    let config = config.display().to_string();
    for words in [
        vec!["images".to_owned(), "--registry".into(), "glance:lab".into()],
        vec!["images".to_owned(), "--registry".into(), format!("oci:127.0.0.1:{port}/os")],
        vec!["deploy".to_owned(), "image".into(), "--cloud".into(), "lab".into()],
        vec!["doctor".to_owned(), "--cloud".into(), "lab".into()],
    ] {
        for more in [&[] as &[&str], &["--json"]] {
            let words: Vec<&str> =
                words.iter().map(String::as_str).chain(more.iter().copied()).collect();
            let run = stage.osimg(crate::stage::OSIMG, &words);
            let done =
                run.env("OS_CLIENT_CONFIG_FILE", &clouds).env("REGISTRY_AUTH_FILE", &config).run();
            assert_ne!(done.code, Some(0), "{words:?}: {}", done.stdout);
            is_nowhere(&stage, &done, &words.join(" "));
        }
    }
}
