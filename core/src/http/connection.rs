// SPDX-License-Identifier: MPL-2.0
//! How connections to services are made: TCP, TLS, and the HTTP library's clients that keep them.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use native_tls::TlsConnector;
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, retry};
use tokio::sync::Semaphore;

use super::{SetupError, files};
use crate::config::Settings;

/// After so long without a packet on a connection, TCP asks the service for a sign of life.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection ends when the service's machine does not acknowledge a packet for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// After so long without a frame on an HTTP/2 connection, a PING asks for a sign of life (RFC 9113,
/// section 6.7). Many requests share the connection, so a dead one must be noticed fast.
const HTTP2_PING_AFTER: Duration = Duration::from_secs(2);

/// An HTTP/2 connection ends when a PING is not answered for so long.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(2);

/// After so long without a frame, a dead HTTP/2 connection has ended: see the two times above.
pub const PING_ENDS_AFTER: Duration =
    Duration::from_secs(1 + HTTP2_PING_AFTER.as_secs() + HTTP2_PING_TIMEOUT.as_secs());

/// The protocols that TLS offers the service, the best one first (RFC 7301).
const ALPN: [&str; 2] = ["h2", "http/1.1"];

/// What the connections to all services of one configuration have in common.
pub struct Connections {
    /// The header fields of every request.
    pub headers: HeaderMap,
    /// How TLS is spoken.
    pub tls: TlsConnector,
    /// One permit for each HTTP/1.1 connection that may be in use.
    pub http1_limit: Arc<Semaphore>,
}

impl Connections {
    /// Begins a client of the HTTP library. A client keeps its connections for the next requests.
    pub fn client(&self) -> ClientBuilder {
        reqwest::Client::builder()
            .default_headers(self.headers.clone())
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(Policy::none())
            .retry(retry::never())
            // A proxy named in the environment of Kea's process is not meant for the hook.
            .no_proxy()
            .tcp_nodelay(true)
            .tcp_keepalive(TCP_KEEP_ALIVE)
            .tcp_keepalive_interval(TCP_KEEP_ALIVE)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .http2_keep_alive_interval(HTTP2_PING_AFTER)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
    }
}

/// How TLS is spoken, with the files that the settings name.
pub fn tls_connector(settings: &Settings) -> Result<TlsConnector, SetupError> {
    let mut tls = TlsConnector::builder();
    tls.request_alpns(&ALPN);
    let anchors = settings.trust_anchor.as_deref().map(files::trust_anchors).transpose()?;
    // To read the system's authorities takes longer than the rest of a load. Without an https
    // service nobody needs them.
    let any_https = settings.services.iter().any(|service| service.url().scheme() == "https");
    if anchors.is_some() || !any_https {
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
