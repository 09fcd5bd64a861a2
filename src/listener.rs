// SPDX-License-Identifier: MPL-2.0
//! What the engine of core reports → Kea's log.
//!
//! The engine calls it from its runtime's thread and from Kea's packet threads. Lines that may come
//! with every packet are throttled.

use remote_opts_core::event::{Event, Listener};
use remote_opts_core::request::{ServiceUrl, shown};
use remote_opts_core::throttle::Throttle;

use crate::log::{
    REMOPTS_BACKING_OFF, REMOPTS_COALESCED, REMOPTS_CONGESTED, REMOPTS_LINE_FULL, REMOPTS_LOOKUP,
    REMOPTS_LOOKUP_FAILED, REMOPTS_NO_SERVICE_UP, REMOPTS_SERVICE_DOWN, REMOPTS_SERVICE_PAUSED,
    REMOPTS_SERVICE_UP, REMOPTS_TOO_MANY_LOOKUPS,
};

/// Writes a line for each event, but for events that are throttled.
pub struct LogListener {
    /// In the order of the parameter `url`. At least one.
    services: Vec<ServiceLines>,
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
}

impl LogListener {
    /// `services` are the services of the configuration, in the order of the parameter `url`; at
    /// least one.
    pub fn new(services: &[ServiceUrl]) -> Self {
        let service =
            |url: &ServiceUrl| ServiceLines { url: url.clone(), failed: Throttle::default() };
        LogListener {
            services: services.iter().map(service).collect(),
            in_line: Throttle::default(),
            shed: Throttle::default(),
            congested: Throttle::default(),
        }
    }
}

impl Listener for LogListener {
    fn notice(&self, event: &Event<'_>) {
        // Lines about a request that goes to no service in particular show its URL at the first
        // one.
        let first = &self.services[0].url;
        match *event {
            Event::Asking { label, url } => REMOPTS_LOOKUP.debug([label, &shown(url)]),
            Event::Failed { service, label, failure, url } => {
                if let Some(held_back) = self.services[service].failed.pass() {
                    REMOPTS_LOOKUP_FAILED
                        .error([label, &format_args!("{failure}: {}{held_back}", shown(url))]);
                }
            }
            Event::ServiceDown { service, failures, failure } => {
                REMOPTS_SERVICE_DOWN
                    .warn([&failures, &format_args!("{failure}: {}", self.services[service].url)]);
            }
            Event::ServiceUp { service } => {
                REMOPTS_SERVICE_UP.info([&self.services[service].url]);
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
