//! A proxy on loopback that treats requests as networks and other proxies do: it cuts, delays,
//! refuses or changes them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The treatment of a request.
pub enum Fault {
    /// Pass it on.
    Pass,
    /// Cut the connection after so many bytes of the body.
    Cut(u64),
    /// Answer at once with this status and HTML.
    Answer(u16),
    /// Pass on the body at so many bytes per second.
    Slow(u64),
    /// Change one byte of the body.
    Change,
    /// Never pass on any of the body.
    Stall,
    /// Pass on the request, but not the response.
    Lose,
    /// Run the program after so many bytes of the body.
    Then(u64, Box<dyn FnOnce() + Send>),
}

type Plan = Box<dyn FnMut(&str, &str) -> Fault + Send>;

/// The running proxy. Its thread ends with the process.
pub struct Proxy {
    pub url: String,
}

impl Proxy {
    /// Passes everything on to the port, unless `plan` returns a fault for the method and path.
    pub fn start(port: u16, plan: impl FnMut(&str, &str) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&plan);
                // Broken connections are the purpose of the tests.
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
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .and_then(|l| l.trim().parse::<u64>().ok())
        })
        .unwrap_or(0);
    let mut fault = (plan.lock().unwrap())(method, path);
    if let Fault::Answer(status) = fault {
        let body = format!(
            "<html><head><title>{status} of a \
             proxy</title></head><body><h1>nginx</h1></body></html>"
        );
        write!(
            client,
            "HTTP/1.1 {status} Refused\r\ncontent-type: text/html\r\ncontent-length: \
             {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )?;
        // As nginx does: read the rest of the request, so that the response is not lost with the
        // connection.
        client.shutdown(Shutdown::Write)?;
        client.set_read_timeout(Some(Duration::from_secs(2)))?;
        std::io::copy(&mut client, &mut std::io::sink())?;
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    // One request per connection, so that the next one is seen too.
    let head = text
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:") && !line.is_empty());
    server.write_all(
        (head.collect::<Vec<_>>().join("\r\n") + "\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let (mut window, mut done) = (vec![0; 16 << 10], 0);
    while done < length {
        match &mut fault {
            Fault::Cut(limit) if done >= *limit => return client.shutdown(Shutdown::Both),
            Fault::Stall => std::thread::sleep(Duration::from_secs(3600)),
            Fault::Slow(rate) => {
                std::thread::sleep(Duration::from_secs_f64(window.len() as f64 / *rate as f64))
            }
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
        if matches!(fault, Fault::Change) && done <= length / 2 && done + count as u64 > length / 2
        {
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
