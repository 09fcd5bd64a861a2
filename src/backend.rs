//! HTTP: one GET to a backend.

use std::error::Error;
use std::time::Duration;

use http::header::{ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, USER_AGENT};
use http::response::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use native_tls::TlsConnector;
use openssl::base64;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::{self, AnswerError};
use crate::backends::{Fetch, Found};
use crate::freshness::Freshness;
use crate::tls::Tls;

/// The longest body of an answer, in bytes; past it no more is read.
pub const MAX_BODY: usize = 64 * 1024;

/// The longest wait for a body that says nothing: a new connection is cheaper than more.
const REST: Duration = Duration::from_millis(20);

/// A backend that has said nothing on a connection for so long is asked for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection ends when what was sent on it, such a question too, is not acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// A GET has none.
type NoBody = Empty<&'static [u8]>;

/// The HTTP client of one configuration, with its keep-alive connections to every backend.
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, NoBody>,
    /// Sent with every request.
    headers: HeaderMap,
    /// What counts where a response does not say how long it may be used.
    silent: Freshness,
    /// One permit for each connection that may be in use.
    connections: Semaphore,
}

/// Why a backend gave no answer.
#[derive(Debug, Error)]
pub enum Failure {
    /// Not all of the answer came in time.
    #[error("no answer within {:.0} ms", .0.as_secs_f64() * 1000.0)]
    Late(Duration),
    /// The backend answered with a status that is neither 200, nor 204, nor 404.
    #[error("status {0}")]
    Status(StatusCode),
    /// A redirect.
    #[error("status {0}, and redirects are not followed")]
    Redirect(StatusCode),
    /// A body past [`MAX_BODY`].
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLong,
    /// A body that is no answer.
    #[error(transparent)]
    NoAnswer(#[from] AnswerError),
    /// No connection, or one that broke; or a request that cannot be made.
    #[error("{0}")]
    Connection(String),
}

impl Failure {
    /// Whether the backend works, as far as this failure tells, and it is its answer that is bad.
    pub fn is_of_the_answer(&self) -> bool {
        match self {
            Failure::Status(status) => !status.is_server_error(),
            Failure::Redirect(_) | Failure::TooLong | Failure::NoAnswer(_) => true,
            Failure::Late(_) | Failure::Connection(_) => false,
        }
    }
}

impl From<legacy::Error> for Failure {
    fn from(error: legacy::Error) -> Self {
        Failure::Connection(causes(&error))
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        Failure::Connection(causes(&error))
    }
}

impl Http {
    /// Sets up the client. `headers` go with every request; `silent` counts where a response does not say how long it
    /// may be used; past `connections` at once, requests wait for one.
    pub fn new(
        headers: HeaderMap,
        tls: Tls,
        silent: Freshness,
        connections: usize,
    ) -> Result<Self, native_tls::Error> {
        let name = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let mut all = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (USER_AGENT, HeaderValue::from_static(name)),
        ]);
        all.extend(headers);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEP_ALIVE));
        http.set_keepalive_interval(Some(KEEP_ALIVE));
        http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let mut connector = TlsConnector::builder();
        if let Some(anchors) = tls.anchors {
            connector.disable_built_in_roots(true);
            for anchor in anchors {
                connector.add_root_certificate(anchor);
            }
        }
        if let Some(identity) = tls.identity {
            connector.identity(identity);
        }
        let connector = HttpsConnector::from((http, connector.build()?.into()));
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let connections = Semaphore::new(connections.min(Semaphore::MAX_PERMITS));
        Ok(Http { client, headers: all, silent, connections })
    }

    /// The request for an URL. The user name and password in it become a header, whatever `headers` say.
    fn request(&self, url: &str) -> Result<Request<NoBody>, http::Error> {
        let mut uri: Uri = url.parse()?;
        let mut headers = self.headers.clone();
        if let Some((user, host)) = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'))
        {
            let (authorization, host) = (basic(user), Authority::try_from(host)?);
            headers.insert(AUTHORIZATION, authorization?);
            let mut parts = uri.into_parts();
            parts.authority = Some(host);
            uri = parts.try_into()?;
        }
        let mut request = Request::new(NoBody::new());
        (*request.uri_mut(), *request.headers_mut()) = (uri, headers);
        Ok(request)
    }
}

/// The Authorization header of what stands before the host in an URL (RFC 7617, section 2).
fn basic(user: &str) -> Result<HeaderValue, http::Error> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let both: Vec<_> = percent_decode_str(name).chain([b':']).chain(percent_decode_str(password)).collect();
    let mut value = HeaderValue::try_from(format!("Basic {}", base64::encode_block(&both)))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Fetch for Http {
    async fn get(&self, url: &str) -> Result<Found, Failure> {
        // It is never closed.
        let _permit = self.connections.acquire().await;
        let response = match self.client.request(self.request(url)?).await {
            // A connection kept from an earlier request may be closed by the backend at the very moment of its use; a GET
            // may be repeated (RFC 9110, section 9.2.2).
            Err(error) if !error.is_connect() => self.client.request(self.request(url)?).await?,
            sent => sent?,
        };
        let (Parts { status, headers, .. }, body) = response.into_parts();
        let freshness = freshness(&headers, self.silent);
        let body = async {
            // What is too long as it says itself is not waited for.
            if body.size_hint().lower() > MAX_BODY as u64 {
                return Err(Failure::TooLong);
            }
            Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
                match error.is::<LengthLimitError>() {
                    true => Failure::TooLong,
                    false => Failure::Connection(causes(&*error)),
                }
            })
        };
        if status == StatusCode::OK {
            let answer = answer::parse(&body.await?.to_bytes())?;
            return Ok(Found { reply: Some(answer.into()), freshness });
        }
        // The status says it all, but a connection with an unread body cannot be used again.
        let _ = timeout(REST, body).await;
        match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(Found { reply: None, freshness }),
            status if status.is_redirection() => Err(Failure::Redirect(status)),
            status => Err(Failure::Status(status)),
        }
    }
}

fn freshness(headers: &HeaderMap, silent: Freshness) -> Freshness {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let cache_control: Vec<_> = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
    let age = headers.get(AGE).map(text);
    Freshness::told(cache_control.iter().map(String::as_str), age.as_deref(), silent)
}

/// The error with all that caused it, down to the system's own words ("Connection refused").
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors tell what caused them in their own text.
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(headers: &[(&'static str, &'static str)]) -> Http {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let silent = Freshness { life: Duration::ZERO, stale: Duration::ZERO };
        Http::new(HeaderMap::from_iter(headers), Tls::default(), silent, 1).unwrap()
    }

    /// What is asked, and the one header so named, of a request for this URL.
    fn requested(url: &str, headers: &[(&'static str, &'static str)], named: &str) -> (String, String) {
        let request = http(headers).request(url).unwrap();
        let values: Vec<_> = request.headers().get_all(named).iter().collect();
        assert_eq!(values.len(), 1, "{named} of {url}");
        (request.uri().to_string(), values[0].to_str().unwrap().to_owned())
    }

    #[test]
    fn user_and_password_of_an_url_become_a_header() {
        for (url, asked, user) in [
            ("http://u:p@h/x?y=@", "http://h/x?y=@", "u:p"),
            ("http://u@h/", "http://h/", "u:"),
            ("https://:p@h:8443/", "https://h:8443/", ":p"),
            ("http://u:p%3A%40@[::1]:8080/", "http://[::1]:8080/", "u:p:@"),
        ] {
            let expected = format!("Basic {}", base64::encode_block(user.as_bytes()));
            for headers in [&[][..], &[("authorization", "Bearer token")]] {
                assert_eq!(requested(url, headers, "authorization"), (asked.into(), expected.clone()));
            }
        }
    }

    #[test]
    fn headers_take_the_place_of_the_hook_s_own() {
        let given = [("user-agent", "kea"), ("accept", "text/plain")];
        for (name, value) in given {
            assert_eq!(requested("http://h/", &given, name).1, value);
        }
        assert_eq!(requested("http://h/", &[], "accept").1, "application/json");
        assert!(requested("http://h/", &[], "user-agent").1.starts_with("kea-hook-remote-opts/"));
    }

    #[test]
    fn what_cannot_be_asked_is_a_failure() {
        let error = http(&[]).request(&format!("http://h/{}", "x".repeat(70_000))).unwrap_err();
        assert_eq!(Failure::from(error).to_string(), "uri too long");
    }
}
