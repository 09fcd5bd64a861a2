// SPDX-License-Identifier: MPL-2.0
//! A client that had an answer keeps it wherever no fresh one can be had: `stale-if-error`. And a
//! client that has an address is answered in any case. (Without a descriptor: see descriptors.rs.)

use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::{about, assert_answered_at_last, in_both_modes, on_miss_for_many, port};
use remote_opts_test_support::dhcp::{Client, Reply};
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::{PATIENCE, wait_until};

/// A server that asks this service. Answers are not fresh for any time.
fn setup(threads: Threads, service: &Service, parameters: Value) -> Setup {
    let mut all = json!({"url": service.url("/"), "cache-ttl": 0});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    Setup::new(threads).hook(all).debug(HOOK_LOGGER)
}

/// The parameter `on-miss` of a test that has two lookups under way at once.
fn on_miss_for_two(threads: Threads) -> &'static str {
    if threads == Threads::One { on_miss_for_many() } else { "wait" }
}

/// Checks that a new client behind this port gets the answer that the port had before.
#[track_caller]
fn assert_stale(kea: &Kea, number: u32) -> Client {
    let client = kea.client().with(82, port(number));
    assert_eq!(client.discover().chain(), Some(about(number)));
    kea.logged(&["REMOPTS_STALE", &client.tid()]);
    client
}

/// Renews the lease of `ack` as a client behind this port.
#[track_caller]
fn renew(client: &Client, ack: &Reply, number: u32) -> (MessageType, Option<String>) {
    let client = client.twin().with(82, port(number));
    client.send_renewal(ack);
    let renewed = client.reply_within(PATIENCE).expect("a reply to the renewal");
    (renewed.kind(), renewed.chain())
}

#[test]
fn a_stale_answer_serves_after_a_failure_and_while_nobody_is_asked() {
    in_both_modes(|threads| {
        for bad in [Answer::status(500, ""), Answer::status(403, ""), Answer::Never] {
            let service = Service::echo();
            let kea = setup(threads, &service, json!({"timeout": 2000})).start();
            kea.client().with(82, port(1)).discover();
            service.answer(bad.clone());
            // The request fails.
            let failed = assert_stale(&kea, 1);
            kea.logged(&["REMOPTS_LOOKUP_FAILED", &failed.tid()]);
            assert_eq!(service.asked(), 2);
            // The request backs off.
            let held_back = assert_stale(&kea, 1);
            kea.logged(&["REMOPTS_BACKING_OFF", &held_back.tid()]);
            assert_eq!(service.asked(), 2);
            // The service is down.
            if !matches!(bad, Answer::Whole { status: 403, .. }) {
                for number in 2..4 {
                    kea.client().with(82, port(number)).discover();
                }
                kea.logged(&["REMOPTS_SERVICE_DOWN"]);
                let nobody = assert_stale(&kea, 1);
                kea.logged(&["REMOPTS_NO_SERVICE_UP", &nobody.tid()]);
            }
            assert!(kea.stop().status.success());
        }
    });
}

#[test]
fn a_stale_answer_serves_while_the_service_wants_to_be_left_alone() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        kea.client().with(82, port(1)).discover();
        service.answer(Answer::status(503, "").header("Retry-After", "100000"));
        kea.client().with(82, port(2)).discover();
        // Five minutes at most.
        kea.logged(&["REMOPTS_SERVICE_PAUSED", "300 seconds"]);
        let client = assert_stale(&kea, 1);
        kea.logged(&["REMOPTS_NO_SERVICE_UP", &client.tid()]);
        assert_eq!(service.asked(), 2);
    });
}

#[test]
fn past_max_in_flight_a_stale_answer_serves_at_once_if_the_service_allows_it() {
    in_both_modes(|threads| {
        let service = Service::scripted(|request| match request.target == about(2) {
            true => echo(request).cache_control("max-age=0, must-revalidate"),
            false => echo(request),
        });
        let parameters =
            json!({"max-in-flight": 1, "timeout": 60_000, "on-miss": on_miss_for_two(threads)});
        let kea = setup(threads, &service, parameters).start();
        for number in 1..3 {
            assert_answered_at_last(&kea.client().with(82, port(number)), number);
        }
        service.hold();
        let first = kea.client().with(82, port(3));
        first.send_discover();
        service.wait_until_open(1);
        assert_stale(&kea, 1);
        let strict = kea.client().with(82, port(2));
        strict.send_discover();
        kea.logged(&["REMOPTS_TOO_MANY_LOOKUPS", &strict.tid()]);
        assert!(!strict.has_reply(), "a stale answer that the service forbids");
        service.release();
        assert_answered_at_last(&first, 3);
        assert_answered_at_last(&strict, 2);
        assert!(kea.stop().status.success());
    });
}

/// A packet in line waits for `timeout` at most. Then a new client gets no reply, but a client that
/// has an address gets one.
#[test]
fn a_renewal_that_has_stood_in_line_for_long_is_answered() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let parameters = json!({
            "max-in-flight": 1,
            "timeout": 3000,
            "on-miss": on_miss_for_two(threads),
            "on-error": "drop",
        });
        let kea = setup(threads, &service, parameters).start();
        let other = kea.client();
        let [_, ack] = other.exchange();
        service.hold();
        let first = kea.client().with(82, port(3));
        first.send_discover();
        service.wait_until_open(1);
        assert_eq!(renew(&other, &ack, 99), (MessageType::Ack, None));
        assert!(kea.stop().status.success());
    });
}

#[test]
fn with_a_full_parking_lot_a_stale_answer_serves_and_a_renewal_is_answered() {
    const LIMIT: u32 = 20;
    in_both_modes(|threads| {
        if !kea::parks() {
            println!("this Kea cannot park");
            return;
        }
        let service = Service::echo();
        let kea = setup(threads, &service, json!({"timeout": 60_000, "on-error": "drop"}))
            .set("parked-packet-limit", json!(LIMIT))
            .start();
        kea.client().with(82, port(1)).discover();
        let other = kea.client();
        let [_, ack] = other.exchange();
        service.hold();
        let clients: Vec<_> =
            (10..10 + LIMIT).map(|number| kea.client().with(82, port(number))).collect();
        for client in &clients {
            client.send_discover();
        }
        kea.logged(&["REMOPTS_PARKING_FULL"]);
        service.wait_until_open(clients.len());
        assert_stale(&kea, 1);
        assert_eq!(renew(&other, &ack, 1), (MessageType::Ack, Some(about(1))));
        assert_eq!(renew(&other, &ack, 99), (MessageType::Ack, None));
        service.release();
        for (number, client) in (10..).zip(&clients) {
            assert_answered_at_last(client, number);
        }
        assert_eq!(kea.count("DHCP4_PACKET_NAK_0001"), 0, "Kea met its own limit");
        assert!(kea.stop().status.success());
    });
}

/// The next DISCOVER would find a fresh answer. A REQUEST is answered now.
#[test]
fn with_on_miss_retry_a_stale_answer_serves_a_renewal() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let parameters = json!({"on-miss": "retry", "timeout": 60_000});
        let kea = setup(threads, &service, parameters).start();
        let client = kea.client().with(82, port(1));
        assert_answered_at_last(&client, 1);
        let other = kea.client();
        let [_, ack] = other.exchange();
        service.hold();
        assert_eq!(renew(&other, &ack, 1), (MessageType::Ack, Some(about(1))));
        // A DISCOVER does not wait, and does not get the old answer.
        service.script(|_| Answer::json(json!({"224": "new"})));
        let new = kea.client().with(82, port(1));
        new.send_discover();
        kea.logged(&["REMOPTS_DROPPED", &new.tid()]);
        service.release();
        wait_until("the answer", || {
            new.send_discover_again();
            new.reply_within(Duration::from_millis(300)).is_some_and(|offer| {
                // The request that was under way had been read before.
                assert!([Some("new".to_owned()), Some(about(1))].contains(&offer.chain()));
                true
            })
        });
        assert!(kea.stop().status.success());
    });
}
