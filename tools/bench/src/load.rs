// SPDX-License-Identifier: MPL-2.0
//! The load: perfdhcp, of Debian's package kea-admin, plays relay agents whose clients come at a
//! fixed rate.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use remote_opts_bench::results::Times;
use remote_opts_test_support::program;

/// Clients that come at a fixed rate.
#[derive(Clone, Copy)]
pub struct Load {
    /// Exchanges begun in a second.
    pub rate: f64,
    /// How long clients come.
    pub period: Duration,
    /// How long an OFFER may take. An OFFER that takes longer counts as lost.
    pub patience: Duration,
    /// The clients, which come in turn. `None`: each client is new; no client of this or any other
    /// run has its MAC address.
    pub again: Option<Returning>,
}

/// Clients that come in turn, from the first to the last, and again from the first.
#[derive(Clone, Copy)]
pub struct Returning {
    run: u16,
    number: u32,
}

impl Returning {
    /// New clients, of this number.
    pub fn of(number: u32) -> Returning {
        Returning { run: next_run(), number }
    }
}

/// What became of the clients.
#[derive(Default)]
pub struct Outcome {
    /// DISCOVERs sent.
    pub sent: usize,
    /// Clients that got an ACK, and the OFFER before it in time.
    pub served: usize,
    /// How many of the DISCOVERs sent in one second got an OFFER.
    pub rate: f64,
    /// From a DISCOVER to its OFFER.
    pub offers: Vec<Duration>,
    /// From a REQUEST to its ACK.
    pub acks: Vec<Duration>,
}

impl Outcome {
    /// Whether at most one client of a hundred was not served.
    pub fn is_sustained(&self) -> bool {
        self.sent > 0 && self.served * 100 >= self.sent * 99
    }

    /// Adds the clients of another perfdhcp that ran at the same time.
    fn add(&mut self, other: Outcome) {
        self.sent += other.sent;
        self.served += other.served;
        self.rate += other.rate;
        self.offers.extend(other.offers);
        self.acks.extend(other.acks);
    }
}

/// Option 82 that a relay agent adds, the same for every client: circuit-id "foo", remote-id "bar",
/// and sub-option 19 (RFC 8357), which asks for replies to the port that the relay agent sends
/// from. Kea wants two bytes in sub-option 19, and ignores their value.
const OPTION_82: &str = "82,0103666f6f020362617213020000";

/// A number for clients that no earlier run had.
fn next_run() -> u16 {
    static RUNS: AtomicU16 = AtomicU16::new(0);
    RUNS.fetch_add(1, Ordering::Relaxed)
}

/// The most clients of one run: perfdhcp counts clients in the last three bytes of the MAC address.
const MOST_CLIENTS: u32 = 1 << 24;

/// The highest rate of one perfdhcp. From 10,000/s on, perfdhcp does not sleep any more: it would
/// take a core from the Kea that is measured.
const MOST_RATE: f64 = 9900.0;

impl Load {
    /// Puts the load on a server, by as many relay agents as the rate needs.
    pub fn run(&self, server: SocketAddr) -> Result<Outcome> {
        let number = (self.rate / MOST_RATE).ceil().max(1.0) as usize;
        let share = Load { rate: self.rate / number as f64, ..*self };
        thread::scope(|scope| {
            let runs: Vec<_> =
                (0..number).map(|_| scope.spawn(move || share.run_from_one(server))).collect();
            let mut all = Outcome::default();
            for run in runs {
                let Ok(outcome) = run.join() else { bail!("a load's thread ended") };
                all.add(outcome?);
            }
            Ok(all)
        })
    }

    /// Puts the whole load on a server by one relay agent.
    fn run_from_one(&self, server: SocketAddr) -> Result<Outcome> {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(program("perfdhcp", "kea-admin")?);
        command.args([
            "-4",
            "-l",
            "127.0.0.1",
            "-L",
            &port.to_string(),
            "-N",
            &server.port().to_string(),
        ]);
        command.args(["-o", OPTION_82]);
        let Returning { run, number } = self.again.unwrap_or_else(|| Returning::of(MOST_CLIENTS));
        command.args(["-r", &format!("{:.0}", self.rate.max(1.0)), "-R", &number.to_string()]);
        // Without a base, perfdhcp begins with the same client in every run.
        let [high, low] = run.to_be_bytes();
        command.args(["-b", &format!("mac=02:{high:02x}:{low:02x}:00:00:00")]);
        let clients = (self.rate * self.period.as_secs_f64()).max(1.0);
        command.args(["-n", &format!("{clients:.0}")]);
        // The last OFFER may take its whole patience, and its ACK comes after it.
        let wait = self.patience + Duration::from_millis(200);
        command.args(["-W", &wait.as_micros().to_string(), "-x", "t"]);
        let output = command.arg(server.ip().to_string()).output().context("perfdhcp")?;
        let text = String::from_utf8_lossy(&output.stdout);
        // 3: some exchanges were not completed. The outcome counts them.
        if !matches!(output.status.code(), Some(0 | 3)) {
            let errors = String::from_utf8_lossy(&output.stderr);
            let error = errors.lines().chain(text.lines()).find(|line| line.starts_with("ERROR"));
            bail!("perfdhcp ended with {}: {}", output.status, error.unwrap_or("no reason given"));
        }
        read(&text, self.patience)
    }
}

/// Reads what perfdhcp prints in the end, first for DISCOVER and OFFER, then for REQUEST and ACK:
/// the numbers of packets, and (`-x t`) when each query with a reply was sent and its reply
/// received.
fn read(text: &str, patience: Duration) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut is_ack = false;
    // When the first and the last DISCOVER with an OFFER were sent.
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    for line in text.lines() {
        if line.starts_with("***") {
            is_ack = line.contains("REQUEST-ACK");
        } else if let Some(number) = line.strip_prefix("sent packets: ") {
            if !is_ack {
                outcome.sent = number.trim().parse().with_context(|| line.to_owned())?;
            }
        } else if let Some(times) = line.strip_prefix("sent / received: ") {
            let (sent, received) = times.split_once(" / ").with_context(|| line.to_owned())?;
            let (sent, received) = (sent.trim().parse::<f64>()?, received.trim().parse::<f64>()?);
            let took = Duration::from_secs_f64((received - sent).max(0.0));
            if is_ack {
                outcome.acks.push(took);
            } else {
                outcome.offers.push(took);
                (first, last) = (first.min(sent), last.max(sent));
            }
        }
    }
    ensure!(outcome.sent > 0, "perfdhcp does not say how many packets it sent:\n{text}");
    let late = outcome.offers.iter().filter(|&&took| took > patience).count();
    outcome.served = outcome.acks.len().saturating_sub(late);
    // The first DISCOVER marks the begin of the interval in which the rest were sent.
    outcome.rate =
        if last > first { (outcome.offers.len() - 1) as f64 / (last - first) } else { 0.0 };
    Ok(outcome)
}

/// Percentiles of the time from a query to its reply. `took` has the times of the queries that got
/// a reply; `sent` queries were sent. A query without a reply counts as slower than any other.
pub fn times(mut took: Vec<Duration>, sent: usize) -> Times {
    took.sort_unstable();
    let at = |part: f64| {
        // At least one query must be slower.
        let index = (sent as f64 * part) as usize;
        let time = took.get(index).filter(|_| index + 1 < sent)?;
        Some(time.as_micros() as f64 / 1000.0)
    };
    Times { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
}

/// Searches the highest rate that is sustained, to about two parts in a hundred. The search begins
/// at `guess` and multiplies or divides by `step` until a rate is sustained and the next is not;
/// then it halves the interval between these two. `run` puts a rate on the server.
pub fn search(guess: f64, step: f64, mut run: impl FnMut(f64) -> Result<Outcome>) -> Result<f64> {
    const NARROW: f64 = 1.02;
    /// The search ends below this rate.
    const LOWEST: f64 = 1.0;
    let mut sustained = |rate: f64| -> Result<Option<f64>> {
        // A rate counts as too high after two failures: other work of the machine must not decide.
        for _ in 0..2 {
            let outcome = run(rate)?;
            if outcome.is_sustained() {
                return Ok(Some(outcome.rate));
            }
        }
        Ok(None)
    };
    let (mut low, mut high) = (guess, guess);
    let mut best;
    match sustained(guess)? {
        Some(rate) => {
            best = rate;
            loop {
                high *= step;
                match sustained(high)? {
                    Some(rate) if rate > best => (low, best) = (high, rate),
                    _ => break,
                }
            }
        }
        None => loop {
            low /= step;
            if low < LOWEST {
                return Ok(0.0);
            }
            if let Some(rate) = sustained(low)? {
                best = rate;
                break;
            }
            high = low;
        },
    }
    while high / low > NARROW && high - low > 1.0 {
        let middle = (low * high).sqrt();
        match sustained(middle)? {
            Some(rate) => (low, best) = (middle, best.max(rate)),
            None => high = middle,
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perfdhcp_prints() {
        let text = "***Statistics for: DISCOVER-OFFER***\n\
             sent packets: 3\nreceived packets: 2\ndrops: 1\n\
             ***Timestamps for packets: DISCOVER-OFFER***\n\
             sent / received: 000000.000000 / 000000.001000\n\
             sent / received: 000002.000000 / 000002.003000\n\
             ***Statistics for: REQUEST-ACK***\nsent packets: 2\nreceived packets: 2\n\
             ***Timestamps for packets: REQUEST-ACK***\n\
             sent / received: 000000.001000 / 000000.005000\n\
             sent / received: 000002.003000 / 000002.004000\n";
        let mut outcome = read(text, Duration::from_millis(3)).unwrap();
        assert_eq!((outcome.sent, outcome.served, outcome.rate), (3, 2, 0.5));
        assert_eq!(outcome.offers, [1, 3].map(Duration::from_millis));
        assert_eq!(outcome.acks, [4, 1].map(Duration::from_millis));
        let late = read(text, Duration::from_millis(2)).unwrap();
        assert_eq!(late.served, 1);
        outcome.add(late);
        assert_eq!(
            (outcome.sent, outcome.served, outcome.rate, outcome.acks.len()),
            (6, 3, 1.0, 4)
        );
        assert!(read("perfdhcp: no", Duration::ZERO).is_err());
    }

    #[test]
    fn percentiles_of_as_many_as_they_take() {
        let at = |answered: u64, sent| {
            let took = (1..=answered).rev().map(Duration::from_millis).collect();
            let Times { p50, p99, p999 } = times(took, sent);
            (p50, p99, p999)
        };
        assert_eq!(at(0, 0), (None, None, None));
        assert_eq!(at(3, 3), (Some(2.0), None, None));
        assert_eq!(at(101, 101), (Some(51.0), Some(100.0), None));
        assert_eq!(at(2000, 2000), (Some(1001.0), Some(1981.0), Some(1999.0)));
        assert_eq!(at(1990, 2000), (Some(1001.0), Some(1981.0), None));
    }

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for (guess, step) in [(1000.0, 1.5), (9000.0, 1.06), (4321.0, 1.06)] {
            let found = search(guess, step, |rate| {
                let served = if rate <= 4321.0 { 100 } else { 90 };
                Ok(Outcome { sent: 100, served, rate, ..Outcome::default() })
            })
            .unwrap();
            assert!((4321.0 * 0.98..=4321.0).contains(&found), "{found} from {guess}");
        }
        let nothing =
            search(5.0, 1.5, |rate| Ok(Outcome { sent: 100, rate, ..Outcome::default() }));
        assert_eq!(nothing.unwrap(), 0.0);
    }
}
