//! HTTP: one GET to a backend.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, AGE, CACHE_CONTROL, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
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

/// The HTTP client of one configuration, with its keep-alive connections to every backend.
pub struct Http {
    client: Client,
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
    /// No connection, or one that broke.
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

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Failure::Connection(causes(error))
    }
}

impl Http {
    /// Sets up the client. `headers` go with every request; `silent` counts where a response does not say how long it
    /// may be used; past `connections` at once, requests wait for one.
    pub fn new(headers: HeaderMap, tls: Tls, silent: Freshness, connections: usize) -> reqwest::Result<Self> {
        let mut all = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        all.extend(headers);
        let mut client = Client::builder()
            .default_headers(all)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy();
        if let Some(anchors) = tls.anchors {
            client = client.tls_certs_only(anchors);
        }
        if let Some(identity) = tls.identity {
            client = client.identity(identity);
        }
        let connections = Semaphore::new(connections.min(Semaphore::MAX_PERMITS));
        Ok(Http { client: client.build()?, silent, connections })
    }

    async fn send(&self, url: &str) -> reqwest::Result<Response> {
        self.client.get(url).send().await
    }
}

impl Fetch for Http {
    async fn get(&self, url: &str) -> Result<Found, Failure> {
        // It is never closed.
        let _permit = self.connections.acquire().await;
        let mut response = match self.send(url).await {
            // A connection kept from an earlier request may be closed by the backend at the very moment of its use; a GET
            // may be repeated (RFC 9110, section 9.2.2).
            Err(error) if error.is_request() && !error.is_connect() => self.send(url).await?,
            sent => sent?,
        };
        let status = response.status();
        let freshness = freshness(response.headers(), self.silent);
        if status == StatusCode::OK {
            let answer = answer::parse(&body(&mut response).await?)?;
            return Ok(Found { reply: Some(answer.into()), freshness });
        }
        // The status says it all, but a connection with an unread body cannot be used again.
        let _ = timeout(REST, body(&mut response)).await;
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

async fn body(response: &mut Response) -> Result<Vec<u8>, Failure> {
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(Failure::TooLong);
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        body.extend_from_slice(&part);
        if body.len() > MAX_BODY {
            return Err(Failure::TooLong);
        }
    }
    Ok(body)
}

/// The error with all that caused it, down to the system's own words ("Connection refused"), less the URL.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
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
