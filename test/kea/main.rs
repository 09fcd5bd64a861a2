// SPDX-License-Identifier: MPL-2.0
//! The hook in a real kea-dhcp4. Each test starts its own Kea and its own HTTP service on loopback,
//! and sends DHCP queries to Kea. The name of a test is the statement that it proves.
#![allow(missing_docs)] // A program of tests exports nothing.

mod answer;
mod cache;
mod commands;
mod configuration;
mod crash;
mod day;
mod descriptors;
mod dhcp4o6;
mod docs;
mod example_services;
mod examples;
mod exchange;
mod expressions;
mod failure;
mod field;
mod filter;
mod high_availability;
mod http_channel;
mod lifecycle;
mod log;
mod names;
mod neighbours;
mod nginx;
mod outage;
mod parking;
mod request;
mod reservations;
mod schemas;
mod services;
mod short_life;
mod stale;
mod statistics;
mod storm;
mod tls;
mod types;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use remote_opts_test_support::dhcp::{Client, port};
use remote_opts_test_support::kea::{self, Threads};
use remote_opts_test_support::service::{Service, about};
use remote_opts_test_support::{wait_until, wait_until_within};

/// Option 82 of a relay agent: "foo" as sub-option 1, "bar" as sub-option 2.
const FOO_BAR: &[u8] = b"\x01\x03foo\x02\x03bar";

/// The query of the request for a client with [`FOO_BAR`].
const FOO_BAR_QUERY: &str = "sub82_1=666F6F&sub82_2=626172";

/// A number that sets the size of a test. An environment variable can raise it.
fn size(variable: &str, default: u32) -> u32 {
    env::var(variable)
        .map_or(default, |number| number.parse().expect("a number in the environment"))
}

/// Sends the DISCOVERs of clients that are looked up, each by a request of its own. Returns when
/// each DISCOVER was sent. Kea's socket and queue have no room for all: the next few are sent once
/// the service has been asked about the earlier ones.
fn discover_all(clients: &[Client], service: &Service) -> Vec<Instant> {
    let before = service.asked();
    let mut sent = Vec::new();
    for some in clients.chunks(25) {
        sent.extend(some.iter().map(Client::send_discover));
        service.wait_until_asked(before + sent.len());
    }
    sent
}

/// Builds the library of a C++ file in this folder, which LD_PRELOAD puts before the C library.
/// Returns its path. A test program builds it once.
fn preloaded(name: &str) -> String {
    // The file gets its name when it is complete: another test program may build it too.
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{name}.so"));
    let unfinished = library.with_extension(std::process::id().to_string());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.cc"));
    let mut compiler = Command::new("g++");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&unfinished, &source]).arg("-ldl");
    assert!(compiler.status().expect("g++, which is in Debian's package g++").success());
    fs::rename(unfinished, &library).expect("the built library");
    library.into_os_string().into_string().expect("a path in UTF-8")
}

/// The parameter `on-miss` of a test that has many lookups under way at once. A Kea that cannot park
/// has few threads, and no thread waits with "retry".
fn on_miss_for_many() -> &'static str {
    if kea::parks() { "wait" } else { "retry" }
}

/// Has a client behind [`port`] ask until it has its OFFER, and checks that the OFFER has the answer
/// of [`Service::echo`]. Another DISCOVER of the client may be on its way.
#[track_caller]
fn assert_answered_at_last(client: &Client, number: u32) {
    wait_until("an OFFER", || {
        if !client.has_reply() {
            client.send_discover_again();
        }
        wait_until_within(Duration::from_millis(300), || client.has_reply())
    });
    assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs a test twice at the same time: with Kea's multi-threading off, and on.
fn in_both_modes(test: impl Fn(Threads) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for threads in [Threads::One, Threads::Four] {
            let thread = thread::Builder::new().name(format!("multi-threading: {threads:?}"));
            thread.spawn_scoped(scope, move || test(threads)).expect("a thread");
        }
    });
}
