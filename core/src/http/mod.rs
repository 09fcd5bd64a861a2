// SPDX-License-Identifier: MPL-2.0
//! HTTP: asks one service for one URL, and reads the response.
//!
//! The engine calls [`Client`] through the trait [`Fetch`], on the runtime's thread. No other
//! module of the crate knows HTTP.

use std::error::Error;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use flate2::read::MultiGzDecoder;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use http::uri::InvalidUri;
use http::{Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes};
use nix::errno::Errno;
use thiserror::Error as ThisError;
use tokio::net::TcpSocket;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use url::{Position, Url};

use crate::answer;
use crate::cache::Freshness;
use crate::config::parameter::URL;
use crate::config::{ConfigError, Settings};
use crate::fetch::{Failure, Fetch, Found, MAX_BODY, Stage, cut};
use crate::probe::MOST_IN_FLIGHT as PROBES;
use crate::request::ServiceUrl;

mod attempt;
mod cache_control;
mod connection;
mod files;
mod headers;
mod http2;
mod resolver;
mod service;

use connection::Connections;
use files::Stamp;
use http2::SendError;
use service::{HTTP2_CONNECTIONS, Route, ServiceConnections};

/// The longest wait for the body of a response whose status says it all. A connection with an
/// unread body cannot be used again, but a new connection is cheaper than a longer wait.
pub(crate) const REST_OF_BODY: Duration = Duration::from_millis(20);

/// Why the HTTP client could not be set up.
#[derive(Debug, ThisError)]
pub enum SetupError {
    /// A parameter cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// OpenSSL could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] native_tls::Error),
    /// The HTTP library could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// The HTTP client of one configuration. Reads the files of its settings at load, and again when
/// they have changed.
pub struct Client {
    settings: Settings,
    http1: Http1Limits,
    /// The present connections. The lock is held only to copy or replace the `Arc`.
    connected: RwLock<Arc<Connected>>,
    /// The files as they were when they were read last, or could not be read.
    stamps: Mutex<Vec<Stamp>>,
    /// When the files were looked at last because of a request that was not authorized. Locked
    /// while somebody looks.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// How many connections of HTTP/1.1 there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Http1Limits {
    /// In use at once, to all services together.
    in_use: usize,
    /// Idle at once, to one service.
    idle: usize,
}

impl Http1Limits {
    /// The limits that keep all connections to so many services, idle ones included, within
    /// `sockets`.
    fn new(sockets: usize, services: usize) -> Self {
        match services {
            // An idle connection to the one service is used again before a new one is made.
            0 | 1 => Http1Limits { in_use: sockets.max(1), idle: sockets },
            // Each service may have idle connections while another one's are in use.
            _ => Http1Limits { in_use: (sockets / 2).max(1), idle: sockets / 2 / services },
        }
    }
}

/// The connections to every service, made with the files as they were at one time.
struct Connected {
    /// In the order of the parameter `url`.
    services: Vec<ServiceConnections>,
    /// How long an answer may be used where the service does not say.
    silent: Freshness,
    /// When the files were read.
    read: Instant,
}

impl Client {
    /// Sets the client up, and reads the files that the settings name. `sockets` bounds the
    /// connections, idle ones included. The few of HTTP/2 are set aside.
    pub fn new(settings: &Settings, sockets: usize) -> Result<Self, SetupError> {
        settings.services.iter().try_for_each(check)?;
        let may_speak_http2 =
            |service: &&ServiceUrl| settings.http2 || service.url().scheme() == "https";
        let http2 = settings.services.iter().filter(may_speak_http2).count() * HTTP2_CONNECTIONS;
        let http1 = Http1Limits::new(sockets - http2.min(sockets / 2), settings.services.len());
        // Before the files are read: a change in between is found later.
        let stamps = Mutex::new(files::stamps(settings));
        let connected = RwLock::new(Arc::new(Connected::new(settings, http1, None)?));
        let looked = tokio::sync::Mutex::default();
        Ok(Client { settings: settings.clone(), http1, connected, stamps, looked })
    }

    /// The most requests in flight at once for which there are connections.
    pub fn room(&self) -> usize {
        let mut services = self.settings.services.iter();
        let is_plain = |service: &ServiceUrl| service.url().scheme() == "http";
        // Only a service that never negotiates speaks HTTP/2 for certain.
        if self.settings.http2 && services.all(is_plain) {
            return usize::MAX;
        }
        // Probes of other services, which are down, take connections, too.
        let probes = PROBES * (self.settings.services.len() - 1);
        if self.http1.in_use > 2 * probes { self.http1.in_use - probes } else { self.http1.in_use }
    }

    /// Reads the files of the settings again, if they have changed since they were read. `None`
    /// where they have not. The error says why the files as they are now cannot be used; the ones
    /// read before stay in use. Blocks; any thread.
    pub fn refresh(&self) -> Option<Result<(), SetupError>> {
        // Locked until the end: of two threads, the one that read last must not store first.
        let mut known = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = files::stamps(&self.settings);
        if *known == stamps {
            return None;
        }
        *known = stamps;
        let earlier = self.connected();
        Some(Connected::new(&self.settings, self.http1, Some(&earlier)).map(|connected| {
            *self.connected.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(connected);
        }))
    }

    /// As [`Client::refresh`], for a request that the service did not authorize. Files that cannot
    /// be used are left to the next regular look, which says what is wrong with them.
    fn refresh_now(&self) {
        if let Some(Err(_)) = self.refresh() {
            self.stamps.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// The files and folders that the settings name, and how long ago they were read. Any thread.
    pub fn files(&self) -> (Vec<PathBuf>, Duration) {
        let Settings { trust_anchor, client_certificate, bearer_token_file, .. } = &self.settings;
        let certificate = client_certificate.iter();
        let certificate = certificate.flat_map(|files| [&files.cert_file, &files.key_file]);
        let files = bearer_token_file.iter().chain(trust_anchor).chain(certificate);
        (files.cloned().collect(), self.connected().read.elapsed())
    }

    /// Why no https service can be asked: the services are checked against the authorities of the
    /// system, and none of these can be read. `None` where they are not, or where one can. Blocks;
    /// any thread.
    pub fn lacks_authority(&self) -> Option<String> {
        if !connection::needs_system_authorities(&self.settings) {
            return None;
        }
        files::system_authority().err()
    }

    fn connected(&self) -> Arc<Connected> {
        Arc::clone(&self.connected.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connected {
    /// No connection yet. `earlier` are the connections made with other files.
    fn new(
        settings: &Settings,
        http1: Http1Limits,
        earlier: Option<&Connected>,
    ) -> Result<Self, SetupError> {
        let read = Instant::now();
        let connections = Connections::new(settings, http1)?;
        let services = settings.services.iter().enumerate().map(|(index, service)| {
            let earlier = earlier.map(|earlier| &earlier.services[index]);
            ServiceConnections::new(service.url(), settings.http2, &connections, earlier)
        });
        Ok(Connected { services: services.collect(), silent: settings.freshness, read })
    }
}

/// Whether the URL of a service can be asked: some URLs are no URI (RFC 3986), and the HTTP library
/// would say so only at the first request.
fn check(service: &ServiceUrl) -> Result<(), ConfigError> {
    let uri = target(service.url());
    let shown = || serde_json::Value::from(service.to_string()).to_string();
    uri.map(drop).map_err(|error| ConfigError::refused(&URL, shown(), format_args!("({error})")))
}

/// The target of a request: a URL without user name and password, which a header field has.
fn target(url: &Url) -> Result<Uri, InvalidUri> {
    let (scheme, host) = (url.scheme(), &url[Position::BeforeHost..Position::AfterPort]);
    format!("{scheme}://{host}{}", &url[Position::BeforePath..Position::AfterQuery]).parse()
}

impl Fetch for Arc<Client> {
    async fn get(&self, service: usize, url: &Url) -> Result<Found, Failure> {
        let (connected, sent) = (self.connected(), Instant::now());
        let found = connected.get(service, url).await;
        let is_unauthorized = |failure: &Failure| match failure {
            Failure::Status(status) => status.starts_with(StatusCode::UNAUTHORIZED.as_str()),
            _ => false,
        };
        if !found.as_ref().is_err_and(is_unauthorized) {
            return found;
        }
        // The service may take another token by now, and the file may hold it.
        let mut looked = self.looked.lock().await;
        // Many requests may be refused at once. One look at the files serves all that were sent
        // before it.
        if looked.is_none_or(|looked| looked < sent) {
            *looked = Some(Instant::now());
            let client = Arc::clone(self);
            // The error says that the runtime ends.
            let _ = spawn_blocking(move || client.refresh_now()).await;
        }
        drop(looked);
        if Arc::ptr_eq(&connected, &self.connected()) {
            return found;
        }
        Box::pin(self.connected().get(service, url)).await
    }
}

impl Connected {
    async fn get(&self, service: usize, url: &Url) -> Result<Found, Failure> {
        let service = &self.services[service];
        loop {
            // Thousands of lookups wait for a response by HTTP/2. All else is in a box, which a
            // lookup needs at another time, or only by HTTP/1.1. What `await` stands in the middle
            // of is kept, too: so the response is read in a statement of its own.
            if !service.knows_protocol() {
                Box::pin(service.find_protocol(url)).await?;
            }
            match service.route()? {
                Route::Http1(route) => {
                    let response = Box::pin(route.send(url)).await.map_err(|error| {
                        // The URL is not in the words of the failure: the engine reports it.
                        failure(&error.without_url())
                    })?;
                    return Box::pin(read(response, self.silent)).await;
                }
                Route::Http2(mut route) => {
                    let read = match route.send(url).await {
                        Ok(response) => Box::pin(read(response, self.silent)),
                        // The next route is one of HTTP/1.1.
                        Err(SendError::Http1) => continue,
                        Err(SendError::Failed(failure)) => return Err(failure),
                    };
                    return read.await;
                }
            }
        }
    }
}

/// Reads a response. `silent` counts where it does not say how long its answer may be used.
async fn read<B>(mut response: Response<B>, silent: Freshness) -> Result<Found, Failure>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let status = response.status();
    let freshness = freshness(response.headers(), silent);
    if status == StatusCode::OK {
        let body = body(response.body_mut()).await?;
        let body = decoded(response.headers(), body)?;
        let answer = answer::parse(&body)?;
        return Ok(Found { answer: answer.into(), freshness });
    }
    let _ = timeout(REST_OF_BODY, body(response.body_mut())).await;
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => {
            Ok(Found { answer: Default::default(), freshness })
        }
        status if status.is_redirection() => {
            let location = response.headers().get(LOCATION);
            let location =
                location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            Err(Failure::Redirect { status: status.to_string(), location })
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            let (status, retry_after) =
                (status.to_string(), retry_after(status, response.headers()));
            Err(Failure::Unavailable { status, retry_after })
        }
        status => Err(Failure::Status(status.to_string())),
    }
}

/// The body of a response, as it came.
async fn body<B>(body: &mut B) -> Result<Vec<u8>, Failure>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    // A body that announces too many bytes is not waited for.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(Failure::TooLong);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        // Another frame than one of data holds trailer fields, which say nothing about the answer.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(Failure::TooLong);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// A body without its content coding (RFC 9110, section 8.4). Requests accept gzip. A body that was
/// compressed more than once is refused: a gzip file that unpacks to itself, named a hundred
/// thousand times in a header field, would keep the runtime's thread busy for seconds.
fn decoded(headers: &HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let codings = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let codings = codings.flat_map(|value| value.split(|byte| *byte == b','));
    let codings = codings.map(|coding| coding.trim_ascii().to_ascii_lowercase());
    let codings: Vec<_> =
        codings.filter(|coding| !matches!(&**coding, b"" | b"identity")).collect();
    match &codings[..] {
        // A service may say that it compresses, and have nothing to compress.
        _ if body.is_empty() => Ok(body),
        [] => Ok(body),
        [coding] if matches!(&**coding, b"gzip" | b"x-gzip") => unzipped(&body),
        _ => {
            let codings = codings.join(&b", "[..]).escape_ascii().to_string();
            let reason = format!("Content-Encoding is {}, and only gzip is known", cut(&codings));
            Err(Failure::Undecodable(reason))
        }
    }
}

/// A body that was compressed by gzip.
fn unzipped(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let undecodable = |error: io::Error| Failure::Undecodable(error.to_string());
    let mut unzipped = Vec::new();
    let limit = MAX_BODY as u64 + 1;
    MultiGzDecoder::new(body).take(limit).read_to_end(&mut unzipped).map_err(undecodable)?;
    if unzipped.len() > MAX_BODY { Err(Failure::TooLong) } else { Ok(unzipped) }
}

fn freshness(headers: &HeaderMap, silent: Freshness) -> Freshness {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let cache_control: Vec<_> = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
    let age = headers.get(AGE).map(text);
    cache_control::freshness(cache_control.iter().map(String::as_str), age.as_deref(), silent)
}

/// How long a service wants to be left alone: the header field Retry-After of a response with this
/// status, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        // A date in the past asks for no time at all.
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// Whether the number of a system's error says nothing about a service: this process or this machine
/// has no descriptor, no memory or no port left.
fn is_congestion_code(code: i32) -> bool {
    match Errno::from_raw(code) {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => true,
        // Two meanings: no port is left, or the machine has no address of the service's family, as
        // for the IPv6 address of a name where IPv6 is switched off.
        Errno::EADDRNOTAVAIL => !has_free_port(),
        _ => false,
    }
}

/// Whether the machine has a port left for one more connection.
fn has_free_port() -> bool {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    TcpSocket::new_v4().and_then(|socket| socket.bind(any)).is_ok()
}

/// Whether an error comes of an error of the system that says nothing about a service.
fn is_congestion(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        let io = error.downcast_ref::<io::Error>();
        io.and_then(io::Error::raw_os_error).is_some_and(is_congestion_code)
    })
}

/// The failure that an error of reqwest means, in the words of its causes down to the system's own
/// ("Connection refused").
fn failure(error: &(dyn Error + 'static)) -> Failure {
    // The outermost words say nothing: "error sending request".
    let text = error.source().map_or_else(|| error.to_string(), causes);
    failure_in(text, error)
}

/// The failure that the error of a body means. The words say that the response had begun: reqwest's
/// own words around hyper's are left out.
fn broken(error: &(dyn Error + 'static)) -> Failure {
    let hyper = chain(error).find(|error| error.is::<hyper::Error>());
    failure_in(causes(hyper.unwrap_or(error)), error)
}

/// The failure that an error means, in these words.
fn failure_in(text: String, error: &(dyn Error + 'static)) -> Failure {
    if is_congestion(error) {
        Failure::Congested(text)
    } else {
        Failure::Connection(stage(error), text)
    }
}

/// How far a connection came that ended with this error.
fn stage(error: &(dyn Error + 'static)) -> Stage {
    let found = chain(error).find_map(|error| {
        if error.is::<resolver::LookUpError>() {
            Some(Stage::Dns)
        } else if error.is::<native_tls::Error>() || error.is::<openssl::ssl::Error>() {
            Some(Stage::Tls)
        } else {
            None
        }
    });
    found.unwrap_or(Stage::Connect)
}

/// An error and its causes, the outermost one first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an error that wraps another error is the source of the other error.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// The texts of an error and of all its causes.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors repeat the text of their cause.
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;

/// The limits of HTTP, for the test that holds SECURITY.md against them.
#[cfg(test)]
pub(crate) mod limits {
    pub(crate) use super::REST_OF_BODY;
    pub use super::cache_control::FOR_EVER;
    pub use super::connection::{MOST_FIELDS, OLDEST_TLS, UNACKNOWLEDGED};
    pub use super::http2::{CONNECTION_WINDOW, MOST_FIELD_BYTES, PING_ENDS_AFTER};
    pub use super::service::{HTTP2_CONNECTIONS, STREAMS};
    pub use super::tests::LONGEST_HEAD;
}
