//! One exchange, one answer, one request; and one request for all who ask the same at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::support::backend::{Answer, Backend};
use crate::support::kea::{self, HOOK_LOGGER, Setup, Threads};
use crate::support::wait_until;
use crate::{FOO_BAR, in_both_modes};

/// Answers with the number of the request, which nobody is to keep.
fn counting(cache_control: &'static str) -> Backend {
    let asked = AtomicUsize::new(0);
    Backend::scripted(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        Answer::json(json!({"224": format!("answer {number}")})).cache_control(cache_control)
    })
}

fn setup(threads: Threads, backend: &Backend, mut parameters: Value) -> Setup {
    parameters["url"] = backend.url("/").into();
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
            let backend = counting(cache_control);
            let kea = setup(threads, &backend, parameters).start();
            for round in ["answer 1", "answer 2"] {
                let replies = kea.client().with(82, FOO_BAR).exchange();
                assert_eq!(
                    replies.each_ref().map(|reply| reply.chain()),
                    [Some(round.into()), Some(round.into())],
                    "{case}"
                );
            }
            assert_eq!(backend.asked(), 2, "{case}");
            kea.stop().assert_clean();
        }
    });
}

#[test]
fn nothing_for_this_client_is_asked_once_an_exchange_too() {
    in_both_modes(|threads| {
        let backend = Backend::answering(Answer::status(404, "").cache_control("no-store"));
        let kea = setup(threads, &backend, json!({})).start();
        for requests in 1..=2 {
            for reply in kea.client().with(82, FOO_BAR).exchange() {
                assert_eq!(reply.chain(), None);
            }
            assert_eq!(backend.asked(), requests);
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn a_retransmitted_discover_gets_the_answer_of_the_first() {
    in_both_modes(|threads| {
        let backend = counting("no-store");
        let kea = setup(threads, &backend, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        for reply in [client.discover(), client.discover_again(), client.discover_again()] {
            assert_eq!(reply.chain().as_deref(), Some("answer 1"));
        }
        let ack = client.request(&client.discover_again());
        assert_eq!(ack.chain().as_deref(), Some("answer 1"));
        assert_eq!(backend.asked(), 1);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_discover_of_another_transaction_begins_another_exchange() {
    in_both_modes(|threads| {
        let backend = counting("no-store");
        let kea = setup(threads, &backend, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.discover().chain().as_deref(), Some("answer 1"));
        let offer = client.discover();
        assert_eq!(offer.chain().as_deref(), Some("answer 2"));
        assert_eq!(client.request(&offer).chain().as_deref(), Some("answer 2"));
        assert_eq!(backend.asked(), 2);
        kea.stop().assert_clean();
    });
}

#[test]
fn an_exchange_is_over_with_its_ack() {
    in_both_modes(|threads| {
        let backend = counting("no-store");
        let kea = setup(threads, &backend, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        let [offer, _] = client.exchange();
        // The same transaction, and yet the next exchange.
        assert_eq!(client.request(&offer).chain().as_deref(), Some("answer 2"));
        assert_eq!(client.discover_again().chain().as_deref(), Some("answer 3"));
        kea.stop().assert_clean();
    });
}

#[test]
fn an_exchange_is_over_with_a_nak() {
    in_both_modes(|threads| {
        let backend = counting("no-store");
        let kea = setup(threads, &backend, json!({})).set("authoritative", json!(true)).start();
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        assert_eq!(client.request_address([192, 0, 2, 1].into()).kind(), MessageType::Nak);
        assert_eq!(client.request_address([192, 0, 2, 1].into()).kind(), MessageType::Nak);
        assert_eq!(backend.asked(), 2);
        kea.stop().assert_clean();
    });
}

/// Retransmissions get the answer of the first DISCOVER, but not for ever.
#[test]
fn an_exchange_lasts_ten_seconds_at_most() {
    in_both_modes(|threads| {
        let backend = counting("no-store");
        let kea = setup(threads, &backend, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        wait_until("a second request", || {
            client.discover_again();
            backend.asked() > 1
        });
        let requests = backend.requests();
        let age = requests[1].arrived - requests[0].arrived;
        assert!(age >= Duration::from_secs(10), "asked again after {age:?}");
        // As soon as the client asks then; the rest is for a busy machine.
        assert!(age < Duration::from_secs(14), "asked again after {age:?}");
    });
}

#[test]
fn an_answer_that_is_not_to_be_stored_is_for_one_client() {
    in_both_modes(|threads| {
        let backend = counting("no-store");
        let kea = setup(threads, &backend, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("answer 2"));
        // Told from the first by its client id alone.
        let twin = client.twin().with(82, FOO_BAR).with(61, b"\x00twin");
        assert_eq!(twin.discover().chain().as_deref(), Some("answer 3"));
        assert_eq!(client.request(&offer).chain().as_deref(), Some("answer 1"));
        assert_eq!(backend.asked(), 3);
        kea.stop().assert_clean();
    });
}

#[test]
fn an_offer_whose_lookup_failed_leaves_the_ack_a_lookup_of_its_own() {
    in_both_modes(|threads| {
        let backend = Backend::answering(Answer::status(500, ""));
        let kea = setup(threads, &backend, json!({})).start();
        let client = kea.client().with(82, FOO_BAR);
        let offer = client.discover();
        assert_eq!(offer.chain(), None);
        backend.answer(Answer::json(json!({"224": "somestring"})));
        assert_eq!(client.request(&offer).chain().as_deref(), Some("somestring"));
        assert_eq!(backend.asked(), 2);
    });
}

/// From a client that does not wait long for its OFFER.
#[test]
fn a_discover_three_times_at_once_is_one_request() {
    in_both_modes(|threads| {
        for cache_control in ["no-store", "max-age=600"] {
            let backend = counting(cache_control);
            backend.hold();
            let setup = setup(threads, &backend, json!({"timeout": 10_000}));
            let kea = setup.debug(HOOK_LOGGER).start();
            let client = kea.client().with(82, FOO_BAR);
            client.send_discover();
            backend.wait_until_open(1);
            client.send_discover_again();
            // With threads, Kea keeps but the last of the packets that come while it is at another one of the same
            // client: for a while before that is parked, and all the time where it waits.
            if kea::parks() {
                kea.logged(&["REMOPTS_JOINED", &client.tid()]);
            }
            client.send_discover_again();
            backend.release();
            let replies = if kea::parks() || threads == Threads::One { 3 } else { 2 };
            for _ in 0..replies {
                assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("answer 1"));
            }
            kea.stop().assert_clean();
            assert_eq!(backend.asked(), 1, "{cache_control}");
        }
    });
}

/// A Kea that waits in its only thread sees the others afterwards, and has the answer then.
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
        let backend = counting("max-age=600");
        backend.hold();
        let setup = setup(threads, &backend, json!({"timeout": 10_000}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let clients = (0..20).map(|_| kea.client().with(82, FOO_BAR)).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        backend.wait_until_open(1);
        // All that can are waiting for it now.
        let joined = all_at_once(threads) - 1;
        wait_until("the other clients' joining", || kea.count("REMOPTS_JOINED") >= joined);
        backend.release();
        for client in &clients {
            assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("answer 1"));
        }
        assert_eq!(backend.asked(), 1);
        let end = kea.stop();
        end.assert_clean();
        let debug = |line: &&String| line.contains("REMOPTS_JOINED") && line.starts_with("DEBUG");
        assert_eq!(end.log.iter().filter(debug).count(), joined);
    });
}

#[test]
fn a_failure_is_shared_by_those_who_wait_for_it() {
    in_both_modes(|threads| {
        let backend = Backend::answering(Answer::status(500, ""));
        backend.hold();
        let setup = setup(threads, &backend, json!({"timeout": 10_000}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let clients = (0..all_at_once(threads)).map(|_| kea.client().with(82, FOO_BAR)).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        backend.wait_until_open(1);
        wait_until("the other clients' joining", || kea.count("REMOPTS_JOINED") >= clients.len() - 1);
        backend.release();
        for client in &clients {
            assert_eq!(client.reply("DISCOVER").chain(), None);
        }
        assert_eq!(backend.asked(), 1);
        assert_eq!(kea.count("REMOPTS_LOOKUP_FAILED"), 1, "one request, one line");
    });
}

/// Those who wait for a request are asked about by it: its answer is for all of them, and for nobody later.
#[test]
fn an_answer_that_is_not_to_be_stored_is_for_all_who_wait_for_it() {
    in_both_modes(|threads| {
        let number = all_at_once(threads).min(4);
        let backend = counting("no-store");
        backend.hold();
        let setup = setup(threads, &backend, json!({"timeout": 10_000}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let clients = (0..number).map(|_| kea.client().with(82, FOO_BAR)).collect::<Vec<_>>();
        for client in &clients {
            client.send_discover();
        }
        backend.wait_until_open(1);
        wait_until("the other clients' joining", || kea.count("REMOPTS_JOINED") >= number - 1);
        backend.release();
        for client in &clients {
            assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("answer 1"));
        }
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("answer 2"));
        assert_eq!(backend.asked(), 2);
        kea.stop().assert_clean();
    });
}
