// SPDX-License-Identifier: MPL-2.0
//! An exchange has one answer and costs one request. Clients that ask the same at the same time
//! share one request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::{FOO_BAR, in_both_modes};
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::wait_until;

/// A service whose answers carry the number of the request. `cache_control` says how long an answer
/// may be used.
fn counting(cache_control: &'static str) -> Service {
    let asked = AtomicUsize::new(0);
    Service::scripted(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        Answer::json(json!({"224": format!("answer {number}")})).cache_control(cache_control)
    })
}

fn setup(threads: Threads, service: &Service, mut parameters: Value) -> Setup {
    parameters["url"] = service.url("/").into();
    Setup::new(threads).hook(parameters)
}

#[test]
fn offer_and_ack_carry_one_answer_for_one_request() {
    in_both_modes(|threads| {
        for (cache_control, parameters) in [
            ("no-store", json!({})),
            ("max-age=0", json!({})),
            ("", json!({"cache-ttl": 0})),
            ("", json!({"cache-size": 0})),
            ("no-store", json!({"cache-ttl": 0, "cache-size": 0, "stale-if-error": 600})),
        ] {
            let case = format!("Cache-Control \"{cache_control}\", {parameters}");
            let service = counting(cache_control);
            let kea = setup(threads, &service, parameters).start();
            for round in ["answer 1", "answer 2"] {
                let replies = kea.client().with(82, FOO_BAR).exchange();
                assert_eq!(
                    replies.each_ref().map(|reply| reply.chain()),
                    [Some(round.into()), Some(round.into())],
                    "{case}"
                );
            }
            assert_eq!(service.asked(), 2, "{case}");
            kea.stop().assert_clean();
        }
    });
}

#[test]
fn nothing_for_this_client_is_asked_once_an_exchange_too() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(404, "").cache_control("no-store"));
        let kea = setup(threads, &service, json!({})).start();
        for requests in 1..=2 {
            for reply in kea.client().with(82, FOO_BAR).exchange() {
                assert_eq!(reply.chain(), None);
            }
            assert_eq!(service.asked(), requests);
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn a_retransmitted_discover_gets_the_answer_of_the_first() {
    in_both_modes(|threads| {
        let service = counting("no-store");
        let kea = setup(threads, &service, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        for reply in [client.discover(), client.discover_again(), client.discover_again()] {
            assert_eq!(reply.chain().as_deref(), Some("answer 1"));
        }
        let ack = client.request(&client.discover_again());
        assert_eq!(ack.chain().as_deref(), Some("answer 1"));
        assert_eq!(service.asked(), 1);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_discover_of_another_transaction_begins_another_exchange() {
    in_both_modes(|threads| {
        let service = counting("no-store");
        let kea = setup(threads, &service, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.discover().chain().as_deref(), Some("answer 1"));
        let offer = client.discover();
        assert_eq!(offer.chain().as_deref(), Some("answer 2"));
        assert_eq!(client.request(&offer).chain().as_deref(), Some("answer 2"));
        assert_eq!(service.asked(), 2);
        kea.stop().assert_clean();
    });
}

#[test]
fn an_exchange_is_over_with_its_ack() {
    in_both_modes(|threads| {
        let service = counting("no-store");
        let kea = setup(threads, &service, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        let [offer, _] = client.exchange();
        // The transaction id is the same, and yet it is the next exchange.
        assert_eq!(client.request(&offer).chain().as_deref(), Some("answer 2"));
        assert_eq!(client.discover_again().chain().as_deref(), Some("answer 3"));
        kea.stop().assert_clean();
    });
}

#[test]
fn an_exchange_is_over_with_a_nak() {
    in_both_modes(|threads| {
        let service = counting("no-store");
        let kea = setup(threads, &service, json!({})).set("authoritative", json!(true)).start();
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        assert_eq!(client.request_address([192, 0, 2, 1].into()).kind(), MessageType::Nak);
        assert_eq!(client.request_address([192, 0, 2, 1].into()).kind(), MessageType::Nak);
        assert_eq!(service.asked(), 2);
        kea.stop().assert_clean();
    });
}

/// Retransmissions get the answer of the first DISCOVER, though not for ever.
#[test]
fn an_exchange_lasts_ten_seconds_at_most() {
    in_both_modes(|threads| {
        let service = counting("no-store");
        let kea = setup(threads, &service, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        wait_until("a second request", || {
            client.discover_again();
            service.asked() > 1
        });
        let requests = service.requests();
        let age = requests[1].arrived - requests[0].arrived;
        assert!(age >= Duration::from_secs(10), "asked again after {age:?}");
        // The client asks at once when the exchange is over; a busy machine needs some seconds
        // more.
        assert!(age < Duration::from_secs(14), "asked again after {age:?}");
    });
}

#[test]
fn an_answer_that_is_not_to_be_stored_is_for_one_client() {
    in_both_modes(|threads| {
        let service = counting("no-store");
        let kea = setup(threads, &service, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("answer 2"));
        // Only the client id tells this client from the first client.
        let twin = client.twin().with(82, FOO_BAR).with(61, b"\x00twin");
        assert_eq!(twin.discover().chain().as_deref(), Some("answer 3"));
        assert_eq!(client.request(&offer).chain().as_deref(), Some("answer 1"));
        assert_eq!(service.asked(), 3);
        kea.stop().assert_clean();
    });
}

#[test]
fn an_ack_carries_nothing_where_its_offer_carried_nothing() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(500, ""));
        let kea = setup(threads, &service, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(offer.chain(), None);
        service.answer(Answer::json(json!({"224": "somestring"})));
        // Another client with the same request brings the answer.
        wait_until("the end of the back-off", || {
            kea.client().with(82, FOO_BAR).discover().chain().is_some()
        });
        assert_eq!(client.request(&offer).chain(), None);
        assert_eq!(service.asked(), 2);
        // The exchange is over.
        assert_eq!(client.request(&offer).chain().as_deref(), Some("somestring"));
    });
}

/// Some clients send the next DISCOVER soon.
#[test]
fn a_discover_three_times_at_once_is_one_request() {
    in_both_modes(|threads| {
        for cache_control in ["no-store", "max-age=600"] {
            let service = counting(cache_control);
            service.hold();
            let setup = setup(threads, &service, json!({"timeout": 10_000}));
            let kea = setup.debug(HOOK_LOGGER).start();
            let client = kea.client().with(82, FOO_BAR);
            client.send_discover();
            service.wait_until_open(1);
            client.send_discover_again();
            client.send_discover_again();
            // A retransmission of a parked packet is ended. While a thread of Kea waits with a
            // packet, Kea keeps only the last of the same client's later packets.
            if kea::parks() {
                wait_until("the end of the retransmissions", || {
                    kea.statistic("remote-opts-retransmissions") == Some(2)
                });
            }
            service.release();
            let replies = match threads {
                _ if kea::parks() => 1,
                Threads::One => 3,
                Threads::Four => 2,
            };
            for _ in 0..replies {
                assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("answer 1"));
            }
            kea.stop().assert_clean();
            assert_eq!(service.asked(), 1, "{cache_control}");
        }
    });
}

/// How many of twenty clients are looked up at the same time. A Kea that cannot park waits in its
/// threads: it sees the other clients later, when the answer is there.
fn all_at_once(threads: Threads) -> usize {
    match threads {
        _ if kea::parks() => 20,
        Threads::One => 1,
        Threads::Four => 4,
    }
}

#[test]
fn clients_that_ask_the_same_at_once_share_a_request() {
    in_both_modes(|threads| {
        let service = counting("max-age=600");
        service.hold();
        let setup = setup(threads, &service, json!({"timeout": 10_000}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let clients = (0..20).map(|_| kea.client().with(82, FOO_BAR)).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        service.wait_until_open(1);
        // Every client that can wait for this request does so now.
        let coalesced = all_at_once(threads) - 1;
        wait_until("coalesced lookups", || kea.count("REMOPTS_COALESCED") >= coalesced);
        service.release();
        for client in &clients {
            assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("answer 1"));
        }
        assert_eq!(service.asked(), 1);
        let end = kea.stop();
        end.assert_clean();
        let debug =
            |line: &&String| line.contains("REMOPTS_COALESCED") && line.starts_with("DEBUG");
        assert_eq!(end.log.iter().filter(debug).count(), coalesced);
    });
}

#[test]
fn a_failure_is_shared_by_the_clients_that_wait_for_it() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(500, ""));
        service.hold();
        let setup = setup(threads, &service, json!({"timeout": 10_000}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let clients =
            (0..all_at_once(threads)).map(|_| kea.client().with(82, FOO_BAR)).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        service.wait_until_open(1);
        wait_until("coalesced lookups", || kea.count("REMOPTS_COALESCED") >= clients.len() - 1);
        service.release();
        for client in &clients {
            assert_eq!(client.reply("DISCOVER").chain(), None);
        }
        assert_eq!(service.asked(), 1);
        kea.logged(&["REMOPTS_LOOKUP_FAILED"]);
        assert_eq!(kea.count("REMOPTS_LOOKUP_FAILED"), 1, "one request, one line");
    });
}

/// The answer is for all clients that wait for the request, and for no later client.
#[test]
fn an_answer_that_is_not_to_be_stored_is_for_all_clients_that_wait_for_it() {
    in_both_modes(|threads| {
        let number = all_at_once(threads).min(4);
        let service = counting("no-store");
        service.hold();
        let setup = setup(threads, &service, json!({"timeout": 10_000}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let clients = (0..number).map(|_| kea.client().with(82, FOO_BAR)).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        service.wait_until_open(1);
        wait_until("coalesced lookups", || kea.count("REMOPTS_COALESCED") >= number - 1);
        service.release();
        for client in &clients {
            assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("answer 1"));
        }
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("answer 2"));
        assert_eq!(service.asked(), 2);
        kea.stop().assert_clean();
    });
}
