//! Servers on loopback that end with the test: real ones as processes, faulty ones as threads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::directory;

/// A server process and its directory.
pub struct Server {
    child: Child,
    pub directory: tempfile::TempDir,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts a program and waits until it listens.
    fn start(directory: tempfile::TempDir, port: u16, command: &mut Command) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { child, directory, port };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log =
                || std::fs::read_to_string(server.directory.path().join("log")).unwrap_or_default();
            assert!(server.child.try_wait().unwrap().is_none(), "it ended: {}", log());
            assert!(Instant::now() < end, "it does not listen: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The configuration of a registry.
#[derive(Default, Clone)]
pub struct Registry {
    /// A user `osimg` with the password `pass:word`.
    pub password: bool,
    /// TLS with the certificate of a private authority: `ca.crt` in its directory.
    pub tls: bool,
    /// Manifests cannot be deleted.
    pub keeps_all: bool,
    /// Tokens from the server on this port, signed with the key of this certificate; see
    /// [`tokens`].
    pub tokens: Option<(u16, String)>,
}

pub const PASSWORD: &str = "pass:word";

impl Registry {
    pub fn start(self) -> Server {
        let (directory, port) = (directory(), free_port());
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\nstorage:\n  \
             filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: {}}}\nhttp:\n  addr: \
             127.0.0.1:{port}\n",
            path("data"),
            !self.keeps_all,
        );
        if self.tls {
            certificate(directory.path());
            config += &format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                path("server.crt"),
                path("server.key")
            );
        }
        if self.password {
            let entry = output(Command::new("htpasswd").args(["-Bbn", "osimg", PASSWORD]));
            std::fs::write(path("htpasswd"), entry.trim_end().to_owned() + "\n").unwrap();
            config += &format!("auth:\n  htpasswd: {{realm: osimg, path: {}}}\n", path("htpasswd"));
        }
        if let Some((port, certificate)) = &self.tokens {
            config += &format!(
                "auth:\n  token: {{realm: 'http://127.0.0.1:{port}/token', service: osimg, \
                 issuer: osimg-tests, rootcertbundle: {certificate}}}\n"
            );
        }
        std::fs::write(path("config.yml"), config).unwrap();
        let config = path("config.yml");
        Server::start(directory, port, Command::new("docker-registry").args(["serve", &config]))
    }
}

/// An authority, and a certificate for 127.0.0.1 that it has signed: `ca.crt`, `server.crt`,
/// `server.key`.
pub fn certificate(directory: &Path) {
    let run = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    run(&[
        &["req", "-x509"],
        &key[..],
        &["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=osimg test CA", "-days", "2"],
    ]
    .concat());
    run(&[
        &["req"],
        &key[..],
        &["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"],
    ]
    .concat());
    std::fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        "server.crt",
        "-days",
        "2",
        "-extfile",
        "san",
    ]);
}

/// A token server for docker-registry. It gives tokens for `os/image` to requests with
/// `authorization`. Returns its port, the path of its certificate, and the requests.
pub fn tokens(
    directory: &Path,
    authorization: &'static str,
) -> (u16, String, Arc<Mutex<Vec<String>>>) {
    let (key, certificate) = (directory.join("token.key"), directory.join("token.crt"));
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=osimg tokens",
        "-days",
        "2",
        "-keyout",
    ];
    output(Command::new("openssl").args(arguments).arg(&key).arg("-out").arg(&certificate));
    let pem = std::fs::read_to_string(&certificate).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let directory = directory.to_owned();
    let port = odd(move |head, number, stream| {
        log.lock().unwrap().push(head.to_owned());
        let known = head.lines().any(|line| {
            line.to_ascii_lowercase().starts_with("authorization:") && line.ends_with(authorization)
        });
        let (status, body) = if known {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs();
            let claims = serde_json::json!({
                "iss": "osimg-tests", "sub": "osimg", "aud": "osimg", "exp": now + 300,
                "nbf": now - 10, "iat": now, "jti": number.to_string(),
                "access": [{"type": "repository", "name": "os/image",
                    "actions": ["pull", "push", "delete"]}],
            });
            let header = serde_json::json!({"typ": "JWT", "alg": "RS256", "x5c": [der]});
            let signed = format!(
                "{}.{}",
                base64url(header.to_string().as_bytes()),
                base64url(claims.to_string().as_bytes())
            );
            let file = directory.join(format!("token-{number}"));
            std::fs::write(&file, &signed).unwrap();
            let signature = Command::new("openssl")
                .args(["dgst", "-sha256", "-sign"])
                .arg(directory.join("token.key"))
                .arg(&file)
                .output()
                .unwrap()
                .stdout;
            (
                "200 OK",
                serde_json::json!({"token": format!("{signed}.{}", base64url(&signature))})
                    .to_string(),
            )
        } else {
            ("401 Unauthorized", "{}".to_owned())
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    });
    (port, certificate.display().to_string(), asked)
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Python's web server over a directory.
pub fn python(www: &Path) -> Server {
    let port = free_port();
    let mut command = Command::new("python3");
    command
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
        .arg(www);
    Server::start(directory(), port, &mut command)
}

/// nginx over a directory, with more lines for its `server` block.
pub fn nginx(www: &Path, lines: &str) -> Server {
    let (directory, port) = (directory(), free_port());
    let here = directory.path().display();
    let listen = if lines.contains("ssl_certificate") { "ssl" } else { "" };
    let config = format!(
        "daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{}}\nhttp \
         {{\n access_log off; client_body_temp_path {here}/b; proxy_temp_path {here}/p;\n \
         fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n types \
         {{ application/gzip tgz; }} default_type application/octet-stream;\n server {{ listen \
         127.0.0.1:{port} {listen}; root {}; {lines} }}\n}}\n",
        www.display()
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    Server::start(
        directory,
        port,
        Command::new("/usr/sbin/nginx").arg("-e").arg("stderr").arg("-c").arg(file),
    )
}

/// A server that answers with a function of the request's head, its number from 1, and the
/// connection.
pub fn odd(answer: impl Fn(&str, usize, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    // Ends with the process.
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (answer, Ok(mut stream)) = (Arc::clone(&answer), stream) else { continue };
            thread::spawn(move || {
                let head = head(&mut stream);
                answer(&head, number + 1, &mut stream);
            });
        }
    });
    port
}

/// Reads a request's head.
pub fn head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(char::from(byte[0]));
    }
    text
}

/// The treatment of a connection by a [`Proxy`].
#[derive(Debug, Clone)]
pub enum Fault {
    /// Pass it on.
    None,
    /// Cut a connection whose request line contains the text, after that many bytes of its body,
    /// every time.
    Cut { line: String, after: usize },
    /// Answer with this status instead of the server.
    Answer { line: String, status: u16 },
}

/// A proxy before a server on loopback that damages one kind of request. Every request has its own
/// connection.
pub struct Proxy {
    pub port: u16,
    fault: Arc<Mutex<Fault>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, seen) = (Arc::new(Mutex::new(Fault::None)), Arc::new(Mutex::new(Vec::new())));
        let (injury, lines) = (Arc::clone(&fault), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(client), injury, lines) = (stream, Arc::clone(&injury), Arc::clone(&lines))
                else {
                    continue;
                };
                // Broken connections are the purpose of the tests.
                thread::spawn(move || drop(relay(client, server, &injury, &lines)));
            }
        });
        Self { port, fault, seen }
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        self.seen.lock().unwrap().clear();
    }

    /// The request lines since the last fault was set.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn relay(
    mut client: TcpStream,
    server: u16,
    fault: &Mutex<Fault>,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let head = head(&mut client);
    let line = head.lines().next().unwrap_or_default().to_owned();
    if line.is_empty() {
        return Ok(());
    }
    seen.lock().unwrap().push(line.clone());
    let fault = fault.lock().unwrap().clone();
    if let Fault::Answer { line: wanted, status } = &fault
        && line.contains(wanted)
    {
        std::io::copy(&mut (&client).take(length(&head)), &mut std::io::sink())?;
        return client.write_all(
            format!("HTTP/1.1 {status} Injured\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    // One request per connection, so that every one is seen.
    upstream.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    let limit = match &fault {
        Fault::Cut { line: wanted, after } if line.contains(wanted) => Some(*after as u64),
        _ => None,
    };
    let body = length(&head).min(limit.unwrap_or(u64::MAX));
    std::io::copy(&mut (&client).take(body), &mut upstream)?;
    if limit.is_some() {
        return Ok(());
    }
    std::io::copy(&mut upstream, &mut client)?;
    Ok(())
}

/// Forwards a request with this head to a server on loopback, and its response back.
pub fn pass_on(head: &str, client: &mut TcpStream, server: u16) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    upstream.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    std::io::copy(&mut client.take(length(head)), &mut upstream)?;
    std::io::copy(&mut upstream, client)?;
    Ok(())
}

fn length(head: &str) -> u64 {
    head.lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        })
        .unwrap_or(0)
}

/// The output of a program, which must succeed.
pub fn output(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The digest of a file by `sha256sum`.
pub fn sha256sum(path: &Path) -> String {
    output(Command::new("sha256sum").arg(path)).split(' ').next().unwrap().to_owned()
}

/// A Python with productmd from PyPI, kept below target/.
pub fn productmd() -> Option<PathBuf> {
    static MADE: Mutex<()> = Mutex::new(());
    let _one = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let site = Path::new(env!("CARGO_TARGET_TMPDIR")).join("productmd");
    if !site.join("productmd").is_dir() {
        let done = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&site)
            .args(["productmd==1.51"])
            .output()
            .unwrap();
        if !done.status.success() {
            crate::skip(&format!(
                "productmd cannot be installed: {}",
                String::from_utf8_lossy(&done.stderr)
            ));
            return None;
        }
    }
    Some(site)
}
