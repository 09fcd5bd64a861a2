// SPDX-License-Identifier: MPL-2.0
//! The services in the order of `url`: a lookup asks the first service that is up, and the next one
//! where a service fails. A service that keeps failing is down, and is probed until it is up.
//!
//! The lookup engine asks. Runs on the runtime's thread, but for functions that say otherwise.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use url::Url;

use crate::event::{Event, Label, Listener};
use crate::fetch::{Failure, Fetch, Found};
use crate::probe::{self, Wanted};
use crate::request::{Request, ServiceUrl};

/// The failures in a row after which a service is down.
const DOWN_AFTER: u32 = 3;

/// The services of one configuration.
pub struct Failover<F> {
    services: Vec<ServiceState>,
    fetch: F,
    /// The time of one lookup, all services together.
    timeout: Duration,
    listener: Arc<dyn Listener>,
    /// What the probes ask for.
    wanted: Wanted,
}

/// One service and its state.
struct ServiceState {
    url: ServiceUrl,
    /// Whether lookups ask the service.
    up: AtomicBool,
    failures: Mutex<Failures>,
    /// How often the service has come up. The failure of a request that began in an earlier
    /// generation says nothing of the service now.
    generation: AtomicU32,
}

/// A service's failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    /// The request that failed last.
    last: Option<Arc<Request>>,
}

impl Failures {
    /// Adds one failure and returns the count. A bad answer to the same request again does not
    /// count: one client's record may be all that is wrong.
    fn add(&mut self, failure: &Failure, request: &Arc<Request>) -> u32 {
        let again = self.last.as_ref() == Some(request);
        if !(again && failure.is_of_the_answer()) {
            self.count += 1;
        }
        self.last = Some(Arc::clone(request));
        self.count
    }
}

impl ServiceState {
    fn new(url: ServiceUrl) -> Self {
        ServiceState {
            url,
            up: AtomicBool::new(true),
            failures: Mutex::default(),
            generation: AtomicU32::new(0),
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fetch> Failover<F> {
    /// Services that are all up, as far as anybody knows. `timeout` is the time of one lookup, all
    /// services together.
    pub fn new(
        services: Vec<ServiceUrl>,
        fetch: F,
        timeout: Duration,
        listener: Arc<dyn Listener>,
    ) -> Arc<Self> {
        let services = services.into_iter().map(ServiceState::new).collect();
        Arc::new(Failover { services, fetch, timeout, listener, wanted: Wanted::default() })
    }

    /// Whether every service is down: a lookup would fail. Any thread.
    pub fn all_down(&self) -> bool {
        !self.services.iter().any(|service| service.up.load(Ordering::Relaxed))
    }

    /// Remembers a request that could not be made, for the next probe. Any thread.
    pub fn want(&self, request: &Arc<Request>) {
        self.wanted.add(request);
    }

    /// Asks the services that are up, one after the other, inside one deadline: each gets an equal
    /// share of the time that is left. `None` when no service has an answer. The listener learns of
    /// each failure, with `label` for the packet.
    ///
    /// Cancel-safe: dropped, it asks nobody any more.
    pub async fn ask(self: &Arc<Self>, request: &Arc<Request>, label: &Label) -> Option<Found> {
        let deadline = Instant::now() + self.timeout;
        let up: Vec<_> = (0..self.services.len())
            .filter(|&index| self.services[index].up.load(Ordering::Relaxed))
            .collect();
        for (&index, left) in up.iter().zip((1..=up.len() as u32).rev()) {
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let service = &self.services[index];
            let generation = service.generation.load(Ordering::Relaxed);
            let url = match request.url(&service.url) {
                Ok(url) => url,
                Err(error) => {
                    let failure = Failure::Connection(error.to_string());
                    let url = service.url.url();
                    self.failed(index, generation, &failure, request, label, url);
                    continue;
                }
            };
            self.listener.notice(&Event::Asking { label, url: &url });
            match self.get(index, &url, share).await {
                Ok(found) => {
                    *service.failures() = Failures::default();
                    return Some(found);
                }
                Err(failure) => {
                    self.wanted.add(request);
                    self.failed(index, generation, &failure, request, label, &url);
                }
            }
        }
        None
    }

    /// Asks one service, for `share` at the longest.
    async fn get(&self, index: usize, url: &Url, share: Duration) -> Result<Found, Failure> {
        let answer = timeout(share, self.fetch.get(index, url)).await;
        answer.unwrap_or(Err(Failure::Late(share)))
    }

    /// Reports and counts the failure of a request that began in `generation`.
    fn failed(
        self: &Arc<Self>,
        index: usize,
        generation: u32,
        failure: &Failure,
        request: &Arc<Request>,
        label: &Label,
        url: &Url,
    ) {
        self.listener.notice(&Event::Failed { service: index, label, failure, url });
        let service = &self.services[index];
        if generation != service.generation.load(Ordering::Relaxed) {
            return;
        }
        let failures = service.failures().add(failure, request);
        if failures >= DOWN_AFTER && service.up.swap(false, Ordering::Relaxed) {
            self.listener.notice(&Event::ServiceDown { service: index, failures, failure });
            tokio::spawn(Arc::clone(self).bring_up(index));
        }
    }

    /// Probes a service that is down until it is up.
    async fn bring_up(self: Arc<Self>, index: usize) {
        probe::until_up(|| Arc::clone(&self).probe(index)).await;
        let service = &self.services[index];
        service.generation.fetch_add(1, Ordering::Relaxed);
        *service.failures() = Failures::default();
        service.up.store(true, Ordering::Relaxed);
        self.listener.notice(&Event::ServiceUp { service: index });
    }

    /// Whether a service answers a request that was wanted lately.
    async fn probe(self: Arc<Self>, index: usize) -> bool {
        let url =
            self.wanted.next().and_then(|request| request.url(&self.services[index].url).ok());
        match url {
            Some(url) => self.get(index, &url, self.timeout).await.is_ok(),
            None => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
