// SPDX-License-Identifier: MPL-2.0
//! The HTTP service of the benchmark: an answer of its own for each client, or the request's target
//! as option 224, after a delay. One thread serves all connections and one keeps the time, so that
//! the service takes little from Kea, which shares its cores.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Option 224 of one client. What stands behind the last slash names the client.
const URL: &str = "http://boot.example.net/machines/00%3A11%3A22%3A33%3A44%3A55";

/// The options of an answer of this length: code and text. The first two are those of a machine
/// that boots by iPXE. Kea has no definition of the other ones.
pub fn options(number: usize) -> impl Iterator<Item = (u8, &'static str)> {
    let first = [(224, URL), (66, "192.0.2.10")];
    let more = (225..=254).chain(178..=209).map(|code| (code, "sixteen bytes..."));
    first.into_iter().chain(more).take(number)
}

/// A service on a free port of loopback. When it is dropped, it stops and cuts every connection.
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    delay: Duration,
    /// To [`keep_time`]: a request's time, and who waits for it.
    timer: mpsc::Sender<(Instant, oneshot::Sender<()>)>,
    /// How many requests wait for their answers.
    open: AtomicUsize,
    /// How many requests there have been.
    asked: AtomicUsize,
    reply: Reply,
}

/// What the service answers.
enum Reply {
    /// This answer, in which the value of the request's query takes the place of the client in
    /// [`URL`].
    Own(String),
    /// Each answer is its request's target.
    Echo {
        /// The `Cache-Control` of an answer.
        cache_control: HeaderValue,
        /// How many requests there have been for each target.
        targets: Mutex<HashMap<String, usize>>,
    },
}

impl Service {
    /// Starts a service that answers each client with this many options, after this delay. Option
    /// 224 names the client.
    pub fn start(delay: Duration, number: usize) -> Result<Service> {
        let answer: serde_json::Map<_, _> =
            options(number).map(|(code, value)| (code.to_string(), value.into())).collect();
        Service::start_with(delay, Reply::Own(json!(answer).to_string()))
    }

    /// Starts a service that answers with the request's target as option 224, after this delay. An
    /// answer is fresh for as long as `cache_control` says.
    pub fn echo(delay: Duration, cache_control: &'static str) -> Result<Service> {
        let cache_control = HeaderValue::from_static(cache_control);
        Service::start_with(delay, Reply::Echo { cache_control, targets: Mutex::default() })
    }

    fn start_with(delay: Duration, reply: Reply) -> Result<Service> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("the service's socket")?;
        let address = listener.local_addr()?;
        let (open, asked) = Default::default();
        let (timer, requests) = mpsc::channel();
        thread::spawn(|| keep_time(requests));
        let shared = Arc::new(Shared { delay, timer, open, asked, reply });
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, served) => {}
                }
            });
        });
        Ok(Service { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many requests wait for their answers now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many requests there have been.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// For how many targets there has been exactly one request, where the service echoes targets.
    pub fn asked_once(&self) -> usize {
        match &self.shared.reply {
            Reply::Own(_) => 0,
            Reply::Echo { targets, .. } => {
                lock(targets).values().filter(|number| **number == 1).count()
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic there has been printed.
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&shared)))),
            // The process has no file descriptor left.
            Err(error) => {
                eprintln!("bench: the service: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Serves one connection, by HTTP/1.1 or HTTP/2 as its client speaks, until either side closes it.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let answer = |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    };
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    // The hook's own share of a connection is the limit, not the service's.
    server.http2().max_concurrent_streams(1000);
    let connection = server.serve_connection(TokioIo::new(stream), service_fn(answer));
    // The error says how the client has closed the connection.
    let _ = connection.await;
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // HTTP/2 names the whole URL, HTTP/1.1 path and query alone.
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        if let Reply::Echo { targets, .. } = &self.reply {
            *lock(targets).entry(target.to_owned()).or_default() += 1;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open(&self.open);
        if !self.delay.is_zero() {
            let (over, waiting) = oneshot::channel();
            let _ = self.timer.send((Instant::now() + self.delay, over));
            // The error says that the service ends.
            let _ = waiting.await;
        }
        let body = match &self.reply {
            Reply::Own(answer) => {
                let behind = |text: &str, mark| text.rfind(mark).map_or(0, |at| at + 1);
                answer.replace(&URL[behind(URL, '/')..], &target[behind(target, '=')..]).into()
            }
            Reply::Echo { .. } => json!({ "224": target }).to_string().into(),
        };
        let mut response = Response::new(Full::new(body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Reply::Echo { cache_control, .. } = &self.reply {
            response.headers_mut().insert(CACHE_CONTROL, cache_control.clone());
        }
        response
    }
}

/// Tells each request that its time is over. A thread of its own keeps the time: the runtime's clock
/// counts milliseconds, and waits up to two of them too long. All requests wait for the same time,
/// so the first one in line is the next one.
fn keep_time(requests: mpsc::Receiver<(Instant, oneshot::Sender<()>)>) {
    for (until, over) in requests {
        thread::sleep(until.saturating_duration_since(Instant::now()));
        // The error says that the client has gone away.
        let _ = over.send(());
    }
}

fn lock(targets: &Mutex<HashMap<String, usize>>) -> MutexGuard<'_, HashMap<String, usize>> {
    targets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that waits for its answer, until the answer is made or the client has gone away.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
