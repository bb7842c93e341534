//! One command for each part of osimg that connects to a server, and shared helpers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Each client: its name, and its arguments with the placeholders SCHEME and PLACE (a host with a
/// port).
pub const CLIENTS: [(&str, &[&str]); 6] = [
    ("verify", &["verify", "SCHEME://PLACE/os.tgz"]),
    ("deploy", &["deploy", "SCHEME://PLACE/os.json", "--print-kickstart"]),
    (
        "publish",
        &[
            "publish",
            "os.tgz",
            "--registry",
            "dir:out",
            "--cache",
            "cache",
            "--tree",
            "SCHEME://PLACE/tree/",
        ],
    ),
    ("oci", &["images", "--registry", "oci:PLACE/os/image"]),
    ("glance", &["images", "--registry", "glance:test"]),
    ("keys", &["lock", "keyed.yum"]),
];

/// A directory with all files that the clients read.
pub fn stage(scheme: &str, place: &str) -> tempfile::TempDir {
    let directory = tempfile::Builder::new()
        .prefix("network-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("keyed.yum", "install hello\nts run\n");
    write(
        "keyed.toml",
        &format!(
            "[packages]\nreleasever = \"9\"\n[[packages.repository]]\nid = \"r\"\n\
            baseurl = \"file:///nonexistent\"\n\
             [[packages.key]]\nurl = \"{scheme}://{place}/key.asc\"\nfingerprint = \"{}\"\n",
            "A".repeat(40)
        ),
    );
    write(
        "clouds.yaml",
        &format!(
            "clouds:\n  test:\n    auth: {{auth_url: \"{scheme}://{place}/v3\", username: u, \
             password: secret-word, project_name: p, user_domain_name: Default, \
             project_domain_name: Default}}\n"
        ),
    );
    std::fs::create_dir(directory.path().join("empty")).unwrap();
    let done = Command::new("tar")
        .args(["-czf", "os.tgz", "empty"])
        .current_dir(directory.path())
        .status()
        .unwrap();
    assert!(done.success());
    directory
}

/// The command of a client, in a directory made by [`stage`], without the user's authorities,
/// proxies and clouds.
pub fn command(directory: &Path, arguments: &[&str], scheme: &str, place: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osimg"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("OS_")
            || name.starts_with("SSL_CERT")
            || name.to_ascii_lowercase().ends_with("_proxy")
        {
            command.env_remove(name);
        }
    }
    if arguments.first() == Some(&"publish") {
        // The tarball is almost empty.
        command
            .args(["publish"])
            .args(osimg::verify::names().iter().flat_map(|name| ["--allow", name]));
    }
    command
        .args(
            arguments
                .iter()
                .skip_while(|word| **word == "publish")
                .map(|word| word.replace("SCHEME", scheme).replace("PLACE", place)),
        )
        .current_dir(directory)
        .env("OS_CLIENT_CONFIG_FILE", "clouds.yaml")
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for a process, and kills it if it does not end.
pub fn wait_for_end(mut child: Child, within: Duration) -> (Output, Duration) {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > within {
            child.kill().unwrap();
            panic!(
                "it did not end within {within:?}: {}",
                messages(&child.wait_with_output().unwrap())
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let time = began.elapsed();
    (child.wait_with_output().unwrap(), time)
}

/// The behaviour of a server after it has read the head of a request, if it reads one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It accepts the connection and sends nothing.
    Mute,
    /// It sends the head of a response and a part of its body, then nothing.
    Stops,
    /// It sends one byte of an endless head per second, ten times.
    Trickles,
}

/// A server that falls silent. Returns its port, and a channel that reports each connection.
pub fn silent(way: Silence) -> (u16, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = std::sync::mpsc::channel();
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || fall_silent(stream, way, &sender));
        }
    });
    (port, receiver)
}

fn fall_silent(mut stream: TcpStream, way: Silence, sender: &std::sync::mpsc::Sender<()>) {
    let mut first = [0];
    if stream.read(&mut first).is_err() {
        return;
    }
    if first == [0x16] && way != Silence::Mute {
        // The first byte of TLS, which this server does not support.
        let _ = stream.write_all(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    }
    let head = if way == Silence::Mute { String::new() } else { head(&mut stream) };
    if way == Silence::Stops {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        // `first` was the first letter of the method.
        if head.starts_with("EAD ") {
            return;
        }
        let _ = stream.write_all(b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    }
    let _ = sender.send(());
    if way == Silence::Trickles {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X").is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    // Until the client disconnects.
    while stream.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
}

/// Reads the rest of the head of a request.
pub fn head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(char::from(byte[0]));
    }
    text
}

/// A server that answers 404 to everything (401 to a login) and records the heads of the
/// requests.
pub fn recording() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = head(&mut stream);
            let status =
                if head.starts_with("POST") { "401 Unauthorized" } else { "404 Not Found" };
            log.lock().unwrap().push(head);
            let _ = stream.write_all(
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            );
        }
    });
    (port, heads)
}

/// Python's server with TLS. Its certificate for localhost is signed by the authority `ca.pem` in
/// its directory.
pub struct Secure {
    pub directory: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SECURE: &str = "import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status):
        self.send_response(status)
        self.send_header('content-length', '0')
        self.end_headers()
    def do_GET(self): self.answer(404)
    def do_HEAD(self): self.answer(404)
    def do_POST(self): self.answer(401)
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

impl Secure {
    pub fn start() -> Self {
        Self::with_certificate("DNS:localhost,IP:127.0.0.1", "now")
    }

    /// Its certificate is for these names, and two days old at most at this time.
    pub fn with_certificate(names: &str, issued: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("secure-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let openssl = |arguments: &str| {
            let done = Command::new("faketime")
                .args([issued, "openssl"])
                .args(arguments.split(' '))
                .current_dir(directory.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", messages(&done));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test -addext \
             basicConstraints=critical,CA:TRUE"
        ));
        openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
        std::fs::write(
            directory.path().join("ext"),
            format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n"),
        )
        .unwrap();
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem \
             -days 2 -extfile ext",
        );
        let mut child = Command::new("python3")
            .args(["-c", SECURE])
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { directory, port: line.trim().parse().unwrap(), child }
    }

    pub fn place(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn authority(&self) -> std::path::PathBuf {
        self.directory.path().join("ca.pem")
    }
}
