//! The hook in a real kea-dhcp4: each test starts its own server and backend on loopback and talks DHCP to it.

mod answer;
mod backends;
mod cache;
mod configuration;
mod docs;
mod examples;
mod exchange;
mod expressions;
mod failure;
mod filter;
mod lifecycle;
mod log;
mod neighbours;
mod parking;
mod request;
#[path = "../bench/results.rs"]
#[allow(dead_code)] // The benchmark uses the rest.
mod results;
mod statistics;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod types;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use support::backend::Backend;
use support::dhcp::Client;
use support::kea::Threads;

/// A relay's option 82: "foo" as sub-option 1, "bar" as sub-option 2.
const FOO_BAR: &[u8] = b"\x01\x03foo\x02\x03bar";

/// What the backend is asked about [`FOO_BAR`].
const FOO_BAR_QUERY: &str = "sub82_1=666F6F&sub82_2=626172";

/// A relay's option 82 for one port of a switch.
fn port(number: u32) -> Vec<u8> {
    [&[1, 4], &number.to_be_bytes()[..]].concat()
}

/// What [`support::backend::Backend::echo`], its URL ending with `/`, answers about [`port`].
fn about(number: u32) -> String {
    format!("/?sub82_1={number:08X}")
}

/// A number of the size of a test, which the environment can raise.
fn size(variable: &str, default: u32) -> u32 {
    env::var(variable).map_or(default, |number| number.parse().expect("a number in the environment"))
}

/// Sends the DISCOVERs of clients that are looked up, each by itself, and returns when. No more at once than Kea's
/// socket and queue have room for: the next when the backend has been asked about those before.
fn discover_all(clients: &[Client], backend: &Backend) -> Vec<Instant> {
    let before = backend.asked();
    let mut sent = Vec::new();
    for some in clients.chunks(25) {
        sent.extend(some.iter().map(Client::send_discover));
        backend.wait_until_asked(before + sent.len());
    }
    sent
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs a test twice, at the same time: against servers with multi-threading off and on.
fn in_both_modes(test: impl Fn(Threads) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for threads in [Threads::One, Threads::Four] {
            let thread = thread::Builder::new().name(format!("multi-threading: {threads:?}"));
            thread.spawn_scoped(scope, move || test(threads)).expect("a thread");
        }
    });
}
