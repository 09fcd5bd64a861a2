// SPDX-License-Identifier: MPL-2.0
//! `make bench`: what the hook costs Kea. Every figure stands beside a figure of the same Kea
//! without a hook; both are measured in the same run, in turn. A real kea-dhcp4, perfdhcp as the
//! load and an HTTP service with a delay run on this machine, on loopback.
//!
//!     bench run --json FILE        measures, shows tables, and writes everything to FILE
//!     bench report FILE...         writes tables and plots of such files to the documents
//!     bench storm                  powers on 5,000 machines within a second

mod load;
mod service;
mod storm;

use std::fs;
use std::io::{IsTerminal, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use load::{Load, Outcome, search, times};
use remote_opts_bench::results::{
    self, Case, Cost, Latency, Machine, Memory, Rates, Replies, Results,
};
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::{program, project, wait_until_within};
use service::Service;

#[derive(Parser)]
#[command(about = "Measures what the hook costs Kea")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Measures with the Kea of this machine
    Run {
        /// Only the ratios, in one round
        #[arg(long)]
        quick: bool,
        /// How often everything is measured
        #[arg(long)]
        rounds: Option<usize>,
        /// How long each rate is tried, in seconds
        #[arg(long)]
        seconds: Option<f64>,
        /// Only the cases whose name contains this
        #[arg(long)]
        only: Option<String>,
        /// File for the results
        #[arg(long)]
        json: Option<PathBuf>,
        /// The commit that is measured
        #[arg(long, default_value = "unknown commit")]
        commit: String,
    },
    /// Puts a load on Kea, for a profiler
    Load {
        /// The first case whose name has this in it; "alone": no hook
        case: String,
        /// Exchanges a second
        rate: f64,
        /// How long
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Counts Kea's instructions for a packet
    Instructions {
        /// The first case whose name has this in it; "alone": no hook
        case: String,
    },
    /// Measures the memory again, for the results of an earlier run
    Memory {
        /// File with the results of the run
        json: PathBuf,
    },
    /// Measures the memory of packets that wait for a service
    Parked,
    /// Powers on machines within a second, and checks that each gets its own answer
    Storm {
        /// How many machines
        #[arg(long, default_value_t = 5000)]
        machines: u32,
        /// How many storms of each case; the table shows the one in the middle
        #[arg(long, default_value_t = 1)]
        rounds: usize,
        /// Only the cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
        /// The commit that is measured
        #[arg(long, default_value = "unknown commit")]
        commit: String,
    },
    /// Writes the tables and plots of the documents
    Report {
        /// Files that `run` has written
        #[arg(required = true)]
        json: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Action::Run { quick, rounds, seconds, only, json, commit } => {
            let bench = Bench {
                rounds: rounds.unwrap_or(if quick { 1 } else { 3 }).max(1),
                period: Duration::from_secs_f64(
                    seconds.unwrap_or(if quick { 0.5 } else { 2.0 }).max(0.5),
                ),
                quick,
                only,
                start: Instant::now(),
            };
            run(&bench, json.as_deref(), commit)
        }
        Action::Load { case, rate, seconds } => load(&case, rate, Duration::from_secs_f64(seconds)),
        Action::Instructions { case } => instructions(&case),
        Action::Memory { json } => memory(json),
        Action::Parked => parked(),
        Action::Storm { machines, rounds, only, commit } => {
            storm::run(machines, rounds.max(1), &only, &commit)
        }
        Action::Report { json } => report(&json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a run measures.
struct Bench {
    rounds: usize,
    period: Duration,
    quick: bool,
    only: Option<String>,
    start: Instant,
}

/// One case: what Kea has to do.
#[derive(Clone)]
struct Scenario {
    name: String,
    /// Kea's packet threads.
    threads: usize,
    service: ServiceState,
    /// The hook's parameters without `url`; `None`: no hook.
    parameters: Option<Value>,
    /// More requests to the service than this show that the case does not measure what it names.
    most_requests: usize,
}

/// The service of a scenario.
#[derive(Clone, Copy)]
enum ServiceState {
    /// Answers after this time.
    After(Duration),
    /// Nobody listens at its port.
    Down,
}

/// Where the search for the highest rate begins, and the factor of its steps.
struct Guess {
    rate: f64,
    step: f64,
}

impl Guess {
    /// The guess of a later round, from the rate of an earlier round.
    fn again(rate: f64) -> Self {
        Guess { rate, step: 1.06 }
    }
}

impl Scenario {
    /// The most lookups a second, where each lookup keeps a thread of Kea waiting.
    fn most_waiting(&self) -> f64 {
        match self.service {
            ServiceState::After(delay) => self.threads as f64 / delay.as_secs_f64(),
            ServiceState::Down => f64::INFINITY,
        }
    }
}

/// Kea's own default: as many threads as cores.
fn threads() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}

fn scenario(name: &str, service: ServiceState, parameters: Value) -> Scenario {
    let parameters = Some(parameters);
    Scenario {
        name: name.to_owned(),
        threads: threads(),
        service,
        parameters,
        most_requests: usize::MAX,
    }
}

fn alone(threads: usize) -> Scenario {
    let service = ServiceState::After(Duration::ZERO);
    Scenario { name: "Kea alone".to_owned(), threads, service, parameters: None, most_requests: 0 }
}

/// Parameters with which every client is looked up by itself: the MAC address names the client, and
/// no two clients of perfdhcp have the same.
fn every_client() -> Value {
    json!({ "query": { "mac": "hexstring(pkt4.mac, ':')" } })
}

fn refused() -> Scenario {
    let parameters = json!({ "user-class": "iPXE" });
    let scenario =
        scenario("refused by the filter", ServiceState::After(Duration::ZERO), parameters);
    Scenario { most_requests: 0, ..scenario }
}

/// Option 82 names the client. All clients have the same, as clients behind one switch port do.
fn cached() -> Scenario {
    let scenario = scenario(
        "answers cached",
        ServiceState::After(Duration::ZERO),
        json!({ "cache-ttl": 3600 }),
    );
    Scenario { most_requests: 1, ..scenario }
}

fn every_client_new(milliseconds: u64) -> Scenario {
    let delay = Duration::from_millis(milliseconds);
    let mut parameters = every_client();
    // A client whose answer did not come gets no reply: so every lease means an answer.
    parameters["on-error"] = "drop".into();
    scenario(
        &format!("every client new, service {milliseconds} ms"),
        ServiceState::After(delay),
        parameters,
    )
}

/// How many packets wait, where the memory of waiting packets is measured.
const PARKED: usize = 5000;

/// Packets that wait for a service, by HTTP/1.1 and by HTTP/2.
fn parked_scenarios() -> [Scenario; 2] {
    let wait = json!({ "query": every_client()["query"], "timeout": 120_000 });
    let mut wait_http2 = wait.clone();
    wait_http2["http2"] = true.into();
    [("HTTP/1.1", wait), ("HTTP/2", wait_http2)].map(|(protocol, parameters)| {
        let name = format!("{PARKED} packets parked, {protocol}");
        scenario(&name, ServiceState::After(Duration::from_secs(60)), parameters)
    })
}

fn scenarios(bench: &Bench) -> Vec<Scenario> {
    let mut all = vec![
        refused(),
        cached(),
        scenario("all services down", ServiceState::Down, every_client()),
    ];
    all.extend([0, 10, 100, 500].map(every_client_new));
    if bench.quick {
        all.retain(|one| !one.name.ends_with(" 10 ms") && !one.name.ends_with(" 500 ms"));
    }
    if !kea::parks() {
        // A Kea that cannot park waits with a thread for each lookup.
        let numbers = if bench.quick { &[16][..] } else { &[1, 4, 16, 64] };
        all.extend(numbers.iter().map(|&threads| Scenario { threads, ..every_client_new(100) }));
    }
    if let Some(only) = &bench.only {
        all.retain(|one| one.name.contains(only.as_str()));
    }
    all
}

/// A running server and its service. When it is dropped, both are stopped.
struct Running {
    kea: Kea,
    service: Option<Service>,
    /// How long the service takes to answer.
    delay: Duration,
    /// How much longer than `delay` an OFFER may take.
    patience: Duration,
}

/// How much longer than the service's delay an OFFER may take. A packet waits for one answer at
/// most; the rest of its time it waits for earlier packets.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same, where it counts only that a client is served in the end.
const MORE_PATIENCE: Duration = Duration::from_secs(2);

/// Starts the server of a scenario. `change` may change its configuration.
fn start_with(scenario: &Scenario, change: impl FnOnce(Setup) -> Setup) -> Result<Running> {
    let (service, url, delay) = match scenario.service {
        ServiceState::After(delay) => {
            let service = Service::start(delay)?;
            let url = service.url();
            (Some(service), url, delay)
        }
        // Nobody listens at this port.
        ServiceState::Down => {
            let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            (None, format!("http://{free}/"), Duration::ZERO)
        }
    };
    let mut setup = Setup::new(Threads::Four)
        .quiet()
        .relay_ports()
        .set(
            "multi-threading",
            json!({ "enable-multi-threading": true, "thread-pool-size": scenario.threads }),
        )
        // There are rate × latency packets parked.
        .set("parked-packet-limit", json!(20_000))
        .set(
            "subnet4",
            json!([{
                "id": 1,
                "subnet": "10.0.0.0/8",
                "pools": [{ "pool": "10.1.0.0-10.250.255.255" }],
                "relay": { "ip-addresses": ["127.0.0.1"] },
            }]),
        );
    if let Some(mut parameters) = scenario.parameters.clone() {
        parameters["url"] = url.into();
        if parameters.get("max-in-flight").is_none() {
            parameters["max-in-flight"] = json!(10_000);
        }
        setup = setup.hook_as_given(parameters);
    }
    Ok(Running { kea: change(setup).try_start()?, service, delay, patience: PATIENCE })
}

fn start(scenario: &Scenario) -> Result<Running> {
    start_with(scenario, |setup| setup)
}

impl Running {
    /// Has clients come at this rate for this long.
    fn load(&self, rate: f64, period: Duration) -> Result<Outcome> {
        Load { rate, period, patience: self.delay + self.patience }.run(self.kea.address())
    }

    /// Has `number` clients come at this rate, whether they are served or not.
    fn clients(&self, rate: f64, number: usize) -> Result<Outcome> {
        self.load(rate, Duration::from_secs_f64(number as f64 / rate))
    }

    /// Has `number` clients come at this rate. The error says that too few of them were served: a
    /// figure makes sense only when clients are served.
    fn serve(&self, rate: f64, number: usize) -> Result<Outcome> {
        let outcome = self.clients(rate, number)?;
        ensure!(
            outcome.is_sustained(),
            "{} of {} clients were served, at {rate:.0}/s",
            outcome.served,
            outcome.sent
        );
        Ok(outcome)
    }

    /// Waits until Kea has finished with earlier clients.
    fn rest(&self) -> Result<()> {
        /// Kea's clock counts its work in steps of 10 ms.
        const NOTHING_DONE: Duration = Duration::from_millis(50);
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let before = self.ticks()?;
            thread::sleep(NOTHING_DONE);
            let open = self.service.as_ref().map_or(0, Service::open);
            if open == 0 && self.ticks()? <= before + 1 {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "Kea has not finished with earlier clients; {open} requests are open"
            );
        }
    }

    /// Checks that the service got no more requests than the case allows.
    fn check(&self, scenario: &Scenario) -> Result<()> {
        let (asked, most) =
            (self.service.as_ref().map_or(0, Service::asked), scenario.most_requests);
        ensure!(asked <= most, "{}: {asked} requests, where {most} are enough", scenario.name);
        Ok(())
    }

    /// Processor time that Kea has used, in steps of 10 ms (on every Linux of Debian).
    fn ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.kea.pid()))?;
        let fields: Vec<_> = stat.split(' ').collect();
        Ok(fields[13].parse::<u64>()? + fields[14].parse::<u64>()?)
    }

    /// Memory that kea-dhcp4 uses, in MiB.
    fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.kea.pid()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().context(line.to_owned())?;
        Ok(kib / 1024.0)
    }
}

impl Bench {
    /// Shows how far the run is. `done` tells whether the text is final.
    fn say(&self, text: &str, done: bool) {
        let mut output = std::io::stderr();
        let elapsed = self.start.elapsed().as_secs();
        let line = format!("{:3}:{:02}  {text}", elapsed / 60, elapsed % 60);
        // On a terminal, one line is written again and again. Elsewhere, each final text is a line.
        let _ = match (output.is_terminal(), done) {
            (true, true) => writeln!(output, "\r\x1b[K{line}"),
            (true, false) => write!(output, "\r\x1b[K{line}").and_then(|()| output.flush()),
            (false, true) => writeln!(output, "{line}"),
            (false, false) => Ok(()),
        };
    }

    /// The highest rate that the server of a scenario sustains.
    fn rate(&self, scenario: &Scenario, guess: Guess, round: usize) -> Result<f64> {
        let named =
            format!("{}  {:34} {:2} threads", self.round(round), scenario.name, scenario.threads);
        let running = start(scenario)?;
        // Fills the cache, and has the hook notice that a service is down.
        running.load(guess.rate.clamp(5.0, 1000.0) * 0.5, Duration::from_secs(1))?;
        let rate = search(guess.rate, guess.step, |rate| {
            self.say(&format!("{named}  {rate:6.0}/s?"), false);
            // The packets of an earlier trial must not be in the way of this trial.
            running.rest()?;
            // Long enough that most of the time as many REQUESTs as DISCOVERs are under way.
            let outcome = running.load(rate, self.period + 4 * running.delay)?;
            if std::env::var_os("BENCH_TRIALS").is_some() {
                let lost = 100.0 * (1.0 - outcome.served as f64 / outcome.sent as f64);
                self.say(
                    &format!("    {rate:6.0}/s: sent {:6.0}/s, lost {lost:.2} %", outcome.rate),
                    true,
                );
            }
            Ok(outcome)
        })?;
        self.say(&format!("{named}  {rate:6.0}/s"), true);
        running.check(scenario)?;
        let end = running.kea.stop();
        ensure!(
            end.status.success(),
            "kea-dhcp4 ended with {}:\n{}",
            end.status,
            end.log.join("\n")
        );
        Ok(rate)
    }

    /// All rates. In every round Kea alone is measured before and after each two scenarios.
    fn rates(&self, scenarios: &[Scenario]) -> Result<Vec<Vec<Rates>>> {
        let mut found: Vec<Vec<Rates>> = vec![Vec::new(); scenarios.len()];
        let mut last_alone: Vec<(usize, f64)> = Vec::new();
        for round in 0..self.rounds {
            // The latest rate of Kea alone, and its number of threads.
            let mut before: Option<(usize, f64)> = None;
            let mut index = 0;
            while index < scenarios.len() {
                let threads = scenarios[index].threads;
                let together: Vec<_> = (index..scenarios.len().min(index + 2))
                    .filter(|&one| scenarios[one].threads == threads)
                    .collect();
                let measure_alone = |last_alone: &mut Vec<(usize, f64)>| -> Result<f64> {
                    let guess = last_alone
                        .iter()
                        .rev()
                        .find(|(of, _)| *of == threads)
                        .map(|(_, rate)| *rate);
                    let guess = guess.map_or(Guess { rate: 1000.0, step: 1.5 }, Guess::again);
                    let rate = self.rate(&alone(threads), guess, round)?;
                    last_alone.push((threads, rate));
                    Ok(rate)
                };
                let first = match before {
                    Some((of, rate)) if of == threads => rate,
                    _ => measure_alone(&mut last_alone)?,
                };
                let mut with_hook = Vec::new();
                for &one in &together {
                    let last =
                        found[one].last().map(|rates| rates.with_hook).filter(|rate| *rate > 0.0);
                    // A Kea that cannot park serves no more clients than its threads can wait for.
                    let most =
                        if kea::parks() { f64::INFINITY } else { scenarios[one].most_waiting() };
                    let guess = last
                        .map_or(Guess { rate: (first * 0.7).min(most), step: 1.2 }, Guess::again);
                    with_hook.push(self.rate(&scenarios[one], guess, round)?);
                }
                let second = measure_alone(&mut last_alone)?;
                before = Some((threads, second));
                for (&one, with_hook) in together.iter().zip(with_hook) {
                    found[one].push(Rates { with_hook, before: first, after: second });
                }
                index += together.len();
            }
        }
        Ok(found)
    }

    /// How long replies take at half of the highest rate, in one round.
    fn latency(&self, scenario: &Scenario, rate: f64, round: usize) -> Result<Latency> {
        let half = (rate / 2.0).max(1.0);
        let named = format!("{}  latency at {half:.0}/s  {:34}", self.round(round), scenario.name);
        let replies = |scenario: &Scenario| -> Result<Replies> {
            self.say(&named, false);
            let running = start(scenario)?;
            running.load(half, Duration::from_secs(1))?;
            let clients = (half * self.period.as_secs_f64() * 2.0) as usize;
            // Other work of the machine must not end a run that takes hours.
            let mut again = 0..2;
            let Outcome { offers, acks, sent, .. } = loop {
                match running.serve(half, clients) {
                    Err(_) if again.next().is_some() => running.rest()?,
                    outcome => break outcome?,
                }
            };
            running.check(scenario)?;
            Ok(Replies { offer: times(offers, sent), ack: times(acks, sent) })
        };
        let (without, with_hook) = (replies(&alone(scenario.threads))?, replies(scenario)?);
        let shown = |replies: &Replies| {
            replies.offer.p50.map_or("too few".to_owned(), |p50| format!("{p50:.2} ms"))
        };
        let text = format!("{named}  OFFER p50 {}, {} without", shown(&with_hook), shown(&without));
        self.say(&text, true);
        Ok(Latency { rate: half, with_hook, without })
    }

    /// Instructions for one packet from a client (a DISCOVER or a REQUEST): the difference between
    /// many clients and few, so that the start of Kea does not count.
    fn instructions(&self, scenario: &Scenario, round: usize) -> Result<f64> {
        const FEW: usize = 50;
        const MANY: usize = 350;
        const RATE: f64 = 50.0;
        let named = format!("{}  instructions  {:34}", self.round(round), scenario.name);
        let total = |clients: usize| -> Result<(usize, f64)> {
            self.say(&format!("{named}  {clients} clients"), false);
            let mut running = start_with(scenario, |setup| {
                setup.under(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])
            })?;
            running.patience = MORE_PATIENCE;
            let outcome = running.serve(RATE, clients)?;
            let end = running.kea.stop();
            let count = end.log.iter().find_map(|line| line.split_once("Collected : "));
            let count = count
                .with_context(|| format!("no count of valgrind's:\n{}", end.log.join("\n")))?
                .1;
            Ok((outcome.served, count.trim().parse()?))
        };
        let ((few, less), (many, more)) = (total(FEW)?, total(MANY)?);
        let each = (more - less) / (2.0 * (many - few) as f64);
        self.say(&format!("{named}  {each:.0} a packet"), true);
        Ok(each.round())
    }

    /// Memory after this many clients have their leases: with a cached answer for each, or without
    /// a hook.
    fn memory_after(&self, scenario: &Scenario, clients: usize, rate: f64) -> Result<f64> {
        const FIRST: usize = 1000;
        let mut running = start(scenario)?;
        running.patience = MORE_PATIENCE;
        if clients > 0 {
            // The first clients come slowly: the hook has no connection yet.
            let mut served = running.serve(rate.min(500.0), FIRST)?.served;
            if clients > FIRST {
                served += running.serve(rate, clients - FIRST)?.served;
            }
            let kept = running.service.as_ref().map_or(0, Service::asked);
            let is_kept = scenario.parameters.is_none() || kept >= served;
            ensure!(is_kept, "{served} clients were served with {kept} answers");
        }
        running.memory()
    }

    /// Memory while this many packets are parked.
    fn memory_parked(&self, scenario: &Scenario, packets: usize, rate: f64) -> Result<f64> {
        let mut running = start(scenario)?;
        running.delay = Duration::ZERO;
        let service = running.service.as_ref().context("a service")?;
        // Some packets are lost on the way.
        while service.open() < packets {
            let before = service.open();
            running.clients(rate.min(1000.0), packets - before)?;
            wait_until_within(Duration::from_secs(5), || service.open() == service.asked());
            ensure!(service.open() > before, "{before} packets are parked, and no more");
        }
        running.memory()
    }

    /// Memory with answers kept, beside Kea alone after as many clients; and with packets parked.
    fn memory(&self, rate: f64) -> Result<Vec<Memory>> {
        let kept = scenario(
            "answers kept",
            ServiceState::After(Duration::ZERO),
            json!({ "query": every_client()["query"], "cache-ttl": 3600, "cache-size": 100_000 }),
        );
        let parked = parked_scenarios();
        let mut found: Vec<Memory> = Vec::new();
        for round in 0..self.rounds {
            let mut keep = |name: String, measure: &dyn Fn() -> Result<f64>| -> Result<()> {
                let named = format!("{}  memory  {name:34}", self.round(round));
                self.say(&named, false);
                let mib = (measure()? * 10.0).round() / 10.0;
                self.say(&format!("{named}  {mib:.0} MiB"), true);
                match found.iter_mut().find(|memory| memory.name == name) {
                    Some(memory) => memory.mib.push(mib),
                    None => found.push(Memory { name, mib: vec![mib] }),
                }
                Ok(())
            };
            for clients in [0, 1000, 100_000] {
                for (scenario, what) in [(&alone(threads()), "no hook"), (&kept, "answers kept")] {
                    let name = format!("{what}, {clients} clients");
                    keep(name, &|| self.memory_after(scenario, clients, rate))?;
                }
            }
            for parked in parked.iter().filter(|_| kea::parks()) {
                keep(parked.name.clone(), &|| self.memory_parked(parked, PARKED, rate))?;
            }
        }
        Ok(found)
    }

    fn round(&self, round: usize) -> String {
        format!("round {} of {}", round + 1, self.rounds)
    }
}

fn run(bench: &Bench, json: Option<&Path>, commit: String) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "the benchmark must be built with --release");
    raise_descriptor_limit()?;
    let scenarios = scenarios(bench);
    ensure!(!scenarios.is_empty(), "no case has this in its name");
    let mut cases = Vec::new();
    for (scenario, rates) in scenarios.iter().zip(bench.rates(&scenarios)?) {
        cases.push(Case {
            name: scenario.name.clone(),
            threads: scenario.threads,
            rates,
            latency: Vec::new(),
        });
    }
    let mut results = Results {
        date: output("date", &["+%Y-%m-%d"])?,
        kea: output(&program_path("kea-dhcp4")?, &["-v"])?,
        hook: env!("CARGO_PKG_VERSION").to_owned(),
        commit,
        machine: machine()?,
        rounds: bench.rounds,
        seconds: bench.period.as_secs_f64(),
        cases,
        instructions: Vec::new(),
        memory: Vec::new(),
    };
    // Results are written after each part: a run takes long, and may be interrupted.
    let keep = |results: &Results| -> Result<()> {
        let Some(file) = json else { return Ok(()) };
        fs::create_dir_all(file.parent().context("a file in a folder")?)?;
        results::write(results, file)
    };
    keep(&results)?;
    if !bench.quick {
        for round in 0..bench.rounds {
            for (case, scenario) in results.cases.iter_mut().zip(&scenarios) {
                case.latency.push(bench.latency(scenario, case.rate(), round)?);
            }
            keep(&results)?;
        }
        if bench.only.is_none() {
            let counted = [alone(threads()), refused(), cached()];
            let cost = |one: &Scenario| Cost { name: one.name.clone(), instructions: Vec::new() };
            results.instructions = counted.iter().map(cost).collect();
            for round in 0..bench.rounds {
                for (cost, scenario) in results.instructions.iter_mut().zip(&counted) {
                    cost.instructions.push(bench.instructions(scenario, round)?);
                }
            }
            keep(&results)?;
            results.memory = bench.memory(memory_rate(&results))?;
        }
    }
    keep(&results)?;
    println!("\n{}", results::tables(std::slice::from_ref(&results)));
    if let Some(file) = json {
        plot(std::slice::from_ref(&results), file)?;
        println!("written to {}, plots beside it", file.display());
    }
    Ok(())
}

/// A run of one case: the first scenario whose name contains `case`.
fn one(case: &str) -> (Bench, Scenario) {
    let period = Duration::from_secs(3);
    let bench = Bench {
        rounds: 1,
        period,
        quick: false,
        only: Some(case.to_owned()),
        start: Instant::now(),
    };
    let scenario = scenarios(&bench).into_iter().next().unwrap_or_else(|| alone(threads()));
    (bench, scenario)
}

/// A rate at which no client is lost, with the hook and without: half of the rate that is sustained
/// where each client is new.
fn memory_rate(results: &Results) -> f64 {
    let name = every_client_new(0).name;
    let case = results.cases.iter().find(|case| case.name == name).or(results.cases.first());
    case.map_or(1000.0, |case| case.rate() / 2.0)
}

fn memory(json: PathBuf) -> Result<()> {
    raise_descriptor_limit()?;
    let mut results = results::read(std::slice::from_ref(&json))?.remove(0);
    let kea = output(&program_path("kea-dhcp4")?, &["-v"])?;
    ensure!(
        results.kea == kea,
        "this Kea is {kea}, the Kea of {} was {}",
        json.display(),
        results.kea
    );
    let (mut bench, _) = one("");
    bench.rounds = results.rounds;
    results.memory = bench.memory(memory_rate(&results))?;
    results::write(&results, &json)
}

fn parked() -> Result<()> {
    raise_descriptor_limit()?;
    ensure!(kea::parks(), "this Kea cannot park packets");
    let (bench, _) = one("");
    for scenario in parked_scenarios() {
        let idle = start(&scenario)?.memory()?;
        let waiting = bench.memory_parked(&scenario, PARKED, 1000.0)?;
        let more = waiting - idle;
        println!("{}: {waiting:.0} MiB, {more:.0} MiB more than idle", scenario.name);
    }
    Ok(())
}

fn instructions(case: &str) -> Result<()> {
    let (bench, scenario) = one(case);
    println!("{}: {:.0}", scenario.name, bench.instructions(&scenario, 0)?);
    Ok(())
}

fn load(case: &str, rate: f64, period: Duration) -> Result<()> {
    raise_descriptor_limit()?;
    let (_, scenario) = one(case);
    let running = start(&scenario)?;
    running.load((rate / 2.0).min(1000.0), Duration::from_secs(1))?;
    println!("{}: process {}", scenario.name, running.kea.pid());
    running.rest()?;
    let before = running.ticks()?;
    let outcome = running.load(rate, period)?;
    let (offer, ack) = (times(outcome.offers, outcome.sent), times(outcome.acks, outcome.sent));
    let lost = outcome.sent - outcome.served;
    let each = (running.ticks()? - before) as f64 * 10_000.0 / outcome.sent as f64;
    println!(
        "{:.0}/s, {lost} of {} lost, {each:.0} µs of Kea's processor time for an exchange",
        outcome.rate, outcome.sent
    );
    println!("OFFER {offer:.2?}\nACK   {ack:.2?}");
    Ok(())
}

/// Writes the tables of these runs between the marks of the documents, and their plot to
/// docs/benchmark.
fn report(files: &[PathBuf]) -> Result<()> {
    let all = results::read(files)?;
    for (document, tables) in results::documents(&all) {
        let file = project().join(document);
        let text = fs::read_to_string(&file).with_context(|| document.to_owned())?;
        let (before, rest) =
            text.split_once(results::BEGIN).with_context(|| format!("no mark in {document}"))?;
        let (_, after) = rest
            .split_once(results::END)
            .with_context(|| format!("no second mark in {document}"))?;
        fs::write(&file, format!("{before}{}\n\n{tables}{}{after}", results::BEGIN, results::END))?;
    }
    plot(&all, &project().join("docs/benchmark/benchmark.json"))
}

/// Draws a PNG and an SVG, whose names are those of the file `named_as` with another ending.
fn plot(all: &[Results], named_as: &Path) -> Result<()> {
    for (terminal, extension) in [
        ("pngcairo size 1400,660 font 'sans,10'", "png"),
        ("svg size 1400,660 font 'sans,10' background 'white'", "svg"),
    ] {
        let file = named_as.with_extension(extension);
        let script = results::plot(all, terminal, &file.display().to_string());
        let mut gnuplot = Command::new("gnuplot")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .context("gnuplot of Debian's gnuplot-nox")?;
        gnuplot.stdin.take().context("gnuplot's input")?.write_all(script.as_bytes())?;
        let status = gnuplot.wait()?;
        ensure!(status.success(), "gnuplot ended with {status}");
    }
    Ok(())
}

/// Raises the limit of file descriptors, for thousands of connections at once. Kea inherits the
/// limit.
fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard)?;
    if hard < 16_384 {
        bail!("this needs 16384 file descriptors, and {hard} are allowed (ulimit -H -n)");
    }
    Ok(())
}

fn machine() -> Result<Machine> {
    let field = |file: &str, name: &str| -> Result<String> {
        let text = fs::read_to_string(file)?;
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .with_context(|| format!("{name} in {file}"))?;
        let (_, value) = line.split_once([':', '=']).context(line.to_owned())?;
        Ok(value.trim().trim_matches('"').to_owned())
    };
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").trim().parse()?;
    Ok(Machine {
        processor: field("/proc/cpuinfo", "model name")
            .unwrap_or_else(|_| "an unknown processor".to_owned()),
        cores: threads(),
        memory_gib: (kib + (1 << 19)) >> 20,
        system: field("/etc/os-release", "PRETTY_NAME")?,
        kernel: output("uname", &["-r"])?,
    })
}

fn program_path(name: &str) -> Result<String> {
    Ok(program(name, "kea-dhcp4-server")?.display().to_string())
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
