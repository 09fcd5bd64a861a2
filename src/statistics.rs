// SPDX-License-Identifier: MPL-2.0
//! What the library counts, and how it reaches Kea's statistics (`statistic-get-all`).
//!
//! Callouts and the engine count in atomic numbers of the library: Kea's own store has a lock, for
//! which packets would wait. Kea's store gets the numbers when somebody reads or resets it: Kea
//! hands these commands to the library, which publishes its numbers and then lets Kea answer
//! (shim/statistics.cc).
//!
//! The names are a contract with operators. They stay even where the code has another word.
//! docs/operating.md, chapter "Statistics", explains each of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remote_opts_core::config::parameter::MOST_SERVICES;
use remote_opts_core::event::Event;
use remote_opts_core::failover::Availability;
use remote_opts_core::fetch::Kind;

use crate::ffi;
use crate::log::REMOPTS_EXCEPTION;

/// Packets that got a kept answer, or the answer of their own exchange.
pub static CACHED: Counter = Counter::new("remote-opts-cached");
/// Packets that got an answer for which a service was asked.
pub static ASKED: Counter = Counter::new("remote-opts-asked");
/// Packets that got a stale answer, because no fresh one could be had.
pub static STALE: Counter = Counter::new("remote-opts-stale");
/// Packets of the three above whose answer is "nothing for this client".
pub static NOTHING: Counter = Counter::new("remote-opts-nothing");
/// Packets whose lookup failed.
pub static FAILED: Counter = Counter::new("remote-opts-failed");
/// Packets that did not wait for their lookup, which went on without them: no parking place was
/// free, or the lookup stood in line for too long, or `on-miss` is `retry`.
pub static SHED: Counter = Counter::new("remote-opts-turned-away");
/// Packets whose request could not be made, for a reason that lies on this machine.
pub static CONGESTED: Counter = Counter::new("remote-opts-congested");
/// Packets of [`FAILED`], [`SHED`] and [`CONGESTED`] that got no reply.
pub static DROPPED: Counter = Counter::new("remote-opts-dropped");
/// Packets that got no reply because the service said so.
pub static DROPPED_BY_SERVICE: Counter = Counter::new("remote-opts-dropped-by-service");
/// Packets that no filter admits.
pub static NOT_ADMITTED: Counter = Counter::new("remote-opts-not-admitted");
/// Packets that a filter admits, and that nothing names, or that a value keeps from being named.
pub static NOT_NAMED: Counter = Counter::new("remote-opts-not-named");
/// Packets that joined a lookup which another packet had begun.
pub static COALESCED: Counter = Counter::new("remote-opts-coalesced");
/// Retransmissions that were ended, because the first packet was parked.
pub static RETRANSMISSIONS: Counter = Counter::new("remote-opts-retransmissions");
/// Parked packets that were let go, because their client sent another one.
pub static SUPERSEDED: Counter = Counter::new("remote-opts-superseded");
/// DHCPNAKs that were not sent, because the lookup had failed.
pub static NAKS_HELD_BACK: Counter = Counter::new("remote-opts-naks-held-back");
/// Edits that were written into replies.
pub static EDITS_APPLIED: Counter = Counter::new("remote-opts-edits-applied");
/// Members of answers that were refused.
pub static EDITS_REFUSED: Counter = Counter::new("remote-opts-edits-refused");
/// OFFERs and ACKs with the address that the answer says.
pub static ADDRESSES_GIVEN: Counter = Counter::new("remote-opts-addresses-given");
/// OFFERs and ACKs with another address than the answer says.
pub static ADDRESSES_NOT_GIVEN: Counter = Counter::new("remote-opts-addresses-not-given");

/// Requests of lookups that failed, by the kind of the failure. A lookup that asks two services may
/// count twice.
static CONNECT: Counter = Counter::new("remote-opts-failures-connect");
static TLS: Counter = Counter::new("remote-opts-failures-tls");
static DNS: Counter = Counter::new("remote-opts-failures-dns");
static LATE: Counter = Counter::new("remote-opts-failures-late");
static STATUS: Counter = Counter::new("remote-opts-failures-status");
static BODY: Counter = Counter::new("remote-opts-failures-body");
static CONGESTION: Counter = Counter::new("remote-opts-failures-congestion");
/// Lookups for which no service was asked: the request backs off.
static BACKING_OFF: Counter = Counter::new("remote-opts-failures-backing-off");
/// Lookups for which no service was asked: none is up.
static NO_SERVICE_UP: Counter = Counter::new("remote-opts-failures-no-service-up");

/// Lookups for which services were asked.
static LOOKUPS: Counter = Counter::new("remote-opts-lookup-time-count");
/// The time of all these lookups together, in microseconds.
static LOOKUP_TIME: Counter = Counter::new("remote-opts-lookup-time-us");
/// The lookups that took no longer than so many milliseconds.
static LOOKUP_TIMES: [(u64, Counter); 5] = [
    (10, Counter::new("remote-opts-lookup-time-le-10ms")),
    (50, Counter::new("remote-opts-lookup-time-le-50ms")),
    (100, Counter::new("remote-opts-lookup-time-le-100ms")),
    (500, Counter::new("remote-opts-lookup-time-le-500ms")),
    (1000, Counter::new("remote-opts-lookup-time-le-1000ms")),
];

/// The most packets parked at once.
pub static PARKED_MOST: Peak = Peak::new();
/// The most lookups in flight at once.
pub static IN_FLIGHT_MOST: Peak = Peak::new();

/// Every counter but those of [`LOOKUP_TIMES`].
static COUNTERS: [&Counter; 30] = [
    &CACHED,
    &ASKED,
    &STALE,
    &NOTHING,
    &FAILED,
    &SHED,
    &CONGESTED,
    &DROPPED,
    &DROPPED_BY_SERVICE,
    &NOT_ADMITTED,
    &NOT_NAMED,
    &COALESCED,
    &RETRANSMISSIONS,
    &SUPERSEDED,
    &NAKS_HELD_BACK,
    &EDITS_APPLIED,
    &EDITS_REFUSED,
    &ADDRESSES_GIVEN,
    &ADDRESSES_NOT_GIVEN,
    &CONNECT,
    &TLS,
    &DNS,
    &LATE,
    &STATUS,
    &BODY,
    &CONGESTION,
    &BACKING_OFF,
    &NO_SERVICE_UP,
    &LOOKUPS,
    &LOOKUP_TIME,
];

/// What goes up and down, in the order of [`Gauges`], and the highest values.
const GAUGES: [&str; 9] = [
    "remote-opts-parked",
    "remote-opts-in-flight",
    "remote-opts-in-line",
    "remote-opts-back-offs",
    "remote-opts-kept-answers",
    "remote-opts-kept-bytes",
    "remote-opts-addresses-kept",
    "remote-opts-parked-most",
    "remote-opts-in-flight-most",
];

/// The statistics of one service.
const OF_SERVICE: [&str; 4] = ["state", "requests", "failures", "last-answer"];

/// What is counted for each service, by its index in the parameter `url`.
static SERVICES: [Service; MOST_SERVICES] = [const { Service::new() }; MOST_SERVICES];

/// The services of the last configuration, whose numbers Kea has. Locked while numbers are published:
/// Kea runs commands in its main thread, and those that come to the listener of libdhcp_ha in threads
/// of this library. No packet waits for the lock.
static KNOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Something that is counted.
pub struct Counter {
    name: &'static str,
    tally: Tally,
}

impl Counter {
    const fn new(name: &'static str) -> Self {
        Counter { name, tally: Tally::new() }
    }

    /// The name of the statistic.
    #[cfg(test)]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Counts one. Any thread.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts so many. Any thread.
    pub fn add(&self, number: usize) {
        self.tally.counted.fetch_add(number as u64, Ordering::Relaxed);
    }

    /// How many were counted since the library came into the process. Any thread.
    pub fn value(&self) -> u64 {
        self.tally.counted.load(Ordering::Relaxed)
    }
}

/// A number that grows, and how much of it Kea knows. One thread at a time publishes: see [`KNOWN`].
struct Tally {
    counted: AtomicU64,
    published: AtomicU64,
}

impl Tally {
    const fn new() -> Self {
        Tally { counted: AtomicU64::new(0), published: AtomicU64::new(0) }
    }

    /// Adds to Kea's statistic what was counted since the last call. Kea's own number may have been
    /// reset.
    fn publish(&self, name: &str) -> Result<(), cxx::Exception> {
        let counted = self.counted.load(Ordering::Relaxed);
        let new = counted.saturating_sub(self.published.swap(counted, Ordering::Relaxed));
        if new > 0 { ffi::add_to_statistic(name, integer(new)) } else { Ok(()) }
    }
}

/// The highest value of a gauge since it was published.
pub struct Peak(AtomicU64);

impl Peak {
    const fn new() -> Self {
        Peak(AtomicU64::new(0))
    }

    /// Notes a value. Any thread.
    pub fn note(&self, value: usize) {
        self.0.fetch_max(value as u64, Ordering::Relaxed);
    }

    /// The highest value since the last call.
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// What is counted for one service.
struct Service {
    requests: Tally,
    failures: Tally,
    /// When the service gave its last good answer, in seconds since 1970. 0: never.
    last_answer: AtomicU64,
}

impl Service {
    const fn new() -> Self {
        Service { requests: Tally::new(), failures: Tally::new(), last_answer: AtomicU64::new(0) }
    }
}

/// What goes up and down.
#[derive(Default)]
pub struct Gauges {
    /// Packets parked.
    pub parked: usize,
    /// Lookups in flight.
    pub in_flight: usize,
    /// Lookups that stand in line.
    pub in_line: usize,
    /// Requests that back off.
    pub back_offs: usize,
    /// Answers kept.
    pub kept_answers: usize,
    /// The bytes of these answers, about.
    pub kept_bytes: usize,
    /// The addresses that these answers reserve.
    pub addresses_kept: usize,
    /// The services, in the order of the parameter `url`.
    pub services: Vec<Availability>,
}

/// Counts what the engine reports. Any thread.
pub fn notice(event: &Event<'_>) {
    match *event {
        Event::Failed { failure, .. } | Event::Congested { failure, .. } => {
            if let Some(kind) = failure.kind() {
                of_kind(kind).count();
            }
        }
        Event::Responded { service, failure } => {
            let counted = &SERVICES[service];
            counted.requests.counted.fetch_add(1, Ordering::Relaxed);
            if failure.is_some() {
                counted.failures.counted.fetch_add(1, Ordering::Relaxed);
            } else {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                counted.last_answer.store(now.as_secs(), Ordering::Relaxed);
            }
        }
        Event::LookupEnded { took } => {
            LOOKUPS.count();
            let number = |time: u128| usize::try_from(time).unwrap_or(usize::MAX);
            LOOKUP_TIME.add(number(took.as_micros()));
            for (most, counter) in &LOOKUP_TIMES {
                if took <= Duration::from_millis(*most) {
                    counter.count();
                }
            }
        }
        Event::Coalesced { .. } => COALESCED.count(),
        Event::BackingOff { .. } => BACKING_OFF.count(),
        Event::NoServiceUp { .. } => NO_SERVICE_UP.count(),
        _ => {}
    }
}

fn of_kind(kind: Kind) -> &'static Counter {
    match kind {
        Kind::Connect => &CONNECT,
        Kind::Tls => &TLS,
        Kind::Dns => &DNS,
        Kind::Late => &LATE,
        Kind::Status => &STATUS,
        Kind::Body => &BODY,
        Kind::Congestion => &CONGESTION,
    }
}

/// Every counter.
fn counters() -> impl Iterator<Item = &'static Counter> {
    COUNTERS.into_iter().chain(LOOKUP_TIMES.iter().map(|(_, counter)| counter))
}

/// Makes all statistics known to Kea, for services of these URLs, without credentials. Numbers keep
/// their values over a reload. The numbers of a service begin at 0 where `url` has another service
/// at its place. Main thread.
pub fn announce(services: &[String]) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    report(|| {
        for name in counters().map(|counter| counter.name).chain(GAUGES) {
            ffi::add_to_statistic(name, 0)?;
        }
        for (index, service) in SERVICES.iter().enumerate() {
            let (earlier, now) = (known.get(index), services.get(index));
            if earlier != now {
                forget(index, service)?;
            }
            for name in now.map_or(&[][..], |_| &OF_SERVICE) {
                ffi::add_to_statistic(&of_service(index, name), 0)?;
            }
        }
        Ok(())
    });
    *known = services.to_vec();
}

/// Removes what Kea knows of a service, and begins anew.
fn forget(index: usize, service: &Service) -> Result<(), cxx::Exception> {
    for tally in [&service.requests, &service.failures] {
        tally.published.store(tally.counted.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    service.last_answer.store(0, Ordering::Relaxed);
    for name in OF_SERVICE {
        ffi::remove_statistic(&of_service(index, name))?;
    }
    Ok(())
}

/// Brings Kea's statistics up to date. `gauges` tells what goes up and down now. On a thread
/// that runs Kea's commands.
pub fn publish(gauges: impl FnOnce() -> Gauges) {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let gauges = gauges();
    report(|| {
        for counter in counters() {
            counter.tally.publish(counter.name)?;
        }
        let values = [
            gauges.parked,
            gauges.in_flight,
            gauges.in_line,
            gauges.back_offs,
            gauges.kept_answers,
            gauges.kept_bytes,
            gauges.addresses_kept,
        ];
        let [now @ .., parked_most, in_flight_most] = GAUGES;
        for (name, value) in now.into_iter().zip(values) {
            set(name, integer(value as u64))?;
        }
        // What is there now counts also where the highest value was reset just before.
        PARKED_MOST.note(gauges.parked);
        IN_FLIGHT_MOST.note(gauges.in_flight);
        raise(parked_most, integer(PARKED_MOST.take()))?;
        raise(in_flight_most, integer(IN_FLIGHT_MOST.take()))?;
        for (index, service) in SERVICES.iter().enumerate().take(known.len()) {
            service.requests.publish(&of_service(index, "requests"))?;
            service.failures.publish(&of_service(index, "failures"))?;
            let last_answer = service.last_answer.load(Ordering::Relaxed);
            set(&of_service(index, "last-answer"), integer(last_answer))?;
            let state = match gauges.services.get(index) {
                Some(Availability::Down) => 0,
                Some(Availability::Up) => 1,
                Some(Availability::Paused(_)) => 2,
                // Without a library that is loaded, nobody knows.
                None => {
                    ffi::remove_statistic(&of_service(index, "state"))?;
                    continue;
                }
            };
            set(&of_service(index, "state"), state)?;
        }
        Ok(())
    });
}

/// The name of a statistic of one service.
fn of_service(index: usize, name: &str) -> String {
    format!("remote-opts-url[{index}].{name}")
}

/// Sets a statistic. Kea keeps the last values of each statistic with their times, so a value that
/// is the same is not set again.
fn set(name: &str, value: i64) -> Result<(), cxx::Exception> {
    if ffi::statistic(name)? == value { Ok(()) } else { ffi::set_statistic(name, value) }
}

/// Sets a statistic that is lower.
fn raise(name: &str, value: i64) -> Result<(), cxx::Exception> {
    set(name, ffi::statistic(name)?.max(value))
}

/// A number as Kea keeps it.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Logs an exception of Kea's.
fn report(work: impl FnOnce() -> Result<(), cxx::Exception>) {
    if let Err(exception) = work() {
        REMOPTS_EXCEPTION.error([&"statistics", &exception]);
    }
}
