// SPDX-License-Identifier: MPL-2.0
//! How connections to services are made: TCP and TLS.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use native_tls::{Protocol, TlsConnector};
use reqwest::redirect::Policy;
use reqwest::{Client, retry};
use tokio::sync::Semaphore;

use super::resolver::Resolver;
use super::{Http1Limits, SetupError, files, headers};
use crate::config::Settings;

/// After so long without a packet on a connection, TCP asks the service for a sign of life.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection ends when the service's machine does not acknowledge a packet for so long.
pub const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The most header fields of a response by HTTP/1.1. A response with more is a failure.
pub const MOST_FIELDS: usize = 100;

/// The oldest version of TLS that is spoken (RFC 8996). The system's policy may ask for a later one.
pub const OLDEST_TLS: Protocol = Protocol::Tlsv12;

/// The protocols that TLS offers the service, the best one first (RFC 7301).
const ALPN: [&str; 2] = ["h2", "http/1.1"];

/// Makes connections, with TLS where the URL says https.
pub type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// What the connections to all services of one configuration have in common.
pub struct Connections {
    /// The header fields of every request.
    pub headers: HeaderMap,
    /// Makes the connections of HTTP/2.
    pub connector: Connector,
    /// Makes and keeps the connections of HTTP/1.1.
    pub http1: Client,
    /// The time of one connection: a service's share of the time of a lookup.
    pub connect_timeout: Duration,
    /// One permit for each HTTP/1.1 connection that may be in use.
    pub http1_limit: Arc<Semaphore>,
}

impl Connections {
    /// Reads the files that the settings name. No connection is made yet.
    pub fn new(settings: &Settings, limits: Http1Limits) -> Result<Self, SetupError> {
        let tls = tls_connector(settings)?;
        // The addresses of a name share it, so that a dead first address leaves time for the next.
        let connect_timeout = settings.timeout / settings.services.len().max(1) as u32;
        let http1 = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(Policy::none())
            .retry(retry::never())
            .http1_max_headers(MOST_FIELDS)
            // A proxy named in the environment of Kea's process is not meant for the hook.
            .no_proxy()
            .dns_resolver(Resolver::system())
            .tcp_nodelay(true)
            .tcp_keepalive(TCP_KEEP_ALIVE)
            .tcp_keepalive_interval(TCP_KEEP_ALIVE)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .connect_timeout(connect_timeout)
            .pool_max_idle_per_host(limits.idle)
            .build()?;
        let mut tcp = HttpConnector::new_with_resolver(Resolver::system());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEP_ALIVE));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        // For TCP alone. Before the first answer by TLS there are two connections, of which this
        // one finds the protocol out: a dead first address must leave time for the other one.
        tcp.set_connect_timeout(Some(connect_timeout / 2));
        Ok(Connections {
            connect_timeout,
            headers: headers::of_requests(settings)?,
            connector: HttpsConnector::from((tcp, tls.into())),
            http1,
            http1_limit: Arc::new(Semaphore::new(limits.in_use.min(Semaphore::MAX_PERMITS))),
        })
    }
}

/// Whether services are checked against the authorities of the system.
pub fn needs_system_authorities(settings: &Settings) -> bool {
    settings.trust_anchor.is_none()
        && settings.services.iter().any(|service| service.url().scheme() == "https")
}

/// How TLS is spoken, with the files that the settings name.
fn tls_connector(settings: &Settings) -> Result<TlsConnector, SetupError> {
    let mut tls = TlsConnector::builder();
    tls.request_alpns(&ALPN);
    tls.min_protocol_version(Some(OLDEST_TLS));
    let anchors = settings.trust_anchor.as_deref().map(files::trust_anchors).transpose()?;
    // To read the system's authorities takes longer than the rest of a load.
    if !needs_system_authorities(settings) {
        tls.disable_built_in_roots(true);
    }
    for anchor in anchors.unwrap_or_default() {
        tls.add_root_certificate(anchor);
    }
    if let Some(certificate) = &settings.client_certificate {
        tls.identity(files::identity(&certificate.cert_file, &certificate.key_file)?);
    }
    Ok(tls.build()?)
}
