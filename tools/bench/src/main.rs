// SPDX-License-Identifier: MPL-2.0
//! `make bench`: what the hook costs Kea. Every figure stands beside a figure of the same Kea
//! without a hook; both are measured in the same run, in turn. A real kea-dhcp4, perfdhcp as the
//! load and an HTTP service with a delay run on this machine, on loopback.
//!
//!     bench run --json FILE        measures, shows tables, and writes everything to FILE
//!     bench report FILE...         writes tables and plots of such files to the documents
//!     bench storm                  measures the storm alone: 5,000 machines power on

mod load;
mod measure;
mod radius;
mod scenario;
mod service;
mod storm;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use load::times;
use measure::Bench;
use remote_opts_bench::results::{self, Case, Machine, Results};
use remote_opts_bench::{plot, tables};
use remote_opts_test_support::kea;
use remote_opts_test_support::{program, project};
use scenario::{PARKED, Scenario, alone, cached, empty, refused, threads};

#[derive(Parser)]
#[command(about = "Measures what the hook costs Kea")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

/// The fixed load, in exchanges a second: about half of what Kea can do where every client is new.
const LOAD: f64 = 1500.0;
/// How many machines power on in a storm.
const MACHINES: u32 = 5000;
/// The fixed load beside a peer, which takes more of the cores for its server.
const PEER_LOAD: f64 = 1000.0;

/// Another hook library that asks about each client.
#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    /// Kea's own `radius`, with FreeRADIUS. Kea 3.0 and later have it.
    Radius,
}

#[derive(Subcommand)]
enum Action {
    /// Measures with the Kea of this machine
    Run {
        /// The main cases alone, in one round
        #[arg(long)]
        quick: bool,
        /// How often everything is measured
        #[arg(long)]
        rounds: Option<usize>,
        /// How long each rate is tried, and each turn at the fixed load, in seconds
        #[arg(long)]
        seconds: Option<f64>,
        /// The fixed load, in exchanges a second
        #[arg(long)]
        load: Option<f64>,
        /// Only the cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
        /// Only the cases that compare the hook with this other library
        #[arg(long)]
        peer: Option<Peer>,
        /// File for the results
        #[arg(long)]
        json: Option<PathBuf>,
        /// The commit that is measured
        #[arg(long, default_value = "unknown commit")]
        commit: String,
    },
    /// Measures Kea's processor time for an exchange at the fixed load, and nothing else
    Cost {
        /// The cases whose name contains one of these, and the cases beside them; without, the main
        /// cases
        cases: Vec<String>,
        /// How often each case is measured
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// How long each turn takes, in seconds
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// The fixed load, in exchanges a second
        #[arg(long, default_value_t = LOAD)]
        load: f64,
    },
    /// Puts a load on Kea, for a profiler
    Load {
        /// The first case whose name has this in it
        case: String,
        /// Exchanges a second
        rate: f64,
        /// How long
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Counts Kea's instructions for a packet
    Instructions {
        /// The first case whose name has this in it
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
        #[arg(long, default_value_t = MACHINES)]
        machines: u32,
        /// How many storms of each case; the table shows the one in the middle
        #[arg(long, default_value_t = 1)]
        rounds: usize,
        /// Only the cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
        /// File with the results of an earlier run, which gets these storms
        #[arg(long)]
        json: Option<PathBuf>,
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
        Action::Run { quick, rounds, seconds, load, only, peer, json, commit } => {
            let rounds = rounds.unwrap_or(if quick { 1 } else { 3 });
            let load = load.unwrap_or(if peer.is_some() { PEER_LOAD } else { LOAD });
            let bench = bench(rounds, seconds.unwrap_or(if quick { 0.5 } else { 2.0 }), load);
            run(&bench, &only, quick, peer, json.as_deref(), commit)
        }
        Action::Cost { cases, rounds, seconds, load } => {
            cost(&bench(rounds, seconds, load), &cases)
        }
        Action::Load { case, rate, seconds } => load(&case, rate, Duration::from_secs_f64(seconds)),
        Action::Instructions { case } => {
            one(&case).and_then(|scenario| bench(1, 1.0, LOAD).instructions(&scenario, 0).map(drop))
        }
        Action::Memory { json } => memory(&json),
        Action::Parked => parked(),
        Action::Storm { machines, rounds, only, json, commit } => {
            storm(&bench(rounds, 1.0, LOAD), machines, &only, json.as_deref(), commit)
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

fn run(
    bench: &Bench,
    only: &str,
    quick: bool,
    peer: Option<Peer>,
    json: Option<&Path>,
    commit: String,
) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "the benchmark must be built with --release");
    raise_descriptor_limit()?;
    let scenarios = chosen(
        &[only.to_owned()],
        match peer {
            None => scenario::all(quick),
            Some(Peer::Radius) => scenario::beside_radius(),
        },
    )?;
    let mut results = empty_results(bench, commit)?;
    results.cases = scenarios.iter().map(case).collect();
    // Results are written after each part: a run takes long, and may be interrupted.
    let keep = |results: &Results| -> Result<()> {
        let Some(file) = json else { return Ok(()) };
        fs::create_dir_all(file.parent().context("a file in a folder")?)?;
        results::write(results, file)
    };
    bench.fixed(&scenarios, |found| {
        for (case, fixed) in results.cases.iter_mut().zip(found) {
            case.fixed.clone_from(fixed);
        }
        keep(&results)
    })?;
    for round in 0..bench.rounds {
        for (case, scenario) in results.cases.iter_mut().zip(&scenarios) {
            if scenario.has_rate {
                let rate = bench.rate(scenario, case.rates.last().copied(), round)?;
                case.rates.push(rate);
            }
        }
        keep(&results)?;
    }
    let mut failures = Vec::new();
    if quick || !only.is_empty() {
        // The rest takes long.
    } else if let Some(Peer::Radius) = peer {
        results.memory = bench.memory_waiting(&scenario::parked_beside_radius())?;
        keep(&results)?;
    } else {
        let counted = [alone(threads()), empty(0), empty(2), refused(), cached()];
        results.instructions = bench.all_instructions(&counted)?;
        keep(&results)?;
        results.memory = bench.memory()?;
        keep(&results)?;
        (results.storm, failures) = storm::measure(bench, MACHINES, "")?;
        keep(&results)?;
    }
    println!("\n{}", tables::tables(std::slice::from_ref(&results)));
    if let Some(file) = json {
        println!("written to {}", file.display());
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// A case that was not measured yet.
fn case(scenario: &Scenario) -> Case {
    Case {
        name: scenario.name.clone(),
        is_main: scenario::all(true).iter().any(|main| main.name == scenario.name),
        beside: scenario.beside.clone(),
        threads: scenario.threads,
        fixed: Vec::new(),
        rates: Vec::new(),
    }
}

/// The results of a run that has not begun.
fn empty_results(bench: &Bench, commit: String) -> Result<Results> {
    Ok(Results {
        date: output("date", &["+%Y-%m-%d"])?,
        kea: output(&program_path("kea-dhcp4")?, &["-v"])?,
        hook: env!("CARGO_PKG_VERSION").to_owned(),
        commit,
        machine: machine()?,
        rounds: bench.rounds,
        seconds: bench.period.as_secs_f64(),
        load: bench.load,
        cases: Vec::new(),
        instructions: Vec::new(),
        memory: Vec::new(),
        storm: Vec::new(),
    })
}

/// The storm alone.
fn storm(
    bench: &Bench,
    machines: u32,
    only: &str,
    json: Option<&Path>,
    commit: String,
) -> Result<()> {
    raise_descriptor_limit()?;
    let mut results = match json {
        Some(file) => earlier(file)?,
        None => empty_results(bench, commit)?,
    };
    let failures;
    (results.storm, failures) = storm::measure(bench, machines, only)?;
    if let Some(file) = json {
        results::write(&results, file)?;
    }
    println!("\n{}", tables::tables(&[results]));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// The cases of `all` whose name contains one of `parts`, and the cases beside which these stand.
/// Without `parts`, all cases.
fn chosen(parts: &[String], mut all: Vec<Scenario>) -> Result<Vec<Scenario>> {
    let is_wanted =
        |one: &&Scenario| parts.is_empty() || parts.iter().any(|part| one.name.contains(part));
    let chosen: Vec<_> = all.iter().filter(is_wanted).cloned().collect();
    ensure!(!chosen.is_empty(), "no case has {} in its name", parts.join(" or "));
    all.retain(|one| {
        let is = |name: &String| *name == one.name;
        chosen.iter().any(|other| is(&other.name) || other.beside.as_ref().is_some_and(is))
    });
    Ok(all)
}

/// The first case whose name contains `name`.
fn one(name: &str) -> Result<Scenario> {
    let mut all = scenario::all(false).into_iter().chain(scenario::beside_radius());
    let found = all.find(|one| one.name.contains(name));
    found.with_context(|| format!("no case has {name:?} in its name"))
}

fn bench(rounds: usize, seconds: f64, load: f64) -> Bench {
    Bench {
        rounds: rounds.max(1),
        period: Duration::from_secs_f64(seconds.max(0.5)),
        load: load.max(1.0),
        start: Instant::now(),
    }
}

/// Processor time at a fixed load, in turn.
fn cost(bench: &Bench, names: &[String]) -> Result<()> {
    raise_descriptor_limit()?;
    let scenarios = chosen(names, scenario::all(names.is_empty()))?;
    let mut cases: Vec<_> = scenarios.iter().map(case).collect();
    bench.fixed(&scenarios, |found| {
        for (case, fixed) in cases.iter_mut().zip(found) {
            case.fixed.clone_from(fixed);
        }
        Ok(())
    })?;
    let results = Results { cases, ..empty_results(bench, String::new())? };
    for case in &results.cases {
        let ratio = results.cost_ratio(case);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.3} of the one beside"));
        println!("{:6.1} µs  {:44}  {ratio}", case.microseconds(), case.name);
    }
    Ok(())
}

/// The results of an earlier run with this Kea.
fn earlier(json: &Path) -> Result<Results> {
    let results = results::read(&[json.to_owned()])?.remove(0);
    let kea = output(&program_path("kea-dhcp4")?, &["-v"])?;
    ensure!(
        results.kea == kea,
        "this Kea is {kea}, the Kea of {} was {}",
        json.display(),
        results.kea
    );
    Ok(results)
}

fn memory(json: &Path) -> Result<()> {
    raise_descriptor_limit()?;
    let mut results = earlier(json)?;
    results.memory = bench(results.rounds, results.seconds, LOAD).memory()?;
    results::write(&results, json)
}

fn parked() -> Result<()> {
    raise_descriptor_limit()?;
    ensure!(kea::parks(), "this Kea cannot park packets");
    let bench = bench(1, 2.0, LOAD);
    for scenario in scenario::parked() {
        let idle = scenario.start()?.memory()?;
        let waiting = bench.memory_parked(&scenario, PARKED)?;
        let more = waiting - idle;
        println!("{}: {waiting:.0} MiB, {more:.0} MiB more than idle", scenario.name);
    }
    Ok(())
}

fn load(case: &str, rate: f64, period: Duration) -> Result<()> {
    raise_descriptor_limit()?;
    let scenario = one(case)?;
    let mut running = scenario.start()?;
    running.warm_up(&scenario, rate / 2.0)?;
    println!("{}: process {}", scenario.name, running.kea.pid());
    let before = running.kea.processor_time();
    let outcome = running.load(rate, period)?;
    let used = running.kea.processor_time() - before;
    let lost = outcome.sent - outcome.served;
    println!(
        "{:.0}/s, {lost} of {} lost, {:.0} µs of Kea's processor time for an exchange",
        outcome.rate,
        outcome.sent,
        used.as_secs_f64() * 1e6 / outcome.sent as f64
    );
    let (offer, ack) = (times(outcome.offers, outcome.sent), times(outcome.acks, outcome.sent));
    println!("OFFER {offer:.2?}\nACK   {ack:.2?}");
    Ok(())
}

/// Writes the tables of these runs between the marks of the documents, and their plots to
/// docs/benchmark.
fn report(files: &[PathBuf]) -> Result<()> {
    let all = results::read(files)?;
    for plot in plot::of(&all) {
        draw(plot, &all)?;
    }
    for (document, text) in tables::documents(&all) {
        let file = project().join(document);
        let old = fs::read_to_string(&file).with_context(|| document.to_owned())?;
        let (before, rest) =
            old.split_once(tables::BEGIN).with_context(|| format!("no mark in {document}"))?;
        let (_, after) = rest
            .split_once(tables::END)
            .with_context(|| format!("no second mark in {document}"))?;
        fs::write(&file, format!("{before}{}\n\n{text}{}{after}", tables::BEGIN, tables::END))?;
    }
    Ok(())
}

/// Draws a plot as PNG and as SVG.
fn draw(plot: plot::Name, all: &[Results]) -> Result<()> {
    for (terminal, extension) in [("pngcairo", "png"), ("svg background 'white'", "svg")] {
        let file = project().join(format!("docs/benchmark/{plot}.{extension}"));
        let script = plot.script(all, terminal, &file.display().to_string());
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
