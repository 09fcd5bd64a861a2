// SPDX-License-Identifier: MPL-2.0
//! The services in the order of `url`: a lookup asks the first service that is up, and the next one
//! where a service fails. A service that keeps failing is down, and is probed until it is up.
//!
//! Two questions are kept apart. Is this request bad? Then it backs off: [`crate::backoff`]. Is
//! this service bad? Different requests tell, one request never does.
//!
//! The lookup engine asks. Runs on the runtime's thread, but for functions that say otherwise.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use url::Url;

use crate::backoff::BackOffs;
use crate::event::{Event, Label, Listener, Next};
use crate::fetch::{Blame, Failure, Fetch, Found};
use crate::probe::{self, Wanted};
use crate::request::{Request, ServiceUrl};
use crate::sync::{AtomicBool, AtomicU32, Handle, Instant, Mutex, MutexGuard, timeout};

/// A service is down when so many different requests in a row failed at it.
pub(crate) const DOWN_AFTER: usize = 3;

/// A service was out of order when so many different requests in a row got a bad answer, and then
/// one got a good answer.
const OUT_OF_ORDER_AFTER: usize = 10;

/// The longest time for which a service is left alone because it says so.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The time from one reminder of a service that is down to the next.
const REMINDER: Duration = Duration::from_secs(600);

/// The shortest time from one word of a new reason to the next.
const REASONS: Duration = Duration::from_secs(60);

/// The services of one configuration.
pub struct Failover<F> {
    services: Vec<ServiceState>,
    fetch: F,
    /// The time of one lookup, all services together.
    timeout: Duration,
    listener: Arc<dyn Listener>,
    /// What the probes ask for.
    wanted: Wanted,
    back_offs: BackOffs,
}

/// Whether a request may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A service can be asked.
    Ready,
    /// The request failed lately, and backs off.
    BackingOff,
    /// Every service is down, or wants to be left alone.
    NoServiceUp,
}

/// Why nobody had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Services were asked, or could not be asked for this request.
    Failed,
    /// This machine could not ask: it has too much to do.
    Congested,
}

/// A request that a service was asked.
struct Asked<'a> {
    /// The service, by its index in the parameter `url`.
    index: usize,
    /// The generation of the service in which the request began.
    generation: u32,
    /// The packet that the request was made for.
    label: &'a Label,
    url: &'a Url,
    /// What comes next for the client.
    next: Next,
}

/// Whether lookups ask a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Lookups ask the service.
    Up,
    /// Probes alone ask the service.
    Down,
    /// Nobody asks the service for this time, because it said so.
    Paused(Duration),
}

/// What one service does now, and did lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The service as in the parameter `url`, without credentials.
    pub url: String,
    /// Whether lookups ask the service.
    pub availability: Availability,
    /// The last failure in words, and how long ago it was.
    pub last_failure: Option<(String, Duration)>,
    /// How long ago the service gave its last good answer.
    pub last_answer: Option<Duration>,
}

/// What [`Failover::retry`] has ended and begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retried {
    /// How many requests back off no longer.
    pub back_offs: usize,
    /// How many services are no longer left alone.
    pub pauses: usize,
    /// How many services, which are down, are probed now.
    pub probes: usize,
}

/// One service and its state.
struct ServiceState {
    url: ServiceUrl,
    /// The service as answers name it.
    name: Arc<str>,
    /// Whether lookups ask the service.
    up: AtomicBool,
    record: Mutex<Record>,
    /// How often the service has come up. The failure of a request that began in an earlier
    /// generation says nothing of the service now.
    generation: AtomicU32,
}

/// What a service did lately.
#[derive(Default)]
struct Record {
    /// The different requests that failed since the service last answered.
    failed: Vec<Arc<Request>>,
    /// The different requests that got a bad answer since the service last gave a good one.
    bad: Vec<Arc<Request>>,
    /// The last request that succeeded.
    succeeded: Option<Arc<Request>>,
    /// The service is not asked before, because it said so.
    paused_until: Option<Instant>,
    /// The last failure in words, and when it was.
    last_failure: Option<(String, Instant)>,
    /// When the service gave its last good answer.
    last_answer: Option<Instant>,
    /// Since when the service is down.
    outage: Option<Outage>,
}

/// The time for which a service is down.
struct Outage {
    since: Instant,
    /// When the listener was told of it last.
    told: Instant,
    /// The last failure of a probe, in words.
    failure: String,
    /// When the listener was told of another reason last.
    changed: Option<Instant>,
}

impl Record {
    /// Notes a failure of the service, or a bad answer.
    fn note_failure(&mut self, failure: &Failure) {
        self.last_failure = Some((failure.to_string(), Instant::now()));
    }
}

/// A service as answers name it: its URL without credentials and without a query, which may hold a
/// secret, too.
fn without_query(url: &ServiceUrl) -> Arc<str> {
    let url = url.to_string();
    url.split('?').next().unwrap_or(&url).into()
}

impl ServiceState {
    fn new(url: ServiceUrl) -> Self {
        ServiceState {
            name: without_query(&url),
            url,
            up: AtomicBool::new(true),
            record: Mutex::default(),
            generation: AtomicU32::new(0),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the service wants to be left alone.
    fn is_paused(&self) -> bool {
        self.record().paused_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether lookups ask the service now.
    fn is_asked(&self) -> bool {
        self.up.load(Ordering::Relaxed) && !self.is_paused()
    }

    fn status(&self) -> ServiceStatus {
        let now = Instant::now();
        let record = self.record();
        let pause = record.paused_until.map(|until| until.saturating_duration_since(now));
        ServiceStatus {
            url: self.url.to_string(),
            availability: match pause.filter(|pause| !pause.is_zero()) {
                Some(pause) => Availability::Paused(pause),
                None if self.up.load(Ordering::Relaxed) => Availability::Up,
                None => Availability::Down,
            },
            last_failure: record.last_failure.clone().map(|(words, at)| (words, now - at)),
            last_answer: record.last_answer.map(|at| now - at),
        }
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
        let (wanted, back_offs) = (Wanted::default(), BackOffs::default());
        Arc::new(Failover { services, fetch, timeout, listener, wanted, back_offs })
    }

    /// The time of one lookup, all services together.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether a request may be made now. Any thread.
    pub fn readiness(&self, request: &Arc<Request>) -> Readiness {
        if !self.services.iter().any(ServiceState::is_asked) {
            Readiness::NoServiceUp
        } else if self.back_offs.holds(request) {
            Readiness::BackingOff
        } else {
            Readiness::Ready
        }
    }

    /// Remembers a request that could not be made, for the next probe. Any thread.
    pub fn want(&self, request: &Arc<Request>) {
        self.wanted.add(request);
    }

    /// What each service does now, in the order of the parameter `url`. Any thread.
    pub fn statuses(&self) -> Vec<ServiceStatus> {
        self.services.iter().map(ServiceState::status).collect()
    }

    /// How many requests back off now. Any thread.
    pub fn back_offs(&self) -> usize {
        self.back_offs.number()
    }

    /// Ends the back-off of a request that has an answer now. Any thread.
    pub fn end_back_off(&self, request: &Arc<Request>) {
        self.back_offs.answered(request);
    }

    /// Ends all back-offs and all pauses, and has each service that is down probed at once, on the
    /// thread of `runtime`. Any thread.
    pub fn retry(self: &Arc<Self>, runtime: &Handle) -> Retried {
        let mut retried = Retried { back_offs: self.back_offs.end_all(), pauses: 0, probes: 0 };
        for (index, service) in self.services.iter().enumerate() {
            let pause = service.record().paused_until.take();
            retried.pauses += usize::from(pause.is_some_and(|until| Instant::now() < until));
            // First: a service that comes up meanwhile has another generation.
            let generation = service.generation.load(Ordering::Relaxed);
            if !service.up.load(Ordering::Relaxed) {
                retried.probes += 1;
                let failover = Arc::clone(self);
                runtime.spawn(async move {
                    if Arc::clone(&failover).probe(index, generation, 0).await {
                        failover.came_up(index, generation);
                    }
                });
            }
        }
        retried
    }

    /// Asks the services that are up, one after the other, inside one deadline: each gets an equal
    /// share of the time that is left. The listener learns of each failure, with `label` for the
    /// packet. `has_last_answer` says whether a client without a fresh answer gets a stale one.
    ///
    /// Cancel-safe: dropped, it asks nobody any more.
    pub async fn ask(
        self: &Arc<Self>,
        request: &Arc<Request>,
        label: &Label,
        has_last_answer: impl Fn() -> bool,
    ) -> Result<Found, Unanswered> {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let mut blames = Vec::new();
        let mut from = 0;
        // The next service is chosen when its turn comes: while this lookup waited for one service,
        // another one may have gone down, or have asked to be left alone.
        while let Some(index) = self.asked_from(from).next() {
            from = index + 1;
            let left = 1 + self.asked_from(from).count() as u32;
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let service = &self.services[index];
            let generation = service.generation.load(Ordering::Relaxed);
            let url = request.url(&service.url);
            let failure = match &url {
                Ok(url) => {
                    self.listener.notice(&Event::Asking { label, url });
                    match self.get(index, url, share).await {
                        Ok(found) => {
                            self.answered(index, request);
                            self.listener.notice(&Event::LookupEnded { took: start.elapsed() });
                            return Ok(found);
                        }
                        Err(failure) => failure,
                    }
                }
                Err(error) => Failure::Unaskable(error.to_string()),
            };
            let url = url.as_ref().unwrap_or(service.url.url());
            blames.push(failure.blame());
            self.wanted.add(request);
            let next = if self.asked_from(from).next().is_some() {
                Next::NextService
            } else if has_last_answer() {
                Next::LastAnswer
            } else {
                Next::NoAnswer
            };
            let asked = Asked { index, generation, label, url, next };
            self.failed(&asked, &failure, request);
        }
        if blames.is_empty() {
            // The last service went down after the caller looked.
            self.wanted.add(request);
            self.listener.notice(&Event::NoServiceUp { label, request });
            return Err(Unanswered::Failed);
        }
        if blames.iter().all(|blame| *blame == Blame::Congestion) {
            return Err(Unanswered::Congested);
        }
        self.listener.notice(&Event::LookupEnded { took: start.elapsed() });
        self.back_offs.failed(request, blames.contains(&Blame::Service));
        Err(Unanswered::Failed)
    }

    /// The services that lookups ask now, from this one on, in their order.
    fn asked_from(&self, first: usize) -> impl Iterator<Item = usize> {
        (first..self.services.len()).filter(|&index| self.services[index].is_asked())
    }

    /// Asks one service, for `share` at the longest.
    async fn get(&self, index: usize, url: &Url, share: Duration) -> Result<Found, Failure> {
        let answer = timeout(share, self.fetch.get(index, url)).await;
        let answer = answer.unwrap_or(Err(Failure::Late(share)));
        let failure = answer.as_ref().err();
        if failure.is_none_or(|failure| failure.blame() != Blame::Congestion) {
            self.listener.notice(&Event::Responded { service: index, failure });
        }
        answer.map(|found| found.given_by(&self.services[index].name, SystemTime::now()))
    }

    /// Notes that a service answered a request.
    fn answered(&self, index: usize, request: &Arc<Request>) {
        self.back_offs.answered(request);
        let mut record = self.services[index].record();
        record.last_answer = Some(Instant::now());
        record.failed.clear();
        let was_out_of_order = record.bad.len() >= OUT_OF_ORDER_AFTER;
        record.bad.clear();
        if record.succeeded.as_ref() != Some(request) {
            record.succeeded = Some(Arc::clone(request));
        }
        drop(record);
        if was_out_of_order {
            // The bad answers were the service's fault, and not that of each single request.
            self.back_offs.end(|of_service| !of_service);
        }
    }

    /// Reports the failure of a request, and notes it against the service where the service is to
    /// blame.
    fn failed(self: &Arc<Self>, asked: &Asked, failure: &Failure, request: &Arc<Request>) {
        let Asked { index, generation, label, url, next } = *asked;
        let service = &self.services[index];
        let blame = failure.blame();
        // A service that was not asked has done nothing.
        if blame != Blame::Congestion && !matches!(failure, Failure::Unaskable(_)) {
            service.record().note_failure(failure);
        }
        match blame {
            Blame::Congestion => {
                return self.listener.notice(&Event::Congested { label, failure });
            }
            Blame::Request | Blame::Service => {
                self.listener.notice(&Event::Failed { service: index, label, failure, url, next });
            }
        }
        if generation != service.generation.load(Ordering::Relaxed) {
            return;
        }
        if blame == Blame::Request {
            // A service that responds works. One that was not asked has shown nothing.
            if !matches!(failure, Failure::Unaskable(_)) {
                let mut record = service.record();
                record.failed.clear();
                if record.bad.len() < OUT_OF_ORDER_AFTER && !record.bad.contains(request) {
                    record.bad.push(Arc::clone(request));
                }
            }
            return;
        }
        self.pause(index, failure);
        let failures = {
            let mut record = service.record();
            if !record.failed.contains(request) {
                record.failed.truncate(DOWN_AFTER - 1);
                record.failed.push(Arc::clone(request));
            }
            record.failed.len()
        };
        if failures >= DOWN_AFTER && service.up.swap(false, Ordering::Relaxed) {
            let now = Instant::now();
            let failure_in_words = failure.to_string();
            let outage = Outage { since: now, told: now, failure: failure_in_words, changed: None };
            service.record().outage = Some(outage);
            self.listener.notice(&Event::ServiceDown { service: index, failures, failure });
            tokio::spawn(Arc::clone(self).bring_up(index, generation));
        }
    }

    /// Leaves a service alone for as long as its failure says.
    fn pause(&self, index: usize, failure: &Failure) {
        let Failure::Unavailable { retry_after: Some(pause), .. } = failure else { return };
        let pause = (*pause).min(LONGEST_PAUSE);
        let until = Instant::now() + pause;
        let was_paused = self.services[index].is_paused();
        self.services[index].record().paused_until = Some(until);
        if !was_paused && !pause.is_zero() {
            self.listener.notice(&Event::Paused { service: index, pause, failure });
        }
    }

    /// Probes a service that went down in `generation` until it is up.
    async fn bring_up(self: Arc<Self>, index: usize, generation: u32) {
        probe::until_up(|turn| Arc::clone(&self).probe(index, generation, turn)).await;
        self.came_up(index, generation);
    }

    /// Has lookups ask a service again that went down in `generation`. A later probe of the same
    /// time finds that it has come up already.
    fn came_up(&self, index: usize, generation: u32) {
        let service = &self.services[index];
        let (next, order) = (generation.wrapping_add(1), Ordering::Relaxed);
        if service.generation.compare_exchange(generation, next, order, order).is_err() {
            return;
        }
        let outage = {
            let mut record = service.record();
            record.failed.clear();
            record.paused_until = None;
            record.outage.take()
        };
        self.back_offs.end(|of_service| of_service);
        service.up.store(true, Ordering::Relaxed);
        let down_for = outage.map_or(Duration::ZERO, |outage| outage.since.elapsed());
        self.listener.notice(&Event::ServiceUp { service: index, down_for });
    }

    /// Whether a service that went down in `generation` answers a request: the last one that
    /// succeeded and one that was wanted lately, in turn. Any answer will do, even one that is bad
    /// for the client.
    async fn probe(self: Arc<Self>, index: usize, generation: u32, turn: u32) -> bool {
        let service = &self.services[index];
        // Another probe has brought the service back.
        if service.generation.load(Ordering::Relaxed) != generation {
            return true;
        }
        if service.is_paused() {
            self.remind(index, None);
            return false;
        }
        let succeeded = || service.record().succeeded.clone();
        let request = if turn % 2 == 0 {
            succeeded().or_else(|| self.wanted.next())
        } else {
            self.wanted.next().or_else(succeeded)
        };
        let Some(url) = request.and_then(|request| request.url(&service.url).ok()) else {
            return false;
        };
        match self.get(index, &url, self.timeout).await {
            Ok(_) => {
                service.record().last_answer = Some(Instant::now());
                true
            }
            Err(failure) => {
                if failure.blame() != Blame::Congestion {
                    service.record().note_failure(&failure);
                }
                self.pause(index, &failure);
                if failure.blame() == Blame::Service {
                    self.remind(index, Some(&failure));
                }
                failure.blame() == Blame::Request
            }
        }
    }

    /// Tells the listener that a service is still down: now and then, and when `failure`, the last
    /// one of a probe, is another one than before.
    fn remind(&self, index: usize, failure: Option<&Failure>) {
        let mut record = self.services[index].record();
        let Some(outage) = &mut record.outage else { return };
        let now = Instant::now();
        let words = failure.map(Failure::to_string);
        let is_new = words.as_ref().is_some_and(|words| *words != outage.failure);
        if let Some(words) = words {
            outage.failure = words;
        }
        // A service behind a load balancer has another reason each second.
        let is_news = is_new && outage.changed.is_none_or(|last| now - last >= REASONS);
        if !is_news && now - outage.told < REMINDER {
            return;
        }
        outage.told = now;
        if is_news {
            outage.changed = Some(now);
        }
        let (down_for, failure) = (outage.since.elapsed(), outage.failure.clone());
        drop(record);
        let failure = failure.as_str();
        self.listener.notice(&Event::ServiceStillDown { service: index, down_for, failure });
    }
}

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
