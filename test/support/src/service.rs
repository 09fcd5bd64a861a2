// SPDX-License-Identifier: MPL-2.0
//! A scripted HTTP service: does with each request what its script says, and records the requests.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use openssl::ssl::SslAcceptor;
use serde_json::Value;

use crate::PATIENCE;
use crate::certificates::{self, Authority, Identity};
use crate::port::Port;
use crate::schema;

/// What becomes of one request.
#[derive(Clone)]
pub enum Answer {
    /// A whole response.
    Whole {
        /// The status code.
        status: u16,
        /// The header fields: name, value. `Content-Length` is added.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Another answer, after this time.
    Delayed(Duration, Box<Answer>),
    /// The service reads the request and does nothing more.
    Never,
    /// The service closes the connection instead of answering.
    HangUp,
    /// The service announces this body, sends its first half, and closes the connection.
    CutShort(Vec<u8>),
    /// The service announces this body, sends its first half, and is silent from then on.
    Stalled(Vec<u8>),
    /// The service sends a space every 20 ms, for ever: each single read is short, the whole body
    /// never ends.
    Trickle,
    /// Status 200 and this body in chunks: the response does not announce the body's length.
    Chunked(Vec<u8>),
}

impl Answer {
    /// Status 200 and this JSON. Panics unless docs/answer.schema.json takes the same view of the
    /// JSON as the library does, be the JSON good or bad.
    pub fn json(value: Value) -> Answer {
        schema::is_good(&value);
        Answer::text(value.to_string())
    }

    /// Status 200 and this body, which claims to be JSON.
    pub fn text(body: impl Into<Vec<u8>>) -> Answer {
        Answer::status(200, body)
    }

    /// This status and this body, which claims to be JSON.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        let headers = vec![("Content-Type".to_string(), "application/json".to_string())];
        Answer::Whole { status, headers, body: body.into() }
    }

    /// A redirect (302) to this URL.
    pub fn redirect(location: String) -> Answer {
        let headers = vec![("Location".to_string(), location)];
        Answer::Whole { status: 302, headers, body: Vec::new() }
    }

    /// The same answer, later by this time.
    pub fn after(self, delay: Duration) -> Answer {
        Answer::Delayed(delay, Box::new(self))
    }

    /// The same response with one more header field.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        let Answer::Whole { headers, .. } = &mut self else { panic!("an answer without headers") };
        headers.push((name.to_string(), value.to_string()));
        self
    }

    /// The same response with a `Cache-Control` of these directives.
    pub fn cache_control(self, directives: &str) -> Answer {
        self.header("Cache-Control", directives)
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method: `GET`.
    pub method: String,
    /// Path and query, as in the request line.
    pub target: String,
    /// When the service had read the request.
    pub arrived: Instant,
    /// The common name in the client's certificate. `None` without TLS or without a certificate.
    pub client: Option<String>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The value of the first header field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// How many bytes of a body the service sends, and counts, at a time.
const PART: usize = 0x2000;

/// A scripted service on a free port of loopback. When it is dropped, it stops and cuts every
/// connection.
pub struct Service {
    port: Port,
    shared: Arc<Shared>,
    /// The thread that accepts connections; `None` while the service is stopped.
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<SslAcceptor>,
    state: Mutex<State>,
    changed: Condvar,
    /// Answers that are delayed wait for this one alone: a request must not wake them all.
    stopped: Condvar,
}

struct State {
    script: Script,
    requests: Vec<Request>,
    /// How many of `requests` have no answer yet.
    open: usize,
    /// How many connections the service has accepted.
    connections: usize,
    /// How many bytes of body the service has written.
    body_bytes: usize,
    /// The connections that are open, by number: a stop cuts them.
    streams: HashMap<usize, Arc<TcpStream>>,
    /// Whether answers wait for [`Service::release`].
    held: bool,
    /// Whether [`Service::stop`] was called.
    stopping: bool,
}

impl Service {
    /// Gives each request this answer.
    pub fn answering(answer: Answer) -> Service {
        Service::scripted(move |_| answer.clone())
    }

    /// Gives each request this JSON.
    pub fn json(value: Value) -> Service {
        Service::answering(Answer::json(value))
    }

    /// Gives each request its own target as option 224.
    pub fn echo() -> Service {
        Service::scripted(echo)
    }

    /// Gives each request the answer that `script` returns for it.
    pub fn scripted(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Service {
        Service::new(None, Arc::new(script))
    }

    /// Gives each request this answer over TLS. With `clients`, the service takes only clients that
    /// have a certificate of this authority.
    pub fn tls(identity: &Identity, clients: Option<&Authority>, answer: Answer) -> Service {
        let tls = certificates::acceptor(identity, clients);
        Service::new(Some(tls), Arc::new(move |_| answer.clone()))
    }

    /// Gives each request over TLS the answer that `script` returns for it.
    pub fn tls_scripted(
        identity: &Identity,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Service {
        Service::new(Some(certificates::acceptor(identity, None)), Arc::new(script))
    }

    fn new(tls: Option<SslAcceptor>, script: Script) -> Service {
        let state = State {
            script,
            requests: Vec::new(),
            open: 0,
            connections: 0,
            body_bytes: 0,
            streams: HashMap::new(),
            held: false,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            tls,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopped: Condvar::new(),
        });
        let mut service = Service { port: Port::reserve(), shared, acceptor: None };
        service.start();
        service
    }

    /// Listens again, at the same address, after a [`Service::stop`].
    pub fn start(&mut self) {
        self.shared.state().stopping = false;
        let listener = self.port.listen();
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(thread::spawn(move || shared.accept(&listener)));
    }

    /// Cuts every connection and refuses new ones, as when somebody kills the web server.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        {
            let mut state = self.shared.state();
            state.stopping = true;
            for stream in state.streams.values() {
                let _ = stream.shutdown(Shutdown::Both); // The peer may have closed it.
            }
            self.shared.changed.notify_all();
            self.shared.stopped.notify_all();
        }
        // Wakes the acceptor, which then sees `stopping`.
        let _ = TcpStream::connect(self.port.address());
        let _ = acceptor.join(); // A panic there has been printed.
    }

    /// From the next request on, gives this answer.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// From the next request on, gives the answer that `script` returns.
    pub fn script(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        self.shared.state().script = Arc::new(script);
    }

    /// Keeps all answers back until [`Service::release`].
    pub fn hold(&self) {
        self.shared.state().held = true;
    }

    /// Sends the answers that [`Service::hold`] kept back, and all later answers at once.
    pub fn release(&self) {
        self.shared.state().held = false;
        self.shared.changed.notify_all();
    }

    /// The URL of a path, which begins with `/`. An empty path stands for the whole service.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.port.address())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Path and query of each request so far.
    pub fn targets(&self) -> Vec<String> {
        self.shared.state().requests.iter().map(|request| request.target.clone()).collect()
    }

    /// How many requests there have been.
    pub fn asked(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// Waits until there have been at least `number` requests.
    #[track_caller]
    pub fn wait_until_asked(&self, number: usize) {
        self.wait("requests", number, |state| state.requests.len());
    }

    /// Waits until at least `number` requests wait for their answers at the same time.
    #[track_caller]
    pub fn wait_until_open(&self, number: usize) {
        self.wait("open requests", number, |state| state.open);
    }

    /// How many requests wait for their answers now.
    pub fn open(&self) -> usize {
        self.shared.state().open
    }

    /// How many connections the service has accepted.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How many bytes of body the service has handed to the system, which buffers some of them.
    pub fn body_bytes(&self) -> usize {
        self.shared.state().body_bytes
    }

    #[track_caller]
    fn wait(&self, what: &str, number: usize, count: impl Fn(&State) -> usize) {
        let few = |state: &mut State| count(state) < number;
        let state = self.shared.state();
        let (state, _) = self.shared.changed.wait_timeout_while(state, PATIENCE, few).unwrap();
        let found = count(&state);
        drop(state);
        assert!(found >= number, "{found} {what} instead of {number} in {PATIENCE:?}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The answer of [`Service::echo`]: the request's target as option 224.
pub fn echo(request: &Request) -> Answer {
    Answer::json(serde_json::json!({"224": request.target}))
}

/// The answer of [`echo`] for a client behind this [`port`](crate::dhcp::port), where the service's
/// URL ends with `/`.
pub fn about(number: u32) -> String {
    format!("/?sub82_1={number:08X}")
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for stream in listener.incoming() {
                let stream = Arc::new(stream.expect("a connection"));
                let number = {
                    let mut state = self.state();
                    if state.stopping {
                        return;
                    }
                    let number = state.connections;
                    state.connections += 1;
                    state.streams.insert(number, Arc::clone(&stream));
                    number
                };
                scope.spawn(move || {
                    let _ = self.greet(&stream); // The peer may go away at any time.
                    self.state().streams.remove(&number);
                });
            }
        });
    }

    fn greet(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // Bytes in the system's buffers count as sent. Small buffers keep the count close to what
        // the peer has read.
        socket2::SockRef::from(stream).set_send_buffer_size(0x10000)?;
        let Some(tls) = &self.tls else { return self.serve(stream, None) };
        let stream = tls.accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
        let client = certificates::peer(stream.ssl());
        self.serve(stream, client)
    }

    /// Answers the requests of one connection until either side closes it.
    fn serve(&self, mut stream: impl Read + Write, client: Option<String>) -> io::Result<()> {
        while let Some(request) = read_request(&mut stream, client.as_deref())? {
            let script = {
                let mut state = self.state();
                state.requests.push(request.clone());
                state.open += 1;
                Arc::clone(&state.script)
            };
            self.changed.notify_all();
            let answer = script(&request);
            let held = |state: &mut State| state.held && !state.stopping;
            drop(self.changed.wait_while(self.state(), held).unwrap());
            let goes_on = self.give(&mut stream, answer);
            self.state().open -= 1;
            if !goes_on? {
                break;
            }
        }
        Ok(())
    }

    /// Does what the answer says. Returns whether the connection stays open.
    fn give(&self, stream: &mut (impl Read + Write), answer: Answer) -> io::Result<bool> {
        match answer {
            Answer::Whole { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                if status != 204 {
                    head += &format!("Content-Length: {}\r\n", body.len());
                }
                stream.write_all(format!("{head}\r\n").as_bytes())?;
                for part in body.chunks(PART) {
                    stream.write_all(part)?;
                    self.state().body_bytes += part.len();
                }
                Ok(true)
            }
            Answer::Chunked(body) => {
                stream.write_all(b"HTTP/1.1 200 Scripted\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                for part in body.chunks(PART) {
                    let length = format!("{:x}\r\n", part.len());
                    stream.write_all(&[length.as_bytes(), part, b"\r\n"].concat())?;
                    self.state().body_bytes += part.len();
                }
                stream.write_all(b"0\r\n\r\n")?;
                Ok(true)
            }
            Answer::Delayed(delay, answer) => {
                self.pause(delay);
                self.give(stream, *answer)
            }
            Answer::Never => wait_for_close(stream),
            Answer::HangUp => Ok(false),
            Answer::CutShort(body) => {
                stream.write_all(&first_half(&body))?;
                Ok(false)
            }
            Answer::Stalled(body) => {
                stream.write_all(&first_half(&body))?;
                wait_for_close(stream)
            }
            Answer::Trickle => {
                stream.write_all(b"HTTP/1.1 200 Scripted\r\nContent-Length: 60000\r\n\r\n")?;
                loop {
                    stream.write_all(b" ")?;
                    self.pause(Duration::from_millis(20));
                }
            }
        }
    }

    /// Waits for this time. A stop of the service ends the wait early.
    fn pause(&self, delay: Duration) {
        let running = |state: &mut State| !state.stopping;
        drop(self.stopped.wait_timeout_while(self.state(), delay, running).unwrap());
    }
}

/// The head of a response that announces the whole `body`, and the first half of `body`.
fn first_half(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 Scripted\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body[..body.len() / 2]].concat()
}

fn wait_for_close(stream: &mut impl Read) -> io::Result<bool> {
    stream.read_exact(&mut [0])?;
    Ok(false)
}

/// Reads the next request of a connection; `None` at the end of the connection. A request of the
/// hook has no body, so a body is not expected.
fn read_request(stream: &mut impl Read, client: Option<&str>) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let status = request
            .parse(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if status.is_complete() {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let headers = request.headers.iter();
            return Ok(Some(Request {
                method: request.method.unwrap_or_default().to_string(),
                target: request.path.unwrap_or_default().to_string(),
                arrived: Instant::now(),
                client: client.map(str::to_owned),
                headers: headers
                    .map(|header| (header.name.to_string(), text(header.value)))
                    .collect(),
            }));
        }
        let mut part = [0; 4096];
        match stream.read(&mut part)? {
            0 => return Ok(None),
            length => bytes.extend_from_slice(&part[..length]),
        }
    }
}
