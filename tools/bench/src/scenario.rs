// SPDX-License-Identifier: MPL-2.0
//! The cases that are measured: what is loaded into Kea, what the service does, and which clients
//! come. A case that starts is a [`Running`] Kea with its service.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::load::{Load, Outcome, Returning};
use crate::radius::{self, Radius};
use crate::service::{self, Service};
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::library::of_source;
use remote_opts_test_support::project;

/// One case: what Kea has to do.
#[derive(Clone)]
pub struct Scenario {
    /// Its name in the tables.
    pub name: String,
    /// The name of the case without the hook beside which this case stands.
    pub beside: Option<String>,
    /// Kea's packet threads.
    pub threads: usize,
    /// What is loaded.
    pub library: Library,
    /// What the service does.
    pub service: State,
    /// How many options an answer has. Where there is no service: how many options Kea's own
    /// `option-data` has.
    pub options: usize,
    /// How many clients come, again and again, after each has had its lease. `None`: each client
    /// comes once.
    pub again: Option<u32>,
    /// More requests to the service than this show that the case does not measure what it names.
    pub most_requests: usize,
    /// Whether the highest rate is searched, too.
    pub has_rate: bool,
}

/// What is loaded into Kea.
#[derive(Clone)]
pub enum Library {
    /// Nothing.
    None,
    /// A library that does nothing at the hook points of the hook.
    Empty,
    /// The hook, with these parameters and its `url`.
    Hook(Value),
    /// Kea's own `radius` instead of the hook.
    Radius,
}

/// The service of a case.
#[derive(Clone, Copy)]
pub enum State {
    /// There is none.
    None,
    /// Answers after this time.
    After(Duration),
    /// Answers the clients that warm the case up, and is down afterwards.
    GoesDown,
    /// A RADIUS server that answers after this time.
    Radius(Duration),
}

/// Kea's own default: as many threads as cores.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

/// The options that most cases have: 224 and 66.
const OPTIONS: usize = 2;

fn without_hook(name: &str, library: Library, options: usize) -> Scenario {
    Scenario {
        name: name.to_owned(),
        beside: None,
        threads: threads(),
        library,
        service: State::None,
        options,
        again: None,
        most_requests: 0,
        has_rate: true,
    }
}

/// No library.
pub fn alone(threads: usize) -> Scenario {
    Scenario { threads, ..without_hook("Kea alone", Library::None, 0) }
}

/// The empty library, and Kea's own `option-data` with this many options.
pub fn empty(options: usize) -> Scenario {
    let name = match options {
        0 => "empty library".to_owned(),
        1 => "empty library, 1 option of Kea's".to_owned(),
        _ => format!("empty library, {options} options of Kea's"),
    };
    without_hook(&name, Library::Empty, options)
}

fn hook(name: &str, service: State, parameters: Value, beside: &Scenario) -> Scenario {
    Scenario {
        name: name.to_owned(),
        beside: Some(beside.name.clone()),
        threads: threads(),
        library: Library::Hook(parameters),
        service,
        options: beside.options,
        again: beside.again,
        most_requests: usize::MAX,
        has_rate: true,
    }
}

/// The `query` with which every client is looked up by itself: the MAC address names the client.
fn every_client() -> Value {
    json!({ "mac": "hexstring(pkt4.mac, ':')" })
}

/// No client passes the filter.
pub fn refused() -> Scenario {
    let service = State::After(Duration::ZERO);
    let case = hook("refused by the filter", service, json!({ "user-class": "iPXE" }), &empty(0));
    Scenario { most_requests: 0, ..case }
}

/// Option 82 names the client. All clients have the same, as clients behind one switch port do.
pub fn cached() -> Scenario {
    kept("answer kept", OPTIONS)
}

fn kept(name: &str, options: usize) -> Scenario {
    let service = State::After(Duration::ZERO);
    let case = hook(name, service, json!({ "cache-ttl": 3600 }), &empty(options));
    Scenario { most_requests: 1, ..case }
}

/// All clients have the same kept answer, which is stale, and the service is down.
fn down() -> Scenario {
    let name = "all services down, answer kept";
    hook(name, State::GoesDown, json!({ "cache-ttl": 1 }), &empty(OPTIONS))
}

/// Every client is asked about.
pub fn every_client_new(milliseconds: u64, http2: bool) -> Scenario {
    let protocol = if http2 { "HTTP/2" } else { "HTTP/1.1" };
    let name = format!("every client new, service {milliseconds} ms, {protocol}");
    let service = State::After(Duration::from_millis(milliseconds));
    // A client whose answer did not come gets no reply: so every lease means an answer.
    let parameters = json!({ "query": every_client(), "on-error": "drop", "http2": http2 });
    hook(&name, service, parameters, &empty(OPTIONS))
}

/// These clients come again and again. An answer of its own is kept for each of them.
fn returning(number: u32, name: &str) -> [Scenario; 2] {
    let beside = Scenario {
        name: format!("{}, {name} clients again", empty(OPTIONS).name),
        again: Some(number),
        has_rate: false,
        ..empty(OPTIONS)
    };
    let service = State::After(Duration::ZERO);
    let parameters = json!({ "query": every_client(), "cache-ttl": 3600, "cache-size": number });
    let kept = hook(&format!("{name} answers kept"), service, parameters, &beside);
    let most_requests = number as usize;
    [beside, Scenario { most_requests, has_rate: false, ..kept }]
}

/// `max-in-flight`, where a case does not say otherwise: a request in flight for each packet.
const MOST_IN_FLIGHT: usize = 10_000;

/// How many packets wait, where the memory of waiting packets is measured.
pub const PARKED: usize = 5000;

/// Packets that wait for a service: with the default of `max-in-flight`, where most of the lookups
/// stand in line, and with a request in flight for each packet.
pub fn parked() -> [Scenario; 4] {
    let default = ("max-in-flight 1024", 1024);
    let each = ("a request for each", MOST_IN_FLIGHT);
    [(default, false), (each, false), (default, true), (each, true)].map(|((many, most), http2)| {
        let protocol = if http2 { "HTTP/2" } else { "HTTP/1.1" };
        let parameters = json!({
            "query": every_client(), "timeout": 120_000, "http2": http2, "max-in-flight": most,
        });
        let service = State::After(Duration::from_secs(60));
        let name = format!("{PARKED} packets wait, {protocol}, {many}");
        hook(&name, service, parameters, &empty(OPTIONS))
    })
}

/// Many clients, for each of which an answer is kept: for the memory of kept answers.
pub fn answers_kept(number: usize) -> Scenario {
    let parameters = json!({ "query": every_client(), "cache-ttl": 3600, "cache-size": number });
    let service = State::After(Duration::ZERO);
    hook("answers kept", service, parameters, &empty(OPTIONS))
}

/// Kea's own `radius` instead of the hook: a RADIUS server is asked about every client.
fn radius(name: String, delay: Duration) -> Scenario {
    let case = every_client_new(0, false);
    Scenario { name, library: Library::Radius, service: State::Radius(delay), ..case }
}

/// The cases that compare the hook with Kea's own `radius`, and the case beside all of them.
pub fn beside_radius() -> Vec<Scenario> {
    let mut all = vec![empty(OPTIONS)];
    for milliseconds in [0, 100] {
        all.extend([false, true].map(|http2| every_client_new(milliseconds, http2)));
        let name = format!("every client new, radius {milliseconds} ms");
        all.push(radius(name, Duration::from_millis(milliseconds)));
    }
    all
}

/// As [`parked()`], and with `radius`.
pub fn parked_beside_radius() -> Vec<Scenario> {
    let radius = radius(format!("{PARKED} packets wait, radius"), Duration::from_secs(60));
    parked().into_iter().chain([radius]).collect()
}

/// All cases, in the order of the tables. `quick`: the main ones alone.
pub fn all(quick: bool) -> Vec<Scenario> {
    let mut all = vec![alone(threads()), empty(0), empty(OPTIONS), refused(), cached(), down()];
    all.push(every_client_new(0, false));
    if kea::parks() {
        all.push(every_client_new(0, true));
        all.push(every_client_new(100, false));
        all.push(every_client_new(100, true));
    }
    if !quick {
        if !kea::parks() {
            // A Kea that cannot park waits with a thread for each lookup.
            all.extend([2, 64].map(|threads| {
                let case = every_client_new(100, false);
                Scenario { name: format!("{}, {threads} threads", case.name), threads, ..case }
            }));
        }
        for options in [1, 10, 40] {
            let beside = Scenario { has_rate: false, ..empty(options) };
            let plural = if options == 1 { "" } else { "s" };
            let kept = kept(&format!("answer of {options} option{plural} kept"), options);
            all.extend([beside, Scenario { has_rate: false, ..kept }]);
        }
        all.extend(returning(1000, "1,000"));
        all.extend(returning(100_000, "100,000"));
    }
    all
}

impl Scenario {
    /// The most lookups a second, where each lookup keeps a thread of Kea waiting.
    pub fn most_waiting(&self) -> f64 {
        match self.service {
            State::After(delay) if !kea::parks() && self.most_requests == usize::MAX => {
                self.threads as f64 / delay.as_secs_f64()
            }
            _ => f64::INFINITY,
        }
    }

    /// Starts Kea and the service.
    pub fn start(&self) -> Result<Running> {
        self.start_with(|setup| setup)
    }

    /// As [`Scenario::start`]. `change` may change Kea's configuration.
    pub fn start_with(&self, change: impl FnOnce(Setup) -> Setup) -> Result<Running> {
        let (service, radius, delay) = match self.service {
            State::None => (None, None, Duration::ZERO),
            State::After(delay) => (Some(Service::start(delay, self.options)?), None, delay),
            State::GoesDown => {
                (Some(Service::start(Duration::ZERO, self.options)?), None, Duration::ZERO)
            }
            State::Radius(delay) => (None, Some(Radius::start(delay)?), delay),
        };
        let mut pool = json!({ "pool": "10.1.0.0-10.250.255.255" });
        if radius.is_some() {
            pool["client-classes"] = json!([radius::POOL]);
        }
        let mut setup = Setup::new(Threads::Four)
            .quiet()
            .relay_ports()
            .set(
                "multi-threading",
                json!({ "enable-multi-threading": true, "thread-pool-size": self.threads }),
            )
            // There are rate × latency packets parked.
            .set("parked-packet-limit", json!(20_000))
            .set(
                "subnet4",
                json!([{
                    "id": 1,
                    "subnet": "10.0.0.0/8",
                    "pools": [pool],
                    "relay": { "ip-addresses": ["127.0.0.1"] },
                }]),
            );
        let options: Vec<_> = service::options(self.options)
            .map(|(code, value)| match code {
                66 => json!({ "code": code, "data": value, "always-send": true }),
                _ => json!({
                    "code": code,
                    "csv-format": false,
                    "data": hex::encode(value),
                    "always-send": true,
                }),
            })
            .collect();
        match (&service, &radius) {
            (Some(_), _) => {}
            (None, Some(radius)) => setup = radius.configure(setup, options.into()),
            (None, None) => setup = setup.set("option-data", options.into()),
        }
        match &self.library {
            Library::None | Library::Radius => {}
            Library::Empty => setup = setup.library(empty_library()?, json!({})),
            Library::Hook(parameters) => {
                let mut parameters = parameters.clone();
                let service = service.as_ref().context("a service")?;
                parameters["url"] = service.url().into();
                if parameters.get("max-in-flight").is_none() {
                    parameters["max-in-flight"] = json!(MOST_IN_FLIGHT);
                }
                setup = setup.hook_as_given(parameters);
            }
        }
        let again = self.again.map(Returning::of);
        let kea = change(setup).try_start()?;
        Ok(Running { kea, service, radius, asked: 0, delay, patience: PATIENCE, again })
    }
}

/// The library of empty.cc. The first call builds it.
fn empty_library() -> Result<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    let program = std::env::current_exe()?;
    let folder = program.parent().context("the folder of this program")?;
    let library = of_source(&project().join("tools/bench/empty.cc"), folder)?;
    Ok(BUILT.get_or_init(|| library))
}

/// A running server and its service. When it is dropped, both are stopped.
pub struct Running {
    pub kea: Kea,
    /// `None` after it went down, too.
    pub service: Option<Service>,
    /// The RADIUS server of a case with [`State::Radius`].
    radius: Option<Radius>,
    /// How many requests a service that went down had.
    asked: usize,
    /// How long the service takes to answer.
    pub delay: Duration,
    /// How much longer than `delay` an OFFER may take.
    pub patience: Duration,
    again: Option<Returning>,
}

/// How much longer than the service's delay an OFFER may take. A packet waits for one answer at
/// most; the rest of its time it waits for earlier packets.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same, where it counts only that a client is served in the end.
pub const MORE_PATIENCE: Duration = Duration::from_secs(2);

impl Running {
    /// Has clients come at this rate for this long.
    pub fn load(&self, rate: f64, period: Duration) -> Result<Outcome> {
        let patience = self.delay + self.patience;
        Load { rate, period, patience, again: self.again }.run(self.kea.address())
    }

    /// Has `number` clients come at this rate, whether they are served or not.
    pub fn clients(&self, rate: f64, number: usize) -> Result<Outcome> {
        self.load(rate, Duration::from_secs_f64(number as f64 / rate))
    }

    /// Has `number` clients come at this rate. The error says that too few of them were served: a
    /// figure makes sense only when clients are served.
    pub fn serve(&self, rate: f64, number: usize) -> Result<Outcome> {
        let outcome = self.clients(rate, number)?;
        ensure!(
            outcome.is_sustained(),
            "{} of {} clients were served, at {rate:.0}/s",
            outcome.served,
            outcome.sent
        );
        Ok(outcome)
    }

    /// Has the first clients come: the hook opens its connections, asks about each client that
    /// comes again, and notices that a service is down.
    pub fn warm_up(&mut self, scenario: &Scenario, rate: f64) -> Result<()> {
        let first = rate.clamp(1.0, 2000.0);
        let rate = rate.clamp(1.0, 1000.0);
        match scenario.again {
            Some(number) => drop(self.clients(first, number as usize)?),
            None => drop(self.load(rate, Duration::from_secs(1))?),
        }
        if matches!(scenario.service, State::GoesDown) {
            self.asked = self.asked();
            self.service = None;
            // The answers become stale.
            thread::sleep(Duration::from_secs(1));
            self.load(rate, Duration::from_secs(1))?;
        }
        self.rest()
    }

    /// Waits until Kea has finished with earlier clients.
    pub fn rest(&self) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(50);
        /// A Kea without work uses less than this in a pause.
        const NOTHING: Duration = Duration::from_millis(10);
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let before = self.kea.processor_time();
            thread::sleep(PAUSE);
            let open = self.open();
            if open == 0 && self.kea.processor_time() < before + NOTHING {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "Kea has not finished with earlier clients; {open} requests are open"
            );
        }
    }

    /// How many requests wait for their answers now.
    pub fn open(&self) -> usize {
        let service = self.service.as_ref().map(Service::open);
        service.or(self.radius.as_ref().map(Radius::open)).unwrap_or(0)
    }

    /// How many packets wait.
    pub fn waiting(&self) -> usize {
        let parked = || self.kea.statistic("remote-opts-parked").unwrap_or(0) as usize;
        self.radius.as_ref().map_or_else(parked, Radius::open)
    }

    /// How many requests the service has had.
    pub fn asked(&self) -> usize {
        let service = self.service.as_ref().map(Service::asked);
        service.or(self.radius.as_ref().map(Radius::asked)).unwrap_or(self.asked)
    }

    /// Checks that the service got no more requests than the case allows.
    pub fn check(&self, scenario: &Scenario) -> Result<()> {
        let (asked, most) = (self.asked(), scenario.most_requests);
        ensure!(asked <= most, "{}: {asked} requests, where {most} are enough", scenario.name);
        Ok(())
    }

    /// Memory that kea-dhcp4 uses, in MiB.
    pub fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.kea.pid()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context(line.to_owned())?;
        Ok(kib / 1024.0)
    }
}
