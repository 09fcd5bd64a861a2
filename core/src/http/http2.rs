// SPDX-License-Identifier: MPL-2.0
//! One HTTP/2 connection, which many requests share.
//!
//! The requests go to hyper without reqwest between. reqwest keeps 8 KiB for each request in
//! flight, and HTTP/2 is there for thousands of them: see docs/decisions/reqwest.md.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::HOST;
use http::uri::{InvalidUri, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;
use tower_service::Service as _;
use url::Url;

use super::attempt::{ConnectError, SharedAttempt};
use super::connection::Connector;
use super::{causes, target};
use crate::fetch::{Failure, Stage};

/// After so long without a frame on a connection, a PING asks for a sign of life (RFC 9113, section
/// 6.7). Many requests share the connection, so a dead one must be noticed fast.
const PING_AFTER: Duration = Duration::from_secs(2);

/// A connection ends when a PING is not answered for so long.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// After so long without a frame, a dead connection has ended: see the two times above.
pub const PING_ENDS_AFTER: Duration =
    Duration::from_secs(1 + PING_AFTER.as_secs() + PING_TIMEOUT.as_secs());

/// The bytes of a response that the service may send before they are read (RFC 9113, section 5.2).
/// A longer answer is a failure anyway.
const WINDOW: u32 = crate::fetch::MAX_BODY as u32;

/// The same for all responses of a connection together.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The most bytes of a response's header fields, each with 32 bytes more (RFC 9113, section 6.5.2). A
/// response with more is a failure.
pub const MOST_FIELD_BYTES: u32 = 16 * 1024;

/// How often a request is sent again that the connection did not send, because it was ending.
const UNSENT: u8 = 3;

/// Sends requests on an open connection. The connection ends with its last sender.
type Sender = SendRequest<Empty<Bytes>>;

/// A connection to a service. A request makes it, and makes it anew when it has ended.
pub struct Http2Connection {
    sender: SharedAttempt<Sender>,
    /// The requests in flight on the connection.
    in_flight: AtomicUsize,
    /// When a request on it ended without a response, if none has come since. The connection may be
    /// dead, and its PING may not have found out yet.
    silent_since: Mutex<Option<Instant>>,
}

/// Why a request got no response.
#[derive(Debug)]
pub enum SendError {
    /// TLS has chosen HTTP/1.1: the service does not speak HTTP/2 any more.
    Http1,
    /// Another reason.
    Failed(Failure),
}

impl Http2Connection {
    /// No connection yet.
    pub fn new() -> Self {
        Http2Connection {
            sender: SharedAttempt::default(),
            in_flight: AtomicUsize::new(0),
            silent_since: Mutex::default(),
        }
    }

    /// The requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the connection may be dead: a request got no response, and the PING has not had the
    /// time to find out.
    pub fn is_silent(&self) -> bool {
        self.silent_since().is_some_and(|since| since.elapsed() < PING_ENDS_AFTER)
    }

    /// Takes a share of the connection for one request.
    pub fn share(&self) -> Share<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Share { connection: self, has_ended: false }
    }

    fn silent_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's share of a connection. Dropped, it makes room for another request.
pub struct Share<'a> {
    connection: &'a Http2Connection,
    /// Whether the connection has shown that it lives, or that it has ended.
    has_ended: bool,
}

impl Share<'_> {
    /// Sends a GET for `url`, once more if the connection broke: a service may close a connection
    /// at the very moment of its use, and a GET may be repeated (RFC 9110, section 9.2.2).
    pub async fn send(
        &mut self,
        connector: &Connector,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, SendError> {
        let (mut unsent, mut broken) = (0_u8, 0_u8);
        loop {
            let mut sender = self.sender(connector, url).await?;
            // Made in a statement of its own: what is made in the line of an `await` is kept in
            // memory until the response is there.
            let sent = {
                let request = self.request(url, headers)?;
                sender.send_request(request)
            };
            let error: hyper::Error = match sent.await {
                Ok(response) => {
                    self.has_ended = true;
                    *self.connection.silent_since() = None;
                    return Ok(response);
                }
                Err(error) => error,
            };
            let repeats = if is_unsent(&error) { &mut unsent } else { &mut broken };
            *repeats += 1;
            if unsent > UNSENT || broken > 1 {
                self.has_ended = true;
                return Err(SendError::Failed(Failure::Connection(Stage::Connect, causes(&error))));
            }
        }
    }

    /// A GET for `url` with these header fields.
    fn request(
        &mut self,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Request<Empty<Bytes>>, SendError> {
        let target = target(url).map_err(|error| {
            self.has_ended = true;
            SendError::Failed(Failure::Connection(Stage::Connect, error.to_string()))
        })?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = target;
        *request.headers_mut() = headers.clone();
        // The URL's host is the authority (RFC 9113, section 8.3.1). Servers refuse two names.
        request.headers_mut().remove(HOST);
        Ok(request)
    }

    /// Sends requests on the connection, which is made if there is none.
    async fn sender(&mut self, connector: &Connector, url: &Url) -> Result<Sender, SendError> {
        let is_open = |sender: &Sender| !sender.is_closed();
        let connect = || connect(connector.clone(), target(url));
        let sender = self.connection.sender.result(PING_ENDS_AFTER, is_open, connect).await;
        sender.map_err(|error| {
            self.has_ended = true;
            match error {
                ConnectError::Http1 => SendError::Http1,
                error => SendError::Failed(error.failure()),
            }
        })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.has_ended {
            let mut since = self.connection.silent_since();
            // An earlier silence has been over: the PING was answered, or ended the connection.
            if since.is_none_or(|since| since.elapsed() >= PING_ENDS_AFTER) {
                *since = Some(Instant::now());
            }
        }
    }
}

/// Whether the request did not leave, because the connection had ended.
fn is_unsent(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed()
}

/// Makes a connection to the service of this URL. The error says why there is none.
async fn connect(
    mut connector: Connector,
    target: Result<Uri, InvalidUri>,
) -> Result<Sender, ConnectError> {
    let target = target.map_err(|error| ConnectError::from(&error as &dyn Error))?;
    let is_https = target.scheme() == Some(&Scheme::HTTPS);
    let stream =
        connector.call(target).await.map_err(|error| ConnectError::from(&*error as &dyn Error))?;
    if is_https && !stream.connected().is_negotiated_h2() {
        return Err(ConnectError::Http1);
    }
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MOST_FIELD_BYTES)
        // hyper keeps room for the stream with each request. A box is the smallest stream.
        .handshake(Box::new(stream))
        .await
        .map_err(|error| ConnectError::from(&error as &dyn Error))?;
    // The connection's own end concerns its requests, and each of them has the error.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
