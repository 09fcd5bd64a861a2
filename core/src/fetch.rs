// SPDX-License-Identifier: MPL-2.0
//! What stands between the engine and HTTP: how a service is asked, and what comes of it.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use url::Url;

use crate::answer::{Answer, Given, ParseError};
use crate::cache::Freshness;

/// The longest body of a response, in bytes after decompression. A longer one is a failure.
pub const MAX_BODY: usize = 64 * 1024;

/// What a service said.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the service has for the client, perhaps nothing.
    pub answer: Arc<Answer>,
    /// How long the answer may be used.
    pub freshness: Freshness,
}

impl Found {
    /// Notes that this service has given the answer at this time.
    pub fn given_by(mut self, service: &Arc<str>, at: SystemTime) -> Self {
        // Nobody else has the answer yet. A test's script may.
        if let Some(answer) = Arc::get_mut(&mut self.answer) {
            answer.given = Given::By { by: Arc::clone(service), at };
        }
        self
    }
}

/// Why a service gave no answer.
#[derive(Debug, Error)]
pub enum Failure {
    /// The answer did not arrive whole in its share of the lookup's time.
    #[error("no answer within {:.0} ms", .0.as_secs_f64() * 1000.0)]
    Late(Duration),
    /// The service has an error of its own, or no time for the request: status 429, or a status
    /// from 500 on.
    #[error("status {status}")]
    Unavailable {
        /// The status, with its words.
        status: String,
        /// After which time the service wants to be asked again, where it says so (Retry-After with
        /// 429 and 503; RFC 9110, section 10.2.3).
        retry_after: Option<Duration>,
    },
    /// The status of the response is none of 200, 204 and 404, and no error of the service's own.
    #[error("status {0}")]
    Status(String),
    /// The response is a redirect.
    #[error("status {status}{}, and redirects are not followed", to(.location))]
    Redirect {
        /// The status, with its words.
        status: String,
        /// Where the service wants the request to go (the header field Location; RFC 9110, section
        /// 10.2.2), as it said so.
        location: Option<String>,
    },
    /// The body is longer than [`MAX_BODY`].
    #[error("the body is longer than {MAX_BODY} bytes")]
    TooLong,
    /// The body cannot be decompressed.
    #[error("the body cannot be decompressed: {0}")]
    Undecodable(String),
    /// The body is not an answer.
    #[error(transparent)]
    NotAnAnswer(#[from] ParseError),
    /// There is no connection, or the connection broke.
    #[error("{1}")]
    Connection(Stage, String),
    /// The request makes no URL for the service.
    #[error("{0}")]
    Unaskable(String),
    /// The request was not made, for a reason that lies on this machine: no descriptor, no port, no
    /// free connection.
    #[error("{0}")]
    Congested(String),
}

/// In words: where a redirect leads. The log escapes what the service has written.
fn to(location: &Option<String>) -> String {
    location.as_ref().map(|location| format!(" to {}", cut(location))).unwrap_or_default()
}

/// A text that a service has written, no longer than a URL in the log needs.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

/// How far a connection came that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The system's resolver has no address for the name.
    Dns,
    /// There is no connection, or an open connection broke.
    Connect,
    /// TLS cannot be spoken: the certificates do not fit, for instance.
    Tls,
}

/// The kind of a failure, as statistics tell failures apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection, or a connection that broke.
    Connect,
    /// TLS.
    Tls,
    /// No address for the name.
    Dns,
    /// No answer in time.
    Late,
    /// A status that is no answer, a redirect among them.
    Status,
    /// A body that is no answer.
    Body,
    /// This machine has too much to do.
    Congestion,
}

/// What a failure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The service may be down.
    Service,
    /// The service works, and has no good answer to this one request.
    Request,
    /// Nothing about the service and nothing about the request: this machine has too much to do.
    Congestion,
}

impl Failure {
    /// Whether the failure speaks against the service, or against the request alone.
    pub fn blame(&self) -> Blame {
        match self {
            Failure::Late(_) | Failure::Connection(..) | Failure::Unavailable { .. } => {
                Blame::Service
            }
            Failure::Status(_)
            | Failure::Redirect { .. }
            | Failure::TooLong
            | Failure::Undecodable(_)
            | Failure::NotAnAnswer(_)
            | Failure::Unaskable(_) => Blame::Request,
            Failure::Congested(_) => Blame::Congestion,
        }
    }

    /// The kind of the failure. `None` for a request that makes no URL for the service.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Failure::Connection(Stage::Dns, _) => Kind::Dns,
            Failure::Connection(Stage::Connect, _) => Kind::Connect,
            Failure::Connection(Stage::Tls, _) => Kind::Tls,
            Failure::Late(_) => Kind::Late,
            Failure::Unavailable { .. } | Failure::Status(_) | Failure::Redirect { .. } => {
                Kind::Status
            }
            Failure::TooLong | Failure::Undecodable(_) | Failure::NotAnAnswer(_) => Kind::Body,
            Failure::Congested(_) => Kind::Congestion,
            Failure::Unaskable(_) => return None,
        })
    }
}

/// How services are asked. The HTTP client implements it; tests of the engine have a script.
pub trait Fetch: Send + Sync + 'static {
    /// Asks the service of this index (in the parameter `url`) for `url`, once.
    ///
    /// Cancel-safe: who waits too long drops the future, and the request ends. Runs on the
    /// runtime's thread.
    fn get(&self, service: usize, url: &Url)
    -> impl Future<Output = Result<Found, Failure>> + Send;
}
