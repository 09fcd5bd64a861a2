// SPDX-License-Identifier: MPL-2.0
//! One service's connections: which protocol the service speaks, and which connection a request
//! takes.
//!
//! With HTTP/1.1 each request in flight has a connection. With HTTP/2 up to [`STREAMS`] requests
//! share one: a few connections carry thousands of requests.
//!
//! The protocol of an https service is found out once, before its first request. Else each request
//! of a cold start would make a TLS connection of its own, to learn that it could have shared one.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use http::uri::InvalidUri;
use http::{Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::Connection as _;
use reqwest::{Body, Client};
use tokio::sync::{Semaphore, SemaphorePermit};
use tower_service::Service as _;
use url::Url;

use super::attempt::{ConnectError, SharedAttempt};
use super::connection::{Connections, Connector};
use super::http2::{Http2Connection, SendError, Share};
use super::{headers, target};
use crate::fetch::Failure;

/// The requests that share one HTTP/2 connection before the next connection is used. A service may
/// allow fewer, but is asked to allow at least 100 (RFC 9113, section 6.5.2); past its limit
/// requests wait their turn.
pub const STREAMS: usize = 100;

/// The most HTTP/2 connections to one service. Requests past `STREAMS` on each wait their turn.
pub const HTTP2_CONNECTIONS: usize = 32;

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
    /// Which protocol the service speaks: a [`Protocol`].
    protocol: AtomicU8,
    /// Whether TLS negotiates the protocol. The protocol of an http URL never changes.
    negotiates: bool,
    /// The attempt to find the protocol out.
    negotiation: SharedAttempt<Protocol>,
    /// The longest time of this attempt: a connection that hangs must not keep the next one from
    /// being tried.
    connect_timeout: Duration,
    /// The header fields of every request.
    headers: HeaderMap,
    /// Makes the connections of HTTP/2.
    connector: Connector,
    /// For HTTP/1.1.
    http1: Client,
    /// One permit for each HTTP/1.1 connection that may be in use, to all services.
    http1_limit: Arc<Semaphore>,
    /// For HTTP/2. Empty where the service is never asked by HTTP/2.
    http2: Vec<Http2Connection>,
}

/// The connection that one request takes. Dropped, it makes room for another request.
pub enum Route<'a> {
    /// An HTTP/1.1 connection.
    Http1(Http1Route<'a>),
    /// A share of an HTTP/2 connection.
    Http2(Http2Route<'a>),
}

/// A request's right to an HTTP/1.1 connection.
pub struct Http1Route<'a> {
    service: &'a ServiceConnections,
    /// The permit to use a connection.
    _permit: SemaphorePermit<'a>,
}

/// A request's share of an HTTP/2 connection.
pub struct Http2Route<'a> {
    service: &'a ServiceConnections,
    share: Share<'a>,
}

impl ServiceConnections {
    /// No connection yet to the service with this URL. `http2` tells whether http URLs are asked by
    /// HTTP/2. `earlier` are connections to the same service, whose protocol is known.
    pub fn new(
        url: &Url,
        http2: bool,
        connections: &Connections,
        earlier: Option<&ServiceConnections>,
    ) -> Self {
        let negotiates = url.scheme() == "https";
        let protocol = match (negotiates, http2) {
            (true, _) => earlier.map_or(Protocol::Unknown, ServiceConnections::protocol),
            (false, true) => Protocol::Http2,
            (false, false) => Protocol::Http1,
        };
        let number = if !negotiates && !http2 { 0 } else { HTTP2_CONNECTIONS };
        let mut headers = connections.headers.clone();
        if let Some(credentials) = headers::basic(url) {
            headers.insert(AUTHORIZATION, credentials);
        }
        ServiceConnections {
            protocol: AtomicU8::new(protocol as u8),
            negotiates,
            negotiation: SharedAttempt::default(),
            connect_timeout: connections.connect_timeout,
            headers,
            connector: connections.connector.clone(),
            http1: connections.http1.clone(),
            http1_limit: Arc::clone(&connections.http1_limit),
            http2: (0..number).map(|_| Http2Connection::new()).collect(),
        }
    }

    /// Whether it is known which protocol the service speaks.
    pub fn knows_protocol(&self) -> bool {
        self.protocol() != Protocol::Unknown
    }

    /// Finds out which protocol the service at `url` speaks. The failure says why the protocol could
    /// not be found out.
    ///
    /// Cancel-safe: the attempt goes on without the request.
    pub async fn find_protocol(&self, url: &Url) -> Result<(), Failure> {
        let negotiate = || negotiate(self.connector.clone(), target(url));
        let found = self.negotiation.result(self.connect_timeout, |_| false, negotiate).await;
        self.set_protocol(found.map_err(ConnectError::failure)?);
        Ok(())
    }

    /// The connection for a request to the service, whose protocol is known. The failure says that
    /// there is no room for a connection.
    pub fn route(&self) -> Result<Route<'_>, Failure> {
        if self.protocol() == Protocol::Http2 {
            let share = self.http2_connection().share();
            return Ok(Route::Http2(Http2Route { service: self, share }));
        }
        match self.http1_limit.try_acquire() {
            Ok(permit) => Ok(Route::Http1(Http1Route { service: self, _permit: permit })),
            Err(_) => Err(Failure::Congested("no descriptor is left for a connection".to_owned())),
        }
    }

    /// The first connection that has room and is not silent; else the connection with the fewest
    /// requests.
    fn http2_connection(&self) -> &Http2Connection {
        let good = self
            .http2
            .iter()
            .find(|connection| connection.in_flight() < STREAMS && !connection.is_silent());
        good.or_else(|| self.http2.iter().min_by_key(|connection| connection.in_flight()))
            .expect("a service that speaks HTTP/2 has connections for it")
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
}

/// Finds out by a connection of its own which protocol a service speaks.
async fn negotiate(
    mut connector: Connector,
    target: Result<Uri, InvalidUri>,
) -> Result<Protocol, ConnectError> {
    let target = target.map_err(|error| ConnectError::from(&error as &dyn Error))?;
    let stream = connector.call(target).await;
    let stream = stream.map_err(|error| ConnectError::from(&*error as &dyn Error))?;
    let is_http2 = stream.connected().is_negotiated_h2();
    Ok(if is_http2 { Protocol::Http2 } else { Protocol::Http1 })
}

impl Http1Route<'_> {
    /// Sends a GET for `url`, once more if the connection broke: a service may close a kept
    /// connection at the very moment of its use, and a GET may be repeated (RFC 9110, section
    /// 9.2.2).
    pub async fn send(&self, url: &Url) -> Result<Response<Body>, reqwest::Error> {
        let service = self.service;
        let mut url = url.clone();
        // The header fields have both. The calls fail only for a URL without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let send = || service.http1.get(url.clone()).headers(service.headers.clone()).send();
        let mut response = send().await;
        if response.as_ref().is_err_and(|error| !error.is_connect() && !error.is_builder()) {
            response = send().await;
        }
        let response = response?;
        // The service may have been upgraded.
        if service.negotiates && response.version() == Version::HTTP_2 {
            service.set_protocol(Protocol::Http2);
        }
        Ok(response.into())
    }
}

impl Http2Route<'_> {
    /// Sends a GET for `url`. The error [`SendError::Http1`] says that the next route will be one
    /// of HTTP/1.1: the service may have been downgraded.
    pub async fn send(&mut self, url: &Url) -> Result<Response<Incoming>, SendError> {
        let service = self.service;
        let response = self.share.send(&service.connector, url, &service.headers).await;
        if let Err(SendError::Http1) = response {
            service.set_protocol(Protocol::Http1);
        }
        response
    }
}
