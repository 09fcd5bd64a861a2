// SPDX-License-Identifier: MPL-2.0
//! The measurements of one case, and of all cases in turn: processor time and latencies at a fixed
//! load, the highest rate, instructions, memory.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::{Outcome, search, times};
use crate::scenario::{self, MORE_PATIENCE, PARKED, Running, Scenario};
use remote_opts_bench::results::{Cost, Fixed, Memory};
use remote_opts_test_support::kea;
use remote_opts_test_support::wait_until_within;

/// What a run measures.
pub struct Bench {
    /// How often everything is measured.
    pub rounds: usize,
    /// How long one trial of a rate takes.
    pub period: Duration,
    /// The fixed load, in exchanges a second.
    pub load: f64,
    /// When the run began.
    pub start: Instant,
}

/// How many turns at the fixed load each case has in a round.
const TURNS: usize = 6;

/// A case whose server runs, and whose first clients came.
struct Ready<'a> {
    scenario: &'a Scenario,
    running: Running,
    /// The load, in exchanges a second.
    rate: f64,
}

/// Where the search for the highest rate begins, and the factor of its steps.
struct Guess {
    rate: f64,
    step: f64,
}

impl Bench {
    /// Shows how far the run is. `done` tells whether the text is final.
    pub fn say(&self, text: &str, done: bool) {
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

    /// What an exchange costs Kea at the fixed load, and how long its replies take: of each case,
    /// one figure for each turn. `keep` gets the figures after each round.
    ///
    /// The servers of all cases run at the same time, and the load comes to one after the other, in
    /// short turns: a machine that is slower for a minute is slower for every case. Every other turn
    /// goes from the last case to the first.
    pub fn fixed(
        &self,
        scenarios: &[Scenario],
        mut keep: impl FnMut(&[Vec<Fixed>]) -> Result<()>,
    ) -> Result<()> {
        let ready: Result<Vec<_>> = scenarios.iter().map(|one| self.ready(one)).collect();
        let ready = ready?;
        let mut found = vec![Vec::new(); scenarios.len()];
        for round in 0..self.rounds {
            for turn in 0..TURNS {
                let mut order: Vec<_> = ready.iter().zip(&mut found).collect();
                if turn % 2 == 1 {
                    order.reverse();
                }
                for (ready, found) in order {
                    found.push(self.turn(ready, round)?);
                }
            }
            keep(&found)?;
        }
        ready.into_iter().try_for_each(|Ready { scenario, running, .. }| {
            running.check(scenario)?;
            end(running)
        })
    }

    /// Starts the server of a case, and has its first clients come.
    fn ready<'a>(&self, scenario: &'a Scenario) -> Result<Ready<'a>> {
        // Where a thread waits for each lookup, half of what the threads can do.
        let rate = self.load.min(scenario.most_waiting() / 2.0);
        self.say(&format!("starts  {}", scenario.name), false);
        let mut running = scenario.start()?;
        running.warm_up(scenario, rate)?;
        Ok(Ready { scenario, running, rate })
    }

    /// One turn of a case.
    ///
    /// A turn that loses more than one client of a hundred is repeated, up to four times: other work
    /// of the machine must not end a run that takes long.
    fn turn(&self, ready: &Ready, round: usize) -> Result<Fixed> {
        let Ready { scenario, running, rate } = ready;
        let rate = *rate;
        let named = format!("{}  {rate:.0}/s  {:44}", self.round(round), scenario.name);
        self.say(&named, false);
        let clients = (rate * self.period.as_secs_f64()) as usize;
        let mut again = 0..4;
        let (outcome, used, asked) = loop {
            running.rest()?;
            let (before, asked) = (running.kea.processor_time(), running.asked());
            match running.serve(rate, clients) {
                Err(_) if again.next().is_some() => {}
                outcome => break (outcome?, running.kea.processor_time() - before, asked),
            }
        };
        let Outcome { offers, acks, sent, .. } = outcome;
        let microseconds = used.as_secs_f64() * 1e6 / sent as f64;
        let (offer, ack) = (times(offers, sent), times(acks, sent));
        let p50 = offer.p50.map_or("too few".to_owned(), |p50| format!("{p50:.2} ms"));
        let asked = running.asked() - asked;
        self.say(
            &format!(
                "{named}  {microseconds:4.0} µs an exchange, OFFER p50 {p50}, \
                 {asked} requests for {sent} clients"
            ),
            true,
        );
        Ok(Fixed { rate, microseconds, offer, ack })
    }

    /// The highest rate that the server of a case sustains. The search begins at `earlier`, a rate
    /// of an earlier round, where there is one.
    pub fn rate(&self, scenario: &Scenario, earlier: Option<f64>, round: usize) -> Result<f64> {
        let named = format!("{}  highest rate  {:38}", self.round(round), scenario.name);
        let first = (2.0 * self.load).min(scenario.most_waiting());
        let guess = match earlier.filter(|rate| *rate > 0.0) {
            Some(rate) => Guess { rate, step: 1.06 },
            None => Guess { rate: first, step: 1.2 },
        };
        let mut running = scenario.start()?;
        running.warm_up(scenario, guess.rate)?;
        let rate = search(guess.rate, guess.step, |rate| {
            self.say(&format!("{named}  {rate:6.0}/s?"), false);
            // The packets of an earlier trial must not be in the way of this trial.
            running.rest()?;
            // Long enough that most of the time as many REQUESTs as DISCOVERs are under way.
            running.load(rate, self.period + 4 * running.delay)
        })?;
        self.say(&format!("{named}  {rate:6.0}/s"), true);
        running.check(scenario)?;
        end(running)?;
        Ok(rate)
    }

    /// Instructions for one packet from a client (a DISCOVER or a REQUEST): the difference between
    /// many clients and few, so that the start of Kea does not count.
    pub fn instructions(&self, scenario: &Scenario, round: usize) -> Result<f64> {
        const FEW: usize = 50;
        const MANY: usize = 350;
        const RATE: f64 = 50.0;
        let named = format!("{}  instructions  {:38}", self.round(round), scenario.name);
        let total = |clients: usize| -> Result<(usize, f64)> {
            self.say(&format!("{named}  {clients} clients"), false);
            let mut running = scenario.start_with(|setup| {
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

    /// Instructions of each case. Once: they hardly differ from one round to the next.
    pub fn all_instructions(&self, scenarios: &[Scenario]) -> Result<Vec<Cost>> {
        let cost = |one: &Scenario| {
            let instructions = vec![self.instructions(one, 0)?];
            Ok(Cost { name: one.name.clone(), instructions })
        };
        scenarios.iter().map(cost).collect()
    }

    /// Memory after this many clients have their leases: with a kept answer for each, or without
    /// the hook.
    fn memory_after(&self, scenario: &Scenario, clients: usize) -> Result<f64> {
        const FIRST: usize = 1000;
        let mut running = scenario.start()?;
        running.patience = MORE_PATIENCE;
        if clients > 0 {
            // The first clients come slowly: the hook has no connection yet.
            let mut served = running.serve(self.load.min(500.0), FIRST)?.served;
            if clients > FIRST {
                served += running.serve(self.load, clients - FIRST)?.served;
            }
            let is_kept = running.service.is_none() || running.asked() >= served;
            ensure!(is_kept, "{served} clients were served with {} answers", running.asked());
        }
        running.memory()
    }

    /// Memory while this many packets are parked.
    pub fn memory_parked(&self, scenario: &Scenario, packets: usize) -> Result<f64> {
        let mut running = scenario.start()?;
        running.delay = Duration::ZERO;
        // Some packets are lost on the way.
        while running.waiting() < packets {
            let before = running.waiting();
            running.clients(1000.0, packets - before)?;
            wait_until_within(Duration::from_secs(5), || running.waiting() >= packets);
            ensure!(running.waiting() > before, "{before} packets are parked, and no more");
        }
        running.memory()
    }

    /// Memory with answers kept, beside the empty library after as many clients; and with packets
    /// parked. Once: it hardly differs from one round to the next.
    pub fn memory(&self) -> Result<Vec<Memory>> {
        let kept = scenario::answers_kept(100_000);
        let parked = scenario::parked();
        let mut found = Vec::new();
        let mut keep = |name: String, measure: &dyn Fn() -> Result<f64>| -> Result<()> {
            self.say(&format!("memory  {name:58}"), false);
            let mib = (measure()? * 10.0).round() / 10.0;
            self.say(&format!("memory  {name:58}  {mib:.0} MiB"), true);
            found.push(Memory { name, mib: vec![mib] });
            Ok(())
        };
        for (clients, shown) in [(0, "no"), (100_000, "100,000")] {
            for (scenario, what) in [(&scenario::empty(2), "empty library"), (&kept, "hook")] {
                let name = format!("{what}, {shown} clients");
                keep(name, &|| self.memory_after(scenario, clients))?;
            }
        }
        for parked in parked.iter().filter(|_| kea::parks()) {
            keep(format!("hook, {}", parked.name), &|| self.memory_parked(parked, PARKED))?;
        }
        Ok(found)
    }

    /// Memory of each of these cases: before any client came, and while [`PARKED`] packets wait.
    pub fn memory_waiting(&self, scenarios: &[Scenario]) -> Result<Vec<Memory>> {
        let memory = |name| Memory { name, mib: Vec::new() };
        let mut found: Vec<_> = scenarios
            .iter()
            .flat_map(|one| [format!("{}: before", one.name), one.name.clone()].map(memory))
            .collect();
        for round in 0..self.rounds {
            for (pair, scenario) in found.chunks_exact_mut(2).zip(scenarios) {
                let named = format!("{}  memory  {:44}", self.round(round), scenario.name);
                self.say(&named, false);
                let before = scenario.start()?.memory()?;
                let waiting = self.memory_parked(scenario, PARKED)?;
                let kib = (waiting - before) * 1024.0 / PARKED as f64;
                self.say(&format!("{named}  {kib:.1} KiB a packet"), true);
                pair[0].mib.push((before * 10.0).round() / 10.0);
                pair[1].mib.push((waiting * 10.0).round() / 10.0);
            }
        }
        Ok(found)
    }

    /// The number of a round, and how many there are.
    pub fn round(&self, round: usize) -> String {
        format!("round {} of {}", round + 1, self.rounds)
    }
}

/// Stops a server, which must end well.
fn end(running: Running) -> Result<()> {
    let end = running.kea.stop();
    ensure!(end.status.success(), "kea-dhcp4 ended with {}:\n{}", end.status, end.log.join("\n"));
    Ok(())
}
