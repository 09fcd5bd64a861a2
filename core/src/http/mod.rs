// SPDX-License-Identifier: MPL-2.0
//! HTTP: asks one service for one URL, and reads the response.
//!
//! The engine calls [`Client`] through the trait [`Fetch`], on the runtime's thread. No other
//! module of the crate knows HTTP.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use thiserror::Error as ThisError;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use crate::answer;
use crate::cache::Freshness;
use crate::config::parameter::URL;
use crate::config::{ConfigError, Settings};
use crate::fetch::{Failure, Fetch, Found, MAX_BODY};
use crate::request::ServiceUrl;

mod cache_control;
mod connection;
mod files;
mod headers;
mod service;

use connection::{Connections, tls_connector};
use service::{HTTP2_CONNECTIONS, ServiceConnections};

/// The longest wait for the body of a response whose status says it all. A connection with an
/// unread body cannot be used again, but a new connection is cheaper than a longer wait.
const REST_OF_BODY: Duration = Duration::from_millis(20);

/// What the HTTP library says to a request when another request, which was making the connection
/// that both were to share, has failed or given up.
const SHARED_ATTEMPT: &str = "client error (Connect): request was canceled";

/// How often a request that was not sent for this reason is sent again.
const SHARED_ATTEMPTS: usize = 3;

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

/// The HTTP client of one configuration, with its connections to every service.
pub struct Client {
    /// In the order of the parameter `url`.
    services: Vec<ServiceConnections>,
    /// How long an answer may be used where the service does not say.
    silent: Freshness,
}

impl Client {
    /// Sets the client up, and reads the files that the settings name. `connections` bounds the
    /// connections in use at once. The few of HTTP/2 are set aside; past the rest, requests wait
    /// for an HTTP/1.1 connection.
    pub fn new(settings: &Settings, connections: usize) -> Result<Self, SetupError> {
        settings.services.iter().try_for_each(check)?;
        let may_speak_http2 =
            |service: &&ServiceUrl| settings.http2 || service.url().scheme() == "https";
        let http2 = settings.services.iter().filter(may_speak_http2).count() * HTTP2_CONNECTIONS;
        let http1 = connections.saturating_sub(http2).max(connections / 2).max(1);
        let connections = Connections {
            headers: headers::of_requests(settings)?,
            tls: tls_connector(settings)?,
            http1_limit: Arc::new(Semaphore::new(http1.min(Semaphore::MAX_PERMITS))),
        };
        let services = settings.services.iter();
        let services = services
            .map(|service| ServiceConnections::new(service.url(), settings.http2, &connections))
            .collect::<Result<_, _>>()?;
        Ok(Client { services, silent: settings.freshness })
    }
}

/// Whether the URL of a service can be asked: some URLs are no URI (RFC 3986), and the HTTP library
/// would say so only at the first request.
fn check(service: &ServiceUrl) -> Result<(), ConfigError> {
    let uri: Result<Uri, _> = service.url().as_str().parse();
    let shown = || serde_json::Value::from(service.to_string()).to_string();
    uri.map(drop).map_err(|error| ConfigError::refused(&URL, shown(), format_args!("({error})")))
}

impl Fetch for Client {
    async fn get(&self, service: usize, mut url: Url) -> Result<Found, Failure> {
        let service = &self.services[service];
        if service.authorization.is_some() {
            // The header says it. Both calls fail only for a URL without a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let mut route = service.route().await?;
        let send = || {
            let mut request = route.client().get(url.clone());
            if let Some(authorization) = &service.authorization {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            request.send()
        };
        let mut response = send().await;
        for _ in 0..SHARED_ATTEMPTS {
            match &response {
                Err(error) if is_of_another_request(error) => response = send().await,
                _ => break,
            }
        }
        // A service may close a kept connection at the very moment of its use. A GET may be
        // repeated (RFC 9110, section 9.2.2).
        if response.as_ref().is_err_and(|error| !error.is_connect() && !error.is_builder()) {
            response = send().await;
        }
        route.ended(&response);
        read(response.map_err(failure)?, self.silent).await
    }
}

/// Whether a request was not sent because another request gave up the connection that both were to
/// share.
fn is_of_another_request(error: &reqwest::Error) -> bool {
    error.is_connect() && error.source().is_some_and(|cause| causes(cause) == SHARED_ATTEMPT)
}

/// Reads a response. `silent` counts where it does not say how long its answer may be used.
async fn read(mut response: Response, silent: Freshness) -> Result<Found, Failure> {
    let status = response.status();
    let freshness = freshness(response.headers(), silent);
    if status == StatusCode::OK {
        let answer = answer::parse(&body(&mut response).await?)?;
        return Ok(Found { answer: answer.into(), freshness });
    }
    let _ = timeout(REST_OF_BODY, body(&mut response)).await;
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => {
            Ok(Found { answer: Default::default(), freshness })
        }
        status if status.is_redirection() => Err(Failure::Redirect(status.to_string())),
        status if status.is_server_error() => Err(Failure::ServerError(status.to_string())),
        status => Err(Failure::Status(status.to_string())),
    }
}

/// The body of a response, decompressed.
async fn body(response: &mut Response) -> Result<Vec<u8>, Failure> {
    // A body that announces too many bytes is not waited for.
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(Failure::TooLong);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn freshness(headers: &HeaderMap, silent: Freshness) -> Freshness {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let cache_control: Vec<_> = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
    let age = headers.get(AGE).map(text);
    cache_control::freshness(cache_control.iter().map(String::as_str), age.as_deref(), silent)
}

/// The failure that an error of the HTTP library means, in the words of its causes down to the
/// system's own ("Connection refused").
fn failure(error: reqwest::Error) -> Failure {
    // The library's own outermost words are "error sending request", and the URL, which the engine
    // reports by itself.
    let error = error.without_url();
    let is_of_the_body = error.is_decode();
    let text = match error.source() {
        Some(cause) => causes(cause),
        None => error.to_string(),
    };
    if is_of_the_body {
        return Failure::Undecodable(text);
    }
    Failure::Connection(match text.as_str() {
        SHARED_ATTEMPT => "the connection that several requests wait for cannot be made".to_owned(),
        _ => text,
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
