// SPDX-License-Identifier: MPL-2.0
//! `make soak`: Kea with the hook serves under load, while an adversary works on the services, on
//! Kea's process, on the disk, and on the packets. Every packet is counted.
//!
//!     soak run       the soak
//!     soak reloads   many reloads, with HTTP/1.1 and with HTTP/2
//!     soak service   a service that misbehaves, for the two above

mod adversary;
mod clients;
mod packets;
mod service;
mod services;
mod shared;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;
use tempfile::TempDir;

use adversary::{Adversary, NAME, set_parameter};
use clients::{Counts, Load, POOL};
use remote_opts_test_support::certificates::{Authority, Identity};
use remote_opts_test_support::holdings::Holdings;
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::{PATIENCE, project, wait_until_within};
use services::Service;
use shared::Shared;

/// The load, as a part of what the same clients and services reach without an adversary.
const SHARE: f64 = 0.6;

/// The most exchanges and renewals a second for a Kea that cannot park. Its threads wait for slow
/// services, and a reload throws away what waits for a thread meanwhile.
const MOST_WITHOUT_PARKING: f64 = 250.0;

/// How many exchanges are under way at once when the rate is measured.
const WINDOW: usize = 16;

/// How long the rate is measured.
const MEASURED: Duration = Duration::from_secs(4);

/// The part of the soak that is left out of the samples: caches and allocators fill.
const WARM_UP: f64 = 0.2;

/// How much more Kea may hold in the last quarter of the samples than in the first one.
const LEVEL: f64 = 1.02;

/// With fewer samples than this, as in CI, chance counts: how the allocator splits its memory among
/// threads, and which connections and look-ups there are.
const ENOUGH_SAMPLES: usize = 500;

/// How much more memory Kea may hold then, in KiB.
const SLACK_KIB: f64 = 16384.0;

/// How many more threads or descriptors Kea may hold then.
const SLACK: f64 = 4.0;

/// Exchanges and renewals a second during the reloads in a row.
const RELOADS_RATE: f64 = 200.0;

/// How many packets may be without a reply at a time during the reloads in a row: a reload loses many.
const MOST_WAITING: usize = 1200;

/// How many replies there are before the next of the reloads in a row.
const REPLIES: usize = 10;

#[derive(Parser)]
#[command(about = "Soaks Kea with the hook in load, faults and bad input")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Load and an adversary
    Run {
        /// How long
        #[arg(long, default_value_t = 1200)]
        seconds: u64,
        /// Exchanges and renewals a second, in the place of a part of the rate that is measured
        #[arg(long)]
        rate: Option<f64>,
        /// What chance begins with
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Many reloads under traffic, with HTTP/1.1 and with HTTP/2
    Reloads {
        /// How many
        #[arg(long, default_value_t = 1000)]
        times: usize,
    },
    /// A service that misbehaves on demand
    Service(service::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Action::Run { seconds, rate, seed } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
            println!("seed {seed}");
            soak(Duration::from_secs(seconds), rate, seed)
        }
        Action::Reloads { times } => [false, true].into_iter().try_for_each(|http2| {
            reloads(times, http2).with_context(|| if http2 { "HTTP/2" } else { "HTTP/1.1" })
        }),
        Action::Service(arguments) => service::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A server with the addresses that the load knows.
fn server(threads: u32) -> Setup {
    let local = json!({"ip-addresses": ["127.0.0.1"]});
    Setup::new(Threads::Four)
        .quiet()
        // A reload forgets leases that are in memory alone.
        .persistent_leases()
        .set(
            "multi-threading",
            json!({
                "enable-multi-threading": true,
                "thread-pool-size": threads,
                // The load waits when so many packets have no reply.
                "packet-queue-size": 10_000,
            }),
        )
        .set("parked-packet-limit", json!(2000))
        // Where no service is to give addresses, Kea need not look for them in its pools.
        .set("reservations-out-of-pool", json!(true))
        .set(
            "subnet4",
            json!([
                {"id": 1, "subnet": "10.77.0.0/16", "pools": [{"pool": POOL}], "relay": local},
                // For clients of loopback that speak without a relay agent.
                {"id": 2, "subnet": "127.0.0.0/8"},
            ]),
        )
}

/// How many threads Kea has for packets in the soak. One that cannot park has a thread wait for
/// each answer.
fn threads() -> u32 {
    if kea::parks() { 4 } else { 64 }
}

/// The server with the hook, which asks these services.
fn server_with_hook(threads: u32, services: &[Service; 3], anchor: &Path) -> Setup {
    let [plain, named, secure] = services;
    let urls = [plain.url("127.0.0.1"), named.url(NAME), secure.url("127.0.0.1")];
    let parameters = json!({
        "url": urls,
        "timeout": 2000,
        // Answers go stale between two visits of a machine, so that services are asked all the
        // time.
        "cache-ttl": 1,
        "trust-anchor": anchor,
        "http2": false,
    });
    server(threads).info(HOOK_LOGGER).forget_lines("REMOPTS_ACKED").hook_as_given(parameters)
}

/// Files of one soak.
struct Files {
    folder: TempDir,
    /// The folder of the file of kept answers.
    kept: PathBuf,
    names: PathBuf,
    resolver: PathBuf,
    anchor: PathBuf,
    tls: Vec<PathBuf>,
}

impl Files {
    fn new() -> Result<Files> {
        let folder = TempDir::new()?;
        let at = |name: &str| folder.path().join(name);
        let authority = Authority::new("authority");
        let mut tls = Vec::new();
        let mut write = |name: &str, identity: &Identity| -> Result<()> {
            for (kind, pem) in [("pem", identity.certificate_pem()), ("key", identity.key_pem())] {
                let file = folder.path().join(format!("{name}.{kind}"));
                fs::write(&file, pem)?;
                tls.push(file);
            }
            Ok(())
        };
        write("good", &authority.server("127.0.0.1"))?;
        write("expired", &authority.expired_server("127.0.0.1"))?;
        let (anchor, names, kept) = (at("anchor.pem"), at("names"), at("kept"));
        fs::write(&anchor, authority.certificate_pem())?;
        fs::write(&names, format!("{NAME}=127.0.0.1"))?;
        fs::create_dir(&kept)?;
        let resolver = at("libnames.so");
        let source = project().join("test/kea/names.cc");
        let mut compiler = Command::new("g++");
        compiler.args(["-shared", "-fPIC", "-o"]).args([&resolver, &source]).arg("-ldl");
        ensure!(compiler.status().context("g++")?.success(), "the resolver cannot be built");
        Ok(Files { kept, names, resolver, anchor, tls, folder })
    }

    fn services(&self) -> Result<[Service; 3]> {
        Ok([
            Service::start("a", Vec::new())?,
            Service::start("b", Vec::new())?,
            Service::start("c", self.tls.clone())?,
        ])
    }

    /// Starts Kea with the hook.
    fn start(&self, threads: u32, services: &[Service; 3]) -> Result<Kea> {
        let names = format!("@{}", self.names.display());
        let setup = server_with_hook(threads, services, &self.anchor)
            .env("LD_PRELOAD", &self.resolver.to_string_lossy())
            .env("REMOPTS_TEST_NAMES", &names)
            // One arena for all threads: with more of them memory is level only after a long time.
            .env("MALLOC_ARENA_MAX", "1")
            // glibc keeps up to twice as much free memory as the largest block that was ever freed,
            // so one burst is a step for ever. A fixed bound (mallopt(3), M_MMAP_THRESHOLD) takes
            // the burst's memory back.
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            // So many lines of Kea go into its file that it is rotated all the time.
            .log_file("kea-dhcp4.leases");
        // A write past the limit of a file's size fails, and does not end the process.
        let mut runner = vec!["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
        runner.extend(["prlimit", "--nofile=4096:4096"]);
        // What root may write whatever the permissions of a folder say, Kea may not.
        if nix::unistd::geteuid().is_root() {
            runner.extend(["setpriv", "--bounding-set=-dac_override,-dac_read_search"]);
        }
        setup.under(&runner).try_start()
    }
}

fn soak(time: Duration, rate: Option<f64>, seed: u64) -> Result<()> {
    fastrand::seed(seed);
    let shared = Shared::new();
    let files = Files::new()?;
    let services = files.services()?;

    let answers_alone = answers_alone(&shared)?;
    let answered = answers_alone.iter().filter(|answers| **answers).count();
    println!("{} shapes of bad input, of which Kea alone answers {answered}", answers_alone.len());
    let kea = files.start(threads(), &services)?;
    let mut configuration = kea.configuration();
    set_parameter(&mut configuration, "cache-file", json!(files.kept.join("answers")));
    kea.write_configuration(&configuration)?;
    kea.reload()?;
    let mut load = Load::new(&shared, kea.relay());
    load.answers_alone = answers_alone;
    let most = load.measure(MEASURED, WINDOW);
    let limit = if kea::parks() { f64::MAX } else { MOST_WITHOUT_PARKING };
    let rate = rate.unwrap_or((most * SHARE).min(limit));
    println!(
        "{most:.0} exchanges and renewals a second without an adversary; the load is {rate:.0}"
    );

    let folder = files.kept.clone();
    let names = files.names.clone();
    let adversary = Adversary {
        shared: &shared,
        seed,
        kea: &kea,
        services,
        names,
        folder,
        descriptors: RwLock::new(()),
        unwritable: AtomicBool::new(false),
        samples: Mutex::default(),
    };
    let begin = Instant::now();
    let mut told = begin;
    adversary.during(|| {
        load.run(rate, |load| {
            let at = begin.elapsed();
            if !is_running(kea.pid()) {
                shared.wrong(&format!("Kea has crashed:\n{}", kea.log().join("\n")));
                return shared.end();
            }
            if let Ok(_descriptors) = adversary.descriptors.try_read() {
                // Kea does not say while it is being configured.
                if let Some(excuses) = Excuses::of(&kea, load.counts.sent) {
                    check_missing(load, &shared, &excuses);
                }
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                let Counts { sent, unanswered, .. } = &load.counts;
                let holdings =
                    adversary.samples.lock().unwrap().last().map(|(_, holdings)| *holdings);
                println!(
                    "{:4.0} s: {sent} packets, {unanswered:?}, {holdings:?}",
                    at.as_secs_f64()
                );
            }
            if at > time {
                shared.end();
            }
        });
    });
    for service in &adversary.services {
        service.set(service::Mode::Good)?;
    }
    if is_running(kea.pid()) {
        kea.reload()?;
        kea.command("remote-opts-retry")?;
        let up = || {
            let status = kea.command("remote-opts-status").unwrap_or_default();
            let services = status["arguments"]["services"].as_array();
            services.is_some_and(|all| all.iter().all(|one| one["state"] == "up"))
        };
        ensure!(wait_until_within(PATIENCE, up), "not every service is up after the adversary");
        let before = load.counts.sent;
        let failed = load.boot_all();
        println!(
            "after the adversary: {} packets, {failed} without their reply",
            load.counts.sent - before
        );
        if failed > 0 {
            shared.wrong("after the adversary not every machine has its reply");
        }
        let excuses = Excuses::of(&kea, load.counts.sent).context("Kea's statistics")?;
        check_missing(&load, &shared, &excuses);
        let known = load.missing.iter().filter(|missing| missing.is_known).count();
        println!(
            "{known} packets whose answer is kept have no reply, and {} may have none; altogether {}, \
             and {} may have none",
            excuses.of_known(),
            load.missing.len(),
            excuses.of_all()
        );
    }
    let wrong_lines =
        ["REMOPTS_PANIC", "REMOPTS_EXCEPTION", "UNLOAD_LIBRARIES_ERROR", "HOOKS_UNLOAD_ERROR"];
    for id in wrong_lines {
        if let Some(line) = kea.log().iter().find(|line| line.contains(id)) {
            shared.wrong(line);
        }
    }
    if shared.wrongs() > 0 {
        print_log(&kea.log());
    }
    let crashes = usize::from(!is_running(kea.pid()));
    print(&load, &shared, crashes);
    let samples = adversary.samples.lock().unwrap();
    let level = judge_samples(&samples);
    let end = kea.stop();
    drop(files.folder);
    ensure!(crashes == 0 && end.status.success(), "Kea ended with {}", end.status);
    ensure!(shared.wrongs() == 0, "{} wrong", shared.wrongs());
    level
}

/// Which shapes of bad input a Kea without the hook answers.
fn answers_alone(shared: &Shared) -> Result<Vec<bool>> {
    let alone = server(threads()).try_start()?;
    let mut load = Load::new(shared, alone.relay());
    load.ask_kea_alone();
    alone.stop().assert_clean();
    Ok(load.answers_alone)
}

/// Prints how often Kea logged each message of WARN and above, with the last line of each.
fn print_log(log: &[String]) {
    let mut messages: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for line in log.iter().filter(|line| !line.starts_with("INFO")) {
        let id = line.split_once("] ").map_or("", |(_, rest)| rest).split(' ').next();
        let (number, last) = messages.entry(id.unwrap_or_default()).or_default();
        (*number, *last) = (*number + 1, line);
    }
    for (number, last) in messages.values() {
        eprintln!("  {number} times: {last}");
    }
}

/// Whether the process runs: one that has ended is a zombie until somebody waits for it.
fn is_running(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// How many packets the library has let go at reloads.
fn let_go(kea: &Kea) -> usize {
    let lines = kea.log();
    let lines = lines.iter().filter(|line| line.contains("REMOPTS_LET_GO"));
    let numbers = lines
        .filter_map(|line| line.split_whitespace().find_map(|word| word.parse::<usize>().ok()));
    numbers.sum::<usize>()
}

/// How many packets may have no reply.
struct Excuses {
    /// Kea has not worked on them: a reload closes its sockets and empties its queue of packets.
    never_read: usize,
    /// The library let them go at a reload, while they were parked.
    let_go: usize,
    /// They found no place to wait, and no answer was known.
    turned_away: usize,
}

impl Excuses {
    /// `None` where Kea does not say.
    fn of(kea: &Kea, sent: usize) -> Option<Excuses> {
        let statistic = |name| usize::try_from(kea.statistic(name)?).ok();
        Some(Excuses {
            never_read: sent.saturating_sub(statistic("pkt4-received")?),
            let_go: let_go(kea),
            turned_away: statistic("remote-opts-dropped")?,
        })
    }

    /// Those of clients whose answer is known: they never wait for a place.
    fn of_known(&self) -> usize {
        self.never_read + self.let_go
    }

    fn of_all(&self) -> usize {
        self.of_known() + self.turned_away
    }
}

/// There may be as many packets without a reply as there are excuses for them. One more is wrong.
fn check_missing(load: &Load, shared: &Shared, excuses: &Excuses) {
    let known: Vec<_> = load.missing.iter().filter(|missing| missing.is_known).collect();
    let all: Vec<_> = load.missing.iter().collect();
    for (missing, excused, whose) in
        [(known, excuses.of_known(), "whose answer is kept"), (all, excuses.of_all(), "altogether")]
    {
        if missing.len() > excused {
            let last = &missing[missing.len().saturating_sub(3)..];
            let packets: Vec<_> = last.iter().map(|missing| missing.what.as_str()).collect();
            let what = format!(
                "{} packets {whose} have no reply, and {excused} may have none. The last ones:\n  {}",
                missing.len(),
                packets.join("\n  ")
            );
            shared.wrong_since(&what, last[last.len() - 1].sent);
        }
    }
}

fn print(load: &Load, shared: &Shared, crashes: usize) {
    let Counts { sent, flooded, garbage, answered, unanswered, late, held } = &load.counts;
    let line = |what: &str, number: usize| println!("| {what:58} | {number:9} |");
    println!();
    line("packets sent", *sent);
    line("no DHCP, sent besides", *garbage);
    let flood = answered.get("flood of one client").copied().unwrap_or_default();
    line("answered", answered.values().sum());
    answered.iter().for_each(|(what, number)| line(&format!("  {what}"), *number));
    let not_flooded = flooded.saturating_sub(flood);
    line("expected unanswered", unanswered.values().sum::<usize>() + not_flooded);
    unanswered.iter().for_each(|(what, number)| line(&format!("  {what}"), *number));
    line("  flood of one client", not_flooded);
    line("replies after the deadline", *late);
    line("times the load waited for a busy machine", *held);
    line("wrong", shared.wrongs());
    line("crashes of Kea", crashes);
    let reloads = shared.reloads();
    let longest = reloads.iter().max().copied().unwrap_or_default();
    println!("reloads: {}, the longest took {longest:.1?}", reloads.len());
    println!("\nwhat the adversary did:");
    shared.faults().iter().for_each(|(what, number)| line(what, *number));
}

/// What the table calls Kea's memory.
const MEMORY: &str = "median memory (RSS), KiB";

/// Compares the first and the last quarter of the samples behind the warm-up.
fn judge_samples(samples: &[(Instant, Holdings)]) -> Result<()> {
    let kept = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    let quarter = kept.len() / 4;
    ensure!(quarter > 0, "too short for samples");
    let mut risen = Vec::new();
    // Connections come and go, so of descriptors and threads the least counts. Memory has moments of
    // little and of much use, so its middle counts.
    let least = |sorted: &[usize]| sorted.first().copied();
    let median = |sorted: &[usize]| sorted.get(sorted.len() / 2).copied();
    type Value = fn(&Holdings) -> usize;
    type Of = fn(&[usize]) -> Option<usize>;
    let kinds: [(&str, Value, Of); 3] = [
        ("least descriptors", |holdings| holdings.descriptors, least),
        ("least threads", |holdings| holdings.threads, least),
        (MEMORY, |holdings| holdings.memory_kib, median),
    ];
    println!("\nthe first and the last quarter of {} samples:", kept.len());
    for (name, value, of) in kinds {
        let of_quarter = |samples: &[(Instant, Holdings)]| {
            let mut values: Vec<_> = samples.iter().map(|(_, holdings)| value(holdings)).collect();
            values.sort_unstable();
            of(&values)
        };
        let (Some(first), Some(last)) =
            (of_quarter(&kept[..quarter]), of_quarter(&kept[kept.len() - quarter..]))
        else {
            continue;
        };
        let ratio = last as f64 / first as f64;
        println!("| {name:24} | {first:9} | {last:9} | {ratio:.3} |");
        let slack = match (samples.len() < ENOUGH_SAMPLES, name == MEMORY) {
            (false, _) => 0.0,
            (true, true) => SLACK_KIB,
            (true, false) => SLACK,
        };
        if last as f64 > first as f64 * LEVEL + slack {
            risen.push(format!("{name}: {first}, later {last}"));
        }
    }
    ensure!(risen.is_empty(), "Kea holds more and more: {risen:?}");
    Ok(())
}

/// Reloads Kea many times in a row under traffic. Memory stays level, and no reply is lost after
/// the last reload.
fn reloads(times: usize, http2: bool) -> Result<()> {
    let shared = Shared::new();
    let files = Files::new()?;
    let services = files.services()?;
    let answers_alone = answers_alone(&shared)?;
    // Without a file of kept answers, so that no reload waits for the disk.
    let kea = files.start(4, &services)?;
    let mut configuration = kea.configuration();
    set_parameter(&mut configuration, "http2", json!(http2));
    kea.write_configuration(&configuration)?;
    kea.reload()?;
    let mut load = Load::new(&shared, kea.relay());
    load.answers_alone = answers_alone;
    load.most_waiting = MOST_WAITING;
    load.measure(MEASURED, WINDOW);
    let mut samples = Vec::new();
    let mut took = Duration::ZERO;
    std::thread::scope(|threads| {
        let reloads = threads.spawn(|| -> Result<()> {
            let done = (0..times).try_for_each(|_| {
                let begin = Instant::now();
                kea.reload()?;
                took += begin.elapsed();
                // Each load of the library serves some packets.
                let replies = shared.replies() + REPLIES;
                ensure!(
                    wait_until_within(PATIENCE, || shared.replies() >= replies),
                    "no replies after a reload"
                );
                samples.push((Instant::now(), Holdings::of(kea.pid())));
                anyhow::Ok(())
            });
            shared.end();
            done
        });
        load.run(RELOADS_RATE, |_| ());
        reloads.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let before = load.counts.sent;
    let failed = load.boot_all();
    check_missing(
        &load,
        &shared,
        &Excuses::of(&kea, load.counts.sent).context("Kea's statistics")?,
    );
    let after = load.counts.sent - before;
    println!(
        "\n{times} reloads, http2 {http2}: {:.1?} each; then {after} packets, {failed} without \
              their reply",
        took / times.try_into()?
    );
    let level = judge_samples(&samples);
    let end = kea.stop();
    ensure!(end.status.success(), "Kea ended with {}", end.status);
    ensure!(failed == 0, "{failed} packets after the last reload are without their reply");
    ensure!(shared.wrongs() == 0, "{} wrong", shared.wrongs());
    level
}
