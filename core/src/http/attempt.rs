// SPDX-License-Identifier: MPL-2.0
//! Work that many requests wait for and that is done once: a connection is made, a protocol is
//! negotiated.

use std::error::Error;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{causes, is_congestion, stage};
use crate::fetch::{Failure, Stage};

/// What an attempt has come to: `None` while it is under way, then its result, or the reason why it
/// has none.
type Attempt<T> = watch::Receiver<Option<Result<T, ConnectError>>>;

/// Why there is no connection.
#[derive(Debug, Clone)]
pub enum ConnectError {
    /// TLS has chosen HTTP/1.1, where HTTP/2 was asked for.
    Http1,
    /// The service cannot be reached: at this stage, for this reason.
    Unreachable(Stage, String),
    /// This machine has no descriptor or no port left.
    Congested(String),
}

impl ConnectError {
    /// The failure of a request that needs the connection.
    pub fn failure(self) -> Failure {
        match self {
            ConnectError::Http1 => {
                Failure::Connection(Stage::Connect, "the service speaks HTTP/1.1".to_owned())
            }
            ConnectError::Unreachable(stage, reason) => Failure::Connection(stage, reason),
            ConnectError::Congested(reason) => Failure::Congested(reason),
        }
    }
}

impl From<&(dyn Error + 'static)> for ConnectError {
    fn from(error: &(dyn Error + 'static)) -> Self {
        if is_congestion(error) {
            ConnectError::Congested(causes(error))
        } else {
            ConnectError::Unreachable(stage(error), causes(error))
        }
    }
}

/// The last attempt to do one thing, under way or ended.
pub struct SharedAttempt<T>(Mutex<Option<Attempt<T>>>);

impl<T> Default for SharedAttempt<T> {
    fn default() -> Self {
        SharedAttempt(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> SharedAttempt<T> {
    /// Waits for the result of the last attempt. A new attempt takes its place if it has failed, or
    /// if its result does not serve any more: `make` makes the result, in a task of its own, so
    /// that no request's end is the end of the attempt, for `longest` at the most. On the runtime's
    /// thread. The error says why there is none.
    ///
    /// Cancel-safe.
    pub async fn result<F>(
        &self,
        longest: Duration,
        serves: impl Fn(&T) -> bool,
        make: impl FnOnce() -> F,
    ) -> Result<T, ConnectError>
    where
        F: Future<Output = Result<T, ConnectError>> + Send + 'static,
    {
        let mut attempt = self.last(longest, serves, make);
        let ended = attempt.wait_for(Option::is_some).await;
        // The error says that the attempt has ended by a bug.
        let ended = ended.ok().and_then(|ended| ended.clone());
        ended.unwrap_or_else(|| {
            let reason = "the attempt has ended by a bug".to_owned();
            Err(ConnectError::Unreachable(Stage::Connect, reason))
        })
    }

    fn last<F>(
        &self,
        longest: Duration,
        serves: impl Fn(&T) -> bool,
        make: impl FnOnce() -> F,
    ) -> Attempt<T>
    where
        F: Future<Output = Result<T, ConnectError>> + Send + 'static,
    {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = last.as_ref() {
            let is_good = match &*attempt.borrow() {
                None => attempt.has_changed().is_ok(),
                Some(Ok(result)) => serves(result),
                Some(Err(_)) => false,
            };
            if is_good {
                return attempt.clone();
            }
        }
        let (sender, receiver) = watch::channel(None);
        *last = Some(receiver.clone());
        let make = make();
        tokio::spawn(async move {
            let result = timeout(longest, make).await.unwrap_or_else(|_| {
                let reason = format!("no connection within {} ms", longest.as_millis());
                Err(ConnectError::Unreachable(Stage::Connect, reason))
            });
            // The error says that nobody waits any more.
            let _ = sender.send(Some(result));
        });
        receiver
    }
}
