// SPDX-License-Identifier: MPL-2.0
//! The HTTP service of the benchmark: the same answer for every request, or the request's target as
//! option 224, after a delay. One thread serves all connections, so that the service takes little
//! from Kea, which shares its cores.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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

const ANSWER: &str = r#"{"224":"http://boot.example.net/machines/rescue.ipxe","66":"192.0.2.10"}"#;

/// A service on a free port of loopback. When it is dropped, it stops and cuts every connection.
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    milliseconds: AtomicU64,
    /// How many requests wait for their answers.
    open: AtomicUsize,
    /// How many requests there have been.
    asked: AtomicUsize,
    /// `None`: the answer is the same for all requests.
    echo: Option<Echo>,
}

/// Each answer is its request's target.
struct Echo {
    /// The `Cache-Control` of an answer.
    cache_control: HeaderValue,
    /// How many requests there have been for each target.
    targets: Mutex<HashMap<String, usize>>,
}

impl Service {
    /// Starts a service that answers after this delay.
    pub fn start(delay: Duration) -> Result<Service> {
        Service::start_with(delay, None)
    }

    /// Starts a service that answers with the request's target as option 224, after this delay. An
    /// answer is fresh for as long as `cache_control` says.
    pub fn echo(delay: Duration, cache_control: &'static str) -> Result<Service> {
        let cache_control = HeaderValue::from_static(cache_control);
        Service::start_with(delay, Some(Echo { cache_control, targets: Mutex::default() }))
    }

    fn start_with(delay: Duration, echo: Option<Echo>) -> Result<Service> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("the service's socket")?;
        let address = listener.local_addr()?;
        let milliseconds = AtomicU64::new(delay.as_millis() as u64);
        let shared = Arc::new(Shared { milliseconds, echo, ..Shared::default() });
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
        self.shared
            .echo
            .as_ref()
            .map_or(0, |echo| echo.targets().values().filter(|number| **number == 1).count())
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
        if let Some(echo) = &self.echo {
            *echo.targets().entry(target.to_owned()).or_default() += 1;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open(&self.open);
        let delay = Duration::from_millis(self.milliseconds.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = match &self.echo {
            Some(_) => json!({ "224": target }).to_string().into(),
            None => Bytes::from_static(ANSWER.as_bytes()),
        };
        let mut response = Response::new(Full::new(answer));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(echo) = &self.echo {
            response.headers_mut().insert(CACHE_CONTROL, echo.cache_control.clone());
        }
        response
    }
}

impl Echo {
    fn targets(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits for its answer, until the answer is made or the client has gone away.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
