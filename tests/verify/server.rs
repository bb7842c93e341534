//! Tarballs on a server that works correctly, and on servers that do not.

use crate::fixture::{TGZ, Tarball, names};
use osimg::verify::Options;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;

/// Serves one file. `answer` gives the head for a method and a path, and whether the body follows.
fn serve(
    body: Vec<u8>,
    answer: impl Fn(&str, &str, usize) -> (String, bool) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = Arc::new(body);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let mut words = first.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let (head, with_body) = answer(method, path, body.len());
            // The client may have disconnected.
            let _ =
                stream.write_all(format!("HTTP/1.1 {head}Connection: close\r\n\r\n").as_bytes());
            if with_body && method == "GET" {
                let _ = stream.write_all(&body);
            }
        }
    });
    format!("http://{address}")
}

fn found(url: &str) -> BTreeSet<&'static str> {
    names(&osimg::verify::address(url, &Options::default()).unwrap())
}

fn sound() -> Option<Vec<u8>> {
    Some(std::fs::read(&Tarball::from_change("", TGZ)?.path).unwrap())
}

fn whole(length: usize) -> (String, bool) {
    (format!("200 OK\r\nContent-Length: {length}\r\n"), true)
}

#[test]
fn a_tarball_of_a_good_server_is_verified_as_it_streams_by() {
    let Some(body) = sound() else { return };
    let server = serve(body, |_, _, length| whole(length));
    assert_eq!(found(&format!("{server}/images/os.tgz")), [].into());
    assert_eq!(found(&format!("{server}/images/os.qcow2")), ["suffix"].into());
    assert_eq!(found(&format!("{server}/os.tgz?sig=1")), ["suffix", "url-query"].into());
}

#[test]
fn problems_that_anaconda_would_meet_are_found() {
    let Some(body) = sound() else { return };
    let redirects = serve(body.clone(), |_, path, length| match path {
        "/os.tgz" => ("302 Found\r\nLocation: /real.tgz\r\nContent-Length: 0\r\n".into(), false),
        _ => whole(length),
    });
    assert_eq!(found(&format!("{redirects}/os.tgz")), ["url-status"].into());
    let no_head = serve(body.clone(), |method, _, length| match method {
        "HEAD" => ("405 Method Not Allowed\r\nContent-Length: 0\r\n".into(), false),
        _ => whole(length),
    });
    assert!(found(&format!("{no_head}/os.tgz")).contains("url-status"));
    let no_length = serve(body.clone(), |_, _, _| ("200 OK\r\n".into(), true));
    assert_eq!(found(&format!("{no_length}/os.tgz")), ["url-length"].into());
    let encoded = serve(body.clone(), |_, _, length| {
        (format!("200 OK\r\nContent-Length: {length}\r\nContent-Encoding: x-gzip\r\n"), true)
    });
    assert_eq!(found(&format!("{encoded}/os.tgz")), ["url-encoding"].into());
    let missing =
        serve(body.clone(), |_, _, _| ("404 Not Found\r\nContent-Length: 0\r\n".into(), false));
    assert_eq!(found(&format!("{missing}/os.tgz")), ["url-status"].into());
    // Its Content-Length is larger than the body.
    let short = serve(body, |_, _, length| {
        (format!("200 OK\r\nContent-Length: {}\r\n", length + 100), true)
    });
    let cut = osimg::verify::address(&format!("{short}/os.tgz"), &Options::default());
    assert!(cut.is_err() || names(&cut.unwrap()).contains("damaged"));
}

#[test]
fn an_address_without_a_server_is_a_network_error() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        osimg::verify::address(&format!("http://{gone}/os.tgz"), &Options::default()).unwrap_err();
    assert_eq!(osimg::error::exit_code(&error), osimg::error::ExitCode::Repository);
}
