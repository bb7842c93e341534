//! A small HTTP server of a directory, with faults that a test chooses.

use crate::stage::{Stage, wait_until};
use crate::support::repo::{Package, index};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The server's response to a request.
pub enum Answer {
    File,
    Status(u16),
    /// 503, with the seconds that the client should wait.
    Busy(u32),
    /// This status line with headers, and no body.
    #[allow(dead_code, reason = "not every tier uses it")]
    StatusLine(&'static str),
    /// The first half of the file with the length of the whole file; then the connection ends.
    Half,
    /// The first half of the file with its own length, as if it were complete.
    Short,
    /// The file without a length; it ends with the connection.
    WithoutLength,
    /// The file without a length, followed by zeros for as long as the client reads, at most
    /// 2 GiB.
    #[allow(dead_code, reason = "not every tier uses it")]
    Flood,
    /// The file with one byte changed.
    Changed,
    /// The first half of the file; then nothing for as long as the client waits.
    Stall,
}

/// An HTTP server of a directory on 127.0.0.1, with faults that the test chooses.
pub struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` gets the path and the number of earlier requests for it.
    pub fn start(
        directory: PathBuf,
        answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        // The thread ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer, directory) =
                    (Arc::clone(&log), Arc::clone(&answer), directory.clone());
                std::thread::spawn(move || {
                    // It does not matter if the client disconnects.
                    let _ = serve(&stream, &directory, &log, &*answer);
                });
            }
        });
        Self { port, requests: asked }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The paths requested so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn wait_for(&self, part: &str) {
        wait_until(&format!("a request for {part}"), Duration::from_secs(60), || {
            self.requests().iter().any(|path| path.contains(part))
        });
    }
}

fn serve(
    stream: &TcpStream,
    directory: &Path,
    log: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str, usize) -> Answer,
) -> std::io::Result<()> {
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
        let head = request.starts_with("HEAD ");
        let address = request.split(' ').nth(1).unwrap_or("/");
        // A client sends a proxy the whole address.
        let path = address
            .split_once("://")
            .map_or(address, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let path = path.trim_start_matches('/').to_owned();
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|p| **p == path).count();
            if !head {
                log.push(path.clone());
            }
            before
        };
        // Before the file is read: the answer may replace the file.
        let answer = answer(&path, before);
        let Ok(mut body) = fs::read(directory.join(&path)) else {
            write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let whole = body.len();
        let mut send = |body: &[u8]| -> std::io::Result<()> {
            match start {
                0 => write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n")?,
                _ => write!(
                    out,
                    "HTTP/1.1 206 Partial\r\nContent-Range: bytes \
                     {start}-{}/{whole}\r\nContent-Length: {}\r\n\r\n",
                    whole - 1,
                    whole - start
                )?,
            }
            out.write_all(body.get(if head { whole } else { start }..).unwrap_or_default())
        };
        match answer {
            Answer::File => send(&body)?,
            Answer::Status(code) => {
                write!(out, "HTTP/1.1 {code} Chosen by the test\r\nContent-Length: 0\r\n\r\n")?
            }
            Answer::Busy(seconds) => write!(
                out,
                "HTTP/1.1 503 Busy\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n\r\n"
            )?,
            Answer::StatusLine(head) => {
                write!(out, "HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n")?
            }
            Answer::Short => {
                let half = &body[..whole / 2];
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", half.len())?;
                out.write_all(half)?;
            }
            Answer::WithoutLength => {
                write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                return out.write_all(&body);
            }
            Answer::Flood => {
                write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                out.write_all(&body)?;
                return (0..2048).try_for_each(|_| out.write_all(&vec![0; 1 << 20]));
            }
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
                // Until the client disconnects.
                let mut line = String::new();
                reader.read_line(&mut line)?;
                return Ok(());
            }
        }
    }
}

/// A repository that is replaced, with a newer package, as soon as a client reads its index. The
/// files named in that index no longer exist.
pub fn swapped(stage: &Stage) -> Server {
    let old = stage.repo();
    let newer = Stage::new(|repo| {
        repo.package(Package::named("hello").version("2.0").requires_first("base").file(
            "/usr/share/hello",
            "2\n",
            0o644,
            "root:root",
        ))
    });
    let name = "hello-2.0-1.noarch.rpm";
    fs::copy(newer.repo().join("Packages").join(name), old.join("Packages").join(name)).unwrap();
    let directory = old.clone();
    let done = AtomicUsize::new(0);
    Server::start(old, move |path, _| {
        if path.contains("primary") && done.fetch_add(1, Ordering::SeqCst) == 0 {
            fs::remove_dir_all(directory.join("repodata")).unwrap();
            index(&directory);
        }
        Answer::File
    })
}

/// A stage with one package, `hello`, that is large enough to be interrupted.
pub fn hello() -> Stage {
    let content: Vec<u8> =
        (0..40_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    Stage::new(|repo| {
        repo.package(Package::named("hello").requires_first("base").file(
            "/usr/share/hello",
            content,
            0o644,
            "root:root",
        ))
    })
}

/// That stage with a server.
pub fn served(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> (Stage, Server) {
    let stage = hello();
    let server = Server::start(stage.repo(), answer);
    stage.settings(|settings| settings.baseurl = server.url());
    (stage, server)
}
