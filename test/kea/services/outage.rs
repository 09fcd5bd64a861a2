// SPDX-License-Identifier: MPL-2.0
//! Services that stop and start under load.

use std::time::Instant;

use serde_json::{Value, json};

use remote_opts_test_support::dhcp::Reply;
use remote_opts_test_support::kea::{Kea, Threads};
use remote_opts_test_support::load::{self, Exchange, Load};
use remote_opts_test_support::wait_until;

use super::{named, offer, setup};
use crate::{in_both_modes, port, size};

/// Exchanges begun in a second. Tests that are built without optimization manage fewer.
fn rate() -> u32 {
    size("REMOPTS_RATE", if cfg!(debug_assertions) { 150 } else { 500 })
}

/// Parameters that leave a busy machine enough time: no request is late.
fn slow() -> Value {
    json!({"timeout": 10_000})
}

/// Option 224 of an exchange. Panics unless OFFER and ACK carry the same.
#[track_caller]
fn chain_of(exchange: &Exchange) -> Option<String> {
    let [offer, ack] = [&exchange.offer, &exchange.ack].map(Reply::chain);
    assert_eq!(offer, ack, "OFFER and ACK");
    offer
}

#[test]
fn a_service_stopped_under_load_is_replaced_and_comes_back() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut first = named("first");
        let second = named("second");
        let kea = setup(threads, &[&first, &second], slow()).start();
        let mut moments = Vec::new();
        let exchanges = load::during(
            &kea,
            rate(),
            |number| kea.client().with(82, port(number)),
            |load| {
                load.wait_for_more(200);
                // The stop takes some time: the moments before and after it are kept.
                moments.push(Instant::now());
                first.stop();
                moments.push(Instant::now());
                kea.logged(&["REMOPTS_SERVICE_DOWN", &first.url("/")]);
                load.wait_for_more(200);
                moments.push(Instant::now());
                first.start();
                kea.logged(&["REMOPTS_SERVICE_UP", &first.url("/")]);
                moments.push(Instant::now());
                load.wait_for_more(200);
            },
        );
        let [running, stopped, restarted, up] = moments[..] else { unreachable!() };
        for exchange in &exchanges {
            let chain = chain_of(exchange).expect("an answer for every exchange");
            // Either service may have answered an exchange that was under way at such a moment.
            if exchange.begun > up || exchange.ack.arrived < running {
                assert_eq!(chain, "first");
            } else if exchange.begun > stopped && exchange.ack.arrived < restarted {
                assert_eq!(chain, "second");
            }
        }
        assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 1);
        assert!(kea.stop().status.success());
    });
}

/// Stops both services of a server under load, runs `while_away`, and starts the services again.
/// Returns the exchanges of three times: while the services were away, after both were up again,
/// and the rest.
fn both_stopped(
    threads: Threads,
    parameters: Value,
    while_away: impl Fn(&Kea, &Load),
) -> [Vec<Exchange>; 3] {
    let [mut first, mut second] = ["somestring", "somestring"].map(named);
    let kea = setup(threads, &[&first, &second], parameters).start();
    let mut moments = Vec::new();
    // Clients come again and again from the same ports. Each port has an answer before the services
    // stop.
    const PORTS: u32 = 20;
    for number in 0..PORTS {
        assert_eq!(offer(&kea, number).chain().as_deref(), Some("somestring"));
    }
    let client = |number| kea.client().with(82, port(number % PORTS));
    let exchanges = load::during(&kea, rate(), client, |load| {
        load.wait_for_more(100);
        first.stop();
        second.stop();
        for service in [&first, &second] {
            kea.logged(&["REMOPTS_SERVICE_DOWN", &service.url("/")]);
        }
        // Until here, a lookup may be coalesced with a request whose answer is on its way.
        moments.push(Instant::now());
        while_away(&kea, load);
        moments.push(Instant::now());
        first.start();
        second.start();
        for service in [&first, &second] {
            kea.logged(&["REMOPTS_SERVICE_UP", &service.url("/")]);
        }
        moments.push(Instant::now());
        load.wait_for_more(100);
    });
    assert!(kea.stop().status.success());
    let [stopped, restarted, up] = moments[..] else { unreachable!() };
    let mut by_time = [(); 3].map(|()| Vec::new());
    for exchange in exchanges {
        let time = match &exchange {
            one if one.begun > stopped && one.ack.arrived < restarted => 0,
            one if one.begun > up => 1,
            _ => 2,
        };
        by_time[time].push(exchange);
    }
    by_time
}

/// Checks that there are exchanges, and that OFFER and ACK of each carry `chain` in option 224.
#[track_caller]
fn assert_all(exchanges: &[Exchange], chain: Option<&str>) {
    assert!(!exchanges.is_empty());
    for exchange in exchanges {
        assert_eq!(chain_of(exchange).as_deref(), chain);
    }
}

#[test]
fn with_both_services_stopped_replies_go_on_without_edits() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut parameters = slow();
        parameters["stale-if-error"] = json!(0);
        let [away, up, _] = both_stopped(threads, parameters, |_, load| load.wait_for_more(200));
        assert_all(&away, None);
        assert_all(&up, Some("somestring"));
    });
}

#[test]
fn with_both_services_stopped_every_client_keeps_its_last_answer() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let exchanges = both_stopped(threads, slow(), |kea, load| {
            load.wait_for_more(200);
            assert!(kea.statistic("remote-opts-stale") > Some(0));
        });
        for exchanges in &exchanges {
            assert_all(exchanges, Some("somestring"));
        }
    });
}

#[test]
fn with_both_services_stopped_and_on_error_drop_nobody_is_served_until_they_are_up() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut parameters = slow();
        parameters["on-error"] = json!("drop");
        parameters["stale-if-error"] = json!(0);
        let [away, up, rest] = both_stopped(threads, parameters, |kea, _| {
            wait_until("dropped packets", || kea.statistic("remote-opts-dropped") > Some(100));
        });
        assert!(away.is_empty(), "{} exchanges without a service", away.len());
        // Clients that had no reply have asked again.
        for exchanges in [&up, &rest] {
            assert_all(exchanges, Some("somestring"));
        }
    });
}
