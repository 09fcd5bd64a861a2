// SPDX-License-Identifier: MPL-2.0
//! What the engine reports while it works, and the trait of who listens.
//!
//! The engine has no log and no statistics. The Kea adapter listens and turns events into both.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::fetch::Failure;
use crate::request::Request;

/// How a log line names a packet. It becomes text only when a line is written, on any thread.
pub type Label = Arc<dyn Display + Send + Sync>;

/// What comes next for a client whose request failed at one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next service is asked.
    NextService,
    /// The client gets its last answer, which is stale.
    LastAnswer,
    /// There is no answer for the client.
    NoAnswer,
}

/// One event of the engine. `service` is a service's index in the parameter `url`.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A request is about to go to a service.
    Asking {
        /// The packet that the request is made for.
        label: &'a Label,
        /// The request's URL. It may hold credentials: show it with [`crate::request::shown`].
        url: &'a Url,
    },
    /// A service gave no answer to a request.
    Failed {
        /// Which service was asked.
        service: usize,
        /// The packet that the request was made for.
        label: &'a Label,
        /// Why there is no answer.
        failure: &'a Failure,
        /// The request's URL. It may hold credentials: show it with [`crate::request::shown`].
        url: &'a Url,
        /// What comes next for the client.
        next: Next,
    },
    /// A request to a service has ended: of a lookup, or of a probe. A request that could not be
    /// made, for a reason that lies on this machine, is none.
    Responded {
        /// Which service was asked.
        service: usize,
        /// Why there is no answer; `None` where there is one.
        failure: Option<&'a Failure>,
    },
    /// A lookup has ended, with an answer or without: services were asked for it.
    LookupEnded {
        /// How long it took, all services together.
        took: Duration,
    },
    /// A service is down from now on: no lookup asks it, a probe does once a second.
    ServiceDown {
        /// Which service is down.
        service: usize,
        /// How many different requests in a row failed at the service.
        failures: usize,
        /// The last failure.
        failure: &'a Failure,
    },
    /// A service wants to be left alone, and is not asked for a while.
    Paused {
        /// Which service is not asked.
        service: usize,
        /// For how long.
        pause: Duration,
        /// The failure with which the service said so.
        failure: &'a Failure,
    },
    /// A service is still down: ten minutes have passed since the last event of this outage, or a
    /// probe failed for another reason than the one before.
    ServiceStillDown {
        /// Which service is down.
        service: usize,
        /// For how long.
        down_for: Duration,
        /// The last failure, in words.
        failure: &'a str,
    },
    /// A service that was down has answered a probe. Lookups ask it again.
    ServiceUp {
        /// Which service is up.
        service: usize,
        /// For how long it was down.
        down_for: Duration,
    },
    /// A packet waits for a request that another packet has made.
    Coalesced {
        /// The packet that waits.
        label: &'a Label,
        /// The request in flight.
        request: &'a Request,
    },
    /// No request was made, because the last one for this client failed and the next one has still
    /// to wait.
    BackingOff {
        /// The packet whose lookup fails, or gets a stale answer.
        label: &'a Label,
        /// The request that was not made.
        request: &'a Request,
    },
    /// A request could not be made, for a reason that lies on this machine.
    Congested {
        /// The packet that the request was to be made for.
        label: &'a Label,
        /// The reason, a [`Failure::Congested`].
        failure: &'a Failure,
    },
    /// No request was made, because every service is down, or wants to be left alone.
    NoServiceUp {
        /// The packet whose lookup fails, or gets a stale answer.
        label: &'a Label,
        /// The request that was not made.
        request: &'a Request,
    },
    /// As many requests are in flight as allowed, so a lookup stands in line.
    InLine {
        /// The packet whose lookup stands in line.
        label: &'a Label,
        /// The concurrency limit: the parameter `max-in-flight`, or fewer, where there are
        /// connections for no more.
        limit: usize,
    },
    /// No more lookups can stand in line: a lookup was shed.
    Shed {
        /// The packet whose lookup was shed.
        label: &'a Label,
        /// How many lookups stand in line.
        line: usize,
    },
}

/// Who listens to the engine.
pub trait Listener: Send + Sync + 'static {
    /// Takes notice of one event. Called from any thread, also from Kea's packet threads, with no
    /// lock of the engine held. Must not block and must not panic.
    fn notice(&self, event: &Event<'_>);
}
