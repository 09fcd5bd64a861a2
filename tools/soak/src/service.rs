// SPDX-License-Identifier: MPL-2.0
//! The service, a process of its own, so that it can be killed and frozen. It speaks HTTP/1.1,
//! HTTP/2 without TLS, and HTTP/1.1 over TLS. Each line of its standard input gives it another
//! [`Mode`], which counts from the next request on, or cuts all its connections.

use std::fs;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::ValueEnum;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_native_tls::TlsAcceptor;

use crate::clients::answer;

/// Where the service listens, and who it is.
#[derive(clap::Args)]
pub struct Arguments {
    /// Address and port
    address: SocketAddr,
    /// The name in the answers
    name: String,
    /// PEM files for TLS: certificate and key, and those of a certificate that has expired
    #[arg(num_args = 4)]
    tls: Vec<String>,
}

/// What the service does with a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// It answers.
    Good,
    /// It answers after some tenths of a second.
    Slow,
    /// Status 500.
    Error,
    /// Status 503, with Retry-After.
    Unavailable,
    /// A redirect.
    Redirect,
    /// Bytes that are no HTTP.
    Garbage,
    /// An answer that is no JSON.
    NoJson,
    /// Half an answer, and then the end of the connection or stream.
    Half,
    /// Half an answer, and then nothing.
    Stalled,
    /// Content-Length is more than the body has, or less.
    WrongLength,
    /// Header fields without an end.
    EndlessHeaders,
    /// The body comes byte by byte.
    ByTheByte,
    /// A body that is too long.
    Huge,
    /// No answer at all.
    Silent,
    /// The connection is reset (RST) in the place of an answer.
    Reset,
    /// Each new connection is reset at once.
    ResetAtOnce,
    /// The connection ends in the place of an answer.
    HangUp,
    /// HTTP/2: GOAWAY after each request. HTTP/1.1: `Connection: close`.
    GoAway,
    /// HTTP/2: GOAWAY that leaves the requests of the connection without an answer.
    GoAwayAtOnce,
    /// HTTP/2: each stream is reset. HTTP/1.1: a chunked body that ends in the middle.
    StreamReset,
    /// TLS shows a certificate that has expired.
    Expired,
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// How often all connections have been cut.
    cuts: u64,
}

/// The service, as each of its connections sees it.
struct Service {
    name: String,
    /// TLS with a good certificate, and with one that has expired.
    tls: Option<[TlsAcceptor; 2]>,
    state: watch::Receiver<State>,
    /// How many answers there have been: no two are equal.
    answers: AtomicU64,
}

/// Serves until standard input ends.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(Arguments { address, name, tls }: &Arguments) -> Result<()> {
    let tls = match &tls[..] {
        [certificate, key, expired, expired_key] => {
            Some([acceptor(certificate, key)?, acceptor(expired, expired_key)?])
        }
        _ => None,
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&(*address).into())?;
    socket.listen(1024)?;
    let listener = TcpListener::from_std(socket.into())?;
    let (control, state) = watch::channel(State { mode: Mode::Good, cuts: 0 });
    std::thread::spawn(move || obey(&control));
    let service = Arc::new(Service { name: name.clone(), tls, state, answers: AtomicU64::new(0) });
    loop {
        // The limit of descriptors is no reason to end.
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(Arc::clone(&service).connection(stream));
    }
}

fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor> {
    let read = |file: &str| fs::read(file).with_context(|| file.to_owned());
    let identity = native_tls::Identity::from_pkcs8(&read(certificate)?, &read(key)?)?;
    Ok(native_tls::TlsAcceptor::new(identity)?.into())
}

/// Does what standard input says, and says so on standard output.
fn obey(control: &watch::Sender<State>) {
    println!("ready");
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        control.send_modify(|state| match Mode::from_str(&line, false) {
            Ok(mode) => state.mode = mode,
            Err(_) => state.cuts += 1,
        });
        println!("{line}");
    }
    std::process::exit(0);
}

impl Service {
    fn mode(&self) -> Mode {
        self.state.borrow().mode
    }

    /// Serves one connection until it ends or is cut.
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let mut state = self.state.clone();
        let cuts = state.borrow().cuts;
        let Ok(socket) = SockRef::from(&stream).try_clone() else { return };
        let _ = stream.set_nodelay(true);
        let reset = || {
            let _ = socket.set_linger(Some(Duration::ZERO));
        };
        if self.mode() == Mode::ResetAtOnce {
            return reset();
        }
        tokio::select! {
            // The peer may go away at any time.
            _ = Arc::clone(&self).greet(stream) => {}
            _ = state.wait_for(|state| state.cuts != cuts) => {}
        }
        if self.mode() == Mode::Reset {
            reset();
        }
    }

    async fn greet(self: Arc<Self>, stream: TcpStream) -> Result<()> {
        if let Some([good, expired]) = &self.tls {
            let acceptor = if self.mode() == Mode::Expired { expired } else { good };
            return self.http1(acceptor.accept(stream).await?).await;
        }
        let mut first = [0; 3];
        while stream.peek(&mut first).await? < first.len() {
            stream.readable().await?;
            sleep(Duration::from_millis(1)).await;
        }
        if &first == b"PRI" { self.http2(stream).await } else { self.http1(stream).await }
    }

    /// A new answer about the client of this request.
    fn body(&self, target: &str) -> Vec<u8> {
        let serial = self.answers.fetch_add(1, Ordering::Relaxed);
        answer(target, &format!("{}{serial}", self.name)).to_string().into_bytes()
    }

    async fn http1(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
        let mut bytes = Vec::new();
        while let Some(target) = read_request(&mut stream, &mut bytes).await? {
            let mode = self.mode();
            if mode == Mode::Slow {
                pause().await;
            }
            let body = self.body(&target);
            let half = &body[..body.len() / 2];
            let head = |status: &str, length: usize| {
                format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n").into_bytes()
            };
            let whole = |status: &str, fields: &str, body: &[u8]| {
                [&head(status, body.len()), fields.as_bytes(), b"\r\n", body].concat()
            };
            // What is sent first, and whether the connection goes on.
            let (bytes, goes_on) = match mode {
                Mode::Good | Mode::Slow | Mode::Expired => (whole("200", "", &body), true),
                Mode::Error => (whole("500", "", b"{}"), true),
                Mode::Unavailable => (whole("503", "Retry-After: 1\r\n", b""), true),
                Mode::Redirect => (whole("302", "Location: http://127.0.0.1:1/\r\n", b""), true),
                Mode::Garbage => (b"\x00\xff\x16\x03garbage\r\n\r\n\r\n".repeat(50), false),
                Mode::NoJson => (whole("200", "", b"<html>"), true),
                Mode::Half => ([&head("200", body.len()), &b"\r\n"[..], half].concat(), false),
                Mode::Stalled | Mode::ByTheByte => {
                    let part = if mode == Mode::Stalled { half } else { &[] };
                    ([&head("200", body.len()), &b"\r\n"[..], part].concat(), true)
                }
                Mode::WrongLength => {
                    let length = if body.len() % 2 == 0 { half.len() } else { body.len() + 9 };
                    ([&head("200", length), &b"\r\n"[..], &body].concat(), true)
                }
                Mode::Huge => (whole("200", "", &vec![b' '; 300_000]), true),
                Mode::EndlessHeaders => (b"HTTP/1.1 200 x\r\n".to_vec(), true),
                Mode::GoAway => (whole("200", "Connection: close\r\n", &body), false),
                Mode::StreamReset => {
                    let head = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
                    (format!("{head}{:x}\r\n{{\"2", body.len()).into_bytes(), false)
                }
                Mode::Silent => (Vec::new(), true),
                Mode::Reset | Mode::ResetAtOnce | Mode::HangUp | Mode::GoAwayAtOnce => {
                    (Vec::new(), false)
                }
            };
            stream.write_all(&bytes).await?;
            match mode {
                Mode::ByTheByte => {
                    for byte in &body {
                        stream.write_all(&[*byte]).await?;
                        stream.flush().await?;
                        sleep(Duration::from_millis(10)).await;
                    }
                }
                Mode::EndlessHeaders => loop {
                    stream.write_all(b"X-More: and more and more and more and more\r\n").await?;
                    stream.flush().await?;
                    sleep(Duration::from_millis(1)).await;
                },
                // Until the peer gives up.
                Mode::Silent | Mode::Stalled => {
                    stream.flush().await?;
                    stream.read_u8().await?;
                }
                _ => stream.flush().await?,
            }
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    async fn http2(self: Arc<Self>, mut stream: TcpStream) -> Result<()> {
        if self.mode() == Mode::Garbage {
            stream.write_all(&b"HTTP/1.1 400 no\r\n\r\n\x00\xff".repeat(50)).await?;
            return Ok(());
        }
        let mut connection = h2::server::handshake(stream).await?;
        while let Some(accepted) = connection.accept().await {
            let (request, respond) = accepted?;
            let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
            match self.mode() {
                Mode::Reset | Mode::ResetAtOnce | Mode::HangUp => return Ok(()),
                Mode::GoAway => connection.graceful_shutdown(),
                Mode::GoAwayAtOnce => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
                _ => {}
            }
            let (service, target) = (Arc::clone(&self), target.to_owned());
            tokio::spawn(async move { service.respond(&target, respond).await });
        }
        Ok(())
    }

    /// Does with one stream what the mode says.
    async fn respond(&self, target: &str, mut respond: SendResponse<Bytes>) -> Result<()> {
        let mode = self.mode();
        if mode == Mode::Slow {
            pause().await;
        }
        let body = self.body(target);
        let status = match mode {
            Mode::Error => 500,
            Mode::Unavailable => 503,
            Mode::Redirect => 302,
            _ => 200,
        };
        let mut head = Response::builder().status(status);
        if status == 503 {
            head = head.header("retry-after", "1");
        }
        let length = if mode == Mode::WrongLength { body.len() + 9 } else { body.len() };
        let sent = match mode {
            Mode::NoJson | Mode::Garbage => Bytes::from_static(b"<html>"),
            Mode::Huge => vec![b' '; 300_000].into(),
            Mode::Half | Mode::Stalled => body[..body.len() / 2].to_vec().into(),
            Mode::ByTheByte => Bytes::new(),
            _ => body.clone().into(),
        };
        if matches!(mode, Mode::WrongLength | Mode::Half | Mode::Stalled) {
            head = head.header("content-length", length);
        }
        match mode {
            Mode::StreamReset => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            Mode::Silent => {
                sleep(Duration::from_secs(30)).await;
                return Ok(());
            }
            Mode::EndlessHeaders => {
                // 1 MiB in one list of fields.
                for _ in 0..1000 {
                    head = head.header("x-more", "and more ".repeat(110));
                }
            }
            _ => {}
        }
        let mut stream = respond.send_response(head.body(())?, false)?;
        let ends = !matches!(mode, Mode::Half | Mode::Stalled | Mode::ByTheByte);
        stream.send_data(sent, ends)?;
        match mode {
            Mode::Half => stream.send_reset(Reason::CANCEL),
            Mode::Stalled => sleep(Duration::from_secs(30)).await,
            Mode::ByTheByte => {
                for byte in body {
                    stream.send_data(vec![byte].into(), false)?;
                    sleep(Duration::from_millis(10)).await;
                }
                stream.send_data(Bytes::new(), true)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Some tenths of a second.
async fn pause() {
    sleep(Duration::from_millis(50 + fastrand::u64(..150))).await;
}

/// Path and query of the next request of a connection; `None` at the end of the connection. `bytes`
/// is what has been read past the request before.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> Result<Option<String>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(length) = request.parse(bytes)? {
            let target = request.path.unwrap_or_default().to_owned();
            bytes.drain(..length);
            return Ok(Some(target));
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}
