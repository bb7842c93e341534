//! A proxy on loopback that does to requests what networks and other proxies do: cut, delay,
//! refuse, change.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
pub enum Fault {
    /// It passes.
    Pass,
    /// The connection breaks after so many bytes of its body.
    Cut(u64),
    /// It is answered here, at once, with this status and HTML.
    Answer(u16),
    /// Its body passes at so many bytes a second.
    Slow(u64),
    /// One byte of its body is changed.
    Change,
    /// Nothing of its body passes, for ever.
    Stall,
    /// It arrives, and its answer does not.
    Lose,
    /// The program runs when so many bytes of its body have passed.
    Then(u64, Box<dyn FnOnce() + Send>),
}

type Plan = Box<dyn FnMut(&str, &str) -> Fault + Send>;

/// The running proxy; its thread ends with the process.
pub struct Proxy {
    pub url: String,
}

impl Proxy {
    /// Passes everything on to the port, unless `plan` says otherwise of a method and path.
    pub fn start(port: u16, plan: impl FnMut(&str, &str) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&plan);
                // What breaks here is what the test is about.
                std::thread::spawn(move || drop(serve(client, port, &plan)));
            }
        });
        Self { url }
    }
}

fn serve(mut client: TcpStream, port: u16, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let length = text
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").and_then(|l| l.trim().parse::<u64>().ok()))
        .unwrap_or(0);
    let mut fault = (plan.lock().unwrap())(method, path);
    if let Fault::Answer(status) = fault {
        let body = format!("<html><head><title>{status} of a proxy</title></head><body><h1>nginx</h1></body></html>");
        write!(
            client,
            "HTTP/1.1 {status} Refused\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )?;
        // As nginx lingers: what still comes is read, so that the answer is not lost with the
        // connection.
        client.shutdown(Shutdown::Write)?;
        client.set_read_timeout(Some(Duration::from_secs(2)))?;
        std::io::copy(&mut client, &mut std::io::sink())?;
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    // One request a connection, so that the next one is seen too.
    let head = text.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:") && !line.is_empty());
    server.write_all((head.collect::<Vec<_>>().join("\r\n") + "\r\nconnection: close\r\n\r\n").as_bytes())?;
    let (mut window, mut done) = (vec![0; 16 << 10], 0);
    while done < length {
        match &mut fault {
            Fault::Cut(limit) if done >= *limit => return client.shutdown(Shutdown::Both),
            Fault::Stall => std::thread::sleep(Duration::from_secs(3600)),
            Fault::Slow(rate) => std::thread::sleep(Duration::from_secs_f64(window.len() as f64 / *rate as f64)),
            Fault::Then(at, _) if done >= *at => {
                if let Fault::Then(_, run) = std::mem::replace(&mut fault, Fault::Pass) {
                    run();
                }
            }
            _ => {}
        }
        let count = client.read(&mut window)?;
        if count == 0 {
            return Ok(());
        }
        if matches!(fault, Fault::Change) && done <= length / 2 && done + count as u64 > length / 2 {
            window[0] ^= 1;
        }
        server.write_all(&window[..count])?;
        done += count as u64;
    }
    if matches!(fault, Fault::Lose) {
        std::io::copy(&mut server, &mut std::io::sink())?;
        return client.shutdown(Shutdown::Both);
    }
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// Whether it is the upload of an image's data.
pub fn is_upload(method: &str, path: &str) -> bool {
    method == "PUT" && path.ends_with("/file")
}
