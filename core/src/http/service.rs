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

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use reqwest::{Client, Error};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio_native_tls::TlsConnector;
use url::Url;

use super::causes;
use super::connection::Connections;
use crate::fetch::Failure;

/// The requests that share one HTTP/2 connection before the next connection is used. A service may
/// allow fewer, but is asked to allow at least 100 (RFC 9113, section 6.5.2); past its limit
/// requests wait their turn.
const STREAMS: usize = 100;

/// The most HTTP/2 connections to one service. Requests past `STREAMS` on each wait their turn.
const HTTP2_CONNECTIONS: usize = 32;

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
pub struct Service {
    /// A [`Protocol`].
    protocol: AtomicU8,
    /// How the protocol is negotiated. `None` for an http URL, whose protocol never changes.
    negotiation: Option<Negotiation>,
    /// For HTTP/1.1.
    http1: Client,
    /// One permit for each HTTP/1.1 connection that may be in use, to all services.
    http1_limit: Arc<Semaphore>,
    /// For HTTP/2. Empty where the service is never asked by HTTP/2.
    http2: Vec<Http2Connection>,
}

/// What it takes to negotiate the protocol of an https service.
struct Negotiation {
    host: String,
    port: u16,
    tls: TlsConnector,
    /// One request negotiates, and the others wait for what it finds out.
    turn: Mutex<()>,
}

/// One connection to a service that speaks HTTP/2. The client makes it anew when it has ended.
struct Http2Connection {
    client: Client,
    /// The requests in flight on it.
    in_flight: AtomicUsize,
}

impl Service {
    /// A service with no connection yet. `http2` tells whether http URLs are asked by HTTP/2.
    pub fn new(url: &Url, http2: bool, connections: &Connections) -> Result<Self, Error> {
        let https = url.scheme() == "https";
        let protocol = match (https, http2) {
            (true, _) => Protocol::Unknown,
            (false, true) => Protocol::Http2,
            (false, false) => Protocol::Http1,
        };
        let negotiation = https.then(|| Negotiation {
            // The brackets of an IPv6 address belong to the URL.
            host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            tls: connections.tls.clone().into(),
            turn: Mutex::default(),
        });
        let number = if protocol == Protocol::Http1 { 0 } else { HTTP2_CONNECTIONS };
        let http2 = (0..number).map(|_| {
            let client = connections.client().http2_prior_knowledge().build()?;
            Ok(Http2Connection { client, in_flight: AtomicUsize::new(0) })
        });
        Ok(Service {
            protocol: AtomicU8::new(protocol as u8),
            negotiation,
            http1: connections.client().build()?,
            http1_limit: Arc::clone(&connections.http1_limit),
            http2: http2.collect::<Result<_, Error>>()?,
        })
    }

    /// The connection for a request, once there is room for the request. The failure says why the
    /// protocol could not be found out.
    pub async fn route(&self) -> Result<Route<'_>, Failure> {
        if let (Protocol::Unknown, Some(negotiation)) = (self.protocol(), &self.negotiation) {
            let _turn = negotiation.turn.lock().await;
            // Another request may have found the protocol out meanwhile.
            if self.protocol() == Protocol::Unknown {
                self.set_protocol(negotiation.negotiate().await?);
            }
        }
        if self.protocol() == Protocol::Http2 {
            let connection = self.http2_connection();
            connection.in_flight.fetch_add(1, Ordering::Relaxed);
            return Ok(Route { service: self, way: Way::Http2(connection) });
        }
        // The error says that the semaphore is closed, which it never is.
        let permit = self.http1_limit.acquire().await.ok();
        Ok(Route { service: self, way: Way::Http1(permit) })
    }

    fn protocol(&self) -> Protocol {
        match self.protocol.load(Ordering::Relaxed) {
            protocol if protocol == Protocol::Http1 as u8 => Protocol::Http1,
            protocol if protocol == Protocol::Http2 as u8 => Protocol::Http2,
            _ => Protocol::Unknown,
        }
    }

    fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    /// The first connection with room for a request, else the connection with the fewest requests.
    fn http2_connection(&self) -> &Http2Connection {
        let in_flight =
            |connection: &&Http2Connection| connection.in_flight.load(Ordering::Relaxed);
        let mut connections = self.http2.iter();
        let with_room = connections.find(|connection| in_flight(connection) < STREAMS);
        with_room
            .or_else(|| self.http2.iter().min_by_key(in_flight))
            .expect("a service that speaks HTTP/2 has connections for it")
    }
}

impl Negotiation {
    /// Makes a TLS connection, and closes it when it has told the protocol (RFC 7301).
    async fn negotiate(&self) -> Result<Protocol, Failure> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let tcp = tcp.map_err(|error| Failure::Connection(format!("no connection: {error}")))?;
        let tls = self.tls.connect(&self.host, tcp).await;
        let tls = tls.map_err(|error| Failure::Connection(causes(&error)))?;
        let protocol = tls.get_ref().negotiated_alpn().ok().flatten();
        Ok(if protocol.as_deref() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 })
    }
}

/// The connection that one request takes. Dropped, it makes room for another request.
pub struct Route<'a> {
    service: &'a Service,
    way: Way<'a>,
}

enum Way<'a> {
    /// An HTTP/1.1 connection, with the permit to use it.
    Http1(#[expect(dead_code, reason = "dropped with the route")] Option<SemaphorePermit<'a>>),
    /// A share of an HTTP/2 connection.
    Http2(&'a Http2Connection),
}

impl Route<'_> {
    /// The HTTP library's client with the connection.
    pub fn client(&self) -> &Client {
        match &self.way {
            Way::Http1(_) => &self.service.http1,
            Way::Http2(connection) => &connection.client,
        }
    }

    /// Learns from an error that the service may have lost HTTP/2, in an upgrade or a downgrade:
    /// the next request negotiates anew.
    pub fn failed(&self, error: &Error) {
        let negotiates = self.service.negotiation.is_some();
        if negotiates && matches!(self.way, Way::Http2(_)) && !error.is_connect() {
            self.service.set_protocol(Protocol::Unknown);
        }
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        if let Way::Http2(connection) = &self.way {
            connection.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
