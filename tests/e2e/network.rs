//! Repositories behind a network that fails: nobody answers, errors, a wrong body, a stall; and a small server that does it.

use crate::stage::{Stage, wait_until};
use crate::support::repo::Package;
use crate::support::require_root;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with a request.
pub enum Answer {
    File,
    Status(u16),
    /// The first half of the file, under the whole one's length; then the connection ends.
    Half,
    /// The file with a byte changed.
    Changed,
    /// The first half of the file, and then nothing for as long as the client waits.
    Stall,
}

/// An HTTP server over a folder on 127.0.0.1, as good as the test lets it be.
pub struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` decides by the path and by how often it was asked for before.
    pub fn start(folder: PathBuf, answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        // The thread ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer, folder) = (Arc::clone(&log), Arc::clone(&answer), folder.clone());
                std::thread::spawn(move || {
                    // A client that goes away is the client's affair.
                    let _ = serve(&stream, &folder, &log, &*answer);
                });
            }
        });
        Self { port, asked }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The paths asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn wait_for(&self, part: &str) {
        wait_until(&format!("a request for {part}"), Duration::from_secs(60), || self.asked().iter().any(|path| path.contains(part)));
    }
}

fn serve(stream: &TcpStream, folder: &Path, log: &Mutex<Vec<String>>, answer: &dyn Fn(&str, usize) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut out = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut start = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header == "\r\n" {
                break;
            }
            if let Some(range) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
                start = range.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            }
        }
        let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
        let before = {
            let mut log = log.lock().unwrap();
            log.push(path.clone());
            log.iter().filter(|p| **p == path).count() - 1
        };
        let Ok(mut body) = fs::read(folder.join(&path)) else {
            write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let whole = body.len();
        let mut send = |body: &[u8]| -> std::io::Result<()> {
            match start {
                0 => write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n")?,
                _ => write!(
                    out,
                    "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{whole}\r\nContent-Length: {}\r\n\r\n",
                    whole - 1,
                    whole - start
                )?,
            }
            out.write_all(body.get(start..).unwrap_or_default())
        };
        match answer(&path, before) {
            Answer::File => send(&body)?,
            Answer::Status(code) => write!(out, "HTTP/1.1 {code} As the test says\r\nContent-Length: 0\r\n\r\n")?,
            Answer::Half => {
                send(&body[..whole / 2])?;
                return Ok(());
            }
            Answer::Changed => {
                body[whole / 2] ^= 0x20;
                send(&body)?;
            }
            Answer::Stall => {
                send(&body[..whole / 2])?;
                // Until the client hangs up.
                let mut line = String::new();
                reader.read_line(&mut line)?;
                return Ok(());
            }
        }
    }
}

const RECIPE: &str = "install hello\nts run\n";

pub fn hello() -> Stage {
    let content: Vec<u8> = (0..40_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    Stage::new(|repo| repo.package(Package::named("hello").requires_first("base").file("/usr/share/hello", content, 0o644, "root:root")))
}

fn served(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> (Stage, Server) {
    let stage = hello();
    let server = Server::start(stage.repo(), answer);
    stage.settings(|settings| settings.baseurl = server.url());
    (stage, server)
}

#[test]
fn a_repository_that_nobody_serves_is_told() {
    if !require_root() {
        return;
    }
    let stage = hello();
    stage.settings(|settings| settings.baseurl = "http://127.0.0.1:9/".into());
    stage.build(RECIPE).fails(5).says(&["127.0.0.1", "tiny"]);
}

#[test]
fn a_repository_without_metadata_is_told() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served(|_, _| Answer::Status(404));
    stage.build(RECIPE).fails(5).says(&["404", "repomd.xml"]);
    let stage = Stage::empty();
    stage.settings(|settings| settings.baseurl = format!("file://{}/nosuch", stage.path().display()));
    fs::write(stage.repo().join("KEY.asc"), &crate::support::keys::ours().public).unwrap();
    stage.build(RECIPE).fails(5).says(&["nosuch"]);
}

#[test]
fn a_server_that_is_busy_for_a_while_is_asked_again() {
    if !require_root() {
        return;
    }
    let (stage, server) = served(|path, before| if path.ends_with("rpm") && before < 4 { Answer::Status(503) } else { Answer::File });
    stage.build(RECIPE).succeeds();
    assert!(server.asked().iter().filter(|path| path.contains("hello-1.0")).count() >= 5);
}

#[test]
fn a_download_that_breaks_off_is_taken_up_again() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served(|path, before| if path.contains("hello") && before == 0 { Answer::Half } else { Answer::File });
    stage.build(RECIPE).succeeds();
    assert!(stage.members().contains(&"./usr/share/hello".to_owned()));
}

#[test]
fn a_package_that_changes_on_its_way_never_gets_in() {
    if !require_root() {
        return;
    }
    let (stage, _server) = served(|path, _| if path.contains("hello") { Answer::Changed } else { Answer::File });
    let done = stage.build(RECIPE).fails(5);
    done.says(&["hello-1.0-1.noarch", "checksum"]);
}

#[test]
fn a_second_build_asks_for_no_package_again() {
    if !require_root() {
        return;
    }
    let (stage, server) = served(|_, _| Answer::File);
    stage.build(RECIPE).succeeds();
    let packages = || server.asked().iter().filter(|path| path.ends_with(".rpm")).count();
    let first = packages();
    assert_eq!(first, 2);
    stage.build(RECIPE).succeeds();
    assert_eq!(packages(), first);
}
