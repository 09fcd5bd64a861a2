// SPDX-License-Identifier: MPL-2.0
//! What the engine of core reports → Kea's log.
//!
//! The engine calls it from its runtime's thread and from Kea's packet threads. Lines that may come
//! with every packet are throttled.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use remote_opts_core::config::OnError;
use remote_opts_core::event::{Event, Listener, Next};
use remote_opts_core::request::{ServiceUrl, shown};
use remote_opts_core::throttle::Throttle;

use crate::log::{
    REMOPTS_BACKING_OFF, REMOPTS_COALESCED, REMOPTS_CONGESTED, REMOPTS_LINE_FULL, REMOPTS_LOOKUP,
    REMOPTS_LOOKUP_FAILED, REMOPTS_NO_SERVICE_UP, REMOPTS_SERVICE_DOWN, REMOPTS_SERVICE_PAUSED,
    REMOPTS_SERVICE_STILL_DOWN, REMOPTS_SERVICE_UP, REMOPTS_TOO_MANY_LOOKUPS,
};
use crate::statistics;

/// Writes a line for each event, but for events that are throttled.
pub struct LogListener {
    /// In the order of the parameter `url`. At least one.
    services: Vec<ServiceLines>,
    /// What a new client gets whose lookup failed.
    on_error: OnError,
    /// For lines about lookups that stand in line.
    in_line: Throttle,
    /// For lines about lookups that find no place in line.
    shed: Throttle,
    /// For lines about requests that could not be made.
    congested: Throttle,
}

/// One service, as lines name it.
struct ServiceLines {
    url: ServiceUrl,
    /// For lines about requests that failed. Each service has its own, so that a service that fails
    /// all the time does not hide another one's failures.
    failed: Throttle,
    /// What packets had got when the service went down.
    before: Mutex<Replies>,
}

/// What packets got that had no fresh answer.
#[derive(Clone, Copy, Default)]
struct Replies {
    /// Replies with the client's last answer.
    stale: u64,
    /// Replies without edits.
    unedited: u64,
    /// No reply.
    none: u64,
}

impl Replies {
    /// Since the library came into the process.
    fn now() -> Self {
        let (failed, shed) = (statistics::FAILED.value(), statistics::SHED.value());
        let none = statistics::DROPPED.value() + statistics::NAKS_HELD_BACK.value();
        let without = failed + shed + statistics::CONGESTED.value();
        Replies { stale: statistics::STALE.value(), unedited: without.saturating_sub(none), none }
    }

    fn since(self, before: Replies) -> Self {
        Replies {
            stale: self.stale.saturating_sub(before.stale),
            unedited: self.unedited.saturating_sub(before.unedited),
            none: self.none.saturating_sub(before.none),
        }
    }
}

impl fmt::Display for Replies {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Replies { stale, unedited, none } = self;
        write!(
            formatter,
            "packets that got their last answer: {stale}, a reply without edits: {unedited}, no \
             reply: {none}"
        )
    }
}

impl ServiceLines {
    /// What packets got since the service went down.
    fn replies(&self) -> Replies {
        let before = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        Replies::now().since(before)
    }
}

impl LogListener {
    /// `services` are the services of the configuration, in the order of the parameter `url`; at
    /// least one.
    /// `on_error` is the parameter of this name.
    pub fn new(services: &[ServiceUrl], on_error: OnError) -> Self {
        let service = |url: &ServiceUrl| ServiceLines {
            url: url.clone(),
            failed: Throttle::default(),
            before: Mutex::default(),
        };
        LogListener {
            on_error,
            services: services.iter().map(service).collect(),
            in_line: Throttle::default(),
            shed: Throttle::default(),
            congested: Throttle::default(),
        }
    }
}

impl LogListener {
    /// What comes next for a client, in words.
    fn in_words(&self, next: Next) -> &'static str {
        match (next, self.on_error) {
            (Next::NextService, _) => "the next service is asked",
            (Next::LastAnswer, _) => "the client gets its last answer",
            (Next::NoAnswer, OnError::Continue) => "the client gets a reply without edits",
            (Next::NoAnswer, OnError::Drop) => "a new client gets no reply",
        }
    }
}

impl Listener for LogListener {
    fn notice(&self, event: &Event<'_>) {
        statistics::notice(event);
        // Lines about a request that goes to no service in particular show its URL at the first
        // one.
        let first = &self.services[0].url;
        match *event {
            Event::Asking { label, url } => REMOPTS_LOOKUP.debug([label, &shown(url)]),
            Event::Failed { service, label, failure, url, next } => {
                if let Some(held_back) = self.services[service].failed.pass() {
                    let (url, next) = (shown(url), self.in_words(next));
                    REMOPTS_LOOKUP_FAILED
                        .error([label, &format_args!("{failure}: {url} ({next}){held_back}")]);
                }
            }
            Event::Responded { .. } | Event::LookupEnded { .. } => {}
            Event::ServiceDown { service, failures, failure } => {
                let before = &self.services[service].before;
                *before.lock().unwrap_or_else(PoisonError::into_inner) = Replies::now();
                REMOPTS_SERVICE_DOWN
                    .warn([&failures, &format_args!("{failure}: {}", self.services[service].url)]);
            }
            Event::ServiceStillDown { service, down_for, failure } => {
                let service = &self.services[service];
                REMOPTS_SERVICE_STILL_DOWN.warn([
                    &down_for.as_secs(),
                    &service.replies(),
                    &format_args!("{failure}: {}", service.url),
                ]);
            }
            Event::ServiceUp { service, down_for } => {
                let service = &self.services[service];
                REMOPTS_SERVICE_UP.info([&down_for.as_secs(), &service.replies(), &service.url]);
            }
            Event::Coalesced { label, request } => {
                REMOPTS_COALESCED.debug([label, &request.shown_at(first)]);
            }
            Event::NoServiceUp { label, request } => {
                REMOPTS_NO_SERVICE_UP.debug([label, &request.shown_at(first)]);
            }
            Event::Paused { service, pause, failure } => {
                REMOPTS_SERVICE_PAUSED.warn([
                    &pause.as_secs(),
                    &format_args!("{failure}: {}", self.services[service].url),
                ]);
            }
            Event::BackingOff { label, request } => {
                REMOPTS_BACKING_OFF.debug([label, &request.shown_at(first)]);
            }
            Event::Congested { label, failure } => {
                if let Some(held_back) = self.congested.pass() {
                    REMOPTS_CONGESTED.warn([label, &format_args!("{failure}{held_back}")]);
                }
            }
            Event::InLine { label, limit } => {
                if let Some(held_back) = self.in_line.pass() {
                    REMOPTS_TOO_MANY_LOOKUPS.warn([label, &format_args!("{limit}{held_back}")]);
                }
            }
            Event::Shed { label, line } => {
                if let Some(held_back) = self.shed.pass() {
                    REMOPTS_LINE_FULL.warn([label, &format_args!("{line}{held_back}")]);
                }
            }
        }
    }
}
