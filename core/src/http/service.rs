// SPDX-License-Identifier: MPL-2.0
//! One service's connections: which protocol the service speaks, and which connection a request
//! takes.
//!
//! With HTTP/1.1 each request in flight has a connection. With HTTP/2 up to [`STREAMS`] requests
//! share one: a few connections carry thousands of requests. The HTTP library keeps one HTTP/2
//! connection a client, so a pool of clients is a pool of connections.
//!
//! The protocol of an https service is found out once, before its first request. Else each request
//! of a cold start would make a TLS connection of its own, to learn that it could have shared one.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Uri, Version};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use reqwest::{Client, Error, Response};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout};
use tower_service::Service as _;
use url::Url;

use super::connection::{Connections, PING_ENDS_AFTER};
use super::{SetupError, causes, headers};
use crate::fetch::Failure;

/// The requests that share one HTTP/2 connection before the next connection is used. A service may
/// allow fewer, but is asked to allow at least 100 (RFC 9113, section 6.5.2); past its limit
/// requests wait their turn.
const STREAMS: usize = 100;

/// The most HTTP/2 connections to one service. Requests past `STREAMS` on each wait their turn.
pub const HTTP2_CONNECTIONS: usize = 32;

/// The longest time in which the protocol of a service is found out. A request that waits for it
/// does so within its own time.
const NEGOTIATION: Duration = Duration::from_secs(10);

/// The protocol of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Protocol {
    /// TLS has still to negotiate the protocol.
    Unknown,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The connections to one service.
pub struct ServiceConnections {
    /// Which protocol the service speaks.
    protocol: Arc<KnownProtocol>,
    /// How the protocol is negotiated. `None` for an http URL, whose protocol never changes.
    negotiation: Option<Negotiation>,
    /// For HTTP/1.1.
    http1: Client,
    /// One permit for each HTTP/1.1 connection that may be in use, to all services.
    http1_limit: Arc<Semaphore>,
    /// For HTTP/2. Empty where the service is never asked by HTTP/2.
    http2: Vec<Http2Connection>,
    /// The Authorization header of the user name and password in the service's URL.
    pub authorization: Option<HeaderValue>,
}

/// What is known of a service's protocol.
struct KnownProtocol(AtomicU8);

impl KnownProtocol {
    fn get(&self) -> Protocol {
        match self.0.load(Ordering::Relaxed) {
            protocol if protocol == Protocol::Http1 as u8 => Protocol::Http1,
            protocol if protocol == Protocol::Http2 as u8 => Protocol::Http2,
            _ => Protocol::Unknown,
        }
    }

    fn set(&self, protocol: Protocol) {
        self.0.store(protocol as u8, Ordering::Relaxed);
    }
}

/// What an attempt to negotiate has come to: `None` while it is under way, then the protocol or the
/// reason why there is none.
type Attempt = watch::Receiver<Option<Result<Protocol, String>>>;

/// How the protocol of an https service is negotiated: by a TLS connection that is closed when it
/// has told the protocol (RFC 7301).
struct Negotiation {
    uri: Uri,
    connector: HttpsConnector<HttpConnector>,
    /// The last attempt, under way or ended.
    attempt: Mutex<Option<Attempt>>,
}

/// One connection to a service that speaks HTTP/2. The client makes it anew when it has ended.
struct Http2Connection {
    client: Client,
    /// The requests in flight on it.
    in_flight: AtomicUsize,
    /// When a request on it ended without a response, if none has come since. The connection may be
    /// dead, and the HTTP library may not know yet.
    silent_since: Mutex<Option<Instant>>,
}

impl ServiceConnections {
    /// No connection yet to the service with this URL. `http2` tells whether http URLs are asked by
    /// HTTP/2.
    pub fn new(url: &Url, http2: bool, connections: &Connections) -> Result<Self, SetupError> {
        let https = url.scheme() == "https";
        let protocol = match (https, http2) {
            (true, _) => Protocol::Unknown,
            (false, true) => Protocol::Http2,
            (false, false) => Protocol::Http1,
        };
        let number = if protocol == Protocol::Http1 { 0 } else { HTTP2_CONNECTIONS };
        let http2 = (0..number).map(|_| {
            let client = connections.client().http2_prior_knowledge().build()?;
            let silent_since = Mutex::default();
            Ok(Http2Connection { client, in_flight: AtomicUsize::new(0), silent_since })
        });
        Ok(ServiceConnections {
            protocol: Arc::new(KnownProtocol(AtomicU8::new(protocol as u8))),
            negotiation: https.then(|| Negotiation::of(url, connections)).flatten(),
            http1: connections.client().build()?,
            http1_limit: Arc::clone(&connections.http1_limit),
            http2: http2.collect::<Result<_, Error>>()?,
            authorization: headers::basic(url),
        })
    }

    /// The connection for a request, once there is room for the request. The failure says why the
    /// protocol could not be found out.
    ///
    /// Cancel-safe: an attempt to find the protocol out goes on without the request.
    pub async fn route(&self) -> Result<Route<'_>, Failure> {
        if let (Protocol::Unknown, Some(negotiation)) = (self.protocol.get(), &self.negotiation) {
            let mut attempt = negotiation.attempt(&self.protocol);
            let ended = attempt.wait_for(Option::is_some).await;
            // The error says that the attempt has ended by a bug, which is a failure too.
            let ended = ended.ok().and_then(|ended| ended.clone());
            if let Some(Err(reason)) = ended {
                return Err(Failure::Connection(reason));
            }
        }
        if self.protocol.get() == Protocol::Http2 {
            let connection = self.http2_connection();
            connection.in_flight.fetch_add(1, Ordering::Relaxed);
            return Ok(Route { service: self, way: Way::Http2 { connection, responded: false } });
        }
        // The error says that the semaphore is closed, which it never is.
        let permit = self.http1_limit.acquire().await.ok();
        Ok(Route { service: self, way: Way::Http1 { _permit: permit } })
    }

    /// The first connection that has room and is not silent; else the connection with the fewest
    /// requests.
    fn http2_connection(&self) -> &Http2Connection {
        let good = self.http2.iter().find(|connection| {
            connection.in_flight.load(Ordering::Relaxed) < STREAMS && !connection.is_silent()
        });
        good.or_else(|| {
            self.http2.iter().min_by_key(|connection| connection.in_flight.load(Ordering::Relaxed))
        })
        .expect("a service that speaks HTTP/2 has connections for it")
    }
}

impl Http2Connection {
    /// Whether the connection may be dead: a request got no response, and the HTTP library's own
    /// PING has not had the time to find out.
    fn is_silent(&self) -> bool {
        self.silent_since().is_some_and(|since| since.elapsed() < PING_ENDS_AFTER)
    }

    fn silent_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Negotiation {
    /// `None` for a URL that is no URI, which the client's setup refuses.
    fn of(url: &Url, connections: &Connections) -> Option<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let connector = HttpsConnector::from((http, connections.tls.clone().into()));
        // The URL of a service may hold credentials, which are no part of a connection.
        let uri = format!("https://{}", &url[url::Position::BeforeHost..url::Position::AfterPort]);
        Some(Negotiation { uri: uri.parse().ok()?, connector, attempt: Mutex::default() })
    }

    /// The attempt that is under way, else a new one. Many requests share it.
    fn attempt(&self, protocol: &Arc<KnownProtocol>) -> Attempt {
        let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = attempt.as_ref() {
            let under_way = attempt.borrow().is_none() && attempt.has_changed().is_ok();
            if under_way {
                return attempt.clone();
            }
        }
        let (sender, receiver) = watch::channel(None);
        *attempt = Some(receiver.clone());
        let (mut connector, uri) = (self.connector.clone(), self.uri.clone());
        let protocol = Arc::clone(protocol);
        // A task of its own: no request's time ends it.
        tokio::spawn(async move {
            let found = match timeout(NEGOTIATION, connector.call(uri)).await {
                Ok(Ok(stream)) if stream.connected().is_negotiated_h2() => Ok(Protocol::Http2),
                Ok(Ok(_)) => Ok(Protocol::Http1),
                Ok(Err(error)) => Err(causes(&*error)),
                Err(_) => Err(format!("no connection within {} s", NEGOTIATION.as_secs())),
            };
            if let Ok(found) = found {
                protocol.set(found);
            }
            // The error says that nobody waits any more.
            let _ = sender.send(Some(found));
        });
        receiver
    }
}

/// The connection that one request takes. Dropped, it makes room for another request.
pub struct Route<'a> {
    service: &'a ServiceConnections,
    way: Way<'a>,
}

enum Way<'a> {
    /// An HTTP/1.1 connection.
    Http1 {
        /// The permit to use it.
        _permit: Option<SemaphorePermit<'a>>,
    },
    /// A share of an HTTP/2 connection.
    Http2 {
        connection: &'a Http2Connection,
        /// Whether the service has responded.
        responded: bool,
    },
}

impl Route<'_> {
    /// The HTTP library's client with the connection.
    pub fn client(&self) -> &Client {
        match &self.way {
            Way::Http1 { .. } => &self.service.http1,
            Way::Http2 { connection, .. } => &connection.client,
        }
    }

    /// Learns from what came of the request which protocol the service speaks now: an upgrade or a
    /// downgrade of the service may have changed it.
    pub fn ended(&mut self, response: &Result<Response, Error>) {
        let negotiates = self.service.negotiation.is_some();
        match (&mut self.way, response) {
            (Way::Http2 { connection, responded }, Ok(_)) => {
                *responded = true;
                *connection.silent_since() = None;
            }
            (Way::Http2 { responded, .. }, Err(error)) => {
                // The HTTP library knows that the connection has ended.
                *responded = true;
                if negotiates && !error.is_connect() {
                    self.service.protocol.set(Protocol::Unknown);
                }
            }
            (Way::Http1 { .. }, Ok(response)) => {
                if negotiates && response.version() == Version::HTTP_2 {
                    self.service.protocol.set(Protocol::Http2);
                }
            }
            (Way::Http1 { .. }, Err(_)) => {}
        }
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        if let Way::Http2 { connection, responded } = &self.way {
            connection.in_flight.fetch_sub(1, Ordering::Relaxed);
            if !responded {
                connection.silent_since().get_or_insert_with(Instant::now);
            }
        }
    }
}
