//! Repositories on a failing network: no server, errors, a wrong body, a stall, metadata that are
//! replaced during a build.

use crate::server::{Answer, Server, hello, served, swapped};
use crate::stage::{OSIMG, Stage, sh, wait_until};
use crate::support::repo::{Package, Repo};
use crate::support::{require_root, skip};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const RECIPE: &str = "install hello\nts run\n";

#[test]
fn a_repository_without_a_server_is_reported() {
    if !require_root() {
        return;
    }
    let stage = hello();
    stage.settings(|settings| settings.baseurl = "http://127.0.0.1:9/".into());
    stage.build(RECIPE).fails(5).reports(&["127.0.0.1", "tiny"]);
}

#[test]
fn a_repository_without_metadata_is_reported() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served(|_, _| Answer::Status(404));
    stage.build(RECIPE).fails(5).reports(&["404", "repomd.xml"]);
    let stage = Stage::empty();
    stage.settings(|settings| {
        settings.baseurl = format!("file://{}/nosuch", stage.path().display())
    });
    fs::write(stage.repo().join("KEY.asc"), &crate::support::keys::ours().public).unwrap();
    stage.build(RECIPE).fails(5).reports(&["nosuch"]);
}

#[test]
fn a_request_to_a_busy_server_is_repeated() {
    if !require_root() {
        return;
    }
    let (stage, server) = served(|path, before| {
        if path.ends_with("rpm") && before < 4 { Answer::Status(503) } else { Answer::File }
    });
    stage.build(RECIPE).succeeds();
    assert!(server.requests().iter().filter(|path| path.contains("hello-1.0")).count() >= 5);
}

#[test]
fn an_interrupted_download_is_resumed() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(
            |path, before| {
                if path.contains("hello") && before == 0 { Answer::Half } else { Answer::File }
            },
        );
    stage.build(RECIPE).succeeds();
    assert!(stage.members().contains(&"./usr/share/hello".to_owned()));
}

#[test]
fn a_package_that_is_altered_in_transit_is_never_installed() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(|path, _| if path.contains("hello") { Answer::Changed } else { Answer::File });
    stage
        .build(RECIPE)
        .fails(6)
        .reports(&["hello-1.0-1.noarch", "checksum"])
        .does_not_report(&["trying again in"]);
}

#[test]
fn a_second_build_downloads_no_package_again() {
    if !require_root() {
        return;
    }
    let (stage, server) = served(|_, _| Answer::File);
    stage.build(RECIPE).succeeds();
    let packages = || server.requests().iter().filter(|path| path.ends_with(".rpm")).count();
    let first = packages();
    assert_eq!(first, 2);
    stage.build(RECIPE).succeeds();
    assert_eq!(packages(), first);
}

#[test]
fn the_retry_after_header_of_a_busy_server_is_obeyed() {
    if !require_root() {
        return;
    }
    let until: Mutex<Option<Instant>> = Mutex::new(None);
    // A request before that time is refused again.
    let (stage, _server) = served(move |path, _| {
        if !path.contains("hello-1.0") {
            return Answer::File;
        }
        let end =
            *until.lock().unwrap().get_or_insert_with(|| Instant::now() + Duration::from_secs(4));
        if Instant::now() < end { Answer::Busy(4) } else { Answer::File }
    });
    let done = stage.build(RECIPE).succeeds();
    done.reports(&["asks clients to wait 4 s", "trying again in 4 s (1 of 4)"])
        .does_not_report(&["(2 of 4)"]);
}

#[test]
fn a_retry_after_header_of_one_hour_is_an_error() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(|path, _| if path.ends_with(".rpm") { Answer::Busy(3600) } else { Answer::File });
    let done = stage.build(RECIPE).fails(5);
    done.reports(&["503", "asks clients to wait 3600 s"]).does_not_report(&["trying again"]);
}

#[test]
fn a_request_for_metadata_to_a_busy_server_is_repeated_too() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served(|path, before| match path {
        _ if path.ends_with("repomd.xml") && before < 4 => Answer::Status(503),
        _ if path.contains("primary") && before < 4 => Answer::Status(502),
        _ => Answer::File,
    });
    stage.build(RECIPE).succeeds().reports(&["trying again"]);
}

#[test]
fn a_file_sent_with_a_wrong_length_or_without_one_is_complete_in_the_end() {
    if !require_root() {
        return;
    }
    let (stage, server) = served(|path, before| match path {
        _ if path.contains("hello-1.0") && before == 0 => Answer::Short,
        _ if path.contains("primary") && before == 0 => Answer::Short,
        _ if path.contains("base-1.0") => Answer::WithoutLength,
        _ => Answer::File,
    });
    stage.build(RECIPE).succeeds();
    assert!(stage.members().contains(&"./usr/share/hello".to_owned()));
    assert!(server.requests().iter().filter(|path| path.contains("hello-1.0")).count() >= 2);
}

#[test]
fn metadata_that_are_replaced_while_they_are_read_are_read_again() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let server = swapped(&stage);
    stage.settings(|settings| settings.baseurl = server.url());
    let done = stage.build(RECIPE).succeeds();
    done.reports(&["reading it again"]).does_not_report(&["trying again in"]);
    assert_eq!(stage.content("./usr/share/hello"), "2\n");
}

#[test]
fn a_missing_file_is_requested_once_more_and_then_reported() {
    if !require_root() {
        return;
    }
    let (stage, _server) =
        served(
            |path, _| if path.contains("hello-1.0") { Answer::Status(404) } else { Answer::File },
        );
    let done = stage.build(RECIPE).fails(5);
    done.reports(&["404", "hello-1.0-1.noarch.rpm"]);
    assert_eq!(done.stderr.matches("reading it again").count(), 1, "{}", done.stderr);
    let (stage, server) =
        served(
            |path, _| if path.contains("hello-1.0") { Answer::Status(403) } else { Answer::File },
        );
    stage.build(RECIPE).fails(5).reports(&["403"]).does_not_report(&["trying again in"]);
    drop(server);
}

/// Settings with several addresses and more options of the repository.
fn addresses(stage: &Stage, urls: &[String], options: &str) {
    stage.settings(|_| {});
    let path = stage.repo().join("settings.toml");
    let list = urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("baseurl = \"./\"", &format!("baseurl = [{list}]\n{options}"));
    fs::write(path, text).unwrap();
}

#[test]
fn after_a_stalled_mirror_the_next_one_is_used() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let stalls = Server::start(stage.repo(), |path, _| {
        if path.contains("hello-1.0") { Answer::Stall } else { Answer::File }
    });
    let works = Server::start(stage.repo(), |_, _| Answer::File);
    addresses(&stage, &[stalls.url(), works.url()], "");
    let done = stage.build(RECIPE).succeeds();
    assert!(stalls.requests().iter().any(|path| path.contains("hello-1.0")));
    assert!(works.requests().iter().any(|path| path.contains("hello-1.0")));
    // librepo's limit: less than 1000 bytes per second for 30 s.
    assert!(done.took < Duration::from_secs(100), "{:?}", done.took);
}

#[test]
fn a_repository_behind_a_proxy_is_reached_through_it() {
    if !require_root() {
        return;
    }
    let stage = hello();
    let proxy = Server::start(stage.repo(), |_, _| Answer::File);
    addresses(&stage, &["http://mirror.invalid/".into()], &format!("proxy = \"{}\"", proxy.url()));
    stage.build(RECIPE).succeeds();
    assert!(proxy.requests().iter().any(|path| path.contains("hello-1.0")));
    // A proxy in the environment works too, with curl's rules.
    let stage = hello();
    let proxy = Server::start(stage.repo(), |_, _| Answer::File);
    addresses(&stage, &["http://mirror.invalid/".into()], "");
    stage.build(RECIPE).env("http_proxy", &proxy.url()).succeeds();
    assert!(proxy.requests().iter().any(|path| path.contains("hello-1.0")));
}

#[test]
fn one_mirror_serves_many_packages_in_parallel() {
    if !require_root() {
        return;
    }
    let names: Vec<String> = (0..24).map(|n| format!("part{n}")).collect();
    let fill = |repo: Repo| {
        names
            .iter()
            .fold(repo, |repo, name| repo.package(Package::named(name).requires_first("base")))
    };
    let stage = Stage::new(fill);
    // dnf's default for one mirror is 3. The first requests are answered when ten of them wait.
    const EXPECTED: usize = 10;
    static TOO_FEW: AtomicBool = AtomicBool::new(false);
    let (count, changed) = (Mutex::new(0), Condvar::new());
    let server = Server::start(stage.repo(), move |path, _| {
        if path.contains("part") {
            let mut count = count.lock().unwrap();
            *count += 1;
            changed.notify_all();
            let (count, wait) = changed
                .wait_timeout_while(count, Duration::from_secs(20), |count| *count < EXPECTED)
                .unwrap();
            drop(count);
            TOO_FEW.fetch_or(wait.timed_out(), Ordering::SeqCst);
        }
        Answer::File
    });
    stage.settings(|settings| settings.baseurl = server.url());
    stage.build(&format!("install {}\nts run\n", names.join(" "))).succeeds();
    assert!(!TOO_FEW.load(Ordering::SeqCst), "fewer than {EXPECTED} requests at the same time");
}

/// A TLS server that requires a client certificate, as Red Hat's content network does.
struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TLS: &str = "
import http.server, ssl, sys
directory, ca, cert, key, port_file = sys.argv[1:]
class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args): super().__init__(*args, directory=directory)
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
open(port_file + '.part', 'w').write(str(server.server_port))
import os; os.rename(port_file + '.part', port_file)
server.serve_forever()
";

const CERTIFICATES: &str = "
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout \
                            ca.key -out ca.pem
for name in server client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout \
                            $name.key -out $name.csr
    printf 'subjectAltName=IP:127.0.0.1' > san
    openssl x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -in $name.csr \
                            -out $name.pem
done 2>&1";

#[test]
fn a_client_certificate_is_sent_and_an_unknown_server_certificate_is_refused() {
    if !require_root() {
        return;
    }
    if !Path::new("/usr/bin/openssl").exists() {
        return skip("openssl is not installed");
    }
    let stage = hello();
    let tls = stage.path().join("tls");
    fs::create_dir(&tls).unwrap();
    sh(&tls, CERTIFICATES);
    let file = |name: &str| tls.join(name).display().to_string();
    let mut command = Command::new("/usr/bin/python3");
    // With relative names: a process that names the stage would count as a process of the build.
    command
        .args(["-I", "-c", TLS, "../repo", "ca.pem", "server.pem", "server.key", "port"])
        .current_dir(&tls);
    let _server = Tls(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the server's port", Duration::from_secs(30), || tls.join("port").exists());
    let url = format!("https://127.0.0.1:{}/", fs::read_to_string(tls.join("port")).unwrap());
    let ca = format!("ca = \"{}\"", file("ca.pem"));
    let shown = format!(
        "client_cert = \"{}\"\nclient_key = \"{}\"",
        file("client.pem"),
        file("client.key")
    );
    addresses(&stage, std::slice::from_ref(&url), &format!("{ca}\n{shown}"));
    stage.build(RECIPE).succeeds();
    // With a lock too: osimg downloads locked packages itself.
    let recipe = stage.recipe(RECIPE);
    let settings = stage.repo().join("settings.toml");
    let lock = stage
        .osimg(OSIMG, &["lock"])
        .arg(recipe)
        .arg("--settings")
        .arg(settings)
        .arg("--cache")
        .arg(stage.cache());
    lock.arg("--workdir").arg(stage.work()).succeeds();
    fs::remove_dir_all(stage.cache()).unwrap();
    fs::create_dir(stage.cache()).unwrap();
    stage.build(RECIPE).arg("--locked").succeeds();
    for options in [ca, shown] {
        addresses(&stage, std::slice::from_ref(&url), &options);
        let done = stage.build(RECIPE).fails(5);
        done.reports(&["127.0.0.1"]);
    }
}
