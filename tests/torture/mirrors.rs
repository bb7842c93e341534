//! Mirrors that ask for patience, redirect in circles, have an expired certificate or serve old
//! data; and concurrent builds with one cache.

use crate::server::{Answer, Server};
use crate::stage::{OSIMG, Stage, sh, wait_until};
use crate::support::repo::{Package, index};
use crate::support::require_root;
use crate::{RECIPE, rounds, small};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

fn served(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> (Stage, Server) {
    let stage = Stage::new(small);
    let server = Server::start(stage.repo(), answer);
    stage.settings(|settings| settings.baseurl = server.url());
    (stage, server)
}

fn fresh(stage: &Stage, directory: &std::path::Path) {
    sh(stage.path(), &format!("rm -rf {0}; mkdir {0}", directory.display()));
}

#[test]
fn a_mirror_that_responds_429_is_asked_later() {
    if !require_root() {
        return;
    }
    let busy = "429 Too Many Requests\r\nRetry-After: 3";
    let until: Mutex<Option<Instant>> = Mutex::new(None);
    // A request before that time is refused again.
    let (stage, _server) = served(move |path, _| {
        if !path.contains("one-1.0") {
            return Answer::File;
        }
        let end =
            *until.lock().unwrap().get_or_insert_with(|| Instant::now() + Duration::from_secs(3));
        if Instant::now() < end { Answer::StatusLine(busy) } else { Answer::File }
    });
    stage.build(RECIPE).succeeds().reports(&["asks clients to wait 3 s", "trying again in 3 s"]);
}

#[test]
fn a_mirror_with_a_redirect_loop_is_an_error() {
    if !require_root() {
        return;
    }
    let circle = "302 Found\r\nLocation: /repodata/repomd.xml";
    let (stage, server) = served(move |path, _| {
        if path.ends_with("repomd.xml") { Answer::StatusLine(circle) } else { Answer::File }
    });
    let done = stage.build(RECIPE).fails(5);
    done.reports(&["tiny", "redirect", "hint: "]);
    assert!(done.took < Duration::from_secs(120), "{:?}", done.took);
    assert!(server.requests().len() < 1000, "{} requests", server.requests().len());
}

/// A TLS server for the repository; its certificate is in the same directory.
const TLS: &str = "
import http.server, ssl, os
class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args): super().__init__(*args, directory='../repo')
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
open('port.part', 'w').write(str(server.server_port))
os.rename('port.part', 'port')
server.serve_forever()
";

struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_expired_certificate_is_reported_as_such_and_a_valid_one_is_accepted() {
    if !require_root() {
        return;
    }
    for (time, code) in [("now", 0), ("30 days ago", 5)] {
        let stage = Stage::new(small);
        let tls = stage.path().join("tls");
        fs::create_dir(&tls).unwrap();
        let make = format!(
            "faketime '{time}' openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
             -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout \
             server.key -out server.pem 2>&1"
        );
        sh(&tls, &make);
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-I", "-c", TLS])
            .current_dir(&tls)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _server = Tls(command.spawn().unwrap());
        wait_until("the server's port", Duration::from_secs(60), || tls.join("port").exists());
        let port = fs::read_to_string(tls.join("port")).unwrap();
        stage.settings(|settings| {
            settings.baseurl =
                format!("https://127.0.0.1:{port}/\"\nca = \"{}", tls.join("server.pem").display());
        });
        if code == 0 {
            stage.build(RECIPE).succeeds();
        } else {
            stage
                .build(RECIPE)
                .fails(code)
                .reports(&["tiny", "certificate", "hint: the certificate is expired", "clock"])
                .does_not_report(&["trying again in"]);
        }
    }
}

/// `osimg lock` of the recipe next to it.
fn lock(stage: &Stage, recipe: &str) {
    let run = stage
        .osimg(OSIMG, &["lock"])
        .arg(stage.recipe(recipe))
        .arg("--settings")
        .arg(stage.repo().join("settings.toml"));
    run.arg("--cache").arg(stage.cache()).arg("--workdir").arg(stage.work()).succeeds();
}

#[test]
fn older_metadata_do_not_change_a_locked_build_and_are_reported_by_any_other() {
    if !require_root() {
        return;
    }
    let hello = |version: &str| {
        let content = format!("{version}\n");
        Package::named("hello").version(version).requires_first("base").file(
            "/usr/share/hello",
            content,
            0o644,
            "root:root",
        )
    };
    let recipe = "install hello\nts run\n";
    let stage = Stage::new(|repo| repo.package(hello("1.0")));
    // Repositories in a local directory are not cached.
    let server = Server::start(stage.repo(), |_, _| Answer::File);
    stage.settings(|settings| settings.baseurl = server.url());
    // The copy of an attacker: complete, signed, and once current.
    sh(stage.path(), "cp -a repo older");
    hello("2.0").write_into(&stage.repo());
    // Revisions have a resolution of one second.
    wait_until("another second", Duration::from_secs(60), || {
        index(&stage.repo());
        let revision = |directory: &str| {
            sh(stage.path(), &format!("grep -o '<revision>[0-9]*' {directory}/repodata/repomd.xml"))
        };
        revision("repo") != revision("older")
    });
    stage.build(recipe).succeeds().does_not_report(&["older than before"]);
    assert_eq!(stage.content("./usr/share/hello"), "2.0\n");
    let good = stage.digest();
    lock(&stage, recipe);
    sh(stage.path(), "mv repo newer; cp -a older repo; cp newer/settings.toml repo");
    // The locked packages are in the cache, so the metadata do not matter.
    stage.build(recipe).arg("--locked").succeeds();
    assert_eq!(stage.digest(), good);
    // The locked packages are nowhere; no other package is used instead.
    sh(stage.path(), "mv cache warm; mkdir cache");
    stage.build(recipe).arg("--locked").fails(5).reports(&[
        "no longer in their repositories",
        "hello-2.0-1.noarch",
        "osimg lock",
    ]);
    // Without a lock the older package is acceptable, and osimg warns.
    sh(stage.path(), "rm -rf cache; mv warm cache; rm -f out/*");
    let done = stage.build(recipe).succeeds();
    done.reports(&["warning: the metadata of repository 'tiny' are older than before"]);
    assert_eq!(stage.content("./usr/share/hello"), "1.0\n");
    assert!(
        stage.manifest()["warnings"].to_string().contains("older than before")
            || done.stderr.contains("older than before")
    );
    // A new cache has nothing to compare with.
    fresh(&stage, &stage.cache());
    stage.build(recipe).succeeds().does_not_report(&["older than before"]);
}

#[test]
fn concurrent_builds_with_one_cache_succeed_and_fetch_every_package_once() {
    if !require_root() {
        return;
    }
    for round in 0..rounds(2, 20) {
        let (stage, server) = served(|_, _| Answer::File);
        let recipe = stage.recipe(RECIPE);
        let start = |name: &str| {
            stage.build_without_output(&recipe).arg("-o").arg(stage.out().join(name)).start()
        };
        let builds = [start("a.tgz"), start("b.tgz")];
        for done in builds.map(crate::stage::Started::wait) {
            assert_eq!(done.code, Some(0), "round {round}: {}", done.stderr);
        }
        sh(&stage.out(), "cmp a.tgz b.tgz");
        let mut fetched: Vec<String> =
            server.requests().into_iter().filter(|path| path.ends_with(".rpm")).collect();
        let all = fetched.len();
        fetched.sort();
        fetched.dedup();
        assert_eq!(
            fetched.len(),
            all,
            "round {round}: a package was requested twice: {:?}",
            server.requests()
        );
        stage.nothing_is_left();
    }
}
