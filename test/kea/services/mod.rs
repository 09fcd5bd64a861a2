// SPDX-License-Identifier: MPL-2.0
//! Several services in `url`, and services that fail: which service is asked, and what clients get
//! when no service answers.

mod fallback;
mod health;
mod limit;
mod order;
mod outage;

use serde_json::{Value, json};

use remote_opts_test_support::dhcp::{Client, Reply};
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};

use crate::port;

/// A service whose answer carries its name.
fn named(name: &str) -> Service {
    Service::answering(answer(name))
}

fn answer(name: &str) -> Answer {
    Answer::json(json!({"224": name}))
}

fn failure() -> Answer {
    Answer::status(500, "")
}

/// A server that asks these services in this order. Unless the parameters say otherwise, answers
/// are not cached.
fn setup(threads: Threads, services: &[&Service], parameters: Value) -> Setup {
    let urls = services.iter().map(|service| service.url("/")).collect::<Vec<_>>();
    let mut all = json!({"url": urls, "cache-ttl": 0});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    Setup::new(threads)
        .option("tftp-server-name", "from the configuration")
        .set("parked-packet-limit", json!(1000))
        .hook(all)
}

/// The OFFER to a client behind this port.
fn offer(kea: &Kea, number: u32) -> Reply {
    kea.client().with(82, port(number)).discover()
}

/// Checks that the DISCOVER of this client is dropped because its lookup failed.
#[track_caller]
fn assert_dropped(kea: &Kea, client: &Client) {
    client.send_discover();
    let line = kea.logged(&["REMOPTS_DROPPED", &client.hwaddr(), &client.tid()]);
    assert!(line.starts_with("DEBUG"), "{line}");
}
