// SPDX-License-Identifier: MPL-2.0
//! Any bytes as what an HTTP service sends.
//!
//! The first byte of the input says which version of HTTP is spoken and how the service behaves,
//! the second one in how many pieces it sends the rest: see [`Script`].
#![no_main]

use std::env;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use remote_opts_core::answer::{Answer, Given};
use remote_opts_core::config;
use remote_opts_core::fetch::{Failure, Fetch as _, Found, MAX_BODY};
use remote_opts_core::http::Client;
use remote_opts_core::runtime::Runtime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use url::Url;

/// The longest time of a lookup whose service ends the connection when it has sent its bytes: the
/// end of a lookup is waited for, and never comes from this time.
const WHOLE: Duration = Duration::from_secs(5);

/// The time of a lookup whose service keeps the connection open.
const SHORT: Duration = Duration::from_millis(25);

/// The longest text about a failure that the log shows.
const LONGEST: usize = 500;

/// The longest life of an answer that counts.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The most pieces in which bytes are sent.
const MOST_PIECES: usize = 64;

/// A good response by HTTP/1.1.
const GOOD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{\"client-classes\": [\"good\"]}";

/// The same by HTTP/2: SETTINGS; HEADERS with `:status` 200; DATA, which ends the stream.
const GOOD_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\
    \0\0\x1c\0\x01\0\0\0\x01{\"client-classes\": [\"good\"]}";

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE_LENGTH: usize = 24;

/// The header of a frame of HTTP/2 (RFC 9113, section 4.1).
const FRAME_HEADER: usize = 9;

/// The type of the frame HEADERS (RFC 9113, section 6.2).
const HEADERS: u8 = 1;

/// What the service does on each connection.
#[derive(Clone)]
struct Script {
    http2: bool,
    /// Whether the service sends before it has got the request.
    early: bool,
    /// Whether the service resets the connection behind the last byte.
    resets: bool,
    /// Whether the service keeps the connection open behind the last byte.
    stays: bool,
    pieces: usize,
    bytes: Arc<[u8]>,
}

impl Script {
    fn good(http2: bool) -> Self {
        let bytes = if http2 { GOOD_HTTP2 } else { GOOD };
        let bytes = bytes.into();
        Script { http2, early: false, resets: false, stays: false, pieces: 1, bytes }
    }

    fn new(input: &[u8]) -> Option<Self> {
        let [behaviour, pieces, bytes @ ..] = input else { return None };
        let http2 = behaviour & 1 != 0;
        // Mutations change the length of a frame, and would need luck to change its header, too.
        let bytes = if http2 && behaviour & 2 != 0 { frames(bytes) } else { bytes.to_vec() };
        Some(Script {
            http2,
            early: behaviour & 0x1c == 0x1c,
            resets: behaviour & 0x70 == 0x70,
            // One in eight: each costs the time of a lookup.
            stays: behaviour & 0xe0 == 0xe0,
            pieces: usize::from(*pieces).clamp(1, MOST_PIECES),
            bytes: bytes.into(),
        })
    }

    /// The pieces in which the bytes are sent.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.bytes.len().div_ceil(self.pieces).max(1))
    }
}

/// Frames of HTTP/2 whose lengths are right. Each is written as its type, its flags, its stream
/// (bits 0 to 2) with how often its payload is doubled (bits 3 to 5), and the length of its
/// payload.
fn frames(mut input: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while let [kind, flags, stream, length, rest @ ..] = input {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let payload = payload.repeat(1 << (stream >> 3 & 7));
        frames.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        frames.extend_from_slice(&[*kind, *flags, 0, 0, 0, stream & 7]);
        frames.extend_from_slice(&payload);
        input = rest;
    }
    frames
}

/// The service on loopback, and the runtime of both sides: the runtime of the library, whose thread
/// has no SIGPIPE.
struct World {
    runtime: Runtime,
    service: Arc<Service>,
}

struct Service {
    url: Url,
    script: Mutex<Script>,
    connections: Mutex<JoinSet<()>>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    // No run speaks TLS, and to read the system's authorities takes a hundred times as long as the
    // rest of a run.
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        // SAFETY: no other thread reads the environment yet.
        unsafe { env::set_var(name, "/dev/null") };
    }
    let runtime = Runtime::start().expect("a thread");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}/boot?mac=00", listener.local_addr().expect("an address"));
    let service = Arc::new(Service {
        url: url.parse().expect("a URL"),
        script: Script::good(false).into(),
        connections: Mutex::default(),
    });
    runtime.handle().spawn(serve(listener, Arc::clone(&service)));
    World { runtime, service }
});

/// Plays the present script on each connection.
async fn serve(listener: std::net::TcpListener, service: Arc<Service>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let script = service.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connections = service.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.spawn(async move {
            // The error says that the client has closed the connection.
            let _ = play(stream, &script).await;
        });
    }
}

/// Sends the bytes of a script, and waits until the client closes the connection.
async fn play(mut stream: TcpStream, script: &Script) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // Thousands of connections that have just ended would take all ports.
    stream.set_zero_linger()?;
    if !script.early {
        read_request(&mut stream, script.http2).await?;
    }
    for piece in script.pieces() {
        stream.write_all(piece).await?;
        yield_now().await;
    }
    if script.resets {
        return Ok(());
    }
    if !script.stays {
        stream.shutdown().await?;
    }
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Reads until a request is there.
async fn read_request(stream: &mut TcpStream, http2: bool) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let is_there = if http2 { has_request(&bytes) } else { bytes.ends_with(b"\r\n\r\n") };
        if is_there {
            return Ok(());
        }
    }
}

/// Whether a client of HTTP/2 has sent a request.
fn has_request(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(PREFACE_LENGTH..).unwrap_or_default();
    while rest.len() >= FRAME_HEADER {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let Some(behind) = rest.get(FRAME_HEADER + length..) else { return false };
        if rest[3] == HEADERS {
            return true;
        }
        rest = behind;
    }
    false
}

impl Service {
    fn play(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// Closes all connections.
    async fn close(&self) {
        let mut connections = {
            let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *all)
        };
        connections.shutdown().await;
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(script) = Script::new(input) else { return };
    let (sender, ended) = mpsc::channel();
    WORLD.runtime.handle().spawn(async move {
        let _ = sender.send(look_up(script).await);
    });
    let (found, next) = ended.recv().expect("the task does not panic");
    match &found {
        None => {}
        Some(Ok(found)) => check_found(found),
        Some(Err(failure)) => check_failure(failure),
    }
    match next {
        Some(Ok(found)) => assert_eq!(*found.answer.client_classes, ["good"]),
        other => panic!("the next lookup fails: {other:?}, after {found:?}"),
    }
});

/// What came of a lookup. `None` where it was late.
type Ended = Option<Result<Found, Failure>>;

/// Looks up while the service plays the script, and then with the same client while the service is
/// good. Returns what came of both.
async fn look_up(script: Script) -> (Ended, Ended) {
    let service = &WORLD.service;
    let (http2, stays) = (script.http2, script.stays);
    let parameters = format!(r#"{{"url": "{}", "http2": {http2}}}"#, service.url);
    let settings = config::parse(&parameters).expect("parameters");
    let client = Arc::new(Client::new(&settings, 1).expect("a client"));

    service.play(script);
    let found = timeout(if stays { SHORT } else { WHOLE }, client.get(0, &service.url)).await.ok();
    assert!(found.is_some() || stays, "a lookup outlives its connections");
    service.close().await;
    service.play(Script::good(http2));
    let next = timeout(WHOLE, client.get(0, &service.url)).await.ok();
    service.close().await;
    (found, next)
}

fn check_found(found: &Found) {
    let Answer { body, given, .. } = &*found.answer;
    assert!(body.len() <= MAX_BODY, "a body of {} bytes", body.len());
    assert!(matches!(given, Given::Unknown), "nobody has noted who gave it");
    let freshness = found.freshness;
    assert!(freshness.fresh_for <= TEN_YEARS && freshness.stale_for <= TEN_YEARS);
}

fn check_failure(failure: &Failure) {
    let text = failure.to_string();
    assert!(!text.contains(['\n', '\r']), "{text:?}");
    assert!(text.chars().count() <= LONGEST, "{text}");
    // Nothing is wrong with this machine, and the request makes a URL.
    let of_the_service = !matches!(failure, Failure::Congested(_) | Failure::Unaskable(_));
    assert!(of_the_service, "{text}");
}
