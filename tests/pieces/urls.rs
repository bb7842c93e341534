//! URLs as Ironic and Anaconda request them, at correct servers and at others.

use osimg::deploy::http::{Checked, Expected, check};
use osimg::set::Role;
use std::io::Write;

use crate::servers::{nginx, odd, python};
use crate::set::{gzip, write};
use crate::{directory, have};

fn ask(url: &str, size: Option<u64>) -> Checked {
    check(url, &Expected { role: Role::Tarball, size, ca: None }).unwrap()
}

fn problems(checked: &Checked) -> String {
    checked.problems.iter().map(|p| p.what.as_str()).collect::<Vec<_>>().join("; ")
}

#[test]
fn ordinary_web_servers_are_accepted() {
    if !have(&["python3", "nginx"]) {
        return;
    }
    let www = directory();
    let size = write(www.path(), "os/os-1.tgz", &gzip("x")).metadata().unwrap().len();
    for port in [&python(www.path()), &nginx(www.path(), "")].map(|server| (server.port, server)) {
        let checked = ask(&format!("http://127.0.0.1:{}/os/os-1.tgz", port.0), Some(size));
        assert_eq!((problems(&checked).as_str(), checked.size), ("", Some(size)));
        assert_eq!(checked.into_result().unwrap(), Some(size));
    }
}

#[test]
fn problems_that_a_node_would_meet_are_reported_in_advance() {
    if !have(&["nginx"]) {
        return;
    }
    let www = directory();
    write(www.path(), "os-1.tgz", &gzip("x"));
    write(www.path(), "page.tgz", b"<html>");
    write(www.path(), "os-1.tar", &vec![b'x'; 5000]);
    let server = nginx(
        www.path(),
        "location /moved.tgz { return 302 /os-1.tgz; } location /page.tgz { types { } \
         default_type text/html; } location /secret.tgz { return 403; } gzip on; gzip_types *; \
         gzip_min_length 1; gzip_proxied any; location /os-1.tgz { gzip off; }",
    );
    let base = format!("http://127.0.0.1:{}", server.port);
    for (path, problem) in [
        ("/moved.tgz", "redirected (302 Found) to"),
        ("/none.tgz", "no such file"),
        ("/secret.tgz", "refuses it"),
        ("/page.tgz", "take it for an install tree"),
        ("/os-1.tar", "Content-Encoding: gzip"),
        ("/os-1.tgz?x=.tgz", "query string"),
        ("/os-1.TGZ", "mount it as a disk"),
        ("/", "mount it as a disk"),
    ] {
        let checked = ask(&format!("{base}{path}"), None);
        assert!(problems(&checked).contains(problem), "{path}: {checked:?}");
        let text = osimg::error::render(&checked.into_result().unwrap_err());
        assert!(text.contains("hint:"), "{text}");
    }
    let checked = ask(&format!("{base}/os-1.tgz"), Some(7));
    assert!(problems(&checked).contains("bytes there, 7 here"), "{checked:?}");
    let checked = ask("http://osimg:secret@127.0.0.1/os.tgz", None);
    assert!(
        !format!("{checked:?}").contains("secret") && problems(&checked).contains("user name"),
        "{checked:?}"
    );
}

#[test]
fn servers_without_head_or_length_are_reported() {
    let no_head = odd(|head, _, stream| {
        let answer = if head.starts_with("HEAD") {
            "405 Method Not Allowed\r\nContent-Length: 0"
        } else {
            "200 OK\r\nContent-Length: 3"
        };
        let _ =
            stream.write_all(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").as_bytes());
    });
    assert!(
        problems(&ask(&format!("http://127.0.0.1:{no_head}/os.tgz"), None))
            .contains("does not answer HEAD")
    );
    let no_length = odd(|_, _, stream| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        ))
    });
    assert!(
        problems(&ask(&format!("http://127.0.0.1:{no_length}/os.tgz"), None))
            .contains("Content-Length")
    );
    let closed = odd(|_, _, _| {});
    assert_ne!(problems(&ask(&format!("http://127.0.0.1:{closed}/os.tgz"), None)), "");
    assert!(
        problems(&ask("http://127.0.0.1:9/os.tgz", None)).contains("the connection was refused")
    );
    assert!(
        problems(&ask("http://no-such-host.invalid/os.tgz", None))
            .contains("the host does not exist")
    );
}
