//! The connection itself. While it waits (for a name, a connection, TLS, headers, a body, or room
//! to send), it checks for signals every tenth of a second, and gives up if the server is silent
//! for too long.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, config::Config};

use super::call::Stop;
use super::proxy::{Proxies, Proxy, bare};
use crate::process;

/// The interval at which a wait checks for signals.
const SLICE: Duration = Duration::from_millis(100);
/// The maximum time to wait for a name or a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(20);
/// A server that sends fewer bytes per second over the whole limit counts as silent.
const SLOWEST: u64 = 100;
/// The maximum size of the head of a proxy's answer.
const LONGEST_HEAD: usize = 16 << 10;

/// Why a connection was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    /// A signal asks to stop.
    Signal,
    /// Nothing was received or sent for this long.
    Silent(Duration),
    /// Less than [`SLOWEST`] was received for this long.
    Slow(Duration),
    /// The proxy refused or failed.
    Proxy(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal => f.write_str("stopped by a signal"),
            Self::Silent(time) => write!(f, "the server sent nothing for {} s", time.as_secs()),
            Self::Slow(time) => write!(
                f,
                "the server sent less than {SLOWEST} bytes a second for {} s",
                time.as_secs()
            ),
            Self::Proxy(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Halt {}

impl From<Halt> for Error {
    fn from(halt: Halt) -> Self {
        Self::Other(Box::new(halt))
    }
}

/// How long a connection waits, and whether a signal ends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub stop: Stop,
    /// For an answer and its bytes.
    pub answer: Duration,
    /// For everything else.
    pub limit: Duration,
}

impl Timeouts {
    fn check(self) -> Result<(), Halt> {
        if self.stop == Stop::Heed && process::stop_requested().is_some() {
            Err(Halt::Signal)
        } else {
            Ok(())
        }
    }

    /// Runs uninterruptible work in a thread. The thread is abandoned if it takes too long.
    fn in_thread<T: Send + 'static>(
        self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().spawn(move || drop(sender.send(work())))?;
        let began = Instant::now();
        loop {
            self.check()?;
            match receiver.recv_timeout(SLICE.min(limit)) {
                Ok(value) => {
                    // A process that enters a user namespace must be single-threaded.
                    let _ = thread.join();
                    return Ok(value);
                }
                Err(RecvTimeoutError::Timeout) if began.elapsed() < limit => {}
                Err(RecvTimeoutError::Timeout) => return Err(Halt::Silent(limit).into()),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::ConnectionFailed),
            }
        }
    }

    fn connecting(self) -> Duration {
        CONNECT.min(self.limit)
    }
}

/// Resolves host names: the proxy's name if a proxy is used for the address.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub timeouts: Timeouts,
    pub proxies: Arc<Proxies>,
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (host, port) = match self.proxies.to(uri).map_err(Halt::Proxy)? {
            Some(proxy) => (proxy.host.clone(), proxy.port),
            None => target(uri),
        };
        let found = self.timeouts.in_thread(self.timeouts.connecting(), move || {
            (host.as_str(), port).to_socket_addrs()
        })?;
        let mut all = self.empty();
        // The type holds at most sixteen.
        for address in found?.take(16) {
            all.push(address);
        }
        if all.is_empty() { Err(Error::HostNotFound) } else { Ok(all) }
    }
}

fn target(uri: &Uri) -> (String, u16) {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    (bare(uri.host().unwrap_or_default()).to_owned(), uri.port_u16().unwrap_or(default))
}

/// Opens connections, through a proxy if one is set for the address.
#[derive(Debug)]
pub(super) struct Connections(pub Names);

impl<In: Transport> Connector<In> for Connections {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<In>,
    ) -> Result<Option<Connection>, Error> {
        let Names { timeouts, proxies } = &self.0;
        let stream = self.open(&details.addrs)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SLICE))?;
        stream.set_write_timeout(Some(SLICE))?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let (timeouts, pace) = (*timeouts, Pace::default());
        let mut connection =
            Connection { stream, buffers, timeouts, pace, rewriting: None, begins: true };
        match proxies.to(details.uri).map_err(Halt::Proxy)? {
            Some(proxy) if details.needs_tls() => {
                connection.tunnel(proxy, details.uri, details.timeout)?
            }
            Some(proxy) => connection.rewriting = Some(Rewriting::new(proxy, details.uri)),
            None => {}
        }
        Ok(Some(connection))
    }
}

impl Connections {
    fn open(&self, addresses: &ResolvedSocketAddrs) -> Result<TcpStream, Error> {
        let timeouts = self.0.timeouts;
        let mut last = Error::ConnectionFailed;
        for (number, address) in addresses.iter().copied().enumerate() {
            // Each address gets half of the remaining time, the last one all of it.
            let share = timeouts.connecting() / if number + 1 < addresses.len() { 2 } else { 1 };
            match timeouts
                .in_thread(share * 2, move || TcpStream::connect_timeout(&address, share))?
            {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    last = Halt::Silent(share).into()
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

/// The additions to a plain request through a proxy: the full address in its first line, and the
/// credentials.
#[derive(Debug)]
struct Rewriting {
    origin: String,
    authorization: Option<String>,
}

impl Rewriting {
    fn new(proxy: &Proxy, uri: &Uri) -> Self {
        let host = uri
            .authority()
            .map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or_default());
        Self { origin: format!("http://{host}"), authorization: proxy.authorization.clone() }
    }

    /// `GET /path HTTP/1.1` becomes `GET http://host/path HTTP/1.1`: RFC 9112, 3.2.2.
    fn rewritten(&self, head: &[u8]) -> Vec<u8> {
        let path = head.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let line = head.windows(2).position(|pair| pair == b"\r\n").map_or(head.len(), |at| at + 2);
        let part = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
        let login = self
            .authorization
            .as_ref()
            .map(|login| format!("Proxy-Authorization: {login}\r\n"))
            .unwrap_or_default();
        [
            part(0, path),
            self.origin.as_bytes(),
            part(path, line),
            login.as_bytes(),
            part(line, head.len()),
        ]
        .concat()
    }
}

/// How fast bytes arrive.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    moved: u64,
}

impl Pace {
    fn add(&mut self, waited: Duration, moved: usize, limit: Duration) -> Result<(), Halt> {
        self.waited += waited;
        self.moved += moved as u64;
        if self.waited < limit {
            return Ok(());
        }
        match self.moved {
            0 => Err(Halt::Silent(limit)),
            moved if moved < SLOWEST * limit.as_secs().max(1) => Err(Halt::Slow(limit)),
            _ => {
                *self = Self::default();
                Ok(())
            }
        }
    }
}

/// An open connection, below TLS.
pub(super) struct Connection {
    stream: TcpStream,
    buffers: LazyBuffers,
    timeouts: Timeouts,
    /// The time since the last byte was sent.
    pace: Pace,
    rewriting: Option<Rewriting>,
    /// Whether the next bytes sent begin a request.
    begins: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Connection {
    /// Asks the proxy to connect to the host of an address.
    fn tunnel(&mut self, proxy: &Proxy, uri: &Uri, budget: NextTimeout) -> Result<(), Error> {
        let (host, port) = target(uri);
        let origin =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let login = proxy
            .authorization
            .as_ref()
            .map(|login| format!("Proxy-Authorization: {login}\r\n"))
            .unwrap_or_default();
        send(
            &self.stream,
            format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n{login}\r\n").as_bytes(),
            self.timeouts,
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let count = receive(&self.stream, &mut byte, self.timeouts, &mut self.pace, budget)?;
            if count == 0 || head.len() > LONGEST_HEAD {
                return Err(Halt::Proxy(format!(
                    "the proxy {proxy:?} does not answer like a proxy"
                ))
                .into());
            }
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head
            .lines()
            .next()
            .unwrap_or_default()
            .split_once(' ')
            .map_or("", |(_, status)| status);
        if status.starts_with("200") {
            return Ok(());
        }
        let shown: String = status.chars().filter(|c| !c.is_control()).take(100).collect();
        Err(Halt::Proxy(format!("the proxy {proxy:?} answers {shown}")).into())
    }
}

fn send(mut stream: &TcpStream, mut bytes: &[u8], timeouts: Timeouts) -> Result<(), Error> {
    let mut pace = Pace::default();
    while !bytes.is_empty() {
        timeouts.check()?;
        let began = Instant::now();
        let count = match stream.write(bytes) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::WriteZero).into()),
            Ok(count) => count,
            Err(error) if is_pause(&error) => 0,
            Err(error) => return Err(error.into()),
        };
        pace.add(began.elapsed(), count, timeouts.limit)?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

fn receive(
    mut stream: &TcpStream,
    buffer: &mut [u8],
    timeouts: Timeouts,
    pace: &mut Pace,
    budget: NextTimeout,
) -> Result<usize, Error> {
    let first = Instant::now();
    loop {
        timeouts.check()?;
        let began = Instant::now();
        match stream.read(buffer) {
            Ok(count) => {
                pace.add(began.elapsed(), count, timeouts.answer)?;
                return Ok(count);
            }
            Err(error) if is_pause(&error) => pace.add(began.elapsed(), 0, timeouts.answer)?,
            Err(error) => return Err(error.into()),
        }
        if first.elapsed() >= *budget.after {
            // The only budget is that for connecting; its remainder does not count as waiting.
            return Err(Halt::Silent(timeouts.connecting()).into());
        }
    }
}

/// Whether only the slice is over, or a signal arrived that may be one of ours.
fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let bytes = self.buffers.output().get(..amount).unwrap_or_default();
        match &self.rewriting {
            Some(rewriting) if self.begins => {
                send(&self.stream, &rewriting.rewritten(bytes), self.timeouts)?
            }
            _ => send(&self.stream, bytes, self.timeouts)?,
        }
        (self.begins, self.pace) = (false, Pace::default());
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let count = receive(
            &self.stream,
            self.buffers.input_append_buf(),
            self.timeouts,
            &mut self.pace,
            timeout,
        )?;
        self.buffers.input_appended(count);
        self.begins = true;
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        // Between two requests a server sends nothing. If something can be read, it is closing.
        let quiet = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let seen = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            seen
        };
        quiet(&self.stream).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_through_a_proxy_has_the_full_address_and_the_login() {
        let uri: Uri = "http://h:81/a".parse().expect("a URL");
        let proxy = Proxy { host: "p".into(), port: 1, authorization: Some("Basic eA==".into()) };
        let head = Rewriting::new(&proxy, &uri).rewritten(b"GET /a HTTP/1.1\r\nhost: h:81\r\n\r\n");
        let wanted =
            "GET http://h:81/a HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\nhost: h:81\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), wanted);
    }

    #[test]
    fn a_trickle_counts_as_silence_and_a_slow_connection_does_not() {
        let (limit, second) = (Duration::from_secs(10), Duration::from_secs(1));
        let after = |bytes: usize| {
            (0..10).try_fold(Pace::default(), |mut pace, _| {
                pace.add(second, bytes, limit).map(|()| pace)
            })
        };
        assert_eq!(after(0).map(|_| ()), Err(Halt::Silent(limit)));
        assert_eq!(after(99).map(|_| ()), Err(Halt::Slow(limit)));
        assert_eq!(after(100).map(|pace| pace.moved), Ok(0));
    }
}
