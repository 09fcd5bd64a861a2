// SPDX-License-Identifier: MPL-2.0
//! The HTTP service of the benchmark: the same answer for every request, after a delay. One thread
//! serves all connections, so that the service takes little from Kea, which shares its cores.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
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
}

impl Service {
    /// Starts a service that answers after this delay.
    pub fn start(delay: Duration) -> Result<Service> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("the service's socket")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        shared.milliseconds.store(delay.as_millis() as u64, Ordering::Relaxed);
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
    let answer = |_request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer().await) }
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
    async fn answer(&self) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open(&self.open);
        let delay = Duration::from_millis(self.milliseconds.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// A request that waits for its answer, until the answer is made or the client has gone away.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
