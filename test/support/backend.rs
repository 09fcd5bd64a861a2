//! The HTTP backend of a test: does what its script says, and records what it was asked.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use openssl::ssl::SslAcceptor;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::certificates::{self, Authority, Identity};
use super::schema;

/// What becomes of one request.
#[derive(Clone)]
pub enum Answer {
    /// A whole response.
    Whole { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Another answer, later.
    Delayed(Duration, Box<Answer>),
    /// The request is read, and nothing happens.
    Never,
    /// The connection is closed in place of an answer.
    HangUp,
    /// The connection is closed after half of this body.
    CutShort(Vec<u8>),
    /// Half of this body, then silence.
    Stalled(Vec<u8>),
    /// A space every 20 ms for ever: no single read takes long, the whole never ends.
    Trickle,
    /// Status 200 and this body in chunks, its length not said beforehand.
    Chunked(Vec<u8>),
}

impl Answer {
    /// Status 200 and this JSON, of which docs/answer.schema.json has to take the same view as the library, good or bad.
    pub fn json(value: Value) -> Answer {
        schema::is_good(&value);
        Answer::text(value.to_string())
    }

    /// Status 200 and this body, which claims to be JSON.
    pub fn text(body: impl Into<Vec<u8>>) -> Answer {
        Answer::status(200, body)
    }

    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Answer {
        let headers = vec![("Content-Type".to_string(), "application/json".to_string())];
        Answer::Whole { status, headers, body: body.into() }
    }

    pub fn redirect(location: String) -> Answer {
        let headers = vec![("Location".to_string(), location)];
        Answer::Whole { status: 302, headers, body: Vec::new() }
    }

    pub fn after(self, delay: Duration) -> Answer {
        Answer::Delayed(delay, Box::new(self))
    }

    /// The same response with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        let Answer::Whole { headers, .. } = &mut self else { panic!("an answer without headers") };
        headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn cache_control(self, directives: &str) -> Answer {
        self.header("Cache-Control", directives)
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, as in the request line.
    pub target: String,
    pub arrived: Instant,
    /// The name in the client's certificate.
    pub client: Option<String>,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// How many bytes of a body go out, and are counted, at a time.
const PART: usize = 0x2000;

/// A server on a free port of loopback. Dropped, it stops and cuts every connection.
pub struct Backend {
    address: SocketAddr,
    /// Keeps the port while nobody listens at it.
    reserved: Socket,
    shared: Arc<Shared>,
    /// `None` while it is stopped.
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    tls: Option<SslAcceptor>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    script: Script,
    requests: Vec<Request>,
    /// How many of the requests have no answer yet.
    open: usize,
    connections: usize,
    body_bytes: usize,
    /// Cut when the backend stops, by number.
    streams: HashMap<usize, Arc<TcpStream>>,
    held: bool,
    stopping: bool,
}

impl Backend {
    /// Gives each request this answer.
    pub fn answering(answer: Answer) -> Backend {
        Backend::scripted(move |_| answer.clone())
    }

    /// Gives each request this JSON.
    pub fn json(value: Value) -> Backend {
        Backend::answering(Answer::json(value))
    }

    /// Gives each request its own target as option 224.
    pub fn echo() -> Backend {
        Backend::scripted(echo)
    }

    /// Gives each request the answer that `script` has for it.
    pub fn scripted(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Backend {
        Backend::new(None, Arc::new(script))
    }

    /// Gives this answer over TLS, to clients with a certificate of `clients` alone, if given.
    pub fn tls(identity: &Identity, clients: Option<&Authority>, answer: Answer) -> Backend {
        Backend::new(Some(certificates::acceptor(identity, clients)), Arc::new(move |_| answer.clone()))
    }

    fn new(tls: Option<SslAcceptor>, script: Script) -> Backend {
        let reserved = socket((Ipv4Addr::LOCALHOST, 0).into());
        let address = reserved.local_addr().expect("a bound socket").as_socket().expect("of IPv4");
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
        let shared = Arc::new(Shared { tls, state: Mutex::new(state), changed: Condvar::new() });
        let mut backend = Backend { address, reserved, shared, acceptor: None };
        backend.start();
        backend
    }

    /// Listens again, at the same address, after a [`Backend::stop`].
    pub fn start(&mut self) {
        self.shared.state().stopping = false;
        let socket = socket(self.address);
        // Room for more connections at once than the standard library's listeners have.
        socket.listen(1024).expect("a listening socket on loopback");
        let listener = TcpListener::from(socket);
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(thread::spawn(move || shared.accept(&listener)));
    }

    /// Cuts every connection and refuses new ones, as when its machine's web server is killed.
    pub fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        {
            let mut state = self.shared.state();
            state.stopping = true;
            for stream in state.streams.values() {
                let _ = stream.shutdown(Shutdown::Both); // It may be gone already.
            }
            self.shared.changed.notify_all();
        }
        // Wakes the acceptor, which then sees that it is to stop.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join(); // A panic there has been printed.
    }

    /// From the next request on, gives this answer.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// From the next request on, gives the answer that `script` has for it.
    pub fn script(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        self.shared.state().script = Arc::new(script);
    }

    /// Keeps all answers back until [`Backend::release`].
    pub fn hold(&self) {
        self.shared.state().held = true;
    }

    pub fn release(&self) {
        self.shared.state().held = false;
        self.shared.changed.notify_all();
    }

    /// The URL of a path, which begins with `/`, or of the whole server when it is empty.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Path and query of each request.
    pub fn targets(&self) -> Vec<String> {
        self.shared.state().requests.iter().map(|request| request.target.clone()).collect()
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// Waits until there have been that many requests, or more.
    #[track_caller]
    pub fn wait_until_asked(&self, number: usize) {
        self.wait("requests", number, |state| state.requests.len());
    }

    /// Waits until that many requests, or more, wait for their answers at the same time.
    #[track_caller]
    pub fn wait_until_open(&self, number: usize) {
        self.wait("open requests", number, |state| state.open);
    }

    /// How many requests wait for their answers now.
    pub fn open(&self) -> usize {
        self.shared.state().open
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How many bytes of body were taken from it, the system's buffers included.
    pub fn body_bytes(&self) -> usize {
        self.shared.state().body_bytes
    }

    #[track_caller]
    fn wait(&self, what: &str, number: usize, count: impl Fn(&State) -> usize) {
        let few = |state: &mut State| count(state) < number;
        let (state, _) = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, few).unwrap();
        let found = count(&state);
        drop(state);
        assert!(found >= number, "{found} {what} in place of {number} in {PATIENCE:?}");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What [`Backend::echo`] answers.
pub fn echo(request: &Request) -> Answer {
    Answer::json(serde_json::json!({"224": request.target}))
}

/// A socket of this address, which another may have too as long as neither listens.
fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&address.into()).expect("a TCP socket on loopback");
    socket
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
        // What waits in the system's buffers counts as taken: keep them small.
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

    /// Tells whether the connection goes on.
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

    /// A delay that ends early when the backend stops.
    fn pause(&self, delay: Duration) {
        let running = |state: &mut State| !state.stopping;
        drop(self.changed.wait_timeout_while(self.state(), delay, running).unwrap());
    }
}

/// The head of a response that announces `body` whole, and half of it.
fn first_half(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 Scripted\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body[..body.len() / 2]].concat()
}

fn wait_for_close(stream: &mut impl Read) -> io::Result<bool> {
    stream.read_exact(&mut [0])?;
    Ok(false)
}

/// The next request of a connection, `None` at its end. Requests without a body only, as the hook's are.
fn read_request(stream: &mut impl Read, client: Option<&str>) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let status =
            request.parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if status.is_complete() {
            let headers = request.headers.iter();
            return Ok(Some(Request {
                method: request.method.unwrap_or_default().to_string(),
                target: request.path.unwrap_or_default().to_string(),
                arrived: Instant::now(),
                client: client.map(str::to_owned),
                headers: headers
                    .map(|header| {
                        (header.name.to_string(), String::from_utf8_lossy(header.value).into_owned())
                    })
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
