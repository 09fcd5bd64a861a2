//! The backend of the benchmark: one answer for everybody, after a delay that can be set. One thread serves every
//! connection, so that it takes little of the cores that it shares with Kea.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// The longest request.
const MAX_REQUEST: usize = 0x2000;

const ANSWER: &str = r#"{"224":"http://boot.example.net/machines/rescue.ipxe","66":"192.0.2.10"}"#;

/// A server on a free port of loopback. Dropped, it stops and cuts every connection.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    milliseconds: AtomicU64,
    /// Requests that have no answer yet.
    open: AtomicUsize,
    /// All requests.
    asked: AtomicUsize,
}

impl Backend {
    /// Answers after this delay.
    pub fn start(delay: Duration) -> Result<Backend> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).context("a backend")?;
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
        Ok(Backend { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many requests wait for their answers now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
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
            // Out of descriptors, at most.
            Err(error) => {
                eprintln!("bench: the backend: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Serves one connection, until its client closes it or sends what is no request.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let _ = stream.set_nodelay(true);
    let mut received = Vec::with_capacity(MAX_REQUEST);
    loop {
        let Some(length) = request_length(&received) else {
            match stream.read_buf(&mut received).await {
                Ok(1..) if received.len() < MAX_REQUEST => continue,
                _ => return,
            }
        };
        received.drain(..length);
        shared.asked.fetch_add(1, Ordering::Relaxed);
        shared.open.fetch_add(1, Ordering::Relaxed);
        let delay = Duration::from_millis(shared.milliseconds.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        shared.open.fetch_sub(1, Ordering::Relaxed);
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// How long the request is that has been received whole; `None` while it has not. (A GET has no body.)
fn request_length(received: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    match httparse::Request::new(&mut headers).parse(received) {
        Ok(httparse::Status::Complete(length)) => Some(length),
        _ => None,
    }
}
