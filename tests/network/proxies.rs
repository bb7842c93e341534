//! Proxies in the environment.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::clients::{CLIENTS, Secure, command, head, messages, recording, stage};

/// A proxy that connects to the host that `CONNECT` names. Returns its port and the request heads.
fn tunnels() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let head = head(&mut client);
            let place =
                head.split(' ').nth(1).unwrap_or_default().replace("inside.invalid", "localhost");
            log.lock().unwrap().push(head);
            // The tunnel ends when the client disconnects.
            std::thread::spawn(move || drop(tunnel(client, &place)));
        }
    });
    (port, heads)
}

fn tunnel(mut client: TcpStream, place: &str) -> std::io::Result<()> {
    let mut server = TcpStream::connect(place)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || drop(std::io::copy(&mut from_client, &mut to_server)));
    let mut window = [0; 4096];
    loop {
        let count = server.read(&mut window)?;
        if count == 0 {
            return client.shutdown(std::net::Shutdown::Both);
        }
        client.write_all(&window[..count])?;
    }
}

#[test]
fn every_client_sends_http_requests_to_the_proxy_and_resolves_no_name_itself() {
    for (name, arguments) in CLIENTS {
        let (port, heads) = recording();
        let directory = stage("http", "inside.invalid");
        let output = command(directory.path(), arguments, "http", "inside.invalid")
            .env("http_proxy", format!("http://ann:secret-word@127.0.0.1:{port}"))
            .env("https_proxy", format!("http://ann:secret-word@127.0.0.1:{port}"))
            .output()
            .unwrap();
        let heads = heads.lock().unwrap();
        // A registry on another machine is reached through TLS: see below.
        let line = if name == "oci" {
            "CONNECT inside.invalid:443 HTTP/1.1"
        } else {
            " http://inside.invalid/"
        };
        let first = heads
            .first()
            .unwrap_or_else(|| panic!("{name}: the proxy got no request: {}", messages(&output)));
        assert!(first.contains(line), "{name}: {first}");
        // printf ann:secret-word | base64
        assert!(
            first.contains("Proxy-Authorization: Basic YW5uOnNlY3JldC13b3Jk\r\n"),
            "{name}: {first}"
        );
        assert!(!messages(&output).contains("secret-word"), "{name}: {}", messages(&output));
    }
}

#[test]
fn every_client_reaches_an_https_address_through_the_proxy() {
    let server = Secure::start();
    let place = format!("localhost:{}", server.port);
    for (name, arguments) in CLIENTS {
        let directory = stage("https", &place);
        let (proxy, heads) = tunnels();
        let run = |exceptions: &str| {
            heads.lock().unwrap().clear();
            let output = command(directory.path(), arguments, "https", &place)
                .env("SSL_CERT_FILE", server.authority())
                .env("https_proxy", format!("http://127.0.0.1:{proxy}"))
                .env("http_proxy", "http://127.0.0.1:9")
                .env("no_proxy", exceptions)
                .output()
                .unwrap();
            (output, heads.lock().unwrap().clone())
        };
        let (output, heads) = run("");
        assert!(
            heads.iter().any(|head| head.starts_with(&format!("CONNECT {place} HTTP/1.1\r\n"))),
            "{name}: {heads:?} {}",
            messages(&output)
        );
        assert!(!messages(&output).contains("proxy"), "{name}: {}", messages(&output));
        let (output, heads) = run("example.org,localhost");
        assert!(
            heads.is_empty() && !messages(&output).contains("proxy"),
            "{name}: {heads:?} {}",
            messages(&output)
        );
    }
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_response() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            head(&mut client);
            let _ = client.write_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    let directory = stage("https", "inside.invalid");
    let run = |proxy: &str| {
        let output = command(directory.path(), CLIENTS[0].1, "https", "inside.invalid")
            .env("https_proxy", proxy)
            .output()
            .unwrap();
        (output.status.code(), messages(&output))
    };
    let (code, text) = run(&format!("http://ann:secret-word@127.0.0.1:{port}"));
    assert!(
        code == Some(5)
            && text.contains(&format!("the proxy 127.0.0.1:{port} answers 407"))
            && !text.contains("secret"),
        "{text}"
    );
    let (code, text) = run("socks5://ann:secret-word@127.0.0.1:9");
    assert!(
        code == Some(5) && text.contains("the proxy in https_proxy must use plain HTTP"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}
